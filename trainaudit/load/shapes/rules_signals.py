"""Shape rules of resampling, image and signal operators. Stdlib and load only.

Semantics: the ONNX operator specification, opset 7 to the newest.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

import math

from trainaudit.ir.graph import Dimension
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimensions import add, as_size, divide, floor_divide, merge, multiply, product, subtract
from trainaudit.load.shapes.known import (
    Known,
    Rule,
    Shapes,
    axis_of,
    input_name,
    input_shape,
    integer,
    integers,
    shape_from,
    text,
)


def resize(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Resize and Upsample: ⌊size · scale⌋ on each axis, or the stated sizes."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    unknown: Shapes = ((None,) * len(shape),)
    if "scales" in node.attributes:
        listed = node.attributes["scales"]
        scales = tuple(listed) if isinstance(listed, list) else None
    else:
        position = 1 if len(node.inputs) == 2 else 2
        scales = known.vector(input_name(node, position)) if input_name(node, position) else ()
    sizes = known.sizes(input_name(node, 3)) if input_name(node, 3) else None
    axes = integers(node, "axes")
    places = [axis_of(axis, len(shape)) for axis in axes] if axes is not None else list(range(len(shape)))
    result = list(shape)
    if sizes is not None:
        if text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
            sizes = (None,) * len(sizes)
        for place, size in zip(places, sizes, strict=True):
            result[place] = as_size(size)
        return (tuple(result),)
    if not scales or input_name(node, 3):
        for place in places:
            result[place] = None
        return (tuple(result),) if scales is not None else unknown
    for place, scale in zip(places, scales, strict=True):
        result[place] = as_size(scaled(shape[place], scale))
    return (tuple(result),)


def scaled(size: Dimension, scale: object) -> Dimension:
    """⌊size · scale⌋, unknown where single precision could decide otherwise."""
    if not isinstance(scale, (int, float)):
        return None
    if float(scale).is_integer():
        return multiply(size, int(scale))
    if not isinstance(size, int):
        inverse = 1 / scale if scale else 0.5
        return floor_divide(size, int(inverse)) if inverse.is_integer() else None
    exact = size * scale
    low, high = math.floor(exact * (1 - 1e-6)), math.floor(exact * (1 + 1e-6))
    if low == high:
        return low
    return round(exact) if float(exact).is_integer() else None


def grid_sample(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """(N, C, …) sampled at a grid (N, …, coordinates) → (N, C, …)."""
    shape, grid = shapes
    if grid is None:
        return (None,)
    batch, channels = shape[:2] if shape is not None else (grid[0], None)
    return ((merge(batch, grid[0]), channels, *grid[1:-1]),)


def affine_grid(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Sizes (N, C, …) → grid (N, …, coordinates)."""
    sizes = known.sizes(node.inputs[1])
    if sizes is None:
        length = known.length(node.inputs[1])
        return (None if length is None else ((None,) * (length - 1) + (length - 2,)),)
    return (shape_from((sizes[0], *sizes[2:], len(sizes) - 2)),)


def roi_align(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """(N, C, H, W) and R regions → (R, C, height, width)."""
    shape, regions = shapes[:2]
    channels = shape[1] if shape is not None else None
    count = regions[0] if regions is not None else None
    pooled = shape_from([integer(node, "output_height", 1), integer(node, "output_width", 1)])
    return ((count, channels, *pooled),)


def roi_pool(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """MaxRoiPool."""
    shape, regions = shapes[:2]
    pooled = shape_from(integers(node, "pooled_shape") or [None, None])
    return ((regions[0] if regions is not None else None, shape[1] if shape is not None else None, *pooled),)


def fold_columns(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Col2Im: (N, C·∏block, L) → (N, C, …)."""
    shape = shapes[0]
    image, block = known.sizes(node.inputs[1]), known.sizes(node.inputs[2])
    if image is None:
        length = known.length(node.inputs[1]) or known.length(node.inputs[2])
        if length is None:
            return (None,)
        image = (None,) * length
    channels = divide(shape[1], product(block)) if shape is not None and block is not None else None
    return ((shape[0] if shape is not None else None, channels, *shape_from(image)),)


def determinant(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Det: stacks of square matrices."""
    shape = shapes[0]
    return (None if shape is None else shape[:-2],)


def fourier(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """DFT: the last axis holds real and imaginary parts; one-sided keeps ⌊n / 2⌋ + 1 frequencies."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    onesided, inverse = integer(node, "onesided", 0), integer(node, "inverse", 0)
    if input_name(node, 2):
        axis = known.scalar(node.inputs[2])
    else:
        axis = integer(node, "axis", 1 if known.opset < 20 else -2)
    length = as_size(known.scalar(node.inputs[1])) if input_name(node, 1) else None
    last: Dimension = 2
    if onesided and inverse:
        last = 1
    if axis is None:
        return ((*(None,) * (len(shape) - 1), last),)
    place = axis_of(axis, len(shape))
    size: Dimension = length if input_name(node, 1) else shape[place]
    if onesided and inverse:
        size = length if input_name(node, 1) else multiply(subtract(shape[place], 1), 2)
    elif onesided:
        size = add(floor_divide(size, 2), 1)
    return ((*shape[:place], size, *shape[place + 1 : -1], last),)


def short_fourier(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """STFT: (batch, frames, frequencies, 2)."""
    signal, window = shapes[0], input_shape(shapes, 2)
    step = known.scalar(node.inputs[1])
    length = known.scalar(input_name(node, 3)) if input_name(node, 3) else window[0] if window else None
    frames: Dimension = None
    if signal is not None and isinstance(step, int):
        frames = add(floor_divide(as_size(subtract(signal[1], length)), step), 1)
    bins = add(floor_divide(length, 2), 1) if integer(node, "onesided", 1) else length
    return ((signal[0] if signal is not None else None, frames, bins, 2),)


def window(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """HannWindow and its kin."""
    return ((as_size(known.scalar(node.inputs[0])),),)


def mel_weights(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """MelWeightMatrix: (⌊length / 2⌋ + 1, bins)."""
    bins, length = known.scalar(node.inputs[0]), known.scalar(node.inputs[1])
    return ((add(floor_divide(length, 2), 1), as_size(bins)),)


def image(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """ImageDecoder: height, width, channels."""
    return ((None, None, 1 if text(node, "pixel_format", "RGB") == "Grayscale" else 3),)


def tfidf(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """TfIdfVectorizer: one column per n-gram."""
    shape = shapes[0]
    indexes = integers(node, "ngram_indexes")
    if shape is None or not indexes:
        return (None,)
    return ((*shape[:-1], as_size(max(indexes) + 1)),)


RULES: dict[str, Rule] = {
    "AffineGrid": affine_grid,
    "BlackmanWindow": window,
    "Col2Im": fold_columns,
    "DFT": fourier,
    "Det": determinant,
    "GridSample": grid_sample,
    "HammingWindow": window,
    "HannWindow": window,
    "ImageDecoder": image,
    "MaxRoiPool": roi_pool,
    "MelWeightMatrix": mel_weights,
    "Resize": resize,
    "RoiAlign": roi_align,
    "STFT": short_fourier,
    "TfIdfVectorizer": tfidf,
    "Upsample": resize,
}
