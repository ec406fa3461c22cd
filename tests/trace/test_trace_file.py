"""A trace survives the way to disk and back, and only a trace is read."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.report import trace_samples
from trainaudit.errors import TrainauditError
from trainaudit.report.to_json import render_json
from trainaudit.trace import data, experiments, trace
from trainaudit.trace.trace import Trace
from trainaudit.trace.trace_file import read_trace, write_trace

NUMBERS = st.one_of(st.none(), st.floats())
TEXTS = st.text(max_size=8)
SERIES = st.lists(NUMBERS, max_size=4).map(tuple)

EXPERIMENTS = st.builds(
    experiments.Experiment,
    state=st.sampled_from([experiments.RAN, experiments.CUT]),
    values=st.dictionaries(TEXTS, st.one_of(st.floats(), TEXTS, st.booleans()), max_size=3),
    curves=st.dictionaries(TEXTS, SERIES, max_size=2),
    seeds=st.lists(st.integers(), max_size=3).map(tuple),
    seconds=st.floats(),
)
TRACES = st.builds(
    Trace,
    settings=st.builds(trace.ProbeSettings, evidence=TEXTS, data=TEXTS, learning_rate=NUMBERS, is_adaptive=st.booleans()),
    sampled_steps=st.lists(st.integers(0, 100), max_size=3).map(tuple),
    run=st.one_of(
        st.none(),
        st.builds(
            trace.TrainingRun,
            loss=SERIES,
            validation_loss=st.lists(st.tuples(st.integers(0, 9), st.floats()), max_size=2).map(tuple),
            first_non_finite=st.one_of(st.none(), st.builds(trace.NonFinite, st.integers(), TEXTS, TEXTS)),
            seconds_per_step=NUMBERS,
        ),
    ),
    activations=st.lists(
        st.builds(
            trace.ActivationSeries, tap=st.builds(trace.Tap, TEXTS), rms=SERIES, silent_share=NUMBERS,
            histogram_first=st.one_of(st.none(), st.builds(trace.Histogram, st.floats(), st.floats(), st.just((1, 2)))),
        ),
        max_size=2,
    ).map(tuple),
    parameters=st.lists(st.builds(trace.ParameterSeries, TEXTS, st.integers(), gradient_norm=SERIES), max_size=2).map(tuple),
    experiments=st.dictionaries(TEXTS, EXPERIMENTS, max_size=2),
    data=st.one_of(
        st.none(),
        st.builds(
            data.DataSample, TEXTS, st.integers(), st.integers(), st.integers(), duplicate_share=NUMBERS,
            inputs=st.lists(st.builds(data.InputStatistics, TEXTS, TEXTS, st.just((2, 3)), mean=NUMBERS), max_size=2).map(tuple),
        ),
    ),
    cuts=st.lists(TEXTS, max_size=2).map(tuple),
    timings=st.dictionaries(TEXTS, st.floats(), max_size=2),
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(TRACES)
def test_every_trace_survives(before: Trace) -> None:
    text = write_trace(before, "m.onnx")
    assert text.isascii()
    assert repr(read_trace(text, "t.json")) == repr(before)  # NaN is not equal to itself, but is written alike


def test_a_trace_is_also_read_from_an_audits_record() -> None:
    run = trace_samples.probed()
    assert repr(read_trace(render_json(run), "audit.json")) == repr(run.audits[0].trace)


def _changed(**changes: Any) -> str:
    return json.dumps({**json.loads(write_trace(trace_samples.trace(), "m")), **changes})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        (write_trace(trace_samples.trace(), "m")[:5000], "is not JSON"),
        ("[" * 200_000, "is not JSON"),
        ("[]", "holds no trace"),
        ('{"kind": "facts", "format": 1}', "holds no trace"),
        ('{"audits": []}', "holds no traces"),
        ('{"audits": [{"trace": {"a": 1}}, {"trace": {"settings": 1}}]}', "holds 2 traces"),
        ('{"audits": [{"trace": {"settings": 1}}]}', "trace.settings, where an object must stand"),
        (_changed(format="1"), "no valid format number"),
        (_changed(format=True), "no valid format number"),
        (_changed(settings=None), "settings, where an object must stand"),
        (_changed(sampled_steps=[1.5]), "sampled_steps[0], where int must stand"),
        (_changed(timings={"load": 10**400}), "too large for a float"),
        (_changed(timings={"load": {"non_finite": []}}), "timings.load, where float must stand"),
        (_changed(experiments={"same-seed": "ran"}), "experiments.same-seed, where an object must stand"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(TrainauditError) as caught:
        read_trace(text, "t.json")
    assert caught.value.slug == "bad-trace"
    assert caught.value.what.startswith("t.json ")
    assert says in caught.value.what
    assert len(caught.value.what) < 300


def test_a_newer_trace_is_named_as_such() -> None:
    with pytest.raises(TrainauditError, match="reads formats up to 1") as caught:
        read_trace(_changed(format=2), "t.json")
    assert caught.value.slug == "newer-trace"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_trace_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever one value is replaced with: a trace or one clear error, never anything else."""
    document = json.loads(write_trace(trace_samples.trace(), "m"))
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
        assert isinstance(read_trace(json.dumps(document), "t.json"), Trace)
