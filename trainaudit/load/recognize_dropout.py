"""Dropout written out: a random mask, and the factor that keeps the mean (or, for AlphaDropout, mean and variance).

Stdlib, ir and load's index only.
"""

from __future__ import annotations

from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op
from trainaudit.load.known import FillData
from trainaudit.load.wiring import Draft, Wiring


def dropout(wiring: Wiring, place: int) -> Draft | None:
    """The dropout around a comparison of uniform numbers with the share that is kept, or around a Bernoulli draw."""
    node = wiring.nodes[place]
    members = [place]
    if node.op == "Bernoulli":
        chances = wiring.stored(node.inputs[0])
        keep = float(chances.data.value) if chances is not None and isinstance(chances.data, FillData) else None
    else:
        drawn = wiring.maker(node.inputs[0], "RandomUniformLike", "RandomUniform")
        keep = wiring.scalar(node.inputs[1])
        if drawn is None:
            return None
        members.append(drawn)
    if keep is None or not 0 < keep <= 1:
        return None
    mask = node.outputs[0]
    cast = wiring.reader(mask, "Cast", "CastLike")
    if cast is not None:
        members.append(cast)
        mask = wiring.nodes[cast].outputs[0]
    found = _scaled(wiring, mask, keep) or _shifted(wiring, mask)
    if found is None:
        return None
    op, x, more = found
    members += more
    output = wiring.nodes[more[-1]].outputs[0]
    if not wiring.is_closed(members, (output,)):
        return None
    attributes: dict[str, Attribute] = {"p": round(1.0 - keep, 6), "training": True}
    return Draft(op, place, [x], [output], tuple(members), attributes=attributes)


def _other(wiring: Wiring, place: int, name: str) -> str | None:
    """The operand of a two-operand node that is not `name`, where it is an activation."""
    inputs = wiring.nodes[place].inputs
    other = inputs[1] if inputs[0] == name else inputs[0]
    return None if wiring.is_stored(other) else other


def _scaled(wiring: Wiring, mask: str, keep: float) -> tuple[Op, str, list[int]] | None:
    """x·(mask/keep), or (x·mask)/keep."""
    first = wiring.reader(mask, "Div", "Mul")
    if first is None:
        return None
    result = wiring.nodes[first].outputs[0]
    split = wiring.split_scalar(wiring.nodes[first])
    if split is not None:
        last = wiring.reader(result, "Mul") if _restores(wiring, first, split[1], keep) else None
        x = None if last is None else _other(wiring, last, result)
        return None if last is None or x is None else (Op.DROPOUT, x, [first, last])
    x = _other(wiring, first, mask)
    if x is None or wiring.nodes[first].op != "Mul":
        return None
    last = wiring.reader(result, "Div", "Mul")
    split = wiring.split_scalar(wiring.nodes[last]) if last is not None else None
    if last is not None and split is not None and _restores(wiring, last, split[1], keep):
        return Op.DROPOUT, x, [first, last]
    return Op.DROPOUT, x, [first]


def _restores(wiring: Wiring, place: int, factor: float, keep: float) -> bool:
    """Whether a factor divides by the share that is kept."""
    wanted = keep if wiring.nodes[place].op == "Div" else 1.0 / keep
    return abs(factor - wanted) < 1e-3 * wanted


def _shifted(wiring: Wiring, mask: str) -> tuple[Op, str, list[int]] | None:
    """x·(a·mask) + (c·(mask − 1) + b): Klambauer et al. 2017, arXiv:1706.02515, section "new dropout technique"."""
    readers = wiring.consumers.get(mask, [])
    if len(readers) != 2:
        return None
    members: list[int] = []
    scaled = moved = ""
    x: str | None = None
    for reader in readers:
        node = wiring.nodes[reader]
        if wiring.split_scalar(node) is None:
            return None
        members.append(reader)
        if node.op == "Mul":
            product = wiring.reader(node.outputs[0], "Mul")
            x = None if product is None else _other(wiring, product, node.outputs[0])
            if product is None or x is None:
                return None
            members.append(product)
            scaled = wiring.nodes[product].outputs[0]
        elif node.op in ("Add", "Sub"):
            name = node.outputs[0]
            for op in ("Mul", "Add"):
                step = wiring.reader(name, op)
                if step is None or wiring.split_scalar(wiring.nodes[step]) is None:
                    return None
                members.append(step)
                name = wiring.nodes[step].outputs[0]
            moved = name
    last = wiring.reader(scaled, "Add") if scaled and moved else None
    if last is None or x is None or moved not in wiring.nodes[last].inputs:
        return None
    return Op.ALPHA_DROPOUT, x, [*members, last]
