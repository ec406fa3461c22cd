"""Shape rules of the domain ai.onnx.ml: classical estimators and preprocessing, as scikit-learn's exporter writes them. Stdlib and load only.

Semantics: the ONNX-ML operator specification.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

from trainaudit.ir.graph import Dimension
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.dimensions import as_size, multiply
from trainaudit.load.shapes.known import Known, Rule, Shapes, integer, integers
from trainaudit.load.shapes.rules_elementwise import same
from trainaudit.load.shapes.rules_making import nothing


def _rows(shapes: Shapes) -> Dimension:
    """The number of examples in (examples, features)."""
    shape = shapes[0]
    return shape[0] if shape is not None and len(shape) == 2 else None


def _label_count(node: RawNode) -> int | None:
    for name in ("classlabels_ints", "classlabels_int64s", "classlabels_strings"):
        labels = node.attributes.get(name)
        if isinstance(labels, list) and labels:
            return len(labels)
    return None


def classifier(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """One label per example, and a score per class; only several classes have certainly as many scores."""
    count = _label_count(node)
    rows = _rows(shapes)
    return ((rows,), (rows, count if count is not None and count > 2 else None))


def support_vector_classifier(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """SVMClassifier: scores may count pairs of classes."""
    rows = _rows(shapes)
    return ((rows,), (rows, None))


def regressor(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """One column per target."""
    targets = integer(node, "targets" if node.op == "LinearRegressor" else "n_targets", 1)
    return ((_rows(shapes), as_size(targets)),)


def array_feature_extractor(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Columns picked from the last axis."""
    shape, picked = shapes[:2]
    if shape is None or picked is None:
        return (None,)
    count: Dimension = 1
    for size in picked:
        count = multiply(count, size)
    return ((*(shape[:-1] if len(shape) > 1 else (1,)), count),)


def feature_vectorizer(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """Columns side by side."""
    widths = integers(node, "inputdimensions")
    return ((_rows(shapes), as_size(sum(widths)) if widths else None),)


def one_hot_encoder(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """A new last axis of categories."""
    shape = shapes[0]
    categories = node.attributes.get("cats_int64s") or node.attributes.get("cats_strings")
    return (None if shape is None or not isinstance(categories, list) else (*shape, len(categories)),)


_SAME = "Binarizer CategoryMapper Imputer LabelEncoder Normalizer Scaler"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.split(), same),
    "ArrayFeatureExtractor": array_feature_extractor,
    "CastMap": nothing,
    "DictVectorizer": nothing,
    "FeatureVectorizer": feature_vectorizer,
    "LinearClassifier": classifier,
    "LinearRegressor": regressor,
    "OneHotEncoder": one_hot_encoder,
    "SVMClassifier": support_vector_classifier,
    "SVMRegressor": regressor,
    "TreeEnsemble": regressor,
    "TreeEnsembleClassifier": classifier,
    "TreeEnsembleRegressor": regressor,
    "ZipMap": nothing,
}
