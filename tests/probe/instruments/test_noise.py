"""Gradient noise against its definition."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from tests.probe.instruments.networks import made  # noqa: E402
from trainaudit.probe.instruments import Instruments  # noqa: E402
from trainaudit.probe.noise import gradient_noise  # noqa: E402
from trainaudit.probe.trainee import Batch, Computed  # noqa: E402


def compute(model: Any, batch: Batch) -> Computed:
    output = model(*batch.args)
    return Computed(functional.cross_entropy(output, batch.target), output, batch.target)


def test_definition() -> None:
    model, _, x, target = made("functional")
    found = gradient_noise(model, compute, Batch(args=(x,), target=target, size=12), parts=4)
    for name, item in model.named_parameters():
        parts = []
        for place in range(0, 12, 3):
            loss = functional.cross_entropy(model(x[place : place + 3]), target[place : place + 3])
            parts.append(torch.autograd.grad(loss, item)[0].double())
        mean = torch.stack(parts).mean(0)
        spread = math.sqrt(sum((part - mean).square().sum().item() for part in parts) / 3)
        assert found[name] == pytest.approx(spread / mean.norm().item(), rel=1e-4)


def test_equal_examples_have_no_noise() -> None:
    model, _, x, target = made("functional")
    x, target = x[:1].repeat(8, 1), target[:1].repeat(8)
    found = gradient_noise(model, compute, Batch(args=(x,), target=target, size=8))
    assert all(value < 1e-3 for value in found.values())


def test_nothing_to_compare() -> None:
    model, _, x, target = made("functional")
    assert gradient_noise(model, compute, Batch(args=(x[:1],), target=target[:1], size=1)) == {}


def test_unused_and_frozen_parameters_and_state() -> None:
    """What has no gradient is left out; dropout, batch statistics and gradients are as before."""
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model.register_parameter("unused", nn.Parameter(torch.zeros(2)))
    model[0].bias.requires_grad_(False)
    x, target = torch.randn(12, 6), torch.arange(12) % 3
    functional.cross_entropy(model(x), target).backward()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gradient, state = model[3].weight.grad.clone(), torch.get_rng_state()
    found = gradient_noise(model, compute, Batch(args=(x,), target=target, size=12))
    assert set(found) == {"0.weight", "1.weight", "1.bias", "3.weight", "3.bias"}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(model[3].weight.grad, gradient)
    assert torch.equal(torch.get_rng_state(), state)


def test_in_the_series() -> None:
    model, graph, x, target = made("functional")
    batch = Batch(args=(x,), target=target, size=12)
    with Instruments(model, None, graph) as instruments:
        for index in range(3):
            if index == 1:
                instruments.read_noise(index, compute, batch)
            with instruments.step(index):
                loss = compute(model, batch).loss
                loss.backward()
                instruments.read_gradients(loss)
    series = next(item for item in instruments.collect().parameters if item.name == "last.weight")
    first, second, third = series.gradient_noise
    assert (first, third) == (None, None)
    assert second == gradient_noise(model, compute, batch)["last.weight"]
