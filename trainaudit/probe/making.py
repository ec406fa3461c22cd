"""`make_trainee`: from a target and a plan to a model with everything that one training step needs. torch is imported inside functions only.

open the module → what it is to compute → data → loss → optimizer → `Trainee`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.load.target import InputSpec, Kind, Target, split_python
from trainaudit.load.torch.restore import left_as_found
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe import objectives
from trainaudit.probe.calling import LABELS, batch_of, signature_of
from trainaudit.probe.data import Source
from trainaudit.probe.device import chosen_device
from trainaudit.probe.inferring import class_count_of
from trainaudit.probe.label_range import classes_of
from trainaudit.probe.objectives import Objective
from trainaudit.probe.opening import Opened, input_spec, of_module, open_model, with_shapes
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.reading import read
from trainaudit.probe.step_failure import StepFailedError
from trainaudit.probe.step_output import with_output
from trainaudit.probe.task import Task, brings, objective_of, optimizer_of, task_of, with_name
from trainaudit.probe.trainee import Batch, Computed, Trainee
from trainaudit.probe.training_data import Data, data_of, on_device, on_device_of, on_few, sources_for
from trainaudit.probe.user_objects import Caller, Spec, spec_of
from trainaudit.trace.trace import Failure


def make_trainee(target: Target, plan: ProbePlan, graph: Graph | None) -> Trainee:
    """The trainee of a target: a module that is named, an ONNX file, an exported program or a folder with a transformers configuration.

    `graph` is the target's, where there is one: it tells shapes, token ids and the head. A step that raises on the user's data is the trainee's
    `failure`; for everything else of the user's that fails or does not fit `TrainauditError` is raised, with one sentence.
    """
    plan = _with_spec(target, plan)
    caller = Caller(target.root, plan.seed)
    return _made(open_model(target), plan, graph, caller, _spec(plan, caller))


def make_trainee_of(
    module: Any, example: Any, plan: ProbePlan, graph: Graph | None, objects: Spec | None = None
) -> Trainee:
    """The same of a module that is there already; `example` is what it is called with, or None, `objects` the user's data, loss, optimizer and step
    where these are there already, too."""
    caller = Caller("", plan.seed)
    spec = _spec(plan, caller) if objects is None else objects
    return _made(of_module(module, example, type(module).__name__), plan, graph, caller, spec)


def with_inputs_of_data(target: Target, plan: ProbePlan) -> Target:
    """A Python target with the inputs that its first batch has, where none are declared: a graph of it then has the sizes of the user's data."""
    if target.kind is not Kind.PYTHON or target.inputs:
        return target
    plan = _with_spec(target, plan)
    caller = Caller(target.root, plan.seed)
    sources = sources_for(plan, caller, _spec(plan, caller), None)
    return target if sources is None else replace(target, inputs=_inputs_of(sources[0], open_model(target).model, plan))


def inputs_of_objects(module: Any, plan: ProbePlan, objects: Spec) -> tuple[InputSpec, ...]:
    """The same for a module and data that are there already, () without data."""
    sources = sources_for(plan, Caller("", plan.seed), objects, None)
    return () if sources is None else _inputs_of(sources[0], module, plan)


def _inputs_of(source: Source, module: Any, plan: ProbePlan) -> tuple[InputSpec, ...]:
    raw = read(source, seed=plan.seed, batches=1).batches[0]
    batch = batch_of(raw, signature_of(module), own_loss=False, is_raw=True)
    values = [*(("", value) for value in batch.args), *batch.kwargs.items()]
    specs = [input_spec(name, value) for name, value in values if name not in LABELS]
    known = tuple(spec for spec in specs if spec is not None)
    return known if len(known) == len(specs) else ()


def _with_spec(target: Target, plan: ProbePlan) -> ProbePlan:
    """The file that holds `build_model` may hold the rest too."""
    python = split_python(target.spec) if target.kind is Kind.PYTHON else None
    if python is None or python[1] != "build_model" or plan.spec:
        return plan
    return replace(plan, spec=python[0])


