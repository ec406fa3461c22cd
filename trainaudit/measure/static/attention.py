"""Scale and mask of attention. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

import math

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import SHAPING, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.index import Index, sole_use, through
from trainaudit.measure.static.layer_facts import DTYPE_MAX, compute_dtype

_TO_SCORES = SHAPING | {Op.ADD, Op.MUL, Op.DIV}


def measure_attention(index: Index) -> Columns:
    """layer.attention_scale_ratio, attention_head_size, mask_value, and the compute type of the layers that mask."""
    ratio: dict[str, FactValue] = {}
    head: dict[str, FactValue] = {}
    mask: dict[str, FactValue] = {}
    dtype: dict[str, FactValue] = {}
    largest: dict[str, FactValue] = {}
    outputs = index.output_layers()
    for i in index.of((Op.ATTENTION, Op.WHERE)):
        layer = index.layers[i]
        if layer.op is Op.ATTENTION:
            attributes = layer.attributes
            size, scale, value = attributes.get("head_dim"), attributes.get("scale"), attributes.get("mask_value")
            size = size if isinstance(size, int) and size > 0 else _head_size(index, layer)
            head[layer.name] = Unmeasured("the head size is not known") if size is None else size
            if not _has_unit_queries(index, i):
                if size is None or not isinstance(scale, (int, float)):
                    ratio[layer.name] = Unmeasured("the scale or the head size is not known")
                else:
                    ratio[layer.name] = float(scale) * math.sqrt(size)
            if isinstance(value, (int, float)) and math.isfinite(value):
                mask[layer.name] = float(value)
        else:
            fill = layer.attributes.get("fill")
            if isinstance(fill, (int, float)) and math.isfinite(fill) and fill < 0:
                user = sole_use(index, i, outputs, _TO_SCORES)
                if user is not None and index.ops[user] is Op.SOFTMAX:
                    mask[layer.name] = float(fill)
                    computed = compute_dtype(index, layer)
                    if computed is not None:
                        dtype[layer.name] = computed
                        if computed in DTYPE_MAX:
                            largest[layer.name] = DTYPE_MAX[computed]
    return {
        "layer.attention_scale_ratio": ratio,
        "layer.attention_head_size": head,
        "layer.mask_value": mask,
        "layer.compute_dtype": dtype,
        "layer.dtype_max": largest,
    }


def _head_size(index: Index, layer: Layer) -> int | None:
    shape = index.input_shape(layer)
    size = shape[-1] if shape is not None and len(shape) == 4 else None
    return size if isinstance(size, int) else None


def _has_unit_queries(index: Index, position: int) -> bool:
    """Whether queries or keys are divided by their length (cosine attention, Liu et al. 2022): 1/√d does not belong there."""
    row = index.sources[position]
    for source in row[:2]:
        above = index.origin[source] if source >= 0 else -1
        if above >= 0 and index.ops[above] in (Op.MUL, Op.DIV) and len(index.activations(above)) == 1:
            above = through(index, above)
        if above >= 0 and index.ops[above] is Op.LP_NORM:
            return True
        if above >= 0 and index.ops[above] is Op.DIV:
            below = [s for s in index.sources[above][1:] if s >= 0]
            bottom = index.origin[below[0]] if below else -1
            if bottom >= 0 and index.ops[bottom] in (Op.CLIP, Op.MAX, Op.ADD):
                bottom = through(index, bottom)
            if bottom >= 0 and index.ops[bottom] in (Op.REDUCE_L2, Op.SQRT):
                return True
    return False
