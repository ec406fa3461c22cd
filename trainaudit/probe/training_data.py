"""The batches that a trainee learns from: the user's, or synthetic ones. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe import objectives
from trainaudit.probe.batches import inputs, split, take
from trainaudit.probe.calling import batch_of
from trainaudit.probe.data import Source, sources_in, sources_of
from trainaudit.probe.heads import loss_within, read_by_loss
from trainaudit.probe.label_range import classes_of, in_range
from trainaudit.probe.losses import CLASSIFYING
from trainaudit.probe.opening import with_shapes
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.reading import Reading, read
from trainaudit.probe.sequence_first import is_sequence_first
from trainaudit.probe.step_failure import StepFailedError
from trainaudit.probe.structures import moved
from trainaudit.probe.synthetic_data import SYNTHETIC, synthetic_batches
from trainaudit.probe.task import Task, forward
from trainaudit.probe.trainee import Batch
from trainaudit.probe.user_objects import Caller, Spec

BATCH_SIZE = 32
_FEWEST, _ELEMENTS = 4, 1 << 20
"""Examples and values that a model is tried on, on the device that it is on."""
_HELD_BATCHES = 8

Found = TypeVar("Found")


@frozen
class Data:
    """`kind` is "real", "random" or "teacher"; `words` say in a clause where the batches come from."""

    train: tuple[Batch, ...]
    validation: tuple[Batch, ...]
    kind: str
    words: str
    notes: tuple[str, ...] = ()
    source: Source | None = None
    validation_source: Source | None = None
    is_whole: bool = False


def data_of(task: Task, plan: ProbePlan, caller: Caller, spec: Spec) -> Data:
    """The batches, with targets that a loss can be computed with."""
    sources = sources_for(plan, caller, spec, _input_rank(task))
    if sources is None:
        with seeded(plan.seed):
            made = synthetic_batches(task, plan)
        return Data(made.train, made.validation, made.kind, made.words, made.notes)
    reading = read(sources[0], seed=plan.seed)
    train = _batches(task, reading)
    held = () if sources[1] is None else _batches(task, read(sources[1], seed=plan.seed, batches=_HELD_BATCHES))
    notes = (reading.note,) if reading.note else ()
    data = _in_one_size(task, Data(train, held, "real", sources[0].words, notes, *sources, reading.is_whole))
    return _in_range(task, data)


def sources_for(plan: ProbePlan, caller: Caller, spec: Spec, rank: int | None) -> tuple[Source, Source | None] | None:
    """The user's training and validation data; None where the data are synthetic. `rank` counts the axes of a batch of the model's first input."""
    size = plan.batch_size or spec.batch_size or BATCH_SIZE
    if plan.data in SYNTHETIC or (not plan.data and spec.make_data is None):
        if plan.validation:
            what = "Validation data are given, and no training data."
            raise TrainauditError("no-data", what, "Give both: --data and --validation.")
        return None
    if plan.data:
        train, held = sources_of(plan.data, caller, batch_size=size, rank=rank)
    else:
        shown = f"{spec.shown}:{spec.make_data.__name__}"
        train, held = sources_in(spec.make_data, shown, caller, batch_size=size, rank=rank)
    if plan.validation:
        held = sources_of(plan.validation, caller, batch_size=size, rank=rank, option="--validation")[0]
    elif spec.make_validation is not None:
        shown = f"{spec.shown}:{spec.make_validation.__name__}"
        held = sources_in(spec.make_validation, shown, caller, batch_size=size, rank=rank)[0]
    return train, held


def _input_rank(task: Task) -> int | None:
    """Axes of the model's first input, batch included."""
    graph = task.graph
    if graph is not None and graph.is_connected and graph.inputs:
        shape = graph.values[graph.inputs[0]].shape
        return None if shape is None else len(shape)
    specs = task.opened.target.inputs if task.opened.target is not None else ()
    return len(specs[0].shape) if specs else None


def _batches(task: Task, reading: Reading) -> tuple[Batch, ...]:
    made = (batch_of(raw, task.signature, own_loss=task.own_loss, is_raw=task.is_step) for raw in reading.batches)
    return _with_own_targets(task, _counted(task, tuple(made)))