def _spec(plan: ProbePlan, caller: Caller) -> Spec:
    return spec_of(plan.spec, caller) if plan.spec else Spec()


def _made(opened: Opened, plan: ProbePlan, graph: Graph | None, caller: Caller, spec: Spec) -> Trainee:
    device = chosen_device(plan.device)
    task = task_of(opened, graph, plan, caller, spec)
    data = _data(task, plan, caller, spec)
    first = on_device_of(opened.model, data.train[0])
    model = with_shapes(opened, first.args, first.kwargs)
    settled = _settled(task, model, first, is_real=data.kind == "real")
    objective = settled.objective
    optimizer = optimizer_of(model, plan, caller, spec)
    with seeded(plan.seed), left_as_found(model, computes=False):
        optimizer.make(model)  # so that what is wrong with it is said before anything runs
    return Trainee(
        model=model,
        compute=objective.compute,
        make_optimizer=optimizer.make,
        train=tuple(on_device(batch, device) for batch in data.train),
        validation=tuple(on_device(batch, device) for batch in data.validation),
        data=data.kind,
        loss=objective.name,
        is_loss_inferred=objective.is_inferred,
        has_own_step=task.is_step,
        class_count=settled.class_count,
        is_causal=plan.is_causal or _is_language_model(model),
        device=device,
        precision=plan.precision,
        words={"data": data.words, "loss": objective.words, "optimizer": optimizer.words},
        notes=(*opened.notes, *data.notes, *((objective.note,) if objective.note else ())),
        source=data.source,
        validation_source=data.validation_source,
        ignore_index=objective.ignore_index,
        is_whole=data.is_whole,
        failure=settled.failure,
        conversion=opened.conversion,
    )


def _data(task: Task, plan: ProbePlan, caller: Caller, spec: Spec) -> Data:
    """The user's, else those that a LightningModule brings, else synthetic ones."""
    model = task.opened.model
    if plan.data or spec.make_data is not None or not brings(model, "train_dataloader"):
        return data_of(task, plan, caller, spec)
    held = model.val_dataloader if brings(model, "val_dataloader") else None
    own = replace(
        spec, shown=spec.shown or type(model).__name__, make_data=model.train_dataloader, make_validation=held
    )
    try:
        return data_of(task, plan, caller, own)
    except TrainauditError as error:  # it may wait for setup(), a data module or a trainer
        data = data_of(task, plan, caller, spec)
        note = f"The data are synthetic, since {type(model).__name__}.train_dataloader could not be used: {error.what}"
        return replace(data, notes=(*data.notes, note))


@frozen
class _Settled:
    objective: Objective
    class_count: int | None
    failure: Failure | None = None


def _settled(task: Task, model: Any, first: Batch, *, is_real: bool) -> _Settled:
    """What is computed, and what its first result tells; with real data a step that raises tells something, too."""
    try:
        objective, computed = on_few(first, lambda batch: _computed(task, model, batch))
    except StepFailedError as error:
        if not is_real:
            raise
        objective = task.chosen or objectives.unknown(error)
        fits = classes_of(error.output, first.target) is not None
        count = class_count_of(objective.name, error.output, first.target) if fits else None
        return _Settled(objective, count, error.failure)
    if task.is_step and not objective.name:  # whole numbers beside a loss that nobody knows need not be classes
        return _Settled(objective, None)
    return _Settled(objective, class_count_of(objective.name, computed.output, computed.target))


def _computed(task: Task, model: Any, batch: Batch) -> tuple[Objective, Computed]:
    objective = objective_of(task, model, batch)
    shown = task.opened.shown
    computed = objectives.tried(model, batch, objective.compute, shown)
    if task.is_step and computed.output is None:
        objective = with_output(objective, model, batch, shown)
        computed = objectives.tried(model, batch, objective.compute, shown)
    return with_name(objective, computed), computed


def _is_language_model(model: Any) -> bool:
    return any(mark in type(model).__name__ for mark in ("ForCausalLM", "LMHeadModel"))
