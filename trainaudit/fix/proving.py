"""A fix is proved: made on a copy, trained beside the model as it is from the same seeds on the same batches, and compared.

    trial = Trial(trainee, apply=…, seeds=(1, 2, 3), steps=100, allowance=…)
    proof = prove(trial, ("undersized-init",), changes)
    whole = together.prove_together(trial, [proof, …])

Steps and seeds are planned: a proof whose steps could not all be made is "not run", and no verdict hangs on how fast the machine is. torch is imported
inside functions only.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trainaudit.changes import GRAPH, KINDS, WEIGHTS, Change
from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.fix.comparing import gain, is_open, verdict
from trainaudit.fix.course import Course, CutError, train_course
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.probe.budget import Allowance
from trainaudit.probe.copies import is_out_of_memory
from trainaudit.probe.trainee import Trainee
from trainaudit.result import NOT_RUN, PROVED, WORSE, Effect, Proof

LOSS, WRONG, ERROR = "loss", "wrong classes", "error"
"""What two runs are compared by: `Proof.compared`."""

Changes = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What all fixes of one model are tried with. `apply(trainee, changes, seed)` makes changes on a copy of a trainee; `alters_loss` says whether they change what the loss is of,
    so that two losses cannot be compared; `predict` gives numbers from graph and weights alone of a trainee with these changes made, or why there are none; `suggest` the
    learning rate that a trainee's range test gives, from a seed. `courses` are those that
    were run, by changes, seed and steps."""

    trainee: Trainee
    apply: Callable[[Trainee, Changes, int], Trainee]
    alters_loss: Callable[[Changes], bool]
    predict: Callable[[Trainee, Changes], Mapping[str, float] | str]
    seeds: tuple[int, ...]
    steps: int
    allowance: Allowance
    suggest: Callable[[Trainee, int], float | None] = lambda *_: None
    command: str = ""
    courses: dict[tuple[Changes, int, int], Course] = field(default_factory=dict)
    predicted: dict[Changes, Mapping[str, float] | str] = field(default_factory=dict)

    def made(self, changes: Changes, seed: int) -> Trainee:
        """What is drawn anew is drawn from the seed: another draw for each pair."""
        return self.apply(self.trainee, changes, seed) if changes else self.trainee

    def course(self, changes: Changes, seed: int) -> Course:
        key = changes, seed, self.steps
        if key not in self.courses:
            if not changes and self.trainee.failure is not None:
                self.courses[key] = Course(math.nan, math.inf, 1.0, math.inf)
            else:
                self.courses[key] = train_course(self.made(changes, seed), seed, self.steps, self.allowance)
        return self.courses[key]

    def numbers(self, changes: Changes) -> Mapping[str, float] | str:
        """What is predicted with those of the changes that graph and weights show."""
        seen = tuple(change for change in changes if KINDS[change.kind].part in (WEIGHTS, GRAPH))
        if seen not in self.predicted:
            self.predicted[seen] = self.predict(self.made(seen, self.seeds[0]), seen)
        return self.predicted[seen]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The courses with one set of changes and with another, by seed."""

    seeds: tuple[int, ...]
    before: tuple[Course, ...]
    after: tuple[Course, ...]
    compared: str
    gains: tuple[float, ...]

    @property
    def gain(self) -> float:
        return statistics.fmean(self.gains)

    @property
    def verdict(self) -> str:
        return verdict(self.gains)


def prove(trial: Trial, rules: tuple[str, ...], changes: Changes, more: Sequence[Effect] = ()) -> Proof:
    """The proof of these changes, all of them together. `more` are further effects that were measured elsewhere."""
    began = time.perf_counter()
    try:
        predicted, unpredicted = _predicted(trial, changes)
        pairs = paired(trial, (), changes)
    except Exception as error:
        return Proof(NOT_RUN, _why_not(trial, error), rules, changes, command=_command(trial, error))
    if not pairs.compared:
        why = "the fix changes what the loss is of, and nothing else that the step shows can be compared"
        return Proof(NOT_RUN, why, rules, changes)
    return Proof(
        verdict=pairs.verdict,
        reason=_reason(pairs),
        rules=rules,
        changes=changes,
        effects=(*predicted, *_measured(trial, pairs), *more),
        gain=pairs.gain,
        gains=pairs.gains,
        compared=pairs.compared,
        seeds=pairs.seeds,
        steps=trial.steps,
        seconds=time.perf_counter() - began,
        unpredicted=unpredicted,
    )


def paired(trial: Trial, before: Changes, after: Changes) -> Pairs:
    """With one set of changes and with another: all planned seeds, and once as many where they agree and are too few to tell."""
    seeds = trial.seeds
    pairs = _of_seeds(trial, before, after, seeds)
    if pairs.compared and is_open(pairs.gains):
        pairs = _of_seeds(trial, before, after, (*seeds, *(seeds[-1] + 1 + place for place in range(len(seeds)))))
    return pairs


def _of_seeds(trial: Trial, before: Changes, after: Changes, seeds: tuple[int, ...]) -> Pairs:
    first = tuple(trial.course(before, seed) for seed in seeds)
    second = tuple(trial.course(after, seed) for seed in seeds)
    new = tuple(change for change in (*before, *after) if change not in before or change not in after)
    compared = _comparable(first + second, is_altered=trial.alters_loss(new))
    gains = tuple(_gain(compared, *pair) for pair in zip(first, second, strict=True)) if compared else ()
    return Pairs(seeds, first, second, compared, gains)


def _comparable(courses: Sequence[Course], *, is_altered: bool) -> str:
    """The user's loss where both have the same one; else how wrong the answers are, in units that no loss changes; "" where that is not known."""
    if not is_altered:
        return LOSS
    for word, values in ((WRONG, [one.wrong for one in courses]), (ERROR, [one.error for one in courses])):
        if all(value is not None for value in values):
            return word
    return ""


