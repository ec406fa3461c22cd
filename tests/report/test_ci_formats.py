"""GitHub annotations, GitLab Code Quality and JUnit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.report import samples
from trainaudit.report.formats import FORMATS, render
from trainaudit.report.to_github import render_github
from trainaudit.report.to_gitlab import render_gitlab
from trainaudit.report.to_junit import render_junit
from trainaudit.result import Run, State

RUNS = ["faulty", "clean", "several", "hostile", "large"]
COMMAND = re.compile(r"^::(error|warning|notice) ((?:[a-z]+=[^:,\r\n]*,?)+)::(.*)$")


@pytest.mark.parametrize("name", RUNS)
def test_every_line_is_one_command(name: str) -> None:
    *commands, summary = render_github(getattr(samples, name)()).splitlines()
    for line in commands:
        match = COMMAND.match(line)
        assert match, line
        assert re.fullmatch(r"(?:[^%]|%25|%0A|%0D|%3A|%2C)*", match[2] + match[3])
        assert line.isprintable()
    assert not summary.startswith("::") or COMMAND.match(summary)


def _unescaped(text: str) -> str:
    return text.replace("%3A", ":").replace("%2C", ",").replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def test_an_annotation_says_where_and_how_much() -> None:
    line = render_github(samples.faulty()).splitlines()[0]
    match = COMMAND.match(line)
    assert match
    assert match[1] == "error"
    assert (
        match[2] == "file=src/model.py,line=40,title=zero-init-hidden%3A A hidden layer starts with all weights at zero"
    )
    assert _unescaped(match[3]).split("\n") == [
        "encoder.layers.0.fc1 starts with every weight at zero. (+39 more layers)",
        "zero share: 100 %, expected ≤ 99 %",
        "Fix: Draw the weights at random, with the gain that the activation needs.",
    ]


def test_no_more_annotations_than_github_shows() -> None:
    audit = samples.faulty_audit()
    many = [samples.finding("zero-init-hidden", samples.occurrence(f"a{index}")) for index in range(14)]
    many += [samples.finding("linear-stack", samples.occurrence(f"b{index}")) for index in range(12)]
    many += [samples.finding("bias-before-batchnorm", samples.occurrence(f"c{index}")) for index in range(30)]
    lines = render_github(samples.run_of(replace(audit, findings=tuple(many)))).splitlines()
    kinds = [line.split(" ")[0] for line in lines]
    assert kinds.count("::error") == 10
    assert kinds.count("::warning") == 10
    assert kinds.count("::notice") == 10
    assert lines[-1].startswith("::notice title=trainaudit::+27 more. Found 56 problems")


def test_nothing_found_is_said_without_a_command() -> None:
    assert render_github(samples.clean()).startswith("Found no problems in 1 model. 7 rules: 5 clean")


@pytest.mark.parametrize("name", RUNS)
def test_code_quality_has_what_gitlab_needs(name: str) -> None:
    issues = json.loads(render_gitlab(getattr(samples, name)()))
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["description"].isprintable()
        assert not issue["location"]["path"].startswith(("/", "./", ".."))
        assert issue["location"]["lines"]["begin"] >= 1


def test_code_quality_is_empty_only_for_a_clean_run() -> None:
    assert json.loads(render_gitlab(samples.clean())) == []
    assert [issue["severity"] for issue in json.loads(render_gitlab(samples.several()))] == [
        "blocker",
        "critical",
        "major",
        "info",
    ]


def _suites(run: Run) -> ElementTree.Element:
    return ElementTree.fromstring(render_junit(run).encode())


@pytest.mark.parametrize("name", RUNS)
def test_junit_is_valid_and_its_totals_add_up(name: str) -> None:
    root = _suites(getattr(samples, name)())
    for node in (root, *root.findall("testsuite")):
        cases = list(node.iter("testcase"))
        assert int(node.get("tests", "")) == len(cases)
        for tag, total in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(node.get(total, "")) == sum(case.find(tag) is not None for case in cases)


def test_junit_has_a_case_per_rule() -> None:
    suite = _suites(samples.faulty())[0]
    cases = {case.get("name"): case for case in suite}
    assert suite.get("name") == "models/a.onnx"
    failure = cases["zero-init-hidden"].find("failure")
    assert failure is not None
    assert failure.get("message") == "encoder.layers.0.fc1 starts with every weight at zero."
    assert "zero share: 100 %, expected ≤ 99 %" in (failure.text or "")
    assert cases["bias-before-batchnorm"].find("system-out") is not None
    skipped = cases["double-softmax"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "not run: the loss is not declared (run: trainaudit models/a.onnx --loss NAME)"


def test_junit_fails_where_the_run_fails() -> None:
    def failed(fail_on: str) -> set[str | None]:
        root = _suites(replace(samples.faulty(), fail_on=fail_on))
        return {case.get("name") for case in root.iter("testcase") if case.find("failure") is not None}

    assert failed("error") == {"zero-init-hidden"}
    assert failed("warning") == failed("never") == {"zero-init-hidden", "linear-stack"}
    assert failed("note") == {"zero-init-hidden", "linear-stack", "bias-before-batchnorm"}


def test_junit_shows_a_crash_and_a_baseline_as_what_they_are() -> None:
    audit = samples.faulty_audit()
    audit = replace(
        audit,
        findings=tuple(replace(finding, is_new=False) for finding in audit.findings),
        outcomes=(*audit.outcomes, samples.outcome("other", State.FAILED, "it divided by zero")),
    )
    cases = {case.get("name"): case for case in _suites(samples.run_of(audit))[0]}
    skipped, error = cases["zero-init-hidden"].find("skipped"), cases["other"].find("error")
    assert skipped is not None
    assert skipped.get("message") == "in the baseline"
    assert error is not None
    assert error.get("message") == "it divided by zero"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_text_without_escape_codes(name: str) -> None:
    text = render(samples.hostile(), name)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.endswith("\n")
    assert "<script>alert" not in text or name not in ("junit", "html")
    text.encode()
