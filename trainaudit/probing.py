"""THE probe, read top-down: open → measure statically → make a trainee → run → measure the trace → judge → the record.

May import every room but the command line and reports. torch is imported inside functions only, and not at all with `forward_only`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainaudit.auditing import (
    Audited,
    Measured,
    chosen_rules,
    inputs_of,
    judge_measured,
    measure_module,
    open_and_measure,
    with_loss,
    with_own_loss,
)
from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Graph
from trainaudit.judge.rule import Rule
from trainaudit.load.opening import require_torch
from trainaudit.load.target import Kind, Target, split_python
from trainaudit.measure.catalog import TRAINING
from trainaudit.measure.dynamic.measuring import measure_trace
from trainaudit.measure.static.rows import layer_rows
from trainaudit.probe.plan import ProbePlan
from trainaudit.proving import SHARE, prove_findings
from trainaudit.result import Audit
from trainaudit.settings import LOSSES, Settings, with_flags
from trainaudit.suggestion import did_you_mean
from trainaudit.trace.experiments import NAMES
from trainaudit.trace.trace import Conversion, Trace

if TYPE_CHECKING:
    from trainaudit.probe.trainee import Trainee

Progress = Callable[[str, float], None]
"""Called with the name of a stage and the share of it that is done, 0 to 1."""


def probe_target(
    target: Target,
    plan: ProbePlan,
    settings: Settings,
    rules: Sequence[Rule],
    progress: Progress,
    trace: Trace | None = None,
) -> Audited:
    """One target through the whole pipeline. A `trace` that is there already is judged again, and nothing is run.

    Ctrl-C while the probe runs leads to the record of what was measured so far.
    """
    _refuse_others(target, plan)
    progress("reading the model", 0.0)
    given = target
    if not plan.forward_only and (trace is None or target.kind is Kind.PYTHON):
        target = _with_inputs(target, plan)
    graph, measured = _opened(given, target, settings)
    trainee, started = None, time.perf_counter()
    if trace is not None:
        _refuse_other_model(trace, graph, measured.target)
    else:
        try:
            if plan.forward_only:
                trace = _forward(target, plan, progress)
            else:
                trainee, trace = _train(target, plan, graph, progress)
        except KeyboardInterrupt:
            note = "Interrupted before the probe measured anything: this is what graph and weights tell."
            measured = replace(measured, notes=(*measured.notes, note))
    progress("judging", 1.0)
    if trace is not None:
        measured = with_trace(measured, trace, graph)
    audited = judge_measured(measured, settings, rules, detail=True)
    if plan.prove_fixes and trainee is None:
        note = "Fixes were not proved, since nothing was trained."
        return replace(audited, audit=replace(audited.audit, warnings=(*audited.audit.warnings, note)))
    if trainee is None or not _wants_proofs(plan, trace):
        return audited
    from trainaudit.load.torch.quiet import aside

    with aside():
        path = target.path if target.kind is Kind.ONNX else ""
        proved = prove_findings(audited.audit, trainee, graph, plan, started + plan.time_budget, progress, path)
    return replace(audited, audit=proved)


def _wants_proofs(plan: ProbePlan, trace: Trace | None) -> bool:
    return plan.prove_fixes and trace is not None and trace.stopped != "interrupted"


def _opened(given: Target, target: Target, settings: Settings) -> tuple[Graph, Measured]:
    """Read with inputs of the data's size, else as it was given: a model that does not run on its data is judged, too."""
    try:
        return open_and_measure(_as_read(target), settings, detail=True)
    except TrainauditError as error:
        if target is given or error.slug != "forward-failed":
            raise
        try:
            return open_and_measure(_as_read(given), settings, detail=True)
        except TrainauditError:
            raise error from None


def _as_read(target: Target) -> Target:
    """Inputs of a file are for running it, and not for reading it."""
    return target if target.kind in (Kind.PYTHON, Kind.CONFIG) else replace(target, inputs=())


def _with_inputs(target: Target, plan: ProbePlan) -> Target:
    """A module is read with inputs of the size that its data have."""
    require_torch(f"A probe of {target.name or target.spec}")
    from trainaudit.load.torch.quiet import aside
    from trainaudit.probe.making import with_inputs_of_data

    with aside():
        return with_inputs_of_data(target, plan)


