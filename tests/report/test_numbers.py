"""How numbers read."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainaudit.report.numbers import count, fact_label, large, measured_and_expected, number, scalar, share
from trainaudit.result import Evidence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3, "3"),
        (1234567, "1,234,567"),
        (0.57735, "0.577"),
        (0.5, "0.5"),
        (-0.25, "-0.25"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (0.000123, "0.000123"),
        (3e-7, "3e-7"),
        (1.5e9 + 0.5, "1.5e9"),
        (float("inf"), "infinity"),
        (float("nan"), "NaN"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_numbers_are_right_to_three_digits(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.713, "71.3 %"), (0.4, "40 %"), (0.99999, "99.999 %"), (1e-9, "1e-7 %")],
)
def test_share(value: float, text: str) -> None:
    assert share(value) == text


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_a_share_is_never_shown_as_none_or_all_unless_it_is(value: float) -> None:
    assume(1e-300 < value < 1 - 1e-9)
    assert share(value) not in ("0 %", "100 %")


def test_large_counts() -> None:
    assert [large(number) for number in (0, 9_999, 10_000, 25_557_032, 7_000_000_000)] == [
        "0",
        "9,999",
        "10 K",
        "25.6 M",
        "7 B",
    ]
    assert large(999_999) == "1 M"


def test_units_and_words() -> None:
    assert scalar(1, "layers") == "1 layer"
    assert scalar(2, "axes") == "2 axes"
    assert scalar(1, "axes") == "1 axis"
    assert scalar(True, "") == "yes"
    assert scalar("re\nlu", "") == "re\\nlu"
    assert scalar(None, "") == "not known"
    assert count(1, "layer") == "1 layer"
    assert count(1200, "layer") == "1,200 layers"


def test_what_was_expected_is_the_opposite_of_the_violation() -> None:
    assert measured_and_expected(Evidence("layer.gain", 0.58, "ratio", "<", 1.09)) == ("0.58", "≥ 1.09")
    assert measured_and_expected(Evidence("layer.dropout_rate", 0.9, "share", ">=", 0.8)) == ("90 %", "< 80 %")
    assert measured_and_expected(Evidence("layer.activation", "relu", "", "==", "relu")) == ("relu", "")
    assert measured_and_expected(Evidence("layer.depth", 3, "layers")) == ("3 layers", "")


def test_the_extreme_of_a_share_or_a_count_needs_no_sign() -> None:
    assert measured_and_expected(Evidence("output.final_dropout_rate", 0.5, "share", ">", 0)) == ("50 %", "0 %")
    assert measured_and_expected(Evidence("parameter.zero_share", 0.5, "share", "<", 1)) == ("50 %", "100 %")
    assert measured_and_expected(Evidence("parameter.nan_count", 3, "values", ">", 0)) == ("3 values", "0 values")
    assert measured_and_expected(Evidence("layer.gain", 3, "ratio", ">", 0)) == ("3", "≤ 0")
    assert measured_and_expected(Evidence("layer.width", 3, "units", "<", 1)) == ("3 units", "≥ 1 unit")


def test_a_broken_limit_looks_broken() -> None:
    measured, expected = measured_and_expected(Evidence("layer.gain", 1.3004, "ratio", ">", 1.3))
    assert measured == "1.3004"
    assert expected == "≤ 1.3"


def test_fact_labels() -> None:
    assert fact_label("layer.wanted_gain") == "wanted gain"
    assert fact_label("layer.is_batch_mixing") == "batch mixing"
    assert fact_label("layer.gain / layer.wanted_gain") == "gain / wanted gain"
