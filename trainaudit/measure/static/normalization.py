"""Over which and how many values normalizations take their statistics. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from collections.abc import Iterable

from trainaudit.ir.graph import Dimension, Layer, Role, Shape
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.feature_axes import feature_axes
from trainaudit.measure.static.index import Index

_LAYERWISE = frozenset({Op.LAYER_NORM, Op.RMS_NORM})
_COUNTED = frozenset({Op.BATCH_NORM, Op.INSTANCE_NORM, Op.GROUP_NORM}) | _LAYERWISE
_UNKNOWN = Unmeasured("the shape of its input is not known")
_NOT_FIXED = Unmeasured("the sizes of its normalized axes are not fixed in the file")


def measure_normalization(index: Index) -> Columns:
    """layer.normalizes_features, normalized_count and channels_per_group."""
    features: dict[str, FactValue] = {}
    count: dict[str, FactValue] = {}
    per_group: dict[str, FactValue] = {}
    axes_of = {} if _LAYERWISE.isdisjoint(index.places) else feature_axes(index)
    for i in index.of(_COUNTED):
        layer = index.layers[i]
        op = layer.op
        shape = index.input_shape(layer)
        if op in _LAYERWISE:
            axes = _axes(layer, shape)
            held = axes_of.get(layer.inputs[0]) if layer.inputs else None
            if axes is None or held is None:
                features[layer.name] = Unmeasured("the feature axis of its input is not known")
            else:
                features[layer.name] = any(axis in held for axis in axes)
            count[layer.name] = _layerwise_count(index, layer, axes, shape)
            continue
        if op is Op.GROUP_NORM:
            groups = layer.attributes.get("num_groups")
            channels = layer.attributes.get("num_channels")
            if not isinstance(channels, int) and shape is not None and len(shape) > 1:
                channels = shape[1] if isinstance(shape[1], int) else None
            if not isinstance(groups, int) or not isinstance(channels, int):
                count[layer.name] = _UNKNOWN
                continue
            if groups > 1:
                per_group[layer.name] = channels // groups
            count[layer.name] = _UNKNOWN if shape is None else _product([channels // groups, *shape[2:]])
        elif shape is None:
            count[layer.name] = _UNKNOWN
        elif op is Op.INSTANCE_NORM:
            count[layer.name] = _product(shape[2:])
        elif len(shape) > 2:
            spatial = _product(shape[2:])
            if spatial != 1:  # over a single position BatchNorm counts the batch alone, which the file does not fix
                count[layer.name] = spatial
    return {
        "layer.normalizes_features": features,
        "layer.normalized_count": count,
        "layer.channels_per_group": per_group,
    }


def _axes(layer: Layer, shape: Shape | None) -> tuple[int, ...] | None:
    """Normalized axes, counted from the end."""
    axes = layer.attributes.get("axes")
    if isinstance(axes, tuple) and axes:
        numbers = [int(axis) for axis in axes]
        if all(axis < 0 for axis in numbers):
            return tuple(numbers)
        if shape is None or any(axis >= len(shape) for axis in numbers):
            return None
        return tuple(axis - len(shape) if axis >= 0 else axis for axis in numbers)
    normalized = layer.attributes.get("normalized_shape")
    return tuple(range(-len(normalized), 0)) if isinstance(normalized, tuple) and normalized else None


def _layerwise_count(index: Index, layer: Layer, axes: tuple[int, ...] | None, shape: Shape | None) -> FactValue:
    normalized = layer.attributes.get("normalized_shape")
    if isinstance(normalized, tuple) and normalized:
        return _product(int(size) for size in normalized)
    if axes is not None and shape is not None and all(-axis <= len(shape) for axis in axes):
        return _product(shape[axis] for axis in axes)
    scale = index.graph.parameter_of(layer, Role.SCALE)
    return scale.size if scale is not None and axes is not None and len(scale.shape) == len(axes) else _UNKNOWN


def _product(dimensions: Iterable[Dimension]) -> int | Unmeasured:
    product = 1
    for dimension in dimensions:
        if not isinstance(dimension, int):
            return _NOT_FIXED
        product *= dimension
    return product
