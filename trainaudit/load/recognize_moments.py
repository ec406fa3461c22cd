"""Normalizations written out as means, squares and roots: LayerNorm, RMSNorm, InstanceNorm, BatchNorm, L2 and group forms.

The root of every one is the square root. Backwards from it stand ε and the mean of squares, forwards the division and the affine
part. Stdlib, ir and load's index only.
"""

from __future__ import annotations

from trainaudit.ir.ops import Op
from trainaudit.load.known import Stored
from trainaudit.load.moments import Moment, after_casts, axes_of, is_same, lower_bound, moment_of, through_casts
from trainaudit.load.recognize_affine import finish
from trainaudit.load.wiring import Draft, Wiring


def written_out(wiring: Wiring, place: int) -> Draft | None:
    """The normalization around a Sqrt, or around a Pow with exponent ±1/2."""
    root = wiring.nodes[place]
    inverse = False
    if root.op == "Pow":
        power = wiring.scalar(root.inputs[1])
        if power is None or abs(power) != 0.5:
            return None
        inverse = power < 0
    members = [place]
    name = through_casts(wiring, root.inputs[0], members)
    eps = 0.0
    guard = wiring.maker(name, "Add", "Max", "Clip")
    if guard is not None:
        node = wiring.nodes[guard]
        split = wiring.split_scalar(node) if node.op != "Clip" else lower_bound(wiring, node)
        if split is not None:
            members.append(guard)
            name, eps = split
    moment = moment_of(wiring, name)
    if moment is None:
        return None
    members += moment.members
    return _forward(wiring, place, moment, members, eps, inverse)


def _forward(wiring: Wiring, place: int, moment: Moment, members: list[int], eps: float, inverse: bool) -> Draft | None:
    """From the root to the normalized value and its affine part."""
    name = after_casts(wiring, wiring.nodes[place].outputs[0], members)
    if not inverse:
        guard = wiring.reader(name, "Add", "Max", "Clip")
        if guard is not None and eps == 0.0:
            node = wiring.nodes[guard]
            split = wiring.split_scalar(node) if node.op != "Clip" else lower_bound(wiring, node)
            if split is None:
                return None
            members.append(guard)
            eps, name = split[1], node.outputs[0]
        widen = wiring.reader(name, "Expand")
        if widen is not None:
            members.append(widen)
            name = wiring.nodes[widen].outputs[0]
        divider = wiring.reader(name, "Div")
        if divider is None:
            turned = wiring.reader(name, "Reciprocal")
            if turned is None:
                return None
            members.append(turned)
            name = wiring.nodes[turned].outputs[0]
            inverse = True
        else:
            left, right = wiring.nodes[divider].inputs
            members.append(divider)
            if right == name and wiring.scalar(left) == 1:
                name = wiring.nodes[divider].outputs[0]
                inverse = True
            elif right == name and _is_numerator(wiring, left, moment, members):
                return finish(wiring, place, moment, members, eps, wiring.nodes[divider].outputs[0])
            elif right == name and (scale := _scaled_numerator(wiring, left, moment, members)) is not None:
                return finish(wiring, place, moment, members, eps, wiring.nodes[divider].outputs[0], scale)
            else:
                return None
    name = after_casts(wiring, name, members)
    return _multiplied(wiring, place, moment, members, eps, name)


def _is_numerator(wiring: Wiring, name: str, moment: Moment, members: list[int]) -> bool:
    if name == moment.centered or (not moment.mean and is_same(wiring, name, moment.x)):
        return True
    behind: list[int] = []
    base = through_casts(wiring, name, behind)
    if base == moment.centered:
        members += behind
        return True
    maker = wiring.maker(base, "Sub")
    if maker is None or not moment.mean:
        return False
    left, right = wiring.nodes[maker].inputs
    if not is_same(wiring, left, moment.x):
        return False
    if right == moment.mean or _is_same_mean(wiring, right, moment, behind):
        members += [maker, *behind]
        return True
    return False


def _scaled_numerator(wiring: Wiring, name: str, moment: Moment, members: list[int]) -> Stored | None:
    """γ of γ·x or γ·(x − mean), where γ is multiplied before the division."""
    behind: list[int] = []
    maker = wiring.maker(through_casts(wiring, name, behind), "Mul")
    if maker is None:
        return None
    left, right = wiring.nodes[maker].inputs
    stored, other = (left, right) if wiring.is_stored(left) else (right, left)
    scale = wiring.stored(stored)
    if scale is None or not scale.is_floating or not scale.shape or wiring.is_stored(other):
        return None
    if not _is_numerator(wiring, other, moment, behind):
        return None
    members += [maker, *behind]
    return scale


