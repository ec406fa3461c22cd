"""`Task`: what a model is to compute, as far as the user's words and the model itself say, before any data are read.

torch is imported inside functions only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.load.target import split_python
from trainaudit.probe import objectives, optimizers
from trainaudit.probe.calling import Signature, signature_of
from trainaudit.probe.heads import head_of, loss_within, read_by_loss
from trainaudit.probe.identifying import identified
from trainaudit.probe.inferring import inferred
from trainaudit.probe.losses import NAMED
from trainaudit.probe.objectives import Objective
from trainaudit.probe.opening import Opened
from trainaudit.probe.optimizers import OptimizerChoice
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.trainee import Batch, Computed
from trainaudit.probe.user_objects import Caller, Spec, named, shown_name

_LIGHTNING = ("lightning", "pytorch_lightning")


@frozen
class Task:
    """`chosen` is the loss or step that the user has named, or the module's training_step; None where the loss is the model's own or to be
    inferred. `is_step` says that it takes batches as the data give them."""

    opened: Opened
    graph: Graph | None
    signature: Signature
    chosen: Objective | None = None
    is_step: bool = False

    @property
    def own_loss(self) -> bool:
        """The model is given labels and computes its loss itself, as far as its forward tells."""
        return self.chosen is None and self.signature.label is not None


def task_of(opened: Opened, graph: Graph | None, plan: ProbePlan, caller: Caller, spec: Spec) -> Task:
    task = Task(opened, graph, _signature(opened))
    if plan.step:
        step = objectives.of_step(named(plan.step, caller, "--step"), shown_name(plan.step))
        return replace(task, chosen=step, is_step=True)
    if plan.loss and (plan.loss in NAMED or split_python(plan.loss) is None):
        return replace(task, chosen=objectives.of_name(plan.loss))
    if plan.loss:
        return replace(
            task, chosen=objectives.of_object(named(plan.loss, caller, "--loss"), shown_name(plan.loss), caller)
        )
    if spec.step is not None:
        return replace(task, chosen=objectives.of_step(spec.step, f"{spec.shown}:{spec.step.__name__}"), is_step=True)
    if spec.make_loss is not None:
        return replace(task, chosen=objectives.of_object(spec.make_loss, f"{spec.shown}:make_loss", caller))
    if _has_training_step(opened.model):
        return replace(task, chosen=objectives.of_training_step(opened.model), is_step=True)
    return task


def _signature(opened: Opened) -> Signature:
    if opened.conversion is None:
        return signature_of(opened.model)
    names = tuple(opened.conversion.input_names)
    return Signature(names, names, places_alone=True)


def _has_training_step(model: Any) -> bool:
    """A LightningModule, or one that is written like it."""
    return callable(getattr(type(model), "training_step", None)) and callable(
        getattr(model, "configure_optimizers", None)
    )


def brings(model: Any, name: str) -> bool:
    """A LightningModule with a method of its own of that name, rather than the one that only raises."""
    method = getattr(type(model), name, None)
    return (
        _has_training_step(model)
        and callable(method)
        and getattr(method, "__module__", "").split(".")[0] not in _LIGHTNING
    )


def forward(model: Any, batch: Batch) -> Any:
    return model(*batch.args, **batch.kwargs)


def objective_of(task: Task, model: Any, first: Batch) -> Objective:
    """What was chosen, else the model's own loss, else the one that goes with its outputs and targets."""
    if task.chosen is not None:
        return task.chosen
    result = objectives.tried(model, first, forward, task.opened.shown)
    if (task.own_loss or first.target is None) and loss_within(result) is not None:
        return objectives.of_model(task.opened.shown)
    output = read_by_loss(result)
    return inferred(output, first.target, head_of(task.graph, output))


def with_name(objective: Objective, computed: Computed) -> Objective:
    """A criterion of the user's own under the name of the loss that it computes, if that has one."""
    if objective.criterion is None or objective.name:
        return objective
    name = identified(objective.criterion, computed.output, computed.target)
    return replace(objective, name=name, words=f"{objective.words}, which computes {name}") if name else objective


def optimizer_of(model: Any, plan: ProbePlan, caller: Caller, spec: Spec) -> OptimizerChoice:
    if plan.optimizer and split_python(plan.optimizer) is None:
        return optimizers.by_name(plan.optimizer, plan.learning_rate)
    if plan.optimizer:
        found = named(plan.optimizer, caller, "--optimizer")
        return optimizers.by_object(found, shown_name(plan.optimizer), plan.learning_rate, caller)
    if spec.make_optimizer is not None:
        return optimizers.by_object(spec.make_optimizer, f"{spec.shown}:make_optimizer", plan.learning_rate, caller)
    if _has_training_step(model):
        return optimizers.of_lightning(model, plan.learning_rate, caller)
    return optimizers.default_optimizer(plan.learning_rate)