def _train(target: Target, plan: ProbePlan, graph: Graph, progress: Progress) -> tuple[Trainee, Trace]:
    require_torch(f"A probe of {target.name or target.spec}")
    from trainaudit.load.torch.quiet import aside
    from trainaudit.probe.making import make_trainee

    progress("making data, loss and optimizer", 0.0)
    with aside():
        trainee = make_trainee(target, plan, graph)
        return trainee, _run(trainee, plan, graph, progress)


def _run(trainee: Trainee, plan: ProbePlan, graph: Graph, progress: Progress) -> Trace:
    """The data described, the training run and the experiments, within the plan's time less what proofs of fixes are to have."""
    from trainaudit.probe.data_statistics import describe
    from trainaudit.probe.run import run_probe

    progress("looking at the data", 0.0)
    started = time.perf_counter()
    budget = plan.time_budget * (1 - SHARE if plan.prove_fixes else 1)
    data = describe(trainee, seed=plan.seed, seconds=0.1 * budget)
    spent = time.perf_counter() - started
    trace = run_probe(trainee, graph, replace(plan, time_budget=max(budget - spent, 1.0)), progress)
    return replace(
        trace,
        settings=replace(trace.settings, time_budget=plan.time_budget),
        data=data,
        conversion=_conversion(trainee),
        timings={"data": spent, **trace.timings},
    )


def _conversion(trainee: Trainee) -> Conversion | None:
    """How well the module that was made of an ONNX file does what the file does."""
    made = trainee.conversion
    if made is None:
        return None
    trainable = sum(item.numel() for item in trainee.model.parameters() if item.requires_grad)
    return Conversion(made.error, made.unchecked, trainable)


def _refuse_others(target: Target, plan: ProbePlan) -> None:
    if plan.forward_only and target.kind is not Kind.ONNX:
        what = f"{target.name or target.spec} is no ONNX file, and --forward-only runs nothing else."
        raise TrainauditError("not-onnx", what, "Leave --forward-only out, or export the model to ONNX.")


def _forward(target: Target, plan: ProbePlan, progress: Progress) -> Trace:
    from trainaudit.probe.forward_process import run_apart

    return run_apart(target, plan, progress)


def measure_again(target: Target, settings: Settings, trace: Trace | None) -> Measured:
    """What is known of a model, with what a saved trace of it says, where there is one. Nothing is run."""
    graph, measured = open_and_measure(_as_read(target), settings, detail=True)
    if trace is None:
        return measured
    _refuse_other_model(trace, graph, measured.target)
    return with_trace(measured, trace, graph)


def _refuse_other_model(trace: Trace, graph: Graph, shown: str) -> None:
    """A saved trace says nothing of a model that has none of its layers."""
    seen = {series.tap.layer for series in trace.activations if series.tap.layer}
    if seen and not any(layer.name in seen for layer in graph.layers):
        what = f"The trace is of another model: none of its layers ({', '.join(sorted(seen)[:3])} …) is in {shown}."
        raise TrainauditError("other-model", what, "Name the model that was probed.")


def with_trace(measured: Measured, trace: Trace, graph: Graph) -> Measured:
    """What is known of a model, with what a probe of it saw."""
    started = time.perf_counter()
    settings = trace.settings
    if settings.evidence == TRAINING and not settings.is_loss_inferred:
        measured = with_loss(measured, settings.loss) if settings.loss in LOSSES else with_own_loss(measured)
    table = measure_trace(trace, measured.table)
    timings = {**measured.timings, **trace.timings, "measure trace": time.perf_counter() - started}
    return replace(measured, table=table, trace=trace, layers=layer_rows(graph, table.columns), timings=timings)


def was_interrupted(audit: Audit) -> bool:
    """The user ended the probe before its end, maybe before its beginning."""
    return audit.trace is None or audit.trace.stopped == "interrupted"


def plan_for(target: Target, settings: Settings, asked: Mapping[str, Any]) -> ProbePlan:
    """What is to be run on a target: the settings' word, and the command line's on top (None and () say nothing).

    Raises `TrainauditError` for an experiment that there is not, and for NaN.
    """
    given = {**target.probe, **{name: value for name, value in asked.items() if value is not None and value != ()}}
    for name, value in given.items():
        if isinstance(value, float) and not isfinite(value):
            raise TrainauditError(
                "bad-number", f"The {name.replace('_', ' ')} of a probe is {value}.", "Give a number."
            )
    if "experiments" in given:
        given["experiments"] = _experiments(given["experiments"])
    return replace(ProbePlan(loss=target.loss or settings.loss or ""), **given)


