"""Networks with a known fault, and their repairs, under the rules.

`detected` is any error or warning on the faulty variant, `diagnosed` a finding that names the labelled fault, `false alarm` any error or
warning on a repaired variant that carries no known residual fault.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trainaudit
from benchmarks.healthy import loud
from trainaudit.result import Audit

LOSSES = {
    "categorical_crossentropy": "categorical-crossentropy", "sparse_categorical_crossentropy": "categorical-crossentropy",
    "raw_cross_entropy": "categorical-crossentropy", "sum_cross_entropy_unclipped": "categorical-crossentropy",
    "sum_of_class_means": "categorical-crossentropy", "binary_crossentropy": "bce", "log_loss": "bce", "raw_bce": "bce",
    "softmax_ce_logits": "cross-entropy", "sparse_ce_logits": "cross-entropy", "mse": "mse", "mae": "l1",
    "sum_squares": "mse", "half_mse": "mse", "broadcast_mse": "mse", "hinge": "hinge", "neg_log_value": "nll",
}  # fmt: skip
"""The cases' names of losses → what the tool calls them."""

TOO_SMALL = frozenset({
    "undersized-init", "init-activation-mismatch", "predicted-vanishing-signal", "predicted-vanishing-gradient", "saturating-stack",
})  # fmt: skip
TOO_LARGE = frozenset({
    "oversized-init", "init-activation-mismatch", "predicted-exploding-signal", "predicted-exploding-gradient", "confident-output-init",
    "saturated-activation",
})  # fmt: skip

DIAGNOSES: dict[str, frozenset[str]] = {
    "wrong-output-activation": frozenset({
        "missing-output-activation", "wrong-loss-for-output", "rectified-output", "bounded-output", "single-unit-softmax",
        "activation-before-softmax", "double-softmax", "sigmoid-before-logits-loss",
    }),
    "missing-output-activation": frozenset({"missing-output-activation"}),
    "wrong-loss": frozenset({"wrong-loss-for-output", "double-softmax", "sigmoid-before-logits-loss"}),
    "softmax-hidden": frozenset({"hidden-softmax"}),
    "init-constant": frozenset({"symmetric-init", "zero-init-hidden"}),
    "init-too-small": TOO_SMALL,
    "vanishing-gradient": TOO_SMALL,
    "init-too-large": TOO_LARGE,
    "saturating-hidden-activation": frozenset({"saturating-stack", "saturated-activation"}),
    "dying-relu": frozenset({"dead-by-bias", "unfireable-relu"}),
    "missing-normalization": frozenset({"missing-normalization"}),
    "no-nonlinearity": frozenset({"linear-stack"}),
    "redundant-bias-before-bn": frozenset({"bias-before-batchnorm"}),
    "numerical-log-zero": frozenset({"unguarded-log", "confident-output-init"}),
    "excessive-pooling": frozenset({"spatial-collapse", "excessive-pooling"}),
    "missing-flatten": frozenset({"missing-flatten"}),
    "kernel-size": frozenset({"shrinking-kernels"}),
    "non-increasing-filters": frozenset({"shrinking-filters"}),
    "dense-width-increasing": frozenset({"growing-dense-widths"}),
    "layer-size": frozenset({"narrow-bottleneck"}),
}  # fmt: skip
"""Fault label → rules that name it. A label without an entry has no rule: what it names is not in a model file."""


@dataclass(frozen=True, slots=True)
class Case:
    """`repaired` is None where the set has no repaired variant; a repaired variant is clean where no residual fault is known."""

    id: str
    labels: tuple[str, ...]
    evidence: str
    faulty: Audit
    repaired: Audit | None
    is_repair_clean: bool

    @property
    def wanted(self) -> frozenset[str]:
        """Rules that would name the fault."""
        return frozenset().union(*(DIAGNOSES.get(label, frozenset()) for label in self.labels))

    @property
    def diagnoses(self) -> set[str]:
        """Rules that do name it, notes included."""
        return {finding.rule for finding in self.faulty.findings} & self.wanted


def cases(folder: Path) -> Iterator[Case]:
    for case in json.loads((folder / "cases.json").read_text(encoding="utf-8")):
        said: dict[str, Audit] = {}
        for variant, spec in (("faulty", case["net"]), ("fixed", case.get("fixed"))):
            path = folder / "onnx" / f"{case['id']}__{variant}.onnx"
            if spec and path.exists():
                said[variant] = trainaudit.audit(path, loss=LOSSES.get(spec["loss"]))
        if "faulty" in said:
            labels = tuple(case["fault_labels"])
            clean = "fixed" in said and not case["fixed_residual"]
            yield Case(case["id"], labels, case["detectability"], said["faulty"], said.get("fixed"), clean)


def table(rows: list[Case]) -> list[str]:
    kinds = Counter(row.evidence for row in rows)
    clean = [row.repaired for row in rows if row.repaired and row.is_repair_clean]
    errors = sum(finding.severity.value == "error" for audit in clean for finding in audit.findings)
    warnings = sum(len(loud(audit)) for audit in clean) - errors
    lines = [
        "| evidence needed | cases | detected | diagnosed |",
        "|---|---|---|---|",
        *(
            f"| {kind} | {count} | {sum(bool(loud(row.faulty)) for row in rows if row.evidence == kind)} "
            f"| {sum(bool(row.diagnoses) for row in rows if row.evidence == kind)} |"
            for kind, count in kinds.most_common()
        ),
        "",
        f"Clean repaired variants: {len(clean)}, with {errors} errors and {warnings} warnings ({warnings / len(clean):.2f} each).",
        "",
        "| case | labels | evidence needed | faulty: errors and warnings | diagnosed by | repaired: errors and warnings |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        repaired = (", ".join(loud(row.repaired)) or "–") if row.repaired else "not there"
        residual = " (residual fault)" if row.repaired and not row.is_repair_clean else ""
        lines.append(
            f"| {row.id} | {', '.join(row.labels)} | {row.evidence} | {', '.join(loud(row.faulty)) or '–'} "
            f"| {', '.join(sorted(row.diagnoses)) or ('–' if row.wanted else 'no rule for it')} | {repaired}{residual} |"
        )
    return lines
