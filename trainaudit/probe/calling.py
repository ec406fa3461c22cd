"""From the user's batch to `Batch`: which parts the model is called with and which is the target. torch is imported inside functions only."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.probe.structures import arrays_as_tensors, parts_of, shapes_shown, size_of
from trainaudit.probe.trainee import Batch

LABELS = ("labels", "label", "targets", "target", "y", "label_ids")
"""Keys of mappings and parameters of forward that hold what the model is to give."""
_Split = tuple[tuple[Any, ...], dict[str, Any], Any]
"""Positional arguments, keyword arguments, target."""


@frozen
class Signature:
    """What a model's forward takes: the names of its parameters in order, those without a default, those that go by name alone, and whether
    it takes any number of others."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    names_alone: tuple[str, ...] = ()
    any_place: bool = False
    any_name: bool = False
    places_alone: bool = False
    """Names tell which input is which, and yet the model is called by place (a converted ONNX file)."""

    @property
    def label(self) -> str | None:
        """forward's parameter for the targets: such a model computes its own loss."""
        return next((name for name in LABELS if name in self.names), None)


def signature_of(model: Any) -> Signature:
    parameters = list(inspect.signature(model.forward).parameters.values())
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    alone = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    return Signature(
        names=tuple(p.name for p in (*placed, *alone)),
        required=tuple(p.name for p in (*placed, *alone) if p.default is p.empty),
        names_alone=tuple(p.name for p in alone),
        any_place=any(p.kind is p.VAR_POSITIONAL for p in parameters),
        any_name=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def batch_of(raw: Any, signature: Signature, *, own_loss: bool, is_raw: bool = False) -> Batch:
    """The batch as the model takes it. `own_loss` says that the model is given the labels and computes its loss itself; `is_raw` that a step
    of the user's takes the batch, so that it need not fit forward.

    Raises `TrainauditError` that says which of forward's arguments the batches do not give.
    """
    raw = arrays_as_tensors(raw)
    try:
        args, kwargs, target = _split(raw, signature, own_loss)
        _check(args, kwargs, signature, raw)
    except TrainauditError:
        if not is_raw:
            raise
        args, kwargs, target = (), {}, _label_in(raw)
    if signature.places_alone and kwargs:
        args, kwargs = tuple(kwargs[name] for name in signature.names), {}
    return Batch(args=args, kwargs=kwargs, target=target, raw=raw, size=size_of(raw))


def _split(raw: Any, signature: Signature, own_loss: bool) -> _Split:
    import torch

    if isinstance(raw, torch.Tensor):
        return (raw,), {}, None
    if isinstance(raw, Mapping) or hasattr(raw, "_fields"):
        return _by_name(dict(parts_of(raw)), signature, own_loss)
    if isinstance(raw, (tuple, list)):
        return _by_place(tuple(raw), signature, own_loss)
    parts = dict(parts_of(raw))
    if parts and not set(signature.required).isdisjoint(parts):
        return _by_name(parts, signature, own_loss)
    return (raw,), {}, _label_in(raw)


def _by_place(items: tuple[Any, ...], signature: Signature, own_loss: bool) -> _Split:
    """(x, y), (x1, x2, y), ((x1, x2), y), ({"ids": …}, y), (x,): the last is the target where forward takes one fewer."""
    required = [name for name in signature.required if not (own_loss and name == signature.label)]
    taken = [name for name in signature.names if name not in LABELS]
    most = len(items) if signature.any_place else len(taken)
    if len(items) == 1:
        return *_inputs(items[0], signature), None
    if len(items) == 2:
        args, kwargs = _inputs(items[0], signature)
        if len(args) + len(kwargs) >= len(required):
            return args, _labelled(kwargs, items[1], signature, own_loss), items[1]
        return items, {}, None
    if len(required) <= len(items) - 1 <= most:
        return items[:-1], _labelled({}, items[-1], signature, own_loss), items[-1]
    if len(required) <= len(items) <= most:
        return items, {}, None
    needs = ", ".join(required) or "nothing"
    what = f"The data gives batches of {len(items)} parts ({shapes_shown(items)}), and forward takes {needs}."
    hint = "Give (inputs …, target), a dict with forward's names, or --step pkg.mod:function."
    raise TrainauditError("unfitting-batch", what, hint)


def _labelled(kwargs: dict[str, Any], target: Any, signature: Signature, own_loss: bool) -> dict[str, Any]:
    return {**kwargs, signature.label: target} if own_loss and signature.label is not None else kwargs


def _inputs(value: Any, signature: Signature) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs of a pair: several for a forward of several inputs, a mapping by name."""
    if isinstance(value, Mapping) and (signature.any_name or not set(value).isdisjoint(signature.names)):
        return (), {str(key): item for key, item in value.items() if key in signature.names or signature.any_name}
    needed = [name for name in signature.required if name != signature.label]
    if isinstance(value, (tuple, list)) and len(needed) > 1 and len(value) >= len(needed):
        return tuple(value), {}
    return (value,), {}


def _by_name(items: dict[str, Any], signature: Signature, own_loss: bool) -> _Split:
    """A key that forward takes is an input; the label's is the target, which a model with a loss of its own gets too."""
    label = next((name for name in LABELS if name in items), None)
    if label in signature.required and not own_loss:
        label = None  # an input that is called so
    target = None if label is None else items[label]
    others = {name: item for name, item in items.items() if name != label}
    kwargs = {name: item for name, item in others.items() if name in signature.names}
    args: tuple[Any, ...] = ()
    if not kwargs and len(others) == 1 and len(signature.required) < 2 and not signature.names_alone:
        args = tuple(others.values())
    elif not kwargs and signature.any_name:
        kwargs = others
    if own_loss and label is not None:
        kwargs[signature.label or label] = target
    return args, kwargs, target


def _label_in(raw: Any) -> Any:
    """The target in an object of the user's own, or in a batch that does not fit forward."""
    if isinstance(raw, Mapping):
        return next((raw[name] for name in LABELS if name in raw), None)
    if isinstance(raw, (tuple, list)):
        return raw[-1] if len(raw) > 1 else None
    return next((getattr(raw, name) for name in LABELS if hasattr(raw, name)), None)


def _check(args: tuple[Any, ...], kwargs: Mapping[str, Any], signature: Signature, raw: Any) -> None:
    placed = [name for name in signature.names if name not in signature.names_alone][: len(args)]
    missing = [name for name in signature.required if name not in placed and name not in kwargs]
    hint = "Give batches as dicts with forward's names, (inputs …, target), or --step pkg.mod:function."
    if missing:
        words = f"the argument{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        what = f"forward needs {words}, which the batches ({shapes_shown(raw)}) do not give."
        raise TrainauditError("missing-input", what, hint)
    if len(args) > len(placed) and not signature.any_place:
        what = f"The batches ({shapes_shown(raw)}) give {counted(len(args), 'input')}, and forward takes {len(placed)}."
        raise TrainauditError("unfitting-batch", what, hint)
