"""Facts of parameters that the graph alone tells: names, roles, paths to an output. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from trainaudit.ir.graph import Graph, Parameter, Role
from trainaudit.ir.ops import STEPS, Op
from trainaudit.measure.facts import Columns, FactValue
from trainaudit.measure.static.flow import GRADIENT, VALUE, WEIGHT_FOLLOWS, cast_type, is_float
from trainaudit.measure.static.index import Index
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


def measure_parameters(index: Index, flow: list[int], trainable: dict[str, int]) -> Columns:
    """parameter.* facts from the graph, all but the zero-init idiom and ties."""
    graph = index.graph
    name_column: dict[str, FactValue] = {}
    code: dict[str, FactValue] = {}
    role: dict[str, FactValue] = {}
    is_trainable: dict[str, FactValue] = {}
    size: dict[str, FactValue] = {}
    dtype: dict[str, FactValue] = {}
    units: dict[str, FactValue] = {}
    reaches: dict[str, FactValue] = {}
    blocked: dict[str, FactValue] = {}
    blocker: dict[str, FactValue] = {}
    blocker_op: dict[str, FactValue] = {}
    before_weights: dict[str, FactValue] = {}
    first_blocker: list[int] | None = None
    known: dict[str, str] = {}
    outputs = set(graph.outputs)
    for parameter in audited_parameters(graph):
        name = parameter.name
        name_column[name] = name
        code[name] = _code(graph, parameter, known)
        role[name] = parameter.role.value
        is_trainable[name] = name in trainable
        size[name] = trainable.get(name) or parameter.size
        dtype[name] = parameter.dtype
        if parameter.unit_axis is not None and parameter.unit_axis < len(parameter.shape):
            units[name] = parameter.shape[parameter.unit_axis]
        reaching = [i for i in parameter.owners if flow[i] & VALUE and index.ops[i] is not Op.SHAPE]
        reaches[name] = bool(reaching) or name in outputs
        if name not in trainable or not reaching:
            continue
        is_blocked = name not in outputs and not any(flow[i] & GRADIENT and not _blocks(index, i) for i in reaching)
        blocked[name] = is_blocked
        before_weights[name] = False
        if is_blocked:
            if first_blocker is None:
                first_blocker = _first_blockers(index, flow)
            at = min(i if _blocks(index, i) else first_blocker[i] for i in reaching)
            blocker[name] = index.layers[at].name
            blocker_op[name] = index.layers[at].raw_op
            before_weights[name] = flow[at] & WEIGHT_FOLLOWS != 0
    return {
        "parameter.name": name_column,
        "parameter.code": code,
        "parameter.role": role,
        "parameter.is_trainable": is_trainable,
        "parameter.size": size,
        "parameter.dtype": dtype,
        "parameter.unit_count": units,
        "parameter.reaches_output": reaches,
        "parameter.is_gradient_blocked": blocked,
        "parameter.gradient_blocker": blocker,
        "parameter.gradient_blocker_op": blocker_op,
        "parameter.is_blocker_before_weights": before_weights,
    }


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


def _code(graph: Graph, parameter: Parameter, known: dict[str, str]) -> str:
    name = parameter.name
    if is_dotted_path(name):
        module, _, leaf = name.rpartition(".")
        return f"{known.get(module) or module_code(module, known)}.{leaf}"
    if parameter.owners:
        module_path = graph.layers[parameter.owners[0]].source.module
        leaf_name = TORCH_NAMES.get(parameter.role)
        if module_path is not None and leaf_name is not None:
            return f"{known.get(module_path) or module_code(module_path, known)}.{leaf_name}"
    return f"model.{name}" if name.isidentifier() else name
