"""What do the instruments cost? `python -m benchmarks.overhead` writes overhead.md. Needs torch; wandb, tensorboard and torchmortem where they are installed.

Two copies of a network train side by side in one process and on one thread, one bare and one instrumented, a step of each next to each other in time, in
turn one before the other. Of single steps a figure is the median of the pairs' quotients of CPU time; of runs of ten steps it is the mean over the ten
of the medians over the runs. `--only TEXT` keeps the networks whose name holds the text, `--way TEXT` the rows; both write no file. `--pairs N` sets how many pairs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.overhead_networks import CASES, Case
from benchmarks.overhead_ways import RUNS, WAYS, Way, plain

GUARD_LIMIT = (1.05, 1.02)
"""Of the default sampling: required, aim."""


@dataclass(frozen=True)
class Measured:
    way: Way
    cpu: float
    wall: float
    spread: tuple[float, float]
    milliseconds: float
    pairs: int
    missing: str = ""


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
    """Of each pair and each of its steps ((CPU, wall) without, (CPU, wall) with), seconds."""
    with way.start(models[1], optimizers[1], x) as step:
        number = 0

        def timed(place: int) -> Any:
            run = step if place else plain
            began, process = time.perf_counter(), time.process_time()
            run(models[place], optimizers[place], x, target, number)
            return np.array((time.process_time() - process, time.perf_counter() - began))

        for pair in range(-2 if way.steps == 1 else -1, pairs):  # the first to warm up
            times = np.zeros((way.steps, 2, 2))
            for step_times in times:
                for place in (0, 1) if number % 2 else (1, 0):
                    step_times[place] = timed(place)
                number += 1
            if pair >= 0:
                taken.append(times)
    found = np.array(taken)  # (pairs, steps, without and with, CPU and wall)
    cpu, wall = np.median(found[:, :, 1] / found[:, :, 0], 0).mean(0)
    runs = found.sum(1)
    low, high = np.quantile(runs[:, 1, 0] / runs[:, 0, 0], (0.25, 0.75))
    alone = 1000 * float(np.median(found[:, :, 0, 0]))
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
quotients, of runs of ten steps the mean over the ten of the medians over the runs; "bare against bare" says how far they can be trusted (load average
{load:.1f} on {cores} cores: what else runs competes for caches and memory). A sampled step has all activations, the gradients of what weighted layers give, norms of
weights, gradients and updates; "in detail" adds those of all other layers, histograms, effective ranks, underflow and the largest gradients (the first, every
tenth sampled step and the last).
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
