"""Where a layer of the canonical graph stands among the nodes of a file, and the few ways in which nodes are exchanged there.

A layer may be several nodes: those between its inputs and its output. What of them nothing reads any more goes, with the constants that only
they read. Names of values stay what they are wherever others read them, so that no other node is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import prod

from trainaudit.fix.file.editing import Editing, Node, Tensor
from trainaudit.fix.file.encoding import WRITABLE, decoded
from trainaudit.fix.file.fields import exchanged, field
from trainaudit.fix.file.making import Nodes
from trainaudit.fix.file.weights import constant_message, declared, file_values
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Layer

INPUT, OUTPUT, ATTRIBUTE = 1, 2, 5
"""Fields of NodeProto."""


def end_of(editing: Editing, layer: Layer) -> Node:
    """The node of the main graph that gives the layer's output."""
    if not layer.outputs:
        raise NotApplicableError(f"{layer.name} has no output")
    found = editing.maker(layer.outputs[0])
    if found is None:
        raise NotApplicableError(
            f"{layer.name} is no node of the file's main graph: it stands in a function or is made of one"
        )
    return found


def behind(editing: Editing, layer: Layer) -> Node:
    """The node behind which the layer is at its end: with a bias that an Add gives further down, that Add."""
    end = end_of(editing, layer)
    bias = layer.parameters.get("bias")
    if bias is not None:
        readers = editing.readers(bias)
        if (
            len(readers) == 1
            and readers[0].op == "Add"
            and readers[0] is not end
            and _follows(editing, end, readers[0])
        ):
            return readers[0]
    return end


def _follows(editing: Editing, first: Node, last: Node) -> bool:
    """`last` reads what `first` gives, directly or through one node."""
    for value in last.inputs:
        between = editing.maker(value)
        if between is first or (between is not None and any(name in first.outputs for name in between.inputs)):
            return True
    return False


def only_input(layer: Layer) -> str:
    if len(layer.inputs) != 1:
        raise NotApplicableError(f"{layer.name} has {len(layer.inputs)} inputs, not one")
    return layer.inputs[0]


def dtype_of(editing: Editing, value: str) -> str:
    known = editing.graph.values.get(value)
    return (known.dtype if known is not None else None) or "float32"


def refuse_other_results(editing: Editing, end: Node) -> None:
    for name in end.outputs[1:]:
        if name and editing.is_read(name):
            raise NotApplicableError(f"something reads {name}, which it gives besides")


def exchange(editing: Editing, layer: Layer, end: Node, new: Iterable[Node]) -> None:
    """New nodes in the place of the layer's last one; what only the old ones needed goes."""
    old = members_of(editing, layer, end)
    editing.put(end, *new)
    sweep(editing, old)


def members_of(editing: Editing, layer: Layer, end: Node) -> list[Node]:
    """The nodes between the layer's inputs and its last node, that one included, last first."""
    stops = {*layer.inputs, *editing.inputs}
    members: dict[Node, None] = {end: None}
    waiting = [end]
    while waiting:
        for name in waiting.pop().inputs:
            maker = None if name in stops or not name else editing.maker(name)
            if maker is not None and maker not in members:
                members[maker] = None
                waiting.append(maker)
        if len(members) > 10_000:
            raise NotApplicableError(f"{layer.name} cannot be told apart from the rest of the graph")
    if len(members) == 1:
        return [end]
    order = {item: place for place, item in enumerate(editing.now.nodes)}
    return sorted(members, key=lambda item: -order[item])


def sweep(editing: Editing, old: Iterable[Node]) -> None:
    """Takes out those of the old nodes that nothing reads, and the stored constants and declared values that go with them."""
    dropped: set[str] = set()
    for item in old:
        dropped.update(item.inputs, item.outputs)
        if item in editing.now.nodes and not any(editing.is_read(name) for name in item.outputs if name):
            editing.put(item)
    for name in dropped:
        if not name or editing.maker(name) is not None or editing.is_read(name):
            continue
        editing.drop(name)


def drop_unread(editing: Editing, value: str) -> None:
    """A constant that nothing reads any more goes."""
    maker = editing.maker(value)
    if maker is not None and maker.op == "Constant" and not editing.is_read(value):
        editing.put(maker)
    if value in editing.now.tensors and not editing.is_read(value):
        editing.drop(value)


def stored_number(editing: Editing, value: str) -> float | None:
    """The number that a stored value of one element holds."""
    tensor, maker = editing.now.tensors.get(value), editing.maker(value)
    if tensor is None and maker is not None and maker.op == "Constant" and not maker.domain:
        tensor = Tensor(value, content=constant_message(editing.message(maker)))
    if tensor is None or declared(editing, tensor)[1] not in WRITABLE or prod(declared(editing, tensor)[0]) != 1:
        return None
    return float(decoded(file_values(editing, tensor), declared(editing, tensor)[1]).reshape(-1)[0])


def with_output(editing: Editing, item: Node, old: str, new: str) -> Node:
    """The node with another name for one of its outputs."""
    place = item.outputs.index(old)
    content = exchanged(editing.message(item), OUTPUT, {place: field(OUTPUT, new)})
    outputs = (*item.outputs[:place], new, *item.outputs[place + 1 :])
    changed = replace(item, outputs=outputs, content=content)
    editing.put(item, changed)
    return changed


def with_inputs(editing: Editing, item: Node, new: Mapping[int, str | None]) -> Node:
    """The node with other inputs in these places (None: none, which only the last can be)."""
    written = {place: None if name is None else field(INPUT, name) for place, name in new.items()}
    content = exchanged(editing.message(item), INPUT, written)
    inputs = tuple(name for name in (new.get(place, old) for place, old in enumerate(item.inputs)) if name is not None)
    changed = replace(item, inputs=inputs, content=content)
    editing.put(item, changed)
    return changed


def insert(editing: Editing, item: Node, value: str, fill: Callable[[Nodes, str, str], None]) -> None:
    """Nodes behind the one that gives `value`, filled in by a function of (nodes, what they read, what they give): all that read it read them."""
    inner = editing.new_name(f"{value}/before")
    made = Nodes(editing, value, dtype_of(editing, value))
    fill(made, inner, value)
    changed = with_output(editing, item, value, inner)
    editing.put(changed, changed, *made.nodes)
