"""Sizes of feature maps, and what reads them: kernels, strides, dense layers. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence

from trainaudit.ir.graph import Attribute, Layer, Shape
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.index import Index, sole_use

_SLIDING = frozenset({Op.CONV, Op.MAX_POOL, Op.AVERAGE_POOL})
_KEEPING = (
    ACTIVATIONS
    | NORMALIZATIONS
    | DROPOUTS
    | {Op.MAX_POOL, Op.AVERAGE_POOL, Op.PAD, Op.CAST, Op.IDENTITY, Op.DETACH, Op.LINEAR}
)
"""Layers that a feature map passes without losing its axes."""
_FLATTENING = frozenset({Op.FLATTEN, Op.RESHAPE})
_FLAT = ACTIVATIONS | NORMALIZATIONS | DROPOUTS | {Op.CAST, Op.IDENTITY, Op.DETACH}
_MAXIMA = frozenset({Op.MAX_POOL, Op.GLOBAL_MAX_POOL})
_FARTHEST = 32
"""Layers that are looked back through from a dense layer."""
_UNKNOWN = Unmeasured("the size of the feature map that it reads is not fixed in the file")


def measure_maps(index: Index) -> Columns:
    """layer.kernel_size, stride and map_side of convolutions and poolings; dense_axis, map_share and flattened_share of dense layers;
    is_before_max_pool of dropouts."""
    kernels: dict[str, FactValue] = {}
    strides: dict[str, FactValue] = {}
    sides: dict[str, FactValue] = {}
    for i in index.of(_SLIDING):
        layer = index.layers[i]
        kernel = largest(layer.attributes.get("kernel_size"))
        if kernel is None:
            continue
        kernels[layer.name] = kernel
        strides[layer.name] = largest(layer.attributes.get("stride")) or 1
        shape = index.input_shape(layer)
        sides[layer.name] = _side(shape)
    axes: dict[str, FactValue] = {}
    shares: dict[str, FactValue] = {}
    flattened: dict[str, FactValue] = {}
    for i in index.of((Op.LINEAR,)):
        layer = index.layers[i]
        axes[layer.name] = _dense_axis(index, i)
        if axes[layer.name] == "map-channels":
            share = _share(index, layer)
            if share is not None:
                shares[layer.name] = share
        whole = _flattened_share(index, i)
        if whole is not None:
            flattened[layer.name] = whole
    outputs = index.output_layers()
    pooled: dict[str, FactValue] = {}
    for i in index.of(DROPOUTS):
        user = sole_use(index, i, outputs)
        pooled[index.layers[i].name] = user is not None and index.ops[user] in _MAXIMA
    return {
        "layer.flattened_share": flattened,
        "layer.is_before_max_pool": pooled,
        "layer.kernel_size": kernels,
        "layer.stride": strides,
        "layer.map_side": sides,
        "layer.dense_axis": axes,
        "layer.map_share": shares,
    }


def largest(attribute: Attribute | None) -> int | None:
    """The largest of some sizes, None for none."""
    if isinstance(attribute, tuple) and attribute and all(isinstance(size, int) for size in attribute):
        return max(size for size in attribute if isinstance(size, int))
    return attribute if isinstance(attribute, int) else None


def _side(shape: Shape | None) -> FactValue:
    """The longest side of a map (batch, channels, sides …)."""
    if shape is None or len(shape) < 3:
        return _UNKNOWN
    sides = [size for size in shape[2:] if isinstance(size, int)]
    return max(sides) if len(sides) == len(shape) - 2 else _UNKNOWN


def _dense_axis(index: Index, position: int) -> str:
    """What a dense layer sums over: the channels at each place of a convolution's map, the map's own width, or plain features."""
    shape = index.input_shape(index.layers[position])
    if shape is None or len(shape) != 4:
        return "features"
    is_last = False
    current: int = position
    for _ in range(_FARTHEST):
        row = index.sources[current]
        if not row or row[0] < 0:
            break
        current = row[0]
        op = index.ops[current]
        if op is Op.CONV:
            return "map-channels" if is_last else "map-width"
        if op is Op.TRANSPOSE:
            is_last = is_last or index.layers[current].attributes.get("perm") == (0, 2, 3, 1)
            if not is_last:
                break
        elif op not in _KEEPING:
            break
    return "features"


def _share(index: Index, layer: Layer) -> FactValue | None:
    """Places of the map that a dense layer works on (channels last) over those of the model's first image. None where no output has those
    places: the map goes on to something else."""
    shape = index.input_shape(layer)
    if shape is None:
        return None
    ends = [end for name in index.graph.outputs if (end := index.shape(name)) is not None and len(end) == 4]
    if not any(shape[1:3] in (end[1:3], end[2:]) for end in ends):
        return None
    images = [image for name in index.graph.inputs if (image := index.shape(name)) is not None and len(image) == 4]
    places, whole = _places(shape[1:3]), _places(images[0][2:]) if images else None
    return places / whole if places and whole else _UNKNOWN


def _flattened_share(index: Index, position: int) -> FactValue | None:
    """Places of the map that was flattened for a dense layer, over those of the model's first image. None where no map was."""
    current = position
    for _ in range(_FARTHEST):
        row = index.sources[current]
        if not row or row[0] < 0:
            return None
        current = row[0]
        shape = index.input_shape(index.layers[current])
        if index.ops[current] in _FLATTENING and shape is not None and len(shape) == 4:
            images = [
                image for name in index.graph.inputs if (image := index.shape(name)) is not None and len(image) == 4
            ]
            places, whole = _places(shape[2:]), _places(images[0][2:]) if images else None
            return places / whole if places and whole else None
        if index.ops[current] not in _FLAT:
            return None
    return None


def _places(sizes: Sequence[object]) -> int | None:
    count = 1
    for size in sizes:
        if not isinstance(size, int):
            return None
        count *= size
    return count
