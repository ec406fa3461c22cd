"""Norms of weights and updates that are estimated from a sample: how far off, and of which parameters never."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from tests.probe.instruments.networks import trained  # noqa: E402
from trainaudit.probe.layout import BLOCK, BLOCKS, WHOLE  # noqa: E402
from trainaudit.probe.parameter_readings import Samples  # noqa: E402

STANDARD_ERROR = 1 / math.sqrt(2 * BLOCK * BLOCKS)
"""Relative, of a norm that is estimated from as many independent normal values."""


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(64, 80, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda items: torch.optim.SGD(items, 0.1),
    "adamw": lambda items: torch.optim.AdamW(items, 0.01),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_large_parameter(optimizer: str, layout: Any) -> None:
    """Within four standard errors of the whole norm, for weights, and for updates of normal tails."""
    torch.manual_seed(0)
    model, x = convolutional().to(memory_format=layout), torch.randn(12, 64, 3, 3)
    before = model[0].weight.detach().clone()
    readings = trained(
        model, None, x, torch.arange(12) % 3, steps=1, optimizer=OPTIMIZERS[optimizer](model.parameters())
    )
    large, *small = readings.parameters
    assert large.sampled_count == BLOCK * BLOCKS < large.size
    assert {series.sampled_count for series in small} == {None}
    assert large.weight_norm[0] == pytest.approx(before.norm().item(), rel=4 * STANDARD_ERROR)
    assert large.update_norm[0] == pytest.approx(
        (model[0].weight.detach() - before).norm().item(), rel=4 * STANDARD_ERROR
    )
    assert large.gradient_norm[0] == pytest.approx(model[0].weight.grad.norm().item(), rel=1e-5)
    if optimizer == "sgd":  # the sample's update against the sample's gradient, value by value
        assert readings.update_alignment[0] == pytest.approx(-1.0, rel=1e-4)


def test_estimates_are_unbiased() -> None:
    """Of a tensor whose rows and columns differ a thousandfold in scale: the squares of the estimates have the right mean over the draws."""
    torch.manual_seed(0)
    rows, columns = 10 ** (3 * torch.rand(200, 1)), 10 ** (3 * torch.rand(300))
    tensor = rows * columns * torch.randn(200, 300)
    samples = Samples([tensor] * 400)
    squares = samples.take().square() / tensor.double().square().sum()
    error = squares.std().item() / math.sqrt(len(squares))
    assert squares.mean().item() == pytest.approx(1.0, abs=4 * error)
    assert error < 0.02


def test_changes_are_seen_in_the_sample_alone_up_to_a_bound() -> None:
    """A tensor of up to `WHOLE` values is read whole: one value that changes is seen."""
    tensor = torch.randn(WHOLE)
    samples = Samples([tensor])
    assert samples.take().item() == pytest.approx(tensor.norm().item(), rel=1e-6)
    tensor[WHOLE // 2] += 3.0
    assert samples.changes().item() == pytest.approx(3.0, rel=1e-6)
    assert samples.sampled_count(0) is None


@pytest.mark.parametrize("sparse", [False, True])
def test_an_embedding_is_read_whole(sparse: bool) -> None:
    """Few rows carry the update: three of five thousand."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(5000, 16, sparse=sparse), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(x).mean(1))

    torch.manual_seed(0)
    model = Bag()
    twin = Bag()
    twin.load_state_dict(model.state_dict())
    x, target = torch.tensor([[7, 8], [8, 4000], [7, 7]]), torch.arange(3)
    readings = trained(model, None, x, target, steps=1, rate=0.5)
    functional.cross_entropy(twin(x), target).backward()
    gradient = twin.table.weight.grad.to_dense()
    table = readings.parameters[0]
    assert table.sampled_count is None
    assert table.weight_norm[0] == pytest.approx(twin.table.weight.norm().item(), rel=1e-5)
    assert table.update_norm[0] == pytest.approx(0.5 * gradient.norm().item(), rel=1e-3)


def test_an_embedding_of_the_graph_is_read_whole() -> None:
    """A table that no module of torch's own keeps."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Parameter(torch.randn(5000, 16)), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(functional.embedding(x, self.table).mean(1))

    from trainaudit.load.torch.from_torch import load_module

    torch.manual_seed(0)
    model, x = Table(), torch.tensor([[7, 8], [8, 4000], [7, 7]])
    readings = trained(model, load_module(model, x, name="table"), x, torch.arange(3), steps=1)
    assert readings.parameters[0].sampled_count is None
