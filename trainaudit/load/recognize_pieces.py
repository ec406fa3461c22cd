"""A gated linear unit, a softmax and an unfolded image written out in several nodes, matched node by node. Stdlib, ir and load.wiring only."""

from __future__ import annotations

from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op
from trainaudit.load.wiring import Draft, Wiring, number, numbers


def glu(wiring: Wiring, place: int) -> Draft | None:
    """Split in two halves, the sigmoid of one times the other (Dauphin et al. 2017, arXiv:1612.08083)."""
    node = wiring.nodes[place]
    gate = wiring.reader(node.outputs[0], "Mul")
    splitter = wiring.maker(node.inputs[0], "Split")
    if gate is None or splitter is None:
        return None
    split = wiring.nodes[splitter]
    if len(split.outputs) != 2 or wiring.reader(node.inputs[0], "Sigmoid") is None:
        return None
    other = split.outputs[0] if split.outputs[1] == node.inputs[0] else split.outputs[1]
    if other not in wiring.nodes[gate].inputs or not wiring.is_closed(
        (splitter, place, gate), wiring.nodes[gate].outputs
    ):
        return None
    axis = number(split, "axis", 0)
    rank = wiring.rank(split.inputs[0])
    members = (splitter, place, gate)
    attributes: dict[str, Attribute] = {"dim": axis + rank if axis < 0 and rank is not None else axis}
    return Draft(Op.GLU, place, [split.inputs[0]], [wiring.nodes[gate].outputs[0]], members, attributes=attributes)


def softmax_in_pieces(wiring: Wiring, place: int) -> Draft | None:
    """exp(x − max x) / Σ exp(x − max x), and its logarithm; `place` is the Exp."""
    node = wiring.nodes[place]
    grown = node.outputs[0]
    readers = wiring.consumers.get(grown, [])
    total = next((reader for reader in readers if wiring.nodes[reader].op == "ReduceSum"), None)
    if total is None or wiring.taken[total] or not number(wiring.nodes[total], "keepdims", 1):
        return None
    axes = wiring.argument(wiring.nodes[total], 1, "axes")
    if axes is None or len(axes) != 1:
        return None
    members = [place, total]
    x = node.inputs[0]
    shift = wiring.maker(x, "Sub")
    shifted = x
    if shift is not None:
        highest = wiring.maker(wiring.nodes[shift].inputs[1], "ReduceMax")
        if highest is not None and wiring.nodes[highest].inputs[0] == wiring.nodes[shift].inputs[0]:
            x = wiring.nodes[shift].inputs[0]
            members += [shift, highest]
    sum_name = wiring.nodes[total].outputs[0]
    divider = wiring.reader(sum_name, "Div")
    rank = wiring.rank(x)
    axis = axes[0] + rank if axes[0] < 0 and rank is not None else axes[0]
    if divider is not None and wiring.nodes[divider].inputs[0] == grown:
        members.append(divider)
        last, op = divider, Op.SOFTMAX
    else:
        logarithm = wiring.reader(sum_name, "Log")
        if logarithm is None:
            return None
        last_found = wiring.reader(wiring.nodes[logarithm].outputs[0], "Sub")
        if last_found is None or wiring.nodes[last_found].inputs[0] != shifted:
            return None
        members += [logarithm, last_found]
        last, op = last_found, Op.LOG_SOFTMAX
    output = wiring.nodes[last].outputs[0]
    if not wiring.is_closed(members, (output,)):
        return None
    return Draft(op, place, [x], [output], tuple(members), attributes={"dim": axis})


def unfold(wiring: Wiring, place: int) -> Draft | None:
    """The patches of an image side by side, as torch's exporters write im2col: `place` is the Pad, of which rows and then columns are
    gathered at stored places, (batch, channels, kernel rows, rows, kernel columns, columns)."""
    members = [place]
    for op in ("Gather", "Gather", "Transpose", "Reshape"):
        reader = wiring.reader(wiring.nodes[members[-1]].outputs[0], op)
        if reader is None:
            return None
        members.append(reader)
    pad, rows, columns, turn, last = (wiring.nodes[member] for member in members)
    if numbers(turn, "perm") != (0, 1, 2, 4, 3, 5) or (number(rows, "axis", 0), number(columns, "axis", 0)) != (2, 4):
        return None
    if not all(wiring.is_stored(node.inputs[1]) and wiring.rank(node.inputs[1]) == 2 for node in (rows, columns)):
        return None
    return Draft(Op.UNFOLD, place, [pad.inputs[0]], [last.outputs[0]], tuple(members))
