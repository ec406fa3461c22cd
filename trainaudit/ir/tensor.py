"""Weights that are already in memory, behind the same face as weights in a file. Stdlib and numpy only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen


@frozen
class ArrayData:
    """A `TensorData` over a numpy array. `stored` names the stored type where numpy has none (bfloat16 as uint16 bits)."""

    array: npt.NDArray[np.generic]
    stored: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> str:
        return self.stored or self.array.dtype.name

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    def blocks(self, elements: int) -> Iterator[npt.NDArray[np.generic]]:
        flat = self.array.reshape(-1)
        for start in range(0, flat.size, elements):
            yield flat[start : start + elements]

    def read(self) -> npt.NDArray[np.generic]:
        if self.stored == "bfloat16":
            return widen_bfloat16(self.array).reshape(self.array.shape)
        return self.array


def widen_bfloat16(bits: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """bfloat16 bits (uint16) as float32: the upper half of the word (exact)."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
