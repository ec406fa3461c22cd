"""Layers of the user's own modules are calls of torch: where each is made in a forward pass, and another result in its place. torch is imported at
module level: import this file inside functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch

from trainaudit.fix.module.edits import Computing, Edit
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Graph, Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.probe.copies import fresh
from trainaudit.probe.matching import Call, matched
from trainaudit.probe.stepping import precise
from trainaudit.probe.taps import NAMED, Watch
from trainaudit.probe.trainee import Batch, Computed, Trainee

_MORE = {
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d"), Op.DROPOUT),
    "alpha_dropout": Op.ALPHA_DROPOUT, "log_sigmoid": Op.LOG_SIGMOID,
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), Op.MAX_POOL),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), Op.AVERAGE_POOL),
    "log": Op.LOG, "sqrt": Op.SQRT, "reciprocal": Op.RECIPROCAL, "div": Op.DIV, "true_divide": Op.DIV,
}  # fmt: skip
_OPS = {**NAMED, **_MORE, **{f"{name}_": op for name, op in _MORE.items()}}

_WITHOUT_BIAS = ("matmul", "mm", "bmm", "einsum")
"""Products whose bias is added by a call of its own."""

Place = tuple[str, str, int]
"""The module's path, the function, and how many calls of that function the module has made before in this forward pass."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a layer computes: the call, the call that gives its result (they differ where a bias is added apart), and the shape of that."""

    place: Place
    shape: tuple[int, ...]


class Calls(Watch):
    """While it is entered, `handle(place, function, args, kwargs)` makes each call that a layer may be, in its stead."""

    def __init__(self, root: Any, handle: Callable[[Place, Any, Any, Any], Any]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.passes = 0
        super().__init__(root, lambda *_: None, self._begin)
        self.handle = handle

    def _begin(self) -> None:
        self.counts.clear()
        self.passes += 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name not in _OPS or not self.stack or self.stack[-1] == "?" or torch._C._current_graph_task_id() != -1:
            return super().__torch_function__(func, types, args, kwargs)
        key = self.stack[-1], name.rstrip("_")
        place = (*key, self.counts[key])
        self.counts[key] += 1
        return self.handle(place, func, args, kwargs or {})

    def observe(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """All is done before the call."""


@dataclass(frozen=True, slots=True)
class _Seen:
    place: Place
    call: Call
    shape: tuple[int, ...]


def sites(trainee: Trainee, graph: Graph, names: Sequence[str]) -> dict[str, Site]:
    """Where the layers of these names compute in the first forward pass of a step. Raises `NotApplicableError` for one that is not found for sure."""
    seen = _seen(trainee)
    layers = {layer.name: layer for layer in graph.layers}
    found = {name: one for name, one in zip(matched(graph, [one.call for one in seen]), seen, strict=True) if name}
    made: dict[str, Site] = {}
    for name in names:
        if name not in layers:
            raise NotApplicableError(f"the graph has no layer {name}")
        if name not in found:
            raise NotApplicableError(f"the call that computes {name} is not found with certainty")
        one = _with_bias(found[name], layers[name], seen)
        made[name] = Site(one.place, one.shape)
    return made


def _with_bias(one: _Seen, layer: Layer, seen: Sequence[_Seen]) -> _Seen:
    """The call that gives the layer's result."""
    bias = layer.parameters.get(Role.BIAS)
    if bias is None or one.place[1] not in _WITHOUT_BIAS:
        return one
    added = [other for other in seen if other.call.op is Op.ADD and other.call.weight == bias]
    if len(added) != 1:
        raise NotApplicableError(f"the call that adds the bias of {layer.name} is not found with certainty")
    return added[0]


def _seen(trainee: Trainee) -> list[_Seen]:
    """The calls of the first forward pass, in order."""
    found: list[_Seen] = []
    same: Counter[tuple[str, Op]] = Counter()
    with fresh(trainee, 0) as model, torch.no_grad(), precise(trainee):

        def record(place: Place, func: Any, args: Any, kwargs: Any) -> Any:
            op, weight = calls.identified(_OPS[place[1]], args, kwargs)
            result = func(*args, **kwargs)
            output = result[0] if isinstance(result, tuple) else result
            if calls.passes <= 1 and isinstance(output, torch.Tensor):
                call = Call(place[0], op, same[place[0], op], weight)
                same[place[0], op] += 1
                found.append(_Seen(place, call, tuple(output.shape)))
            return result

        calls = Calls(model, record)
        with calls:
            trainee.compute(model, trainee.train[0])
    return found


Edits = Mapping[Place, Sequence[tuple[Edit, Mapping[str, str]]]]
"""By place the edits, one after the other, each with the names that its tensors have in the model."""

_EDITED = "_is_edited_from_outside"


def edited(compute: Callable[[Any, Batch], Computed], edits: Edits) -> Callable[[Any, Batch], Computed]:
    """`compute` in which the calls at these places give what their edits make of them."""

    def computed(model: Any, batch: Batch) -> Computed:
        known = vars(model)
        known[_EDITED] = True
        try:
            with _editing(model, edits):
                return compute(model, batch)
        finally:
            known.pop(_EDITED, None)

    return computed


def carry(model: Any, edits: Edits) -> None:
    """Let the model's own forward pass be edited too, for those who call it or trace it: its class becomes one of the same name that does so."""
    kind = type(model)

    @wraps(kind.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if vars(self).get(_EDITED):
            return kind.forward(self, *args, **kwargs)
        with _editing(self, edits) as calls:
            calls.stack.append("")  # this call of the root is on its way already
            return kind.forward(self, *args, **kwargs)

    own = {
        "forward": forward,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    maker: Any = type(kind)
    model.__class__ = maker(kind.__name__, (kind,), own)


def _editing(model: Any, edits: Edits) -> Calls:
    def call(place: Place, func: Any, args: Any, kwargs: Any) -> Any:
        wanted = edits.get(place)
        return func(*args, **kwargs) if wanted is None else _replaced(model, wanted, func, args, kwargs)

    return Calls(model, call)


def _replaced(model: Any, edits: Sequence[tuple[Edit, Mapping[str, str]]], func: Any, args: Any, kwargs: Any) -> Any:
    """The new result; written to the operand where the call would have done so."""
    first = edits[0][0].place
    operand = args[first] if args else kwargs["input"]
    in_place = (
        func.__name__.endswith("_") or kwargs.get("inplace") or (func.__name__ in _IN_PLACE_LAST and args[-1] is True)
    )
    rest: list[Any] = []

    def run(x: Any) -> Any:
        result = func(*args[:first], x, *args[first + 1 :], **kwargs) if args else func(**{**kwargs, "input": x})
        if isinstance(result, tuple):
            rest[:] = result[1:]
            return result[0]
        return result

    made_by: Callable[[Any], Any] = run
    for edit, names in edits:
        tensors = {own: getattr(model, name) for own, name in names.items()}
        made_by = _chained(edit, made_by, model.training, tensors)
    made = made_by(operand.clone() if in_place else operand)
    if in_place:
        return operand.copy_(made)
    return (made, *rest) if rest else made


_IN_PLACE_LAST = frozenset(
    {"relu", "elu", "selu", "celu", "leaky_relu", "silu", "mish", "relu6", "hardtanh", "hardswish", "hardsigmoid"}
)
"""Functions of torch.nn.functional whose last argument says that they work in place."""


def _chained(edit: Edit, run: Callable[[Any], Any], training: bool, tensors: Mapping[str, Any]) -> Callable[[Any], Any]:
    return lambda x: edit.compute(Computing(x, run, training, tensors))
