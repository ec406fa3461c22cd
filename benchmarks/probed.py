"""What a probe says about networks with a known fault, about their repairs, and about healthy networks.

    python -m benchmarks.probed faults FOLDER     a folder with cases.json and py/<id>__faulty.py, __fixed.py: probed_faults.md
    python -m benchmarks.probed seeded            the 21 seeded faults of benchmarks/untrainable.py, trained: probed_seeded.md
    python -m benchmarks.probed healthy [NAME…]   the corpus of healthy networks on synthetic data: probed_healthy.md

`--jobs N` (1) probes N networks at a time, `--budget S` (20) gives each S seconds. Each probe is a process of its own with one thread.
`--keep FOLDER` keeps facts and traces there, and judges those that it finds again: for work on rules. Needs torch.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import probed_faults, probed_healthy, probed_seeded
from trainaudit.auditing import Measured, chosen_rules, judge_measured
from trainaudit.errors import TrainauditError
from trainaudit.facts_file import read_facts, write_facts
from trainaudit.measure.dynamic.measuring import measure_trace
from trainaudit.result import Audit
from trainaudit.settings import Settings
from trainaudit.trace.trace_file import read_trace, write_trace

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe: what was probed, and its audit or the sentence that says why there is none."""

    key: str
    audit: Audit | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one of these benchmarks probes what a key stands for, and measures it without running it."""

    probe: Callable[[str, float], Audit]
    measure: Callable[[str], tuple[Measured, Settings]]


FAULTS = Kind(probed_faults.probe, probed_faults.measure)
SEEDED = Kind(probed_seeded.probe, probed_seeded.measure)
HEALTHY = Kind(probed_healthy.probe, probed_healthy.measure)


def _one(key: str, kind: Kind, budget: float, keep: Path | None) -> Probed:
    import torch

    torch.set_num_threads(1)
    try:
        if keep is None:
            return Probed(key, kind.probe(key, budget))
        facts, trace = (keep / f"{Path(key).name}.{suffix}.json" for suffix in ("facts", "trace"))
        if not trace.exists():
            audit = kind.probe(key, budget)
            assert audit.trace is not None
            facts.write_text(write_facts(kind.measure(key)[0]), encoding="utf-8")
            trace.write_text(write_trace(audit.trace, key), encoding="utf-8")
        return Probed(key, _judged(facts, trace, kind.measure(key)[1]))
    except TrainauditError as error:
        return Probed(key, None, str(error))


def _judged(facts: Path, trace: Path, settings: Settings) -> Audit:
    seen = read_trace(trace.read_text(encoding="utf-8"), trace.name)
    measured = read_facts(facts.read_text(encoding="utf-8"), facts.name)
    measured = replace(measured, trace=seen, table=measure_trace(seen, measured.table))
    return judge_measured(measured, settings, chosen_rules(settings), detail=True).audit


def probes(keys: Iterable[str], kind: Kind, *, jobs: int, budget: float, keep: Path | None) -> Iterator[Probed]:
    """Each key probed in a process of its own, in order; each is printed as it comes."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        for future in [pool.submit(_one, key, kind, budget, keep) for key in keys]:
            one = future.result()
            rules = [] if one.audit is None else probed_faults.loud(one.audit)
            print(f"{one.key}: {one.failure or ', '.join(rules) or 'quiet'}", flush=True)
            yield one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--keep", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("faults").add_argument("folder", type=Path)
    commands.add_parser("seeded")
    commands.add_parser("healthy").add_argument("names", nargs="*")
    given = parser.parse_args()
    how = {"jobs": given.jobs, "budget": given.budget, "keep": given.keep}
    if given.command == "faults":
        keys = probed_faults.keys(given.folder)
        lines = probed_faults.table(given.folder, {one.key: one for one in probes(keys, FAULTS, **how)})
        _write("faults", "Faulty networks and their repairs, probed", "faults FOLDER", given.budget, lines)
    elif given.command == "seeded":
        lines = probed_seeded.table({one.key: one for one in probes(probed_seeded.KEYS, SEEDED, **how)})
        _write("seeded", "Networks that do not train, probed", "seeded", given.budget, lines)
    else:
        names = given.names or probed_healthy.NAMES
        lines = probed_healthy.table(list(probes(names, HEALTHY, **how)))
        if given.names:
            print("\n".join(lines))
        else:
            _write("healthy", "Healthy networks, probed", "healthy", given.budget, lines)


def _write(name: str, title: str, command: str, budget: float, lines: list[str]) -> None:
    head = [f"# {title}", "", f"Made by `python -m benchmarks.probed --budget {budget:g} {command}`.", ""]
    (HERE / f"probed_{name}.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
