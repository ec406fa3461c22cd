"""Texts with facts in them: what is filled in, what stays, and how numbers read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainaudit.errors import TrainauditError
from trainaudit.judge.template import fill, format_value, parse_template

UNITS = {"limit": "share", "floor": "ratio"}
LIMITS = {"limit": 0.4, "floor": 1e-4}


def filled(text: str, plain: bool = False, **facts: Any) -> str:
    named = {name.replace("__", "."): value for name, value in facts.items()}
    return fill(parse_template(text, "layer", UNITS), named.get, LIMITS, plain)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{layer.name} has {layer.gain}, limit {limit}.", "fc has 0.333, limit 40 %."),
        ("{layer.width} units at {floor}", "12,345 units at 0.0001"),
        ("{layer.has_bias} {layer.epsilon}", "yes unknown"),
        ("{{layer.name}} {layer.name}}", "{layer.name} fc}"),
        ("{{layer.name} {", "{fc {"),
        ('{"a": 1} {} {0} {A} { x }', '{"a": 1} {} {0} {A} { x }'),
        ("{layer.name.upper}", "{layer.name.upper}"),
        ("{layer.name!r} {layer.name:>9} {layer.name[0]}", "{layer.name!r} {layer.name:>9} {layer.name[0]}"),
        ("", ""),
    ],
)
def test_filling(text: str, result: str) -> None:
    facts = {"layer__name": "fc", "layer__gain": 1 / 3, "layer__width": 12345, "layer__has_bias": True}
    assert filled(text, **facts) == result


@pytest.mark.parametrize(
    ("text", "width", "result"),
    [
        ("{layer.width} units of fc", 1, "1 unit of fc"),
        ("({layer.width} values)", 1, "(1 value)"),
        ("{layer.width} classes", 1, "1 class"),
        ("{layer.width} units of fc", 2, "2 units of fc"),
        ("{layer.width} unitsize, {layer.width} of 3 units", 1, "1 unitsize, 1 of 3 units"),
        ("{layer.name} units, {layer.has_bias} units", 1, "1 units, yes units"),
    ],
)
def test_one_is_not_many(text: str, width: int, result: str) -> None:
    """A layer called "1" is no number."""
    assert filled(text, layer__name="1", layer__width=width, layer__has_bias=True) == result


def test_a_name_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    assert filled("{layer.name}", layer__name="{layer.op}{limit}") == "{layer.op}{limit}"


def test_code_gets_numbers_that_python_reads_and_no_control_characters() -> None:
    assert (
        filled("p={layer.dropout_rate}  # {layer.name}", True, layer__dropout_rate=0.25, layer__name="a\nb\x1b[0m")
        == "p=0.25  # a b [0m"
    )
    assert filled("{layer.width}", True, layer__width=12345) == "12345"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{layer.gian}", 'Did you mean "layer.gain"?'),
        ("{limt}", 'Did you mean "limit"?'),
        ("{zebra}", "Write {{zebra}} for the text {zebra}."),
        ("{parameter.mean}", "Such a rule reads facts of: layer, model, training, data."),
    ],
)
def test_unknown_names_are_refused(text: str, hint: str) -> None:
    with pytest.raises(TrainauditError) as caught:
        parse_template(text, "layer", UNITS)
    assert str(caught.value).endswith(hint)


@pytest.mark.parametrize(
    ("value", "unit", "whole", "text"),
    [
        (0.71428, "share", False, "71.4 %"),
        (1.0, "share", False, "100 %"),
        (0.99999, "share", False, "99.999 %"),
        (0.9999999999999, "share", False, "almost 100 %"),
        (0.0, "share", False, "0 %"),
        (1e-9, "share", False, "1e-7 %"),
        (1234567, "parameters", True, "1,234,567"),
        (1234567.0, "", False, "1,234,567"),
        (3e-7, "ratio", False, "3e-7"),
        (1.4142135, "ratio", False, "1.41"),
        (0.00012345, "", False, "0.000123"),
        (65504.0, "", False, "65,504"),
        (-0.5, "", False, "-0.5"),
        (1e30, "", False, "1e30"),
        (2.5e10, "", False, "2.5e10"),
        (True, "", False, "yes"),
        ("relu", "", False, "relu"),
    ],
)
def test_numbers_read_well(value: Any, unit: str, whole: bool, text: str) -> None:
    assert format_value(value, unit, whole) == text


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_number_keeps_three_digits(value: float) -> None:
    back = float(format_value(value).replace(",", ""))
    assert back == pytest.approx(value, rel=6e-3)


@given(st.floats(0, 1))
def test_only_all_is_a_hundred_per_cent_and_only_nothing_is_zero(share: float) -> None:
    text = format_value(share, "share")
    assert (text == "100 %") == (share == 1)
    assert (text == "0 %") == (share == 0)


def test_numbers_in_code_have_four_digits_and_no_separators() -> None:
    text = "std={layer.gain} / {layer.fan_in} ** 0.5"
    assert filled(text, True, layer__gain=2**0.5, layer__fan_in=2048) == "std=1.414 / 2048 ** 0.5"
