"""The tables from ONNX operators to `Op`: one row per operator that stands for one layer. Stdlib, ir and load only."""

from __future__ import annotations

from trainaudit.ir.ops import Op
from trainaudit.load import translate

ALL = 1 << 30
"""Every input is an operand; else the number of inputs that are, the others being arguments such as axes or shapes."""

Row = tuple[Op, translate.Translate | None, int]


def _rows(op: Op, names: str, translate: translate.Translate | None = None, operands: int = ALL) -> dict[str, Row]:
    return dict.fromkeys(names.split(), (op, translate, operands))


TABLE: dict[str, Row] = {
    **_rows(Op.RELU, "Relu"),
    **_rows(Op.LEAKY_RELU, "LeakyRelu", translate.number_as("alpha", 0.01, "negative_slope")),
    **_rows(Op.THRESHOLDED_RELU, "ThresholdedRelu", translate.number_as("alpha", 1.0, "threshold")),
    **_rows(Op.ELU, "Elu", translate.number_as("alpha", 1.0, "alpha")),
    **_rows(Op.CELU, "Celu", translate.number_as("alpha", 1.0, "alpha")),
    **_rows(Op.SELU, "Selu"),
    **_rows(Op.GELU, "Gelu", translate.gelu),
    **_rows(Op.MISH, "Mish"),
    **_rows(Op.SIGMOID, "Sigmoid"),
    **_rows(Op.HARD_SIGMOID, "HardSigmoid", translate.hard_sigmoid),
    **_rows(Op.HARD_SWISH, "HardSwish"),
    **_rows(Op.TANH, "Tanh"),
    **_rows(Op.SOFTPLUS, "Softplus"),
    **_rows(Op.SOFTSIGN, "Softsign"),
    **_rows(Op.SOFTMAX, "Softmax", translate.softmax),
    **_rows(Op.LOG_SOFTMAX, "LogSoftmax", translate.softmax),
    **_rows(Op.HARDMAX, "Hardmax", translate.softmax),
    **_rows(Op.GLU, "SwiGLU"),
    **_rows(Op.NEG, "Neg"), **_rows(Op.ABS, "Abs"), **_rows(Op.EXP, "Exp"), **_rows(Op.LOG, "Log"), **_rows(Op.SQRT, "Sqrt"),
    **_rows(Op.RECIPROCAL, "Reciprocal"), **_rows(Op.ERF, "Erf"), **_rows(Op.SIN, "Sin"), **_rows(Op.COS, "Cos"),
    **_rows(Op.TRIGONOMETRIC, "Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh"),
    **_rows(Op.MEAN, "Mean"), **_rows(Op.CLIP, "Shrink"),
    **_rows(Op.SIGN, "Sign"), **_rows(Op.ROUND, "Round"), **_rows(Op.FLOOR, "Floor"), **_rows(Op.CEIL, "Ceil"),
    **_rows(Op.ARGMAX, "ArgMax ArgMin", translate.dimension(0)),
    **_rows(Op.COMPARE, "Equal Less LessOrEqual Greater GreaterOrEqual", translate.compare),
    **_rows(Op.LOGICAL, "And Or Xor Not"),
    **_rows(Op.BITWISE, "BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitCast"),
    **_rows(Op.IS_FINITE, "IsNaN IsInf"),
    **_rows(Op.NONZERO, "NonZero"), **_rows(Op.ONE_HOT, "OneHot", None, 1), **_rows(Op.UNIQUE, "Unique"),
    **_rows(Op.NON_MAX_SUPPRESSION, "NonMaxSuppression", None, 2),
    **_rows(Op.REDUCE_MEAN, "ReduceMean", translate.reduce, 1), **_rows(Op.REDUCE_SUM, "ReduceSum", translate.reduce, 1),
    **_rows(Op.REDUCE_MAX, "ReduceMax", translate.reduce, 1), **_rows(Op.REDUCE_MIN, "ReduceMin", translate.reduce, 1),
    **_rows(Op.REDUCE_PRODUCT, "ReduceProd", translate.reduce, 1), **_rows(Op.REDUCE_L1, "ReduceL1", translate.reduce, 1),
    **_rows(Op.REDUCE_L2, "ReduceL2", translate.reduce, 1), **_rows(Op.REDUCE_SUM_SQUARE, "ReduceSumSquare", translate.reduce, 1),
    **_rows(Op.REDUCE_LOG_SUM_EXP, "ReduceLogSumExp ReduceLogSum", translate.reduce, 1),
    **_rows(Op.CUMSUM, "CumSum CumProd", translate.cumulative, 1),
    **_rows(Op.MAX_POOL, "MaxPool MaxUnpool", translate.pool, 2), **_rows(Op.AVERAGE_POOL, "AveragePool", translate.pool),
    **_rows(Op.LP_POOL, "LpPool", translate.pool),
    **_rows(Op.GLOBAL_MAX_POOL, "GlobalMaxPool"), **_rows(Op.GLOBAL_AVERAGE_POOL, "GlobalAveragePool"),
    **_rows(Op.LP_POOL, "GlobalLpPool"),
    **_rows(Op.RESHAPE, "Reshape", translate.reshape, 1), **_rows(Op.FLATTEN, "Flatten", translate.flatten),
    **_rows(Op.TRANSPOSE, "Transpose", translate.transpose),
    **_rows(Op.SQUEEZE, "Squeeze", translate.axes, 1), **_rows(Op.UNSQUEEZE, "Unsqueeze", translate.axes, 1),
    **_rows(Op.EXPAND, "Expand", translate.fill, 1), **_rows(Op.TILE, "Tile", None, 1),
    **_rows(Op.CONCAT, "Concat", translate.dimension(0)), **_rows(Op.SPLIT, "Split", translate.split, 1), **_rows(Op.SLICE, "Slice", translate.slicing, 1),
    **_rows(Op.GATHER, "GatherElements", translate.dimension(0)), **_rows(Op.GATHER, "GatherND Compress ReverseSequence"),
    **_rows(Op.SCATTER, "Scatter ScatterElements ScatterND TensorScatter"),
    **_rows(Op.PAD, "Pad CenterCropPad", translate.padding, 1), **_rows(Op.RESIZE, "Resize Upsample", None, 1),
    **_rows(Op.DEPTH_TO_SPACE, "DepthToSpace"), **_rows(Op.SPACE_TO_DEPTH, "SpaceToDepth"),
    **_rows(Op.GRID_SAMPLE, "GridSample AffineGrid"), **_rows(Op.ROI_POOL, "RoiAlign MaxRoiPool"),
    **_rows(Op.UNFOLD, "Col2Im Im2Col"), **_rows(Op.TOP_K, "TopK", translate.dimension(-1), 1),
    **_rows(Op.TRIANGLE, "Trilu", translate.triangle, 1),
    **_rows(Op.IDENTITY, "Identity Optional OptionalGetElement"), **_rows(Op.ROTARY, "RotaryEmbedding", None, 1),
    **_rows(Op.CAST, "Cast CastLike", translate.cast, 1),
    **_rows(Op.QUANTIZE, "QuantizeLinear DynamicQuantizeLinear", None, 1),
    **_rows(Op.DEQUANTIZE, "DequantizeLinear", None, 1),
    **_rows(Op.SEQUENCE, "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap "
            "SplitToSequence ConcatFromSequence OptionalHasElement"),
    **_rows(Op.CONSTANT, "Constant ConstantOfShape EyeLike", translate.fill), **_rows(Op.SHAPE, "Shape Size"), **_rows(Op.RANGE, "Range"),
    **_rows(Op.RANDOM, "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli"),
    **_rows(Op.DROPOUT, "Dropout", translate.dropout, 1),
    **_rows(Op.LOCAL_RESPONSE_NORM, "LRN", translate.lrn), **_rows(Op.LP_NORM, "LpNormalization", translate.lp_norm),
    **_rows(Op.LOSS, "SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss", translate.loss),
    **_rows(Op.BRANCH, "If"), **_rows(Op.LOOP_ENTRY, "LoopEntry"), **_rows(Op.LOOP_EXIT, "LoopExit Loop Scan"),
    **_rows(Op.TEXT, "StringNormalizer StringConcat StringSplit RegexFullMatch TfIdfVectorizer"),
    **_rows(Op.PREPROCESSING, "ImageDecoder"),
    **_rows(Op.SPECTRAL, "DFT STFT MelWeightMatrix HannWindow HammingWindow BlackmanWindow"),
    **_rows(Op.LINEAR_ALGEBRA, "Det"),
}  # fmt: skip
"""ai.onnx. Operators that are not here have code of their own (see `canonical`)."""

