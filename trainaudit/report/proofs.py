"""What reports say of the proof of a fix: the verdict in a sentence, and each number before and after. No format lives here. Stdlib only."""

from __future__ import annotations

from math import exp, isfinite

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.escaping import visible
from trainaudit.result import NO_EFFECT, NOT_RUN, PROVED, WORSE, Effect, Proof

STATES = {PROVED: "clean", NO_EFFECT: "not-applicable", WORSE: "violated", NOT_RUN: "not-run"}
"""Verdict → the state whose icon stands for it."""


@frozen
class EffectRow:
    """A number before and after. `how` is predicted or measured."""

    name: str
    before: str
    after: str
    how: str


@frozen
class Shown:
    """A proof as it is shown. `state` names an icon, `sentence` says how the verdict was had; `is_refuted` is True for a fix that did not help."""

    verdict: str
    state: str
    sentence: str
    rows: tuple[EffectRow, ...]
    unpredicted: str
    command: str
    is_refuted: bool
    rules: tuple[str, ...]


def shown(proof: Proof) -> Shown:
    return Shown(
        verdict=visible(proof.verdict),
        state=STATES.get(proof.verdict, "not-run"),
        sentence=_sentence(proof),
        rows=tuple(map(_row, sorted(proof.effects, key=lambda effect: effect.is_measured))),
        unpredicted=visible(proof.unpredicted),
        command=visible(proof.command),
        is_refuted=proof.verdict in (NO_EFFECT, WORSE),
        rules=proof.rules,
    )


def _sentence(proof: Proof) -> str:
    """ "Applied to a copy and trained beside the model for 100 steps from 3 seeds, in 4.2 s: its loss ends 3.1 times lower." """
    reason = visible(proof.reason).rstrip(".")
    if proof.verdict == NOT_RUN:
        return f"{reason[:1].upper()}{reason[1:]}." if reason else ""
    parts = ["Applied to a copy and trained beside the model"]
    parts += [f"for {numbers.count(proof.steps, 'step')}"] if proof.steps else []
    parts += [f"from {numbers.count(len(proof.seeds), 'seed')}"] if proof.seeds else []
    said = " ".join(parts) + (f", in {numbers.number(proof.seconds, 2)} s" if proof.seconds > 0 else "")
    gain = _gain(proof)
    return said + (f": {gain}" if gain else "") + (f"; {reason}" if reason else "") + "."


def _gain(proof: Proof) -> str:
    if proof.gain is None or not isfinite(proof.gain):
        return ""
    name = visible(proof.compared) or "loss"
    verb = "end" if name.endswith("s") and not name.endswith("ss") else "ends"
    if abs(proof.gain) < 0.005:
        return f"its {name} {verb} where it did"
    times = numbers.number(exp(min(abs(proof.gain), 700.0)), 3)
    return f"its {name} {verb} {times} times {'lower' if proof.gain > 0 else 'higher'}"


def _row(effect: Effect) -> EffectRow:
    before, after = (numbers.scalar(value, effect.unit) for value in (effect.before, effect.after))
    return EffectRow(visible(effect.name), before, after, "measured" if effect.is_measured else "predicted")
