"""GitHub's rules for SARIF, one by one ("SARIF support for code scanning"), and the shape of SARIF 2.1.0."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.report import samples
from tests.report.sarif_schema import SCHEMA
from trainaudit.report.to_sarif import render_sarif
from trainaudit.result import Location, Run, State

RUNS = ["faulty", "clean", "several", "hostile", "large"]


def document(run: Run) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(render_sarif(run))
    Draft202012Validator(SCHEMA).validate(parsed)
    return parsed


def results(run: Run) -> list[dict[str, Any]]:
    return [result for part in document(run)["runs"] for result in part["results"]]


@pytest.fixture(params=RUNS)
def parsed(request: pytest.FixtureRequest) -> dict[str, Any]:
    return document(getattr(samples, request.param)())


def test_the_schema_can_fail() -> None:
    parsed = json.loads(render_sarif(samples.faulty()))
    validator = Draft202012Validator(SCHEMA)
    for damage in (
        lambda run: run["results"][0]["message"].pop("text"),
        lambda run: run["results"][0]["locations"].clear(),
        lambda run: run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"].update(uri="a b.onnx"),
        lambda run: run["results"][0].update(ruleid="x"),
    ):
        damaged = json.loads(json.dumps(parsed))
        damage(damaged["runs"][0])
        assert not validator.is_valid(damaged)


def test_every_rule_says_what_github_shows(parsed: dict[str, Any]) -> None:
    for run in parsed["runs"]:
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        for rule in rules:
            assert len(rule["name"]) <= 255
            assert len(rule["shortDescription"]["text"]) <= 1024
            assert len(rule["fullDescription"]["text"]) <= 1024
            assert rule["help"]["text"]
            assert rule["help"]["markdown"]
            properties = rule["properties"]
            assert properties["precision"] in ("very-high", "high", "medium", "low")
            assert properties["problem.severity"] in ("error", "warning", "recommendation")
            assert 1 <= len(properties["tags"]) <= 10
            assert "training-health" in properties["tags"]
            assert "security-severity" not in properties


def test_every_result_has_a_place_a_fingerprint_and_its_rule(parsed: dict[str, Any]) -> None:
    for run in parsed["runs"]:
        rules = run["tool"]["driver"]["rules"]
        for result in run["results"]:
            physical = result["locations"][0]["physicalLocation"]
            assert physical["artifactLocation"]["uri"]
            assert set(physical["region"]) == {"startLine", "startColumn", "endLine", "endColumn"}
            assert result["locations"][0]["logicalLocations"]
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            key, number = result["partialFingerprints"]["primaryLocationLineHash"].split(":")
            assert len(key) == 16
            assert int(number) >= 1
        keys = [
            (result["ruleId"], result["partialFingerprints"]["primaryLocationLineHash"]) for result in run["results"]
        ]
        assert len(set(keys)) == len(keys)


def test_uris_are_relative(parsed: dict[str, Any]) -> None:
    def uris(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["uri"]] if "uri" in node else []
            return own + [uri for value in node.values() for uri in uris(value)]
        return [uri for item in node for uri in uris(item)] if isinstance(node, list) else []

    for uri in uris(parsed["runs"]):
        assert not uri.startswith(("/", "file:", "..")), uri
        assert "://" not in uri
        assert "\\" not in uri


def test_limits_of_the_file(parsed: dict[str, Any]) -> None:
    assert len(parsed["runs"]) <= 20
    for run in parsed["runs"]:
        assert len(run["results"]) <= 25_000
        assert len(run["tool"]["driver"]["rules"]) <= 25_000
        for result in run["results"]:
            assert len(result["locations"]) + len(result.get("relatedLocations", ())) <= 1_000
    assert len(gzip.compress(json.dumps(parsed).encode())) <= 10_000_000


def test_a_run_per_target_with_a_category_of_its_own() -> None:
    parsed = document(samples.several())
    assert [run["automationDetails"]["id"] for run in parsed["runs"]] == [
        "trainaudit/static/models-a.onnx/",
        "trainaudit/static/models-clean.onnx/",
    ]


def test_more_targets_than_runs_share_one() -> None:
    audits = [samples.clean_audit(f"models/{index}.onnx") for index in range(21)]
    parsed = document(samples.run_of(*audits))
    assert len(parsed["runs"]) == 1
    assert parsed["runs"][0]["automationDetails"]["id"] == "trainaudit/static/"
    assert len(parsed["runs"][0]["artifacts"]) == 21


def test_python_where_it_is_known_else_the_model_file() -> None:
    found = {result["ruleId"]: result for result in results(samples.faulty())}
    physical = found["linear-stack"]["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "src/model.py"
    assert physical["region"]["startLine"] == 88
    assert (
        found["linear-stack"]["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "models/a.onnx"
    )

    nowhere = samples.finding("linear-stack", samples.occurrence("head.fc2", line=None, file=None))
    audit = replace(samples.faulty_audit(), findings=(nowhere,))
    physical = results(samples.run_of(audit))[0]["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "models/a.onnx"
    assert physical["region"] == {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1}


@pytest.mark.parametrize(
    "path",
    [
        "/home/someone/train/model.py",
        "C:\\Users\\someone\\model.py",
        "../other/model.py",
        "venv/lib/site-packages/timm/m.py",
        "<string>",
    ],
)
def test_a_source_outside_the_repository_is_not_an_anchor(path: str) -> None:
    finding = samples.finding("linear-stack", samples.occurrence("head.fc2", line=3, file=path))
    text = render_sarif(samples.run_of(replace(samples.faulty_audit(), findings=(finding,))))
    assert (
        json.loads(text)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        == "models/a.onnx"
    )
    assert "someone" not in text


def test_an_absolute_target_is_cut_to_its_name() -> None:
    text = render_sarif(samples.run_of(samples.faulty_audit("/home/someone/m x/ä.onnx")))
    assert "someone" not in text
    assert json.loads(text)["runs"][0]["artifacts"][0]["location"]["uri"] == "%C3%A4.onnx"


def test_many_occurrences_are_one_result_with_a_stable_fingerprint() -> None:
    found = [result for result in results(samples.faulty()) if result["ruleId"] == "zero-init-hidden"]
    assert len(found) == 1
    assert "+34 more layers" in found[0]["message"]["text"]
    assert len(found[0]["relatedLocations"]) == 40

    def fingerprint(count: int) -> str:
        finding = samples.finding("zero-init-hidden", *(samples.occurrence(f"fc{index}") for index in range(count)))
        audit = replace(samples.faulty_audit(), findings=(finding,))
        key: str = results(samples.run_of(audit))[0]["partialFingerprints"]["primaryLocationLineHash"]
        return key

    assert fingerprint(11) == fingerprint(30)
    few = samples.finding("zero-init-hidden", *(samples.occurrence(f"fc{index}") for index in range(10)))
    assert len(results(samples.run_of(replace(samples.faulty_audit(), findings=(few,))))) == 10


def test_fingerprints_hold_no_numbers() -> None:
    """A moved line, another measured value and another message do not make another alert."""
    one = samples.finding("linear-stack", samples.occurrence("fc", 3, evidence=(samples.ZERO,)))
    two = samples.finding(
        "linear-stack", samples.occurrence("fc", 30, message="other", evidence=(replace(samples.ZERO, value=0.995),))
    )
    keys = [
        results(samples.run_of(replace(samples.faulty_audit(), findings=(item,))))[0]["partialFingerprints"]
        for item in (one, two)
    ]
    assert keys[0] == keys[1]


def test_what_was_set_aside_is_not_an_alert() -> None:
    assert "excessive-dropout" not in {result["ruleId"] for result in results(samples.faulty())}
    audit = samples.faulty_audit()
    known = replace(audit, findings=tuple(replace(finding, is_new=False) for finding in audit.findings))
    assert results(samples.run_of(known)) == []


def test_the_worst_come_first() -> None:
    levels = [result["level"] for result in results(samples.faulty())]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def test_messages_say_the_number_and_the_layer_first() -> None:
    found = {result["ruleId"]: result["message"]["text"] for result in results(samples.faulty())}
    assert found["zero-init-hidden"].startswith("encoder.layers.0.fc1 starts with every weight at zero.")
    assert "zero share 100 %, expected ≤ 99 %" in found["zero-init-hidden"]


def test_names_are_neither_links_nor_placeholders() -> None:
    text = results(samples.hostile())[0]["message"]["text"]
    assert "[x](" not in text
    assert "\\[x\\](" in text
    finding = samples.finding("linear-stack", samples.occurrence("fc", message="{0} and {1}"))
    text = results(samples.run_of(replace(samples.faulty_audit(), findings=(finding,))))[0]["message"]["text"]
    assert text == "{{0}} and {{1}}"


def test_what_did_not_run_is_a_notification() -> None:
    audit = replace(
        samples.clean_audit(), outcomes=(samples.outcome("linear-stack", State.FAILED, "it divided by zero"),)
    )
    run = document(
        samples.run_of(
            audit, failures=[("/home/someone/x.onnx", "It is empty.")], warnings=["An ignore matched nothing."]
        )
    )
    invocation = run["runs"][0]["invocations"][0]
    assert invocation["executionSuccessful"] is False
    notes = {(note["level"], note["message"]["text"]) for note in invocation["toolExecutionNotifications"]}
    assert ("error", "The rule linear-stack crashed: it divided by zero") in notes
    assert ("error", "x.onnx: It is empty.") in notes
    assert ("warning", "An ignore matched nothing.") in notes
    assert run["runs"][0]["tool"]["driver"]["rules"] == []


def test_the_model_is_an_artifact_with_its_hash() -> None:
    artifact = document(samples.faulty())["runs"][0]["artifacts"][0]
    assert artifact["hashes"]["sha-256"] == samples.model().sha256
    assert artifact["roles"] == ["analysisTarget"]


def test_nothing_audited_is_still_a_file() -> None:
    parsed = document(samples.run_of(failures=[("a.onnx", "It is empty.")]))
    assert parsed["runs"][0]["results"] == []
    assert parsed["runs"][0]["invocations"][0]["executionSuccessful"] is False


def test_a_model_wide_finding_has_a_logical_place() -> None:
    occurrence = replace(samples.occurrence("model"), location=Location())
    finding = samples.finding("double-softmax", occurrence, kind="model")
    found = results(samples.run_of(replace(samples.clean_audit(), findings=(finding,))))
    assert found[0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "model"
