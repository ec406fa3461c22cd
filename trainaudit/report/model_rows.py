"""A row for each model: verdict, counts, worst finding and change, and what many models have in common. No markup lives here.

May import `result` and what reports say in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trainaudit.frozen import frozen
from trainaudit.report import view
from trainaudit.result import Audit, Run, Severity

VERDICTS = {
    "not-read": "could not be audited",
    "error": "unlikely to train well",
    "warning": "may be held back",
    "note": "nothing serious found",
    "not-run": "not judged",
    "known": "nothing new found",
    "clean": "nothing found",
}
"""The worst of a model → its verdict in few words, worst first."""
ICONS = {"not-read": "violated", "known": "clean"}
"""Signs of the verdicts that have none of their own."""
_ORDER = tuple(VERDICTS)


@frozen
class Row:
    """A model in the table. `worst` is a key of `VERDICTS`, `icon` the sign for it. `href` is where its report is, "" where it has none; `change` is what changed against the baseline, in words, and
    `change_key` what it is sorted by (None without a baseline). A target that could not be audited has but its `reason`."""

    target: str
    href: str
    worst: str
    verdict: str
    error: int = 0
    warning: int = 0
    note: int = 0
    not_run: int = 0
    finding: str = ""
    rule: str = ""
    parameters: int = 0
    change: str = ""
    change_key: int | None = None
    reason: str = ""

    @property
    def icon(self) -> str:
        return ICONS.get(self.worst, self.worst)

    @property
    def order(self) -> int:
        """0 for the worst verdict."""
        return _ORDER.index(self.worst)


@frozen
class Common:
    """A rule, and how many models violate it."""

    rule: str
    name: str
    severity: Severity
    models: int


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Worst first: by verdict, then by the number of errors, warnings and notes, then by name."""
    return sorted(rows, key=lambda item: (item.order, -item.error, -item.warning, -item.note, item.target))


def row(run: Run, audit: Audit, href: str) -> Row:
    total = view.counts(run, [audit])
    live = view.live_findings(audit)
    worst = view.worst(total)
    worst = "known" if worst in ("clean", "not-run") and total.in_baseline else worst
    fresh = sum(finding.is_new is True for finding in live)
    gone = audit.gone_from_baseline
    return Row(
        target=audit.target,
        href=href,
        worst=worst,
        verdict=VERDICTS[worst],
        error=total.error,
        warning=total.warning,
        note=total.note,
        not_run=view.not_run(total),
        finding=live[0].name if live else "",
        rule=live[0].rule if live else "",
        parameters=audit.model.parameter_count,
        change="" if gone is None else _change(fresh, gone, total.in_baseline),
        change_key=None if gone is None else fresh or -gone,
    )


def failed(target: str, reason: str) -> Row:
    return Row(target, "", "not-read", VERDICTS["not-read"], reason=reason)


def _change(fresh: int, gone: int, known: int) -> str:
    parts = [f"{number} {word}" for number, word in ((fresh, "new"), (gone, "gone"), (known, "known")) if number]
    return ", ".join(parts) or "no change"


def common_findings(runs: Sequence[Run]) -> list[Common]:
    """Which rules most models violate, errors first among equals; the severity is the worst that was found."""
    found: dict[str, Common] = {}
    for run in runs:
        for audit in run.audits:
            seen = set()
            for finding in view.live_findings(audit):
                known = found.get(finding.rule, Common(finding.rule, finding.name, finding.severity, 0))
                severity = max(known.severity, finding.severity, key=lambda item: item.rank)
                models = known.models + (finding.rule not in seen)
                found[finding.rule] = replace(known, severity=severity, models=models)
                seen.add(finding.rule)
    return sorted(found.values(), key=lambda item: (-item.models, -item.severity.rank, item.rule))
