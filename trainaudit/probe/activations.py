"""`Activations`: the taps of a model, found while it runs and read while it trains. torch is imported at module level: import this file inside functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import WEIGHTED
from trainaudit.probe import readings
from trainaudit.probe.collecting import ONLY_LAYERS, Record
from trainaudit.probe.layout import GRADIENT_SQUARES, unit_axis
from trainaudit.probe.matching import Call, matched
from trainaudit.probe.slots import Slots
from trainaudit.probe.taps import FUNCTIONS, Watch, is_readable

TAPPED = frozenset(FUNCTIONS.values())
"""Ops whose outputs are read."""


class Sampling:
    """What is known of the step that is being read."""

    def __init__(self, index: int, is_detailed: bool) -> None:
        self.index, self.is_detailed = index, is_detailed
        self.watching = ExitStack()
        self.passes = 0
        self.ordinals: dict[tuple[str, str], int] = {}
        self.units = (-1, 0)
        self.samples = 0
        self.sizes: dict[int, tuple[int, int, int]] = {}
        self.gradient_sizes: dict[int, int] = {}
        self.is_read = False
        self.places: list[int] = []
        self.gradients: list[Any] = []
        self.weights: Any = None
        self.lengths: Any = None
        self.largest: Any = None


class Activations:
    """Reads outputs and their gradients into slots. A part of the model with `watched` and `watch(name, tensor)` (made of an ONNX file) names its values
    itself; everything else is seen by its calls."""

    def __init__(self, model: Any, graph: Graph | None, record: Record, slots: Slots, sizes: dict[str, int]) -> None:
        self.model, self.graph, self.record, self.slots, self.sizes = model, graph, record, slots, sizes
        self.sampling: Sampling | None = None
        self.numbers: dict[object, int | None] = {}
        self.touched: dict[str, Any] = {}
        self.named = next(
            (part for part in model.modules() if hasattr(part, "watched") and hasattr(part, "watch")), None
        )
        self.layers = (
            {layer.outputs[0]: layer for layer in graph.layers if layer.op in TAPPED} if graph is not None else {}
        )

    @contextmanager
    def watched(self, sampling: Sampling) -> Iterator[None]:
        """The first forward pass inside is read, and the gradients of what it gave until `sampling.is_read`."""
        self.sampling = sampling
        try:
            if self.named is None:
                with Watch(self.model, self._called, self._begins):
                    yield
                return
            kept = self.named.watched, self.named.watch
            try:
                self.named.watched, self.named.watch = frozenset(self.layers), self._computed
                yield
            finally:
                self.named.watched, self.named.watch = kept
        finally:
            self.sampling = None

    def _begins(self) -> None:
        if self.sampling is not None:
            self.sampling.passes += 1

    def _computed(self, name: str, output: Any) -> None:
        """A value of an ONNX graph is there."""
        layer = self.layers.get(name)
        if layer is not None and isinstance(output, torch.Tensor) and self.sampling is not None:
            if name not in self.numbers and is_readable(output):
                weight = next(iter(layer.parameters.values()), "")
                self._add(name, Call(layer.source.module or "", layer.op, 0, weight, layer.name))
            self._read(name, output, self.sampling)

    def _called(self, module: str, function: str, output: Any, identified: Any, operand: Any) -> None:
        """A module has made a call. What it is is found out once, the first time."""
        sampling = self.sampling
        if sampling is None or sampling.passes > 1:
            return
        place = module, function
        ordinal = sampling.ordinals.get(place, 0)
        sampling.ordinals[place] = ordinal + 1
        key = module, function, ordinal
        if key not in self.numbers:
            if not is_readable(output):
                self.numbers[key] = None
                return
            op, weight = identified()
            same = sum(call.module == module and call.op is op for call in self.record.calls)
            self._add(key, Call(module, op, same, weight))
        self._read(key, output, sampling)
        if function == "embedding" and isinstance(operand, torch.Tensor):
            self._touch(key, operand)

    def _add(self, key: object, call: Call) -> None:
        self.numbers[key] = len(self.record.calls)
        self.record.calls.append(call)

    def _read(self, key: object, output: Any, sampling: Sampling) -> None:
        """Read an output as soon as it is there, and its gradient when it comes."""
        number = self.numbers.get(key)
        if number is None or number in sampling.sizes:
            return
        maker, place, shape = output.grad_fn, output.output_nr, output.shape
        op = self.record.calls[number].op
        axis = unit_axis(op, shape, sampling.units)
        units = shape[axis]
        sampling.units = (1 if axis == 1 and len(shape) > 2 else -1, units)
        if number == len(self.slots.taps):
            self.slots.add(op, units)
        slot = self.slots.taps[number]
        if slot.units != units or not output.is_floating_point():
            return  # not the tensor that it was at first
        with torch.no_grad():
            size = readings.read_activation(output, axis, slot)
            if sampling.is_detailed:
                gram = readings.gram_of(output, axis, self.slots.rows)
                self.slots.extras.append(((number, "gram"), gram.reshape(-1)))
        sampling.samples = sampling.samples or shape[0]
        sampling.sizes[number] = (size, shape.numel(), sampling.samples)
        if maker is not None and (sampling.is_detailed or op in WEIGHTED):
            # its node, and not the tensor: a change in place would give the tensor another one, and this costs half the time
            maker.register_prehook(partial(self._read_gradient, sampling, number, axis, place))

    def _read_gradient(self, sampling: Sampling, number: int, axis: int, place: int, gradients: Any) -> None:
        gradient = gradients[place]
        if sampling is not self.sampling or gradient is None or gradient.layout is not torch.strided:
            return
        if gradient.requires_grad:
            gradient = gradient.detach()
        slot = self.slots.taps[number]
        slot.numbers[GRADIENT_SQUARES] = readings.sum_of_squares(gradient)
        sampling.gradient_sizes[number] = gradient.numel()
        if sampling.is_detailed:
            readings.copy_sample(gradient, axis, slot.gradient, slot.views, "gradient")

    def _touch(self, key: object, indices: Any) -> None:
        """Which rows of an embedding a batch has read."""
        number = self.numbers[key]
        weight = "" if number is None else self.record.calls[number].weight
        if weight in self.sizes:
            if weight not in self.touched:
                self.touched[weight] = torch.zeros(self.sizes[weight], dtype=torch.bool, device=indices.device)
            self.touched[weight][indices.reshape(-1)] = True

    def match(self) -> None:
        """After a pass with calls that were not there before: which layers they are, and which of them need not be read again."""
        if len(self.record.layers) == len(self.record.calls):
            return
        self.record.layers = matched(self.graph, self.record.calls)
        for key, number in self.numbers.items():
            if number is not None and not self.record.layers[number] and self.record.calls[number].op in ONLY_LAYERS:
                self.numbers[key] = None
