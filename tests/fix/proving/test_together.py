"""Which fixes are taken together, told by courses that are given instead of run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from trainaudit.changes import Change
from trainaudit.fix.course import Course, CutError
from trainaudit.fix.proving import Changes, Trial, prove
from trainaudit.fix.together import LONGER, joined, prove_together
from trainaudit.probe.budget import Allowance
from trainaudit.result import NO_EFFECT, PROVED, WORSE

A, B, C = Change("scale", "a", "", 2.0), Change("scale", "b", "", 2.0), Change("scale", "c", "", 2.0)
SEEDS = (1, 2, 3)
STEPS = 10


def trial(losses: dict[Changes, float], rate: float | None = None, later: dict[Changes, float] | None = None) -> Trial:
    """A model whose loss is known for each set of changes, and what it is `later`; seeds differ a little."""
    trainee: Any = SimpleNamespace(failure=None)
    courses = {
        (changes, seed, steps): Course(start=2.0, loss=loss * (1 + 0.01 * seed))
        for known, steps in ((losses, STEPS), (later or {}, LONGER * STEPS))
        for changes, loss in known.items()
        for seed in SEEDS
    }

    def apply(given: Any, changes: Changes, _seed: int) -> Any:
        """What is not given would have to be run, and there is no time for that."""
        if changes not in losses:
            raise CutError
        return given

    return Trial(
        trainee, apply, lambda _: False, lambda _, __: "nothing", SEEDS, STEPS, Allowance(0.0),
        suggest=lambda _, __: rate, courses=courses,
    )  # fmt: skip


def together(losses: dict[Changes, float], rate: float | None = None, later: dict[Changes, float] | None = None) -> Any:
    made = trial({(): 2.0, **losses}, rate, later)
    alone = [prove(made, (name,), (change,)) for name, change in (("a", A), ("b", B), ("c", C))]
    return prove_together(made, alone), [proof.verdict for proof in alone]


def test_the_best_is_taken_and_then_each_that_still_helps_on_top() -> None:
    found, verdicts = together({(A,): 1.5, (B,): 0.5, (C,): 1.0, (B, C): 0.5, (B, A): 0.2})
    assert verdicts == [PROVED] * 3
    assert found.rules == ("b", "a")
    assert found.changes == (B, A)


def test_one_that_helps_only_beside_others_is_found_and_a_harmful_one_is_not_tried() -> None:
    found, verdicts = together({(A,): 2.0, (B,): 0.5, (C,): 5.0, (B, A): 0.1})
    assert verdicts == [NO_EFFECT, PROVED, WORSE]
    assert found.rules == ("b", "a")


def test_where_none_helps_alone_all_are_tried_at_once() -> None:
    found, verdicts = together({(A,): 2.0, (B,): 2.01, (C,): 2.02, (A, B, C): 0.3})
    assert verdicts == [NO_EFFECT] * 3
    assert found.rules == ("a", "b", "c")


def test_where_nothing_helps_nothing_is_recommended() -> None:
    assert together({(A,): 2.0, (B,): 2.01, (C,): 2.02, (A, B, C): 2.0})[0] is None
    assert prove_together(trial({}), []) is None


def test_what_there_was_no_time_for_is_counted() -> None:
    found, _ = together({(A,): 1.5, (B,): 0.5, (C,): 5.0})
    assert found.rules == ("b",)
    assert found.reason.endswith("1 more could not be tried on top within the time budget")


def test_the_mended_models_own_learning_rate_is_tried_at_last() -> None:
    rate = Change("learning-rate", amount=0.012)
    losses = {(A,): 1.5, (B,): 5.0, (C,): 5.0}
    better, _ = together({**losses, (A, rate): 0.3}, 0.0123)
    assert better.rules == ("a",)
    assert better.changes == (A, rate)
    assert "at the learning rate 0.012, which the range test suggests" in better.reason
    same, _ = together({**losses, (A, rate): 1.5}, 0.0123)
    assert same.changes == (A,)


def test_a_fix_whose_rate_gave_way_to_a_better_one_is_not_named_any_more() -> None:
    first, second = Change("learning-rate", amount=0.1), Change("learning-rate", amount=0.5)
    made = trial({(): 2.0, (A,): 1.0, (first,): 1.5, (A, first): 0.6, (A, second): 0.2}, 0.5)
    alone = [prove(made, (name,), (change,)) for name, change in (("a", A), ("rate", first))]
    found = prove_together(made, alone)
    assert found is not None
    assert (found.rules, found.changes) == (("a",), (A, second))


BROKEN = float("inf")


def test_what_breaks_down_later_gets_what_helps_then() -> None:
    """A higher rate learns fast until the loss overflows, which the right output mends: over few steps that one shows nothing."""
    losses = {(A,): 0.5, (B,): 2.0, (C,): 5.0, (A, B): 0.5}
    found, verdicts = together(losses, later={(): 2.0, (A,): BROKEN, (A, B): 0.1})
    assert verdicts == [PROVED, NO_EFFECT, WORSE]
    assert found.rules == ("a", "b")
    assert found.changes == (A, B)
    assert found.steps == LONGER * STEPS


def test_what_goes_on_learning_stays() -> None:
    losses = {(A,): 0.5, (B,): 2.0, (C,): 5.0, (A, B): 0.5}
    found, _ = together(losses, later={(): 2.0, (A,): 0.2, (A, B): 0.01})
    assert (found.rules, found.steps) == (("a",), STEPS)


def test_what_breaks_down_all_the_same_is_told_so() -> None:
    losses = {(A,): 0.5, (B,): 2.0, (C,): 5.0, (A, B): 0.5}
    found, _ = together(losses, later={(): 2.0, (A,): BROKEN, (A, B): BROKEN})
    assert found.rules == ("a",)
    assert f"over {LONGER * STEPS} steps its loss rises again" in found.reason


def test_changes_join_once_each_and_never_two_of_one_place() -> None:
    first = (Change("initialize", "a", "kaiming_normal"), Change("learning-rate", amount=0.1))
    other = Change("initialize", "b", "zeros")
    assert joined(first, (first[0], other)) == (*first, other)
    assert joined(first, (Change("learning-rate", amount=0.2),)) is None
