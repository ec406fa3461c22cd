"""Every number of the instruments against a plain computation on the tensors themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from tests.probe.instruments.networks import made, trained  # noqa: E402
from trainaudit.ir.ops import Op  # noqa: E402
from trainaudit.probe.details import effective_rank  # noqa: E402
from trainaudit.probe.instruments import Instruments  # noqa: E402
from trainaudit.probe.layout import CAP  # noqa: E402
from trainaudit.probe.readings import spread  # noqa: E402


class Taught(nn.Module):
    """Keeps its pre-activation and its output, so that a test can compute on them."""

    def __init__(self, scale: float = 1.0, function: Any = torch.relu) -> None:
        super().__init__()
        self.linear, self.head = nn.Linear(5, 7), nn.Linear(7, 3)
        self.scale, self.function = scale, function
        with torch.no_grad():
            self.linear.weight[2] = 0
            self.linear.bias[2] = -1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.before = self.linear(x) * 1.0
        self.after = self.function(self.before * self.scale)
        for tensor in (self.before, self.after):
            tensor.retain_grad()
        return self.head(self.after / self.scale)


def activation(readings: Any, op: str) -> Any:
    return next(series for series in readings.activations if series.tap.op == op)


@pytest.mark.parametrize("function", [torch.relu, torch.tanh, torch.sigmoid])
def test_activations(function: Any) -> None:
    torch.manual_seed(0)
    model = Taught(3.0, function)
    x, target = torch.randn(40, 5), torch.arange(40) % 3
    readings = trained(model, None, x, target, steps=1, rate=0.0)
    series, y = activation(readings, function.__name__), model.after.detach().double()
    gradient = model.after.grad.double()
    assert series.mean[0] == pytest.approx(y.mean().item())
    assert series.std[0] == pytest.approx(y.std(correction=0).item())
    assert series.rms[0] == pytest.approx(y.square().mean().sqrt().item())
    assert series.absmax[0] == y.abs().max().item()
    assert series.zero_share[0] == pytest.approx((y == 0).double().mean().item())
    assert series.non_finite[0] == 0
    assert series.half_overflow_share[0] == 0
    assert series.gradient_rms[0] == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-5)
    assert series.unit_count == 7
    assert series.samples_seen == 40
    outside = {
        torch.relu: None, torch.tanh: (y.abs() > 0.97), torch.sigmoid: (y < 0.03) | (y > 0.97),
    }[function]  # fmt: skip
    assert series.saturated_share == (() if outside is None else (pytest.approx(outside.double().mean().item()),))
    assert series.silent_share == (pytest.approx(1 / 7) if function is torch.relu else None)
    assert series.constant_share == pytest.approx(1 / 7)
    centred = y - y.mean(0)
    assert series.effective_rank[0] == pytest.approx(entropy_rank(torch.linalg.svdvals(centred)))
    assert series.effective_rank_bound == 7
    for histogram in (series.histogram_first, series.histogram_last):
        expected, edges = np.histogram(y.numpy(), bins=len(histogram.counts))
        assert (histogram.low, histogram.high) == (edges[0], edges[-1])
        assert histogram.counts == tuple(expected)


def entropy_rank(singular: torch.Tensor) -> float:
    shares = singular.square() / singular.square().sum()
    shares = shares[shares > 0]
    return math.exp(-(shares * shares.log()).sum())


def test_parameters() -> None:
    model, graph, x, target = made("functional")
    twin, _, _, _ = made("functional")
    twin.load_state_dict(model.state_dict())
    readings = trained(model, graph, x, target, steps=1, rate=0.3)
    before = {name: item.detach().clone().double() for name, item in twin.named_parameters()}
    loss = functional.cross_entropy(twin(x), target)
    loss.backward()
    torch.optim.SGD(twin.parameters(), 0.3).step()
    assert [series.name for series in readings.parameters] == list(before)
    for series in readings.parameters:
        item = twin.get_parameter(series.name)
        gradient = item.grad.double()
        assert series.weight_norm[0] == pytest.approx(before[series.name].norm().item(), rel=1e-5)
        assert series.gradient_norm[0] == pytest.approx(gradient.norm().item(), rel=1e-5)
        assert series.gradient_absmax[0] == gradient.abs().max().item()
        assert series.update_norm[0] == pytest.approx(
            (item.detach().double() - before[series.name]).norm().item(), rel=1e-4
        )
        small = (gradient != 0) & (gradient.abs() < 2.0**-24)
        assert series.gradient_underflow_share[0] == pytest.approx((small.sum() / (gradient != 0).sum()).item())
        assert series.size == item.numel()
        assert series.trainable
        assert series.in_optimizer
        assert series.has_gradient
        assert series.is_changed
    whole = math.sqrt(sum(item.grad.double().norm().item() ** 2 for item in twin.parameters()))
    assert readings.gradient_norm[0] == pytest.approx(whole, rel=1e-5)
    assert readings.loss[0] == pytest.approx(loss.item())
    assert readings.update_alignment[0] == pytest.approx(-1.0)  # plain gradient descent


def test_frozen_unused_and_forgotten_parameters() -> None:
    class Partial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.frozen, self.forgotten, self.unused = (nn.Linear(4, 4) for _ in range(4))
            self.frozen.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.forgotten(self.frozen(self.used(x)))

    model = Partial()
    optimizer = torch.optim.SGD([*model.used.parameters(), *model.unused.parameters()], 0.1)
    readings = trained(model, None, torch.randn(8, 4), torch.arange(8) % 4, optimizer=optimizer)
    found = {
        item.name: (item.trainable, item.in_optimizer, item.has_gradient, item.is_changed)
        for item in readings.parameters
    }
    assert found["used.weight"] == (True, True, True, True)
    assert found["frozen.weight"] == (False, False, False, False)
    assert found["forgotten.weight"] == (True, False, True, False)
    assert found["unused.weight"] == (True, True, False, False)
    assert next(item for item in readings.parameters if item.name == "unused.weight").gradient_norm == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_numbers_whose_squares_float32_cannot_hold(scale: float) -> None:
    """A vanished gradient is told from none, and an exploding activation from an infinite one."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 6, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    torch.manual_seed(0)
    model, x = Scaled(), torch.randn(16, 4)
    with torch.no_grad():
        model.linear.weight.mul_(scale)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with Instruments(model, optimizer) as instruments, instruments.step(0):
        y = model(x)
        loss = y.sum() * scale
        loss.backward()
        instruments.read_gradients(loss)
        optimizer.step()
    readings = instruments.collect()
    (series,), (weight,) = readings.activations, readings.parameters
    assert series.rms[0] == pytest.approx(y.detach().double().square().mean().sqrt().item())
    assert series.gradient_rms[0] == pytest.approx(scale, rel=1e-5)
    assert series.half_overflow_share[0] == (1.0 if scale > 1 else 0.0)
    assert series.gradient_underflow_share[0] == (0.0 if scale > 1 else 1.0)
    assert weight.gradient_norm[0] == pytest.approx(model.linear.weight.grad.double().norm().item(), rel=1e-5)
    assert weight.weight_norm[0] == pytest.approx(model.linear.weight.detach().double().norm().item(), rel=1e-5)


