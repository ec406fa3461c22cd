"""From traced calls to a raw graph: live calls in order, each by its translation, unknown ones as nodes of the domain "aten".

Raw nodes are spelled as ONNX spells them, so that shape inference and canonicalisation treat a module as they treat its export.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from trainaudit.load.torch import (
    aten_activation,
    aten_arithmetic,
    aten_attention,
    aten_layers,
    aten_making,
    aten_movement,
    aten_parts,
    aten_pooling,
    aten_recurrent,
    aten_reduction,
    detaching,
)
from trainaudit.load.torch.emit import Call, Emitter, Names, Translate, traced
from trainaudit.load.torch.sizes import shape_of
from trainaudit.load.torch.source import metadata_of
from trainaudit.load.torch.stored_calls import PRODUCTS, computed_from, sources_of
from trainaudit.load.torch.tensors import type_word

TABLE: dict[str, Translate] = {
    **aten_arithmetic.TABLE,
    **aten_activation.TABLE,
    **aten_layers.TABLE,
    **aten_attention.TABLE,
    **aten_recurrent.TABLE,
    **aten_pooling.TABLE,
    **aten_reduction.TABLE,
    **aten_movement.TABLE,
    **aten_parts.TABLE,
    **aten_making.TABLE,
    **detaching.TABLE,
}
"""aten operator, without overload and without the underscore of the form in place → its translation."""


def translate(emit: Emitter, graph: Any, *, recorded: bool = True) -> list[str]:
    """Write the nodes of all calls that the outputs need; what the outputs are called ("" for what is no tensor). Placeholders and attributes are named in
    `emit.values` beforehand. `recorded` says whether gradients are recorded where the graph begins."""
    live = live_calls(graph)
    leaving = detaching.leaving(graph, recorded=recorded)
    outputs: list[str] = []
    for node in graph.nodes:
        if node.op == "output":
            outputs = [
                _first(emit.values.get(argument)) if hasattr(argument, "meta") else "" for argument in node.args[0]
            ]
        elif node.op == "call_function" and node in live:
            _call(emit, node)
            if node in leaving:
                detaching.leave(emit, node)
    return outputs


def _call(emit: Emitter, node: Any) -> None:
    target = node.target
    if target is operator.getitem:
        source = emit.values.get(node.args[0])
        if isinstance(source, list) and isinstance(node.args[1], int) and node.args[1] < len(source):
            emit.values[node] = source[node.args[1]]
        return
    value = traced(node)
    if not _holds_tensors(value):
        return  # a size: written when a translation asks for it
    body = _body(node)
    if body is not None:
        _inline(emit, node, *body)
        return
    schema = getattr(target, "_schema", None)
    spelling = schema.name.partition("::")[2] if schema is not None else getattr(target, "__name__", str(target))
    emit.metadata, emit.label = metadata_of(node, spelling), node.name
    if (spelling in PRODUCTS or spelling.removesuffix("_") not in TABLE) and _computed(emit, node):
        return
    before = len(emit.nodes)
    names = None
    if schema is not None and schema.name.startswith("aten::"):
        translation = TABLE.get(spelling) or TABLE.get(spelling.removesuffix("_"))
        if translation is not None:
            names = translation(emit, Call(node, _arguments(node, schema)))
    if names is None:
        del emit.nodes[before:]
        names = _unknown(emit, node, schema, spelling)
    _declare(emit, names, value)
    emit.values[node] = names
    if _writes(node) and node.args and hasattr(node.args[0], "meta"):
        emit.values[node.args[0]] = names  # who reads the changed tensor later reads this


def _computed(emit: Emitter, node: Any) -> bool:
    """Enter the result of a call on stored tensors as a tensor of its own."""
    data = computed_from(node, emit.stored)
    if data is None:
        return False
    name = emit.fresh(node.name)
    emit.tensors[name] = data
    emit.constants.add(name)
    emit.joined[name] = tuple(str(emit.values[source]) for source in sources_of(node, emit.stored))
    emit.values[node] = name
    return True


def _unknown(emit: Emitter, node: Any, schema: Any, spelling: str) -> Names:
    """An operator without a translation: one node that reads every tensor of the call."""
    domain = schema.name.partition("::")[0] if schema is not None else "torch"
    inputs = [emit.name(argument) for argument in _nodes((node.args, node.kwargs)) if _holds_tensors(traced(argument))]
    value = traced(node)
    if isinstance(value, (list, tuple)):
        return emit.several(spelling, inputs, len(value), domain)
    return emit.add(spelling, inputs, domain=domain)


def _declare(emit: Emitter, names: Names, value: Any) -> None:
    """What the tracer knows of the results' shapes and types."""
    values = value if isinstance(value, (list, tuple)) else [value]
    for name, item in zip([names] if isinstance(names, str) else names, values, strict=False):
        if hasattr(item, "shape") and name not in emit.tensors:
            emit.shapes[name] = shape_of(item, emit.symbols)
            emit.dtypes[name] = type_word(item.dtype)


