"""Small models and trainees for the tests of changes."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from trainaudit.ir.graph import Graph  # noqa: E402
from trainaudit.load.torch.opening import open_object  # noqa: E402
from trainaudit.probe.losses import NAMED  # noqa: E402
from trainaudit.probe.objectives import compute_with  # noqa: E402
from trainaudit.probe.trainee import Batch, Trainee  # noqa: E402


class Net(nn.Module):
    """Three layers with sigmoids, as modules and as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.act = nn.Sigmoid()

    def forward(self, x: Any) -> Any:
        x = self.act(self.fc1(x))
        x = torch.sigmoid(self.fc2(x))
        return torch.softmax(self.fc3(x), -1)


def graph_of(model: Any, *example: Any) -> Graph:
    return open_object(model, example, (), type(model).__name__)


def trainee_of(
    model: Any, *batches: tuple[Any, Any], loss: str = "cross-entropy", rate: float = 0.1, **more: Any
) -> Trainee:
    train = tuple(Batch(args=(x,), target=y, raw=(x, y), size=len(x)) for x, y in batches)
    make = more.pop("make_optimizer", lambda copied: torch.optim.SGD(copied.parameters(), lr=rate))
    return Trainee(model, compute_with(NAMED[loss], picks=True), make, train, loss=loss, data="real", **more)


def classes(count: int = 8, features: int = 6, kinds: int = 3, seed: int = 0) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=generator), torch.randint(kinds, (count,), generator=generator)


def values(count: int = 8, features: int = 6, seed: int = 0) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=generator), torch.randn(count, 1, generator=generator)


def state(model: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of tensors that differ."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]
