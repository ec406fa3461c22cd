"""The corpus of healthy networks, each trained for a moment on synthetic data with what the probe infers for its loss and optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.probed_faults import standing
from tests.corpus.architectures import ARCHITECTURES
from tests.corpus.configs import CONFIGS
from trainaudit.auditing import Measured, measure_module
from trainaudit.result import Audit
from trainaudit.settings import Settings

if TYPE_CHECKING:
    from benchmarks.probed import Probed

NAMES = (*ARCHITECTURES, *CONFIGS)


def _built(name: str) -> Any:
    import torch

    torch.manual_seed(0)
    return {**ARCHITECTURES, **CONFIGS}[name]()


def measure(name: str) -> tuple[Measured, Settings]:
    return measure_module(*_built(name), (), Settings())[1], Settings()


def probe(name: str, budget: float) -> Audit:
    import trainaudit

    model, example = _built(name)
    return trainaudit.probe_model(model, example, time_budget=budget)


def table(rows: list[Probed]) -> list[str]:
    probed = [row for row in rows if row.audit is not None]
    alarms = [
        finding for row in probed if row.audit for finding in standing(row.audit) if finding.severity.value != "note"
    ]
    errors = sum(finding.severity.value == "error" for finding in alarms)
    return [
        f"{len(rows)} networks, {len(probed)} probed: {errors} errors, {len(alarms) - errors} warnings.",
        "",
        "| network | ended | experiments that ran | errors and warnings | withdrawn |",
        "|---|---|---|---|---|",
        *(_line(row) for row in rows),
    ]


def _line(row: Probed) -> str:
    if row.audit is None or row.audit.trace is None:
        return f"| {row.key} | {row.failure} | – | – | – |"
    trace = row.audit.trace
    said = ", ".join(f.rule for f in standing(row.audit) if f.severity.value != "note")
    withdrawn = ", ".join(f.rule for f in row.audit.findings if f.probe == "withdrawn")
    ran = sum(one.state == "ran" for one in trace.experiments.values())
    return f"| {row.key} | {trace.stopped} | {ran} of {len(trace.experiments)} | {said or '–'} | {withdrawn or '–'} |"
