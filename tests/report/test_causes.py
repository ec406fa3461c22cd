"""Causes before what follows from them: in cards, in the verdict, in what to change first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report import samples
from trainaudit.report import view
from trainaudit.report.cards import all_cards, cards_of, first_fixes
from trainaudit.report.causes import grouped
from trainaudit.report.tips import rungs
from trainaudit.report.to_html import render_html
from trainaudit.result import Finding, Fix, Run, Severity

SEVERITIES = tuple(Severity)


def rules_of(run: Run, findings: list[Finding]) -> list[tuple[str, list[str]]]:
    return [(group.root.rule, [below.rule for below in group.following]) for group in grouped(run, findings)]


def test_a_consequence_stands_under_its_cause() -> None:
    run = samples.cascade()
    assert rules_of(run, view.live_findings(run.audits[0])) == [
        ("zero-init-hidden", ["predicted-vanishing-gradient"]),
        ("linear-stack", []),
    ]
    assert view.verdict(run, run.audits[0]) == (
        "As it stands, this network is unlikely to train well: a hidden layer starts with all weights at zero (layers.3); "
        "1 more error may follow from it."
    )


def test_an_error_is_not_put_under_a_warning() -> None:
    run = samples.cascade()
    audit = run.audits[0]
    weak = [
        replace(finding, severity=Severity.WARNING) if finding.rule == "zero-init-hidden" else finding
        for finding in audit.findings
    ]
    first = grouped(run, weak)[0]
    assert first.root.rule == "predicted-vanishing-gradient"
    assert first.following == ()
    assert [suspect.rule for suspect in first.suspects] == ["zero-init-hidden"]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(SEVERITIES)), max_size=8),
    st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=6, max_size=6),
)
def test_every_finding_is_shown_once_whatever_the_rules_say(
    made: list[tuple[int, Severity]], follows: list[list[int]]
) -> None:
    rules = tuple(
        replace(samples.RULES[0], id=f"rule-{index}", follows=tuple(f"rule-{cause}" for cause in causes))
        for index, causes in enumerate(follows)
    )
    template = samples.finding("zero-init-hidden", samples.occurrence("layers.0"))
    findings = [replace(template, rule=f"rule-{rule}", severity=severity) for rule, severity in made]
    run = replace(samples.run_of(), rules=rules)
    groups = grouped(run, findings)
    shown = [finding for group in groups for finding in (group.root, *group.following)]
    assert sorted(map(id, shown)) == sorted(map(id, findings))
    for group in groups:
        assert all(below.severity.rank <= group.root.severity.rank for below in group.following)


@pytest.mark.parametrize(
    ("verdict", "gain", "first"),
    [("proved", 0.1, "linear-stack"), ("no effect", 0.0, "zero-init-hidden"), ("worse", -1.0, "zero-init-hidden")],
)
def test_a_proved_fix_comes_first_and_one_that_did_not_help_is_left_out(verdict: str, gain: float, first: str) -> None:
    run = samples.cascade()
    audit = run.audits[0]
    proof = replace(next(finding.proof for finding in audit.findings if finding.proof), verdict=verdict, gain=gain)
    findings = tuple(
        replace(finding, proof=None)
        if finding.rule == "zero-init-hidden"
        else replace(finding, fix=Fix("Put one between.", "changes-architecture"), proof=proof)
        if finding.rule == "linear-stack"
        else finding
        for finding in audit.findings
    )
    cards = cards_of(run, replace(audit, findings=findings), Counter())
    fixes = [card.finding.rule for card in first_fixes(cards)]
    assert fixes[0] == first
    assert ("linear-stack" in fixes) is (verdict == "proved")


def test_advice_comes_behind_what_can_be_done() -> None:
    run = samples.faulty()
    audit = run.audits[0]
    findings = tuple(
        replace(finding, fix=Fix("Look at it.", "advice-only")) if finding.rule == "zero-init-hidden" else finding
        for finding in audit.findings
    )
    cards = cards_of(run, replace(audit, findings=findings), Counter())
    assert [card.finding.rule for card in first_fixes(cards)] == ["linear-stack", "zero-init-hidden"]
    assert len(list(all_cards(cards))) == 3


def test_where_no_fix_helped_none_is_recommended() -> None:
    run = samples.cascade()
    audit = run.audits[0]
    findings = tuple(
        replace(finding, proof=None if finding.proof is None else replace(finding.proof, verdict="no effect", gain=0.0))
        for finding in audit.findings
    )
    text = render_html(replace(run, audits=(replace(audit, findings=findings, together=None),)))
    assert '<ol class="fixes">' not in text
    assert "1 fix tried alone: 1 with no effect. None helped by itself, so none is recommended" in text
    assert "Fix, not recommended" in text
    assert "its loss ends where it did" in text


def test_a_proof_is_shown_with_its_numbers_predicted_first() -> None:
    text = render_html(samples.cascade())
    fixes = text[text.index('id="fixes"') : text.index('id="findings"')]
    said = "Applied to a copy and trained beside the model for 100 steps from 3 seeds, in 4.2 s: its loss ends 5.64 times lower."
    assert said in fixes
    assert "<li>loss after 100 steps <strong>2.3 → 0.41</strong></li>" in fixes
    assert "<strong>Together</strong>" in fixes
    card = text[text.index('id="findings"') :]
    assert said in card
    assert 0 < card.index("<td>predicted</td>") < card.index("<td>measured</td>")


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_tip_and_its_stage_are_marked_by_the_worst_finding(severity: Severity) -> None:
    """A note does not paint a stage red."""
    run = samples.faulty()
    audit = run.audits[0]
    findings = tuple(replace(finding, severity=severity) for finding in audit.findings)
    audit = replace(audit, findings=findings)
    marked = {rung.rung.number: rung for rung in rungs(run, audit, cards_of(run, audit, Counter()))}
    assert marked[2].mark == severity.value
    assert [tip.mark for tip in marked[2].tips if tip.tip.step.id == "2.init-well"] == [severity.value]
    assert marked[2].violated == ("Initialize well",)
    assert marked[1].mark == marked[1].rung.state
