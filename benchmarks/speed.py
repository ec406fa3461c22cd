"""Whole-process time and memory against onnx itself, in alternating pairs of one run; writes benchmarks/speed.md.

    python -m benchmarks.speed [--folder DIR] [--pairs N] [NAME ...]

Each figure is the median over pairs that ran directly after one another, warm (one uncounted round first); ratios are medians of the
pairs' own ratios, because machines are noisy and shared. Wall time is what a user waits; processor time (user and system, of all
threads) is the fairer figure where other programs run at the same time. Peak memory is the largest resident set that the kernel
saw, private memory its anonymous part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models import MODELS

TABLE = Path(__file__).with_name("speed.md")
LOAD = "import onnx; onnx.load({!r})"
CHECK = "import onnx; onnx.checker.check_model(onnx.load({!r}))"
CHECK_EXTERNAL = "import onnx; onnx.checker.check_model({!r})"
"""A loaded model past 2 GB cannot be checked; by its path it can, weights unread."""
CALLS = """import cProfile, pstats
from trainaudit.auditing import audit_file, chosen_rules
from trainaudit.settings import Settings
rules, profile = chosen_rules(Settings()), cProfile.Profile()
profile.runcall(audit_file, {!r}, Settings(), rules, detail=False)
print(pstats.Stats(profile).total_calls)"""
STAGES = {
    # what a stage is called: where the function stands that does it
    "reading the file into nodes": "trainaudit.load.from_onnx.read_raw_graph",
    "shapes and types": "trainaudit.load.from_onnx.infer_shapes",
    "canonicalisation: patterns, layers, names": "trainaudit.load.from_onnx.canonicalize",
    "index": "trainaudit.measure.measuring.build_index",
    "facts of the structure": "trainaudit.measure.measuring.measure_structure",
    "facts of the weights": "trainaudit.measure.measuring.measure_weights",
    "ranges of values": "trainaudit.measure.measuring.measure_singularities",
    "signal propagation": "trainaudit.measure.measuring.measure_signal",
    "judging": "trainaudit.auditing.judge",
}
STAGED = """import importlib, json, sys, time
stages, path = json.loads(sys.argv[1]), sys.argv[2]
from trainaudit.auditing import audit_file, chosen_rules
from trainaudit.settings import Settings
import gc
gc.set_threshold(1_000_000, 20, 100)  # as the program does
rules, spent = chosen_rules(Settings()), dict.fromkeys(stages, 0.0)
def timed(stage, function):
    def run(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[stage] += time.perf_counter() - start
    return run
for stage, place in stages.items():
    module, _, name = place.rpartition(".")
    module = importlib.import_module(module)
    setattr(module, name, timed(stage, getattr(module, name)))
start = time.perf_counter()
audit_file(path, Settings(), rules, detail=False)
print(json.dumps({**spent, "all": time.perf_counter() - start}))"""
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An installed package has its bytecode compiled; a checkout gets it in the uncounted round."""
REQUIRED = {
    # model: (reference, required ratio, aim); the reference is "load" or "check"
    "resnet50": ("check", 1.0, "0.85 of load"),
    "bert_base": ("check", 1.0, "0.85 of load"),
    "nodes_20k": ("load", 3.0, "2 of load"),
    "external_4gb": ("load", 1.0, "0.75 of load"),
}


@dataclass(frozen=True, slots=True)
class Usage:
    wall: float
    """Seconds."""
    processor: float
    """Seconds, user and system."""
    peak: float
    """MiB."""
    private: float
    """MiB, anonymous memory at its largest, sampled every 10 ms."""


def run(command: list[str]) -> Usage:
    """One whole process, its output thrown away. Exit codes 0 and 1 are fine."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
    private = [0.0]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            for line in status.splitlines():
                if line.startswith("RssAnon"):
                    private[0] = max(private[0], int(line.split()[1]) / 1024)

    thread = threading.Thread(target=sample)
    thread.start()
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    done.set()
    thread.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1) or b"Traceback" in errors:
        raise RuntimeError(f"{command}: exit code {process.returncode}: {errors.decode()[-500:]}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, private[0])


def build(folder: Path, name: str) -> Path:
    """The model's file, built by another process where it is not there: a child's peak memory counts that of the parent it was forked from."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        subprocess.run(
            [sys.executable, "-m", "benchmarks.models", str(folder), name], check=True, stdout=subprocess.DEVNULL
        )
    return path


def compare(path: Path, pairs: int) -> dict[str, list[Usage]]:
    commands = {
        "trainaudit": [sys.executable, "-m", "trainaudit", str(path), "--isolated"],
        "load": [sys.executable, "-c", LOAD.format(str(path))],
        "check": [sys.executable, "-c", (CHECK_EXTERNAL if _data(path).exists() else CHECK).format(str(path))],
    }
    usages: dict[str, list[Usage]] = {name: [] for name in commands}
    for turn in range(pairs + 1):
        for name, command in commands.items():
            usage = run(command)
            if turn:
                usages[name].append(usage)
    return usages


