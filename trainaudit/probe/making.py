"""`make_trainee`: from a target and a plan to a model with everything that one training step needs. torch is imported inside functions only.

open the module → the user's objects → data (or synthetic ones) → loss → optimizer → `Trainee`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.load.target import Kind, Target, split_python
from trainaudit.load.torch.restore import left_as_found
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe import objectives, optimizers
from trainaudit.probe.calling import LABELS, Signature, batch_of, signature_of
from trainaudit.probe.data import Reading, Source, read, sources_in, sources_of
from trainaudit.probe.device import chosen_device
from trainaudit.probe.heads import head_of, loss_within, read_by_loss
from trainaudit.probe.identifying import identified
from trainaudit.probe.losses import NAMED
from trainaudit.probe.objectives import Objective
from trainaudit.probe.opening import Opened, example_inputs, input_spec, of_module, open_model, with_shapes
from trainaudit.probe.optimizers import OptimizerChoice
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.structures import moved
from trainaudit.probe.synthetic_data import SYNTHETIC, synthetic_batches
from trainaudit.probe.trainee import Batch, Computed, Trainee
from trainaudit.probe.user_objects import Caller, Spec, named, spec_of

BATCH_SIZE = 32
_HELD_BATCHES = 8


def make_trainee(target: Target, plan: ProbePlan, graph: Graph | None) -> Trainee:
    """The trainee of a target: a module that is named, an ONNX file, an exported program or a folder with a transformers configuration.

    `graph` is the target's, where there is one: it tells shapes, token ids and the head. Raises `TrainauditError` with one sentence for everything
    of the user's that fails or does not fit.
    """
    plan = _with_spec(target, plan)
    caller = Caller(target.root, plan.seed)
    spec = spec_of(plan.spec, caller) if plan.spec else Spec()
    return _made(open_model(target), plan, graph, caller, spec)


def _with_spec(target: Target, plan: ProbePlan) -> ProbePlan:
    """The file that holds `build_model` may hold the rest too."""
    python = split_python(target.spec) if target.kind is Kind.PYTHON else None
    is_spec = python is not None and python[1] == "build_model" and not plan.spec
    return replace(plan, spec=python[0]) if python is not None and is_spec else plan


def with_inputs_of_data(target: Target, plan: ProbePlan) -> Target:
    """A Python target with the inputs that its first batch has, where none are declared: a graph of it then has the sizes of the user's data."""
    if target.kind is not Kind.PYTHON or target.inputs:
        return target
    plan = _with_spec(target, plan)
    caller = Caller(target.root, plan.seed)
    sources = _sources(plan, caller, spec_of(plan.spec, caller) if plan.spec else Spec(), None)
    if sources is None:
        return target
    opened = open_model(target)
    signature = signature_of(opened.model)
    raw = read(sources[0], seed=plan.seed, batches=1).batches[0]
    batch = batch_of(raw, signature, own_loss=signature.label is not None, is_raw=True)
    values = [*(("", value) for value in batch.args), *batch.kwargs.items()]
    specs = tuple(input_spec(name, value) for name, value in values if name not in LABELS)
    return target if None in specs or not specs else replace(target, inputs=tuple(spec for spec in specs if spec))


def make_trainee_of(module: Any, example: Any, plan: ProbePlan, graph: Graph | None) -> Trainee:
    """The same of a module that is there already; `example` is what it is called with, or None."""
    caller = Caller("", plan.seed)
    spec = spec_of(plan.spec, caller) if plan.spec else Spec()
    return _made(of_module(module, example, type(module).__name__), plan, graph, caller, spec)


