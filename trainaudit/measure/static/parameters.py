"""Facts of parameters that the graph alone tells: names, roles, paths to an output. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from pathlib import PurePath

from trainaudit.ir.graph import Graph, Layer, Parameter, Role
from trainaudit.ir.ops import STEPS, Op
from trainaudit.measure.facts import Columns, FactValue
from trainaudit.measure.static.flow import GRADIENT, TO_WEIGHTED, VALUE, WEIGHT_FOLLOWS, cast_type, is_float
from trainaudit.measure.static.index import Index, sole_use
from trainaudit.measure.static.naming import is_dotted_path, module_code

TORCH_NAMES = {
    Role.WEIGHT: "weight",
    Role.BIAS: "bias",
    Role.SCALE: "weight",
    Role.SHIFT: "bias",
    Role.RUNNING_MEAN: "running_mean",
    Role.RUNNING_VARIANCE: "running_var",
    Role.EMBEDDING: "weight",
    Role.INPUT_WEIGHT: "weight_ih_l0",
    Role.RECURRENT_WEIGHT: "weight_hh_l0",
    Role.SLOPE: "weight",
}
"""Names of a module's own tensors in torch.nn."""


_ROLE_WORDS = {role: role.value for role in Role}
_STOPPING = STEPS | {Op.CAST, Op.SHAPE}


def trainable_sizes(graph: Graph) -> dict[str, int]:
    """Trainable parameter → number of elements."""
    return {
        name: parameter.size
        for name, parameter in graph.parameters.items()
        if parameter.trainable and is_float(parameter.dtype)
    }


def audited_parameters(graph: Graph) -> list[Parameter]:
    """The parameters that facts are measured of: all but fixed tensors."""
    return [p for p in graph.parameters.values() if p.role is not Role.CONSTANT or p.trainable]


def measure_parameters(index: Index, flow: list[int], trainable: dict[str, int], codes: dict[str, str]) -> Columns:
    """parameter.* facts from the graph, all but the zero-init idiom and ties. `codes` holds the expressions of modules by path."""
    graph, ops = index.graph, index.ops
    audited = audited_parameters(graph)
    names = [parameter.name for parameter in audited]
    reaches: dict[str, FactValue] = {}
    blocked: dict[str, FactValue] = {}
    units: dict[str, FactValue] = {}
    outputs = set(graph.outputs)
    stopped: list[tuple[Parameter, list[int]]] = []
    for parameter in audited:
        name = parameter.name
        axis = parameter.unit_axis
        if axis is not None and axis < len(parameter.shape):
            units[name] = parameter.shape[axis]
        owners = parameter.owners
        if len(owners) == 1:
            bits = flow[owners[0]]
            if bits & VALUE and bits & GRADIENT and ops[owners[0]] not in _STOPPING:
                reaches[name] = True
                if name in trainable:
                    blocked[name] = False
                continue
        reaching = [i for i in owners if flow[i] & VALUE and ops[i] is not Op.SHAPE]
        reaches[name] = bool(reaching) or name in outputs
        if reaching and name in trainable:
            if name in outputs or any(flow[i] & GRADIENT and not _blocks(index, i) for i in reaching):
                blocked[name] = False
            else:
                blocked[name] = True
                stopped.append((parameter, reaching))
    columns: Columns = {
        "parameter.name": dict(zip(names, names, strict=True)),
        "parameter.code": _codes(graph, audited, codes),
        "parameter.role": {parameter.name: _ROLE_WORDS[parameter.role] for parameter in audited},
        "parameter.is_trainable": {name: name in trainable for name in names},
        "parameter.size": {parameter.name: trainable.get(parameter.name) or parameter.size for parameter in audited},
        "parameter.dtype": {parameter.name: parameter.dtype for parameter in audited},
        "parameter.unit_count": units,
        "parameter.is_read": {p.name: bool(p.owners) or p.name in outputs for p in audited},
        "parameter.reaches_output": reaches,
        "parameter.is_gradient_blocked": blocked,
    }
    columns.update(_blockers(index, flow, blocked, stopped))
    return columns