def _data(path: Path) -> Path:
    return path.with_suffix(".onnx.data")


def _row(name: str, path: Path, usages: dict[str, list[Usage]]) -> str:
    def median(of: str, field: str) -> float:
        return statistics.median(getattr(usage, field) for usage in usages[of])

    def ratio(of: str, field: str) -> float:
        pairs = zip(usages["trainaudit"], usages[of], strict=True)
        return statistics.median(getattr(ours, field) / getattr(theirs, field) for ours, theirs in pairs)

    def ratios(of: str) -> str:
        return f"{ratio(of, 'wall'):.2f} / {ratio(of, 'processor'):.2f}"

    def times(of: str) -> str:
        return f"{median(of, 'wall') * 1e3:,.0f} / {median(of, 'processor') * 1e3:,.0f}"

    data = _data(path)
    size = (path.stat().st_size + (data.stat().st_size if data.exists() else 0)) / 1e6
    reference, required, aim = REQUIRED.get(name, ("", 0.0, ""))
    verdict = ""
    if reference:
        met = sum(ratio(reference, field) <= required for field in ("wall", "processor"))
        held = ("MISSED", "holds by one of wall and processor time", "holds")[met]
        verdict = f"≤ {required:g} of {reference} (aim {aim}): {held}"
    return (
        f"| {name} | {size:,.1f} | {times('trainaudit')} | {times('load')} | {times('check')} | {ratios('load')} | {ratios('check')} "
        f"| {median('trainaudit', 'peak'):,.0f} / {median('load', 'peak'):,.0f} | {median('trainaudit', 'private'):,.0f} | {verdict} |"
    )


def _calls(folder: Path) -> list[str]:
    """How many function calls an audit makes by the number of nodes: a count that no other program on the machine changes."""
    lines = [
        "",
        "## Function calls of an audit, by nodes",
        "",
        "Counted by cProfile in one process, so that they are the same on every machine. Seconds per node grow a little faster, because more",
        "nodes than a few thousand do not fit in a processor's caches.",
        "",
        "| model | nodes | calls | calls per node | peak MiB per 1,000 nodes beyond the first 1,000 |",
        "|---|---|---|---|---|",
    ]
    base = None
    for name in ("nodes_1k", "nodes_5k", "nodes_20k", "nodes_80k"):
        path = build(folder, name)
        nodes = int(name.removeprefix("nodes_").removesuffix("k")) * 1000
        counted = subprocess.run(
            [sys.executable, "-c", CALLS.format(str(path))], capture_output=True, text=True, check=True, env=ENVIRONMENT
        )
        count = int(counted.stdout)
        peak = run([sys.executable, "-m", "trainaudit", str(path), "--isolated"]).peak
        base = base or (nodes, peak)
        growth = f"{(peak - base[1]) / (nodes - base[0]) * 1e3:.2f}" if nodes > base[0] else ""
        lines.append(f"| {name} | {nodes:,} | {count:,} | {count / nodes:.0f} | {growth} |")
        print(lines[-1], flush=True)
    return lines


def _stages(folder: Path, runs: int) -> list[str]:
    """What the stages of an audit of 20,000 nodes take, and what they take for 1,000: the difference is what nodes cost."""

    def seconds(name: str) -> dict[str, float]:
        command = [sys.executable, "-c", STAGED, json.dumps(STAGES), str(build(folder, name))]
        made = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout)
            for _ in range(runs)
        ]
        return {stage: statistics.median(one[stage] for one in made) for stage in made[0]}

    small, large = seconds("nodes_1k"), seconds("nodes_20k")
    lines = [
        "",
        "## Stages of an audit of 20,000 nodes",
        "",
        f"In processes of their own, medians of {runs}, milliseconds beyond the start of the program (imports and rules).",
        "",
        "| stage | 1,000 nodes | 20,000 nodes | µs a node |",
        "|---|---|---|---|",
    ]
    for stage, most in large.items():
        each = (most - small[stage]) / 19_000 * 1e6
        lines.append(f"| {stage} | {small[stage] * 1e3:.0f} | {most * 1e3:.0f} | {each:.1f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "trainaudit-benchmark")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--note", default="", help="A sentence about the machine, for the table.")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    note = f" {options.note}" if options.note else ""
    lines = [
        "# Speed and memory, whole process",
        "",
        f"Made by `python -m benchmarks.speed`, {options.pairs} pairs, warm. Milliseconds are medians of this machine, wall / processor; read the "
        f"ratios, which are wall / processor too.{note}",
        "",
        "| model | MB | trainaudit ms | onnx.load ms | load + checker ms | ratio to load | ratio to load + checker "
        "| peak MiB ours / load | private MiB | required |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in options.names or MODELS:
        path = build(options.folder, name)
        row = _row(name, path, compare(path, options.pairs))
        print(row, flush=True)
        lines.append(row)
    if not options.names:
        lines += _calls(options.folder)
        lines += _stages(options.folder, options.pairs)
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
