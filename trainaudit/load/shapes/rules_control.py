"""Shape rules of inlined control flow: If, LoopEntry and LoopExit (see `load.raw`). Stdlib and load only.

What a loop carries may change its shape from one iteration to the next. Inference first takes it that every carried value keeps the
shape it starts with. Where the body's results say otherwise, what stays is noted in `Known.weakened` and inference starts over, so
that in the end each assumption is proven by induction. Semantics: the ONNX operator specification of Loop and Scan.
"""

# ruff: noqa: ARG001 (one signature for every rule)

from __future__ import annotations

from collections import Counter

from trainaudit.ir.graph import Shape
from trainaudit.load.raw import RawNode
from trainaudit.load.shapes.known import Known, Rule, Shapes, axis_of, integer, integers


def if_(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """The results of both branches after the condition: what they agree on."""
    count = len(node.outputs)
    return [agreed(a, b) for a, b in zip(shapes[1 : 1 + count], shapes[1 + count :], strict=True)]


def agreed(a: Shape | None, b: Shape | None) -> Shape | None:
    """What is true of a value that has one of two shapes."""
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple([first if first == second else None for first, second in zip(a, b, strict=True)])


def loop_entry(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """The body's inputs: of Loop iteration, condition and carried values, of Scan states and one slice of each scanned input."""
    control = node.attributes.get("control")
    if control == "Loop":
        # exporters differ in whether iteration and condition are scalars or vectors of one
        counters = [known.shapes.get(name, ()) for name in node.outputs[:2]]
        return [*counters, *_carried(node.outputs[2:], shapes[2:], known)]
    if control != "Scan" or known.opset < 9:
        return ()
    states = _state_count(node)
    axes = integers(node, "scan_input_axes") or [0] * (len(shapes) - states)
    slices: list[Shape | None] = []
    for shape, axis in zip(shapes[states:], axes, strict=True):
        place = axis_of(axis, len(shape)) if shape is not None else 0
        slices.append(None if shape is None else shape[:place] + shape[place + 1 :])
    return [*_carried(node.outputs[:states], shapes[:states], known), *slices]


def _carried(names: list[str], initial: Shapes, known: Known) -> Shapes:
    return [known.weakened.get(name, shape) for name, shape in zip(names, initial, strict=False)]


def _state_count(entry: RawNode) -> int:
    """Between none and all of the inputs, whatever a malformed node says."""
    return min(max(len(entry.inputs) - integer(entry, "num_scan_inputs", 0), 0), len(entry.inputs))


def paired_loops(nodes: list[RawNode]) -> tuple[dict[str, RawNode], list[RawNode]]:
    """The entry of each loop by the scope of its body, and the entries whose exit cannot be told."""
    entries = [node for node in nodes if node.op == "LoopEntry"]
    if not entries:
        return {}, []
    exits = Counter(_body_scope(node) for node in nodes if node.op == "LoopExit")
    scopes = Counter(entry.scope for entry in entries)
    loops = {entry.scope: entry for entry in entries if scopes[entry.scope] == 1 == exits[entry.scope]}
    return loops, [entry for entry in entries if entry.scope not in loops]


def _body_scope(node: RawNode) -> str:
    """The scope that `flatten` gives the body of the loop that ends here."""
    step = node.name or next((name for name in node.outputs if name), node.attributes.get("control"))
    return f"{node.scope}/{step}/body" if node.scope else f"{step}/body"


def loop_exit(node: RawNode, shapes: Shapes, known: Known) -> Shapes:
    """The loop's results: carried values as they start and end, then what each iteration adds, stacked."""
    entry = known.loops.get(_body_scope(node))
    if entry is None:
        return ()
    if node.attributes.get("control") == "Loop":
        names, first, results = entry.outputs[2:], entry.inputs[2:], shapes[1:]
    elif known.opset >= 9:
        states = _state_count(entry)
        names, first, results = entry.outputs[:states], entry.inputs[:states], shapes
    else:
        return ()
    outputs: list[Shape | None] = []
    for name, start, result in zip(names, first, results, strict=False):
        before = known.shapes.get(name)
        after = agreed(before, result)
        if after != before:
            known.weakened[name] = after
        outputs.append(agreed(known.shapes.get(start), result))
    added = results[len(names) :]
    if node.attributes.get("control") == "Loop":
        return outputs + [None if shape is None else (None, *shape) for shape in added]
    scanned = known.shapes.get(entry.inputs[len(names)])
    axes = integers(node, "scan_input_axes") or [0]
    length = None if scanned is None else scanned[axes[0]]
    places = integers(node, "scan_output_axes") or [0] * len(added)
    for shape, axis in zip(added, places, strict=True):
        place = axis_of(axis, len(shape) + 1) if shape is not None else 0
        outputs.append(None if shape is None else (*shape[:place], length, *shape[place:]))
    return outputs


RULES: dict[str, Rule] = {"If": if_, "LoopEntry": loop_entry, "LoopExit": loop_exit}
