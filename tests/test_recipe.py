"""The recipe's table: its stages, its marks, and ids that say where they stand."""

from __future__ import annotations

from collections import Counter

from trainaudit.recipe import BY_HAND, STAGES, STEPS


def test_stages_and_ids() -> None:
    assert [stage.number for stage in STAGES] == [1, 2, 3, 4, 5, 6]
    assert len(STEPS) == sum(len(stage.steps) for stage in STAGES)
    for stage in STAGES:
        for step in stage.steps:
            assert step.stage == stage.number
            assert step.id.startswith(f"{stage.number}.")


def test_marks_of_the_named_tips() -> None:
    """The post names 33 tips in stages 2 to 6; looking at filters and activations are remarks of its fourth."""
    remarks = {"4.first-layer-filters", "4.odd-activations"}
    marks = Counter(step.auto for step in STEPS.values() if step.stage > 1 and step.id not in remarks)
    assert marks == {"full": 10, "partial": 16, "by-hand": 7}


def test_what_no_tool_can_check_says_what_to_do() -> None:
    assert set(BY_HAND) == {step.id for step in STEPS.values() if step.auto == "by-hand"}
