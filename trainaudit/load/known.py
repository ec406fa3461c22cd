"""Tensors that are known without running the model: stored ones, views of them, fills, and small arithmetic on constants.

Nothing here allocates a large array before somebody reads it. Stdlib, numpy, ir and load.datatypes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import TensorData
from trainaudit.load.datatypes import DATA_TYPES, Array


@frozen
class Stored:
    """A tensor as one value of the graph shows it.

    `name` is the parameter it belongs to (the tensor in the file that it is a view of, else its own), `data` that parameter's
    values in the file's layout. `shape` is what is seen here; `axes` gives for each axis here the axis of `data` that it is
    (-1: none), None where both are the same. `view` turns the data's array into the array seen here.
    """

    name: str
    data: TensorData
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    view: Callable[[Array], Array] | None = None
    quantized: bool = False
    generated: str = ""
    part: str = ""
    """Which part of the data is seen here ("[0:32]"), "" for all of it."""
    depth: int = 0
    """Views that lie between the data and what is seen."""
    reparametrized: bool = False
    """The data is the parameter of that name times something that the graph computes from stored tensors: a weight or spectral
    normalization, a fixed factor."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_floating(self) -> bool:
        return self.data.dtype in FLOATING

    def read(self) -> Array:
        """The values as seen here (quantised ones as stored)."""
        array = self.data.read()
        return array if self.view is None else self.view(array)

    def alone(self) -> Stored:
        """A part of a tensor as a tensor of its own (one projection of a packed weight), its axes in the file's order."""
        if not self.part:
            return self
        axes = self.axes
        name = self.name + self.part
        if axes is None or sorted(axes) != list(range(len(axes))):
            data = ComputedData(self.shape, self.data.dtype, self.read)
            return Stored(name, data, self.shape, quantized=self.quantized, generated=self.generated)
        back = tuple(axes.index(axis) for axis in range(len(axes)))
        part = ComputedData(
            tuple(self.shape[axis] for axis in back), self.data.dtype, lambda: self.read().transpose(back)
        )
        return Stored(name, part, self.shape, axes, lambda array: array.transpose(axes), self.quantized, self.generated)

    def as_seen(self) -> Stored:
        """The same values in the layout seen here."""
        if self.view is None:
            return self
        data = ComputedData(self.shape, self.data.dtype, self.read)
        return Stored(self.name + self.part, data, self.shape, quantized=self.quantized, generated=self.generated)

    def axis(self, seen: int) -> int | None:
        """The axis of `data` that is axis `seen` here."""
        if self.axes is None:
            return seen
        axis = self.axes[seen]
        return None if axis < 0 else axis


Positions = npt.NDArray[np.int64]


@frozen
class FillData:
    """One number everywhere; nothing is allocated."""

    shape: tuple[int, ...]
    dtype: str
    value: float | int | bool

    @property
    def nbytes(self) -> int:
        return 0

    def blocks(self, elements: int) -> Iterator[Array]:
        size = math.prod(self.shape)
        block = np.full(min(elements, size), self.value, numpy_type(self.dtype))
        for start in range(0, size, elements):
            yield block[: size - start]

    def read_range(self, start: int, stop: int) -> Array:
        return np.full(max(0, min(stop, math.prod(self.shape)) - start), self.value, numpy_type(self.dtype))

    def sample(self, positions: Positions) -> Array:
        return np.full(len(positions), self.value, numpy_type(self.dtype))

    def read(self) -> Array:
        return np.broadcast_to(np.asarray(self.value, numpy_type(self.dtype)), self.shape)


@frozen
class ComputedData:
    """Values that the graph itself computes (a slice, a concatenation, a reordering, a random draw), computed when read."""

    shape: tuple[int, ...]
    dtype: str
    compute: Callable[[], Array]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * numpy_type(self.dtype).itemsize

    def blocks(self, elements: int) -> Iterator[Array]:
        flat = self.compute().reshape(-1)
        for start in range(0, flat.size, elements):
            yield flat[start : start + elements]

    def read_range(self, start: int, stop: int) -> Array:
        return self.compute().reshape(-1)[start:stop].copy()

    def sample(self, positions: Positions) -> Array:
        flat: Array = self.compute().reshape(-1)[positions]
        return flat

    def read(self) -> Array:
        return self.compute()


def draw(shape: tuple[int, ...], dtype: str, uniform: bool, first: float, second: float) -> ComputedData:
    """What a random operator of the graph makes: draws of the same distribution (numpy's generator, seed 0), uniform between
    `first` and `second`, or normal with mean `first` and standard deviation `second`."""

    def compute() -> Array:
        generator = np.random.default_rng(0)
        drawn = generator.uniform(first, second, shape) if uniform else generator.normal(first, second, shape)
        return drawn.astype(numpy_type(dtype))

    return ComputedData(shape, dtype, compute)


def numpy_type(dtype: str) -> np.dtype[np.generic]:
    """numpy's type for a stored type's name, float32 where numpy has none."""
    try:
        return np.dtype(dtype)
    except TypeError:
        return np.dtype(np.float32)


FLOATING = frozenset(kind.name for kind in DATA_TYPES.values() if "float" in kind.name)
