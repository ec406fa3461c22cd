"""Every network of the corpus through torch and through both exporters of ONNX: is it the same graph, and what does the capture cost?

python -m benchmarks.captures [NAME ...]        prints a table; without names it covers the corpus and writes benchmarks/captures.md
python -m benchmarks.captures --hand-written   writes the table of the networks that are written out in the corpus, without transformers' configurations
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from pathlib import Path

import torch

import trainaudit
from benchmarks.exports import MODELS, exported
from tests.corpus.architectures import ARCHITECTURES
from tests.load.torch.comparing import DIFFERENT, findings_of, names_of, normal_lines
from trainaudit.load.from_onnx import load_onnx
from trainaudit.load.torch.from_torch import load_module

EXPORTERS = ("torchscript", "dynamo")
_HEAD = """# The same network through torch and through ONNX

Written by `python -m benchmarks.captures{option}`: {count} of the {all} networks of the corpus{which}. "same" compares layers, edges, parameters, attributes and shapes after the normalization that
`tests/load/torch/comparing.py` documents; findings are compared by rule and subject. Seconds are processor time of the capture
and translation.

| network | captured with | layers | seconds | torchscript: graph | findings | dynamo: graph | findings |
|---|---|---|---|---|---|---|---|
"""


def row(name: str) -> str:
    """One line of the table."""
    torch.manual_seed(0)
    model, example = MODELS[name]()
    stored = names_of(model)
    started = time.process_time()
    graph = load_module(model, example, name=name)
    seconds = time.process_time() - started
    lines, found = normal_lines(graph, stored), findings_of(trainaudit.audit(model, example))
    cells = [name, graph.origin.format, str(len(graph.layers)), f"{seconds:.1f}"]
    for exporter in EXPORTERS:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                path = exported(name, exporter, "training")
            other = normal_lines(load_onnx(str(path)), stored)
        except Exception as error:  # an exporter raises whatever it likes
            cells += [f"cannot be exported ({type(error).__name__})", ""]
            continue
        same = lines == other
        cells.append("same" if same else f"differs: {DIFFERENT.get((name, exporter), 'not explained')}")
        more = found ^ findings_of(trainaudit.audit(path))
        cells.append(
            "same" if not more else "differ: " + ", ".join(f"{rule} {subject}" for rule, subject in sorted(more))
        )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    is_part = sys.argv[1:] == ["--hand-written"]
    names = list(ARCHITECTURES) if is_part else sys.argv[1:]
    rows = []
    for name in names or MODELS:
        rows.append(row(name))
        print(rows[-1], flush=True)
    if is_part or not names:
        head = _HEAD.format(
            option=" --hand-written" * is_part,
            count=len(rows),
            all=len(MODELS),
            which=", the hand-written ones" * is_part,
        )
        Path(__file__).with_suffix(".md").write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
