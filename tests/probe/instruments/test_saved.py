"""The user's model, optimizer and generators are what they were, bit for bit, whatever happened meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, spectral_norm, weight_norm  # noqa: E402

from tests.probe.instruments.networks import Encoder, Recurrent  # noqa: E402
from trainaudit.probe.instruments import Instruments  # noqa: E402
from trainaudit.probe.saved import saved  # noqa: E402


def batchnorm() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(8, 3))


def spectral() -> nn.Module:
    return nn.Sequential(spectral_norm(nn.Linear(6, 8)), nn.Tanh(), parametrizations.spectral_norm(nn.Linear(8, 3)))


def weighted() -> nn.Module:
    return nn.Sequential(weight_norm(nn.Linear(6, 8)), parametrizations.weight_norm(nn.Linear(8, 3)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.two(self.one(x).relu()))


class Counting(nn.Module):
    """State in buffers, plain attributes, lists and hooks of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen, self.log = nn.Linear(6, 3), 0, [1]
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.average = torch.zeros(3)
        self.linear.register_forward_hook(lambda *_: None)
        self.linear.register_full_backward_hook(lambda *_: None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        self.log.append(self.seen)
        self.count += 1
        y = self.linear(x)
        self.average = 0.9 * self.average + 0.1 * y.detach().mean(0)
        return y + 0.01 * random.random() + 0.01 * float(np.random.rand())


def half_frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    model[0].weight.requires_grad_(False)
    return model


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Linear(8, 3))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batchnorm": (batchnorm, (10, 6)), "spectral": (spectral, (10, 6)), "weight_norm": (weighted, (10, 6)), "tied": (Tied, (10, 6)),
    "counting": (Counting, (10, 6)), "half_frozen": (half_frozen, (10, 6)), "lazy": (lazy, (10, 6)), "recurrent": (Recurrent, (10, 4, 6)),
    "encoder": (Encoder, (10, 5)),
}  # fmt: skip

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda items: torch.optim.SGD(items, 0.1, momentum=0.9),
    "adamw": lambda items: torch.optim.AdamW(items, 0.01, amsgrad=True),
    "adafactor": lambda items: torch.optim.Adafactor(items, 0.01),
    "lbfgs": lambda items: torch.optim.LBFGS(items, 0.1, max_iter=2),
}


def state_of(value: Any) -> Any:
    """Everything that can be compared, tensors as bits with their identity and their gradients."""
    if isinstance(value, torch.nn.parameter.UninitializedTensorMixin):
        return type(value).__name__, id(value), value.requires_grad
    if isinstance(value, torch.Tensor):
        bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return (
            id(value),
            tuple(value.shape),
            bits,
            value.requires_grad,
            None if not value.is_leaf or value.grad is None else state_of(value.grad),
        )
    if isinstance(value, dict):
        return id(value), [
            (id(key) if isinstance(key, torch.Tensor) else repr(key), state_of(item)) for key, item in value.items()
        ]
    if isinstance(value, (list, tuple)):
        return [state_of(item) for item in value]
    if isinstance(value, nn.Module):
        return module_state(value)
    return value if isinstance(value, (int, float, str, bool, type(None))) else id(value)


def module_state(model: nn.Module) -> Any:
    return [
        (
            type(part).__name__,
            id(part),
            [(key, state_of(item)) for key, item in vars(part).items() if key != "_modules"],
        )
        for part in model.modules()
    ]


def generators() -> Any:
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()


def train(model: nn.Module, optimizer: Any, x: torch.Tensor, *, steps: int = 3) -> None:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), torch.arange(10) % 3)
        loss.backward()
        return loss

    with Instruments(model, optimizer) as instruments:
        for index in range(steps):
            with instruments.step(index):
                loss = closure()
                instruments.read_gradients(loss)
                optimizer.step(closure)


def prepared(name: str, optimizer: str) -> tuple[nn.Module, Any, torch.Tensor]:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model = build()
    x = torch.randint(0, 20, shape) if name == "encoder" else torch.randn(shape)
    chosen = OPTIMIZERS[optimizer](model.parameters())
    if name != "lazy":  # a user who has trained already: state in the optimizer, gradients on the parameters
        train(model, chosen, x, steps=2)
    return model, chosen, x


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("error", [None, StoppedError, KeyboardInterrupt])
def test_everything_is_put_back(name: str, error: Any) -> None:
    model, optimizer, x = prepared(name, "adamw")
    optimizer.register_step_post_hook(lambda *_: None)
    before = module_state(model), state_of(vars(optimizer)), generators()
    try:
        with saved(model, optimizer):
            model.train(not model.training)
            train(model, optimizer, x)
            model.requires_grad_(False)
            next(iter(model.modules())).register_forward_hook(lambda *_: None)
            optimizer.param_groups[0]["lr"] = 7.0
            optimizer.register_step_pre_hook(lambda *_: None)
            assert (module_state(model), state_of(vars(optimizer)), generators()) != before
            if error is not None:
                raise error
    except (StoppedError, KeyboardInterrupt):
        assert error is not None
    assert module_state(model) == before[0]
    assert state_of(vars(optimizer)) == before[1]
    assert generators() == before[2]
    assert all(model.get_parameter(key) is item for key, item in model.named_parameters())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_kind_of_optimizer(kind: str) -> None:
    model, optimizer, x = prepared("batchnorm", kind)
    before = state_of(vars(optimizer))
    with saved(model, optimizer):
        train(model, optimizer, x)
        assert state_of(vars(optimizer)) != before
    assert state_of(vars(optimizer)) == before


def test_training_goes_on_as_if_nothing_had_been() -> None:
    losses = []
    for is_probed in (False, True):
        model, optimizer, x = prepared("batchnorm", "adamw")
        if is_probed:
            with saved(model, optimizer):
                train(model, optimizer, x, steps=5)
        train(model, optimizer, x)
        losses.append(nn.functional.cross_entropy(model(x), torch.arange(10) % 3))
    assert torch.equal(*losses)


def test_lazy_modules_can_be_initialized_again() -> None:
    model, _, x = prepared("lazy", "sgd")
    with saved(model):
        model(x)
        assert isinstance(model[0].weight, nn.Parameter)
        assert not torch.nn.parameter.is_lazy(model[0].weight)
    assert isinstance(model[0], nn.LazyLinear)
    assert model(torch.randn(4, 11)).shape == (4, 3)
