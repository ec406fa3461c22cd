"""Normalizations written out as means, squares and roots: LayerNorm, RMSNorm, InstanceNorm, BatchNorm, L2 and group forms.

The root of every one is the square root. Backwards from it stand ε and the mean of squares, forwards the division and the affine
part. Stdlib, ir, load.wiring and load.recognize_normalization only.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainaudit.ir.graph import Role
from trainaudit.ir.ops import Op
from trainaudit.load.known import Stored
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_normalization import affine, number_of_groups
from trainaudit.load.wiring import Draft, Use, Wiring


@dataclass(slots=True)
class _Moment:
    """A mean (or sum) of squares and what it is of: `x` is the raw input, `centered` what was squared (x itself without a mean)."""

    x: str
    centered: str
    mean: str
    axes: tuple[int, ...]
    is_sum: bool
    members: list[int]


def _through_casts(wiring: Wiring, name: str, members: list[int]) -> str:
    """The value behind floating-point casts."""
    maker = wiring.maker(name, "Cast", "CastLike")
    while maker is not None:
        members.append(maker)
        name = wiring.nodes[maker].inputs[0]
        maker = wiring.maker(name, "Cast", "CastLike")
    return name


def _after_casts(wiring: Wiring, name: str, members: list[int]) -> str:
    reader = wiring.reader(name, "Cast", "CastLike")
    while reader is not None:
        members.append(reader)
        name = wiring.nodes[reader].outputs[0]
        reader = wiring.reader(name, "Cast", "CastLike")
    return name


def _axes(wiring: Wiring, node: RawNode) -> tuple[int, ...] | None:
    axes = wiring.argument(node, 1, "axes")
    if axes is None:
        return None
    rank = wiring.rank(node.inputs[0])
    return tuple(sorted(axis + rank if axis < 0 and rank is not None else axis for axis in axes))


def _squared(wiring: Wiring, name: str, members: list[int]) -> str | None:
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


def _moment(wiring: Wiring, name: str) -> _Moment | None:
    """Read a mean of squares backwards from the value that holds it."""
    members: list[int] = []
    name = _through_casts(wiring, name, members)
    scaler = wiring.maker(name, "Mul", "Div")
    if scaler is not None:
        # Bessel's correction, or a sum divided by a stored count.
        split = wiring.split_scalar(wiring.nodes[scaler])
        if split is None:
            return None
        members.append(scaler)
        name = split[0]
    reducer = wiring.maker(name, "ReduceMean", "ReduceSum", "ReduceSumSquare", "GlobalAveragePool")
    if reducer is None:
        return None
    node = wiring.nodes[reducer]
    if node.op == "GlobalAveragePool":
        rank = wiring.rank(node.inputs[0])
        axes = tuple(range(2, rank)) if rank else None
    else:
        axes = _axes(wiring, node)
    if axes is None:
        return None
    members.append(reducer)
    source = node.inputs[0] if node.op == "ReduceSumSquare" else _squared(wiring, node.inputs[0], members)
    if source is None:
        return None
    is_sum = node.op in ("ReduceSum", "ReduceSumSquare") and scaler is None
    centered = source
    base = _through_casts(wiring, source, members)
    subtract = wiring.maker(base, "Sub")
    if subtract is not None and not is_sum:
        sides = wiring.nodes[subtract].inputs
        behind: list[int] = []
        mean_name = _through_casts(wiring, sides[1], behind)
        mean = wiring.maker(mean_name, "ReduceMean", "GlobalAveragePool")
        if mean is not None and _same(wiring, wiring.nodes[mean].inputs[0], sides[0]):
            inner: list[int] = []
            x = _through_casts(wiring, sides[0], inner)
            return _Moment(x, base, sides[1], axes, is_sum, [*members, subtract, mean, *behind, *inner])
    return _Moment(base, centered, "", axes, is_sum, members)


def _same(wiring: Wiring, left: str, right: str) -> bool:
    """Equal, or equal behind casts."""
    return left == right or _through_casts(wiring, left, []) == _through_casts(wiring, right, [])


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
    name = _through_casts(wiring, root.inputs[0], members)
    eps = 0.0
    guard = wiring.maker(name, "Add", "Max", "Clip")
    if guard is not None:
        node = wiring.nodes[guard]
        split = wiring.split_scalar(node) if node.op != "Clip" else _clip_low(wiring, node)
        if split is not None:
            members.append(guard)
            name, eps = split
    moment = _moment(wiring, name)
    if moment is None:
        return None
    members += moment.members
    return _forward(wiring, place, moment, members, eps, inverse)


def _clip_low(wiring: Wiring, node: RawNode) -> tuple[str, float] | None:
    low = wiring.scalar(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else node.attributes.get("min")
    return (node.inputs[0], float(low)) if isinstance(low, (int, float)) else None


def _forward(
    wiring: Wiring, place: int, moment: _Moment, members: list[int], eps: float, inverse: bool
) -> Draft | None:
    """From the root to the normalized value and its affine part."""
    name = _after_casts(wiring, wiring.nodes[place].outputs[0], members)
    if not inverse:
        guard = wiring.reader(name, "Add", "Max", "Clip")
        if guard is not None and eps == 0.0:
            node = wiring.nodes[guard]
            split = wiring.split_scalar(node) if node.op != "Clip" else _clip_low(wiring, node)
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
                return _finish(wiring, place, moment, members, eps, wiring.nodes[divider].outputs[0])
            else:
                return None
    name = _after_casts(wiring, name, members)
    return _multiplied(wiring, place, moment, members, eps, name)


def _is_numerator(wiring: Wiring, name: str, moment: _Moment, members: list[int]) -> bool:
    if name == moment.centered or (not moment.mean and _same(wiring, name, moment.x)):
        return True
    behind: list[int] = []
    base = _through_casts(wiring, name, behind)
    if base == moment.centered:
        members += behind
        return True
    maker = wiring.maker(base, "Sub")
    if maker is None or not moment.mean:
        return False
    left, right = wiring.nodes[maker].inputs
    if not _same(wiring, left, moment.x):
        return False
    if right == moment.mean or _is_same_mean(wiring, right, moment, behind):
        members += [maker, *behind]
        return True
    return False


def _is_same_mean(wiring: Wiring, name: str, moment: _Moment, members: list[int]) -> bool:
    """Another node that computes the same mean."""
    maker = wiring.maker(_through_casts(wiring, name, members), "ReduceMean", "GlobalAveragePool")
    if maker is None or not _same(wiring, wiring.nodes[maker].inputs[0], moment.x):
        return False
    members.append(maker)
    return True


def _multiplied(
    wiring: Wiring, place: int, moment: _Moment, members: list[int], eps: float, inverse: str
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
    if not _is_numerator(wiring, other, moment, members):
        return None
    return _finish(wiring, place, moment, members, eps, node.outputs[0])


def _folded_affine(
    wiring: Wiring, place: int, moment: _Moment, members: list[int], eps: float, factor: str, scale: Stored | None
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
        return _finish(wiring, place, moment, members, eps, node.outputs[0], scale)
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
        elif _same(wiring, other, moment.x):
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
                _finish(wiring, place, moment, members, eps, wiring.nodes[offset].outputs[0], scale)
                if subtracts
                else None
            )
    joined = wiring.reader(wiring.nodes[offset].outputs[0], "Add")
    if joined is None or scaled not in wiring.nodes[joined].inputs:
        return None
    members.append(joined)
    return _finish(wiring, place, moment, members, eps, wiring.nodes[joined].outputs[0], scale, shift)


def _finish(
    wiring: Wiring, place: int, moment: _Moment, members: list[int], eps: float, output: str,
    scale: Stored | None = None, shift: Stored | None = None,
) -> Draft | None:  # fmt: skip
    """Name the normalization by its axes, take γ and β in, and see that nothing else reads its inside."""
    if moment.is_sum and not moment.mean:
        if not wiring.is_closed(members, (output,)):
            return None
        return Draft(
            Op.LP_NORM, place, [moment.x], [output], tuple(set(members)), attributes={"eps": eps, "axes": moment.axes}
        )
    members, moment.x = _without_shared_casts(wiring, members, moment.x)
    before = (output, list(members))
    if scale is None and shift is None:
        behind: list[int] = []
        inner = _after_casts(wiring, output, behind)
        multiplier = _stored_reader(wiring, inner, "Mul")
        if multiplier is not None:
            members += [*behind, multiplier[0]]
            scale, output = multiplier[1], wiring.nodes[multiplier[0]].outputs[0]
    if shift is None:
        behind = []
        inner = _after_casts(wiring, output, behind)
        adder = _stored_reader(wiring, inner, "Add")
        if adder is not None:
            members += [*behind, adder[0]]
            shift, output = adder[1], wiring.nodes[adder[0]].outputs[0]
    if not wiring.is_closed(members, (output,)):
        output, members = before
        scale = shift = None
        if not wiring.is_closed(members, (output,)):
            return None
    rank = wiring.rank(moment.x)
    draft = Draft(_kind(moment, rank, scale), place, [moment.x], [output], tuple(set(members)))
    draft.attributes["eps"] = eps
    draft.attributes["axes"] = moment.axes
    sizes = [wiring.dimension(moment.x, axis) for axis in moment.axes]
    if draft.op in (Op.LAYER_NORM, Op.RMS_NORM):
        if None in sizes and scale is not None:
            sizes = [size for size in scale.shape if size != 1] or [1]
        if None not in sizes:
            draft.attributes["normalized_shape"] = tuple(size for size in sizes if size is not None)
    else:
        channels = wiring.dimension(moment.x, 1)
        if channels is not None:
            draft.attributes["num_channels"] = channels
            if draft.op is Op.INSTANCE_NORM:
                draft.attributes["num_groups"] = channels
        if draft.op is Op.BATCH_NORM:
            draft.attributes["training"] = True
    for tensor, role in ((scale, Role.SCALE), (shift, Role.SHIFT)):
        if tensor is not None:
            wide = [axis for axis, size in enumerate(tensor.shape) if size != 1]
            draft.uses.append(Use(role, tensor, tensor.axis(wide[0]) if len(wide) == 1 else None))
    return draft


def _without_shared_casts(wiring: Wiring, members: list[int], x: str) -> tuple[list[int], str]:
    """A cast of the input that others read too stays outside."""
    inside = set(members)
    for member in inside:
        node = wiring.nodes[member]
        if node.op in ("Cast", "CastLike") and node.inputs[0] == x:
            name = node.outputs[0]
            if name in wiring.outputs or any(reader not in inside for reader in wiring.consumers.get(name, ())):
                return [other for other in members if other != member], name
    return members, x


def _kind(moment: _Moment, rank: int | None, scale: Stored | None) -> Op:
    if not moment.mean:
        return Op.RMS_NORM
    if 0 in moment.axes and rank != 1:
        return Op.BATCH_NORM
    if rank is None or rank < 3 or moment.axes != tuple(range(2, rank)):
        return Op.LAYER_NORM
    per_channel = scale is not None and len(scale.shape) >= rank - 1 and scale.shape[-1] == 1
    return Op.INSTANCE_NORM if rank >= 4 or per_channel else Op.LAYER_NORM


def _stored_reader(wiring: Wiring, name: str, op: str) -> tuple[int, Stored] | None:
    """The only reader of a value where it is Mul or Add with a stored vector, behind which nothing else hides."""
    reader = wiring.reader(name, op)
    if reader is None:
        return None
    node = wiring.nodes[reader]
    other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
    tensor = wiring.stored(other)
    if tensor is None or not tensor.is_floating or (tensor.size == 1 and len(tensor.shape) == 0):
        return None
    return reader, tensor


# --- around operators ----------------------------------------------------------------------------------------------------


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
            _clip_low(wiring, wiring.nodes[guard])
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
    axes = _axes(wiring, node)
    if divider is None or axes is None or wiring.nodes[divider].inputs != [x, name]:
        return None
    members.append(divider)
    output = wiring.nodes[divider].outputs[0]
    if not wiring.is_closed(members, (output,)):
        return None
    ordinal = 2 if node.op == "ReduceL2" else 1
    attributes = {"eps": eps, "axes": axes, "ordinal": ordinal}
    return Draft(Op.LP_NORM, place, [x], [output], tuple(members), attributes=attributes)  # type: ignore[arg-type]


def grouped(wiring: Wiring, place: int) -> Draft | None:
    """Reshape to groups, InstanceNormalization, Reshape back, and the affine part: torch's GroupNorm."""
    node = wiring.nodes[place]
    splitter = wiring.maker(node.inputs[0], "Reshape")
    joiner = wiring.reader(node.outputs[0], "Reshape")
    if splitter is None or joiner is None or wiring.reader(node.inputs[0], "InstanceNormalization") is None:
        return None
    x = wiring.nodes[splitter].inputs[0]
    groups = number_of_groups(wiring, wiring.nodes[splitter], node)
    before, after = wiring.shapes.get(x), wiring.shapes.get(wiring.nodes[joiner].outputs[0])
    if groups is None or (before is not None and after is not None and len(before) != len(after)):
        return None
    members = [splitter, place, joiner]
    output = wiring.nodes[joiner].outputs[0]
    if not wiring.is_closed(members, (output,)):
        return None
    draft = Draft(Op.GROUP_NORM, place, [x], [output], tuple(members))
    eps = node.attributes.get("epsilon", 1e-5)
    draft.attributes = {"eps": float(eps) if isinstance(eps, (int, float)) else 1e-5, "num_groups": groups}
    channels = wiring.dimension(x, 1)
    for op, role in (("Mul", "scale"), ("Add", "shift")):
        found = _stored_reader(wiring, output, op)
        if found is None:
            continue
        wide = [size for size in found[1].shape if size != 1]
        if len(wide) > 1:
            break
        members.append(found[0])
        output = wiring.nodes[found[0]].outputs[0]
        if wide and channels is None:
            channels = wide[0]
        other = next(name for name in wiring.nodes[found[0]].inputs if wiring.is_stored(name))
        affine(wiring, draft, other if role == "scale" else "", other if role == "shift" else "")
    draft.outputs, draft.nodes, draft.last = [output], tuple(members), max(members)
    if channels is not None:
        draft.attributes["num_channels"] = channels
    return draft
