"""One small batch, trained on alone until it is known by heart. torch is imported inside functions only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from trainaudit.counting import count as counted
from trainaudit.probe.batches import gathered, take
from trainaudit.probe.budget import Allowance
from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.answers import right_share
from trainaudit.probe.experiments.conditions import Conditions, too_slow
from trainaudit.probe.experiments.floors import nearest_floor, references
from trainaudit.probe.experiments.robust import RATES, adam, descend, robust_rate
from trainaudit.probe.experiments.standardized import standardized
from trainaudit.probe.experiments.torch_functions import without_dropout
from trainaudit.probe.optimizer_settings import without_weight_decay
from trainaudit.probe.stepping import Learner, forward, learner, precise, train
from trainaudit.probe.trainee import Batch, Computed, Trainee
from trainaudit.trace.experiments import CUT, RAN, Experiment

EXAMPLES = (16, 8, 4)
"""The most of which enough steps fit."""
_STEPS, _MOST_STEPS, _FAIR_STEPS = 300, 1000, 150
_LEAST_STEPS = 20
_USUAL_RATE = 1e-3
"""The recipe's rate for Adam on small problems."""
_KNOWN = 0.005
"""Share of the best constant's loss that counts as known by heart: 0.01 for cross-entropy with ten classes, Karpathy's bound."""
_NEARLY = 10
"""So many times that loss is close enough for a run that ends for want of time."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """`is_whole`: its own steps ended it, not the time."""

    losses: list[float]
    accuracy: float | None
    is_whole: bool

    @property
    def final(self) -> float:
        """Median over the last tenth of the steps."""
        return statistics.median(self.losses[-max(len(self.losses) // 10, 1) :])


def overfit_one_batch(conditions: Conditions) -> Experiment:
    """A few examples, dropout and weight decay off, with the user's optimizer; where that does not learn them, with Adam at a rate of its own
    too, so that what is said of the network does not hang on a learning rate. The better of the two counts. Where there may be no time for both,
    Adam is tried first.

    A batch that is learnt is learnt, however few steps there were. That it cannot be learnt is said where all was tried to the end; where the time
    ended it before, the experiment is cut. Inputs that are far off the scale that initializers are made for may be the reason: then Adam tries the
    same examples with standardized inputs too."""
    trainee, seed = conditions.trainee, conditions.seed
    batch = chosen_examples(
        trainee, next((few for few in EXAMPLES if conditions.steps_that_fit(examples=few) >= _FAIR_STEPS), EXAMPLES[-1])
    )
    fitting = conditions.steps_that_fit(examples=batch.size)
    if fitting < _LEAST_STEPS:
        return too_slow(_LEAST_STEPS, fitting, conditions.allowance.left())
    started = _start(trainee, batch, seed)
    start = float(started.loss)
    compared = references(trainee, batch, started)
    known = _known(compared, abs(start))

    def attempt(rate: float | None, allowance: Allowance, batch: Batch) -> _Attempt:
        with fresh(trainee, seed) as model, prepared(trainee, model, batch):
            ready = learner(trainee, model, None if rate is None else adam(model, rate))
            without_weight_decay(ready.optimizer)
            if rate is None:
                losses = train(ready, [batch] * _STEPS, allowance, is_enough=lambda losses: losses[-1] <= known)
            else:
                losses = descend(ready, batch, _MOST_STEPS, allowance, known)
            return _Attempt(
                losses, _accuracy(trainee, ready, batch, losses[-1] <= known, known), not allowance.is_over()
            )

    def slower_and_slower(rate: float, batch: Batch) -> tuple[float, _Attempt]:
        """The best of Adam at this rate and, as long as it stands still, at a tenth of it: a rate that is best for a few steps may leave a network at
        a constant's answer for good."""
        latest = attempt(rate, conditions.allowance, batch)
        best = rate, latest
        while _is_stuck(latest, known) and rate > 2 * RATES[-1] and not conditions.allowance.is_over():
            rate /= 10
            latest = attempt(rate, conditions.allowance, batch)
            best = min(best, (rate, latest), key=lambda one: _rank(one[1].final))
        return best

    def is_learnt() -> bool:
        return any(found.losses[-1] <= known for found in attempts.values())

    attempts: dict[str, _Attempt] = {}
    rate = searched = None
    if fitting >= 2 * _STEPS:
        attempts["user"] = attempt(None, conditions.allowance.share(0.4), batch)
    if not is_learnt():
        searched = _searched_rate(conditions, batch)
        rate, attempts["own"] = slower_and_slower(_USUAL_RATE if searched is None else searched, batch)
    if not (is_learnt() or "user" in attempts or conditions.allowance.is_over()):
        attempts["user"] = attempt(None, conditions.allowance, batch)
    is_scale = False
    if not (is_learnt() or conditions.allowance.is_over()) and (scaled := standardized(trainee, batch)) is not None:
        searched = _searched_rate(conditions, scaled)
        is_scale = searched is not None and slower_and_slower(searched, scaled)[1].final <= _NEARLY * known
    better = min(attempts, key=lambda name: _rank(attempts[name].final))
    best = attempts[better]
    values: dict[str, float | str | bool] = {
        "start_loss": start,
        "final_loss": best.final,
        "least_loss": min(best.losses, key=_rank),
        "steps": len(best.losses),
        "sample_count": batch.size,
        "is_stalled": not best.losses[-1] <= known and _is_stalled(best.losses),
        "optimizer": better,
        "is_learnt_standardized": is_scale,
        "is_seen": started.output is not None and started.target is not None,
        **compared,
    }
    if "user" in attempts:
        values["user_final_loss"] = attempts["user"].final
    if rate is not None:
        values["own_rate"] = rate
    if best.accuracy is not None:
        values["accuracy"] = best.accuracy
    is_broadcast = (
        bool(conditions.earlier["target-shape"].values.get("is_broadcast"))
        if "target-shape" in conditions.earlier
        else False
    )
    values["nearest_floor"] = (
        nearest_floor(best.final, values, is_broadcast=is_broadcast) if values["is_stalled"] else "none"
    )
    curves = {name: tuple(found.losses) for name, found in attempts.items()}
    all_was_tried = (
        searched is not None
        and "user" in attempts
        and not conditions.allowance.is_over()
        and all(found.is_whole for found in attempts.values())
    )
    is_cut = not (all_was_tried or is_learnt() or best.final <= _NEARLY * known)
    reason = (
        f"the batch was not learnt in the {counted(sum(map(len, curves.values())), 'step')} that fitted into the time budget, too few to say that it cannot be"
        if is_cut
        else ""
    )
    return Experiment(CUT if is_cut else RAN, reason, values, curves, (seed,))


