"""ONNX attributes, and the inputs that newer opsets use instead, in torch's words. Stdlib, ir and load's index only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from trainaudit.ir.graph import Attribute
from trainaudit.load.constant_views import type_name
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_kernels import window
from trainaudit.load.wiring import Wiring, number, numbers, real, word

Attributes = dict[str, Attribute]
Translate = Callable[[Wiring, RawNode], Attributes]


def positive_axis(wiring: Wiring, name: str, axis: int) -> int:
    """The axis counted from the front, where the rank is known."""
    if axis >= 0:
        return axis
    rank = wiring.rank(name)
    return axis if rank is None else axis + rank


def _positive_axes(wiring: Wiring, name: str, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(positive_axis(wiring, name, axis) for axis in axes)


def softmax(wiring: Wiring, node: RawNode) -> Attributes:
    """dim; before opset 13 the axes from `axis` on are flattened into one, which the attribute `flattened` says."""
    source = node.inputs[0]
    if wiring.raw.opset >= 13:
        return {"dim": positive_axis(wiring, source, number(node, "axis", -1))}
    dim = positive_axis(wiring, source, number(node, "axis", 1))
    rank = wiring.rank(source)
    attributes: Attributes = {"dim": dim}
    if rank is not None and any(wiring.dimension(source, axis) != 1 for axis in range(dim + 1, rank)):
        attributes["flattened"] = True
    return attributes


def reduce(wiring: Wiring, node: RawNode) -> Attributes:
    attributes: Attributes = {"keepdim": bool(number(node, "keepdims", 1))}
    axes = wiring.argument(node, 1, "axes")
    source = node.inputs[0]
    if axes is None and len(node.inputs) < 2 and not number(node, "noop_with_empty_axes", 0):
        rank = wiring.rank(source)
        axes = None if rank is None else tuple(range(rank))
    if axes is not None:
        attributes["axes"] = _positive_axes(wiring, source, axes)
    return attributes


def axes(wiring: Wiring, node: RawNode) -> Attributes:
    axes = wiring.argument(node, 1, "axes")
    if axes is None:
        return {}
    return {"axes": _positive_axes(wiring, node.outputs[0] if node.op == "Unsqueeze" else node.inputs[0], axes)}


def slicing(wiring: Wiring, node: RawNode) -> Attributes:
    attributes: Attributes = {}
    starts, ends = wiring.argument(node, 1, "starts"), wiring.argument(node, 2, "ends")
    axes = wiring.argument(node, 3, "axes")
    if axes is None and len(node.inputs) < 4 and starts is not None:
        axes = tuple(range(len(starts)))
    steps = wiring.argument(node, 4, "steps")
    if axes is not None:
        axes = attributes["axes"] = _positive_axes(wiring, node.inputs[0], axes)
    if steps is not None:
        attributes["steps"] = steps
    for key, bounds in (("starts", starts), ("ends", ends)):
        if bounds is not None and axes is not None and min(steps or (1,)) > 0:
            attributes[key] = tuple(map(partial(_inside, wiring, node.inputs[0]), bounds, axes))
        elif bounds is not None:
            attributes[key] = bounds
    return attributes


def _inside(wiring: Wiring, source: str, bound: int, axis: int) -> int:
    """A slice's bound counted from the start of its axis and not beyond its end, where the size is known."""
    size = wiring.dimension(source, axis)
    return bound if size is None else min(max(bound + size if bound < 0 else bound, 0), size)


