"""What reports say of a probe in words: what was run, what was cut, and each experiment in one line. No format lives here.

May import `result`, `trace` and `report.numbers`. Values of an experiment may be missing or odd: the record may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.escaping import visible
from trainaudit.result import Audit
from trainaudit.trace.experiments import CUT, NOT_RUN, RAN, Experiment
from trainaudit.trace.trace import ProbeSettings, Trace

Values = Mapping[str, float | str | bool]

_FLOORS = {
    "double-softmax": "the floor of a second softmax",
    "broadcast": "the variance of the targets, where a broadcast against them ends",
    "sigmoid": "the floor of a second sigmoid",
    "constant": "the best that a constant output reaches",
}
_KINDS = {
    "uniform-classes": "for classes that are equally likely",
    "base-rates": "from the base rates of the classes",
    "target-variance": "from the variance of the targets",
}
_PRECISIONS = {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@frozen
class ExperimentRow:
    """One experiment: its name in words, its state, what it gave (or why it gave nothing), and on what it stands ("3 seeds, 0.6 s")."""

    name: str
    title: str
    state: str
    result: str
    basis: str


def headline(trace: Trace) -> str:
    """ "200 of 200 steps on cpu (2 cores), float32, seed 0, 8.25 s"; how it ended, where that is not as planned."""
    settings = trace.settings
    of = _made(trace)
    where = visible(settings.device) + (f" ({visible(settings.device_name)})" if settings.device_name else "")
    seconds = sum(value for value in trace.timings.values() if isfinite(value))
    parts = [
        f"{of} of {numbers.count(settings.batch_size, 'example')}" if settings.batch_size else of,
        where,
        precision(settings),
        f"seed {settings.seed}",
        f"{numbers.number(seconds, 2)} s",
    ]
    ended = "" if trace.stopped == "completed" else f"; ended by {_ended(trace)}"
    return ", ".join(part for part in parts if part) + ended


def _made(trace: Trace) -> str:
    settings = trace.settings
    made = len(trace.sampled_steps) if trace.run is None or settings.evidence == "forward" else len(trace.run.loss)
    return f"{made} of {numbers.count(settings.steps, *(('batch', 'batches') if settings.evidence == 'forward' else ('step',)))}"


def _ended(trace: Trace) -> str:
    found = None if trace.run is None else trace.run.first_non_finite
    if trace.stopped == "non-finite" and found is not None:
        kind = "a loss" if found.kind == "loss" else f"{_article(found.kind)} of {visible(found.layer or found.where)}"
        return f"{kind} that is not finite, at step {found.step}"
    if trace.failure is not None:
        return f"a {visible(trace.failure.part)} that could not be computed on the data"
    words = {"time budget": "the time budget", "interrupted": "the user", "out of memory": "memory that ran out"}
    return words.get(trace.stopped, visible(trace.stopped))


def _article(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {visible(kind)}"


def rows(audit: Audit) -> list[tuple[str, str]]:
    """What was run, as label and text: data, loss, optimizer, conversion, what was cut, and what became of the file's findings. What an experiment
    had cut stands with the experiment."""
    trace = audit.trace
    if trace is None:
        return []
    settings = trace.settings
    found = [("data", visible(settings.data_words or settings.data))]
    if settings.evidence != "forward":
        found += [("loss", _loss(trace)), ("optimizer", _optimizer(settings))]
    if trace.conversion is not None:
        error = trace.conversion.error
        checked = (
            f"not held against onnxruntime: {visible(trace.conversion.unchecked) or 'no reason is known'}"
            if error is None
            else f"to a torch module that agrees with onnxruntime to {numbers.number(error, 2)} of the output's scale"
        )
        found.append(("converted", f"{checked}; {numbers.large(trace.conversion.trainable_count)} trainable weights"))
    found += [("cut", visible(cut)) for cut in trace.cuts if not any(name in cut for name in trace.experiments)]
    found += [("note", visible(note)) for note in trace.notes if note not in audit.warnings]
    said = _said(audit)
    return [*found, ("findings", said)] if said else found


def _loss(trace: Trace) -> str:
    words = visible(trace.settings.loss_words or trace.settings.loss or "not known")
    losses = [value for value in (() if trace.run is None else trace.run.loss) if value is not None]
    if not losses:
        return words
    return f"{words}; {loss_sentence(losses)}"


def loss_sentence(losses: Sequence[float]) -> str:
    return f"{numbers.number(losses[0], 4)} at the start, {numbers.number(losses[-1], 4)} at the end"


def identity(trace: Trace | None) -> tuple[tuple[str, str], ...]:
    """What was run and on what, for the head of a report: label and text."""
    if trace is None:
        return (("Run", "nothing was run: no data, no device, no seed"),)
    settings = trace.settings
    words = visible(settings.data_words)
    kind = "" if words.startswith("synthetic") else visible(settings.data)
    data = ": ".join(dict.fromkeys(filter(None, (kind, words)))) or visible(settings.data)
    device = visible(settings.device) + (f" ({visible(settings.device_name)})" if settings.device_name else "")
    found = [("Data", data), ("Device", f"{device}, {precision(settings)}"), ("Seed", str(settings.seed))]
    return (*found, *([] if trace.stopped == "completed" else [("Run", f"{_made(trace)}; ended by {_ended(trace)}")]))


def precision(settings: ProbeSettings) -> str:
    return " and ".join(_PRECISIONS.get(part, visible(part)) for part in settings.precision.split("+"))


def _optimizer(settings: ProbeSettings) -> str:
    words = visible(settings.optimizer_words or settings.optimizer or "not known")
    rate = settings.learning_rate
    if rate is None or not isfinite(rate) or "rate" in words:
        return words
    return f"{words}, learning rate {numbers.number(rate)}"


def _said(audit: Audit) -> str:
    """How many findings of the file the probe confirmed and how many it withdrew."""
    counts = [(word, sum(finding.probe == word for finding in audit.findings)) for word in ("confirmed", "withdrawn")]
    said = ", ".join(f"{number} {word}" for word, number in counts if number)
    return f"of those that the file alone gives: {said}" if said else ""


def experiment_rows(trace: Trace) -> list[ExperimentRow]:
    """In the order of the record."""
    return [_row(name, found) for name, found in trace.experiments.items()]


def _row(name: str, found: Experiment) -> ExperimentRow:
    said = _SENTENCES[name](found.values) if name in _SENTENCES and found.values else ""
    reason = visible(found.reason)
    result = said or reason or "nothing"
    if found.state == CUT and said and reason:
        result = f"{said} (cut: {reason})"
    basis = [numbers.count(len(found.seeds), "seed")] if found.state in (RAN, CUT) and found.seeds else []
    basis += [f"{numbers.number(found.seconds, 2)} s"] if found.seconds > 0 and found.state != NOT_RUN else []
    return ExperimentRow(name, visible(name.replace("-", " ")), visible(found.state), result, ", ".join(basis))


# --- one sentence for each experiment ------------------------------------------------------------------------------------


def _n(values: Values, key: str, digits: int = 3) -> str:
    """A number as it is written, "?" where there is none."""
    value = values.get(key)
    return numbers.number(value, digits) if isinstance(value, int | float) and not isinstance(value, bool) else "?"


def _count(values: Values, key: str, noun: str, plural: str = "") -> str:
    """ "1 step", "240 steps", "? steps" where it is not known."""
    text = _n(values, key)
    return f"{text} {noun if text == '1' else plural or noun + 's'}"


def _has(values: Values, key: str) -> bool:
    value = values.get(key)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _share(values: Values, key: str) -> str:
    value = values.get(key)
    return numbers.share(value) if isinstance(value, int | float) and isfinite(value) else "?"


def _loss_at_init(values: Values) -> str:
    said = _n(values, "loss", 4)
    if _has(values, "expected"):
        kind = _KINDS.get(str(values.get("expected_kind", "")), "")
        said += f", where {_n(values, 'expected', 4)} is expected {kind}".rstrip()
    return said + (
        f"; outputs have a standard deviation of {_n(values, 'logit_std', 2)}" if _has(values, "logit_std") else ""
    )


def _overfit(values: Values) -> str:
    said = f"loss {_n(values, 'start_loss', 4)} → {_n(values, 'final_loss', 4)} in {_count(values, 'steps', 'step')} on {_count(values, 'sample_count', 'example')}"
    if _has(values, "accuracy"):
        said += f", {_share(values, 'accuracy')} of the classes right"
    floor = str(values.get("nearest_floor", "none"))
    if values.get("is_stalled") is True:
        said += f"; stalled at {_FLOORS[floor]}" if floor in _FLOORS else "; stalled"
    if values.get("is_learnt_standardized") is True:
        said += "; with standardized inputs it is learnt"
    return said


def _baseline(values: Values) -> str:
    said = f"loss {_n(values, 'real_loss')} on real inputs, {_n(values, 'zeroed_loss')} on zeroed ones"
    effect = values.get("effect")
    if not isinstance(effect, int | float):
        return said
    return said + (
        f": {_n(values, 'effect', 2)} standard deviations apart"
        if effect < 100
        else ": far beyond the spread of the seeds"
    )


def _batch_dependence(values: Values) -> str:
    leak = values.get("leak")
    if leak == 0:
        return "no sample reaches another one's output"
    if leak is None:
        return "no output was seen to depend on its own sample's input"
    return f"samples reach each other's outputs: {_count(values, 'pair_count', 'pair')}, leak {_n(values, 'leak', 2)}"


def _time_dependence(values: Values) -> str:
    if values.get("future_leak") == 0:
        return "no position sees a later one"
    first = f" from position {_n(values, 'first_leak')} on" if _has(values, "first_leak") else ""
    return f"positions see later ones{first}, leak {_n(values, 'future_leak', 2)}"


def _rates(values: Values) -> str:
    parts = [
        f"{word} {_n(values, key, 2)}"
        for word, key in (("suggested", "suggested"), ("stable up to", "highest_stable"), ("in use", "current"))
        if _has(values, key)
    ]
    return ", ".join(parts)


def _gap(values: Values) -> str:
    return f"loss {_n(values, 'train_loss')} in training mode, {_n(values, 'eval_loss')} in evaluation mode"


def _same_seed(values: Values) -> str:
    if values.get("is_identical") is True:
        return f"two runs from one seed gave the same {_count(values, 'steps', 'loss', 'losses')}, bit for bit"
    return f"two runs from one seed differ by up to {_n(values, 'largest_difference', 2)}, relatively"


def _target_shape(values: Values) -> str:
    said = f"output {visible(str(values.get('output_shape', '?')))} against target {visible(str(values.get('target_shape', '?')))}"
    if "error" in values:
        return f"{said}: no loss can be computed"
    return said + (": broadcast against each other" if values.get("is_broadcast") is True else "")


_SENTENCES: Mapping[str, Callable[[Values], str]] = {
    "loss-at-init": _loss_at_init,
    "overfit-one-batch": _overfit,
    "input-baseline": _baseline,
    "batch-dependence": _batch_dependence,
    "time-dependence": _time_dependence,
    "learning-rate-range": _rates,
    "train-eval-gap": _gap,
    "same-seed": _same_seed,
    "target-shape": _target_shape,
}
