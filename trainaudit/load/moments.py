"""The inside of a normalization that is written out: means of squares, and what they are of.

Stdlib, load.raw and load.wiring only.
"""

from __future__ import annotations

from trainaudit.frozen import slotted
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Wiring


@slotted
class Moment:
    """A mean (or sum) of squares and what it is of: `x` is the raw input, `centered` what was squared (x itself without a mean)."""

    x: str
    centered: str
    mean: str
    axes: tuple[int, ...]
    is_sum: bool
    members: list[int]


_MOST_CASTS = 4


def through_casts(wiring: Wiring, name: str, members: list[int]) -> str:
    """The value behind floating-point casts."""
    for _ in range(_MOST_CASTS):
        maker = wiring.maker(name, "Cast", "CastLike")
        if maker is None:
            break
        members.append(maker)
        name = wiring.nodes[maker].inputs[0]
    return name


def after_casts(wiring: Wiring, name: str, members: list[int]) -> str:
    """The value behind the casts that alone read it."""
    for _ in range(_MOST_CASTS):
        reader = wiring.reader(name, "Cast", "CastLike")
        if reader is None:
            break
        members.append(reader)
        name = wiring.nodes[reader].outputs[0]
    return name


def axes_of(wiring: Wiring, node: RawNode) -> tuple[int, ...] | None:
    axes = wiring.argument(node, 1, "axes")
    if axes is None:
        return None
    rank = wiring.rank(node.inputs[0])
    return tuple(sorted(axis + rank if axis < 0 and rank is not None else axis for axis in axes))


def squared(wiring: Wiring, name: str, members: list[int]) -> str | None:
    """What a value is the square of."""
    maker = wiring.maker(name, "Mul", "Pow")
    if maker is None:
        return None
    node = wiring.nodes[maker]
    if node.op == "Mul":
        same = node.inputs[0] == node.inputs[1] or _is_twin(wiring, node.inputs[0], node.inputs[1], members)
        if not same:
            return None
    elif wiring.scalar(node.inputs[1]) != 2:
        return None
    members.append(maker)
    return node.inputs[0]


def _is_twin(wiring: Wiring, left: str, right: str, members: list[int]) -> bool:
    """Two nodes that subtract the same mean from the same value."""
    first, second = wiring.maker(left, "Sub"), wiring.maker(right, "Sub")
    if first is None or second is None or wiring.nodes[first].inputs != wiring.nodes[second].inputs:
        return False
    members.append(second)
    return True


def moment_of(wiring: Wiring, name: str) -> Moment | None:
    """Read a mean of squares backwards from the value that holds it."""
    members: list[int] = []
    name = through_casts(wiring, name, members)
    scaler = wiring.maker(name, "Mul", "Div")
    if scaler is not None:
        # Bessel's correction, or a sum divided by a stored count.
        split = wiring.split_scalar(wiring.nodes[scaler])
        if split is None:
            return None
        members.append(scaler)
        name = split[0]
    difference = wiring.maker(name, "Sub")
    if difference is not None:
        return _by_squares(wiring, difference, members)
    reducer = wiring.maker(name, "ReduceMean", "ReduceSum", "ReduceSumSquare", "GlobalAveragePool")
    if reducer is None:
        return None
    node = wiring.nodes[reducer]
    if node.op == "GlobalAveragePool":
        rank = wiring.rank(node.inputs[0])
        axes = tuple(range(2, rank)) if rank else None
    else:
        axes = axes_of(wiring, node)
    if axes is None:
        return None
    members.append(reducer)
    source = node.inputs[0] if node.op == "ReduceSumSquare" else squared(wiring, node.inputs[0], members)
    if source is None:
        return None
    is_sum = node.op in ("ReduceSum", "ReduceSumSquare") and scaler is None
    centered = source
    base = through_casts(wiring, source, members)
    subtract = wiring.maker(base, "Sub")
    if subtract is not None and not is_sum:
        sides = wiring.nodes[subtract].inputs
        behind: list[int] = []
        mean_name = through_casts(wiring, sides[1], behind)
        mean = wiring.maker(mean_name, "ReduceMean", "GlobalAveragePool")
        if mean is not None and is_same(wiring, wiring.nodes[mean].inputs[0], sides[0]):
            inner: list[int] = []
            x = through_casts(wiring, sides[0], inner)
            return Moment(x, base, sides[1], axes, is_sum, [*members, subtract, mean, *behind, *inner])
    return Moment(base, centered, "", axes, is_sum, members)


def _by_squares(wiring: Wiring, difference: int, members: list[int]) -> Moment | None:
    """A variance spelled E[x²] − (E[x])², as JAX does."""
    square_mean, mean_square = wiring.nodes[difference].inputs
    first = wiring.maker(square_mean, "ReduceMean")
    mean = squared(wiring, mean_square, members)
    if first is None or mean is None:
        return None
    x = squared(wiring, wiring.nodes[first].inputs[0], members)
    second = wiring.maker(mean, "ReduceMean")
    axes = axes_of(wiring, wiring.nodes[first])
    if x is None or second is None or axes is None or wiring.nodes[second].inputs[0] != x:
        return None
    return Moment(x, "", mean, axes, False, [*members, difference, first, second])


def is_same(wiring: Wiring, left: str, right: str) -> bool:
    """Equal, or equal behind casts."""
    return left == right or through_casts(wiring, left, []) == through_casts(wiring, right, [])


def lower_bound(wiring: Wiring, node: RawNode) -> tuple[str, float] | None:
    low = wiring.scalar(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else node.attributes.get("min")
    return (node.inputs[0], float(low)) if isinstance(low, (int, float)) else None