def _made(opened: Opened, plan: ProbePlan, graph: Graph | None, caller: Caller, spec: Spec) -> Trainee:
    device = chosen_device(plan.device)
    signature = signature_of(opened.model)
    chosen = _chosen_objective(opened.model, plan, caller, spec)
    has_step = chosen is not None and _is_step(opened.model, plan, spec)
    own_loss = chosen is None and signature.label is not None
    data = _data(opened, plan, graph, caller, spec, signature, chosen, own_loss, has_step)
    first = _on_device_of(opened.model, data.train[0])
    model = with_shapes(opened, first.args, first.kwargs)
    objective, head_note = _objective(model, first, graph, chosen, own_loss, opened.shown)
    optimizer = _optimizer(model, plan, caller, spec)
    computed = objectives.tried(model, first, objective.compute, opened.shown)
    objective = _identified(objective, computed)
    with seeded(plan.seed), left_as_found(model, computes=False):
        optimizer.make(model)
    notes = (*opened.notes, *data.notes, *((objective.note,) if objective.note else ()), *head_note)
    return Trainee(
        model=model,
        compute=objective.compute,
        make_optimizer=optimizer.make,
        train=tuple(_moved(batch, device) for batch in data.train),
        validation=tuple(_moved(batch, device) for batch in data.validation),
        data=data.kind,
        loss=objective.name,
        class_count=objectives.class_count_of(objective.name, computed.output, computed.target),
        is_causal=plan.is_causal or _is_language_model(opened.model),
        device=device,
        precision=plan.precision,
        words={"data": data.words, "loss": objective.words, "optimizer": optimizer.words},
        notes=notes,
        source=data.source,
        validation_source=data.validation_source,
        is_whole=data.is_whole,
    )


def _on_device_of(model: Any, batch: Batch) -> Batch:
    first = next(model.parameters(), None)
    return batch if first is None else _moved(batch, str(first.device))


def _moved(batch: Batch, device: str) -> Batch:
    if device == "cpu":
        return batch
    args, kwargs, target, raw = moved((batch.args, dict(batch.kwargs), batch.target, None), device)
    return replace(batch, args=args, kwargs=kwargs, target=target, raw=moved(batch.raw, device) or raw)


def _is_language_model(model: Any) -> bool:
    return any(mark in type(model).__name__ for mark in ("ForCausalLM", "LMHeadModel"))


# --- loss and optimizer --------------------------------------------------------------------------------------------------


def _is_step(model: Any, plan: ProbePlan, spec: Spec) -> bool:
    return bool(plan.step or (not plan.loss and (spec.step or (spec.make_loss is None and _has_training_step(model)))))


def _has_training_step(model: Any) -> bool:
    return callable(getattr(type(model), "training_step", None)) and callable(
        getattr(model, "configure_optimizers", None)
    )


def _chosen_objective(model: Any, plan: ProbePlan, caller: Caller, spec: Spec) -> Objective | None:
    """What the user has named, or the module's training_step; None where the loss is the model's own or to be inferred."""
    if plan.step:
        return objectives.of_step(named(plan.step, caller, "--step"), plan.step)
    if plan.loss and (plan.loss in NAMED or split_python(plan.loss) is None):
        return objectives.of_name(plan.loss)
    if plan.loss:
        return objectives.of_object(named(plan.loss, caller, "--loss"), plan.loss, caller)
    if spec.step is not None:
        return objectives.of_step(spec.step, f"{spec.shown}:{spec.step.__name__}")
    if spec.make_loss is not None:
        return objectives.of_object(spec.make_loss, f"{spec.shown}:make_loss", caller)
    return objectives.of_training_step(model) if _has_training_step(model) else None


def _objective(
    model: Any, first: Batch, graph: Graph | None, chosen: Objective | None, own_loss: bool, shown: str
) -> tuple[Objective, tuple[str, ...]]:
    if chosen is not None:
        return chosen, ()
    result = objectives.tried(model, first, lambda tried, batch: tried(*batch.args, **batch.kwargs), shown)
    if (own_loss or first.target is None) and loss_within(result) is not None:
        return objectives.of_model(shown), ()
    output = read_by_loss(result)
    return objectives.inferred(output, first.target, head_of(graph, output)), ()


def _identified(objective: Objective, computed: Computed) -> Objective:
    """A criterion of the user's own under the name of the loss that it computes, if that has one."""
    if objective.criterion is None or objective.name:
        return objective
    name = identified(objective.criterion, computed.output, computed.target)
    return replace(objective, name=name, words=f"{objective.words}, which computes {name}") if name else objective


def _optimizer(model: Any, plan: ProbePlan, caller: Caller, spec: Spec) -> OptimizerChoice:
    if plan.optimizer and split_python(plan.optimizer) is None:
        return optimizers.by_name(plan.optimizer, plan.learning_rate)
    if plan.optimizer:
        found = named(plan.optimizer, caller, "--optimizer")
        return optimizers.by_object(found, plan.optimizer, plan.learning_rate, caller)
    if spec.make_optimizer is not None:
        return optimizers.by_object(spec.make_optimizer, f"{spec.shown}:make_optimizer", plan.learning_rate, caller)
    if _has_training_step(model):
        return optimizers.of_lightning(model, plan.learning_rate, caller)
    return optimizers.default_optimizer(plan.learning_rate)


