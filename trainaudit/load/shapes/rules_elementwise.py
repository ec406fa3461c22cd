"""Shape rules of operators that keep, broadcast or reduce their inputs' shapes. Stdlib and load.shape_known only.

Semantics: the ONNX operator specification, opset 7 to the newest.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

from trainaudit.ir.graph import Shape
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimensions import as_size, broadcast
from trainaudit.load.shapes.known import Known, Rule, Shapes, axes_argument, axis_of, input_name, integer, text


def same(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """One output, shaped like the first input."""
    return shapes[:1]


def all_same(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Every output is shaped like the first input."""
    return [shapes[0]] * len(node.outputs)


def scalars(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Every output is a scalar."""
    return [()] * len(node.outputs)


def broadcast_shapes(a: Shape | None, b: Shape | None) -> Shape | None:
    """The shape of an elementwise result of two tensors."""
    if a is None or b is None:
        return None
    if a == b:
        return a
    missing = len(a) - len(b)
    if missing > 0:
        return a[:missing] + tuple(map(broadcast, a[missing:], b))
    if missing < 0:
        return b[:-missing] + tuple(map(broadcast, a, b[-missing:]))
    return tuple(map(broadcast, a, b))


def binary(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Broadcast of two inputs."""
    a, b = shapes
    return shapes[:1] if a == b else (broadcast_shapes(a, b),)


def variadic(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Broadcast of all inputs."""
    result = shapes[0]
    for shape in shapes[1:]:
        result = broadcast_shapes(result, shape)
    return (result,)


def reduction(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Reduce*: axes as an attribute, or as an input from opset 13 (ReduceSum) and 18 (the others)."""
    shape = shapes[0]
    keep = bool(integer(node, "keepdims", 1))
    axes = axes_argument(node, known, 1)
    if axes == ():
        if integer(node, "noop_with_empty_axes", 0):
            return (shape,)
        if not keep:
            return ((),)
        return (None if shape is None else (1,) * len(shape),)
    if shape is None:
        return (None,)
    if axes is None:
        if keep:
            return ((None,) * len(shape),)
        count = known.length(input_name(node, 1))
        return ((None,) * (len(shape) - count) if count else None,)
    return (reduced(shape, {axis_of(axis, len(shape)) for axis in axes}, keep),)


def reduced(shape: Shape, axes: set[int], keep: bool) -> Shape:
    """`shape` without `axes`, or with ones in their place."""
    if keep:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def argument_reduction(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """ArgMax and ArgMin."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    return (reduced(shape, {axis_of(integer(node, "axis", 0), len(shape))}, bool(integer(node, "keepdims", 1))),)


def batch_normalization(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """The first output is normalized; the others are statistics per channel."""
    return [shapes[0]] + [shapes[1]] * (len(node.outputs) - 1)


def layer_normalization(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """The normalized tensor, then mean and inverse deviation with ones from `axis` on."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    axis = axis_of(integer(node, "axis", -1), len(shape))
    statistics = shape[:axis] + (1,) * (len(shape) - axis)
    return [shape] + [statistics] * (len(node.outputs) - 1)


def dynamic_quantization(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """The quantized tensor, its scale and its zero point."""
    return (shapes[0], (), ())


def top_k(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Values and indices."""
    shape = shapes[0]
    if shape is None:
        return (None,)
    axis = axis_of(integer(node, "axis", -1), len(shape))
    count = integer(node, "k", 0) if "k" in node.attributes else known.scalar(input_name(node, 1))
    result = (*shape[:axis], as_size(count), *shape[axis + 1 :])
    return (result, result)


def loss(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss; the second output is the log-probabilities."""
    result = shapes[1] if text(node, "reduction", "mean") == "none" else ()
    return (result, shapes[0])


_SAME = """
Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor IsInf IsNaN Log Neg Not Reciprocal Round Sign Sin Sinh Sqrt Tan
Tanh BitwiseNot Shrink Cast CastLike BitCast Identity Clip Celu Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish
Relu Selu Sigmoid Softmax Softplus Softsign Swish ThresholdedRelu PRelu QuickGelu CumSum CumProd Trilu EyeLike RandomNormalLike
RandomUniformLike Bernoulli DequantizeLinear QuantizeLinear GroupNormalization InstanceNormalization LRN LpNormalization
MeanVarianceNormalization RMSNormalization RotaryEmbedding ScatterElements ScatterND Scatter ReverseSequence TensorScatter
RegexFullMatch Optional OptionalGetElement SimplifiedLayerNormalization ScaledTanh ParametricSoftplus Affine ImageScaler
"""

_BINARY = """
Add Sub Mul Div Pow Mod And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual BitShift BitwiseAnd BitwiseOr BitwiseXor
StringConcat SwiGLU
"""

_REDUCTIONS = """
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.split(), same),
    **dict.fromkeys(_BINARY.split(), binary),
    **dict.fromkeys(_REDUCTIONS.split(), reduction),
    **dict.fromkeys(("Max", "Mean", "Min", "Sum", "Where"), variadic),
    "ArgMax": argument_reduction,
    "ArgMin": argument_reduction,
    "BatchNormalization": batch_normalization,
    "Dropout": all_same,
    "DynamicQuantizeLinear": dynamic_quantization,
    "LayerNormalization": layer_normalization,
    "NegativeLogLikelihoodLoss": loss,
    "OptionalHasElement": scalars,
    "SequenceLength": scalars,
    "SoftmaxCrossEntropyLoss": loss,
    "TopK": top_k,
}
