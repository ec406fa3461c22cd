"""The record survives a round trip, and only a record is read."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.report import samples, trace_samples
from tests.report.trace_schema import definitions
from trainaudit import result
from trainaudit.errors import TrainauditError
from trainaudit.report.to_json import from_json, render_json
from trainaudit.resources import schema_file
from trainaudit.result import Audit, Evidence, Run

RUNS = ["faulty", "clean", "several", "hostile", "large"]
SCHEMA = json.loads(schema_file().read_text("utf-8"))


@pytest.mark.parametrize("name", RUNS)
def test_round_trip_is_exact_and_valid(name: str) -> None:
    run: Run = getattr(samples, name)()
    text = render_json(run)
    assert from_json(text) == run
    assert render_json(from_json(text)) == text
    assert text.isascii()
    Draft202012Validator(SCHEMA).validate(json.loads(text))


@settings(max_examples=50)
@given(st.one_of(st.floats(allow_nan=False), st.integers(), st.booleans(), st.text()), st.text())
def test_any_fact_survives(value: Any, name: str) -> None:
    audit = replace(samples.clean_audit(), facts={"layer.gain": {name: value, "other": None}})
    run = samples.run_of(audit)
    again = from_json(render_json(run))
    assert again == run
    assert type(again.audits[0].facts["layer.gain"][name]) is type(value)
    Draft202012Validator(SCHEMA).validate(json.loads(render_json(run)))


def test_what_is_not_finite_is_still_json() -> None:
    audit = samples.clean_audit()
    values: dict[str, float] = {"a": float("inf"), "b": float("-inf"), "c": float("nan"), "d": 1.0}
    run = samples.run_of(replace(audit, facts={"parameter.absmax": values}))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(render_json(run), parse_constant=refuse)
    assert document["audits"][0]["facts"]["parameter.absmax"]["a"] == {"non_finite": "inf"}
    Draft202012Validator(SCHEMA).validate(document)
    again = from_json(render_json(run)).audits[0].facts["parameter.absmax"]
    assert again["a"] == float("inf")
    assert again["b"] == float("-inf")
    assert again["c"] != again["c"]


def test_the_schema_is_as_the_record() -> None:
    """Every field stands in the schema, with the same ones required."""
    for name, kind in vars(result).items():
        if not (isinstance(kind, type) and is_dataclass(kind)):
            continue
        schema = SCHEMA if kind is Run else SCHEMA["$defs"][name]
        own = {field.name for field in fields(kind)}
        if kind is Run:
            own = own - {"version"} | {"format", "tool"}
        assert set(schema["properties"]) == own, name
        optional = {
            field.name
            for field in fields(kind)
            if field.default is not field.default_factory  # one of them is set
        }
        assert set(schema["required"]) == own - optional, name


def test_the_schema_of_the_trace_is_made_of_its_classes() -> None:
    """After a change of the trace: `TRAINAUDIT_REGENERATE=1 python -m pytest tests/report/test_to_json.py`."""
    if os.environ.get("TRAINAUDIT_REGENERATE"):
        SCHEMA["$defs"].update(definitions())
        schema_file().write_text(json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n", "utf-8")
    assert {name: SCHEMA["$defs"].get(name) for name in definitions()} == definitions()


def test_a_probed_record_survives_and_is_valid() -> None:
    text = render_json(trace_samples.probed())
    assert repr(from_json(text)) == repr(trace_samples.probed())  # a NaN in it is not equal to itself
    assert render_json(from_json(text)) == text
    Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_the_schema_refuses_what_is_wrong() -> None:
    document = json.loads(render_json(samples.faulty()))
    validator = Draft202012Validator(SCHEMA)
    Draft202012Validator.check_schema(SCHEMA)
    document["audits"][0]["findings"][0]["severity"] = "fatal"
    assert not validator.is_valid(document)
    assert not validator.is_valid({"format": 1})


def _broken(change: Any) -> str:
    document = json.loads(render_json(samples.faulty()))
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"format": NaN, "audits": []}', "is not JSON"),
        ("[" * 200_000, "is not JSON"),
        ("[]", "not an audit record"),
        ("{}", "not an audit record"),
        ('{"format": true, "audits": []}', "no valid format number"),
        ('{"format": 1, "audits": []}', "tool.version"),
        (_broken(lambda run: run.pop("command")), "lacks command"),
        (_broken(lambda run: run["audits"][0]["findings"][1].pop("rule")), "lacks audits[0].findings[1].rule"),
        (
            _broken(lambda run: run["audits"][0]["findings"][0].update(severity="fatal")),
            "audits[0].findings[0].severity",
        ),
        (
            _broken(lambda run: run["audits"][0]["model"].update(size="big")),
            "audits[0].model.size, where int must stand",
        ),
        (
            _broken(lambda run: run["audits"][0]["model"].update(size=True)),
            "audits[0].model.size, where int must stand",
        ),
        (_broken(lambda run: run.update(audits={})), "audits, where a list must stand"),
        (_broken(lambda run: run.update(failures=[["a", "b"]])), "target and reason at failures[0]"),
        (_broken(lambda run: run["audits"][0].update(facts=[])), "audits[0].facts, where an object must stand"),
        (_broken(lambda run: run["audits"][0].update(model=None)), "audits[0].model, where an object must stand"),
    ],
)
def test_what_is_no_record_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(TrainauditError) as caught:
        from_json(text, "audit.json")
    assert caught.value.slug == "bad-record"
    assert says in caught.value.what
    assert caught.value.what.startswith("audit.json ")
    assert "\n" not in str(caught.value)
    assert len(caught.value.what) < 300


def test_a_newer_record_is_named_as_such() -> None:
    with pytest.raises(TrainauditError, match="reads formats up to 1") as caught:
        from_json('{"format": 2, "audits": []}')
    assert caught.value.slug == "newer-record"


def test_unknown_fields_are_passed_over() -> None:
    text = _broken(lambda run: (run.update(later=1), run["audits"][0].update(later={})))
    assert from_json(text) == samples.faulty()


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_record_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever one value is replaced with: a record or one clear error, never anything else."""
    document = json.loads(render_json(samples.faulty()))
    node: Any = document
    for _ in range(data.draw(st.integers(1, 6))):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], (dict, list)) and data.draw(st.booleans()):
            node = node[key]
        else:
            node[key] = data.draw(st.sampled_from([None, 1, -1.5, "x", True, [], {}, [[]], {"non_finite": "inf"}]))
            break
    with suppress(TrainauditError):
        run = from_json(json.dumps(document))
        assert all(isinstance(audit, Audit) for audit in run.audits)
        assert from_json(render_json(run)) == run


def test_evidence_keeps_its_types() -> None:
    evidence = Evidence("layer.depth", 3, "layers", ">", 2.0)
    audit = replace(
        samples.clean_audit(),
        findings=(samples.finding("linear-stack", samples.occurrence("a", evidence=(evidence,))),),
    )
    again = from_json(render_json(samples.run_of(audit))).audits[0].findings[0].root.evidence[0]
    assert (again, type(again.value), type(again.threshold)) == (evidence, int, float)
