"""The table from ONNX operators to `Op`, with attributes in torch's words. One row per operator that stands for one layer.

Stdlib, ir and load's raw graph only.
"""

from __future__ import annotations

from collections.abc import Callable

from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op
from trainaudit.load.constants import type_name
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_kernels import window
from trainaudit.load.wiring import Draft, Wiring, number, numbers, real, word

Attributes = dict[str, Attribute]
Translate = Callable[[Wiring, RawNode], Attributes]


def positive_axis(wiring: Wiring, name: str, axis: int) -> int:
    """The axis counted from the front, where the rank is known."""
    if axis >= 0:
        return axis
    rank = wiring.rank(name)
    return axis if rank is None else axis + rank


def _positive_axes(wiring: Wiring, name: str, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(positive_axis(wiring, name, axis) for axis in axes)


def softmax(wiring: Wiring, node: RawNode) -> Attributes:
    """dim; before opset 13 the axes from `axis` on are flattened into one, which the attribute `flattened` says."""
    source = node.inputs[0]
    if wiring.raw.opset >= 13:
        return {"dim": positive_axis(wiring, source, number(node, "axis", -1))}
    dim = positive_axis(wiring, source, number(node, "axis", 1))
    rank = wiring.rank(source)
    attributes: Attributes = {"dim": dim}
    if rank is not None and any(wiring.dimension(source, axis) != 1 for axis in range(dim + 1, rank)):
        attributes["flattened"] = True
    return attributes


def _reduce(wiring: Wiring, node: RawNode) -> Attributes:
    attributes: Attributes = {"keepdim": bool(number(node, "keepdims", 1))}
    axes = wiring.argument(node, 1, "axes")
    source = node.inputs[0]
    if axes is None and len(node.inputs) < 2 and not number(node, "noop_with_empty_axes", 0):
        rank = wiring.rank(source)
        axes = None if rank is None else tuple(range(rank))
    if axes is not None:
        attributes["axes"] = _positive_axes(wiring, source, axes)
    return attributes


def _axes(wiring: Wiring, node: RawNode) -> Attributes:
    axes = wiring.argument(node, 1, "axes")
    if axes is None:
        return {}
    return {"axes": _positive_axes(wiring, node.outputs[0] if node.op == "Unsqueeze" else node.inputs[0], axes)}


def _slice(wiring: Wiring, node: RawNode) -> Attributes:
    attributes: Attributes = {}
    starts, ends = wiring.argument(node, 1, "starts"), wiring.argument(node, 2, "ends")
    axes = wiring.argument(node, 3, "axes")
    if axes is None and len(node.inputs) < 4 and starts is not None:
        axes = tuple(range(len(starts)))
    steps = wiring.argument(node, 4, "steps")
    for key, value in (("starts", starts), ("ends", ends), ("steps", steps)):
        if value is not None:
            attributes[key] = value
    if axes is not None:
        attributes["axes"] = _positive_axes(wiring, node.inputs[0], axes)
    return attributes


def _split(wiring: Wiring, node: RawNode) -> Attributes:
    source = node.inputs[0]
    axis = positive_axis(wiring, source, number(node, "axis", 0))
    attributes: Attributes = {"dim": axis}
    sizes = wiring.argument(node, 1, "split")
    if sizes is None:
        total, count = wiring.dimension(source, axis), len(node.outputs)
        if total is not None:
            share = -(-total // count)
            sizes = tuple(max(min(share, total - share * place), 0) for place in range(count))
    if sizes is not None:
        attributes["sizes"] = sizes
    return attributes


def split_in_pieces(wiring: Wiring, place: int) -> Draft | None:
    """SplitToSequence whose pieces are all taken by stored indices (torch's chunk before optimization): a split."""
    node = wiring.nodes[place]
    readers = wiring.consumers.get(node.outputs[0], [])
    pieces: list[tuple[int, int]] = []
    for reader in readers:
        index = wiring.scalar(wiring.nodes[reader].inputs[1]) if wiring.nodes[reader].op == "SequenceAt" else None
        if index is None:
            return None
        pieces.append((int(index), reader))
    if not pieces or node.outputs[0] in wiring.outputs or len({index for index, _ in pieces}) != len(pieces):
        return None
    pieces.sort()
    source = node.inputs[0]
    axis = positive_axis(wiring, source, number(node, "axis", 0))
    attributes: Attributes = {"dim": axis}
    sizes = wiring.argument(node, 1, "split")
    total = wiring.dimension(source, axis)
    if sizes is not None and len(sizes) == 1 and total is not None and sizes[0] > 0:
        share = sizes[0]
        sizes = tuple(min(share, total - start) for start in range(0, total, share))
    if sizes is not None and len(sizes) == len(pieces):
        attributes["sizes"] = sizes
    members = (place, *(reader for _, reader in pieces))
    outputs = [wiring.nodes[reader].outputs[0] for _, reader in pieces]
    return Draft(Op.SPLIT, place, [source], outputs, members, attributes=attributes, last=place)


def _reshape(wiring: Wiring, node: RawNode) -> Attributes:
    shape = wiring.argument(node, 1, "shape")
    return {} if shape is None else {"shape": shape}


def _transpose(wiring: Wiring, node: RawNode) -> Attributes:
    perm = numbers(node, "perm")
    if perm is None:
        rank = wiring.rank(node.inputs[0])
        perm = None if rank is None else tuple(range(rank))[::-1]
    return {} if perm is None else {"perm": perm}


def _pad(wiring: Wiring, node: RawNode) -> Attributes:
    attributes: Attributes = {"mode": word(node, "mode", "constant")}
    pads = wiring.argument(node, 1, "pads") or numbers(node, "paddings")
    if pads is not None:
        attributes["pads"] = pads
    value = wiring.scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else real(node, "value", 0.0)
    if value is not None:
        attributes["value"] = value
    return attributes


def _pool(wiring: Wiring, node: RawNode) -> Attributes:
    return window(wiring, node, numbers(node, "kernel_shape"))


def _cumulative(wiring: Wiring, node: RawNode) -> Attributes:
    axis = wiring.integers(node.inputs[1]) if len(node.inputs) > 1 else None
    return {"dim": positive_axis(wiring, node.inputs[0], axis[0])} if axis else {}


def _cast(wiring: Wiring, node: RawNode) -> Attributes:
    target = type_name(node.attributes.get("to"))
    if node.op == "CastLike":
        target = wiring.dtypes.get(node.inputs[1]) or wiring.dtypes.get(node.outputs[0])
    return {} if target is None else {"to": target}


def _dim(default: int) -> Translate:
    def translate(wiring: Wiring, node: RawNode) -> Attributes:
        source = node.outputs[0] if node.op == "Concat" else node.inputs[0]
        return {"dim": positive_axis(wiring, source, number(node, "axis", default))}

    return translate


def _real(attribute: str, default: float, key: str) -> Translate:
    def translate(_wiring: Wiring, node: RawNode) -> Attributes:
        return {key: real(node, attribute, default)}

    return translate


def _hard_sigmoid(_wiring: Wiring, node: RawNode) -> Attributes:
    return {"alpha": real(node, "alpha", 0.2), "beta": real(node, "beta", 0.5)}


def _gelu(_wiring: Wiring, node: RawNode) -> Attributes:
    return {"approximate": word(node, "approximate", "none")}


def _loss(_wiring: Wiring, node: RawNode) -> Attributes:
    name = "cross-entropy" if node.op == "SoftmaxCrossEntropyLoss" else "nll"
    return {"name": name, "reduction": word(node, "reduction", "mean")}


def _dropout(wiring: Wiring, node: RawNode) -> Attributes:
    ratio = wiring.scalar(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else real(node, "ratio", 0.5)
    training = (
        wiring.scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else number(node, "is_test", 1) == 0
    )
    attributes: Attributes = {} if ratio is None else {"p": ratio}
    attributes["training"] = bool(training)
    return attributes


def _lrn(_wiring: Wiring, node: RawNode) -> Attributes:
    return {"size": number(node, "size", 1), "alpha": real(node, "alpha", 1e-4), "beta": real(node, "beta", 0.75)}


def _lp_norm(wiring: Wiring, node: RawNode) -> Attributes:
    axis = positive_axis(wiring, node.inputs[0], number(node, "axis", -1))
    return {"axes": (axis,), "ordinal": number(node, "p", 2)}


def _flatten(wiring: Wiring, node: RawNode) -> Attributes:
    return {"start_dim": positive_axis(wiring, node.inputs[0], number(node, "axis", 1))}


def _triangle(_wiring: Wiring, node: RawNode) -> Attributes:
    return {"upper": bool(number(node, "upper", 1))}


def _compare(wiring: Wiring, node: RawNode) -> Attributes:
    for side, name in (("left", node.inputs[0]), ("right", node.inputs[-1])):
        value = wiring.scalar(name)
        if value is not None:
            return {"scalar": value, "scalar_side": side}
    return {}


ALL = 1 << 30
"""Every input is an operand; else the number of inputs that are, the others being arguments such as axes or shapes."""

Row = tuple[Op, Translate | None, int]


def _rows(op: Op, names: str, translate: Translate | None = None, operands: int = ALL) -> dict[str, Row]:
    return dict.fromkeys(names.split(), (op, translate, operands))


TABLE: dict[str, Row] = {
    **_rows(Op.RELU, "Relu"),
    **_rows(Op.LEAKY_RELU, "LeakyRelu", _real("alpha", 0.01, "negative_slope")),
    **_rows(Op.THRESHOLDED_RELU, "ThresholdedRelu", _real("alpha", 1.0, "threshold")),
    **_rows(Op.ELU, "Elu", _real("alpha", 1.0, "alpha")),
    **_rows(Op.CELU, "Celu", _real("alpha", 1.0, "alpha")),
    **_rows(Op.SELU, "Selu"),
    **_rows(Op.GELU, "Gelu", _gelu),
    **_rows(Op.MISH, "Mish"),
    **_rows(Op.SIGMOID, "Sigmoid"),
    **_rows(Op.HARD_SIGMOID, "HardSigmoid", _hard_sigmoid),
    **_rows(Op.HARD_SWISH, "HardSwish"),
    **_rows(Op.TANH, "Tanh"),
    **_rows(Op.SOFTPLUS, "Softplus"),
    **_rows(Op.SOFTSIGN, "Softsign"),
    **_rows(Op.SOFTMAX, "Softmax", softmax),
    **_rows(Op.LOG_SOFTMAX, "LogSoftmax", softmax),
    **_rows(Op.HARDMAX, "Hardmax", softmax),
    **_rows(Op.GLU, "SwiGLU"),
    **_rows(Op.NEG, "Neg"), **_rows(Op.ABS, "Abs"), **_rows(Op.EXP, "Exp"), **_rows(Op.LOG, "Log"), **_rows(Op.SQRT, "Sqrt"),
    **_rows(Op.RECIPROCAL, "Reciprocal"), **_rows(Op.ERF, "Erf"), **_rows(Op.SIN, "Sin"), **_rows(Op.COS, "Cos"),
    **_rows(Op.TRIGONOMETRIC, "Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh"),
    **_rows(Op.MEAN, "Mean"), **_rows(Op.CLIP, "Shrink"),
    **_rows(Op.SIGN, "Sign"), **_rows(Op.ROUND, "Round"), **_rows(Op.FLOOR, "Floor"), **_rows(Op.CEIL, "Ceil"),
    **_rows(Op.ARGMAX, "ArgMax ArgMin", _dim(0)),
    **_rows(Op.COMPARE, "Equal Less LessOrEqual Greater GreaterOrEqual", _compare),
    **_rows(Op.LOGICAL, "And Or Xor Not"),
    **_rows(Op.BITWISE, "BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitCast"),
    **_rows(Op.IS_FINITE, "IsNaN IsInf"),
    **_rows(Op.NONZERO, "NonZero"), **_rows(Op.ONE_HOT, "OneHot", None, 1), **_rows(Op.UNIQUE, "Unique"),
    **_rows(Op.NON_MAX_SUPPRESSION, "NonMaxSuppression", None, 2),
    **_rows(Op.REDUCE_MEAN, "ReduceMean", _reduce, 1), **_rows(Op.REDUCE_SUM, "ReduceSum", _reduce, 1),
    **_rows(Op.REDUCE_MAX, "ReduceMax", _reduce, 1), **_rows(Op.REDUCE_MIN, "ReduceMin", _reduce, 1),
    **_rows(Op.REDUCE_PRODUCT, "ReduceProd", _reduce, 1), **_rows(Op.REDUCE_L1, "ReduceL1", _reduce, 1),
    **_rows(Op.REDUCE_L2, "ReduceL2", _reduce, 1), **_rows(Op.REDUCE_SUM_SQUARE, "ReduceSumSquare", _reduce, 1),
    **_rows(Op.REDUCE_LOG_SUM_EXP, "ReduceLogSumExp ReduceLogSum", _reduce, 1),
    **_rows(Op.CUMSUM, "CumSum CumProd", _cumulative, 1),
    **_rows(Op.MAX_POOL, "MaxPool MaxUnpool", _pool, 2), **_rows(Op.AVERAGE_POOL, "AveragePool", _pool),
    **_rows(Op.LP_POOL, "LpPool", _pool),
    **_rows(Op.GLOBAL_MAX_POOL, "GlobalMaxPool"), **_rows(Op.GLOBAL_AVERAGE_POOL, "GlobalAveragePool"),
    **_rows(Op.LP_POOL, "GlobalLpPool"),
    **_rows(Op.RESHAPE, "Reshape", _reshape, 1), **_rows(Op.FLATTEN, "Flatten", _flatten),
    **_rows(Op.TRANSPOSE, "Transpose", _transpose),
    **_rows(Op.SQUEEZE, "Squeeze", _axes, 1), **_rows(Op.UNSQUEEZE, "Unsqueeze", _axes, 1),
    **_rows(Op.EXPAND, "Expand", None, 1), **_rows(Op.TILE, "Tile", None, 1),
    **_rows(Op.CONCAT, "Concat", _dim(0)), **_rows(Op.SPLIT, "Split", _split, 1), **_rows(Op.SLICE, "Slice", _slice, 1),
    **_rows(Op.GATHER, "GatherElements", _dim(0)), **_rows(Op.GATHER, "GatherND Compress ReverseSequence"),
    **_rows(Op.SCATTER, "Scatter ScatterElements ScatterND TensorScatter"),
    **_rows(Op.PAD, "Pad CenterCropPad", _pad, 1), **_rows(Op.RESIZE, "Resize Upsample", None, 1),
    **_rows(Op.DEPTH_TO_SPACE, "DepthToSpace"), **_rows(Op.SPACE_TO_DEPTH, "SpaceToDepth"),
    **_rows(Op.GRID_SAMPLE, "GridSample AffineGrid"), **_rows(Op.ROI_POOL, "RoiAlign MaxRoiPool"),
    **_rows(Op.UNFOLD, "Col2Im Im2Col"), **_rows(Op.TOP_K, "TopK", _dim(-1), 1),
    **_rows(Op.TRIANGLE, "Trilu", _triangle, 1),
    **_rows(Op.IDENTITY, "Identity Optional OptionalGetElement"), **_rows(Op.IDENTITY, "RotaryEmbedding", None, 1),
    **_rows(Op.CAST, "Cast CastLike", _cast, 1),
    **_rows(Op.QUANTIZE, "QuantizeLinear DynamicQuantizeLinear", None, 1),
    **_rows(Op.DEQUANTIZE, "DequantizeLinear", None, 1),
    **_rows(Op.SEQUENCE, "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap "
            "SplitToSequence ConcatFromSequence OptionalHasElement"),
    **_rows(Op.CONSTANT, "Constant ConstantOfShape EyeLike"), **_rows(Op.SHAPE, "Shape Size"), **_rows(Op.RANGE, "Range"),
    **_rows(Op.RANDOM, "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli"),
    **_rows(Op.DROPOUT, "Dropout", _dropout, 1),
    **_rows(Op.LOCAL_RESPONSE_NORM, "LRN", _lrn), **_rows(Op.LP_NORM, "LpNormalization", _lp_norm),
    **_rows(Op.LOSS, "SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss", _loss),
    **_rows(Op.BRANCH, "If"), **_rows(Op.LOOP_ENTRY, "LoopEntry"), **_rows(Op.LOOP_EXIT, "LoopExit Loop Scan"),
    **_rows(Op.TEXT, "StringNormalizer StringConcat StringSplit RegexFullMatch TfIdfVectorizer"),
    **_rows(Op.PREPROCESSING, "ImageDecoder"),
    **_rows(Op.SPECTRAL, "DFT STFT MelWeightMatrix HannWindow HammingWindow BlackmanWindow"),
    **_rows(Op.LINEAR_ALGEBRA, "Det"),
}  # fmt: skip
"""ai.onnx. Operators that are not here have code of their own (see `canonical`)."""

MICROSOFT: dict[str, Row] = {
    **_rows(Op.GELU, "Gelu", _gelu), **_rows(Op.CAST, "QuantizeWithOrder DequantizeWithOrder"),
    **_rows(Op.QUANTIZE, "QuantizeLinear DynamicQuantizeLinear", None, 1), **_rows(Op.DEQUANTIZE, "DequantizeLinear", None, 1),
    **_rows(Op.IDENTITY, "RotaryEmbedding GemmaRotaryEmbedding", None, 1), **_rows(Op.LINEAR_ALGEBRA, "Inverse"),
    **_rows(Op.TRANSPOSE, "TransposeMatMul"), **_rows(Op.DROPOUT, "BitmaskDropout", _dropout, 1),
    **_rows(Op.GATHER, "GatherND ExpandDims Gather"), **_rows(Op.GRID_SAMPLE, "GridSample"), **_rows(Op.TRIANGLE, "Trilu", None, 1),
    **_rows(Op.UNIQUE, "Unique"), **_rows(Op.MAX_POOL, "MaxpoolWithMask NhwcMaxPool", _pool, 1),
    **_rows(Op.AVERAGE_POOL, "QLinearAveragePool", _pool, 1), **_rows(Op.GLOBAL_AVERAGE_POOL, "QLinearGlobalAveragePool", None, 1),
    **_rows(Op.CONCAT, "QLinearConcat"), **_rows(Op.SIGMOID, "QLinearSigmoid", None, 1), **_rows(Op.SOFTMAX, "QLinearSoftmax", softmax, 1),
    **_rows(Op.LEAKY_RELU, "QLinearLeakyRelu", _real("alpha", 0.01, "negative_slope"), 1),
    **_rows(Op.REDUCE_MEAN, "QLinearReduceMean", _reduce, 1), **_rows(Op.MATMUL, "SparseToDenseMatMul"),
    **_rows(Op.SPECTRAL, "Rfft Irfft MelWeightMatrix"), **_rows(Op.TEXT, "Tokenizer WordConvEmbedding"),
    **_rows(Op.RANDOM, "Sampling"), **_rows(Op.CONCAT, "DynamicTimeWarping"),
    **_rows(Op.MUL, "MulInteger ComplexMul ComplexMulConj"), **_rows(Op.IS_FINITE, "IsAllFinite"), **_rows(Op.GELU, "QOrderedGelu"),
    **_rows(Op.SILU, "ScaledSiLU"), **_rows(Op.QUANTIZE, "QuantizeBFP", None, 1), **_rows(Op.DEQUANTIZE, "DequantizeBFP", None, 1),
    **_rows(Op.TRANSPOSE, "ReorderInput ReorderOutput"), **_rows(Op.RESHAPE, "RemovePadding RestorePadding", None, 1),
    **_rows(Op.UNFOLD, "UnfoldTensor"), **_rows(Op.RMS_NORM, "GatedRMSNorm BranchwiseRMSNorm"), **_rows(Op.ADD, "GatedAdd"),
    **_rows(Op.WHERE, "QLinearWhere"), **_rows(Op.REDUCE_SUM, "ReduceSumInteger"), **_rows(Op.LAYER_NORM, "QOrderedLayerNormalization"),
    **_rows(Op.IDENTITY, "MRotaryEmbedding BifurcationDetector", None, 1), **_rows(Op.RANDOM, "SampleOp"),
    **_rows(Op.GATHER, "GatherBlockQuantized"), **_rows(Op.RESIZE, "CropAndResize", None, 1), **_rows(Op.LOSS, "SoftmaxCrossEntropyLossInternal"),
}  # fmt: skip
"""com.microsoft, where an operator stands for one layer."""

CLASSICAL: dict[str, Row] = {
    **_rows(Op.ESTIMATOR, "LinearClassifier LinearRegressor SVMClassifier SVMRegressor TreeEnsemble TreeEnsembleClassifier "
            "TreeEnsembleRegressor"),
    **_rows(Op.PREPROCESSING, "ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer "
            "LabelEncoder Normalizer OneHotEncoder Scaler ZipMap"),
}  # fmt: skip
"""ai.onnx.ml."""

TRAINING: dict[str, Row] = _rows(Op.LOSS, "Gradient Adagrad Adam Momentum")
"""ai.onnx.preview.training: what an optimizer does; no layer of the model."""
