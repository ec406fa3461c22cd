"""Every network of the corpus through torch and through both exporters of ONNX: is it the same graph, and what does the capture cost?

python -m benchmarks.captures [NAME ...]        prints a table; without names it covers the corpus and writes benchmarks/captures.md
python -m benchmarks.captures --hand-written    the networks that are written out in the corpus, without transformers' configurations

Exported files are kept (see benchmarks/exports.py), so that a second run takes minutes of processor time.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from pathlib import Path

import torch

from benchmarks.exports import MODELS, exported
from tests.corpus.architectures import ARCHITECTURES
from tests.corpus.exporting import EXPORTERS, ONLY_DYNAMO
from tests.load.torch.agreeing import DIFFERENT, Found, findings_of, unlike
from tests.load.torch.comparing import names_of, normal_lines
from trainaudit.auditing import Places, chosen_rules
from trainaudit.ir.graph import Graph
from trainaudit.judge.judging import judge
from trainaudit.load.from_onnx import load_onnx
from trainaudit.load.torch.from_torch import load_module
from trainaudit.measure.measuring import measure
from trainaudit.settings import LOSSES, Settings

_HEAD = """# The same network through torch and through ONNX

Written by `python -m benchmarks.captures{option}`: {count} of the {all} networks of the corpus{which}, with torch {torch}. "same" compares
layers, edges, parameters, attributes and shapes after the normalization that `tests/load/torch/comparing.py` documents; findings are compared
by rule and subject, those on parameters that the file does not hold aside ("n of the module alone"). Seconds are processor time of the
capture and translation.

Of {files} files, {same} hold the same graph, {explained} another one for the reason that is given, and {unexplained} another one without
explanation; {agree} have the same findings.

| network | captured with | layers | seconds | torchscript: graph | findings | dynamo: graph | findings |
|---|---|---|---|---|---|---|---|
"""


def row(name: str) -> list[str]:
    """The cells of one line of the table."""
    torch.manual_seed(0)
    model, example = MODELS[name]()
    stored = names_of(model)
    started = time.process_time()
    graph = load_module(model, example, name=name)
    seconds = time.process_time() - started
    lines, found = normal_lines(graph, stored), _found(graph, name)
    cells = [name, graph.origin.format, str(len(graph.layers)), f"{seconds:.1f}"]
    for exporter in EXPORTERS:
        if exporter == "torchscript" and name in ONLY_DYNAMO:
            cells += [f"cannot be exported: {ONLY_DYNAMO[name]}", ""]
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            path = exported(name, exporter, "training")
        other = load_onnx(str(path))
        reason = DIFFERENT.get((name, exporter), _UNEXPLAINED)
        cells.append("same" if lines == normal_lines(other, stored) else f"differs: {reason}")
        more, alone = unlike(found, _found(other, name), other, stored)
        cells.append("differ: " + ", ".join(f"{rule} {subject}" for rule, subject in sorted(more)) if more else "same")
        cells[-1] += f", {len(alone)} of the module alone" * bool(alone)
    return cells


_UNEXPLAINED = "not explained"


def _found(graph: Graph, name: str) -> Found:
    table = measure(graph, loss=None, expects=LOSSES)
    return findings_of(
        judge(chosen_rules(Settings()), table, target=name, locations=Places(graph), ignores=()).findings
    )


def main() -> None:
    is_part = sys.argv[1:] == ["--hand-written"]
    names = list(ARCHITECTURES) if is_part else sys.argv[1:]
    rows = []
    for name in names or MODELS:
        rows.append(row(name))
        print(f"| {' | '.join(rows[-1])} |", flush=True)
    if names and not is_part:
        return
    graphs = [cell for cells in rows for cell in (cells[4], cells[6]) if not cell.startswith("cannot")]
    unexplained = sum(cell.endswith(_UNEXPLAINED) for cell in graphs)
    head = _HEAD.format(
        option=" --hand-written" * is_part,
        count=len(rows),
        all=len(MODELS),
        which=", the hand-written ones" * is_part,
        torch=torch.__version__,
        files=len(graphs),
        same=graphs.count("same"),
        explained=len(graphs) - graphs.count("same") - unexplained,
        unexplained=unexplained,
        agree=sum(cell.startswith("same") for cells in rows for cell in (cells[5], cells[7])),
    )
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    Path(__file__).with_suffix(".md").write_text(head + table, encoding="utf-8")


if __name__ == "__main__":
    main()
