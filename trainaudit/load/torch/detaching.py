"""Where a module cuts gradients: detach, and what is computed while gradients are off. Each cut is a node of the domain "aten", "detach" or
"no_grad", that passes values and no gradient. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trainaudit.load.torch.emit import Call, Emitter, Names
from trainaudit.load.torch.source import metadata_of

_CUTS = frozenset({"detach", "no_grad"})


def _detached(emit: Emitter, call: Call) -> Names:
    (argument,) = list(call.arguments.values())[:1]
    return _cut(emit, emit.name(argument), emit.dtype(argument), "detach")


TABLE = dict.fromkeys(("detach", "detach_copy", "data"), _detached)


def _cut(emit: Emitter, name: str, dtype: str, spelling: str) -> str:
    return emit.add(spelling, [name], domain="aten") if "float" in dtype else name


def switch(node: Any) -> bool | None:
    """Whether a call turns the recording of gradients on or off; None for every other call."""
    is_switch = getattr(node.target, "__name__", "") in ("_set_grad_enabled", "wrap_with_set_grad_enabled")
    return bool(node.args[0]) if is_switch and node.args else None


def leaving(graph: Any, *, recorded: bool) -> set[Any]:
    """The calls made while gradients are off whose results are read while they are on, or returned. `recorded` says how the graph begins."""
    found: set[Any] = set()
    made: set[Any] = set()
    for node in graph.nodes:
        if node.op == "call_function" and node.target.__name__ == "_set_grad_enabled":
            recorded = bool(switch(node))
        if recorded or node.op == "output":
            found.update(source for source in node.all_input_nodes if source in made)
        elif node.op == "call_function":
            made.add(node)
    return found


def leave(emit: Emitter, node: Any) -> None:
    """Cut the results of a call that was made while gradients were off."""
    names = emit.values.get(node)
    emit.metadata, emit.label = metadata_of(node, "no_grad"), node.name
    if isinstance(names, list):
        emit.values[node] = [_after(emit, name) for name in names]
    elif names is not None:
        emit.values[node] = _after(emit, names)


def _after(emit: Emitter, name: str) -> str:
    made = _cut(emit, name, emit.dtypes.get(name, ""), "no_grad")
    if made != name:
        emit.dtypes[made] = emit.dtypes[name]
        if name in emit.shapes:
            emit.shapes[made] = emit.shapes[name]
    return made


def without_idle(emit: Emitter, inputs: Iterable[str], trained: Iterable[str], outputs: list[str]) -> list[str]:
    """Take out the cuts that keep no gradient from any parameter: those of values that no trained parameter or no input has a part in (positions, masks,
    constants, what is computed of stored tensors alone, what is cut already). The outputs' names afterwards."""
    given, learned = set(inputs), set(trained)
    renamed: dict[str, str] = {}
    kept = []
    for node in emit.nodes:
        if renamed:
            node.inputs = [renamed.get(name, name) for name in node.inputs]
        is_cut = node.domain == "aten" and node.op in _CUTS
        depends, learns = not given.isdisjoint(node.inputs), not learned.isdisjoint(node.inputs)
        if is_cut and not (depends and learns):
            renamed[node.outputs[0]] = node.inputs[0]
            continue
        kept.append(node)
        if depends:
            given.update(node.outputs)
        if learns and not is_cut:
            learned.update(node.outputs)
    emit.nodes[:] = kept
    return [renamed.get(name, name) for name in outputs]
