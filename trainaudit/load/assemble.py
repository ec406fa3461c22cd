"""The last step of canonicalisation: ordered drafts become layers, values and parameters with names. Stdlib, ir and load only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from trainaudit.ir.graph import TRAINABLE_ROLES, Graph, Layer, Parameter, Role, Source, Value
from trainaudit.ir.ops import Op
from trainaudit.load.elementwise import is_named_parameter
from trainaudit.load.folded import folded_normalizations, form
from trainaudit.load.known import FLOATING, Stored
from trainaudit.load.naming import Namer, layer_names, path_of_parameter
from trainaudit.load.wiring import Draft, Use, Wiring

_STATISTICS = frozenset({Role.RUNNING_MEAN, Role.RUNNING_VARIANCE})
_MATRICES = frozenset({Role.WEIGHT, Role.EMBEDDING, Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT})


@dataclass(slots=True)
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
    values_made = {name for draft in drafts for name in draft.outputs}
    values_made.update(raw.inputs)
    mappings = [_register(draft, index, owned, values_made) for index, draft in enumerate(drafts)]
    sources, names = _name(wiring, drafts, mappings)
    nodes = wiring.nodes
    layers: list[Layer] = []
    producers: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    for index, draft in enumerate(drafts):
        members = draft.nodes
        spelling = (
            nodes[members[0]].op if len(members) == 1 else "+".join(nodes[member].op for member in sorted(members))
        )
        layers.append(
            Layer(
                index, names[index], draft.op, spelling or (nodes[draft.node].op if draft.node >= 0 else "Constant"),
                tuple(draft.inputs), tuple(draft.outputs), mappings[index], draft.attributes, sources[index], len(members),
                nodes[draft.node].scope if draft.node >= 0 else "",
            )
        )  # fmt: skip
        for name in draft.outputs:
            producers[name] = index
        for name in draft.inputs:
            found = readers.get(name)
            if found is None:
                readers[name] = [index]
            elif found[-1] != index:
                found.append(index)
    folded, evidence = folded_normalizations(wiring, drafts)
    shapes, dtypes = wiring.shapes, wiring.dtypes
    values: dict[str, Value] = {}
    for name in (*raw.inputs, *producers):
        if name not in values:
            values[name] = Value(
                name, shapes.get(name), dtypes.get(name), producers.get(name), tuple(readers.get(name, ()))
            )
    return Graph(
        layers=tuple(layers),
        values=values,
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


def _register(draft: Draft, index: int, owned: dict[str, _Owned], values: set[str]) -> dict[str, str]:
    """Enter a draft's tensors into the parameters; role's word → parameter name."""
    mapping: dict[str, str] = {}
    if not draft.uses:
        return mapping
    for use in draft.uses:
        name = use.tensor.name
        if name in values:
            name = f"{name}:data"  # something reads the same values as an activation
        found = owned.get(name)
        # Exporters merge equal tensors, a γ of ones with a running variance of ones: what has two natures is two parameters.
        if found is not None and _nature(found.use.role) != _nature(use.role):
            name = f"{name} ({use.role.value})"
            found = owned.get(name)
        if found is None:
            found = owned[name] = _Owned(use)
        elif found.use.role is Role.CONSTANT or use.role is Role.EMBEDDING:
            found.use = use
        if not found.owners or found.owners[-1] != index:
            found.owners.append(index)
        word = use.role.value
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
    for name, data in wiring.raw.tensors.items():
        if name in wiring.consumers or name in parameters or name in wiring.raw.constants or name in wiring.outputs:
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


def _name(wiring: Wiring, drafts: list[Draft], mappings: list[dict[str, str]]) -> tuple[list[Source], list[str]]:
    namer = Namer()
    sources: list[Source] = []
    modules: list[str | None] = []
    ops: list[str] = []
    fallbacks: list[str] = []
    weighted: list[bool] = []
    nodes = wiring.nodes
    nowhere = Source()
    for draft, mapping in zip(drafts, mappings, strict=True):
        node = nodes[draft.node] if draft.node >= 0 else None
        source = nowhere if node is None else namer.source(node)
        module = source.module
        if draft.uses and draft.op is not Op.ATTENTION and draft.uses[0].role is not Role.CONSTANT:
            path = path_of_parameter(next(iter(mapping.values())))
            fused = node is not None and "FuseBatchNorm" in node.metadata.get("pkg.onnxscript.rewriter.rule_name", "")
            if path is not None and (module is None or fused or path.startswith(module + ".")):
                module = path
                kind = None if fused else source.module_class
                source = Source(source.node, module, kind, source.file, source.line)
        sources.append(source)
        modules.append(module)
        ops.append(draft.op.value)
        fallbacks.append(node.name if node is not None and node.name else draft.outputs[0] if draft.node < 0 else "")
        weighted.append(any(use.role is not Role.CONSTANT for use in draft.uses))
    return sources, layer_names(modules, ops, fallbacks, weighted)
