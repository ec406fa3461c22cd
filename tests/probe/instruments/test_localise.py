"""Where the first NaN or infinity comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from tests.probe.instruments.networks import made  # noqa: E402
from trainaudit.load.torch.from_torch import load_module  # noqa: E402
from trainaudit.probe.localise import localise  # noqa: E402
from trainaudit.probe.trainee import Batch, Computed  # noqa: E402


class Chain(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between: Callable[[torch.Tensor], torch.Tensor] = torch.tanh) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.between(torch.relu(self.first(x))))


def classified(model: Any, batch: Batch) -> Computed:
    output = model(*batch.args)
    return Computed(functional.cross_entropy(output, batch.target), output, batch.target)


def batch_of(x: torch.Tensor) -> Batch:
    return Batch(args=(x,), target=torch.arange(len(x)) % 3, size=len(x))


def found(model: nn.Module, *, compute: Any = classified, x: Any = None) -> Any:
    torch.manual_seed(0)
    x = torch.randn(6, 4) if x is None else x
    graph = load_module(model, torch.randn(6, 4), name="chain")
    return localise(model, compute, batch_of(x), graph, 7)


def words(seen: Any) -> Any:
    return None if seen is None else (seen.step, seen.kind, seen.where, seen.layer)


def test_nothing() -> None:
    assert found(Chain()) is None


def test_input() -> None:
    x = torch.randn(6, 4)
    x[2, 1] = torch.nan
    assert words(found(Chain(), x=x)) == (7, "input", "input 0", "")


def test_parameter() -> None:
    model = Chain()
    with torch.no_grad():
        model.second.bias[0] = torch.inf
    assert words(found(model)) == (7, "parameter", "second.bias", "")


def test_stored_masks_are_no_fault() -> None:
    model = Chain()
    model.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
    assert found(model) is None
    model.mask[0, 0] = torch.nan
    assert words(found(model)) == (7, "parameter", "mask", "")


def test_function_between_layers() -> None:
    assert words(found(Chain(lambda x: x.log()))) == (7, "activation", "log", "")


def test_layer_that_overflows() -> None:
    model = Chain(lambda x: x * 1e30)
    with torch.no_grad():
        model.second.weight.mul_(1e30)
    assert words(found(model)) == (7, "activation", "second", "second")


def test_overwritten_result() -> None:
    """What broke is remembered when a later call repairs its memory."""

    def mend(x: torch.Tensor) -> torch.Tensor:
        y = x / 0.0
        z = y * 0.0
        y.zero_()
        return z + y

    assert words(found(Chain(mend))) == (7, "activation", "div", "")


def test_infinite_masks_are_no_fault() -> None:
    def masked(x: torch.Tensor) -> torch.Tensor:
        hidden = x.masked_fill(torch.eye(6, 4) > 0, -torch.inf)
        return functional.softmax(hidden, -1).log()  # of the masked places −∞

    assert words(found(Chain(masked))) == (7, "activation", "log", "")


def test_fully_masked_row() -> None:
    def masked(x: torch.Tensor) -> torch.Tensor:
        return functional.softmax(x.masked_fill(torch.arange(6)[:, None] == 2, -torch.inf), -1)

    assert words(found(Chain(masked))) == (7, "activation", "softmax", "softmax")


def test_loss() -> None:
    def compute(model: Any, batch: Batch) -> Computed:
        output = model(*batch.args)
        return Computed((output - output).mean().log(), output)

    assert words(found(Chain(), compute=compute)) == (7, "loss", "log", "")


def test_gradient() -> None:
    """√x is finite at 0 and its derivative is not."""
    seen = found(Chain(lambda x: torch.sqrt(x)))
    assert words(seen) == (7, "gradient", "relu", "relu")


def test_the_model_is_left_as_it_was() -> None:
    model, graph, x, target = made("convolutional")
    with torch.no_grad():
        model.body[5].weight.mul_(1e3)
        model.head.weight.fill_(3e38)
    x = x * 1e6
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    seen = localise(model, classified, Batch(args=(x,), target=target, size=len(x)), graph)
    assert words(seen) == (0, "activation", "head", "head")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(item.grad is None for item in model.parameters())
