"""Attention of aten, written out in the nodes that exporters write: the product, the mask, the softmax, the product with the values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainaudit.load.known import ComputedData
from trainaudit.load.torch.aten_activation import dropped
from trainaudit.load.torch.emit import Call, Emitter, Names, Translate, rank_of, traced


def _attention(emit: Emitter, call: Call) -> Names:
    """scaled_dot_product_attention and the kernels it is made of on a device: softmax(q·kᵀ·scale + mask)·v, with dropout in training."""
    query, key, value = call["query"], call["key"], call["value"]
    names = [emit.name(query), emit.name(key), emit.name(value)]
    if call.get("enable_gqa", False):
        times = int(traced(query).shape[-3]) // int(traced(key).shape[-3])
        if times > 1:
            names[1:] = [_repeated(emit, node, name, times) for node, name in ((key, names[1]), (value, names[2]))]
    dtype = emit.dtype(query)
    scale = call.get("scale")
    factor = (
        math.sqrt(float(scale))
        if isinstance(scale, (int, float)) and scale > 0
        else int(traced(query).shape[-1]) ** -0.25
    )
    rank = rank_of(query)
    flipped = emit.add("Transpose", [names[1]], perm=[*range(rank - 2), rank - 1, rank - 2])
    left = emit.add("Mul", [names[0], emit.fill(factor, dtype)])
    scores = emit.add("MatMul", [left, emit.add("Mul", [flipped, emit.fill(factor, dtype)])])
    if isinstance(scale, (int, float)) and scale <= 0:
        scores = emit.add("Mul", [scores, emit.fill(float(scale) / factor**2, dtype)])
    mask = call.get("attn_mask", call.get("attn_bias"))
    if mask is not None:
        scores = emit.add("Add", [scores, _additive(emit, mask, dtype)])
    if call.get("is_causal", False):
        scores = emit.add("Add", [scores, _causal(emit, query, key, dtype)])
    weights = emit.add("Softmax", [scores], axis=rank - 1)
    if call.get("dropout_p", 0.0):
        weights = dropped(emit, weights, float(call["dropout_p"]))
    made = emit.add("MatMul", [weights, names[2]])
    return [made, *("" for _ in call.result[1:])] if isinstance(call.result, (list, tuple)) else made


def _additive(emit: Emitter, mask: Any, dtype: str) -> str:
    """A mask as something to add: where a boolean one says no, −∞."""
    name = emit.name(mask)
    if emit.dtype(mask) != "bool":
        return name
    return emit.add("Where", [name, emit.fill(0.0, dtype), emit.fill(-math.inf, dtype)])


def _causal(emit: Emitter, query: Any, key: Any, dtype: str) -> str:
    """−∞ above the diagonal."""
    rows, columns = emit.shape(query)[-2], emit.shape(key)[-2]
    if isinstance(rows, int) and isinstance(columns, int):

        def triangle() -> Any:
            return np.triu(np.full((rows, columns), -np.inf, np.float32), 1)

        name = emit.fresh("val_0")
        emit.tensors[name] = ComputedData((rows, columns), "float32", triangle)
        emit.constants.add(name)
        return name
    lengths = [
        emit.add("Shape", [emit.name(node)], start=rank_of(node) - 2, end=rank_of(node) - 1) for node in (query, key)
    ]
    full = emit.add("Expand", [emit.fill(-math.inf, dtype), emit.add("Concat", lengths, axis=0)])
    return emit.add("Trilu", [full, emit.fill(1, "int64")], upper=1)


def _repeated(emit: Emitter, node: Any, name: str, times: int) -> str:
    """Each head of keys or values `times` over, for the queries that share it (Ainslie et al. 2023, arXiv:2305.13245)."""
    rank = rank_of(node)
    sizes = [size if isinstance(size, int) else 1 for size in emit.shape(node)]
    apart = emit.add("Unsqueeze", [name, emit.numbers([rank - 2])])
    wide = emit.add("Expand", [apart, emit.numbers([1] * (rank - 2) + [times, 1, 1])])
    heads = sizes[-3] * times
    return emit.add("Reshape", [wide, emit.numbers([0] * (rank - 3) + [heads, -1, sizes[-1]])])


TABLE: dict[str, Translate] = dict.fromkeys(
    ("scaled_dot_product_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu",
     "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_attention_math",
     "_scaled_dot_product_attention_math_for_mps", "_scaled_dot_product_fused_attention_overrideable"),
    _attention,
)  # fmt: skip
