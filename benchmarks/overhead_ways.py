"""The ways of watching training that `benchmarks.overhead` compares. Needs torch; each peer is imported where it is used."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from trainaudit.ir.graph import Graph
from trainaudit.load.torch.from_torch import load_module
from trainaudit.probe.instruments import Instruments

Step = Callable[[nn.Module, Any, Tensor, Tensor, int], None]
SAMPLED, UNSAMPLED = 0, 11
"""Indices of a step that the instruments read and of one that they only guard."""
RUNS = 10
"""Of ten steps with the default sampling: in one of them the sampled step is read in detail."""


@dataclass(frozen=True)
class Way:
    """A way of watching training. `start` gives the step to run; a pair is so many `steps` with it and as many without. `runs` stands for the number of
    pairs where it is given."""

    name: str
    start: Callable[[nn.Module, Any, Tensor], Any]
    ours: bool = False
    steps: int = 1
    runs: int | None = None
    package: str = ""


def plain(model: nn.Module, optimizer: Any, x: Tensor, target: Tensor, _index: int) -> Tensor:
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x), target)
    loss.backward()
    optimizer.step()
    return loss.detach()


GRAPHS: dict[str, Graph] = {}


def graph_of(model: nn.Module, x: Tensor) -> Graph:
    """Made once for each network."""
    key = str(model)
    if key not in GRAPHS:
        GRAPHS[key] = load_module(model, x, name="model")
    return GRAPHS[key]


def instrumented(index: Callable[[int], int], *, is_last: bool = False) -> Callable[[nn.Module, Any, Tensor], Any]:
    @contextmanager
    def start(model: nn.Module, optimizer: Any, x: Tensor) -> Iterator[Step]:
        with Instruments(model, optimizer, graph_of(model, x)) as instruments:

            def step(model: nn.Module, optimizer: Any, x: Tensor, target: Tensor, number: int) -> None:
                with instruments.step(index(number), last=is_last):
                    optimizer.zero_grad()
                    loss = functional.cross_entropy(model(x), target)
                    loss.backward()
                    instruments.read_gradients(loss)
                    optimizer.step()

            yield step
            instruments.collect()

    return start


@contextmanager
def bare(_model: nn.Module, _optimizer: Any, _x: Tensor) -> Iterator[Step]:
    yield plain


@contextmanager
def naive_hooks(model: nn.Module, _optimizer: Any, _x: Tensor) -> Iterator[Step]:
    """What one writes first: mean, std, zeros and norm of each leaf module's output and gradient, and norms of weights and gradients, with .item()."""
    seen: list[float] = []

    def read(tensor: Tensor) -> None:
        tensor = tensor.detach()
        seen[:] = (tensor.mean().item(), tensor.std().item(), (tensor == 0).float().mean().item(), tensor.norm().item())

    def forward_hook(_part: nn.Module, _inputs: Any, output: Any) -> None:
        read(output)
        if output.requires_grad:  # not a full backward hook: torch refuses those where a later layer works in place
            output.register_hook(read)

    handles = [part.register_forward_hook(forward_hook) for part in model.modules() if not list(part.children())]

    def step(model: nn.Module, optimizer: Any, x: Tensor, target: Tensor, index: int) -> None:
        plain(model, optimizer, x, target, index)
        seen[:] = [
            value for item in model.parameters() for value in (item.detach().norm().item(), item.grad.norm().item())
        ]

    yield step
    for handle in handles:
        handle.remove()


@contextmanager
def wandb_watch(model: nn.Module, _optimizer: Any, _x: Tensor) -> Iterator[Step]:
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(mode="offline", dir=folder, settings=wandb.Settings(silent=True))
        run.watch(model, log="all", log_freq=1)

        def step(model: nn.Module, optimizer: Any, x: Tensor, target: Tensor, index: int) -> None:
            run.log({"loss": plain(model, optimizer, x, target, index).item()})

        yield step
        run.unwatch(model)
        run.finish()


@contextmanager
def tensorboard(_model: nn.Module, _optimizer: Any, _x: Tensor) -> Iterator[Step]:
    """Histograms of weights and gradients at every step."""
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:

        def step(model: nn.Module, optimizer: Any, x: Tensor, target: Tensor, index: int) -> None:
            writer.add_scalar("loss", plain(model, optimizer, x, target, index).item(), index)
            for name, item in model.named_parameters():
                writer.add_histogram(name, item.detach(), index)
                writer.add_histogram(f"{name}.grad", item.grad, index)

        yield step


@contextmanager
def torchmortem(model: nn.Module, optimizer: Any, _x: Tensor) -> Iterator[Step]:
    from torchmortem import Autopsy

    logging.getLogger("torchmortem").setLevel(logging.ERROR)
    autopsy = Autopsy(model, optimizer=optimizer)
    autopsy.attach()

    def step(model: nn.Module, optimizer: Any, x: Tensor, target: Tensor, index: int) -> None:
        autopsy.step(loss=plain(model, optimizer, x, target, index).item())

    yield step
    autopsy.detach()


WAYS = (
    Way("bare against bare", bare),
    Way("trainaudit, a sampled step", instrumented(lambda _: SAMPLED), ours=True),
    Way("trainaudit, a sampled step in detail", instrumented(lambda _: SAMPLED, is_last=True), ours=True),
    Way(
        "trainaudit, ten sampled steps, one of them in detail",
        instrumented(lambda _: SAMPLED),
        ours=True,
        steps=10,
        runs=8,
    ),
    Way("trainaudit, a step that is not sampled", instrumented(lambda _: UNSAMPLED), ours=True),
    Way("trainaudit, every 10th step", instrumented(lambda number: number + 10), ours=True, steps=10, runs=RUNS),
    Way("naive hooks with .item()", naive_hooks),
    Way('wandb.watch(log="all", log_freq=1)', wandb_watch, package="wandb"),
    Way("TensorBoard histograms of weights and gradients", tensorboard, package="tensorboard"),
    Way("torchmortem, its default sampling", torchmortem, package="torchmortem"),
)
