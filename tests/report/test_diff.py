"""What changed between two records."""

from __future__ import annotations

from dataclasses import replace

from tests.report import samples
from trainaudit.report.diff import compare, render_diff
from trainaudit.result import Audit, Finding, Run, State


def rules(changes: tuple[object, ...]) -> list[str]:
    return [change.finding.rule for change in changes]  # type: ignore[attr-defined]


def with_findings(*findings: Finding, audit: Audit | None = None) -> Run:
    return samples.run_of(replace(audit or samples.faulty_audit(), findings=findings))


def test_nothing_changed() -> None:
    difference = compare(samples.faulty(), samples.faulty())
    assert (difference.new, difference.fixed, difference.unseen) == ((), (), ())
    assert len(difference.unchanged) == 3


def test_new_and_fixed() -> None:
    to_faulty = compare(samples.mended(), samples.faulty())
    assert rules(to_faulty.new) == ["zero-init-hidden", "linear-stack", "bias-before-batchnorm"]
    assert to_faulty.new_findings == tuple(change.finding for change in to_faulty.new)
    back = compare(samples.faulty(), samples.mended())
    assert rules(back.fixed) == ["zero-init-hidden", "linear-stack", "bias-before-batchnorm"]
    assert back.new == ()


def test_numbers_and_lines_do_not_matter() -> None:
    old = samples.finding("linear-stack", samples.occurrence("fc", 3, evidence=(samples.ZERO,)))
    new = samples.finding("linear-stack", samples.occurrence("fc", 9, evidence=(replace(samples.ZERO, value=0.995),)))
    difference = compare(with_findings(old), with_findings(new))
    assert difference.new == difference.fixed == ()


def test_a_finding_that_grew_is_new_where_it_grew() -> None:
    old = samples.finding("linear-stack", samples.occurrence("a"), samples.occurrence("b"))
    new = samples.finding("linear-stack", samples.occurrence("b"), samples.occurrence("c"))
    difference = compare(with_findings(old), with_findings(new))
    subjects = [
        [item.subject for item in changes[0].finding.occurrences]
        for changes in (difference.new, difference.fixed, difference.unchanged)
    ]
    assert subjects == [["c"], ["a"], ["b"]]


def test_what_was_not_judged_again_is_not_fixed() -> None:
    finding = samples.finding("linear-stack", samples.occurrence("fc"))
    later = replace(
        samples.clean_audit(), outcomes=(samples.outcome("linear-stack", State.NOT_MEASURED, "no weights"),)
    )
    difference = compare(with_findings(finding), samples.run_of(later))
    assert difference.fixed == ()
    assert rules(difference.unseen) == ["linear-stack"]
    assert "1 not judged again" in render_diff(difference)


def test_nothing_of_another_model_is_fixed() -> None:
    """Two records of unrelated models, of one file each or under one name."""
    old = samples.faulty()
    for new in (samples.clean(), samples.run_of(replace(samples.clean_audit(), target=old.audits[0].target))):
        difference = compare(old, new)
        assert (difference.fixed, difference.unchanged) == ((), ())
        assert rules(difference.unseen) == ["zero-init-hidden", "linear-stack", "bias-before-batchnorm"]
        for text in (render_diff(difference), render_diff(difference, "markdown")):
            said = " ".join(text.split())
            assert (
                "no layer's name is in both, so these count as two different models; nothing is said to be fixed"
                in said
            )
            assert "0 fixed" in said
    assert "models/a.onnx and models/clean.onnx: no layer" in render_diff(compare(old, samples.clean()))
    assert rules(compare(samples.clean(), old).new) == ["zero-init-hidden", "linear-stack", "bias-before-batchnorm"]


def test_a_model_that_kept_a_layer_is_the_same_model() -> None:
    audit = samples.clean_audit()
    new = replace(audit, layers=(*audit.layers[:1], *samples.faulty_audit().layers))
    assert compare(samples.run_of(audit), samples.run_of(new)).strangers == ()
    assert compare(samples.run_of(audit), samples.run_of(replace(new, layers=()))).strangers == ()


def test_what_was_ignored_since_is_not_fixed() -> None:
    finding = samples.finding("linear-stack", samples.occurrence("fc"))
    difference = compare(with_findings(finding), with_findings(replace(finding, ignored="on purpose")))
    assert difference == compare(with_findings(), with_findings())


def test_targets_are_kept_apart() -> None:
    (mended,) = samples.mended().audits
    old = samples.run_of(samples.faulty_audit("a.onnx"), replace(mended, target="b.onnx"))
    new = samples.run_of(replace(mended, target="a.onnx"), samples.faulty_audit("b.onnx"))
    difference = compare(old, new)
    assert {change.target for change in difference.new} == {"b.onnx"}
    assert {change.target for change in difference.fixed} == {"a.onnx"}


def test_as_text() -> None:
    text = render_diff(compare(samples.mended(), samples.faulty()))
    assert text.splitlines()[:3] == [
        "New (3)",
        "  error[zero-init-hidden] models/a.onnx: encoder.layers.0.fc1 (+39 more layers)",
        "    encoder.layers.0.fc1 starts with every weight at zero.",
    ]
    assert text.endswith("\n3 new findings, 0 fixed, 0 unchanged.\n")
    assert "\x1b[1;31mNew (3)\x1b[0m" in render_diff(compare(samples.mended(), samples.faulty()), color=True)


def test_hostile_names() -> None:
    difference = compare(samples.clean(), samples.hostile())
    assert all(char.isprintable() or char == "\n" for char in render_diff(difference))
    markdown = render_diff(difference, "markdown")
    assert markdown.startswith("## trainaudit: 1 new finding, 0 fixed, 0 unchanged.")
    assert "::error::owned" not in markdown.splitlines()
