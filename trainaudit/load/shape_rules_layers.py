"""Shape rules of layers: products, convolutions, pooling, recurrence, attention, resampling and signals. Stdlib and load only.

Semantics: the ONNX operator specification, opset 7 to the newest.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

import math
from collections.abc import Sequence

from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.dimensions import (
    add,
    as_size,
    broadcast,
    ceil_divide,
    divide,
    floor_divide,
    merge,
    multiply,
    product,
    subtract,
)
from trainaudit.load.raw import RawNode
from trainaudit.load.shape_known import (
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
from trainaudit.load.shape_rules_elementwise import broadcast_shapes


def matmul_shape(a: Shape | None, b: Shape | None) -> Shape | None:
    """numpy's matmul: stacks of matrices broadcast, vectors gain an axis for the product only."""
    if a is None or b is None or not a or not b:
        return None
    if len(a) == 1:
        return b[:-2] + b[-1:] if len(b) > 1 else ()
    if len(b) == 1:
        return a[:-1]
    if len(b) == 2:
        return (*a[:-1], b[1])
    stack = broadcast_shapes(a[:-2], b[:-2])
    return None if stack is None else (*stack, a[-2], b[-1])


def matmul(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """MatMul and MatMulInteger."""
    return (matmul_shape(shapes[0], shapes[1]),)


def quantized_matmul(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """QLinearMatMul: each operand is followed by its scale and zero point."""
    return (matmul_shape(shapes[0], shapes[3]),)


def gemm(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Gemm: (rows, columns), either operand transposed."""
    a, b = shapes[:2]
    rows = a[1 if integer(node, "transA", 0) else 0] if a is not None else None
    columns = b[0 if integer(node, "transB", 0) else 1] if b is not None else None
    return ((rows, columns),)


def window_size(
    size: Dimension, kernel: Dimension, stride: int, padding: int, dilation: int, padding_begin: int, *, ceil: bool
) -> Dimension:
    """Positions of a window: ⌊(size + padding − dilation·(kernel − 1) − 1) / stride⌋ + 1 (torch.nn.Conv2d); with `ceil`
    rounded up, but no window starts beyond the input and its first padding."""
    reach = add(multiply(subtract(kernel, 1), dilation), 1)
    room = as_size(subtract(add(size, padding), reach))
    if not ceil:
        return add(floor_divide(room, stride), 1)
    count = add(ceil_divide(room, stride), 1)
    if not isinstance(count, int) or not isinstance(size, int):
        return None if stride > 1 else count
    return count - 1 if (count - 1) * stride >= size + padding_begin else count


def window_sizes(node: RawNode, sizes: Sequence[Dimension], kernel: Sequence[Dimension]) -> Shape:
    """The spatial sizes after a convolution or pooling."""
    rank = len(sizes)
    strides = integers(node, "strides") or [1] * rank
    dilations = integers(node, "dilations") or [1] * rank
    pads = integers(node, "pads") or [0] * (2 * rank)
    mode = text(node, "auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        return tuple(ceil_divide(size, stride) for size, stride in zip(sizes, strides, strict=True))
    if mode == "VALID":
        pads = [0] * (2 * rank)
    ceil = bool(integer(node, "ceil_mode", 0))
    return tuple(
        window_size(sizes[i], kernel[i], strides[i], pads[i] + pads[i + rank], dilations[i], pads[i], ceil=ceil)
        for i in range(rank)
    )


def convolution_shape(node: RawNode, shape: Shape | None, weight: Shape | None) -> Shape | None:
    """(N, C, …) and a weight (M, C / groups, …) → (N, M, …)."""
    kernel: Sequence[Dimension] | None = integers(node, "kernel_shape")
    if kernel is None and weight is not None:
        kernel = weight[2:]
    filters = weight[0] if weight else None
    if shape is None:
        return None if kernel is None else (None, filters, *[None] * len(kernel))
    if kernel is None:
        kernel = [None] * (len(shape) - 2)
    return (shape[0], filters, *window_sizes(node, shape[2:], kernel))


def convolution(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Conv, ConvInteger and DeformConv."""
    return (convolution_shape(node, shapes[0], shapes[1]),)


def quantized_convolution(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """QLinearConv: each operand is followed by its scale and zero point."""
    return (convolution_shape(node, shapes[0], shapes[3]),)


def transposed_convolution(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """ConvTranspose: stride·(size − 1) + output_padding + dilation·(kernel − 1) + 1 − padding, weight (C, M / groups, …)."""
    shape, weight = shapes[:2]
    kernel: Sequence[Dimension] | None = integers(node, "kernel_shape")
    if kernel is None and weight is not None:
        kernel = weight[2:]
    filters = multiply(weight[1], integer(node, "group", 1)) if weight is not None else None
    if shape is None or kernel is None:
        return (None,)
    rank = len(shape) - 2
    stated = integers(node, "output_shape")
    if stated:
        return ((shape[0], filters, *stated[-rank:]),)
    strides = integers(node, "strides") or [1] * rank
    dilations = integers(node, "dilations") or [1] * rank
    pads = integers(node, "pads") or [0] * (2 * rank)
    extra = integers(node, "output_padding") or [0] * rank
    mode = text(node, "auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        return ((shape[0], filters, *[multiply(shape[2 + i], strides[i]) for i in range(rank)]),)
    if mode == "VALID":
        pads = [0] * (2 * rank)
    sizes: list[Dimension] = []
    for i in range(rank):
        reach = add(multiply(subtract(kernel[i], 1), dilations[i]), 1)
        spread = multiply(subtract(shape[2 + i], 1), strides[i])
        sizes.append(as_size(add(add(spread, reach), extra[i] - pads[i] - pads[i + rank])))
    return ((shape[0], filters, *sizes),)


def pooling(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """MaxPool (with indices), AveragePool, LpPool."""
    shape = shapes[0]
    kernel = integers(node, "kernel_shape")
    if kernel is None:
        return (None,)
    if shape is None:
        return ((None,) * (len(kernel) + 2),)
    result = (*shape[:2], *window_sizes(node, shape[2:], kernel))
    return (result, result)


def global_pooling(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """(N, C, …) → (N, C, 1, …)."""
    shape = shapes[0]
    return (None if shape is None else shape[:2] + (1,) * (len(shape) - 2),)


def unpooling(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """MaxUnpool: stride·(size − 1) + kernel − padding, or the stated shape."""
    if input_name(node, 2):
        stated = known.sizes(node.inputs[2])
        return (None if stated is None else shape_from(stated),)
    shape = shapes[0]
    kernel = integers(node, "kernel_shape")
    if shape is None or kernel is None:
        return (None,)
    rank = len(kernel)
    strides = integers(node, "strides") or [1] * rank
    pads = integers(node, "pads") or [0] * (2 * rank)
    sizes = [
        as_size(add(multiply(subtract(shape[2 + i], 1), strides[i]), kernel[i] - pads[i] - pads[i + rank]))
        for i in range(rank)
    ]
    return ((*shape[:2], *sizes),)


def recurrent(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """RNN, GRU, LSTM: all hidden states, the last one, and the last cell (LSTM)."""
    shape, recurrence = shapes[0], input_shape(shapes, 2)
    directions = 2 if text(node, "direction", "forward") == "bidirectional" else 1
    hidden: Dimension = recurrence[2] if recurrence is not None else None
    if "hidden_size" in node.attributes:
        hidden = integer(node, "hidden_size", 0)
    sequence, batch = (None, None) if shape is None else shape[:2]
    if integer(node, "layout", 0):
        sequence, batch = batch, sequence
        last: Shape = (batch, directions, hidden)
        return ((batch, sequence, directions, hidden), last, last)
    last = (directions, batch, hidden)
    return ((sequence, directions, batch, hidden), last, last)


def attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Attention of ai.onnx (opset 23): 4-d (batch, heads, sequence, size) or 3-d with the heads in the last axis."""
    query, key, value = shapes[:3]
    past = input_shape(shapes, 4)
    heads: Dimension
    kv_heads: Dimension
    if query is None or key is None or value is None:
        return (query if query is not None and len(query) == 3 and value is None else None,)
    if len(query) == 3:
        heads = integer(node, "q_num_heads", 0)
        kv_heads = integer(node, "kv_num_heads", 0)
        batch, length = query[:2]
        added = merge(key[1], value[1])
        size, value_size = divide(key[2], kv_heads), divide(value[2], kv_heads)
        result: Shape = (batch, length, multiply(value_size, heads))
    else:
        batch, heads, length = query[:3]
        kv_heads, added = key[1], merge(key[2], value[2])
        size, value_size = key[3], value[3]
        result = (batch, heads, length, value_size)
    if not input_name(node, 4):
        total = added
    else:
        total = add(past[2], added) if past is not None else None
    keys: Shape = (batch, kv_heads, total, size)
    return (result, keys, (batch, kv_heads, total, value_size), (batch, heads, length, total))


def linear_attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """LinearAttention: packed heads (B, T, heads·size), and the recurrent state (B, heads, key size, value size)."""
    query, key, value = shapes[:3]
    if query is None or key is None or value is None:
        return (None,)
    heads, kv_heads = integer(node, "q_num_heads", 0), integer(node, "kv_num_heads", 0)
    key_size, value_size = divide(key[2], kv_heads), divide(value[2], kv_heads)
    return ((query[0], query[1], multiply(value_size, heads)), (query[0], kv_heads, key_size, value_size))


def causal_convolution(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """CausalConvWithState: the input's shape, and the last kernel − 1 positions."""
    shape, weight = shapes[:2]
    if shape is None:
        return (None,)
    return (shape, (*shape[:2], subtract(weight[-1], 1) if weight is not None else None))


def flexible_attention(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """FlexAttention: (batch, heads, sequence, value size)."""
    query, _, value = shapes[:3]
    return (None if query is None else (*query[:3], value[3] if value is not None else None),)


def einsum(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Einsum: explicit or implicit output, with ellipsis."""
    left, arrow, right = text(node, "equation", "").replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes) or any(shape is None for shape in shapes):
        return (None,)
    sizes: dict[str, Dimension] = {}
    stack: Shape = ()
    for term, shape in zip(terms, shapes, strict=True):
        if shape is None:
            return (None,)
        before, dots, after = term.partition("...")
        if dots:
            middle = broadcast_shapes(stack, shape[len(before) : len(shape) - len(after)])
            stack = middle if middle is not None else ()
        elif len(term) != len(shape):
            return (None,)
        for letter, size in (
            *zip(before, shape, strict=False),
            *zip(reversed(after), reversed(shape), strict=False),
        ):
            sizes[letter] = broadcast(sizes[letter], size) if letter in sizes else size
    if not arrow:
        right = ("..." if "..." in left else "") + "".join(x for x in sorted(sizes) if left.count(x) == 1)
    before, dots, after = right.partition("...")
    result = [sizes[letter] for letter in before]
    if dots:
        result += stack
    return ((*result, *[sizes[letter] for letter in after]),)


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
        result[place] = scaled(shape[place], scale)
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
    return ((count, channels, integer(node, "output_height", 1), integer(node, "output_width", 1)),)


def roi_pool(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """MaxRoiPool."""
    shape, regions = shapes[:2]
    pooled = integers(node, "pooled_shape") or [None, None]
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
    return ((*shape[:-1], max(indexes) + 1),)


RULES: dict[str, Rule] = {
    "AffineGrid": affine_grid,
    "Attention": attention,
    "AveragePool": pooling,
    "BlackmanWindow": window,
    "CausalConvWithState": causal_convolution,
    "Col2Im": fold_columns,
    "Conv": convolution,
    "ConvInteger": convolution,
    "ConvTranspose": transposed_convolution,
    "DFT": fourier,
    "DeformConv": convolution,
    "Det": determinant,
    "Einsum": einsum,
    "GRU": recurrent,
    "Gemm": gemm,
    "GlobalAveragePool": global_pooling,
    "GlobalLpPool": global_pooling,
    "GlobalMaxPool": global_pooling,
    "GridSample": grid_sample,
    "HammingWindow": window,
    "HannWindow": window,
    "ImageDecoder": image,
    "LSTM": recurrent,
    "LinearAttention": linear_attention,
    "LpPool": pooling,
    "MatMul": matmul,
    "MatMulInteger": matmul,
    "MaxPool": pooling,
    "MaxRoiPool": roi_pool,
    "MaxUnpool": unpooling,
    "MelWeightMatrix": mel_weights,
    "QLinearConv": quantized_convolution,
    "QLinearMatMul": quantized_matmul,
    "RNN": recurrent,
    "Resize": resize,
    "RoiAlign": roi_align,
    "STFT": short_fourier,
    "TfIdfVectorizer": tfidf,
    "Upsample": resize,
}
