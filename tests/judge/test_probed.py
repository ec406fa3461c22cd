"""What a probe does to findings that stand on the file: it confirms them, withdraws them, or says nothing; and what only a probe can judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.judge.samples import make_rule, make_table, rule_text
from trainaudit.errors import TrainauditError
from trainaudit.judge.judging import Judgment, judge
from trainaudit.judge.rule import Rule
from trainaudit.judge.rulefile import load_rules, parse_rule
from trainaudit.measure.facts import FactTable, FactValue
from trainaudit.result import Severity, State

PREDICTING = """
[probe]
confirmed_when = "layer.measured_rms > limit"
withdrawn_when = "layer.measured_rms < limit / 2"
says = "Predicted {layer.gain}; measured {layer.measured_rms}."
"""
MEASURED = """
[probe]
when = "layer.measured_rms > limit"
message = "{layer.name} was measured at {layer.measured_rms}."
severity = "error"
"""
GAINS = {"l0": 3.0, "l1": 4.0, "l2": 1.0}


def probed(
    rms: Mapping[str, FactValue], gains: Mapping[str, FactValue] = GAINS, evidence: str = "training"
) -> FactTable:
    """A table of three layers with what a probe of them measured."""
    table = make_table(3, layer__gain=gains, layer__measured_rms=rms)
    return replace(table, columns={**table.columns, "training.evidence": {"training": evidence}})


def judged(rule: Rule, table: FactTable) -> Judgment:
    return judge([rule], table, target="m.onnx", locations={})


def test_without_a_probe_the_finding_stands_alone() -> None:
    judgment = judged(make_rule(examples=PREDICTING), make_table(3, layer__gain=GAINS))
    assert [(finding.probe, finding.probe_note) for finding in judgment.findings] == [("", "")]


def test_a_probe_confirms_with_both_numbers() -> None:
    (finding,) = judged(make_rule(examples=PREDICTING), probed({"l0": 2.5, "l1": 9.0, "l2": 1.0})).findings
    assert (finding.probe, finding.probe_note) == ("confirmed", "Predicted 3; measured 2.5.")
    assert finding.is_live


def test_a_probe_withdraws_with_both_numbers_and_it_counts_for_nothing() -> None:
    judgment = judged(make_rule(examples=PREDICTING), probed({"l0": 0.5, "l1": 0.25, "l2": 1.0}))
    (finding,) = judgment.findings
    assert (finding.probe, finding.probe_note) == ("withdrawn", "Predicted 3; measured 0.5.")
    assert not finding.is_live
    (outcome,) = judgment.outcomes
    assert outcome.state is State.WITHDRAWN
    assert outcome.counts == {"withdrawn": 2, "clean": 1}


def test_between_the_two_nothing_is_said() -> None:
    (finding,) = judged(make_rule(examples=PREDICTING), probed({"l0": 1.5, "l1": 1.5})).findings
    assert (finding.probe, finding.is_live) == ("", True)


def test_what_is_withdrawn_leaves_the_group_and_the_rest_keeps_a_root_of_its_own() -> None:
    findings = judged(make_rule(examples=PREDICTING), probed({"l0": 0.1, "l1": 9.0})).findings
    assert [(finding.root.subject, finding.probe) for finding in findings] == [("l1", "confirmed"), ("l0", "withdrawn")]


def test_the_measured_form_finds_what_the_file_does_not_tell() -> None:
    judgment = judged(make_rule(examples=MEASURED), probed({"l0": 1.0, "l1": 1.0, "l2": 7.0}, {"l2": 1.0}))
    (finding,) = judgment.findings
    assert [occurrence.message for occurrence in finding.occurrences] == ["l2 was measured at 7."]
    assert finding.severity is Severity.ERROR


def test_both_forms_on_one_layer_are_one_occurrence_that_is_confirmed() -> None:
    judgment = judged(make_rule(examples=MEASURED), probed({"l0": 7.0, "l1": 1.0, "l2": 7.0}))
    (finding,) = judgment.findings
    assert [occurrence.subject for occurrence in finding.occurrences] == ["l0", "l1", "l2"]
    assert (finding.probe, finding.severity) == ("confirmed", Severity.ERROR)
    assert judgment.outcomes[0].counts == {"violated": 3}


def test_what_one_form_leaves_open_the_other_answers() -> None:
    judgment = judged(make_rule(examples=MEASURED), probed({"l0": 1.0, "l1": 1.0, "l2": 1.0}, {}))
    assert judgment.outcomes[0].counts == {"clean": 3}


def dynamic_rule(text: str = "") -> str:
    """A rule that stands on a run; `evidence` is the last line of its head."""
    whole = text or rule_text(
        when="layer.measured_rms > limit", message="{layer.name} was measured at {layer.measured_rms}."
    )
    return whole.replace('subject = "layer"\n', 'subject = "layer"\nevidence = "forward"\n')


PATH = Path("rules/signal/sample-state.toml")


def test_a_rule_over_a_run_is_not_run_on_a_file_and_says_by_what_it_would_be() -> None:
    rule = parse_rule(dynamic_rule(), PATH)
    (outcome,) = judged(rule, make_table(3, layer__gain=GAINS)).outcomes
    assert (outcome.state, outcome.counts) == (State.NOT_MEASURED, {"not-measured": 3})
    assert (outcome.reason, outcome.command) == ("no forward pass was run", "trainaudit probe m.onnx")


def test_the_same_where_a_probe_was_run() -> None:
    rule = parse_rule(dynamic_rule(), PATH)
    (finding,) = judged(rule, probed({"l0": 7.0}, evidence="forward")).findings
    assert finding.root.message == "l0 was measured at 7."


def test_an_audit_of_a_file_reads_its_outline_alone(tmp_path: Path) -> None:
    path = tmp_path / "signal" / "sample-state.toml"
    path.parent.mkdir()
    broken = dynamic_rule().replace("layer.measured_rms > limit", "layer.mesured_rms > limit")
    path.write_text(broken, "utf-8")
    (outline,) = load_rules([tmp_path], probed=False)
    assert (outline.is_outline, outline.evidence_level, outline.severity) == (True, "forward", Severity.WARNING)
    (outcome,) = judged(outline, make_table(3, layer__gain=GAINS)).outcomes
    assert outcome.state is State.NOT_MEASURED
    with pytest.raises(TrainauditError, match="mesured_rms"):
        load_rules([tmp_path])


def test_an_audit_of_a_file_does_not_read_what_a_probe_says() -> None:
    text = rule_text(examples=PREDICTING.replace("layer.measured_rms", "layer.mesured_rms"))
    assert parse_rule(text, PATH, probed=False).probe is None
    with pytest.raises(TrainauditError, match="mesured_rms"):
        parse_rule(text, PATH)


@pytest.mark.parametrize(
    ("clauses", "told"),
    [
        ('[probe]\nwhen = "layer.measured_rms > limit"\n', "go together"),
        ('[probe]\nsays = "x"\n', "neither"),
        ('[probe]\nwithdrawn_when = "layer.measured_rms < limit"\n', "says"),
        ('[probe]\nwhen = "layer.gain"\nmessage = "x"\n', "not a condition"),
        ('[probe]\nwithdraw = "layer.gain > 1"\n', "withdrawn_when"),
    ],
)
def test_clauses_are_checked_when_they_are_read(clauses: str, told: str) -> None:
    with pytest.raises(TrainauditError) as caught:
        parse_rule(rule_text(examples=clauses), PATH)
    assert told in str(caught.value)


def test_evidence_that_the_facts_do_not_need_is_refused() -> None:
    with pytest.raises(TrainauditError, match="evidence"):
        parse_rule(dynamic_rule(rule_text()), PATH)
