"""`run_probe`: a minute of training under instruments, then the recipe's experiments; what was seen comes back as a `Trace`.

Everything works on copies of the user's model. torch is imported inside functions only.
"""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace

from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.load.torch.restore import left_as_found
from trainaudit.probe.batches import in_batches_of, of_fixed_size
from trainaudit.probe.budget import STAGES, TRAINING, Budget, begin
from trainaudit.probe.copies import fresh, is_out_of_memory
from trainaudit.probe.experiments.conditions import Conditions
from trainaudit.probe.experiments.running import EXPERIMENTS, run_experiment, told
from trainaudit.probe.objectives import tried
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.step_failure import failure_of
from trainaudit.probe.stepping import learner
from trainaudit.probe.trainee import Trainee
from trainaudit.probe.training import (
    Progress,
    Trained,
    fitting_batch_size,
    settings_of,
    takes_fewer,
    training_run,
    with_own_inputs,
)
from trainaudit.trace.experiments import CUT, NOT_RUN, RAN, Experiment
from trainaudit.trace.trace import Failure, ProbeSettings, Trace


def run_probe(trainee: Trainee, graph: Graph | None, plan: ProbePlan, progress: Progress = lambda *_: None) -> Trace:
    """Trains a copy of the model under the instruments, then runs the experiments on copies of their own.

    `progress(stage, share)` is called as it goes on. The time budget of the plan holds for all of it: what did not fit is named in the trace's
    `cuts` and in the experiments' reasons. Ctrl-C ends it with what was measured so far; memory that runs out halves the batch.
    The user's model, its gradients, hooks and mode, and all random generators are as before afterwards.
    """
    names = [name for name in EXPERIMENTS if not plan.experiments or name in plan.experiments]
    budget = begin(plan.time_budget)
    cuts: list[str] = []
    with left_as_found(trainee.model, computes=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would say the same thing at each of thousands of steps
        trainee, trained, seconds = _trained(trainee, graph, plan, budget, names, cuts, progress)
        if trainee.failure is not None:
            return _failed(trainee, trainee.failure, plan, names)
        if trained is None:
            return Trace(
                _bare_settings(trainee, plan),
                stopped="out of memory",
                cuts=tuple(cuts),
                environment=_environment(),
            )
        trainee = replace(trainee, is_causal=plan.is_causal or trainee.is_causal or _has_causal_masks(graph))
        experiments, was_interrupted = _experiments(trainee, plan, trained, budget, names, progress)
    cuts += _cuts(trained, experiments)
    timings = {"training": seconds} | {name: found.seconds for name, found in experiments.items() if found.seconds}
    return Trace(
        settings=trained.settings,
        sampled_steps=trained.sampled_steps,
        run=trained.run,
        activations=trained.activations,
        parameters=trained.parameters,
        experiments=experiments,
        stopped="interrupted" if was_interrupted else trained.stopped,
        cuts=tuple(cuts),
        notes=trainee.notes + _notes(trainee),
        environment=_environment(),
        timings=timings,
    )


def _failed(trainee: Trainee, failure: Failure, plan: ProbePlan, names: list[str]) -> Trace:
    """Of a step that raised on the user's data: nothing could be trained, and only the shapes are there to be compared."""
    what = f"the {failure.part} could not be computed on the data"
    experiments = dict.fromkeys(names, Experiment(NOT_RUN, what))
    if "target-shape" in experiments and "none" not in (failure.output, failure.target):
        values = {"output_shape": failure.output, "target_shape": failure.target, "error": failure.said}
        experiments["target-shape"] = Experiment(RAN, values={**values, "is_broadcast": False})
    with fresh(trainee, plan.seed) as model:
        settings = settings_of(learner(trainee, model), trainee, plan)
    return Trace(
        settings=settings,
        experiments=experiments,
        stopped=f"{failure.part} failed",
        notes=(*trainee.notes, f"Nothing was trained, since {what}: {failure.said}."),
        failure=failure,
        environment=_environment(),
    )


def _has_causal_masks(graph: Graph | None) -> bool:
    """Every attention of the graph has a mask that hides later positions."""
    attentions = [] if graph is None else [layer for layer in graph.layers if layer.op is Op.ATTENTION]
    return bool(attentions) and all(layer.attributes.get("is_causal") is True for layer in attentions)


def _notes(trainee: Trainee) -> tuple[str, ...]:
    first = trainee.train[0]
    return (
        (f"The experiments use whole batches of {first.size}, since the model takes no others.",)
        if first.is_fixed
        else ()
    )


def _trained(
    trainee: Trainee,
    graph: Graph | None,
    plan: ProbePlan,
    budget: Budget,
    names: list[str],
    cuts: list[str],
    progress: Progress,
) -> tuple[Trainee, Trained | None, float]:
    """The training run with the largest batch that time and memory have room for, the trainee with batches of that size, and the seconds."""
    began = time.perf_counter()
    if trainee.failure is not None:
        return trainee, None, 0.0
    allowance = budget.allow(TRAINING, names)
    whole, size = trainee.train[0].size, trainee.train[0].size
    try:
        if not takes_fewer(trainee, plan):
            trainee = of_fixed_size(trainee)
        trainee = with_own_inputs(trainee, plan)
        size = fitting_batch_size(trainee, plan, allowance)
        if size < whole:
            cuts.append(
                f"Batches of {counted(size, 'example')} were used instead of {whole}, so that enough steps fit into the time budget."
            )
        while True:
            try:
                ready = in_batches_of(trainee, size)
                trained = training_run(ready, graph, plan, allowance, progress)
                settings = replace(trained.settings, data_batch_size=whole)
                return ready, replace(trained, settings=settings), time.perf_counter() - began
            except Exception as error:
                if not is_out_of_memory(error) or size == 1 or ready.train[0].is_fixed:
                    raise
            size = max(size // 2, 1)
            cuts.append(
                f"A batch of {size * 2} examples did not fit into the memory of the device {trainee.device}: batches of {size} were used."
            )
    except TrainauditError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            failure = _failure_in_data(trainee, plan)
            if failure is not None:
                return replace(trainee, failure=failure), None, time.perf_counter() - began
            what = f"Training the model failed ({told(error)})."
            raise TrainauditError("failed-training", what, "TRAINAUDIT_DEBUG=1 shows the traceback.") from error
        cuts.append(
            f"Not even a batch of {counted(min(size, 8), 'example')} fits into the memory of the device {trainee.device}."
        )
        return trainee, None, time.perf_counter() - began


def _failure_in_data(trainee: Trainee, plan: ProbePlan) -> Failure | None:
    """Of the first batch of the user's that the step alone, without instruments, raises on."""
    if trainee.data != "real":
        return None
    try:
        with fresh(trainee, plan.seed) as model:
            shown = type(model).__name__
            return failure_of(trainee.train, lambda batch: tried(model, batch, trainee.compute, shown))
    except Exception:  # an accelerator computes nothing more after some errors
        return None


def _experiments(
    trainee: Trainee, plan: ProbePlan, trained: Trained, budget: Budget, names: list[str], progress: Progress
) -> tuple[Mapping[str, Experiment], bool]:
    """By name; what was not asked for is left out. The second is whether the user interrupted them."""
    found: dict[str, Experiment] = {}
    if trained.stopped == "interrupted":
        return {name: Experiment(NOT_RUN, "the probe was interrupted before it") for name in names}, True
    budget = replace(budget, step_seconds=trained.step_seconds)
    waiting = list(names)
    while affordable := budget.affordable(waiting):
        name = affordable[0]
        waiting.remove(name)
        progress(name, 0.0)
        conditions = Conditions(
            trainee=trainee,
            seed=plan.seed,
            repeats=plan.repeats,
            allowance=budget.allow(name, affordable[1:]),
            step_seconds=budget.step_seconds,
            is_causal=trainee.is_causal,
            trained=None if trained.stopped == "non-finite" else trained.model,
            earlier=found,
        )
        try:
            found[name] = run_experiment(name, conditions)
        except KeyboardInterrupt:
            found[name] = Experiment(CUT, "the probe was interrupted in it")
            found |= dict.fromkeys(waiting, Experiment(NOT_RUN, "the probe was interrupted before it"))
            return {name: found[name] for name in names}, True
        progress(name, 1.0)
    found |= {name: _unaffordable(name, budget) for name in waiting}
    return {name: found[name] for name in names}, False


def _unaffordable(name: str, budget: Budget) -> Experiment:
    least, seconds = STAGES[name].least, budget.step_seconds
    return Experiment(
        NOT_RUN, f"it takes {counted(least, 'step')} of {seconds:.2g} s at least, more than the time budget leaves"
    )


def _cuts(trained: Trained, experiments: Mapping[str, Experiment]) -> list[str]:
    """What the time budget cost, a sentence each."""
    cuts = []
    made, planned = len(trained.run.loss), trained.settings.steps
    if trained.stopped == "time budget":
        cuts.append(
            f"The training run made {made} of {planned} steps: a step takes {trained.run.seconds_per_step:.2g} s."
        )
    for name, found in experiments.items():
        if found.state == CUT:
            cuts.append(f"The experiment {name} was cut: {found.reason}.")
        elif found.state == NOT_RUN and "time budget" in found.reason:
            cuts.append(f"The experiment {name} was not run: {found.reason}.")
    return cuts


def _bare_settings(trainee: Trainee, plan: ProbePlan) -> ProbeSettings:
    words = trainee.words
    return ProbeSettings(
        evidence="training", data=trainee.data, data_words=words.get("data", ""), loss=trainee.loss, loss_words=words.get("loss", ""), is_loss_inferred=trainee.is_loss_inferred,
        optimizer_words=words.get("optimizer", ""), device=trainee.device, precision=trainee.precision, seed=plan.seed, time_budget=plan.time_budget,
    )  # fmt: skip


def _environment() -> Mapping[str, str]:
    import torch

    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    if torch.version.cuda:
        found["cuda"] = str(torch.version.cuda)
    return found
