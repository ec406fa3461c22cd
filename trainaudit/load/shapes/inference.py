"""Symbolic shapes, element types and small whole numbers of every value in a raw graph. Stdlib, numpy, ir and load only.

One pass in topological order: each operator has a rule for shapes (`rules_*`), an entry for element types (`dtypes`) and,
where shapes are computed from its results, a fold (`values`). What the file declares is merged in; the more specific of two
statements counts, and inference wins a contradiction, since declarations outlive edits of the graph.
"""

from __future__ import annotations

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.raw import RawGraph
from trainaudit.load.shapes import (
    rules_classical,
    rules_control,
    rules_elementwise,
    rules_layers,
    rules_making,
    rules_microsoft,
    rules_movement,
    rules_sequences,
    rules_signals,
)
from trainaudit.load.shapes.dimension_text import LARGEST
from trainaudit.load.shapes.dimensions import merge
from trainaudit.load.shapes.dtypes import TYPED, set_dtypes
from trainaudit.load.shapes.known import MALFORMED, Known, Number, Rule
from trainaudit.load.shapes.values import FOLDS, READS_SHAPES
from trainaudit.load.shapes.values_moved import element_count

RULES: dict[str, dict[str, Rule]] = {
    "": rules_elementwise.RULES
    | rules_movement.RULES
    | rules_making.RULES
    | rules_layers.RULES
    | rules_sequences.RULES
    | rules_signals.RULES
    | rules_control.RULES,
    "com.microsoft": rules_microsoft.RULES,
    "ai.onnx.ml": rules_classical.RULES,
    "ai.onnx.preview": {"FlexAttention": rules_sequences.flexible_attention},
}
"""Domain → operator → rule."""

_NO_RULES: dict[str, Rule] = {}

_MOST_AXES = 64
"""Axes of the largest tensor that inference follows: NumPy's limit. A chain of Gathers can double the rank at each step."""

_MOST_PASSES = 4
"""How often inference starts over for loops whose carried values change shape, before it drops what they start with."""

_MEANINGLESS = frozenset({"", "?", "None", "none", "unknown", "-1", "*"})
"""Declared symbols that exporters write for any unknown size, equal or not."""


@frozen
class Inferred:
    """What shape inference found out. A value that is missing is unknown.

    `shapes` covers tensors too. `numbers` holds the elements of small tensors (at most 64) that are computed from shapes and
    stored numbers, flat and in row-major order (their shape is in `shapes`: a scalar has one element): ints, floats, symbolic
    sizes ("batch", "12*batch") and None for unknown elements; booleans are 0 and 1. `integers` are those of whole-number and
    boolean type.
    """

    shapes: dict[str, Shape]
    dtypes: dict[str, str]
    integers: dict[str, tuple[Dimension, ...]]
    numbers: dict[str, tuple[Number, ...]]


def infer_shapes(raw: RawGraph) -> Inferred:
    """Shapes, element types and small numbers of all values of `raw`. Unknown is absent or None, never a guess."""
    stated = {name: declared(shape) for name, shape in raw.shapes.items() if len(shape) <= _MOST_AXES}
    stated.update((name, tensor.shape) for name, tensor in raw.tensors.items())
    dtypes = {**raw.dtypes, **{name: tensor.dtype for name, tensor in raw.tensors.items()}}
    loops, unpaired = rules_control.paired_loops(raw.nodes)
    weakened: dict[str, Shape | None] = {name: None for entry in unpaired for name in entry.outputs}
    for attempt in range(_MOST_PASSES):
        known = Known(raw.tensors, dict(stated), dict(dtypes), raw.opset, loops=loops, weakened=dict(weakened))
        _infer(raw, known)
        if known.weakened == weakened:
            break
        weakened = known.weakened
        if attempt == _MOST_PASSES - 2:
            weakened = {name: None for entry in (*unpaired, *loops.values()) for name in entry.outputs}
    integers = {name: values for name, values in known.numbers.items() if _is_whole(known.dtypes.get(name), values)}
    return Inferred(known.shapes, known.dtypes, integers, known.numbers)  # type: ignore[arg-type]


def _infer(raw: RawGraph, known: Known) -> None:
    """One pass over all nodes. Most of them compute with activations, so what only others need must cost next to nothing."""
    shapes, dtypes, numbers, tensors = known.shapes, known.dtypes, known.numbers, known.tensors
    shape_of = shapes.get
    standard = RULES[""]
    for node in raw.nodes:
        op, names, outputs = node.op, node.inputs, node.outputs
        is_standard = not node.domain
        rule = standard.get(op) if is_standard else RULES.get(node.domain, _NO_RULES).get(op)
        if rule is None:
            continue
        inputs: list[Shape | None] = []
        for name in names:
            inputs.append(shape_of(name))
        try:
            for name, shape in zip(outputs, rule(node, inputs, known)):  # noqa: B905 -- strict=False takes thrice as long
                if shape is not None and name and len(shape) <= _MOST_AXES:
                    stated = shape_of(name)
                    shapes[name] = shape if stated is None or stated == shape else merged(shape, stated)
            if is_standard and op not in TYPED:
                dtype = dtypes.get(names[0]) if names else None
                if dtype is not None:
                    for name in outputs:
                        if name not in dtypes:
                            dtypes[name] = dtype
            else:
                set_dtypes(node, known)
            if is_standard and op in FOLDS and (op in READS_SHAPES or names[0] in numbers or names[0] in tensors):
                values = FOLDS[op](node, inputs, known)
                if values is not None and element_count(shape_of(outputs[0])) == len(values):
                    numbers[outputs[0]] = values
        except MALFORMED:
            continue


def declared(shape: Shape) -> Shape:
    """A declared shape without what means nothing: sizes that no tensor has, symbols that exporters use for any unknown."""
    for size in shape:
        if not _means_something(size):
            return tuple(size if _means_something(size) else None for size in shape)
    return shape


def _means_something(size: Dimension) -> bool:
    if isinstance(size, int):
        return 0 <= size <= LARGEST
    return size not in _MEANINGLESS


def merged(inferred: Shape, stated: Shape) -> Shape:
    """Both statements about one tensor together, size by size."""
    return tuple(map(merge, inferred, stated)) if len(inferred) == len(stated) else inferred


def _is_whole(dtype: str | None, values: tuple[Number, ...]) -> bool:
    if dtype is None:
        return not any(isinstance(value, float) for value in values)
    return "int" in dtype or dtype == "bool"