def test_not_finite() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            return torch.relu(torch.cat([y[:, :3] / 0.0 * 0.0, y[:, 3:]], 1))

    readings = trained(Broken(), None, torch.randn(10, 4), torch.arange(10) % 6, steps=1)
    series = activation(readings, "relu")
    assert series.non_finite == (30.0,)
    assert math.isnan(series.rms[0])
    assert math.isnan(readings.loss[0])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.data())
def test_samples_are_spread_and_bounded(shape: list[int], data: Any) -> None:
    """Whatever the shape and the strides: a view that stays inside the tensor, of at most `CAP` values, all of them where there are as few."""
    axis = data.draw(st.integers(0, len(shape) - 1))
    order = data.draw(st.permutations(range(len(shape))))
    tensor = torch.arange(math.prod(shape)).reshape([shape[place] for place in order])
    tensor = tensor.permute([order.index(place) for place in range(len(shape))])
    size, steps, first = spread(tensor.shape, tensor.stride(), axis)
    assert math.prod(size) <= CAP
    values = tensor.as_strided(size, steps, tensor.storage_offset() + first).reshape(-1).tolist()
    assert len(set(values)) == len(values)
    assert set(values) <= set(range(math.prod(shape)))
    if math.prod(shape) <= CAP:
        assert len(values) == math.prod(shape)
    else:
        assert len(values) > CAP / 16
        assert size[0] >= min(4, shape[0])


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(nn.Linear(6, 5), 2), (nn.Linear(6, 5), 3), (nn.Conv1d(6, 5, 1), -3), (nn.Conv2d(6, 5, 1), -4)]),
    st.integers(1, 9), st.integers(1, 6), st.floats(-6, 6),
)  # fmt: skip
def test_moments_and_units_of_any_shape(case: Any, batch: int, length: int, power: float) -> None:
    """Small tensors are read whole; units lie on the last axis behind a linear layer and on the second behind a convolution."""
    layer, rank = case
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, 6, *[length] * (-rank - 2)) if rank < 0 else (batch, *[length] * (rank - 2), 6)
    x = torch.randn(shape, generator=generator) * 10**power
    model = nn.Sequential(layer, nn.ReLU())
    with Instruments(model) as instruments, instruments.step(0):
        y = model(x)
        loss = y.square().mean()
        loss.backward()
        instruments.read_gradients(loss)
    series = activation(instruments.collect(), "relu")
    y = y.detach().double()
    units = y.movedim(1, -1) if rank < 0 else y
    assert series.unit_count == 5
    assert series.samples_seen == batch
    assert series.rms[0] == pytest.approx(y.square().mean().sqrt().item(), rel=1e-6, abs=1e-300)
    assert series.std[0] == pytest.approx(y.std(correction=0).item(), rel=1e-5, abs=1e-9 * y.abs().max().item())
    assert series.absmax[0] == pytest.approx(y.abs().max().item())
    silent = (units.reshape(-1, 5).amax(0) <= 0).double().mean().item()
    constant = (units.reshape(-1, 5).amax(0) == units.reshape(-1, 5).amin(0)).double().mean().item()
    assert series.silent_share == pytest.approx(silent)
    assert series.constant_share == pytest.approx(constant)


