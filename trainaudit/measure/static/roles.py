"""What weighted layers are for, and the designs in which a zero weight is meant. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from trainaudit.ir.graph import Parameter, Role
from trainaudit.ir.ops import DROPOUTS, NORMALIZATIONS, RECURRENT, SHAPING, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue
from trainaudit.measure.static.flow import (
    BRANCH_END,
    GATE,
    KEY,
    MERGED,
    MODULATES,
    PROJECTED_SKIP,
    QUERY,
    REACHES,
    SCORES,
    VALUE,
    VALUES,
    WEIGHT_FOLLOWS,
)
from trainaudit.measure.static.index import Index, through
from trainaudit.measure.static.parameters import audited_parameters

_ATTENTION_ROLES = {QUERY: "attention-query", KEY: "attention-key", VALUES: "attention-value"}
_PRODUCTS = frozenset({Op.ATTENTION, Op.MATMUL, Op.EINSUM})
_LONGEST_CELL = 400
"""Layers between two uses of a weight within which a written-out recurrence is looked for."""


def layer_roles(index: Index, flow: list[int]) -> dict[str, str]:
    """layer name → role, for every weighted layer."""
    cells = _recurrent_cells(index)
    strided: list[int] = []
    roles: dict[str, str] = {}
    may_attend = not _PRODUCTS.isdisjoint(index.places)
    for i in index.of(WEIGHTED):
        layer = index.layers[i]
        op = layer.op
        if op is Op.EMBEDDING:
            role = "embedding"
        elif op in RECURRENT:
            role = "hidden"
        elif i in cells or (cells and _feeds_cell(index, flow, i)):
            role = "recurrent-cell"
        else:
            role = _role(index, flow, i, may_attend)
            if op is Op.CONV and role == "hidden" and _is_strided(layer.attributes.get("stride")):
                strided.append(i)
        roles[layer.name] = role
    if strided:
        between = _between_blocks(index)
        roles.update({index.layers[i].name: "downsample" for i in strided if i in between})
    return roles


def _role(index: Index, flow: list[int], position: int, may_attend: bool) -> str:
    """`may_attend` says that the model holds products of activations."""
    bits = flow[position]
    if not bits & VALUE:
        return "auxiliary"
    attended = bits & (QUERY | KEY | VALUES)
    if attended:
        return _ATTENTION_ROLES.get(attended, "attention-input")
    if may_attend and bits & WEIGHT_FOLLOWS and _follows_attention(index, flow, position):
        return "attention-out"
    if bits & MODULATES:
        return "modulation"
    if bits & GATE:
        return "gate"
    if bits & BRANCH_END:
        return "residual-branch-end"
    if bits & PROJECTED_SKIP:
        return "downsample"
    return "hidden" if bits & WEIGHT_FOLLOWS else "output-head"


def _follows_attention(index: Index, flow: list[int], position: int) -> bool:
    above = through(index, position)
    if above >= 0 and index.ops[above] in NORMALIZATIONS:
        above = through(index, above)
    if above < 0:
        return False
    if index.ops[above] is Op.ATTENTION:
        return True
    if index.ops[above] not in (Op.MATMUL, Op.EINSUM):
        return False
    return any(
        source >= 0 and flow[source] & SCORES and not flow[source] & (QUERY | KEY) for source in index.sources[above]
    )


def _between_blocks(index: Index) -> set[int]:
    """Convolutions that stand in no residual block, with blocks before and behind them."""
    joins = index.joins
    if not joins:
        return set()
    inside = [0] * (len(index.layers) + 1)
    for at, join in joins.items():
        inside[join.fork + 1] += 1
        inside[at] -= 1
    first, last = min(joins), max(joins)
    found = set()
    open_blocks = 0
    for i in range(last):
        open_blocks += inside[i]
        if i > first and not open_blocks and index.ops[i] is Op.CONV:
            found.add(i)
    return found


def _is_strided(stride: object) -> bool:
    return isinstance(stride, tuple) and any(isinstance(s, int) and s > 1 for s in stride)


def _recurrent_cells(index: Index) -> set[int]:
    """Layers inside a loop's body that read carried state, and layers that reuse one weight on their own result with no attention between:
    cells of a recurrence written out."""
    cells: set[int] = set()
    if Op.LOOP_ENTRY in index.places:
        cells.update(i for i in index.of((Op.LINEAR,)) if index.layers[i].scope and _reads_loop_state(index, i))
    for parameter in index.graph.parameters.values():
        if len(parameter.owners) < 3 or parameter.role is not Role.WEIGHT:
            continue
        owners = sorted(i for i in parameter.owners if index.ops[i] is Op.LINEAR)
        if len(owners) >= 3:
            last = _LONGEST_CELL * len(owners)
            if owners[-1] - owners[0] <= last and all(
                _leads_to(index, first, second) for first, second in pairwise(owners[:3])
            ):
                cells.update(owners)
    return cells


def _feeds_cell(index: Index, flow: list[int], position: int) -> bool:
    """Whether a layer of a model with written-out cells is one of many uses of its weight that are added to something: W·x beside U·h."""
    weight = index.graph.parameters.get(index.layers[position].parameters.get(Role.WEIGHT.value, ""))
    return weight is not None and len(weight.owners) >= 3 and flow[position] & (MERGED | PROJECTED_SKIP) != 0


def _reads_loop_state(index: Index, position: int) -> bool:
    above = through(index, position)
    return above >= 0 and index.ops[above] is Op.LOOP_ENTRY


def _leads_to(index: Index, first: int, second: int) -> bool:
    """Whether the second layer depends on the first through a short path without attention."""
    if second - first > _LONGEST_CELL:
        return False
    seen = {second}
    waiting = [second]
    found = False
    while waiting:
        current = waiting.pop()
        if index.ops[current] is Op.ATTENTION:
            return False
        for source in index.sources[current]:
            if source == first:
                found = True
            elif source > first and source not in seen:
                seen.add(source)
                waiting.append(source)
    return found


def measure_roles(index: Index, flow: list[int], roles: Mapping[str, str], idioms: Mapping[str, FactValue]) -> Columns:
    """layer.role, parameter.zero_init_idiom and parameter.is_tied_to_head. `idioms` is the column layer.linear_idiom."""
    outputs = index.output_layers()
    zero: dict[str, FactValue] = {}
    tied: dict[str, FactValue] = {}
    for parameter in audited_parameters(index.graph):
        if parameter.role in _ZEROED:
            zero[parameter.name] = _zero_idiom(index, flow, roles, idioms, outputs, parameter)
        if parameter.role is Role.EMBEDDING or (
            len(parameter.owners) > 1 and any(index.ops[i] is Op.EMBEDDING for i in parameter.owners)
        ):
            zero[parameter.name] = "none"
            tied[parameter.name] = any(
                index.ops[i] is Op.LINEAR and not flow[i] & WEIGHT_FOLLOWS and flow[i] & REACHES
                for i in parameter.owners
            )
    return {
        "layer.role": dict(roles),
        "parameter.zero_init_idiom": zero,
        "parameter.is_tied_to_head": tied,
    }


_FARTHEST = 16
"""Layers that are looked through behind a zero weight."""
_PASSED = SHAPING | DROPOUTS | {Op.RESIZE, Op.CONV_TRANSPOSE, Op.GRID_SAMPLE, Op.REDUCE_SUM, Op.REDUCE_MEAN}
_ZEROED = frozenset({Role.WEIGHT, Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT, Role.SCALE})


def _zero_idiom(
    index: Index,
    flow: list[int],
    roles: Mapping[str, str],
    idioms: Mapping[str, FactValue],
    outputs: frozenset[int],
    parameter: Parameter,
) -> str:
    """Branch ends (Goyal 2017; Zhang 2019), the up-projection of a low-rank adapter (Hu 2021), adaLN-zero modulation (Peebles 2022), output
    heads and gates, and what `_use_behind` tells."""
    for i in parameter.owners:
        name = index.layers[i].name
        bits = flow[i]
        if roles.get(name) in ("gate", "modulation"):
            return roles[name]
        if idioms.get(name) == "low-rank" and bits & MERGED:
            return "low-rank-adapter"
        if bits & (BRANCH_END | MERGED | PROJECTED_SKIP):
            return "residual-branch-end"
        is_head = parameter.role is not Role.SCALE and bits & REACHES and not bits & WEIGHT_FOLLOWS
        if is_head or roles.get(name) == "output-head":
            return "output-head"
        behind = "none" if parameter.role is Role.SCALE else _use_behind(index, outputs, i)
        if behind != "none":
            return behind
    return "none"


def _has_bias(index: Index, position: int) -> bool:
    """Whether the layer has a bias that is not zero."""
    bias = index.graph.parameter_of(index.layers[position], Role.BIAS)
    return bias is not None and bias.size > 0 and any(block.reshape(-1)[0] != 0 for block in bias.data.blocks(1 << 20))


def _use_behind(index: Index, outputs: frozenset[int], position: int) -> str:
    """What alone reads a layer's result, reshapes, upsampling, sums and added constants aside: a sum with another activation, a product that a bias keeps
    open (gMLP's gate, Liu 2021), a grid of positions (deformable convolutions, Dai 2017; spatial transformers, Jaderberg 2015), a matrix around a constant
    one or a bias (PointNet's alignment, Qi 2016), or the output (the score layer of FCN, Long 2014). A zero there leaves the signal to something
    else, and learns from the first step."""
    is_shifted = False
    current = position
    for _ in range(_FARTHEST):
        users = index.uses[current]
        if current in outputs:
            return "output-head" if not users else "none"
        if len(users) != 1:
            return "none"
        user = users[0]
        op = index.ops[user]
        if op is Op.GRID_SAMPLE and index.layers[user].raw_op != "AffineGrid":
            return "none" if index.sources[user][0] == current else "modulation"
        if op is Op.MATMUL or op is Op.EINSUM:
            is_open = is_shifted or _has_bias(index, position)
            return "modulation" if is_open and len(index.activations(user)) > 1 else "none"
        if op is Op.ADD or op is Op.SUB or op is Op.MUL:
            if user in index.merging:
                if op is not Op.MUL:
                    return "residual-branch-end"
                return "gate" if is_shifted or _has_bias(index, position) else "none"
            is_shifted = is_shifted or op is not Op.MUL
        elif op not in _PASSED:
            return "none"
        current = user
    return "none"