def _is_stuck(attempt: _Attempt, known: float) -> bool:
    """It stands still, with answers that are wrong: not at the floor of a loss that asks for more than right answers."""
    is_good = attempt.final <= _NEARLY * known or attempt.accuracy == 1.0
    return not is_good and (_is_stalled(attempt.losses) or not math.isfinite(attempt.final))


def _known(compared: Mapping[str, float], start: float) -> float:
    """The loss at which the batch counts as known by heart."""
    constant = compared.get("constant_loss", start)
    return compared.get("label_conflict", 0.0) + _KNOWN * (constant if constant > 1e-3 * start else 0.1 * start)


def _searched_rate(conditions: Conditions, batch: Batch) -> float | None:
    """None where there is no time to look for one."""
    trainee = conditions.trainee
    if conditions.steps_that_fit(examples=batch.size) < _FAIR_STEPS:
        return None
    looking = conditions.allowance.share(0.5)
    return robust_rate(
        trainee, [batch], conditions.seed, looking, prepare=lambda model: prepared(trainee, model, batch)
    )


def _rank(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def prepared(trainee: Trainee, model: Any, batch: Batch) -> AbstractContextManager[Any]:
    def run() -> None:
        with precise(trainee):
            trainee.compute(model, batch)

    return without_dropout(model, run)


def chosen_examples(trainee: Trainee, count: int) -> Batch:
    """A few examples of one batch (of several, where they are smaller), of as many classes as there are in it: one class is learned by a bias."""
    batch = gathered(trainee.train, count)
    if batch.size <= count:
        return batch
    labels = _labels(batch.target)
    if labels is None:
        return take(batch, range(count))
    turn: dict[int, int] = {}
    order = []
    for place, label in enumerate(labels):
        order.append((turn.get(label, 0), place))  # the first of each class before the second of any
        turn[label] = turn.get(label, 0) + 1
    return take(batch, sorted(place for _, place in sorted(order)[:count]))


def _labels(target: Any) -> list[int] | None:
    """Classes of the examples: indices, zeros and ones, or one-hot rows; None for other targets."""
    import torch

    if not isinstance(target, torch.Tensor) or target.ndim not in (1, 2):
        return None
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim == 1 and (not target.is_floating_point() or bool(((target == 0) | (target == 1)).all())):
        return [int(label) for label in target.tolist()]
    if target.ndim == 2 and bool((target.sum(1) == 1).all()) and bool((target.amax(1) == 1).all()):
        return [int(label) for label in target.argmax(1).tolist()]
    return None


def _start(trainee: Trainee, batch: Batch, seed: int) -> Computed:
    import torch

    with fresh(trainee, seed) as model, prepared(trainee, model, batch), torch.no_grad(), precise(trainee):
        return trainee.compute(model, batch)


def _accuracy(trainee: Trainee, ready: Learner, batch: Batch, is_learnt: bool, known: float) -> float | None:
    """None also where the batch was known by heart before the last update and is not any more: loss and accuracy are to be of one state."""
    import torch

    with torch.no_grad():
        computed = forward(ready, batch)
        share = right_share(trainee.loss, computed)
    return None if share is None or (is_learnt and float(computed.loss) > _NEARLY * known) else float(share)


def _is_stalled(losses: Sequence[float]) -> bool:
    """Less than 1 % between the beginning and the end of the last third, each a median of a fifth of it."""
    third = losses[-max(len(losses) // 3, 1) :]
    part = max(len(third) // 5, 1)
    first, last = statistics.median(third[:part]), statistics.median(third[-part:])
    return math.isfinite(last) and abs(first - last) <= 0.01 * max(abs(first), abs(last))
