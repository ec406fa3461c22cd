"""Facts of data from a sample of them: which input counts, and what is left out where it does not apply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainaudit.measure.catalog_data import DATA_FACTS
from trainaudit.measure.dynamic.data_facts import measure_data
from trainaudit.measure.facts import Unmeasured
from trainaudit.trace.data import DataSample, InputStatistics, TargetStatistics
from trainaudit.trace.trace import ProbeSettings, Trace

IMAGE = InputStatistics("image", "float32", (32, 3, 8, 8), 78.0, 83.0, 0.0, 255.0, 1, 3, 0.0, 1.1, 0.001, 7.0)
TABLE = InputStatistics("table", "float32", (32, 5), 0.1, 1.2, -3.0, 4.0, 2, 5, 0.2, 3.0, 0.0, 3.3)
IDS = InputStatistics("ids", "int64", (32, 7))
CLASSES = TargetStatistics(
    "classes", "int64", (32,), 1.0, 0.8, 0.0, 2.0, 4, {"0": 40, "1": 20, "2": 4}, missing_class_count=1
)


def facts(**fields: Any) -> dict[str, Any]:
    sample = DataSample("real", 64, 2, 32, **fields)
    columns = measure_data(Trace(ProbeSettings("training", "real"), data=sample))
    assert set(columns) <= {spec.name for spec in DATA_FACTS}
    return {name.removeprefix("data."): column["data"] for name, column in columns.items()}


def test_no_sample_gives_no_facts() -> None:
    assert measure_data(Trace(ProbeSettings("training", "real"))) == {}


def test_an_example_that_was_drawn_twice_is_no_duplicate() -> None:
    drawn = facts(duplicate_share=0.4, may_repeat=True)["duplicate_share"]
    assert isinstance(drawn, Unmeasured)
    assert "with replacement" in drawn.reason
    assert facts(duplicate_share=0.4)["duplicate_share"] == 0.4


def test_the_input_that_is_farthest_from_unit_scale() -> None:
    found = facts(inputs=(TABLE, IDS, IMAGE))
    assert (found["input"], found["input_mean"], found["input_std"], found["input_absmax"]) == (
        "image",
        78.0,
        83.0,
        255.0,
    )
    assert found["largest_reach"] == pytest.approx(max((4.0 - 0.1) / 1.2, (255.0 - 78.0) / 83.0))
    assert (found["feature_count"], found["feature_scale_ratio"], found["constant_feature_share"]) == (5, 3.0, 0.2)
    assert (found["largest_z"], found["outlier_share"]) == (7.0, 0.001)
    assert found["non_finite_input_count"] == 3
    assert found["element_count"] == 5 + 7 + 3 * 8 * 8


def test_inputs_that_are_no_numbers_have_no_scale() -> None:
    assert "input_std" not in facts(inputs=(IDS,))


def test_an_input_that_is_zero_throughout() -> None:
    found = facts(inputs=(replace(TABLE, mean=0.0, std=0.0, least=0.0, most=0.0),))
    assert (found["input_std"], "largest_reach" in found) == (0.0, False)


def test_classes() -> None:
    found = facts(target=CLASSES)
    assert (found["target_kind"], found["class_count"], found["missing_class_count"]) == ("classes", 4, 1)
    assert (found["samples_per_class"], found["imbalance_ratio"], found["rarest_class"]) == (16.0, 10.0, "2")
    assert (found["out_of_range_label_count"], "target_std" in found) == (0, False)


def test_a_rarest_class_that_is_not_listed_is_not_known() -> None:
    assert "imbalance_ratio" not in facts(target=replace(CLASSES, class_count=100, missing_class_count=10))


def test_classes_of_a_model_that_tells_none_apart() -> None:
    found = facts(target=replace(CLASSES, class_count=None, missing_class_count=None))
    assert "class_count" not in found
    assert found["imbalance_ratio"] == 10.0


def test_targets_of_zero_and_one_are_two_classes() -> None:
    found = facts(
        target=TargetStatistics("binary", "float32", (32, 1), class_counts={"0": 60, "1": 4}, missing_class_count=0)
    )
    assert (found["class_count"], found["samples_per_class"], found["imbalance_ratio"]) == (2, 32.0, 15.0)


def test_numbers() -> None:
    found = facts(target=TargetStatistics("values", "float32", (32, 1), 24.5, 6.7, 9.0, 46.0))
    assert (found["target_mean"], found["target_std"]) == (24.5, 6.7)
    assert "class_count" not in found


def test_what_was_not_looked_at_is_not_measured() -> None:
    found = facts()
    assert found["overlap_share"] == Unmeasured("no validation data were given: --validation")
    assert isinstance(found["is_augmented"], Unmeasured)
    assert "is_same_order" not in found
    assert facts(validation_count=8, overlap_share=0.25)["overlap_share"] == 0.25
