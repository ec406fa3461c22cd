"""Fixes together: the best one, and greedily what still helps on top of it. torch is not imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainaudit.changes import Change
from trainaudit.fix.comparing import RELEVANT
from trainaudit.fix.course import CutError
from trainaudit.fix.proving import Changes, Trial, paired, prove
from trainaudit.result import PROVED, Proof

LONGER = 5
"""Times the steps of a proof: so long the mended model is trained at last."""


def prove_together(trial: Trial, alone: Sequence[Proof]) -> Proof | None:
    """The best fix, and of the others, best first, each that still helps on top; where none helps alone all of them are tried at once. None where
    nothing helps.

    What a learning rate should be hangs on all the rest: the rate that the range test suggests for the mended model is tried, too. At last the mended
    model is trained for longer: what helps at first may break down later, and then the others are tried on top once more.
    """
    tried = [proof for proof in alone if proof.gain is not None and proof.gain > -RELEVANT]
    ranked = sorted(tried, key=lambda proof: (proof.verdict != PROVED, -(proof.gain or 0.0)))
    if not ranked:
        return None
    if ranked[0].verdict == PROVED:
        rules, changes, untried = _greedily(trial, ranked[0].rules, ranked[0].changes, ranked[1:])
    else:
        rules, changes = _all(ranked)
        untried = 0
        if len(rules) < 2 or prove(trial, rules, changes).verdict != PROVED:
            return None
    changes, note = _at_its_rate(trial, changes)
    found, warning = _for_longer(trial, prove(trial, _named(rules, changes, ranked), changes), ranked)
    more = f"{untried} more could not be tried on top within the time budget" if untried else ""
    return replace(found, reason="; ".join(filter(None, (found.reason, note, warning, more))))


def _named(rules: Sequence[str], changes: Changes, ranked: Sequence[Proof]) -> tuple[str, ...]:
    """Of the rules those of whose changes some are among these: a rate gives way to a better one."""
    kept = {rule for proof in ranked for rule in proof.rules if any(change in changes for change in proof.changes)}
    return tuple(rule for rule in dict.fromkeys(rules) if rule in kept) or tuple(rules[:1])


def _greedily(
    trial: Trial, rules: tuple[str, ...], changes: Changes, others: Sequence[Proof]
) -> tuple[tuple[str, ...], Changes, int]:
    """Rules, changes, and how many of the others were not tried for want of time."""
    untried = 0
    for proof in others:
        wider = joined(changes, proof.changes)
        if wider is None or wider == changes:
            continue
        try:
            if paired(trial, changes, wider).verdict == PROVED:
                rules, changes = (*rules, *proof.rules), wider
        except CutError:
            untried += 1
        except Exception:  # two changes that do not go together
            continue
    return rules, changes, untried


def _all(ranked: Sequence[Proof]) -> tuple[tuple[str, ...], Changes]:
    rules: tuple[str, ...] = ()
    changes: Changes = ()
    for proof in ranked:
        wider = joined(changes, proof.changes)
        if wider is not None and wider != changes:
            rules, changes = (*rules, *proof.rules), wider
    return rules, changes


def joined(first: Changes, second: Changes) -> Changes | None:
    """Both sets, each change once; None where they want different things of one place."""
    places = {(change.kind, change.where): change for change in first}
    new = [change for change in second if change not in first]
    if any((change.kind, change.where) in places for change in new):
        return None
    return (*first, *new)


def _at_its_rate(trial: Trial, changes: Changes) -> tuple[Changes, str]:
    """With the mended model's own learning rate, where that helps still more, and a clause that says so."""
    seed = trial.seeds[0]
    try:
        rate = trial.suggest(trial.made(changes, seed), seed)
        if rate is None:
            return changes, ""
        others = tuple(change for change in changes if change.kind != "learning-rate")
        tuned = (*others, Change("learning-rate", amount=float(f"{rate:.2g}")))
        if tuned == changes or paired(trial, changes, tuned).verdict != PROVED:
            return changes, ""
    except Exception:  # no time for it, or nothing to be set
        return changes, ""
    return tuned, f"at the learning rate {rate:.2g}, which the range test suggests with these fixes made"


def _for_longer(trial: Trial, found: Proof, ranked: Sequence[Proof]) -> tuple[Proof, str]:
    """The same proof where the mended model goes on learning over `LONGER` times the steps, or there is no time to see. Where it breaks down in most runs (a
    rate that is too high for a loss that is wrong): that of it with what helps on top over so many steps, or a clause that says that nothing does."""
    long = replace(trial, steps=LONGER * trial.steps)
    try:
        ends = [(trial.course(found.changes, seed), long.course(found.changes, seed)) for seed in trial.seeds]
        broken = sum(late.loss > soon.loss + RELEVANT * abs(soon.loss) for soon, late in ends)
        if 2 * broken <= len(ends):
            return found, ""
        rules, changes, _ = _greedily(long, found.rules, found.changes, ranked)
    except Exception:  # no time for it
        return found, ""
    if changes != found.changes:
        mended = prove(long, _named(rules, changes, ranked), changes)
        if mended.verdict == PROVED:
            return mended, ""
    return found, f"over {long.steps} steps its loss rises again"
