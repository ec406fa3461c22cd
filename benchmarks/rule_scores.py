"""Precision and recall of every rule over all that the project has: pairs of models, mutations, faulty and healthy networks.

Positives of a rule: its own bad model, the mutations and the labelled faults that it names. A mutation or a label may be named by any of
several rules; it counts as missed by a rule only if none of them fired. Negatives: all good models, the healthy corpus, the clean
repaired variants. Precision counts findings of the rule on positives against those on negatives; warnings that approved.json
argues for are counted apart, and so are notes, which are statements and no alarms.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import trainaudit
from benchmarks.faulty import Case
from benchmarks.healthy import APPROVED, Healthy, loud
from benchmarks.mutations import Tried
from trainaudit.judge.rule import Rule
from trainaudit.judge.rulefile import load_rules
from trainaudit.resources import rules_folder
from trainaudit.result import Audit

PAIRS = Path(__file__).parents[1] / "tests" / "rules"


@dataclass(slots=True)
class Score:
    """Counts of one rule: by source of the positives, how many there are and how many it named; and what it said on negatives."""

    rule: Rule
    positives: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    found: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    negatives: int = 0
    alarms: int = 0
    argued: int = 0
    noted: int = 0

    @property
    def recall(self) -> float | None:
        """Share of the positives that were named."""
        total = sum(self.positives.values())
        return sum(self.found.values()) / total if total else None

    @property
    def precision(self) -> float | None:
        """Share of the errors and warnings that stand on a positive."""
        right = sum(self.found.values())
        return right / (right + self.alarms) if right + self.alarms else None


def scores(tried: list[Tried], cases: list[Case], healthy: list[Healthy]) -> list[Score]:
    """Of the rules that an audit of a file judges; what rules say of runs and of data is in the tables of `benchmarks.probed`."""
    by_id = {rule.id: Score(rule) for rule in load_rules([rules_folder()]) if not rule.evidence}
    _add_pairs(by_id)
    for one in tried:
        _add_positive(by_id, "mutations", frozenset(one.mutation.rules), set(one.fired))
    for case in cases:
        if case.evidence == "static":
            _add_positive(by_id, "faults", case.wanted, {finding.rule for finding in case.faulty.findings})
        if case.repaired and case.is_repair_clean:
            _add_negative(by_id, case.repaired, {})
    for row in healthy:
        if row.audit:
            _add_negative(by_id, row.audit, APPROVED.get(row.name, {}))
    return list(by_id.values())


def _add_pairs(by_id: dict[str, Score]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for rule in by_id:
            for side in ("bad", "good"):
                script = PAIRS / rule / f"{side}.py"
                names: dict[str, object] = {"__name__": f"{rule}/{side}"}
                exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), names)
                path = Path(folder) / f"{rule}-{side}.onnx"
                names["build"](str(path))  # type: ignore[operator]
                audit = trainaudit.audit(path, loss=names.get("LOSS"))
                if side == "good":
                    _add_negative(by_id, audit, {})
                else:
                    _add_positive(by_id, "own model", frozenset({rule}), {finding.rule for finding in audit.findings})


def _add_positive(by_id: dict[str, Score], source: str, wanted: frozenset[str], fired: set[str]) -> None:
    for rule in wanted & set(by_id):
        # of several rules that would name the fault one is enough: the others count only where they spoke, or where all are silent
        if rule in fired or not wanted & fired:
            by_id[rule].positives[source] += 1
            by_id[rule].found[source] += rule in fired


def _add_negative(by_id: dict[str, Score], audit: Audit, approved: dict[str, str]) -> None:
    alarms = set(loud(audit))
    notes = {finding.rule for finding in audit.findings} - alarms
    for rule, score in by_id.items():
        score.negatives += 1
        score.argued += rule in alarms and rule in approved
        score.alarms += rule in alarms and rule not in approved
        score.noted += rule in notes


def table(rows: list[Score]) -> list[str]:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}"

    positives = sum(sum(row.positives.values()) for row in rows)
    lines = [
        f"{len(rows)} rules that an audit of a file judges, {positives} positives, {rows[0].negatives} negative audits for each.",
        "",
        "| rule | severity | own model | mutations | labelled faults | recall | alarms on negatives | argued for | notes | precision |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row.rule.id):
        cells = [
            f"{row.found[source]} / {row.positives[source]}" if row.positives[source] else "–"
            for source in ("own model", "mutations", "faults")
        ]
        lines.append(
            f"| {row.rule.id} | {row.rule.severity} | {' | '.join(cells)} | {share(row.recall)} "
            f"| {row.alarms} | {row.argued} | {row.noted} | {share(row.precision)} |"
        )
    return lines
