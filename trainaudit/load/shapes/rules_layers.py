"""Shape rules of layers: products, convolutions, pooling, recurrence, attention, resampling and signals. Stdlib and load only.

Semantics: the ONNX operator specification, opset 7 to the newest.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

from collections.abc import Sequence

from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimensions import (
    add,
    as_size,
    broadcast,
    ceil_divide,
    floor_divide,
    multiply,
    subtract,
)
from trainaudit.load.shapes.known import (
    Known,
    Rule,
    Shapes,
    input_name,
    integer,
    integers,
    shape_from,
    text,
)
from trainaudit.load.shapes.rules_elementwise import broadcast_shapes


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
        return ((shape[0], filters, *shape_from(stated[-rank:])),)
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


RULES: dict[str, Rule] = {
    "AveragePool": pooling,
    "Conv": convolution,
    "ConvInteger": convolution,
    "ConvTranspose": transposed_convolution,
    "DeformConv": convolution,
    "Einsum": einsum,
    "Gemm": gemm,
    "GlobalAveragePool": global_pooling,
    "GlobalLpPool": global_pooling,
    "GlobalMaxPool": global_pooling,
    "LpPool": pooling,
    "MatMul": matmul,
    "MatMulInteger": matmul,
    "MaxPool": pooling,
    "MaxUnpool": unpooling,
    "QLinearConv": quantized_convolution,
    "QLinearMatMul": quantized_matmul,
}
