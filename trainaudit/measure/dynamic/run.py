"""Facts of the run as a whole: what was run, the loss, the gradient's norm, the first value that is not finite. May import
`measure.catalog`, `measure.facts`, `trace` and siblings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from trainaudit.counting import count as counted
from trainaudit.measure.catalog import FORWARD
from trainaudit.measure.dynamic.series import divided, end, finite, median, quantile, second_half, start
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.trace.trace import NonFinite, ParameterSeries, ProbeSettings, Series, Trace, TrainingRun

_LEAST_STEPS = 10
"""Steps from which on a run tells how weights come to move. Behind two layers that start at zero (adaLN-zero) the first gradient comes at the third."""

_CUT = frozenset({"time budget", "interrupted"})

Facts = dict[str, FactValue | None]


def too_short(trace: Trace) -> Unmeasured | None:
    """Why a run that was cut after a few steps tells nothing of where it leads."""
    steps = len(trace.run.loss) if trace.run is not None else 0
    if steps >= _LEAST_STEPS or trace.stopped == "non-finite":
        return None
    return Unmeasured(
        f"the run was cut after {steps} {'step' if steps == 1 else 'steps'}: give it more time with --time-budget"
    )


def _complete_step_count(trace: Trace, run: TrainingRun) -> FactValue:
    """The steps, or why the run is not the one that was asked for: another one would have been made on a faster machine."""
    settings = trace.settings
    made = len(run.loss)
    if trace.stopped in _CUT and made < settings.steps:
        return Unmeasured(
            f"the run was cut after {made} of {settings.steps} steps: give it more time with --time-budget"
        )
    if settings.batch_size < settings.data_batch_size:
        return Unmeasured(
            f"the run was made on batches of {counted(settings.batch_size, 'example')}, those of the data have {settings.data_batch_size}"
        )
    return made


def measure_run(trace: Trace) -> Columns:
    """Columns of `training.…`."""
    settings = trace.settings
    facts: Facts = {"evidence": settings.evidence, "data_kind": settings.data}
    if settings.evidence == FORWARD or (trace.run is not None and trace.run.loss):
        facts |= _ends(first_non_finite(trace))
    facts |= _failure(trace)
    run = trace.run
    if run is not None:
        rates = finite(run.learning_rate)
        facts |= {
            "step_count": (too_short(trace) or len(run.loss)) if run.loss else None,
            "complete_step_count": _complete_step_count(trace, run) if run.loss else None,
            "batch_size": settings.batch_size,
            "optimizer": settings.optimizer or None,
            "learning_rate": max(rates, default=settings.learning_rate),
            "is_warmed_up": bool(rates) and rates[0] < 0.5 * max(rates),
            "precision": "mixed" if "+" in settings.precision else settings.precision,
            "weight_decay": settings.weight_decay,
            "decay_per_step": _decay_per_step(settings, max(rates, default=settings.learning_rate)),
            "decayed_norm_or_bias_count": settings.decayed_norm_or_bias_count,
            "gradient_underflow_share": _underflow(trace.parameters),
            "update_alignment": median(run.update_alignment),
        }
        facts |= _loss(run.loss) | _norms(run)
    return {f"training.{name}": {"training": value} for name, value in facts.items() if value is not None}


def _decay_per_step(settings: ProbeSettings, rate: float | None) -> float | None:
    """None where an adaptive optimizer takes the decay for a part of the gradient, and divides it by the gradient's size."""
    if rate is None or settings.weight_decay is None or (settings.is_adaptive and settings.optimizer != "AdamW"):
        return None
    return rate * settings.weight_decay


def first_non_finite(trace: Trace) -> NonFinite | None:
    """The run's own word, or of a forward pass the first activation that has one."""
    if trace.run is not None:
        return trace.run.first_non_finite
    for place, step in enumerate(trace.sampled_steps):
        for series in trace.activations:
            if place < len(series.non_finite) and (series.non_finite[place] or 0) > 0:
                return NonFinite(step, "activation", series.tap.name, series.tap.layer)
    return None


def _failure(trace: Trace) -> Facts:
    failure = trace.failure
    if failure is None:
        return {} if trace.run is None else {"failed_part": "none"}
    return {
        "failed_part": failure.part,
        "failure": failure.said,
        "failed_inputs": failure.inputs,
        "failed_output": failure.output,
        "failed_target": failure.target,
    }


