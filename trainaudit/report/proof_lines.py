"""Proofs of fixes in lines of text, for the terminal and Markdown. Stdlib only."""

from __future__ import annotations

from collections import Counter
from math import isfinite

from trainaudit import changes
from trainaudit.report import numbers
from trainaudit.report.escaping import visible
from trainaudit.result import NO_EFFECT, NOT_RUN, PROVED, WORSE, Audit, Effect, Finding, Proof

_SHOWN_CHANGES = 3


def is_refuted(finding: Finding) -> bool:
    """Its fix was tried and did not help: it is not recommended."""
    return finding.proof is not None and finding.proof.verdict in (NO_EFFECT, WORSE)


def fix_summary(finding: Finding) -> str:
    """What to do, or that it was tried in vain; "" without a fix."""
    if finding.fix is None:
        return ""
    if finding.proof is None or not is_refuted(finding):
        return finding.fix.summary
    return f"tried: {finding.proof.verdict}. It was: {finding.fix.summary}"


def made(proof: Proof) -> str:
    """ "initialize fc1.weight: kaiming_normal; initialize fc2.weight: kaiming_normal; +4 more"."""
    shown = [visible(changes.shown(change)) for change in proof.changes[:_SHOWN_CHANGES]]
    more = len(proof.changes) - len(shown)
    return "; ".join(shown) + (f"; +{more} more" if more else "")


def predicted(proof: Proof) -> str:
    """ "gradient ratio 1e-6 → 0.62", "" where nothing is."""
    return ", ".join(_effect(effect) for effect in proof.effects if not effect.is_measured)


def measured(proof: Proof) -> str:
    """ "proved: loss after 100 steps 2.31 → 0.42, gradient ratio 3e-7 → 0.31 (3 seeds; better in 3 of 3 pairs)"."""
    if proof.verdict == NOT_RUN:
        return f"{NOT_RUN}: {visible(proof.reason)}" + (f" ({visible(proof.command)})" if proof.command else "")
    effects = ", ".join(_effect(effect) for effect in proof.effects if effect.is_measured)
    why = "; ".join(filter(None, (numbers.count(len(proof.seeds), "seed"), visible(proof.reason))))
    return f"{visible(proof.verdict)}: {effects} ({why})"


def tried(audit: Audit) -> str:
    """How many fixes were tried alone, and what came of it; "" where none was."""
    verdicts = Counter(finding.proof.verdict for finding in audit.findings if finding.proof is not None)
    if not verdicts:
        return ""
    counts = ", ".join(
        f"{verdicts[word]} {'with no effect' if word == NO_EFFECT else word}"
        for word in (PROVED, NO_EFFECT, WORSE, NOT_RUN)
        if verdicts[word]
    )
    return f"{numbers.count(sum(verdicts.values()), 'fix', 'fixes')} tried alone: {counts}."


def together(audit: Audit) -> str:
    """What the fixes do together, or that none helped; "" where none was tried."""
    alone, proof = tried(audit), audit.together
    if not alone or proof is None:
        return alone
    rules = ", ".join(map(visible, proof.rules))
    what = f"Together: {rules}" if len(proof.rules) > 1 else f"Best alone: {rules}"
    return f"{alone} {what}; {measured(proof)}."


def _effect(effect: Effect) -> str:
    before, after = (_value(value, effect.unit) for value in (effect.before, effect.after))
    return f"{visible(effect.name)} {before} → {after}"


def _value(value: float | None, unit: str) -> str:
    return "not finite" if value is not None and not isfinite(value) else numbers.scalar(value, unit)
