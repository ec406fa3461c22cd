"""What each change of the architecture does at the one place where a layer computes. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainaudit.changes import Change
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, WEIGHTED, Op

_ON_CHANNELS = (Op.CONV, Op.CONV_TRANSPOSE, Op.BATCH_NORM, Op.GROUP_NORM, Op.INSTANCE_NORM)
_DROPPABLE = ACTIVATIONS | NORMALIZATIONS | DROPOUTS | {Op.LOG, Op.SQRT, Op.EXP, Op.CLIP}
EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Computing:
    """A layer while it computes: its operand, `run(operand)` that gives what it would give, the mode, and the tensors that its edit has of its
    own, by their names."""

    operand: Any
    run: Callable[[Any], Any]
    training: bool
    tensors: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Edit:
    """`compute` gives the layer's new output. `parameters` and `buffers` are new tensors that it needs: name → (number of elements, value). `place` says
    which of the layer's inputs is the operand."""

    compute: Callable[[Computing], Any]
    parameters: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    buffers: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    place: int = 0


def edit_of(change: Change, layer: Layer, shape: tuple[int, ...], function: str = "") -> Edit:
    """The edit of a layer whose output has this shape; `function` is the one of torch.nn.functional that computes it, where there is one. Raises
    `NotApplicableError` where the kind says nothing about such a layer."""
    kind = change.kind
    if kind in ("swap-activation", "insert-activation"):
        bent = activation(change.to)
        if kind == "insert-activation":
            return Edit(lambda at: bent(at.run(at.operand)))
        _expect(layer.op in ACTIVATIONS, layer, "activation function")
        return Edit(lambda at: bent(at.operand))
    if kind == "insert-normalization":
        return _normalizing(change.to, layer, shape)
    if kind == "drop-layer":
        _expect(layer.op in _DROPPABLE, layer, "function that keeps its input's shape")
        return Edit(lambda at: at.operand)
    amount = change.amount
    if amount is None:
        raise NotApplicableError(f"{kind} has no amount")
    if kind == "scale-branch":
        return Edit(lambda at: at.run(at.operand) * amount)
    if kind == "softmax-axis":
        _expect(layer.op in (Op.SOFTMAX, Op.LOG_SOFTMAX), layer, "softmax")
        return _over(int(amount), layer)
    if kind == "dropout-rate":
        _expect(layer.op in DROPOUTS, layer, "dropout")
        drop = dropout(layer, function)
        return Edit(lambda at: drop(at.operand, amount, at.training))
    if kind == "guard":
        return _guarding(layer, amount)
    raise NotApplicableError(f"{kind} is no change of a layer")


def _expect(condition: bool, layer: Layer, what: str) -> None:
    if not condition:
        raise NotApplicableError(f"{layer.name} ({layer.op.value}) is no {what}")


def activation(word: str) -> Callable[[Any], Any]:
    """Softmaxes go over the last axis; of maps, which have more than three axes, over the channels."""
    from torch.nn import functional

    if word in ("softmax", "log_softmax"):
        over = getattr(functional, word)
        return lambda x: over(x, dim=1 if x.ndim > 3 else -1)
    known: dict[str, Callable[[Any], Any]] = {
        "relu": functional.relu, "leaky_relu": functional.leaky_relu, "elu": functional.elu, "selu": functional.selu, "gelu": functional.gelu,
        "silu": functional.silu, "tanh": functional.tanh, "sigmoid": functional.sigmoid, "softplus": functional.softplus,
        "log_sigmoid": functional.logsigmoid,
    }  # fmt: skip
    if word not in known:
        raise NotApplicableError(f'there is no activation function "{word}"')
    return known[word]


def _over(axis: int, layer: Layer) -> Edit:
    from torch.nn import functional

    function: Any = functional.softmax if layer.op is Op.SOFTMAX else functional.log_softmax
    return Edit(lambda at: function(at.operand, dim=axis))


def dropout(layer: Layer, function: str) -> Callable[[Any, float, bool], Any]:
    """The same kind of dropout as the layer's: of elements, or of whole channels."""
    from torch.nn import functional

    usual = "alpha_dropout" if layer.op is Op.ALPHA_DROPOUT else "dropout"
    return getattr(functional, function if "dropout" in function else usual)  # type: ignore[no-any-return]


def _guarding(layer: Layer, amount: float) -> Edit:
    import torch

    if layer.op in (Op.LOG, Op.SQRT):
        return Edit(lambda at: at.run(at.operand.clamp_min(amount)))
    is_quotient = layer.op is Op.DIV and len(layer.inputs) == 2
    _expect(layer.op is Op.RECIPROCAL or is_quotient, layer, "logarithm, root, reciprocal or quotient of two values")

    def away(at: Computing) -> Any:
        x = at.operand
        return at.run(torch.where(x < 0, x.clamp_max(-amount), x.clamp_min(amount)))

    return Edit(away, place=1 if is_quotient else 0)


def _normalizing(word: str, layer: Layer, shape: tuple[int, ...]) -> Edit:
    """γ = 1, β = 0, ε = 1e-5; batch_norm with torch's momentum of 0.1."""
    import torch
    from torch.nn import functional

    if len(shape) < 2 or layer.op not in WEIGHTED | ACTIVATIONS | NORMALIZATIONS | {Op.ADD}:
        raise NotApplicableError(f"what {layer.name} gives has no features to be normalized")
    on_channels = layer.op in _ON_CHANNELS or (layer.op not in WEIGHTED and len(shape) > 3)
    axis = 1 if on_channels else len(shape) - 1
    width = shape[axis]
    scale, shift = {"weight": (width, 1.0)}, {"bias": (width, 0.0)}
    if word in ("layer_norm", "rms_norm"):
        if on_channels and len(shape) > 2:
            raise NotApplicableError(f"the features of {layer.name} do not lie along the last axis")
        if word == "rms_norm":
            return Edit(
                lambda at: functional.rms_norm(at.run(at.operand), (width,), at.tensors["weight"], EPSILON), scale
            )
        return Edit(
            lambda at: functional.layer_norm(
                at.run(at.operand), (width,), at.tensors["weight"], at.tensors["bias"], EPSILON
            ),
            scale | shift,
        )
    if word not in ("batch_norm", "group_norm"):
        raise NotApplicableError(f'there is no normalization "{word}"')

    def channels_first(function: Callable[[Any, Computing], Any]) -> Callable[[Computing], Any]:
        return lambda at: function(torch.movedim(at.run(at.operand), axis, 1), at).movedim(1, axis)

    def grouped(x: Any, at: Computing) -> Any:
        return functional.group_norm(x, 1, at.tensors["weight"], at.tensors["bias"], EPSILON)

    def batched(x: Any, at: Computing) -> Any:
        held = at.tensors
        return functional.batch_norm(
            x, held["running_mean"], held["running_var"], held["weight"], held["bias"], at.training, 0.1, EPSILON
        )  # fmt: skip

    if word == "group_norm":
        return Edit(channels_first(grouped), scale | shift)
    return Edit(channels_first(batched), scale | shift, {"running_mean": (width, 0.0), "running_var": (width, 1.0)})