def test_masks_are_over_all_samples_and_steps() -> None:
    """A unit that fires on one sample of one step in a hundred is not silent; where it does is said by the quarters."""

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + 0.0 * self.linear(x))

    model = Gate()
    with Instruments(model, sample_every=1) as instruments:
        for index in range(8):
            x = -torch.ones(500, 2)
            x[:, 1] = torch.linspace(-1, 1, 500)
            if index == 7:
                x[499, 0] = 0.5
            with instruments.step(index):
                loss = model(x).sum()
                loss.backward()
                instruments.read_gradients(loss)
    (series,) = [item for item in instruments.collect().activations if item.tap.op == Op.RELU]
    assert (series.silent_share, series.silent_share_first, series.silent_share_last) == (0.0, 0.5, 0.0)
    assert series.samples_seen == 4000
    assert series.constant_share == 0.0


def test_large_tensors_are_sampled_and_their_extrema_are_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU())
    x = torch.randn(16, 3, 40, 40)
    x[3, 0, 0, 0] = 1e4
    with Instruments(model) as instruments, instruments.step(0):
        y = model(x)
        loss = y.mean()
        loss.backward()
        instruments.read_gradients(loss)
    conv, relu = instruments.collect().activations
    assert relu.absmax[0] == y.max().item()
    assert conv.gradient_rms[0] > 0
    usual = y[4:].detach()
    assert relu.rms[0] == pytest.approx(usual.square().mean().sqrt().item(), rel=0.15)
    assert relu.zero_share[0] == pytest.approx((usual == 0).float().mean().item(), abs=0.1)


def test_gradient_that_one_position_has_to_itself() -> None:
    """A model that reads one token: a sample of positions would have missed its gradient."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 64)
    x = torch.randn(16, 50, 64)
    with Instruments(layer) as instruments, instruments.step(0):
        y = layer(x)
        y.retain_grad()
        loss = y[:, -1].square().mean()
        loss.backward()
        instruments.read_gradients(loss)
    (series,) = instruments.collect().activations
    assert series.gradient_rms[0] == pytest.approx(y.grad.double().square().mean().sqrt().item(), rel=1e-5)


def test_effective_rank_of_few_directions() -> None:
    torch.manual_seed(0)
    rows = torch.randn(40, 3, dtype=torch.float64) @ torch.randn(3, 20, dtype=torch.float64)
    rows -= rows.mean(0)
    assert effective_rank((rows @ rows.T).numpy()) == pytest.approx(entropy_rank(torch.linalg.svdvals(rows)))
    assert effective_rank((rows @ rows.T).numpy()) < 3
    assert math.isnan(effective_rank(np.zeros((4, 4))))
    assert math.isnan(effective_rank(np.full((4, 4), np.nan)))


def test_rows_of_an_embedding_that_no_sample_reads() -> None:
    model, graph, _, target = made("encoder")
    x = torch.arange(5).repeat(12, 1)
    readings = trained(model, graph, x, target)
    found = {item.name: item.never_touched_rows for item in readings.parameters}
    assert found.pop("embed.weight") == pytest.approx(15 / 20)
    assert set(found.values()) == {None}


def test_clipping_is_after_the_norm_that_is_read() -> None:
    model, graph, x, target = made("functional")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Instruments(model, optimizer, graph) as instruments, instruments.step(0):
        loss = functional.cross_entropy(model(x), target)
        loss.backward()
        whole = math.sqrt(sum(item.grad.norm().item() ** 2 for item in model.parameters()))
        instruments.read_gradients(loss)
        nn.utils.clip_grad_norm_(model.parameters(), whole / 10)
        optimizer.step()
    readings = instruments.collect()
    assert readings.gradient_norm[0] == pytest.approx(whole, rel=1e-4)
    assert readings.update_alignment[0] == pytest.approx(-1.0, rel=1e-4)


def test_ascent_is_seen() -> None:
    model, graph, x, target = made("functional")
    readings = trained(model, graph, x, target, optimizer=torch.optim.SGD(model.parameters(), 0.1, maximize=True))
    assert readings.update_alignment[0] == pytest.approx(1.0)
