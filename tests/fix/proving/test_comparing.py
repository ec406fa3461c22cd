"""The verdict on pairs of runs."""

from __future__ import annotations

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from trainaudit.fix.comparing import RELEVANT, gain, is_open, verdict
from trainaudit.result import NO_EFFECT, PROVED, WORSE

gains = st.lists(st.floats(-10, 10), min_size=2, max_size=12)


def test_pairs_that_agree_prove_a_fix() -> None:
    assert verdict([1.2, 1.0, 1.1]) == PROVED
    assert verdict([-1.2, -1.0, -1.1]) == WORSE


def test_pairs_that_differ_more_than_they_gain_prove_nothing() -> None:
    assert verdict([1.0, -0.8, 0.3]) == NO_EFFECT


def test_a_gain_of_less_than_a_twentieth_is_none_however_sure_it_is() -> None:
    assert verdict([0.04, 0.04, 0.04]) == NO_EFFECT
    assert verdict([0.06, 0.06, 0.06]) == PROVED


def test_one_lucky_pair_is_open_and_more_pairs_may_tell() -> None:
    few = [0.2, 3.0, 0.4]
    assert verdict(few) == NO_EFFECT
    assert is_open(few)
    assert verdict([*few, 0.5, 0.6, 0.4]) == PROVED
    assert not is_open([1.0, -0.8, 0.3])


@given(gains)
def test_the_verdict_is_the_one_of_students_paired_t_or_of_the_sign_test(found: list[float]) -> None:
    """Held against the definitions: the mean over its standard error against the 95th percentile; 2⁻ⁿ against 5 %."""
    percentiles = [6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833]
    error = statistics.stdev(found) / math.sqrt(len(found))
    limit = percentiles[len(found) - 2] if len(found) <= 10 else 1.645
    mean = statistics.fmean(found)
    agree = len({each > 0 for each in found} | {each >= 0 for each in found}) == 1
    is_real = abs(mean) >= RELEVANT and (abs(mean) > limit * error or (agree and 0.5 ** len(found) <= 0.05))
    assert (verdict(found) != NO_EFFECT) == is_real


@given(gains)
def test_what_is_better_one_way_is_worse_the_other(found: list[float]) -> None:
    other = {PROVED: WORSE, WORSE: PROVED, NO_EFFECT: NO_EFFECT}
    assert verdict([-each for each in found]) == other[verdict(found)]


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1e-3, 1e3))
def test_a_gain_is_bounded_has_the_sign_of_the_difference_and_turns_around(
    before: float, after: float, scale: float
) -> None:
    found = gain(before, after, scale)
    assert abs(found) < 10
    assert found * (before - after) >= 0
    assert math.isclose(found, -gain(after, before, scale), abs_tol=1e-9)


def test_a_run_that_diverged_is_worse_than_any_that_did_not() -> None:
    assert gain(math.inf, 2.3, 2.3) > 0
    assert gain(math.nan, 2.3, 2.3) > 0
    assert gain(2.3, math.inf, 2.3) < 0
    assert gain(math.inf, math.inf, 2.3) == 0


def test_losses_that_are_known_by_heart_gain_nothing_more() -> None:
    assert abs(gain(1e-6, 1e-9, 2.3)) < RELEVANT


def test_losses_below_zero_are_compared_by_their_difference() -> None:
    assert gain(-1.0, -3.0, 2.0) == 1.0
    assert gain(1.0, -3.0, 2.0) == 2.0
