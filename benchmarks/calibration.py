"""What the rules say about healthy and about faulty networks.

    python -m benchmarks.calibration healthy            the corpus, each network exported four ways, fresh and trained: healthy.md
    python -m benchmarks.calibration faulty FOLDER      a folder with cases.json and onnx/<id>__faulty.onnx, __fixed.onnx: faulty.md
    python -m benchmarks.calibration rules FOLDER       precision and recall of every rule over all that is there: rules.md

`benchmarks.exports` says where the corpus' files lie. Needs torch, transformers and onnxscript.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import faulty, healthy, rule_scores

HERE = Path(__file__).parent


def main() -> None:
    command, *arguments = sys.argv[1:] or [""]
    if command == "healthy" and not arguments:
        title, lines = "Healthy networks", healthy.table(list(healthy.audits()))
    elif command == "faulty" and len(arguments) == 1:
        title, lines = "Faulty networks and their repairs", faulty.table(list(faulty.cases(Path(arguments[0]))))
    elif command == "rules" and len(arguments) == 1:
        title, lines = "Precision and recall of every rule", rule_scores.table(rule_scores.scores(Path(arguments[0])))
    else:
        raise SystemExit(__doc__)
    invocation = f"python -m benchmarks.calibration {command}{' FOLDER' if arguments else ''}"
    head = [f"# {title}", "", f"Made by `{invocation}`.", ""]
    (HERE / f"{command}.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