def _counted(task: Task, batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """Batches of a model that takes time first: the second axis counts the examples."""
    first = on_device_of(task.opened.model, batches[0])
    if task.is_step or not is_sequence_first(
        with_shapes(task.opened, first.args, first.kwargs), first, forward, task.opened.shown
    ):
        return batches
    axes = ((*batch.args, *batch.kwargs.values()) for batch in batches)
    sizes = [next(int(value.shape[1]) for value in values if getattr(value, "ndim", 0) > 1) for values in axes]
    return tuple(replace(batch, size=size) for batch, size in zip(batches, sizes, strict=True))


def _in_one_size(task: Task, data: Data) -> Data:
    """Batches of the size that a file was exported with, where it takes no other: cut out of larger ones."""
    size, first = _declared_size(task), data.train[0]
    if size is None or first.size <= size or _runs(task, first):
        return data
    train, validation = (
        tuple(replace(part, is_fixed=True) for batch in all_ for part in split(batch, size) if part.size == size)
        for all_ in (data.train, data.validation)
    )
    if not train or not _runs(task, train[0]):
        return data  # the size is not what is wrong
    note = f"The file takes batches of {size} alone: those of {first.size} were cut."
    return replace(data, train=train, validation=validation, notes=(*data.notes, note))


def _declared_size(task: Task) -> int | None:
    """The first axis of the model's first input, where a file fixes it."""
    graph = task.graph
    shape = graph.values[graph.inputs[0]].shape if graph is not None and graph.is_connected and graph.inputs else None
    return shape[0] if shape and isinstance(shape[0], int) else None


def _runs(task: Task, batch: Batch) -> bool:
    try:
        _outputs(task, batch)
    except TrainauditError:
        return False
    return True


def on_device_of(model: Any, batch: Batch) -> Batch:
    """The batch where the model's parameters are."""
    first = next(model.parameters(), None)
    return batch if first is None else on_device(batch, str(first.device))


def on_device(batch: Batch, device: str) -> Batch:
    """The batch on a device; a tensor that stands in several places stays one."""
    if device == "cpu":
        return batch
    args, kwargs, target, raw, label = moved(
        (batch.args, dict(batch.kwargs), batch.target, batch.raw, batch.label), device
    )
    return replace(batch, args=args, kwargs=kwargs, target=target, raw=raw, label=label)


def on_few(batch: Batch, look: Callable[[Batch], Found]) -> Found:
    """What `look` finds on the first examples of a batch, as many as hold a million values; on all of it where the model takes no fewer."""
    import torch

    each = sum(value.numel() for value in inputs(batch) if isinstance(value, torch.Tensor)) // max(1, batch.size)
    few = max(_FEWEST, _ELEMENTS // max(1, each))
    if few >= batch.size:
        return look(batch)
    try:
        return look(take(batch, range(few)))
    except TrainauditError:
        return look(batch)


def _outputs(task: Task, batch: Batch) -> Any:
    batch = on_device_of(task.opened.model, batch)
    model = with_shapes(task.opened, batch.args, batch.kwargs)
    return objectives.tried(model, batch, forward, task.opened.shown)


def _with_own_targets(task: Task, batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """Batches without targets of a model that gives back what it is given: the input is the target."""
    import torch

    first = batches[0]
    is_alone = len(first.args) == 1 and not first.kwargs and isinstance(first.args[0], torch.Tensor)
    if first.target is not None or task.own_loss or task.is_step or not is_alone:
        return batches

    def is_given_back(batch: Batch) -> bool:
        result = _outputs(task, batch)
        return loss_within(result) is None and read_by_loss(result).shape == batch.args[0].shape

    try:
        if not on_few(first, is_given_back):
            return batches
    except StepFailedError:  # what is wrong will be told where the loss is computed
        return batches
    return tuple(
        replace(batch, target=batch.args[0].clone()) for batch in batches
    )  # a tensor of its own: inputs may be changed


def _in_range(task: Task, data: Data) -> Data:
    """Labels that no output stands for, where the loss is one of classes or not yet known, give way to the nearest that one stands for."""
    import torch

    chosen, first = task.chosen, data.train[0]
    is_other = task.is_step or (chosen is not None and chosen.name and chosen.name not in CLASSIFYING)
    if is_other or not isinstance(first.target, torch.Tensor) or first.target.is_floating_point():
        return data
    bare = replace(first, kwargs={name: value for name, value in first.kwargs.items() if name != task.signature.label})
    try:
        count = on_few(bare, lambda batch: classes_of(read_by_loss(_outputs(task, batch)), batch.target))
    except TrainauditError:  # what is wrong will be told where the loss is computed
        return data
    if count is None:
        return data
    ignored = -100 if chosen is None else chosen.ignore_index
    train, note = in_range(data.train, count, ignored)
    held, _ = in_range(data.validation, count, ignored)
    return replace(data, train=train, validation=held, notes=(*data.notes, *((note,) if note else ())))
