"""Element types of what operators give. Stdlib and load.datatypes and load.shape_known only.

Per operator one entry for each output: the number of the input that the output takes its type from, or the type's name. An operator
that is not listed gives the type of its first input.
"""

from __future__ import annotations

from trainaudit.load.datatypes import TYPE_NAMES
from trainaudit.load.raw import RawNode
from trainaudit.load.shape_known import Known, integer

DTYPES: dict[str, tuple[int | str, ...]] = {
    **dict.fromkeys(
        [
            "Equal",
            "Greater",
            "GreaterOrEqual",
            "Less",
            "LessOrEqual",
            "And",
            "Or",
            "Xor",
            "Not",
            "IsInf",
            "IsNaN",
            "RegexFullMatch",
            "OptionalHasElement",
        ],
        ("bool",),
    ),
    **dict.fromkeys(
        ["ArgMax", "ArgMin", "NonZero", "NonMaxSuppression", "Shape", "Size", "SequenceLength", "Multinomial"],
        ("int64",),
    ),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), ("int32",)),
    **dict.fromkeys(("QuantizeLinear",), (2,)),
    **dict.fromkeys(("DequantizeLinear",), (1,)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), (7,)),
    "Attention": (0, 1, 2, 0),
    "BatchNormalization": (0, 3, 3, 3, 3),
    "CastLike": (1,),
    "Constant": ("",),
    "Dropout": (0, "bool"),
    "DynamicQuantizeLinear": ("uint8", "float32", "uint8"),
    "GRU": (0, 0),
    "If": ("",),
    "ImageDecoder": ("uint8",),
    "LSTM": (0, 0, 0),
    "LayerNormalization": (0, "float32", "float32"),
    "Loop": ("",),
    "LoopEntry": ("",),
    "LoopExit": ("",),
    "MaxPool": (0, "int64"),
    "OneHot": (2,),
    "RNN": (0, 0),
    "RMSNormalization": (1,),
    "Scan": ("",),
    "SoftmaxCrossEntropyLoss": (0, 0),
    "StringSplit": ("string", "int64"),
    "TfIdfVectorizer": ("float32",),
    "TopK": (0, "int64"),
    "Unique": (0, "int64", "int64", "int64"),
    "Where": (1,),
}

DOMAIN_DTYPES: dict[str, tuple[int | str, ...]] = {
    "CategoryMapper": ("",),
    "DequantizeLinear": (1,),
    "DynamicQuantizeMatMul": (0,),
    "EmbedLayerNormalization": (2, "int32", 2),
    "FeatureVectorizer": ("float32",),
    "LabelEncoder": ("",),
    "LinearClassifier": ("", "float32"),
    "LinearRegressor": ("float32",),
    "MatMulIntegerToFloat": (2,),
    "Normalizer": ("float32",),
    "OneHotEncoder": ("float32",),
    "QAttention": (3, 3),
    "QGemm": (8,),
    "QuantizeLinear": (2,),
    "SVMClassifier": ("", "float32"),
    "SVMRegressor": ("float32",),
    "Scaler": ("float32",),
    "SkipLayerNormalization": (0, "float32", "float32", 0),
    "SkipSimplifiedLayerNormalization": (0, "float32", "float32", 0),
    "TreeEnsembleClassifier": ("", "float32"),
    "TreeEnsembleRegressor": ("float32",),
}
"""The same for the operators of other domains."""

STATED: dict[str, tuple[str, int]] = {
    "Bernoulli": ("dtype", 0),
    "BitCast": ("to", 0),
    "BlackmanWindow": ("output_datatype", 1),
    "Cast": ("to", 0),
    "DequantizeLinear": ("output_dtype", 0),
    "EyeLike": ("dtype", 0),
    "HammingWindow": ("output_datatype", 1),
    "HannWindow": ("output_datatype", 1),
    "MelWeightMatrix": ("output_datatype", 1),
    "Multinomial": ("dtype", 6),
    "QuantizeLinear": ("output_dtype", 0),
    "RandomNormal": ("dtype", 1),
    "RandomNormalLike": ("dtype", 0),
    "RandomUniform": ("dtype", 1),
    "RandomUniformLike": ("dtype", 0),
}
"""Operators whose first output's type an attribute states, and the number that it has by default (0: as listed above)."""


def set_dtypes(node: RawNode, known: Known) -> None:
    """Notes the element types of a node's outputs that are not known yet."""
    dtypes = known.dtypes
    if node.op == "ConstantOfShape":
        value = node.attributes.get("value")
        dtypes.setdefault(node.outputs[0], "float32" if value is None else value.dtype)  # type: ignore[union-attr]
        return
    stated = STATED.get(node.op)
    if stated is not None:
        number = integer(node, *stated)
        if number in TYPE_NAMES:
            dtypes.setdefault(node.outputs[0], TYPE_NAMES[number])
            return
    sources: tuple[int | str, ...] = (DOMAIN_DTYPES if node.domain else DTYPES).get(node.op, (0,))
    for output, source in zip(node.outputs, sources, strict=False):
        if not output or output in dtypes:
            continue
        if isinstance(source, str):
            dtype: str | None = source
        else:
            dtype = dtypes.get(node.inputs[source]) if source < len(node.inputs) else None
        if dtype:
            dtypes[output] = dtype
