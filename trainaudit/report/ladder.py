"""The recipe as a ladder: what became of every tip of every stage, from the outcomes of the rules that name it. No format lives here."""

from __future__ import annotations

from trainaudit.frozen import frozen
from trainaudit.recipe import STAGES, Step
from trainaudit.report.numbers import count
from trainaudit.result import Audit, RuleInfo, Run, State

VIOLATED, CLEAN, PARTLY, NOT_APPLICABLE, NOT_RUN, IGNORED, BY_HAND = (
    "violated",
    "clean",
    "partly",
    "not-applicable",
    "not-run",
    "ignored",
    "by-hand",
)

WORDS = {
    VIOLATED: "violated",
    CLEAN: "clean",
    PARTLY: "clean so far",
    NOT_APPLICABLE: "not applicable",
    NOT_RUN: "not run",
    IGNORED: "ignored",
    BY_HAND: "by hand",
}
"""State of a tip → the word for it. "Clean so far" means that some of its rules were not run."""

_ORDER = (VIOLATED, IGNORED, PARTLY, CLEAN, NOT_RUN, NOT_APPLICABLE, BY_HAND)


@frozen
class Tip:
    """One tip of the recipe on one model. `rules` are ids with the state of each; `remark` says in a few words why it stands so."""

    step: Step
    state: str
    remark: str
    rules: tuple[tuple[str, State], ...]


@frozen
class Rung:
    """One stage: its state is that of its worst tip; `summary` counts the tips by state."""

    number: int
    title: str
    state: str
    summary: str
    tips: tuple[Tip, ...]


def ladder(run: Run, audit: Audit) -> list[Rung]:
    """The six stages in order."""
    recipes = {rule.id: rule for rule in run.rules}
    live = {finding.rule for finding in audit.findings if finding.is_live}
    by_step: dict[str, list[tuple[str, State]]] = {}
    for outcome in audit.outcomes:
        info: RuleInfo | None = recipes.get(outcome.rule)
        if info is not None:
            state = State.IGNORED if outcome.state is State.VIOLATED and outcome.rule not in live else outcome.state
            by_step.setdefault(info.recipe, []).append((outcome.rule, state))
    rungs = []
    for stage in STAGES:
        tips = tuple(_tip(step, by_step.get(step.id, [])) for step in stage.steps)
        counted = [(state, sum(tip.state == state for tip in tips)) for state in _ORDER]
        summary = ", ".join(f"{number} {WORDS[state]}" for state, number in counted if number)
        rungs.append(Rung(stage.number, stage.title, _rung_state(tips), summary, tips))
    return rungs


def _tip(step: Step, rules: list[tuple[str, State]]) -> Tip:
    states = [state for _, state in rules]
    done = states.count(State.CLEAN) + states.count(State.WITHDRAWN)
    open_ones = states.count(State.NOT_MEASURED) + states.count(State.FAILED)
    ran = f"{done} of {count(done + open_ones, 'rule')} run"
    if State.VIOLATED in states:
        state, remark = VIOLATED, ""
    elif State.IGNORED in states:
        state, remark = IGNORED, "set aside in the settings or the baseline"
    elif done and open_ones:
        state, remark = PARTLY, ran
    elif done:
        state, remark = CLEAN, count(done, "rule") + (", the rest by hand" if step.auto != "full" else "")
    elif open_ones:
        state, remark = NOT_RUN, ran
    elif rules:
        state, remark = NOT_APPLICABLE, ""
    elif step.auto == "by-hand":
        state, remark = BY_HAND, "no tool can check it"
    else:
        state, remark = NOT_RUN, "no rule for it"
    return Tip(step, state, remark, tuple(rules))


def _rung_state(tips: tuple[Tip, ...]) -> str:
    states = {tip.state for tip in tips}
    for state in (VIOLATED, IGNORED, PARTLY):
        if state in states:
            return state
    if CLEAN in states:
        return PARTLY if NOT_RUN in states else CLEAN
    return NOT_RUN if NOT_RUN in states else NOT_APPLICABLE if NOT_APPLICABLE in states else BY_HAND