def _gain(compared: str, before: Course, after: Course) -> float:
    if compared == WRONG:
        return gain(before.wrong or 0.0, after.wrong or 0.0, 1.0, 1 / max(before.examples, after.examples, 1))
    if compared == ERROR:
        return gain(before.error or 0.0, after.error or 0.0, 1.0)
    starts = [abs(one.start) for one in (before, after) if math.isfinite(one.start) and one.start]
    return gain(before.loss, after.loss, starts[0] if starts else 1.0)


# --- what is told of it --------------------------------------------------------------------------------------------------


def _predicted(trial: Trial, changes: Changes) -> tuple[tuple[Effect, ...], str]:
    before, after = trial.numbers(()), trial.numbers(changes)
    if isinstance(before, str) or isinstance(after, str):
        return (), before if isinstance(before, str) else str(after)
    effects = tuple(
        Effect(
            name,
            "share" if "share" in name else "ratio",
            before[name],
            after[name],
            False,
            _is_lower_better(name, before[name]),
        )
        for name in before
        if name in after and before[name] != after[name]
    )
    return effects, "" if effects else "what is predicted is the same with the fix"


def _is_lower_better(name: str, before: float) -> bool:
    """A gradient ratio and the spread of logits are to come near 1, from either side."""
    return before > 1.0 if name in ("gradient ratio", "logit std") else True


def _measured(trial: Trial, pairs: Pairs) -> tuple[Effect, ...]:
    after_steps = f" after {counted(trial.steps, 'step')}"
    numbers: dict[str, tuple[str, Callable[[Course], float | None]]] = {
        f"{LOSS}{after_steps}": ("", lambda one: one.loss),
        f"{WRONG}{after_steps}": ("share", lambda one: one.wrong),
        f"{ERROR}{after_steps}": ("ratio", lambda one: one.error),
        "gradient ratio": ("ratio", lambda one: one.gradient_ratio),
        "dead share": ("share", lambda one: one.dead_share),
    }
    if pairs.compared != LOSS:
        del numbers[f"{LOSS}{after_steps}"]
    effects = []
    for name, (unit, read) in numbers.items():
        before, after = _middle(map(read, pairs.before)), _middle(map(read, pairs.after))
        if before is None or after is None or (name == "dead share" and not before and not after):
            continue
        effects.append(Effect(name, unit, before, after, True, _is_lower_better(name, before)))
    return tuple(sorted(effects, key=lambda effect: not effect.name.startswith(pairs.compared)))


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _reason(pairs: Pairs) -> str:
    better, count = sum(each > 0 for each in pairs.gains), len(pairs.gains)
    if pairs.verdict == PROVED:
        return f"better in {better} of {count} pairs"
    if pairs.verdict == WORSE:
        return f"worse in {count - better} of {count} pairs"
    return "no more than the spread of the seeds"


def _why_not(trial: Trial, error: Exception) -> str:
    if isinstance(error, CutError):
        return f"cut: the {counted(trial.steps, 'step')} of each run did not all fit into the time budget"
    if is_out_of_memory(error):
        return "the model with the fix does not fit into memory"
    if isinstance(error, NotApplicableError):
        return error.reason
    said = error.what if isinstance(error, TrainauditError) else f"{type(error).__name__}: {error}"
    return f"the fix could not be made or trained: {' '.join(said.split())[:200].removesuffix('.')}"


def _command(trial: Trial, error: Exception) -> str:
    return trial.command if isinstance(error, CutError) else ""
