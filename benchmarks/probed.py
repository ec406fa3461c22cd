"""What a probe says about networks with a known fault, about their repairs, and about healthy networks.

    python -m benchmarks.probed faults FOLDER     a folder with cases.json and py/<id>__faulty.py, __fixed.py: probed_faults.md
    python -m benchmarks.probed seeded            the 21 seeded faults of benchmarks/untrainable.py, trained: probed_seeded.md
    python -m benchmarks.probed healthy [NAME…]   the corpus of healthy networks on synthetic data: probed_healthy.md

`--jobs N` (1) probes N networks at a time, `--budget S` (20) gives each S seconds. Each probe is a process of its own with one thread. Needs
torch.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks import probed_faults, probed_healthy, probed_seeded
from trainaudit.errors import TrainauditError
from trainaudit.result import Audit

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe: what was probed, and its audit or the sentence that says why there is none."""

    key: str
    audit: Audit | None
    failure: str = ""


def _one(key: str, probe: Callable[[str, float], Audit], budget: float) -> Probed:
    import torch

    torch.set_num_threads(1)
    try:
        return Probed(key, probe(key, budget))
    except TrainauditError as error:
        return Probed(key, None, str(error))


def probes(keys: Iterable[str], probe: Callable[[str, float], Audit], *, jobs: int, budget: float) -> Iterator[Probed]:
    """Each key probed in a process of its own, in order; each is printed as it comes."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        for future in [pool.submit(_one, key, probe, budget) for key in keys]:
            one = future.result()
            rules = [] if one.audit is None else [item.rule for item in one.audit.findings if item.severity != "note"]
            print(f"{one.key}: {one.failure or ', '.join(rules) or 'quiet'}", flush=True)
            yield one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget", type=float, default=20.0)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("faults").add_argument("folder", type=Path)
    commands.add_parser("seeded")
    commands.add_parser("healthy").add_argument("names", nargs="*")
    given = parser.parse_args()
    how = {"jobs": given.jobs, "budget": given.budget}
    if given.command == "faults":
        keys, probe = probed_faults.keys(given.folder), probed_faults.probe
        lines = probed_faults.table(given.folder, {one.key: one for one in probes(keys, probe, **how)})
        _write("faults", "Faulty networks and their repairs, probed", "faults FOLDER", given.budget, lines)
    elif given.command == "seeded":
        lines = probed_seeded.table({one.key: one for one in probes(probed_seeded.KEYS, probed_seeded.probe, **how)})
        _write("seeded", "Networks that do not train, probed", "seeded", given.budget, lines)
    else:
        names = given.names or probed_healthy.NAMES
        lines = probed_healthy.table(list(probes(names, probed_healthy.probe, **how)))
        if given.names:
            print("\n".join(lines))
        else:
            _write("healthy", "Healthy networks, probed", "healthy", given.budget, lines)


def _write(name: str, title: str, command: str, budget: float, lines: list[str]) -> None:
    head = [f"# {title}", "", f"Made by `python -m benchmarks.probed --budget {budget:g} {command}`.", ""]
    (HERE / f"probed_{name}.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
