"""A ResNet-18 probed on real data, scikit-learn's handwritten digits, as a user would do it.

    python -m benchmarks.digits [--threads 2] [--budget 60] [--note SENTENCE]     writes digits.md

Needs torch and scikit-learn. The whole process is timed: reading the model, the static audit, and the probe within its time budget.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

HERE = Path(__file__).parent
SIZE = 64


def data() -> tuple[Tensor, Tensor]:
    """1,797 digits of 8 × 8, resized to 64 × 64 in three equal channels and normalized."""
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None]
    images = torch.nn.functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear")
    return ((images - images.mean()) / images.std()).expand(-1, 3, -1, -1).contiguous(), torch.tensor(digits.target)


def run(threads: int, budget: float) -> tuple[dict[str, Any], float, float]:
    """The audit's record, seconds on the clock and seconds of processor time."""
    command = [
        sys.executable,
        "-m",
        "trainaudit",
        "probe",
        f"{HERE / 'overhead_networks.py'}:resnet18",
        "--data",
        f"{HERE / 'digits.py'}:data",
    ]
    command += [
        "--optimizer",
        "adam",
        "--lr",
        "1e-3",
        "--time-budget",
        str(budget),
        "--output-format",
        "json",
        "--exit-zero",
    ]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout), seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(record: dict[str, Any], seconds: float, processor: float, threads: int, note: str) -> list[str]:
    audit = record["audits"][0]
    trace = audit["trace"]
    losses, settings = trace["run"]["loss"], trace["settings"]
    lines = [
        "# A ResNet-18 on real data",
        "",
        f"Made by `python -m benchmarks.digits`: a ResNet-18 with 11.2 million parameters on scikit-learn's digits, resized to {SIZE} × {SIZE}, Adam with "
        f"a rate of 0.001, a time budget of {settings['time_budget']:g} s, {threads} thread{'s' if threads > 1 else ''}.{' ' + note if note else ''}",
        "",
        f"- whole process: {seconds:.0f} s on the clock, {processor:.0f} s of processor time",
        f"- training run: {len(losses)} of {settings['steps']} steps of {settings['batch_size']} examples, loss {losses[0]:.3g} → {losses[-1]:.3g}; "
        f"it ended by: {trace['stopped']}",
        f"- findings: {', '.join(sorted({found['rule'] for found in audit['findings']})) or 'none'}",
        *(f"- cut: {cut}" for cut in trace["cuts"]),
        "",
        "| experiment | state | seconds | what it gave |",
        "|---|---|---|---|",
    ]
    for name, found in trace["experiments"].items():
        given = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in found.get("values", {}).items()
        )
        lines.append(
            f"| {name} | {found['state']} | {found.get('seconds', 0.0):.1f} | {given or found.get('reason', '')} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--note", default="", help="A sentence about the machine, for the table.")
    options = parser.parse_args()
    lines = table(*run(options.threads, options.budget), options.threads, options.note)
    print("\n".join(lines))
    (HERE / "digits.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
