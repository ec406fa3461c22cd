"""`localise`: where the first NaN or infinity of a step comes from. torch is imported at module level: import this file inside functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.probe.matching import Call, matched
from trainaudit.probe.saved import saved
from trainaudit.probe.taps import NAMED, Watch, is_readable
from trainaudit.probe.trainee import Batch, Computed
from trainaudit.trace.trace import NonFinite

_MASKS = frozenset(
    {
        "full",
        "full_like",
        "new_full",
        "fill_",
        "masked_fill",
        "masked_fill_",
        "where",
        "triu",
        "tril",
        "tensor",
        "ones",
        "zeros",
        "expand",
    }
)
"""Functions that write infinities on purpose: the call that makes something else of them is the one to blame."""


@dataclass(slots=True)
class _Made:
    """One call: its result, and the calls that made its operands."""

    function: str
    module: str | None
    call: Call | None
    result: Any
    sources: tuple[int, ...]
    is_broken: bool
    """It had a NaN or an infinity when it was made: it may be changed in place afterwards."""
    value: str = ""
    """Its name in the graph of an ONNX file."""


def localise(
    model: Any, compute: Callable[[Any, Batch], Computed], batch: Batch, graph: Graph | None = None, step: int = 0
) -> NonFinite | None:
    """The first of the step's numbers that is not finite: an input, a parameter (or buffer), else the call whose result is not while its operands are,
    followed back from the loss; where the loss is finite, the first gradient on the way back. None where everything is finite on this batch.

    Runs the step once, slowly, on the model as it is, and leaves the model, its gradients and the generators as they were.
    """
    stored = (*model.named_parameters(), *model.named_buffers())
    for kind, tensors in (("input", _inputs(batch)), ("parameter", stored)):
        for name, tensor in tensors:
            if not (_is_finite(tensor) or _is_mask(name, tensor)):
                return NonFinite(step, kind, name)
    with saved(model), torch.enable_grad():
        recorder = _Recorder(model)
        own = next((part for part in model.modules() if hasattr(part, "watched") and hasattr(part, "watch")), None)
        if own is not None and graph is not None:  # made of an ONNX file
            own.watched = frozenset(layer.outputs[0] for layer in graph.layers)
            own.watch = recorder.name
        with recorder:
            loss = compute(model, batch).loss
        if not _is_finite(loss):
            return _blamed(recorder.made, loss, graph, step)
        return _from_gradients(model, loss, recorder.made, graph, step)


def _inputs(batch: Batch) -> Iterator[tuple[str, Any]]:
    for place, leaf in enumerate(tree_leaves(batch.args)):
        yield f"input {place}", leaf
    for name, value in batch.kwargs.items():
        for leaf in tree_leaves(value):
            yield name, leaf
    for leaf in tree_leaves(batch.target):
        yield "target", leaf


def _is_finite(tensor: Any) -> bool:
    if (
        not isinstance(tensor, torch.Tensor)
        or not (tensor.is_floating_point() or tensor.is_complex())
        or torch.nn.parameter.is_lazy(tensor)
    ):
        return True
    return bool(torch.isfinite(tensor.detach()).all())


def _is_mask(name: str, tensor: Any) -> bool:
    """No NaN and no +∞, and no parameter: −∞ in a buffer or a mask says what must not be looked at."""
    is_stored = not isinstance(tensor, torch.nn.Parameter) and not name.startswith("input") and name != "target"
    return is_stored and bool((tensor < torch.inf).all())


class _Recorder(Watch):
    """All calls of one forward pass and its loss. Results are kept alive, so that one identity is one tensor."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, lambda *_: None, everywhere=True)
        self.made: list[_Made] = []
        self.makers: dict[int, int] = {}
        self.ordinals: dict[tuple[str, Op], int] = {}

    def name(self, value: str, tensor: Any) -> None:
        """A part of the model says what a tensor is called in its graph."""
        if id(tensor) in self.makers:
            self.made[self.makers[id(tensor)]].value = value

    def observe(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        name = getattr(func, "__name__", "")
        if torch._C._current_graph_task_id() != -1:
            return
        module = self.stack[-1] if self.stack and self.stack[-1] != "?" else None
        op, call = NAMED.get(name), None
        first = result[0] if isinstance(result, tuple) else result
        if op is not None and module is not None and is_readable(first):
            op, weight = self.identified(op, args, kwargs)
            ordinal = self.ordinals[module, op] = self.ordinals.get((module, op), -1) + 1
            call = Call(module, op, ordinal, weight)
        sources = tuple(
            dict.fromkeys(self.makers[id(leaf)] for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.makers)
        )
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.makers[id(leaf)] = len(self.made)
                self.made.append(_Made(name, module, call, leaf, sources, not _is_finite(leaf)))
                call = None


def _blamed(made: list[_Made], loss: Any, graph: Graph | None, step: int) -> NonFinite:
    """From the loss back along results that are not finite."""
    place = next((number for number in range(len(made) - 1, -1, -1) if made[number].result is loss), None)
    if place is None:
        place = next((number for number, one in enumerate(made) if one.is_broken), None)
    if place is None:
        return NonFinite(step, "loss", "loss")
    following = place
    while True:
        earlier = [number for number in made[place].sources if number < place and made[number].is_broken]
        if not earlier:
            break
        following, place = place, earlier[0]
    if made[place].function in _MASKS and following != place:
        place = following
    return _named(made, place, graph, step, "activation")


def _from_gradients(model: Any, loss: Any, made: list[_Made], graph: Graph | None, step: int) -> NonFinite | None:
    """The first result, on the way back, whose gradient is not finite; else the first such gradient of a parameter."""
    found: list[int] = []

    def looker(place: int, output: int) -> Any:
        def look(gradients: Any) -> None:
            if not found and gradients[output] is not None and not _is_finite(gradients[output]):
                found.append(place)

        return look

    for place, one in enumerate(made):
        if one.result.grad_fn is not None:
            one.result.grad_fn.register_prehook(looker(place, one.result.output_nr))
    named = [(name, item) for name, item in model.named_parameters() if item.requires_grad]
    gradients = (
        torch.autograd.grad(loss, [item for _, item in named], allow_unused=True)
        if named and loss.requires_grad
        else ()
    )
    if found:
        return _named(made, found[0], graph, step, "gradient")
    for (name, _), gradient in zip(named, gradients, strict=False):
        if gradient is not None and not _is_finite(gradient):
            return NonFinite(step, "gradient", name)
    return None


def _named(made: list[_Made], place: int, graph: Graph | None, step: int, kind: str) -> NonFinite:
    one = made[place]
    if one.module is None and kind == "activation":
        return NonFinite(step, "loss", one.function)
    calls = [item.call for item in made if item.call is not None]
    layer = ""
    if one.value and graph is not None:
        maker = graph.maker_of(one.value)
        layer = "" if maker is None else maker.name
    elif one.call is not None:
        layers = matched(graph, calls)
        layer = next(name for call, name in zip(calls, layers, strict=True) if call is one.call)
    where = layer or ".".join(part for part in (one.module, one.function) if part)
    return NonFinite(step, kind, where, layer)