def _arguments(node: Any, schema: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for place, declared in enumerate(schema.arguments):
        if place < len(node.args):
            arguments[declared.name] = node.args[place]
        elif declared.name in node.kwargs:
            arguments[declared.name] = node.kwargs[declared.name]
        elif declared.has_default_value():
            arguments[declared.name] = declared.default_value
    return arguments


# --- bodies of higher-order operators ------------------------------------------------------------------------------------

_BODIES = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4, "tag_activation_checkpoint": 0, "wrap": 0, "invoke_subgraph": 0,
           "wrap_activation_checkpoint": 0, "inductor_compiled_code": 0}  # fmt: skip
"""Higher-order operators that run one graph: where it stands among their arguments; its inputs are what follows."""


def _body(node: Any) -> tuple[Any, list[Any]] | None:
    """The graph that a call runs and what it is called with."""
    place = _BODIES.get(getattr(node.target, "__name__", ""))
    if place is None or len(node.args) <= place:
        return None
    holder = node.args[place]
    if getattr(holder, "op", "") != "get_attr":
        return None
    module = node.graph.owning_module
    for part in str(holder.target).split("."):
        module = getattr(module, part, None)
    operands = [argument for argument in node.args[place + 1 :] if not isinstance(argument, str)]
    return None if module is None else (module.graph, operands)


def _inline(emit: Emitter, node: Any, graph: Any, operands: list[Any]) -> None:
    places = [inner for inner in graph.nodes if inner.op == "placeholder"]
    for inner, outer in zip(places, operands, strict=False):
        if outer in emit.values:
            emit.values[inner] = emit.values[outer]
        elif hasattr(outer, "meta"):
            emit.values[inner] = emit.name(outer)
    emit.values[node] = translate(emit, graph, recorded=detaching.switch(node) is not False)


# --- which calls matter --------------------------------------------------------------------------------------------------


def live_calls(graph: Any) -> set[Any]:
    """The calls that the outputs need. A call that writes into a tensor counts where that tensor is read later."""
    live: set[Any] = set()
    for node in reversed(list(graph.nodes)):
        if node.op == "output" or node in live or (_writes(node) and node.args and node.args[0] in live):
            live.add(node)
            live.update(node.all_input_nodes)
    return live


def _writes(node: Any) -> bool:
    """Whether a call changes its first argument in place."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.arguments:
        return False
    alias = schema.arguments[0].alias_info
    return alias is not None and bool(alias.is_write)


def writes_through_views(graph: Any) -> bool:
    """Whether a call changes a tensor that is read later under another name (as a view, or as what it is a view of), so that following it
    by name would miss the change."""
    places = {node: place for place, node in enumerate(graph.nodes)}
    roots: dict[Any, Any] = {}
    aliases: dict[Any, list[Any]] = {}
    writers: list[tuple[Any, Any]] = []
    same: dict[Any, Any] = {}
    for node in graph.nodes:
        source = node.args[0] if node.args and hasattr(node.args[0], "meta") else None
        if node.op == "call_function" and source is not None and _writes(node):
            source = same.get(source, source)
            same[node] = source
            writers.append((node, source))
        roots[node] = roots[source] if source is not None and (_is_view(node) or _writes(node)) else node
        aliases.setdefault(roots[node], []).append(node)
    for writer, changed in writers:
        for alias in aliases[roots[changed]]:
            if same.get(alias, alias) is not changed and any(places[user] > places[writer] for user in alias.users):
                return True
    return False


def _is_view(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None or _writes(node):
        return False
    return any(result.alias_info is not None for result in schema.returns)


def _nodes(arguments: Any) -> Iterator[Any]:
    """Every traced node in nested arguments, in order."""
    if hasattr(arguments, "meta"):
        yield arguments
    elif isinstance(arguments, dict):
        for item in arguments.values():
            yield from _nodes(item)
    elif isinstance(arguments, (list, tuple)):
        for item in arguments:
            yield from _nodes(item)


def _first(names: Names | None) -> str:
    return "" if names is None else names if isinstance(names, str) else names[0]


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(item) for item in value)
    return hasattr(value, "shape")