MICROSOFT: dict[str, Row] = {
    **_rows(Op.GELU, "Gelu", translate.gelu), **_rows(Op.CAST, "QuantizeWithOrder DequantizeWithOrder"),
    **_rows(Op.QUANTIZE, "QuantizeLinear DynamicQuantizeLinear", None, 1), **_rows(Op.DEQUANTIZE, "DequantizeLinear", None, 1),
    **_rows(Op.ROTARY, "RotaryEmbedding GemmaRotaryEmbedding", None, 1), **_rows(Op.LINEAR_ALGEBRA, "Inverse"),
    **_rows(Op.TRANSPOSE, "TransposeMatMul"), **_rows(Op.DROPOUT, "BitmaskDropout", translate.dropout, 1),
    **_rows(Op.GATHER, "GatherND ExpandDims Gather"), **_rows(Op.GRID_SAMPLE, "GridSample"), **_rows(Op.TRIANGLE, "Trilu", None, 1),
    **_rows(Op.UNIQUE, "Unique"), **_rows(Op.MAX_POOL, "MaxpoolWithMask NhwcMaxPool", translate.pool, 1),
    **_rows(Op.AVERAGE_POOL, "QLinearAveragePool", translate.pool, 1), **_rows(Op.GLOBAL_AVERAGE_POOL, "QLinearGlobalAveragePool", None, 1),
    **_rows(Op.CONCAT, "QLinearConcat"), **_rows(Op.SIGMOID, "QLinearSigmoid", None, 1), **_rows(Op.SOFTMAX, "QLinearSoftmax", translate.softmax, 1),
    **_rows(Op.LEAKY_RELU, "QLinearLeakyRelu", translate.number_as("alpha", 0.01, "negative_slope"), 1),
    **_rows(Op.REDUCE_MEAN, "QLinearReduceMean", translate.reduce, 1), **_rows(Op.MATMUL, "SparseToDenseMatMul"),
    **_rows(Op.SPECTRAL, "Rfft Irfft MelWeightMatrix"), **_rows(Op.TEXT, "Tokenizer WordConvEmbedding"),
    **_rows(Op.RANDOM, "Sampling"), **_rows(Op.CONCAT, "DynamicTimeWarping"),
    **_rows(Op.MUL, "MulInteger ComplexMul ComplexMulConj"), **_rows(Op.IS_FINITE, "IsAllFinite"), **_rows(Op.GELU, "QOrderedGelu"),
    **_rows(Op.SILU, "ScaledSiLU"), **_rows(Op.QUANTIZE, "QuantizeBFP", None, 1), **_rows(Op.DEQUANTIZE, "DequantizeBFP", None, 1),
    **_rows(Op.TRANSPOSE, "ReorderInput ReorderOutput"), **_rows(Op.RESHAPE, "RemovePadding RestorePadding", None, 1),
    **_rows(Op.UNFOLD, "UnfoldTensor"), **_rows(Op.RMS_NORM, "GatedRMSNorm BranchwiseRMSNorm"), **_rows(Op.ADD, "GatedAdd"),
    **_rows(Op.WHERE, "QLinearWhere"), **_rows(Op.REDUCE_SUM, "ReduceSumInteger"), **_rows(Op.LAYER_NORM, "QOrderedLayerNormalization"),
    **_rows(Op.ROTARY, "MRotaryEmbedding", None, 1), **_rows(Op.IDENTITY, "BifurcationDetector", None, 1), **_rows(Op.RANDOM, "SampleOp"),
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

ATEN: dict[str, Row] = _rows(Op.DETACH, "detach no_grad")
"""What modules do that no operator of ONNX stands for."""
