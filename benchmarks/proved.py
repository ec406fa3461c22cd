"""How far the tool's own fixes mend what it finds.

    python -m benchmarks.proved faults FOLDER     a folder with cases.json and py/<id>__faulty.py, __fixed.py: proved_faults.md

`--jobs N` (1) takes N cases at a time, `--budget S` (300) gives each probe S seconds with its proofs; `--only ID…` prints the table of some cases and writes
nothing. `--keep FOLDER` keeps what was found for each case there, and takes what it finds; `--kept` makes the table of that alone. Each case is a process of its own with one thread. Needs torch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import proved_faults
from benchmarks.proved_faults import Mended

HERE = Path(__file__).parent


def _one(folder: Path, case: dict[str, Any], budget: float, keep: Path | None) -> Mended:
    import torch

    torch.set_num_threads(1)
    try:
        return proved_faults.run(folder, case, budget, keep)
    except Exception as error:  # one case that breaks down is told in its row
        traceback.print_exc()
        return Mended(case, failure=f"{type(error).__name__}: {error}"[:200])


def _all(folder: Path, cases: list[dict[str, Any]], budget: float, keep: Path | None, jobs: int) -> Iterator[Mended]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        for future in [pool.submit(_one, folder, case, budget, keep) for case in cases]:
            one = future.result()
            print(proved_faults.row(one), flush=True)
            yield one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget", type=float, default=300.0)
    commands = parser.add_subparsers(dest="command", required=True)
    faults = commands.add_parser("faults")
    faults.add_argument("folder", type=Path)
    faults.add_argument("--only", nargs="*", default=[])
    faults.add_argument("--keep", type=Path)
    faults.add_argument("--kept", action="store_true")
    given = parser.parse_args()
    cases = [case for case in proved_faults.cases(given.folder) if not given.only or case["id"] in given.only]
    if given.kept:
        found = [one for case in cases if (one := proved_faults.kept(case, given.keep)) is not None]
    else:
        found = list(_all(given.folder, cases, given.budget, given.keep, given.jobs))
    lines = proved_faults.table(found)
    missing = len(cases) - len(found)
    if missing:
        lines = [
            f"Of the {len(cases)} cases so many are not in this table, since they were not run: {missing}.",
            "",
            *lines,
        ]
    if given.only:
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