def _experiments(words: Sequence[str]) -> tuple[str, ...]:
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    for name in names:
        if name not in NAMES:
            hint = did_you_mean(name, NAMES) or f"Known: {', '.join(NAMES)}."
            raise TrainauditError("unknown-experiment", f'There is no experiment "{name}".', hint)
    return tuple(dict.fromkeys(names))


def settings_loss(text: str | None) -> str | None:
    """What `--loss` says to the static rules: a name, or nothing where it is an import string."""
    return None if text is None or split_python(text) is not None else text


def probe_model(
    model: object,
    example: object = None,
    *,
    data: object = None,
    validation: object = None,
    loss: object = None,
    optimizer: object = None,
    step: object = None,
    input: str | Sequence[str] | Mapping[str, str] = (),
    arguments: Mapping[str, object] | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    **plan: Any,
) -> Audit:
    """Audit one model and train a copy of it for a minute, with the built-in rules, whatever settings files lie around. The model is left as found.

    `model`, `example`, `input`, `arguments`, `select` and `ignore` are as for `audit`. `data`, `validation`, `loss`, `optimizer` and `step` are what the
    command line takes, or for a module the objects themselves: a DataLoader, Dataset, tensors, an iterable or a function that gives one; a criterion; a
    function that takes the model or its parameters; a function (model, batch) → loss. What else there is to say stands in the fields of
    `trainaudit.probe.plan.ProbePlan`: learning_rate, steps, batch_size, device, precision, seed, repeats, time_budget (seconds), experiments,
    prove_fixes (each fix is made on a copy and trained beside the model) …

    Raises `TrainauditError` where the model cannot be audited, or data, loss or optimizer do not fit it.
    """
    unknown = [name for name in plan if name not in ProbePlan.__dataclass_fields__]
    if unknown:
        hint = did_you_mean(unknown[0], ProbePlan.__dataclass_fields__) or "See trainaudit.probe.plan.ProbePlan."
        raise TrainauditError("bad-argument", f"probe_model takes no argument {unknown[0]}.", hint)
    given = {"data": data, "validation": validation, "loss": loss, "optimizer": optimizer, "step": step}
    texts: dict[str, Any] = {name: value for name, value in given.items() if isinstance(value, str)}
    objects = {name: value for name, value in given.items() if value is not None and name not in texts}
    wanted = replace(ProbePlan(**texts), **plan)
    settings = with_flags(Settings(), loss=settings_loss(texts.get("loss")), select=select, ignore=ignore)
    rules = chosen_rules(settings)
    specs = inputs_of(input)
    if isinstance(model, str | Path):
        if objects or example is not None:
            what = f"{model} is a name, and {next(iter(objects), 'example')} is an object."
            raise TrainauditError("bad-argument", what, "Give objects with a module, and import strings with a name.")
        target = Target(str(model), inputs=specs, arguments=arguments or {})
        return probe_target(target, wanted, settings, rules, _silent).audit
    require_torch(f"A probe of {type(model).__name__}")
    from trainaudit.load.torch.quiet import aside
    from trainaudit.probe.making import inputs_of_objects, make_trainee_of

    own = _user_objects(objects)
    if example is None and not specs and not isinstance(data, Iterator):  # to look at an iterator uses it up
        with aside():
            specs = inputs_of_objects(model, wanted, own)
    graph, measured = measure_module(model, example, specs, settings)
    with aside():
        trainee = make_trainee_of(model, example, wanted, graph, own)
        started = time.perf_counter()
        trace = _run(trainee, wanted, graph, _silent)
    measured = with_trace(measured, trace, graph)
    audit = judge_measured(measured, settings, rules, detail=True).audit
    if not _wants_proofs(wanted, trace):
        return audit
    with aside():
        return prove_findings(audit, trainee, graph, wanted, started + wanted.time_budget, _silent)


def _silent(_stage: str, _share: float) -> None:
    """Says nothing of how far it is."""


def _user_objects(objects: Mapping[str, object]) -> Any:
    """The user's objects as a spec file would give them."""
    from trainaudit.probe.user_objects import Spec

    def data() -> object:
        return objects["data"]

    def validation() -> object:
        return objects["validation"]

    return Spec(
        "probe_model",
        make_data=data if "data" in objects else None,
        make_validation=validation if "validation" in objects else None,
        make_loss=objects.get("loss"),
        make_optimizer=objects.get("optimizer"),
        step=objects.get("step"),
    )
