"""What do the instruments cost? `python -m benchmarks.overhead` writes overhead.md. Needs torch; wandb, tensorboard and torchmortem where they are installed.

Two copies of a network train side by side in one process and on one thread, one bare and one instrumented, a step of each next to each other in time, in
turn one before the other. Of single steps a figure is the median of the pairs' quotients of CPU time; of runs of ten steps it is all the time with
instruments over all the time without. `--only TEXT` keeps the networks whose name holds the text, `--way TEXT` the rows; both write no file. `--pairs N` sets how many pairs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.overhead_networks import CASES, Case
from trainaudit.ir.graph import Graph
from trainaudit.load.torch.from_torch import load_module
from trainaudit.probe.instruments import Instruments

Step = Callable[[nn.Module, Any, Tensor, Tensor, int], None]
SAMPLED, UNSAMPLED = 0, 11
"""Indices of a step that the instruments read and of one that they only guard."""
RUNS = 10
"""Of ten steps with the default sampling: in one of them the sampled step is read in detail."""
GUARD_LIMIT = (1.05, 1.02)
"""Of the default sampling: required, aim."""


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


@dataclass(frozen=True)
class Measured:
    way: Way
    cpu: float
    wall: float
    spread: tuple[float, float]
    milliseconds: float
    pairs: int
    missing: str = ""


def plain(model: nn.Module, optimizer: Any, x: Tensor, target: Tensor, _index: int) -> Tensor:
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x), target)
    loss.backward()
    optimizer.step()
    return loss.detach()


# --- the ways ------------------------------------------------------------------------------------------------------------


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
        runs=4,
    ),
    Way("trainaudit, a step that is not sampled", instrumented(lambda _: UNSAMPLED), ours=True),
    Way("trainaudit, every 10th step", instrumented(lambda number: number + 10), ours=True, steps=10, runs=RUNS),
    Way("naive hooks with .item()", naive_hooks),
    Way('wandb.watch(log="all", log_freq=1)', wandb_watch, package="wandb"),
    Way("TensorBoard histograms of weights and gradients", tensorboard, package="tensorboard"),
    Way("torchmortem, its default sampling", torchmortem, package="torchmortem"),
)


# --- measuring -----------------------------------------------------------------------------------------------------------


def measure(way: Way, case: Case, pairs: int) -> Measured:
    """One way on one network, in pairs."""
    if way.package:
        try:
            importlib.metadata.version(way.package)
        except importlib.metadata.PackageNotFoundError:
            return Measured(way, 0, 0, (0, 0), 0, 0, missing=f"{way.package} is not installed")
    try:
        return _paired(way, case, pairs)
    except RuntimeError as error:
        return Measured(
            way, 0, 0, (0, 0), 0, 0, missing=f"it raises {type(error).__name__}: {str(error).splitlines()[0][:120]}"
        )


def _paired(way: Way, case: Case, pairs: int) -> Measured:
    torch.manual_seed(0)
    models = case.build(), case.build()
    optimizers = [torch.optim.AdamW(model.parameters()) for model in models]
    x, target = case.batch()
    taken: list[Any] = []
    """Of each pair ((CPU, wall) without, (CPU, wall) with), seconds."""
    with way.start(models[1], optimizers[1], x) as step:
        number = 0

        def timed(place: int) -> Any:
            run = step if place else plain
            began, process = time.perf_counter(), time.process_time()
            run(models[place], optimizers[place], x, target, number)
            return np.array((time.process_time() - process, time.perf_counter() - began))

        for pair in range(-2 if way.steps == 1 else -1, pairs):  # the first to warm up
            halves = np.zeros((2, 2))
            for _ in range(way.steps):
                for place in (0, 1) if number % 2 else (1, 0):
                    halves[place] += timed(place)
                number += 1
            if pair >= 0:
                taken.append(halves)
    times = np.array(taken)
    quotients = times[:, 1] / times[:, 0]
    cpu, wall = np.median(quotients, 0) if way.steps == 1 else times[:, 1].sum(0) / times[:, 0].sum(0)
    low, high = np.quantile(quotients[:, 0], (0.25, 0.75))
    alone = 1000 * float(np.median(times[:, 0, 0])) / way.steps
    return Measured(way, float(cpu), float(wall), (float(low), float(high)), alone, pairs)


def _limit(way: Way, case: Case) -> tuple[float, float] | None:
    """Required and aimed at."""
    if way.runs is None:
        return None
    return GUARD_LIMIT if way.runs == RUNS else (case.limit, case.aim)


def _verdict(figure: float, limit: tuple[float, float] | None) -> str:
    if limit is None:
        return ""
    required, aim = limit
    return f" ≤ {required:.2f} (aim {aim:.2f}): {'holds' if figure <= required else 'MISSED'}"


def table(name: str, case: Case, rows: list[Measured]) -> str:
    bare_step = statistics.median(row.milliseconds for row in rows if row.pairs)
    lines = [
        f"## {name}, {case.words} (a bare step: {bare_step:.0f} ms of CPU)", "",
        "| | instrumented / bare, CPU time | middle half of the pairs | wall time | pairs | required |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        if row.missing:
            lines.append(f"| {row.way.name} | not run: {row.missing} | | | | |")
            continue
        verdict = _verdict(row.cpu, _limit(row.way, case))
        shown = f"**{row.cpu:.3f}**" if row.way.ours else f"{row.cpu:.3f}"
        lines.append(
            f"| {row.way.name} | {shown} | {row.spread[0]:.3f}–{row.spread[1]:.3f} | {row.wall:.3f} | {row.pairs} × {row.way.steps} |{verdict} |"
        )
    device = (
        "a CUDA device is there, and this benchmark does not use it yet"
        if torch.cuda.is_available()
        else "no CUDA device"
    )
    lines.append(f"| on a GPU | not run: {device} | | | | ≤ 1.10 |")
    return "\n".join(lines)


HEAD = """# What the instruments cost

Made by `python -m benchmarks.overhead`: {machine}, torch {torch}, one thread; {packages}. Two copies of a network train side by side
(cross-entropy, AdamW), one bare and one instrumented, a step of each next to each other in time. Of single steps the figures are medians of the pairs'
quotients, of runs of ten steps all the time with instruments over all the time without; "bare against bare" says how far they can be trusted (load average
{load:.1f} on {cores} cores: what else runs competes for caches and memory). A sampled step has activations and their gradients, norms of weights, gradients
and updates; "in detail" adds histograms, effective ranks, underflow and the largest gradients (the first, every tenth sampled step and the last).
wandb.watch, TensorBoard and torchmortem as their users call them, at every step.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--way", default="")
    parser.add_argument("--pairs", type=int)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    parts = []
    for name, case in CASES.items():
        if chosen.only not in name:
            continue
        rows = []
        for way in WAYS:
            if chosen.way not in way.name:
                continue
            rows.append(measure(way, case, chosen.pairs or way.runs or case.pairs))
            print(f"{name:18} {way.name:48} {rows[-1].cpu:.3f} {rows[-1].missing}", flush=True)
        parts.append(table(name, case, rows))
        if not (chosen.only or chosen.way):
            Path(__file__).with_suffix(".md").write_text("\n\n".join([head(), *parts]) + "\n", encoding="utf-8")


def head() -> str:
    packages = [(name, version(name)) for name in ("wandb", "tensorboard", "torchmortem")]
    words = ", ".join(f"{name} {found}" for name, found in packages if found)
    return HEAD.format(
        machine=platform.machine(),
        torch=torch.__version__,
        packages=words or "none of the peers installed",
        load=os.getloadavg()[2],
        cores=os.cpu_count(),
    )


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
