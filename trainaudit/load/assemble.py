"""The last step of canonicalisation: ordered drafts become layers, values and parameters with names. Stdlib, ir and load only."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import field, replace
from typing import Any

from trainaudit.frozen import slotted
from trainaudit.ir.graph import TRAINABLE_ROLES, Graph, Layer, Parameter, Role, Source, Value
from trainaudit.ir.ops import Op
from trainaudit.load.elementwise import is_named_parameter
from trainaudit.load.folded import folded_normalizations, form
from trainaudit.load.instances import instances
from trainaudit.load.known import FLOATING, Stored
from trainaudit.load.naming import Namer, layer_names, path_of_parameter
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Draft, Use, Wiring

_WORDS = {role: role.value for role in Role}
_STATISTICS = frozenset({Role.RUNNING_MEAN, Role.RUNNING_VARIANCE})
_MATRICES = frozenset({Role.WEIGHT, Role.EMBEDDING, Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT})


@slotted
class _Owned:
    """A parameter being gathered: its first use and every layer that uses it."""

    use: Use
    owners: list[int] = field(default_factory=list)


def assemble(wiring: Wiring, drafts: list[Draft], unrecognized: dict[str, int]) -> Graph:
    """Freeze drafts, which stand in topological order, into a graph."""
    raw = wiring.raw
    for name in raw.outputs:
        if name not in wiring.producer and name in raw.tensors:
            tensor = wiring.stored(name)
            assert tensor is not None
            use = Use(Role.CONSTANT, replace(tensor, name=f"{name}:data"))
            drafts.append(Draft(Op.CONSTANT, -1, [], [name], (), [use], last=len(wiring.nodes)))
    owned: dict[str, _Owned] = {}
    producers: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    for index, draft in enumerate(drafts):
        for name in draft.outputs:
            producers[name] = index
        for name in draft.inputs:
            found = readers.get(name)
            if found is None:
                readers[name] = [index]
            elif found[-1] != index:
                found.append(index)
    given = frozenset(raw.inputs)
    nothing: dict[str, Any] = {}  # most layers have neither parameters nor attributes, and share it
    mappings = [
        _register(draft, index, owned, producers, given) if draft.uses else nothing
        for index, draft in enumerate(drafts)
    ]
    callers = [wiring.nodes[draft.node] if draft.node >= 0 else None for draft in drafts]
    sources, names = _name(drafts, callers, mappings)
    nodes = wiring.nodes
    layers = instances(
        Layer,
        range(len(drafts)),
        names,
        [draft.op for draft in drafts],
        [nodes[draft.nodes[0]].op if len(draft.nodes) == 1 else _spelling(nodes, draft) for draft in drafts],
        [tuple(draft.inputs) for draft in drafts],
        [tuple(draft.outputs) for draft in drafts],
        mappings,
        [draft.attributes or nothing for draft in drafts],
        sources,
        [len(draft.nodes) for draft in drafts],
        ["" if node is None else node.name for node in callers],
        ["" if node is None else node.scope for node in callers],
    )
    folded, evidence = folded_normalizations(wiring, drafts)
    edges = list(dict.fromkeys((*raw.inputs, *producers)))
    users = [tuple(readers.get(name, ())) for name in edges]
    known = (list(map(found.get, edges)) for found in (wiring.shapes, wiring.dtypes, producers))
    values = instances(Value, edges, *known, users)
    return Graph(
        layers=tuple(layers),
        values=dict(zip(edges, values, strict=True)),
        parameters=_parameters(wiring, owned),
        inputs=tuple(raw.inputs),
        outputs=tuple(raw.outputs),
        origin=raw.origin,
        form=form(wiring, drafts, bool(folded)),
        folded_normalizations=tuple(names[index] for index in folded),
        folded_evidence=evidence,
        node_count=raw.node_count,
        unrecognized=tuple(sorted(unrecognized.items())),
    )


def _spelling(nodes: list[RawNode], draft: Draft) -> str:
    """The operators that a draft stands for, in the order of the file."""
    spelling = "+".join([nodes[member].op for member in sorted(draft.nodes)])
    return spelling or (nodes[draft.node].op if draft.node >= 0 else "Constant")


def _register(
    draft: Draft, index: int, owned: dict[str, _Owned], made: Container[str], given: Container[str]
) -> dict[str, str]:
    """Enter a draft's tensors into the parameters; role's word → parameter name."""
    mapping: dict[str, str] = {}
    for use in draft.uses:
        name = use.tensor.name
        if use.tensor.reparametrized and use.role in _MATRICES:
            draft.attributes["reparametrized"] = True
        if name in made or name in given:
            name = f"{name}:data"  # something reads the same values as an activation
        found = owned.get(name)
        # Exporters merge equal tensors, a γ of ones with a running variance of ones: what has two natures is two parameters.
        if found is not None and found.use.role is not use.role and _nature(found.use.role) != _nature(use.role):
            name = f"{name} ({use.role.value})"
            found = owned.get(name)
        if found is None:
            found = owned[name] = _Owned(use)
        elif found.use.role is Role.CONSTANT or use.role is Role.EMBEDDING:
            found.use = use
        if not found.owners or found.owners[-1] != index:
            found.owners.append(index)
        word = _WORDS[use.role]
        if word in mapping:
            number = 2
            while f"{word}_{number}" in mapping:
                number += 1
            word = f"{word}_{number}"
        mapping[word] = name
    return mapping


def _nature(role: Role) -> str:
    if role in _STATISTICS:
        return role.value
    if role in _MATRICES:
        return "matrix"
    return "constant" if role is Role.CONSTANT else "vector"


def _parameters(wiring: Wiring, owned: dict[str, _Owned]) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, gathered in owned.items():
        use = gathered.use
        parameters[name] = _parameter(name, use, tuple(gathered.owners))
    consumers, constants, outputs = wiring.consumers, wiring.raw.constants, wiring.outputs
    for name, data in wiring.raw.tensors.items():
        if name in consumers or name in parameters or name in constants or name in outputs:
            continue
        tensor = Stored(name, data, data.shape)
        if data.dtype in FLOATING and data.shape and tensor.size > 1 and is_named_parameter(wiring, tensor):
            role = Role.WEIGHT if len(data.shape) > 1 else Role.BIAS
            parameters[name] = _parameter(name, Use(role, tensor), ())
    return parameters


def _parameter(name: str, use: Use, owners: tuple[int, ...]) -> Parameter:
    tensor = use.tensor
    dtype = tensor.data.dtype
    trainable = use.role in TRAINABLE_ROLES and (tensor.quantized or dtype in FLOATING) and use.trainable is not False
    return Parameter(
        name, tensor.data.shape, dtype, use.role, trainable, owners, tensor.data, use.unit_axis, use.fan_in, use.fan_out,
        use.groups, use.gates, tensor.quantized, tensor.generated,
    )  # fmt: skip


def _name(
    drafts: list[Draft], callers: list[RawNode | None], mappings: list[dict[str, str]]
) -> tuple[list[Source], list[str]]:
    """Source and name of every layer."""
    sources = Namer().sources_of(callers)
    weighted = [False] * len(drafts)
    constant = Role.CONSTANT
    paths: dict[str, str | None] = {}
    for index, draft in enumerate(drafts):
        uses = draft.uses
        if not uses:
            continue
        leads = uses[0].role is not constant
        weighted[index] = leads or any(use.role is not constant for use in uses)
        if draft.op is Op.ATTENTION or not leads:
            continue
        parameter = next(iter(mappings[index].values()))
        if parameter not in paths:
            paths[parameter] = path_of_parameter(parameter)
        path, node, source = paths[parameter], callers[index], sources[index]
        fused = (
            node is not None
            and bool(node.metadata)
            and "FuseBatchNorm" in node.metadata.get("pkg.onnxscript.rewriter.rule_name", "")
        )
        module = source.module
        if path is not None and (module is None or fused or path.startswith(module + ".")):
            sources[index] = Source(path, None if fused else source.module_class, source.file, source.line)
    fallbacks = [draft.outputs[0] if node is None else node.name for draft, node in zip(drafts, callers, strict=True)]
    return sources, layer_names(
        [source.module for source in sources], [draft.op for draft in drafts], fallbacks, weighted
    )