def _ends(found: NonFinite | None) -> Facts:
    if found is None:
        return {"is_finite": True}
    return {
        "is_finite": False,
        "non_finite_step": found.step,
        "non_finite_kind": found.kind,
        "non_finite_place": found.layer or found.where or "(unknown)",
    }


def _loss(loss: Series) -> Facts:
    first, last = start(loss), end(loss)
    if first is None or last is None:
        return {}
    half = finite(second_half(loss))
    changes = [abs(after - before) for before, after in pairwise(half)]
    smooth = [statistics.median(window) for i in range(len(loss)) if (window := finite(loss[max(i - 4, 0) : i + 1]))]
    facts: Facts = {"first_loss": first, "final_loss": last, "loss_fall_score": fall_score(finite(loss))}
    if first > 0.0:
        facts["loss_ratio"] = divided(last, first)
        facts["early_peak_ratio"] = divided(max(smooth[: len(smooth) // 4], default=None), first)
        if changes:
            facts["loss_swing"] = statistics.median(changes) / first
    return facts


def fall_score(loss: Sequence[float]) -> float | None:
    """Least-squares slope of the losses over the steps, downward positive, over its standard error; None under four steps. A straight line without
    any residual scores ±1e6, a constant 0."""
    count = len(loss)
    if count < 4:
        return None
    middle, mean = (count - 1) / 2, sum(loss) / count
    spread = sum((step - middle) ** 2 for step in range(count))
    slope = sum((step - middle) * (value - mean) for step, value in enumerate(loss)) / spread
    left = sum((value - mean - slope * (step - middle)) ** 2 for step, value in enumerate(loss))
    error = math.sqrt(left / (count - 2) / spread)
    if abs(slope) <= 1e-12 * abs(mean):
        return 0.0
    return max(-1e6, min(1e6, -slope / error)) if error > 0.0 else math.copysign(1e6, -slope)


_LEARNT = 2.0**-20
"""Of the loss at the start: eight units in the last place of a float32, such as what a logarithm of probabilities that is clipped at 1 − 1e-7 has left."""


def _norms(run: TrainingRun) -> Facts:
    norms = run.gradient_norm
    beginning = start(norms)
    spikes = {step: ratio for step in range(len(norms) // 10, len(norms)) if (ratio := _spike(norms, step, beginning))}
    spike = max(spikes, key=lambda step: spikes[step], default=None)
    learnt = _LEARNT * abs(run.loss[0] or 0.0) if run.loss else 0.0
    left = [
        norm
        for norm, loss in zip(norms, run.loss, strict=False)
        if norm is not None and loss and not abs(loss) <= learnt
    ]
    return {
        "gradient_norm": median(norms),
        "gradient_spike_ratio": None if beginning is None else 1.0 if spike is None else spikes[spike],
        "spike_step": spike,
        "clip_norm": quantile(norms, 0.9),
        "zero_gradient_share": sum(norm == 0.0 for norm in left) / len(norms) if left else None,
    }


def _spike(norms: Series, step: int, beginning: float | None) -> float | None:
    """The norm at a step over the median of the ten before it; None where it is below that at the beginning: as the loss falls towards 0 the norm
    falls with it, and what stands out of that is no harm."""
    norm = norms[step]
    if norm is None or beginning is None or norm <= beginning:
        return None
    return divided(norm, median(norms[max(step - 10, 0) : step]))


def _underflow(parameters: Sequence[ParameterSeries]) -> float | None:
    """Over all parameters by their sizes, at each sampled step; the median of the steps."""
    trained = [one for one in parameters if finite(one.gradient_underflow_share)]
    steps = max((len(one.gradient_underflow_share) for one in trained), default=0)
    shares = []
    for step in range(steps):
        found = [
            (one.gradient_underflow_share[step], one.size)
            for one in trained
            if step < len(one.gradient_underflow_share)
        ]
        known = [(share, size) for share, size in found if share is not None]
        if known:
            shares.append(sum(share * size for share, size in known) / sum(size for _, size in known))
    return statistics.median(shares) if shares else None
