"""The end of a normalization that is written out: its kind, its scale and shift, and the reshapes around a group normalization.

Stdlib, ir and load's index only.
"""

from __future__ import annotations

from trainaudit.ir.graph import Role
from trainaudit.ir.ops import Op
from trainaudit.load.known import Stored
from trainaudit.load.moments import Moment, after_casts
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_normalization import affine, number_of_groups, plain_batch_norm
from trainaudit.load.wiring import Draft, Use, Wiring


def finish(
    wiring: Wiring, place: int, moment: Moment, members: list[int], eps: float, output: str,
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
        inner = after_casts(wiring, output, behind)
        multiplier = _stored_reader(wiring, inner, "Mul")
        if multiplier is not None:
            members += [*behind, multiplier[0]]
            scale, output = multiplier[1], wiring.nodes[multiplier[0]].outputs[0]
    if shift is None:
        behind = []
        inner = after_casts(wiring, output, behind)
        adder = _stored_reader(wiring, inner, "Add")
        if adder is not None:
            members += [*behind, adder[0]]
            shift, output = adder[1], wiring.nodes[adder[0]].outputs[0]
    if not wiring.is_closed(members, (output,)):
        output, members = before
        scale = shift = None
        if not wiring.is_closed(members, (output,)):
            return None
    between = None if scale or shift else _regrouped(wiring, moment, output, members)
    if between is not None:
        return _group(wiring, place, eps, *between)
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


def _regrouped(
    wiring: Wiring, moment: Moment, output: str, members: list[int]
) -> tuple[int, str, str, list[int]] | None:
    """A normalization over all but the first two axes between a reshape to (batch, groups, …) and a reshape back: the number of
    groups, the value before, the value behind, and all nodes."""
    splitter, joiner = wiring.maker(moment.x, "Reshape"), wiring.reader(output, "Reshape")
    rank = wiring.rank(moment.x)
    if splitter is None or joiner is None or rank is None or moment.axes != tuple(range(2, rank)) or not moment.mean:
        return None
    before, after = wiring.nodes[splitter].inputs[0], wiring.nodes[joiner].outputs[0]
    groups, outer = wiring.dimension(moment.x, 1), wiring.rank(before)
    everything = [*members, splitter, joiner]
    if (
        groups is None
        or outer is None
        or outer < 3
        or wiring.rank(after) != outer
        or not wiring.is_closed(everything, (after,))
    ):
        return None
    return groups, before, after, everything


def _group(wiring: Wiring, place: int, eps: float, groups: int, x: str, output: str, members: list[int]) -> Draft:
    draft = Draft(Op.GROUP_NORM, place, [x], [output], tuple(set(members)))
    draft.attributes = {"eps": eps, "num_groups": groups}
    return _with_channel_affine(wiring, draft)


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


def _kind(moment: Moment, rank: int | None, scale: Stored | None) -> Op:
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
    return _with_channel_affine(wiring, draft)


def _with_channel_affine(wiring: Wiring, draft: Draft) -> Draft:
    """Take a Mul and an Add of one stored number per channel into a group normalization."""
    output, members = draft.outputs[0], list(draft.nodes)
    channels = wiring.dimension(draft.inputs[0], 1)
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


def batch_norm(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """BatchNormalization with the γ and β that Caffe keeps in a Scale layer behind it: a Mul and an Add of one stored number per channel, where
    its own are ones and zeros."""
    draft = plain_batch_norm(wiring, place, node)
    multiplier = _stored_reader(wiring, draft.outputs[0], "Mul")
    adder = None if multiplier is None else _stored_reader(wiring, wiring.nodes[multiplier[0]].outputs[0], "Add")
    channels = draft.attributes.get("num_features")
    if multiplier is None or adder is None or not _is_neutral(draft):
        return draft
    if any(tensor.size != channels or channels not in tensor.shape for _, tensor in (multiplier, adder)):
        return draft
    statistics = [use for use in draft.uses if use.role not in (Role.SCALE, Role.SHIFT)]
    found = ((Role.SCALE, multiplier), (Role.SHIFT, adder))
    draft.uses = [
        *(Use(role, tensor, tensor.axis(tensor.shape.index(tensor.size))) for role, (_, tensor) in found),
        *statistics,
    ]
    for _, (number, _) in found:
        wiring.taken[number] = 1
    draft.nodes = (place, multiplier[0], adder[0])
    draft.outputs[0] = wiring.nodes[adder[0]].outputs[0]
    draft.last = adder[0]
    return draft


def _is_neutral(draft: Draft) -> bool:
    """Its own γ is one and its own β zero everywhere."""
    own = {use.role: use.tensor for use in draft.uses}
    if Role.SCALE not in own or Role.SHIFT not in own:
        return False
    return bool((own[Role.SCALE].read() == 1).all()) and bool((own[Role.SHIFT].read() == 0).all())


def layer_norm_by_rows(wiring: Wiring, place: int) -> Draft | None:
    """Keras's LayerNormalization: a reshape to (1, rows, features, 1), BatchNormalization in training form, whose channels are the rows, the reshape
    back, and γ and β of the features."""
    node = wiring.nodes[place]
    splitter, joiner = wiring.maker(node.inputs[0], "Reshape"), wiring.reader(node.outputs[0], "Reshape")
    plain = plain_batch_norm(wiring, place, node)
    if splitter is None or joiner is None or not plain.attributes["training"]:
        return None
    x, output = wiring.nodes[splitter].inputs[0], wiring.nodes[joiner].outputs[0]
    inside, rank, features = wiring.shapes.get(node.inputs[0]), wiring.rank(x), wiring.dimension(x, -1)
    if inside is None or rank is None or features is None or rank != wiring.rank(output):
        return None
    if len(inside) < 3 or inside[0] != 1 or inside[2] != features or any(size != 1 for size in inside[3:]):
        return None
    members = [splitter, place, joiner]
    draft = Draft(Op.LAYER_NORM, place, [x], [output], tuple(members))
    draft.attributes = {"eps": plain.attributes["eps"], "axes": (rank - 1,), "normalized_shape": (features,)}
    for op, role in (("Mul", Role.SCALE), ("Add", Role.SHIFT)):
        found = _stored_reader(wiring, output, op)
        if found is not None and found[1].shape[-1:] == (features,) and found[1].size == features:
            members.append(found[0])
            output = wiring.nodes[found[0]].outputs[0]
            draft.uses.append(Use(role, found[1], found[1].axis(len(found[1].shape) - 1)))
    draft.outputs, draft.nodes, draft.last = [output], tuple(members), max(members)
    return draft if wiring.is_closed(members, (output,)) else None
