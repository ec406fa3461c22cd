"""The seeded faults of `benchmarks.untrainable`, trained for a moment: 512 examples with 32 features, ten classes that a random teacher gives,
cross-entropy, and Adam at 1e-3 where the fault is not in the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.probed_faults import standing
from benchmarks.untrainable import CLASSES, FAULTS, FEATURES, HEALTHY, PEERS, Fault
from trainaudit.auditing import Measured, measure_module
from trainaudit.result import Audit
from trainaudit.settings import Settings

if TYPE_CHECKING:
    from benchmarks.probed import Probed

EXAMPLES, BATCH = 512, 64
BY_PROBE: Mapping[str, frozenset[str]] = {
    "F9": frozenset({"dead-layer", "dead-units"}),
    "F10": frozenset({"dead-units"}),
    "F17": frozenset({"learning-rate-too-high"}),
    "F18": frozenset({"learning-rate-too-low"}),
    "F19": frozenset({"unnormalized-input"}),
}
"""Faults that no file shows → rules that name their cause."""
RATES = {"F17": 1.0, "F18": 1e-8}
KEYS = (*(fault.id for fault in FAULTS), *HEALTHY)


def data(key: str) -> Any:
    """A DataLoader over examples whose classes a random linear map of the features gives."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(EXAMPLES, FEATURES, generator=draw)
    targets = (inputs @ torch.randn(FEATURES, CLASSES, generator=draw)).argmax(dim=1)
    if key == "F19":
        inputs = (inputs - inputs.min()) / (inputs.max() - inputs.min()) * 255
    return DataLoader(TensorDataset(inputs, targets), BATCH, shuffle=True, generator=draw)


def _model(key: str) -> Any:
    import torch

    builds = {fault.id: fault.build for fault in FAULTS} | {name: build for name, (build, _) in HEALTHY.items()}
    torch.manual_seed(0)
    return builds[key]()


def measure(key: str) -> tuple[Measured, Settings]:
    import torch

    settings = replace(Settings(), loss="cross-entropy")
    return measure_module(_model(key), (torch.randn(BATCH, FEATURES),), (), settings)[1], settings


def probe(key: str, budget: float) -> Audit:
    import trainaudit

    return trainaudit.probe_model(
        _model(key),
        data=data(key),
        loss="cross-entropy",
        optimizer="adam",
        learning_rate=RATES.get(key, 1e-3),
        time_budget=budget,
    )


def table(found: Mapping[str, Probed]) -> list[str]:
    rows = [_row(fault, found[fault.id]) for fault in FAULTS]
    healthy = [
        f"| {title[:2]} | healthy: {title[3:]} | {_said(found[title])} | – | {' | '.join(peers)} |"
        for title, (_, peers) in HEALTHY.items()
    ]
    named = sum(_names(fault, found[fault.id]) for fault in FAULTS)
    return [
        f"Of {len(FAULTS)} seeded faults a probe with its audit names the cause of {named}.",
        "",
        "The columns of other tools were noted in November 2026, as in untrainable.md.",
        "",
        f"| | fault | trainaudit probe | cause named | {' | '.join(PEERS)} |",
        "|---|---|---|---|" + "---|" * len(PEERS),
        *rows,
        *healthy,
    ]


def _row(fault: Fault, one: Probed) -> str:
    return f"| {fault.id} | {fault.title} | {_said(one)} | {'yes' if _names(fault, one) else 'no'} | {' | '.join(fault.peers)} |"


def _names(fault: Fault, one: Probed) -> bool:
    wanted = {*fault.rules, *BY_PROBE.get(fault.id, ())}
    return one.audit is not None and any(finding.rule in wanted for finding in standing(one.audit))


def _said(one: Probed) -> str:
    if one.audit is None:
        return one.failure
    parts = [
        f"**{finding.rule}** at {finding.root.subject}" if finding.root.location.layer else f"**{finding.rule}**"
        for finding in standing(one.audit)
        if finding.severity.value != "note"
    ]
    return "; ".join(parts) or "nothing"
