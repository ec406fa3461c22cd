"""What the rules say about healthy and about faulty networks; writes benchmarks/healthy.md and benchmarks/faulty.md.

    python -m benchmarks.calibration healthy               24 published architectures, exported four ways each (needs torch)
    python -m benchmarks.calibration faulty FOLDER          a folder with cases.json and onnx/<id>__faulty.onnx, __fixed.onnx

Faulty: `detected` is any error or warning on the faulty variant, `diagnosed` a rule that names the labelled fault, `false alarm`
any error or warning on a repaired variant that carries no known residual fault.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import trainaudit
from trainaudit.result import Audit

HERE = Path(__file__).parent

LOSSES = {
    "categorical_crossentropy": "categorical-crossentropy", "sparse_categorical_crossentropy": "categorical-crossentropy",
    "raw_cross_entropy": "categorical-crossentropy", "sum_cross_entropy_unclipped": "categorical-crossentropy",
    "sum_of_class_means": "categorical-crossentropy", "binary_crossentropy": "bce", "log_loss": "bce", "raw_bce": "bce",
    "softmax_ce_logits": "cross-entropy", "sparse_ce_logits": "cross-entropy", "mse": "mse", "mae": "l1",
    "sum_squares": "mse", "half_mse": "mse", "broadcast_mse": "mse", "hinge": "hinge", "neg_log_value": "nll",
}  # fmt: skip
"""The cases' names of losses → what the tool calls them."""

DIAGNOSES = {
    "wrong-output-activation": {
        "missing-output-activation",
        "wrong-loss-for-output",
        "rectified-output",
        "single-unit-softmax",
    },
    "missing-output-activation": {"missing-output-activation"},
    "wrong-loss": {"wrong-loss-for-output", "double-softmax", "sigmoid-before-logits-loss"},
    "softmax-hidden": {"hidden-softmax"},
    "init-constant": {"symmetric-init", "zero-init-hidden"},
    "no-nonlinearity": {"linear-stack"},
    "redundant-bias-before-bn": {"bias-before-batchnorm"},
}
"""Fault label → rules that name it. Labels without an entry have no rule yet."""


def loud(audit: Audit) -> list[str]:
    """Rules with an error or a warning."""
    return [finding.rule for finding in audit.findings if finding.severity.value != "note"]


def healthy() -> list[str]:
    import torch

    from tests.corpus.architectures import ARCHITECTURES
    from tests.corpus.configs import CONFIGS
    from tests.corpus.exporting import EXPORTERS, FORMS, export

    lines = [
        "| model | export | nodes | coverage | weights | errors and warnings | notes |",
        "|---|---|---|---|---|---|---|",
    ]
    alarms = Counter[str]()
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, make in {**ARCHITECTURES, **CONFIGS}.items():
            for exporter in EXPORTERS:
                for form in FORMS:
                    torch.manual_seed(0)
                    model, example = make()
                    path = Path(folder) / f"{name}.onnx"
                    export(model, example, path, exporter=exporter, form=form)
                    audit = trainaudit.audit(path)
                    count += 1
                    alarms.update(loud(audit))
                    notes = [finding.rule for finding in audit.findings if finding.severity.value == "note"]
                    lines.append(
                        f"| {name} | {exporter}, {form} | {audit.model.node_count} | {audit.model.coverage:.1%} "
                        f"| {audit.model.weights_state} | {', '.join(loud(audit)) or '–'} | {', '.join(notes) or '–'} |"
                    )
                    print(lines[-1], flush=True)
    total = sum(alarms.values())
    return [f"{count} audits, {total} errors and warnings in all ({dict(alarms) or 'none'}).", "", *lines]


def faulty(folder: Path) -> list[str]:
    lines = [
        "| case | labels | evidence needed | faulty: errors and warnings | diagnosed | repaired |",
        "|---|---|---|---|---|---|",
    ]
    tally = Counter[str]()
    for case in json.loads((folder / "cases.json").read_text(encoding="utf-8")):
        said: dict[str, Audit] = {}
        for variant, spec in (("faulty", case["net"]), ("fixed", case.get("fixed"))):
            path = folder / "onnx" / f"{case['id']}__{variant}.onnx"
            if spec and path.exists():
                said[variant] = trainaudit.audit(path, loss=LOSSES.get(spec["loss"]))
        if "faulty" not in said:
            continue
        fired = {finding.rule for finding in said["faulty"].findings}
        is_diagnosed = any(fired & DIAGNOSES.get(label, set()) for label in case["fault_labels"])
        kind = case["detectability"]
        tally[f"{kind} cases"] += 1
        tally[f"{kind} detected"] += bool(loud(said["faulty"]))
        tally[f"{kind} diagnosed"] += is_diagnosed
        clean = "fixed" in said and not case["fixed_residual"]
        tally["clean repaired variants"] += clean
        tally["false alarms on them"] += clean and bool(loud(said["fixed"]))
        repaired = ", ".join(loud(said["fixed"])) or "–" if "fixed" in said else "not there"
        lines.append(
            f"| {case['id']} | {', '.join(case['fault_labels'])} | {kind} | {', '.join(loud(said['faulty'])) or '–'} "
            f"| {'yes' if is_diagnosed else 'no'} | {repaired}{' (residual fault)' if case['fixed_residual'] else ''} |"
        )
    return ["; ".join(f"{name}: {number}" for name, number in sorted(tally.items())) + ".", "", *lines]


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "healthy":
        title, lines = "Healthy networks", healthy()
    elif command == "faulty" and len(sys.argv) == 3:
        title, lines = "Faulty networks and their repairs", faulty(Path(sys.argv[2]))
    else:
        raise SystemExit(__doc__)
    arguments = " FOLDER" if command == "faulty" else ""
    head = [f"# {title}", "", f"Made by `python -m benchmarks.calibration {command}{arguments}`.", ""]
    (HERE / f"{command}.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
