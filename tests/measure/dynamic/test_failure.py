"""Facts of a step that raised on the data, and of the run that did not come about."""

from __future__ import annotations

from dataclasses import replace

from tests.measure.dynamic.traces import table, trace
from trainaudit.measure.dynamic.measuring import measure_trace
from trainaudit.measure.facts import Unmeasured
from trainaudit.trace.data import DataSample, TargetStatistics
from trainaudit.trace.trace import Failure, Trace

FAILURE = Failure("loss", "ValueError: shapes differ, at net.py:3", "float32[16,4]", "float32[16,1]", "int64[16]")


def failed() -> Trace:
    data = DataSample("real", 64, 4, 16, target=TargetStatistics("binary", "int64", (16,), out_of_range_count=9))
    return replace(
        trace(settings={"data": "real"}), run=None, sampled_steps=(), data=data, stopped="loss failed", failure=FAILURE
    )


def test_the_failure_is_told_as_it_is() -> None:
    columns = measure_trace(failed(), table()).columns
    found = {
        name: columns[f"training.{name}"]["training"]
        for name in ("failed_part", "failure", "failed_inputs", "failed_output", "failed_target")
    }
    assert found == {
        "failed_part": "loss",
        "failure": "ValueError: shapes differ, at net.py:3",
        "failed_inputs": "float32[16,4]",
        "failed_output": "float32[16,1]",
        "failed_target": "int64[16]",
    }


def test_facts_of_the_run_have_the_reason_and_those_of_the_data_their_values() -> None:
    columns = measure_trace(failed(), table(2)).columns
    reason = Unmeasured("nothing was trained (loss failed)")
    for fact in ("is_finite", "final_loss", "update_ratio"):
        assert columns[f"training.{fact}"] == {"training": reason}, fact
    assert columns["layer.measured_rms"] == {"l0": reason, "l1": reason}
    assert columns["parameter.is_updated"] == {"l0.weight": reason, "l1.weight": reason}
    assert columns["data.out_of_range_label_count"] == {"data": 9}
    assert columns["data.target_std"] == {}  # classes have none


def test_a_run_that_was_made_has_no_failed_part() -> None:
    columns = measure_trace(trace(), table()).columns
    assert columns["training.failed_part"] == {"training": "none"}
    assert columns["training.failure"] == {}


def test_memory_that_ran_out_is_no_failure_and_no_finite_run() -> None:
    found = measure_trace(replace(trace(), run=None, sampled_steps=(), stopped="out of memory"), table()).columns
    reason = Unmeasured("nothing was trained (out of memory)")
    assert found["training.is_finite"] == {"training": reason}
    assert found["training.failed_part"] == {"training": reason}
