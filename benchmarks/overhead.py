"""What do the instruments cost? `python -m benchmarks.overhead` writes overhead.md. Needs torch; wandb, tensorboard and torchmortem where they are installed.

Two copies of a network train side by side in one process and on one thread, one bare and one instrumented: a pair is a step (or ten) of each, next to each
other in time, in turn one before the other. A figure is the median of the pairs' quotients of CPU time; wall time stands beside it. `--only TEXT` keeps the
networks whose name holds the text and writes no file, `--pairs N` sets how many.
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

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.overhead_networks import CASES, Case
from trainaudit.load.torch.from_torch import load_module
from trainaudit.probe.instruments import Instruments

Step = Callable[[nn.Module, Any, Tensor, Tensor, int], None]
SAMPLED, UNSAMPLED = 0, 11
"""Indices of a step that the instruments read and of one that they only guard."""
GUARD_LIMIT = (1.05, 1.02)
"""Of the default sampling: required, aim."""


@dataclass(frozen=True)
class Way:
    """A way of watching training. `start` gives the step to run; `steps` are made at once in each half of a pair."""

    name: str
    start: Callable[[nn.Module, Any, Tensor], Any]
    ours: bool = False
    steps: int = 1
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


def instrumented(index: Callable[[int], int], *, is_last: bool = False) -> Callable[[nn.Module, Any, Tensor], Any]:
    @contextmanager
    def start(model: nn.Module, optimizer: Any, x: Tensor) -> Iterator[Step]:
        with Instruments(model, optimizer, load_module(model, x, name="model")) as instruments:

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
    Way("trainaudit, a step that is not sampled", instrumented(lambda _: UNSAMPLED), ours=True),
    Way("trainaudit, every 10th step", instrumented(lambda number: number + 10), ours=True, steps=10),
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
    cpu: list[float] = []
    wall: list[float] = []
    alone: list[float] = []
    with way.start(models[1], optimizers[1], x) as step:
        number = 0

        def timed(place: int) -> tuple[float, float]:
            run = step if place else plain
            began, process = time.perf_counter(), time.process_time()
            for offset in range(way.steps):
                run(models[place], optimizers[place], x, target, number + offset)
            return time.process_time() - process, time.perf_counter() - began

        for pair in range(-2, pairs):  # two to warm up
            halves = {place: timed(place) for place in ((0, 1) if pair % 2 else (1, 0))}
            number += way.steps
            if pair >= 0:
                cpu.append(halves[1][0] / halves[0][0])
                wall.append(halves[1][1] / halves[0][1])
                alone.append(1000 * halves[0][0] / way.steps)
    quarters = statistics.quantiles(cpu, n=4)
    return Measured(
        way,
        statistics.median(cpu),
        statistics.median(wall),
        (quarters[0], quarters[2]),
        statistics.median(alone),
        pairs,
    )


def _required(way: Way, case: Case) -> str:
    if way.name == WAYS[1].name:
        return f"≤ {case.limit:.2f} (aim {case.aim:.2f})"
    return f"≤ {GUARD_LIMIT[0]:.2f} (aim {GUARD_LIMIT[1]:.2f})" if way.name == WAYS[4].name else ""


def _limit(way: Way, case: Case) -> float | None:
    return case.limit if way.name == WAYS[1].name else GUARD_LIMIT[0] if way.name == WAYS[4].name else None


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
        limit = _limit(row.way, case)
        verdict = "" if limit is None else f" {_required(row.way, case)}: {'holds' if row.cpu <= limit else 'MISSED'}"
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
(cross-entropy, AdamW), one bare and one instrumented, a step of each next to each other in time. The figures are medians of the pairs' quotients; "bare against
bare" says how far they can be trusted (load average {load:.1f} on {cores} cores: what else runs competes for caches and memory). A sampled step has
activations and their gradients, norms of weights, gradients and updates;
"in detail" adds histograms, effective ranks, underflow and the largest gradients (the first, every tenth sampled step and the last). wandb.watch, TensorBoard and torchmortem as their users call them,
at every step.
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
            pairs = chosen.pairs or case.pairs
            rows.append(measure(way, case, max(pairs // 4, 2) if way.steps > 1 else pairs))
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
