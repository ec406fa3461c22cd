"""What the rules say about healthy and about faulty networks.

    python -m benchmarks.calibration healthy            the corpus, each network exported four ways, fresh and trained: healthy.md
    python -m benchmarks.calibration mutations [NAME]   one fault at a time put into healthy networks: mutations.md (with NAME: only prints)
    python -m benchmarks.calibration faulty FOLDER      a folder with cases.json and onnx/<id>__faulty.onnx, __fixed.onnx: faulty.md
    python -m benchmarks.calibration rules FOLDER       precision and recall of every rule over all of that: all four tables

`benchmarks.exports` says where the corpus' files lie. Needs torch, transformers and onnxscript.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import faulty, healthy, mutations, rule_scores

HERE = Path(__file__).parent


def main() -> None:
    command, *arguments = sys.argv[1:] or [""]
    if command == "healthy" and not arguments:
        _healthy()
    elif command == "mutations" and len(arguments) <= 1:
        _mutations(*arguments)
    elif command == "faulty" and len(arguments) == 1:
        _faulty(Path(arguments[0]))
    elif command == "rules" and len(arguments) == 1:
        scores = rule_scores.scores(_mutations(), _faulty(Path(arguments[0])), _healthy())
        _write("rules", "Precision and recall of every rule", "rules FOLDER", rule_scores.table(scores))
    else:
        raise SystemExit(__doc__)


def _healthy() -> list[healthy.Healthy]:
    rows = list(healthy.audits())
    _write("healthy", "Healthy networks", "healthy", healthy.table(rows))
    return rows


def _mutations(wanted: str = "") -> list[mutations.Tried]:
    rows = list(mutations.run(wanted))
    if not wanted:
        _write("mutations", "Mutations of healthy networks", "mutations", mutations.table(rows))
    return rows


def _faulty(folder: Path) -> list[faulty.Case]:
    rows = list(faulty.cases(folder))
    _write("faulty", "Faulty networks and their repairs", "faulty FOLDER", faulty.table(rows))
    return rows


def _write(name: str, title: str, command: str, lines: list[str]) -> None:
    head = [f"# {title}", "", f"Made by `python -m benchmarks.calibration {command}`.", ""]
    (HERE / f"{name}.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
