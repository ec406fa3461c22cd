"""What facts and rules say of a run whose step is the user's own."""

from __future__ import annotations

from tests.measure.dynamic.traces import table, trace
from trainaudit.measure.dynamic.measuring import measure_trace
from trainaudit.measure.facts import FactValue, Unmeasured
from trainaudit.trace.experiments import Experiment


def seen(**values: bool) -> FactValue | None:
    stuck = {"start_loss": 2.1, "final_loss": 1.6, "nearest_floor": "none", "steps": 300, **values}
    found = measure_trace(trace(experiments={"overfit-one-batch": Experiment("ran", values=stuck)}), table())
    return found.columns["training.is_loss_seen"].get("training")


def test_how_low_a_loss_of_nothing_that_is_shown_can_get_is_not_known() -> None:
    hidden = seen(is_seen=False)
    assert isinstance(hidden, Unmeasured)
    assert "(loss, output)" in hidden.reason
    assert seen(is_seen=True) is True


def test_a_trace_of_before_says_nothing_of_it() -> None:
    assert seen() is True


def test_a_run_that_was_cut_soon_leaves_open_what_takes_steps_to_tell() -> None:
    def steps(count: int) -> FactValue | None:
        return measure_trace(trace([1.0] * count), table()).columns["training.step_count"].get("training")

    cut = steps(2)
    assert isinstance(cut, Unmeasured)
    assert "cut after 2 steps" in cut.reason
    assert steps(10) == 10
