"""What facts say of a trace: hand-made traces whose numbers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.measure.dynamic.traces import activation, forward_trace, table, trace, weight
from trainaudit.measure.catalog import BY_NAME, CATALOG, DATA, FORWARD, PROBED, TRAINING
from trainaudit.measure.dynamic.experiments import experiments_for
from trainaudit.measure.dynamic.measuring import measure_trace
from trainaudit.measure.dynamic.run import fall_score
from trainaudit.measure.facts import FactTable, FactValue, Unmeasured
from trainaudit.trace.experiments import NAMES, Experiment
from trainaudit.trace.trace import NonFinite, Trace


def run_fact(found: FactTable, name: str) -> FactValue | None:
    return found.columns[f"training.{name}"].get("training")


def measured(seen: Trace, layers: int = 3) -> FactTable:
    return measure_trace(seen, table(layers))


# --- the gradient ---------------------------------------------------------------------------------------------------------


def test_the_gradient_is_held_against_the_last_layer_by_its_rms() -> None:
    """Norms 1e-6 and 1 of weights of 100 and 4 elements have rms 1e-7 and 0.5."""
    seen = trace(
        parameters=[weight("l0", [1e-6] * 4, size=100), weight("l1", [0.1] * 4), weight("l2", [1.0] * 4, size=4)]
    )
    found = measured(seen)
    assert run_fact(found, "end_to_end_ratio") == pytest.approx(2e-7)
    assert run_fact(found, "initial_end_to_end_ratio") == pytest.approx(2e-7)
    assert found.columns["layer.initial_gradient_ratio"]["l2"] == 1.0
    assert found.columns["layer.measured_end_to_end_ratio"] == {"l0": pytest.approx(2e-7)}


def test_a_run_that_was_cut_at_once_says_nothing_of_what_weights_come_to() -> None:
    """Behind two layers that start at zero, as in DiT, the first gradient comes at the third step."""
    parameters = [weight("l0", [0.0, 0.0]), weight("l1", [0.1, 0.1]), weight("l2", [1.0, 1.0])]
    found = measured(trace([1.0, 1.1], parameters=[replace(parameters[0], is_changed=False), *parameters[1:]]))
    for fact in ("end_to_end_ratio", "update_ratio"):
        reason = run_fact(found, fact)
        assert isinstance(reason, Unmeasured)
        assert "cut after 2 steps" in reason.reason
    assert isinstance(found.columns["parameter.is_updated"]["l0.weight"], Unmeasured)
    assert found.columns["parameter.is_updated"]["l1.weight"] is True


def test_the_first_gradients_behind_a_layer_that_starts_at_zero_are_not_held_against_the_network() -> None:
    """adaLN-zero: what one step of Adam made of the last layer and of a gate is all that lets the gradient pass."""
    steps = [0.0, 0.0, 1e-7, 1e-4, *[0.5] * 16]
    found = measured(trace([1.0] * 20, parameters=[weight("l0", steps), weight("l1", [1.0] * 20)]), 2)
    assert run_fact(found, "initial_end_to_end_ratio") == pytest.approx(1e-7)
    assert not any(
        isinstance(ratio, float) for ratio in found.columns["layer.measured_initial_end_to_end_ratio"].values()
    )
    assert found.columns["layer.measured_end_to_end_ratio"] == {"l0": 0.5}
    dead = measured(trace([1.0] * 20, parameters=[weight("l0", [0.0] * 20), weight("l1", [1.0] * 20)]), 2)
    assert dead.columns["layer.measured_end_to_end_ratio"] == {"l0": 0.0}


def test_the_place_is_the_earliest_layer_with_half_of_the_change() -> None:
    norms = {"l0": 1e-9, "l1": 1e-8, "l2": 1e-4, "l3": 1.0}
    found = measured(trace(parameters=[weight(name, [norm] * 4) for name, norm in norms.items()]), 4)
    assert list(found.columns["layer.measured_end_to_end_ratio"]) == ["l1"]
    assert found.columns["layer.neighbor_gradient_ratio"]["l1"] == pytest.approx(1e-4)


def test_one_odd_step_does_not_move_the_median() -> None:
    steps = [1.0, 1.0, 1e9, 1.0, 1.0]
    found = measured(trace(parameters=[weight("l0", steps), weight("l1", [1.0] * 5)]), 2)
    assert run_fact(found, "end_to_end_ratio") == 1.0


def test_a_layer_without_any_gradient_is_no_last_one() -> None:
    found = measured(trace(parameters=[weight("l0", [1.0] * 4), weight("l1", [2.0] * 4), weight("l2", [0.0] * 4)]))
    assert run_fact(found, "end_to_end_ratio") == 0.5


def test_gates_and_frozen_weights_are_no_part_of_the_chain() -> None:
    roles = {"l0": "gate", "l1": "hidden", "l2": "hidden"}
    seen = trace(parameters=[weight("l0", [1e-9] * 4), weight("l1", [1.0] * 4), weight("l2", [1.0] * 4)])
    found = measure_trace(seen, table(3, layer__role=roles))
    assert run_fact(found, "end_to_end_ratio") == 1.0


def test_update_ratios_are_those_after_warm_up() -> None:
    slow, fast = weight("l0", [1.0] * 4, update=4e-6), weight("l1", [1.0] * 4, update=4e-2)
    found = measured(trace(parameters=[slow, fast]), 2)
    assert run_fact(found, "update_speed_spread") == pytest.approx(1e4)
    assert (run_fact(found, "slowest_layer"), run_fact(found, "fastest_layer")) == ("l0", "l1")
    assert run_fact(found, "update_ratio") == pytest.approx((1e-6 + 1e-2) / 2)
    assert sorted(found.columns["layer.update_ratio"].values()) == pytest.approx([1e-6, 1e-2])  # type: ignore[type-var]


def test_a_weight_that_starts_at_zero_has_no_ratio_and_breaks_nothing() -> None:
    found = measured(trace(parameters=[weight("l0", [1.0] * 4, norm=0.0)]), 1)
    assert run_fact(found, "update_ratio") is None
    assert run_fact(found, "relative_gradient") is None


def test_decay_is_a_share_of_the_step() -> None:
    seen = trace(parameters=[weight("l0", [1.0] * 4, update=4e-3)], settings={"weight_decay": 0.05})
    assert run_fact(measured(seen, 1), "decay_share") == pytest.approx(0.01 * 0.05 / 1e-3)
    assert run_fact(measured(seen, 1), "decay_per_step") == pytest.approx(0.01 * 0.05)


def test_a_decay_that_goes_through_the_adaptive_scale_is_no_share_of_the_weights() -> None:
    adam = {"weight_decay": 0.05, "is_adaptive": True, "optimizer": "Adam"}
    assert run_fact(measured(trace(settings=adam), 1), "decay_per_step") is None
    assert run_fact(measured(trace(settings={**adam, "optimizer": "AdamW"}), 1), "decay_per_step") == 0.01 * 0.05


# --- activations ----------------------------------------------------------------------------------------------------------


def test_the_backward_ratio_is_of_norms() -> None:
    """rms 1 over 100 values and rms 2 over 4 values have norms 10 and 4."""
    seen = trace(
        activations=[
            activation("l0", gradient_rms=(1.0, 9.0), value_count=100),
            activation("l1", gradient_rms=(2.0, 9.0), value_count=4),
        ]
    )
    assert measured(seen, 2).columns["layer.measured_backward_ratio"] == {"l0": pytest.approx(2.5), "l1": 1.0}


def test_a_collapse_is_told_of_what_the_head_reads_and_from_a_narrow_layer() -> None:
    """A layer of twenty dimensions that keeps two has lost them; one of four units cannot keep more than four."""

    def ratio(rank: float, bound: float, fan_in: int = 4) -> object:
        layers = [
            activation("l0", effective_rank=(20.0,), effective_rank_bound=32.0),
            activation("l1", effective_rank=(rank,), effective_rank_bound=bound),
            activation("l2", effective_rank=(1.0,), effective_rank_bound=32.0),
        ]
        roles = {"l0": "hidden", "l1": "hidden", "l2": "output-head"}
        return measure_trace(
            trace(activations=layers), table(3, layer__role=roles, layer__fan_in={"l2": fan_in})
        ).columns["layer.measured_rank_ratio"]

    assert ratio(2.0, 32.0) == {"l1": pytest.approx(0.1)}
    assert ratio(2.0, 32.0, fan_in=8) == {}  # l1 gives 4 of the 8 values, and another branch the rest
    assert ratio(3.9, 4.0) == {"l1": pytest.approx(3.9 / 4.0)}


def test_silence_stands_at_the_rectifier_and_at_the_layer_that_it_reads() -> None:
    layers = [
        activation("l0"),
        activation("l1", "relu", silent_share=0.5, silent_share_first=0.25, silent_share_last=1.0),
    ]
    seen = trace(activations=layers)
    found = measure_trace(seen, table(2, layer__activation={"l0": "relu"}))
    assert found.columns["layer.measured_silent_share"] == {"l1": 0.5}
    assert found.columns["layer.silent_share_growth"] == {"l1": 0.75}
    assert found.columns["layer.output_silent_share"] == {"l0": 0.5}


def test_the_prediction_of_a_segment_is_corrected_at_its_ends() -> None:
    """Predicted rms 2 and 4, measured 1 and 8: the end is twice what was predicted, the change four times."""
    static = table(
        2,
        layer__predicted_rms={"l0": 2.0, "l1": 4.0},
        layer__predicted_backward_ratio={"l0": 0.5, "l1": 1.0},
        segment__first_layer={"s": "l0"},
        segment__last_layer={"s": "l1"},
        segment__predicted_end_std={"s": 3.0},
        segment__predicted_forward_change={"s": 2.0},
        segment__predicted_backward_change={"s": 0.5},
    )
    seen = trace(
        activations=[
            activation("l0", rms=(1.0,), gradient_rms=(0.05,)),
            activation("l1", rms=(8.0,), gradient_rms=(1.0,)),
        ]
    )
    found = measure_trace(seen, static).columns
    assert found["segment.measured_end_std"] == {"s": 6.0}
    assert found["segment.measured_backward_change"] == {"s": pytest.approx(0.05)}
    assert found["segment.measured_change"] == {"s": pytest.approx(math.sqrt(8.0 * 0.05))}


# --- the loss and the run ---------------------------------------------------------------------------------------------------


def test_the_ends_of_the_loss_are_medians() -> None:
    found = measured(trace([2.0, 2.0, 2.0, 50.0, 1.0, 0.5, 0.5, 0.5]))
    assert run_fact(found, "first_loss") == 2.0
    assert run_fact(found, "loss_ratio") == 0.25


def test_a_straight_fall_scores_and_a_constant_does_not() -> None:
    assert fall_score([2.0, 1.5, 1.0, 0.5]) == 1e6
    assert fall_score([1.0] * 8) == 0.0
    assert fall_score([1.0, 2.0, 3.0, 5.0]) < 0.0  # type: ignore[operator]


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=50), st.floats(0.1, 10.0), st.floats(-100.0, 100.0))
def test_the_score_depends_on_neither_scale_nor_shift(loss: list[float], scale: float, shift: float) -> None:
    base, moved = fall_score(loss), fall_score([scale * value + shift for value in loss])
    assert base is not None
    assert moved is not None
    if 1e-6 < abs(base) < 1e5 and max(loss) - min(loss) > 1e-3 * max(*map(abs, loss), 100.0):  # else rounding decides
        assert moved == pytest.approx(base, rel=1e-2)


def test_a_loss_that_is_learnt_to_the_last_bit_is_not_clipped() -> None:
    """−ln(1 − 1e-7) is what clipped probabilities leave of a cross-entropy where every class is right."""
    run = {"gradient_norm": [1.0] * 5 + [0.0] * 25}
    assert run_fact(measured(trace([0.69] * 5 + [1.19e-7] * 25, run=run)), "zero_gradient_share") == 0.0
    assert run_fact(measured(trace([0.69] * 5 + [16.1] * 25, run=run)), "zero_gradient_share") == pytest.approx(25 / 30)


def test_a_spike_stands_out_of_the_steps_before_it_and_of_the_beginning() -> None:
    norms = (1.0,) * 20 + (40.0,) + (1.0,) * 9
    found = measured(trace([1.0] * 30, run={"gradient_norm": norms}))
    assert (run_fact(found, "gradient_spike_ratio"), run_fact(found, "spike_step")) == (40.0, 20)
    falling = tuple(0.5**step for step in range(20)) + (1e-3,) * 10
    assert run_fact(measured(trace([1.0] * 30, run={"gradient_norm": falling})), "gradient_spike_ratio") == 1.0


def test_the_first_value_that_is_not_finite_is_named() -> None:
    seen = trace([1.0, math.nan], run={"first_non_finite": NonFinite(1, "loss", "loss")})
    found = measured(seen)
    assert run_fact(found, "is_finite") is False
    assert (run_fact(found, "non_finite_kind"), run_fact(found, "non_finite_step")) == ("loss", 1)


def test_underflow_is_weighed_by_size() -> None:
    small, large = weight("l0", [1.0] * 4, size=10), weight("l1", [1.0] * 4, size=30)
    from dataclasses import replace

    small = replace(small, gradient_underflow_share=(1.0,) * 4)
    assert run_fact(measured(trace(parameters=[small, large]), 2), "gradient_underflow_share") == 0.25


# --- experiments ------------------------------------------------------------------------------------------------------------


def test_what_equal_inputs_force_is_not_held_against_the_fit() -> None:
    values = {
        "start_loss": 2.0,
        "final_loss": 0.6,
        "label_conflict": 0.5,
        "accuracy": 0.75,
        "nearest_floor": "none",
        "steps": 90,
    }
    found = measured(trace(experiments={"overfit-one-batch": Experiment("ran", values=values)}))
    assert run_fact(found, "overfit_ratio") == pytest.approx(0.1 / 1.5)
    assert run_fact(found, "overfit_error_share") == 0.25


def test_a_batch_that_was_not_trained_on_to_the_end_says_nothing() -> None:
    values = {"start_loss": 2.0, "final_loss": 1.9, "steps": 4}
    found = measured(trace(experiments={"overfit-one-batch": Experiment("cut", "the time budget was spent", values)}))
    value = run_fact(found, "overfit_ratio")
    assert isinstance(value, Unmeasured)
    assert "time budget" in value.reason


def test_what_was_not_run_is_unmeasured_with_its_reason() -> None:
    found = measured(trace(experiments={"batch-dependence": Experiment("not run", "the batch holds one example")}))
    value = run_fact(found, "batch_leak")
    assert isinstance(value, Unmeasured)
    assert value.reason.endswith("the batch holds one example")
    assert isinstance(run_fact(found, "initial_loss"), Unmeasured)


def test_every_value_that_a_fact_takes_from_an_experiment_is_one_that_it_gives() -> None:
    from trainaudit.measure.dynamic import experiments

    for name, facts in experiments._FACTS.items():
        assert set(facts.values()) <= set(NAMES[name])
        assert {f"training.{fact}" for fact in facts} <= set(BY_NAME)


def test_the_experiments_that_facts_need() -> None:
    assert experiments_for(["training.batch_leak", "training.loss_ratio", "training.overfit_ratio"]) == (
        "overfit-one-batch", "batch-dependence",
    )  # fmt: skip


# --- the table --------------------------------------------------------------------------------------------------------------


def test_every_fact_of_the_evidence_has_a_column_and_none_beside_the_catalog() -> None:
    found = measured(trace(parameters=[weight("l0", [1.0] * 4)], activations=[activation("l0", rms=(1.0,))]))
    wanted = {spec.name for spec in CATALOG if spec.source in (FORWARD, TRAINING)}
    assert wanted <= set(found.columns)
    assert {name for name in found.columns if name not in BY_NAME} == set()
    for name, column in found.columns.items():
        for value in column.values():
            assert isinstance(value, (int, float, bool, str, Unmeasured)), name


def test_a_forward_pass_leaves_out_what_needs_training() -> None:
    found = measured(forward_trace(activation("l0", rms=(1.0,), std=(1.0,))))
    assert found.columns["layer.measured_rms"] == {"l0": 1.0}
    assert {spec.name for spec in CATALOG if spec.source == TRAINING}.isdisjoint(found.columns)


def test_synthetic_data_is_not_judged() -> None:
    found = measured(trace(settings={"data": "random"}))
    data = [spec.name for spec in CATALOG if spec.source == DATA and spec.kind == "data"]
    assert data
    for name in data:
        value = found.columns[name]["data"]
        assert isinstance(value, Unmeasured)
        assert "synthetic" in value.reason


def test_an_empty_trace_breaks_nothing() -> None:
    found = measured(trace([]))
    assert run_fact(found, "step_count") == Unmeasured("nothing was trained (completed)")
    broken = [
        value for name in found.columns if BY_NAME[name].source in PROBED
        for value in found.columns[name].values() if isinstance(value, Unmeasured) and "broke down" in value.reason
    ]  # fmt: skip
    assert broken == []


def test_a_measurement_that_breaks_down_leaves_its_facts_open(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainaudit.measure.dynamic import measuring

    def broken(_trace: Trace) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(measuring, "measure_run", broken)
    value = run_fact(measured(trace()), "first_loss")
    assert isinstance(value, Unmeasured)
    assert "odd" in value.reason
