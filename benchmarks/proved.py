"""How far the tool's own fixes mend what it finds.

    python -m benchmarks.proved faults FOLDER     a folder with cases.json and py/<id>__faulty.py, __fixed.py: proved_faults.md

`--jobs N` (1) takes N cases at a time, `--budget S` (300) gives each probe S seconds with its proofs; `--only ID…` prints the table of some cases and writes
nothing. `--keep FOLDER` keeps the metrics of trained variants there, and takes those that it finds; `--baselines` trains the faulty and the repaired variants alone. Each case is a process of its own with one thread. Needs torch.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import proved_faults
from benchmarks.proved_faults import Mended

HERE = Path(__file__).parent


def _one(folder: Path, case: dict[str, Any], budget: float, keep: Path | None, is_baseline: bool) -> Mended:
    import torch

    torch.set_num_threads(1)
    if is_baseline:
        faulty, repaired = proved_faults.baselines(folder, case, keep)
        return Mended(case, faulty=faulty[0], repaired=repaired[0], metric=repaired[1])
    return proved_faults.run(folder, case, budget, keep)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget", type=float, default=300.0)
    commands = parser.add_subparsers(dest="command", required=True)
    faults = commands.add_parser("faults")
    faults.add_argument("folder", type=Path)
    faults.add_argument("--only", nargs="*", default=[])
    faults.add_argument("--keep", type=Path)
    faults.add_argument("--baselines", action="store_true")
    given = parser.parse_args()
    cases = [case for case in proved_faults.cases(given.folder) if not given.only or case["id"] in given.only]
    found: list[Mended] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        rest = given.budget, given.keep, given.baselines
        for future in [pool.submit(_one, given.folder, case, *rest) for case in cases]:
            found.append(future.result())
            print(proved_faults.table(found[-1:])[6], flush=True)
    lines = proved_faults.table(found)
    if given.only or given.baselines:
        print("\n".join(lines))
        return
    head = [
        "# Faulty networks, mended by the tool's own fixes",
        "",
        f"Made by `python -m benchmarks.proved --budget {given.budget:g} faults FOLDER`.",
        "",
    ]
    (HERE / "proved_faults.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