def _blockers(
    index: Index, flow: list[int], blocked: dict[str, FactValue], stopped: list[tuple[Parameter, list[int]]]
) -> Columns:
    """Where the gradients of the blocked parameters stop."""
    blocker: dict[str, FactValue] = dict.fromkeys(blocked, "none")
    blocker_op: dict[str, FactValue] = dict.fromkeys(blocked, "none")
    before_weights: dict[str, FactValue] = dict.fromkeys(blocked, False)
    first = _first_blockers(index, flow) if stopped else []
    for parameter, reaching in stopped:
        at = min(i if _blocks(index, i) else first[i] for i in reaching)
        if _looks_up_codes(index, at, parameter):
            blocked[parameter.name] = False
            continue
        blocker[parameter.name] = _place(index.layers[at])
        blocker_op[parameter.name] = index.layers[at].raw_op
        # Teachers and targets are detached, and losses multiply them: a cut matters where layers train on what is cut.
        follows = TO_WEIGHTED if index.ops[at] is Op.DETACH else WEIGHT_FOLLOWS
        before_weights[parameter.name] = flow[at] & follows != 0
    return {
        "parameter.gradient_blocker": blocker,
        "parameter.gradient_blocker_op": blocker_op,
        "parameter.is_blocker_before_weights": before_weights,
    }


def _place(layer: Layer) -> str:
    """A layer's name, with its line of code where that is known."""
    source = layer.source
    return f"{layer.name}, {PurePath(source.file).name}:{source.line}" if source.file and source.line else layer.name


def _looks_up_codes(index: Index, position: int, parameter: Parameter) -> bool:
    """Whether the step picks the nearest entry of a codebook, and the parameter is a copy of that codebook or holds a number for each entry
    (van den Oord et al. 2017): the codebook learns through the entries that are looked up."""
    if index.ops[position] is Op.DETACH:  # the straight-through estimator around the lookup
        rows = [source for owner in parameter.owners for source in index.sources[owner] if source >= 0]
        return any(index.ops[index.origin[source]] is Op.ARGMAX for source in rows if index.origin[source] >= 0)
    if index.ops[position] is not Op.ARGMAX:
        return False
    user = sole_use(index, position, frozenset())
    if user is None:
        return False
    looked_up = (index.graph.parameters.get(name) for name in index.layers[user].parameters.values())
    sizes = {size for size in parameter.shape if size != 1}
    return any(
        codebook is not None and len(codebook.shape) == 2 and sizes <= set(codebook.shape) for codebook in looked_up
    )


def _blocks(index: Index, position: int) -> bool:
    op = index.ops[position]
    return op in STEPS or (op is Op.CAST and not is_float(cast_type(index.layers[position])))


def _first_blockers(index: Index, flow: list[int]) -> list[int]:
    """For each layer that no gradient comes back to: the first layer on its way to an output that stops the gradient."""
    count = len(index.layers)
    first = [count - 1] * count
    for i in range(count - 1, -1, -1):
        bits = flow[i]
        if not bits & VALUE or bits & GRADIENT:
            continue
        nearest = count - 1
        for user in index.uses[i]:
            if flow[user] & VALUE:
                stop = user if flow[user] & GRADIENT or _blocks(index, user) else first[user]
                nearest = min(nearest, stop)
        first[i] = nearest
    return first


def _codes(graph: Graph, audited: list[Parameter], known: dict[str, str]) -> dict[str, FactValue]:
    """parameter name → Python expression: from its own name where that is a path, else from its module's path and torch's word."""
    codes: dict[str, FactValue] = {}
    for parameter in audited:
        name = parameter.name
        module, dot, leaf = name.rpartition(".")
        code = known.get(module)
        if dot and code is not None and leaf.isidentifier():
            codes[name] = f"{code}.{leaf}"
        elif is_dotted_path(name):
            codes[name] = f"{module_code(module, known)}.{leaf}"
        else:
            path = graph.layers[parameter.owners[0]].source.module if parameter.owners else None
            word = TORCH_NAMES.get(parameter.role)
            if path is not None and word is not None:
                codes[name] = f"{known.get(path) or module_code(path, known)}.{word}"
            else:
                codes[name] = f"model.{name}" if name.isidentifier() else name
    return codes
