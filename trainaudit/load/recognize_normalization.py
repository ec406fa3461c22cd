"""Normalization layers: the operators, and their spellings in several nodes. Stdlib, ir, load.wiring and load.stored only."""

from __future__ import annotations

from trainaudit.ir.graph import Attribute, Role
from trainaudit.ir.ops import Op
from trainaudit.load.known import FLOATING, Stored
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Draft, Use, Wiring, number, real


def plain_batch_norm(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """BatchNormalization of every opset. The attribute `training` is set where it computes batch statistics."""
    named = [name for name in node.outputs if name]
    training = number(node, "training_mode", 0) == 1 or (wiring.raw.opset < 7 and number(node, "is_test", 0) == 0)
    training = training or (wiring.raw.opset < 14 and len(named) > 1)
    draft = Draft(Op.BATCH_NORM, place, [node.inputs[0]], wiring.results(node), (place,))
    draft.attributes = {
        "eps": real(node, "epsilon", 1e-5),
        # ONNX counts what is kept of the running statistics, torch what is replaced.
        "momentum": 1.0 - real(node, "momentum", 0.9),
        "training": training,
    }
    roles = (Role.SCALE, Role.SHIFT, Role.RUNNING_MEAN, Role.RUNNING_VARIANCE)
    for name, role in zip(node.inputs[1:5], roles, strict=False):
        tensor = wiring.stored(name)
        if tensor is None:
            draft.inputs.append(name)
        else:
            draft.uses.append(Use(role, tensor, tensor.axis(0) if tensor.shape else None))
            draft.attributes["num_features"] = tensor.size
    return draft


def affine(wiring: Wiring, draft: Draft, scale: str, shift: str) -> None:
    """Scale and shift inputs of a normalization operator."""
    for name, role in ((scale, Role.SCALE), (shift, Role.SHIFT)):
        if not name:
            continue
        tensor = wiring.stored(name)
        if tensor is None:
            draft.inputs.append(name)
        elif not _is_made_up(wiring, tensor, 1.0 if role is Role.SCALE else 0.0):
            draft.uses.append(Use(role, tensor, _unit(tensor)))


def _unit(tensor: Stored) -> int | None:
    wide = [axis for axis, size in enumerate(tensor.shape) if size != 1]
    return tensor.axis(wide[0]) if len(wide) == 1 else None


def _is_made_up(wiring: Wiring, tensor: Stored, neutral: float) -> bool:
    """Exporters write a normalization without γ and β as one with constant ones and zeros."""
    if tensor.generated not in ("", "Expand") or tensor.size > 1 << 16:
        return False
    constant = tensor.generated or tensor.name in wiring.raw.constants or tensor.name.startswith("val_")
    return bool(constant) and tensor.data.dtype in FLOATING and bool((tensor.read().astype("float32") == neutral).all())


def layer_norm(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """LayerNormalization, RMSNormalization and onnxruntime's SimplifiedLayerNormalization."""
    op = Op.LAYER_NORM if node.op == "LayerNormalization" else Op.RMS_NORM
    draft = Draft(op, place, [node.inputs[0]], wiring.results(node), (place,))
    draft.attributes["eps"] = real(node, "epsilon", 1e-5)
    axis = number(node, "axis", -1)
    rank = wiring.rank(node.inputs[0])
    if rank is not None:
        first = axis % rank
        draft.attributes["axes"] = tuple(range(first, rank))
    elif axis < 0:
        draft.attributes["axes"] = tuple(range(axis, 0))
    scale = node.inputs[1] if len(node.inputs) > 1 else ""
    affine(wiring, draft, scale, node.inputs[2] if len(node.inputs) > 2 else "")
    add_normalized_shape(wiring, draft, scale)
    return draft


def add_normalized_shape(wiring: Wiring, draft: Draft, scale: str) -> None:
    """normalized_shape from the input's shape, else from γ's."""
    axes = draft.attributes.get("axes")
    if not isinstance(axes, tuple):
        return
    sizes = [wiring.dimension(draft.inputs[0], int(axis)) for axis in axes]
    tensor = wiring.stored(scale) if scale else None
    if None in sizes and tensor is not None and len(tensor.shape) == len(axes):
        sizes = list(tensor.shape)
    if None not in sizes:
        draft.attributes["normalized_shape"] = tuple(size for size in sizes if size is not None)


def group_norm(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """GroupNormalization (onnxruntime's GroupNorm is channels-last)."""
    draft = Draft(Op.GROUP_NORM, place, [node.inputs[0]], [node.outputs[0]], (place,))
    draft.attributes["eps"] = real(node, "epsilon", 1e-5)
    draft.attributes["num_groups"] = number(node, "num_groups", number(node, "groups", 1))
    last = node.op != "GroupNormalization" and number(node, "channels_last", 1)
    channels = wiring.dimension(node.inputs[0], -1 if last else 1)
    scale = wiring.stored(node.inputs[1])
    if channels is None and scale is not None:
        channels = scale.size
    if channels is not None:
        draft.attributes["num_channels"] = channels
    affine(wiring, draft, node.inputs[1], node.inputs[2])
    return draft


def instance_norm(wiring: Wiring, place: int, node: RawNode) -> Draft:
    """InstanceNormalization on its own (between two reshapes it is a GroupNorm)."""
    draft = Draft(Op.INSTANCE_NORM, place, [node.inputs[0]], [node.outputs[0]], (place,))
    attributes: dict[str, Attribute] = {"eps": real(node, "epsilon", 1e-5)}
    channels = wiring.dimension(node.inputs[0], 1)
    scale = wiring.stored(node.inputs[1])
    if channels is None and scale is not None:
        channels = scale.size
    if channels is not None:
        attributes["num_channels"] = attributes["num_groups"] = channels
    draft.attributes = attributes
    affine(wiring, draft, node.inputs[1], node.inputs[2])
    return draft


def number_of_groups(wiring: Wiring, reshape: RawNode, node: RawNode) -> int | None:
    """Groups that a reshape (N, groups, …) before an InstanceNormalization makes."""
    shape = wiring.argument(reshape, 1, "shape")
    if shape is not None and len(shape) >= 3 and shape[1] > 0:
        return shape[1]
    groups = wiring.dimension(node.inputs[0], 1)
    if groups is None:
        scale = wiring.stored(node.inputs[1])
        groups = None if scale is None else scale.size
    return groups


def mean_variance_norm(_wiring: Wiring, place: int, node: RawNode) -> Draft:
    """MeanVarianceNormalization: over the batch it is a BatchNorm without running statistics, else an instance or layer norm."""
    axes = node.attributes.get("axes", [0, 2, 3])
    chosen = tuple(int(axis) for axis in axes) if isinstance(axes, list) else (0, 2, 3)
    op = Op.BATCH_NORM if 0 in chosen else Op.INSTANCE_NORM if 1 not in chosen else Op.LAYER_NORM
    draft = Draft(op, place, [node.inputs[0]], [node.outputs[0]], (place,))
    draft.attributes = {"eps": 1e-9, "axes": chosen}
    if op is Op.BATCH_NORM:
        draft.attributes["training"] = True
    return draft