# --- data ----------------------------------------------------------------------------------------------------------------


@frozen
class _Data:
    train: tuple[Batch, ...]
    validation: tuple[Batch, ...]
    kind: str
    words: str
    notes: tuple[str, ...] = ()
    source: Source | None = None
    validation_source: Source | None = None
    is_whole: bool = False


def _data(
    opened: Opened,
    plan: ProbePlan,
    graph: Graph | None,
    caller: Caller,
    spec: Spec,
    signature: Signature,
    chosen: Objective | None,
    own_loss: bool,
    has_step: bool,
) -> _Data:
    sources = _sources(plan, caller, spec, _input_rank(opened, graph))
    if sources is None:
        example = example_inputs(opened, graph)
        loss = chosen.name if chosen is not None else plan.loss
        with seeded(plan.seed):
            made = synthetic_batches(
                opened, example, graph, plan, signature, loss=loss, chosen=chosen, own_loss=own_loss
            )
        return _Data(made.train, made.validation, made.kind, made.words, made.notes)
    train_source, held_source = sources
    reading = read(train_source, seed=plan.seed)
    train = _batches(reading, signature, own_loss, has_step)
    train = _with_own_targets(opened, train, own_loss, has_step)
    held: tuple[Batch, ...] = ()
    if held_source is not None:
        held = _batches(read(held_source, seed=plan.seed, batches=_HELD_BATCHES), signature, own_loss, has_step)
        held = _with_own_targets(opened, held, own_loss, has_step)
    notes = (reading.note,) if reading.note else ()
    return _Data(train, held, "real", train_source.words, notes, train_source, held_source, reading.is_whole)


def _sources(plan: ProbePlan, caller: Caller, spec: Spec, rank: int | None) -> tuple[Source, Source | None] | None:
    """The user's training and validation data; None where the data are synthetic."""
    size = plan.batch_size or spec.batch_size or BATCH_SIZE
    if plan.data in SYNTHETIC or (not plan.data and spec.make_data is None):
        if plan.validation:
            what = "Validation data are given, and no training data."
            raise TrainauditError("no-data", what, "Give both: --data and --validation.")
        return None
    if plan.data:
        train, held = sources_of(plan.data, caller, batch_size=size, rank=rank)
    else:
        train, held = sources_in(
            spec.make_data, f"{spec.shown}:{spec.make_data.__name__}", caller, batch_size=size, rank=rank
        )
    if plan.validation:
        held = sources_of(plan.validation, caller, batch_size=size, rank=rank, option="--validation")[0]
    elif spec.make_validation is not None:
        shown = f"{spec.shown}:{spec.make_validation.__name__}"
        held = sources_in(spec.make_validation, shown, caller, batch_size=size, rank=rank)[0]
    return train, held


def _input_rank(opened: Opened, graph: Graph | None) -> int | None:
    """Axes of the model's first input, batch included."""
    if graph is not None and graph.is_connected and graph.inputs:
        shape = graph.values[graph.inputs[0]].shape
        return None if shape is None else len(shape)
    specs = opened.target.inputs if opened.target is not None else ()
    return len(specs[0].shape) if specs else None


def _batches(reading: Reading, signature: Signature, own_loss: bool, has_step: bool) -> tuple[Batch, ...]:
    return tuple(batch_of(raw, signature, own_loss=own_loss, is_raw=has_step) for raw in reading.batches)


def _with_own_targets(opened: Opened, batches: tuple[Batch, ...], own_loss: bool, has_step: bool) -> tuple[Batch, ...]:
    """Batches without targets of a model that gives back what it is given: the input is the target."""
    import torch

    first = batches[0]
    if (
        first.target is not None
        or own_loss
        or has_step
        or len(first.args) != 1
        or not isinstance(first.args[0], torch.Tensor)
    ):
        return batches
    on_device = _on_device_of(opened.model, first)
    model = with_shapes(opened, on_device.args, on_device.kwargs)
    result = objectives.tried(model, on_device, lambda tried, batch: tried(*batch.args, **batch.kwargs), opened.shown)
    if loss_within(result) is not None or read_by_loss(result).shape != first.args[0].shape:
        return batches
    return tuple(replace(batch, target=batch.args[0]) for batch in batches)