def _is_same_mean(wiring: Wiring, name: str, moment: Moment, members: list[int]) -> bool:
    """Another node that computes the same mean."""
    maker = wiring.maker(through_casts(wiring, name, members), "ReduceMean", "GlobalAveragePool")
    if maker is None or not is_same(wiring, wiring.nodes[maker].inputs[0], moment.x):
        return False
    members.append(maker)
    return True


def _multiplied(
    wiring: Wiring, place: int, moment: Moment, members: list[int], eps: float, inverse: str
) -> Draft | None:
    """(x − mean)·r, or Keras' x·(γr) + (β − mean·(γr))."""
    multiplier = wiring.reader(inverse, "Mul")
    if multiplier is None:
        # Without γ, Keras reads 1/σ twice: x·r and mean·r.
        return _folded_affine(wiring, place, moment, members, eps, inverse, None)
    node = wiring.nodes[multiplier]
    other = node.inputs[1] if node.inputs[0] == inverse else node.inputs[0]
    members.append(multiplier)
    if wiring.is_stored(other):
        return _folded_affine(wiring, place, moment, members, eps, node.outputs[0], wiring.stored(other))
    scale = None
    if not _is_numerator(wiring, other, moment, members):
        scale = _scaled_numerator(wiring, other, moment, members)
        if scale is None:
            return None
    return finish(wiring, place, moment, members, eps, node.outputs[0], scale)


def _folded_affine(
    wiring: Wiring, place: int, moment: Moment, members: list[int], eps: float, factor: str, scale: Stored | None
) -> Draft | None:
    readers = wiring.consumers.get(factor, [])
    if len(readers) == 1 and scale is not None:
        node = wiring.nodes[readers[0]]
        if node.op != "Mul":
            return None
        other = node.inputs[1] if node.inputs[0] == factor else node.inputs[0]
        if not _is_numerator(wiring, other, moment, members):
            return None
        members.append(readers[0])
        return finish(wiring, place, moment, members, eps, node.outputs[0], scale)
    if len(readers) != 2 or not moment.mean:
        return None
    scaled, moved = "", ""
    for reader in readers:
        node = wiring.nodes[reader]
        if node.op != "Mul" or wiring.taken[reader]:
            return None
        other = node.inputs[1] if node.inputs[0] == factor else node.inputs[0]
        if other == moment.mean or _is_same_mean(wiring, other, moment, members):
            moved = node.outputs[0]
        elif is_same(wiring, other, moment.x):
            scaled = node.outputs[0]
        members.append(reader)
    if not scaled or not moved:
        return None
    shift: Stored | None = None
    offset = wiring.reader(moved, "Sub", "Neg")
    if offset is None:
        return None
    members.append(offset)
    if wiring.nodes[offset].op == "Sub":
        shift = wiring.stored(wiring.nodes[offset].inputs[0])
        if shift is None:
            subtracts = wiring.nodes[offset].inputs == [scaled, moved]
            return (
                finish(wiring, place, moment, members, eps, wiring.nodes[offset].outputs[0], scale)
                if subtracts
                else None
            )
    joined = wiring.reader(wiring.nodes[offset].outputs[0], "Add")
    if joined is None or scaled not in wiring.nodes[joined].inputs:
        return None
    members.append(joined)
    return finish(wiring, place, moment, members, eps, wiring.nodes[joined].outputs[0], scale, shift)


def divided_by_length(wiring: Wiring, place: int) -> Draft | None:
    """x / max(‖x‖, ε): torch's normalize; `place` is the ReduceL2 (or ReduceL1)."""
    node = wiring.nodes[place]
    members = [place]
    name = node.outputs[0]
    x = node.inputs[0]
    eps = 0.0
    guard = wiring.reader(name, "Clip", "Max", "Add")
    if guard is not None:
        split = (
            lower_bound(wiring, wiring.nodes[guard])
            if wiring.nodes[guard].op == "Clip"
            else wiring.split_scalar(wiring.nodes[guard])
        )
        if split is None:
            return None
        eps = split[1]
        members.append(guard)
        name = wiring.nodes[guard].outputs[0]
    widen = wiring.reader(name, "Expand")
    if widen is not None:
        members.append(widen)
        name = wiring.nodes[widen].outputs[0]
    divider = wiring.reader(name, "Div")
    axes = axes_of(wiring, node)
    if divider is None or axes is None or wiring.nodes[divider].inputs != [x, name]:
        return None
    members.append(divider)
    output = wiring.nodes[divider].outputs[0]
    if not wiring.is_closed(members, (output,)):
        return None
    ordinal = 2 if node.op == "ReduceL2" else 1
    attributes = {"eps": eps, "axes": axes, "ordinal": ordinal}
    return Draft(Op.LP_NORM, place, [x], [output], tuple(members), attributes=attributes)  # type: ignore[arg-type]
