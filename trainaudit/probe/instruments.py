"""`Instruments`: what a training loop is read with. torch is imported at module level: import this file inside functions.

    with Instruments(model, optimizer, graph) as instruments:
        for index, batch in enumerate(batches):
            with instruments.step(index):
                loss = compute(model, batch).loss
                loss.backward()
                instruments.read_gradients(loss)
                optimizer.step()
    readings = instruments.collect()

Hooks are there on sampled steps alone. Nothing in a step waits for a device: what was read goes to the host in one asynchronous copy at the end of a sampled
step, and two numbers (the loss and the gradient's norm) in one of their own at each step.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.probe import parameter_readings
from trainaudit.probe.activations import Activations, Sampling
from trainaudit.probe.collecting import ParameterState, Readings, Record, StepReadings
from trainaudit.probe.layout import NUMBERS
from trainaudit.probe.noise import gradient_noise
from trainaudit.probe.readings import waits
from trainaudit.probe.slots import Fetched, Slots, to_host

DENSE_STEPS = 10
"""The first steps are all sampled: what goes wrong at the start goes wrong there."""

DETAIL_EVERY = 10
"""Histograms, effective ranks, underflow shares and the largest gradients are computed at the first sampled step, every so many sampled steps, and at the last."""


class Instruments:
    """Reads a model in training. `graph` gives layers their names, where there is one; `optimizer` may come later, or never.

    A model with `watched` and `watch(name, tensor)` (one made of an ONNX file) names its values itself. The model, the generators and the gradients are
    not changed by reading; torch's fast path through transformer encoders is off until the end.
    """

    def __init__(
        self, model: Any, optimizer: Any = None, graph: Graph | None = None, *, sample_every: int = 10
    ) -> None:
        self.model, self.optimizer, self.graph, self.sample_every = model, optimizer, graph, sample_every
        named = [(name, item) for name, item in model.named_parameters() if not torch.nn.parameter.is_lazy(item)]
        self.names, self.parameters = [name for name, _ in named], [item for _, item in named]
        self.device = self.parameters[0].device if self.parameters else torch.device("cpu")
        self.slots = Slots(self.device)
        self.called: dict[str, str] = getattr(model, "parameter_names", {})
        self.samples = parameter_readings.Samples(self.parameters, self._embeddings())
        self.gradient_samples: parameter_readings.GradientSamples | None = None
        self.record = Record(
            [self.called.get(name, name) for name in self.names],
            [(item.numel(), self.samples.sampled_count(place)) for place, item in enumerate(self.parameters)],
        )
        rows = {name: item.shape[0] for name, item in named if item.ndim}
        self.activations = Activations(model, graph, self.record, self.slots, rows)
        self.sampling: Sampling | None = None
        self.waiting: list[tuple[StepReadings, Fetched]] = []
        self.guards: list[tuple[int, Any, Any]] = []
        self.stack = ExitStack()

    def __enter__(self) -> Instruments:
        fast = torch.backends.mha.get_fastpath_enabled()
        self.stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        self.initial = [item.detach().clone() for item in self.parameters]
        return self

    def __exit__(self, *_raised: Any) -> None:
        self.stack.close()

    def is_sampled(self, index: int) -> bool:
        return index < DENSE_STEPS or index % self.sample_every == 0

    @contextmanager
    def step(self, index: int, *, last: bool = False) -> Iterator[None]:
        """Around one step of training: forward pass, backward pass, `read_gradients` and the optimizer's step. `last` says that it is the last one, which
        is sampled, in detail, whatever its index. A step that raises leaves no hook and no reading."""
        self.index = index
        self.sampling = None
        if not last and not self.is_sampled(index):
            yield
            return
        sampled = len(self.record.steps) + len(self.waiting)
        sampling = self.sampling = Sampling(index, last or sampled % DETAIL_EVERY == 0)
        with torch.no_grad():
            sampling.weights = self.samples.take()
        self.slots.begin()
        try:
            with _eager():
                sampling.watching.enter_context(self.activations.watched(sampling))
                try:
                    yield
                finally:
                    sampling.watching.close()
            self._close(sampling)
        finally:
            self.sampling = None

    # --- parameters -----------------------------------------------------------------------------------------------------

    def read_gradients(self, loss: Any) -> None:
        """After the backward pass, before clipping and before the optimizer's step. `loss` is a scalar tensor."""
        with torch.no_grad():
            places = [place for place, item in enumerate(self.parameters) if item.grad is not None]
            gradients = [parameter_readings.dense(self.parameters[place].grad) for place in places]
            self.record.has_gradient.update(places)
            lengths = parameter_readings.norms(gradients)
            sampling = self.sampling
            if sampling is not None:
                sampling.watching.close()
                sampling.is_read, sampling.places, sampling.gradients = True, places, gradients
                sampling.lengths = lengths
                if sampling.is_detailed:
                    self._read_in_detail(sampling)
            whole = torch.linalg.vector_norm(lengths)
            if waits(whole):
                self.guards.append((self.index, *to_host(torch.stack([loss.detach().reshape(()).to(whole), whole]))))
            else:
                self.guards.append((self.index, (loss.item(), whole.item()), None))

    def read_noise(self, index: int, compute: Any, batch: Any, parts: int = 4) -> None:
        """Outside of a step, before that of this index: how much the gradients of parts of a batch differ (see `noise.gradient_noise`)."""
        self.record.noise[index] = {
            self.called.get(name, name): value
            for name, value in gradient_noise(self.model, compute, batch, parts).items()
        }

    def _read_in_detail(self, sampling: Sampling) -> None:
        if self.gradient_samples is None:
            self.gradient_samples = parameter_readings.GradientSamples(len(self.parameters), self.device)
        sampling.largest = self.gradient_samples.read(sampling.gradients, sampling.places)
        self.slots.extras.append((("", "parameter gradients"), self.gradient_samples.rows.reshape(-1)))

    def _close(self, sampling: Sampling) -> None:
        """What the step did to the weights; everything that was read goes on its way."""
        with torch.no_grad():
            updates = self.samples.changes()
            table = torch.full(
                (len(NUMBERS), len(self.parameters)), torch.nan, dtype=updates.dtype, device=updates.device
            )
            table[0], table[3] = sampling.weights, updates
            if sampling.places:
                where = torch.tensor(sampling.places).to(table.device, non_blocking=True)
                table[1].index_copy_(0, where, sampling.lengths)
                if sampling.is_detailed:
                    table[2].index_copy_(0, where, sampling.largest.to(table.dtype))
                    along = self.samples.along(sampling.gradients, sampling.places)
                    self.slots.extras.append((("", "along"), along))
            self.slots.extras.append((("", "parameters"), table.reshape(-1).to(self.slots.dtype)))
            fetched = self.slots.fetch(is_detailed=sampling.is_detailed)
        step = StepReadings(
            index=sampling.index,
            sizes=sampling.sizes,
            gradient_sizes=sampling.gradient_sizes,
            with_gradient=frozenset(sampling.places),
            is_detailed=sampling.is_detailed,
        )
        self.waiting.append((step, fetched))
        self.activations.match()
        while self.waiting and self.waiting[0][1].arrived():
            self._land(*self.waiting.pop(0))

    def _embeddings(self) -> set[int]:
        """Places of the parameters whose rows are looked up."""
        layers = () if self.graph is None else self.graph.layers
        named = {name for layer in layers if layer.op is Op.EMBEDDING for name in layer.parameters.values()}
        tables = (torch.nn.Embedding, torch.nn.EmbeddingBag)
        owned = {id(part.weight) for part in self.model.modules() if isinstance(part, tables)}
        return {
            place
            for place, (name, item) in enumerate(zip(self.names, self.parameters, strict=True))
            if id(item) in owned or self.called.get(name, name) in named
        }

    def _land(self, step: StepReadings, fetched: Fetched) -> None:
        self.record.land(step, fetched.units, fetched.parts())
        start = 0
        for tap in self.slots.taps[: len(fetched.units)]:
            if not tap.has_varied:
                tap.has_varied = bool(self.record.varied[start : start + tap.units].all())
            start += tap.units

    # --- what came of it ------------------------------------------------------------------------------------------------

    @property
    def guard(self) -> tuple[tuple[int, float, float], ...]:
        """(step, loss, norm of the gradient) of the steps since the last look that have arrived on the host: it waits for nothing."""
        arrived = []
        while self.guards and (self.guards[0][2] is None or self.guards[0][2].query()):
            index, host, _ = self.guards.pop(0)
            arrived.append((index, float(host[0]), float(host[1])))
        self.record.guards += arrived
        return tuple(arrived)

    def collect(self) -> Readings:
        """Everything that was read; waits for what is on its way."""
        for index, host, event in self.guards:
            if event is not None:
                event.synchronize()
            self.record.guards.append((index, float(host[0]), float(host[1])))
        self.guards.clear()
        for step, fetched in self.waiting:
            self._land(step, fetched)
        self.waiting.clear()
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        optimized = {id(item) for group in groups for item in group["params"]}
        states = [
            ParameterState(
                trainable=item.requires_grad,
                in_optimizer=id(item) in optimized,
                is_changed=not parameter_readings.is_equal(item.detach(), start),
                touched=None
                if name not in self.activations.touched
                else float(self.activations.touched[name].double().mean()),
            )
            for name, item, start in zip(self.names, self.parameters, self.initial, strict=True)
        ]
        return self.record.readings(states)


@contextmanager
def _eager() -> Iterator[None]:
    """Compiled modules run as they were written: a compiled graph shows no calls."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Using `torch.compile"
        )  # torch says that hooks of all modules are not compiled
        yield
