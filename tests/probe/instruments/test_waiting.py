"""Nothing in a step waits for an accelerator, shown without one: what is done for a device that computes on its own is done on the CPU, where every
call that looks at a number raises."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from tests.probe.instruments.networks import NETWORKS, made, trained  # noqa: E402
from trainaudit.probe import instruments as instruments_module  # noqa: E402
from trainaudit.probe import readings, slots  # noqa: E402
from trainaudit.probe.collecting import Readings  # noqa: E402
from trainaudit.probe.instruments import Instruments  # noqa: E402

LOOKING = frozenset(
    {
        "item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__contains__", "__array__", "is_nonzero", "nonzero", "argwhere",
        "masked_select", "unique", "bincount", "equal", "allclose", "synchronize", "__iter__",
    }
)  # fmt: skip
KERNELS = frozenset(
    {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "bincount", "item"}
)


class WaitedError(Exception):
    pass


class NoLooking(TorchFunctionMode):
    """Calls of Python, among them those that a CPU answers without a kernel."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in LOOKING:
            raise WaitedError(func.__name__)
        return func(*args, **(kwargs or {}))


class NoLookingKernels(TorchDispatchMode):
    """Kernels, whoever calls them: the backward pass and functions that are made of others among them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in KERNELS:
            raise WaitedError(str(func))
        return func(*args, **(kwargs or {}))


class Event:
    """What was sent arrives when it is waited for, and not before."""

    def query(self) -> bool:
        return False

    def synchronize(self) -> None:
        return None


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU counts as a device that computes on its own; what is sent to the host is sent aside."""
    monkeypatch.setattr(readings, "_HOST", "none")
    for module in (slots, instruments_module):
        monkeypatch.setattr(module, "to_host", lambda tensor: (tensor.detach().clone(), Event()))


def read(name: str, *, look: Any = None) -> Readings:
    """Four steps, the first and the last in detail. torch's own optimizers look at their step count on a CPU: this one is plain."""
    model, graph, x, target = made(name)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, foreach=True)
    with Instruments(model, optimizer, graph) as instruments:
        for index in range(4):
            with NoLooking(), NoLookingKernels(), instruments.step(index, last=index == 3):
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(x), target)
                loss.backward()
                instruments.read_gradients(loss)
                if look is not None:
                    look(loss)
                optimizer.step()
                assert instruments.guard == ()
    return instruments.collect()


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_in_a_step_looks(name: str) -> None:
    assert read(name).sampled_steps == (0, 1, 2, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_ways_read_the_same(name: str, request: pytest.FixtureRequest) -> None:
    model, graph, x, target = made(name)
    near = trained(model, graph, x, target, steps=4)
    request.getfixturevalue("accelerator")
    far = read(name)
    assert far.loss == pytest.approx(near.loss, rel=1e-5)
    assert far.gradient_norm == pytest.approx(near.gradient_norm, rel=1e-5)
    for one, other in zip((*far.activations, *far.parameters), (*near.activations, *near.parameters), strict=True):
        for field in dataclasses.fields(one):
            left, right = getattr(one, field.name), getattr(other, field.name)
            if isinstance(left, tuple) and len(left) == 4:  # a series
                assert [value is None for value in left] == [value is None for value in right], field.name
                pairs = [pair for pair in zip(left, right, strict=True) if None not in pair]
                assert [a for a, _ in pairs] == pytest.approx([b for _, b in pairs], rel=1e-4, abs=1e-7), field.name


@pytest.mark.usefixtures("accelerator")
def test_a_large_parameter_is_read_without_looking() -> None:
    wide = nn.Linear(300, 200)
    with Instruments(wide, torch.optim.SGD(wide.parameters(), 0.1, foreach=True)) as instruments:
        for index in range(2):
            with NoLooking(), NoLookingKernels(), instruments.step(index):
                loss = wide(torch.randn(8, 300)).square().mean()
                loss.backward()
                instruments.read_gradients(loss)
    assert instruments.collect().parameters[0].sampled_count is not None


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(
    "look",
    [lambda loss: loss.item(), lambda loss: bool(loss > 0), lambda loss: loss.cpu(), lambda loss: (loss > 0).nonzero()],
)
def test_looking_would_be_seen(look: Any) -> None:
    with pytest.raises(WaitedError):
        read("functional", look=look)


def test_on_a_cpu_the_instruments_do_look() -> None:
    """So that a device for which they must not is told apart."""
    with pytest.raises(WaitedError):
        read("functional")