def split(wiring: Wiring, node: RawNode) -> Attributes:
    source = node.inputs[0]
    axis = positive_axis(wiring, source, number(node, "axis", 0))
    attributes: Attributes = {"dim": axis}
    sizes = wiring.argument(node, 1, "split")
    if sizes is None:
        total, count = wiring.dimension(source, axis), len(node.outputs)
        if total is not None:
            share = -(-total // count)
            sizes = tuple(max(min(share, total - share * place), 0) for place in range(count))
    if sizes is not None:
        attributes["sizes"] = sizes
    return attributes


def reshape(wiring: Wiring, node: RawNode) -> Attributes:
    shape = wiring.argument(node, 1, "shape")
    return {} if shape is None else {"shape": shape}


def transpose(wiring: Wiring, node: RawNode) -> Attributes:
    perm = numbers(node, "perm")
    if perm is None:
        rank = wiring.rank(node.inputs[0])
        perm = None if rank is None else tuple(range(rank))[::-1]
    return {} if perm is None else {"perm": perm}


def padding(wiring: Wiring, node: RawNode) -> Attributes:
    attributes: Attributes = {"mode": word(node, "mode", "constant")}
    pads = wiring.argument(node, 1, "pads") or numbers(node, "paddings")
    if pads is not None:
        attributes["pads"] = pads
    value = wiring.scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else real(node, "value", 0.0)
    if value is not None:
        attributes["value"] = value
    return attributes


def pool(wiring: Wiring, node: RawNode) -> Attributes:
    return window(wiring, node, numbers(node, "kernel_shape"))


def cumulative(wiring: Wiring, node: RawNode) -> Attributes:
    axis = wiring.integers(node.inputs[1]) if len(node.inputs) > 1 else None
    return {"dim": positive_axis(wiring, node.inputs[0], axis[0])} if axis else {}


def cast(wiring: Wiring, node: RawNode) -> Attributes:
    target = type_name(node.attributes.get("to"))
    if node.op == "CastLike":
        target = wiring.dtypes.get(node.inputs[1]) or wiring.dtypes.get(node.outputs[0])
    return {} if target is None else {"to": target}


def dimension(default: int) -> Translate:
    def translate(wiring: Wiring, node: RawNode) -> Attributes:
        source = node.outputs[0] if node.op == "Concat" else node.inputs[0]
        return {"dim": positive_axis(wiring, source, number(node, "axis", default))}

    return translate


def number_as(attribute: str, default: float, key: str) -> Translate:
    def translate(_wiring: Wiring, node: RawNode) -> Attributes:
        return {key: real(node, attribute, default)}

    return translate


def hard_sigmoid(_wiring: Wiring, node: RawNode) -> Attributes:
    return {"alpha": real(node, "alpha", 0.2), "beta": real(node, "beta", 0.5)}


def gelu(_wiring: Wiring, node: RawNode) -> Attributes:
    return {"approximate": word(node, "approximate", "none")}


def fill(wiring: Wiring, node: RawNode) -> Attributes:
    """The number that a tensor is filled with."""
    if node.op == "Expand":
        number = wiring.scalar(node.inputs[0])
        return {} if number is None else {"value": float(number)}
    value = node.attributes.get("value")
    if node.op != "ConstantOfShape" or isinstance(value, int | float | str | list):
        return {}
    return {"value": 0.0 if value is None else float(value.read().reshape(-1)[0])}


def loss(_wiring: Wiring, node: RawNode) -> Attributes:
    name = "cross-entropy" if node.op == "SoftmaxCrossEntropyLoss" else "nll"
    return {"name": name, "reduction": word(node, "reduction", "mean")}


def dropout(wiring: Wiring, node: RawNode) -> Attributes:
    ratio = wiring.scalar(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else real(node, "ratio", 0.5)
    training = (
        wiring.scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else number(node, "is_test", 1) == 0
    )
    attributes: Attributes = {} if ratio is None else {"p": ratio}
    attributes["training"] = bool(training)
    return attributes


def lrn(_wiring: Wiring, node: RawNode) -> Attributes:
    return {"size": number(node, "size", 1), "alpha": real(node, "alpha", 1e-4), "beta": real(node, "beta", 0.75)}


def lp_norm(wiring: Wiring, node: RawNode) -> Attributes:
    axis = positive_axis(wiring, node.inputs[0], number(node, "axis", -1))
    return {"axes": (axis,), "ordinal": number(node, "p", 2)}


def flatten(wiring: Wiring, node: RawNode) -> Attributes:
    return {"start_dim": positive_axis(wiring, node.inputs[0], number(node, "axis", 1))}


def triangle(_wiring: Wiring, node: RawNode) -> Attributes:
    return {"upper": bool(number(node, "upper", 1))}


def compare(wiring: Wiring, node: RawNode) -> Attributes:
    for side, name in (("left", node.inputs[0]), ("right", node.inputs[-1])):
        value = wiring.scalar(name)
        if value is not None:
            return {"scalar": value, "scalar_side": side}
    return {}
