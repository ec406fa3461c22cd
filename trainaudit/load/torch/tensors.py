"""Weights of a torch module behind the face of weights in a file: read when asked for, in blocks, never copied as a whole.

torch is imported inside functions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import TensorData
from trainaudit.ir.tensor import widen_bfloat16
from trainaudit.load.known import FillData

Array = npt.NDArray[np.generic]

_SMALL_FLOATS = {
    "float8_e4m3fn": "float8_e4m3fn", "float8_e4m3fnuz": "float8_e4m3fnuz", "float8_e5m2": "float8_e5m2",
    "float8_e5m2fnuz": "float8_e5m2fnuz", "float8_e8m0fnu": "float8_e8m0",
}  # fmt: skip
"""torch's floats that numpy lacks → their names in ONNX. All of them arrive as float32."""


def type_word(dtype: Any) -> str:
    """torch's element type as the graph names it: "float32", "bfloat16", "bool" …"""
    word = str(dtype).removeprefix("torch.")
    return _SMALL_FLOATS.get(word, word)


@frozen
class TorchTensor:
    """A `TensorData` over a torch tensor of any layout on any device. float32, float16 and integers in contiguous host memory are
    seen without a copy; other layouts and devices are copied block by block."""

    tensor: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:
        return type_word(self.tensor.dtype)

    @property
    def nbytes(self) -> int:
        return int(self.tensor.numel()) * int(self.tensor.element_size())

    def blocks(self, elements: int) -> Iterator[Array]:
        tensor = self.tensor.detach()
        if tensor.is_contiguous():
            flat = tensor.reshape(-1)
            for start in range(0, flat.numel(), elements):
                yield _bits(flat[start : start + elements])
            return
        # Row-major order over a layout that is not (channels-last, a transposed view): whole rows of the first axis at a time.
        rows = max(1, elements // max(1, tensor[0].numel())) if tensor.ndim else 1
        for start in range(0, tensor.shape[0], rows):
            values = _bits(tensor[start : start + rows].reshape(-1))
            for place in range(0, values.size, elements):
                yield values[place : place + elements]

    def read(self) -> Array:
        values = _bits(self.tensor.detach())
        return widen_bfloat16(values).reshape(values.shape) if self.dtype == "bfloat16" else values


def _bits(tensor: Any) -> Array:
    """The values as `TensorData.blocks` gives them: bfloat16 as uint16 bits, float8 as float32, all else as numpy's own."""
    import torch

    tensor = tensor.cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.contiguous().view(torch.int16).numpy()).view(np.uint16)
    if type_word(tensor.dtype) in _SMALL_FLOATS.values():
        return np.asarray(tensor.to(torch.float32).numpy())
    return np.asarray(tensor.numpy())


def data_of(tensor: Any, name: str) -> TensorData:
    """The tensor's data. On the meta device there is none: a fill stands for it (see `ON_META`).

    Raises `TrainauditError` for tensors whose values numpy cannot be given: quantized, sparse and nested ones.
    """
    import torch

    if tensor.is_quantized:
        raise TrainauditError(
            "quantized-module",
            f"{name} is a quantized tensor, which cannot be read.",
            "Audit the module before it is quantized.",
        )
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise TrainauditError(
            "unreadable-tensor",
            f"{name} is a sparse or nested tensor, which cannot be read.",
            "Make it dense for the audit.",
        )
    if tensor.is_meta:
        return FillData(tuple(tensor.shape), type_word(tensor.dtype), 0)
    return TorchTensor(tensor)


def is_unread(tensor: Any) -> bool:
    """Whether the tensor has a shape and no values."""
    return bool(tensor.is_meta)
