"""Element types of what operators give. Stdlib and load.datatypes and load.shape_known only.

Per operator one entry for each output: the number of the input that the output takes its type from, or the type's name; outputs
without entry are unknown. An operator that is not listed gives the type of its first input.
"""

from __future__ import annotations

from trainaudit.load.datatypes import TYPE_NAMES
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.known import Known, input_name

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
    "Constant": (),
    "Dropout": (0, "bool"),
    "DynamicQuantizeLinear": ("uint8", "float32", "uint8"),
    "GRU": (0, 0),
    "If": (),
    "ImageDecoder": ("uint8",),
    "LSTM": (0, 0, 0),
    "LayerNormalization": (0, "float32", "float32"),
    "Loop": (),
    "LoopEntry": (),
    "LoopExit": (),
    "MaxPool": (0, "int64"),
    "OneHot": (2,),
    "RNN": (0, 0),
    "RMSNormalization": (1,),
    "Scan": (),
    "SoftmaxCrossEntropyLoss": (0, 0),
    "StringSplit": ("string", "int64"),
    "TfIdfVectorizer": ("float32",),
    "TopK": (0, "int64"),
    "Unique": (0, "int64", "int64", "int64"),
    "Where": (1,),
}

DOMAIN_DTYPES: dict[str, tuple[int | str, ...]] = {
    "CategoryMapper": (),
    "DequantizeLinear": (1,),
    "DynamicQuantizeMatMul": (0,),
    "EmbedLayerNormalization": (2, "int32", 2),
    "FeatureVectorizer": ("float32",),
    "LabelEncoder": (),
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
    "ConstantOfShape": ("value", 1),
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


_JOINED = {"If": 1, "LoopEntry": 0, "LoopExit": 1}
"""Control flow gives each input's type to the output that stands as many places before it."""


TYPED = frozenset({*DTYPES, *STATED})
"""Operators of ai.onnx that give another type than their first input's."""


def set_dtypes(node: RawNode, known: Known) -> None:
    """Notes the element types of a node's outputs that are not known yet."""
    dtypes = known.dtypes
    op = node.op
    sources = (DOMAIN_DTYPES if node.domain else DTYPES).get(op)
    if sources is None:
        if op in STATED and (name := _stated(node)):
            dtypes.setdefault(node.outputs[0], name)
            return
        dtype = dtypes.get(node.inputs[0]) if node.inputs else None
        if dtype is not None:
            for output in node.outputs:
                if output not in dtypes:
                    dtypes[output] = dtype
        return
    if op in STATED and (name := _stated(node)):
        dtypes.setdefault(node.outputs[0], name)
    if op in _JOINED:
        offset = _JOINED[op] if node.attributes.get("control") != "Scan" else 0
        sources = tuple(range(offset, offset + len(node.outputs)))
    for output, source in zip(node.outputs, sources, strict=False):
        given = source if isinstance(source, str) else dtypes.get(input_name(node, source))
        if given and output not in dtypes:
            dtypes[output] = given


def _stated(node: RawNode) -> str | None:
    attribute, default = STATED[node.op]
    value = node.attributes.get(attribute, default)
    if isinstance(value, int):
        return TYPE_NAMES.get(value)
    return getattr(value, "dtype", None)  # ConstantOfShape has a tensor
