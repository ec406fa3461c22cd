"""Synthetic batches for a model: inputs, and targets as its loss or its head wants them. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.probe import objectives
from trainaudit.probe.calling import Signature
from trainaudit.probe.heads import head_of, loss_within, read_by_loss
from trainaudit.probe.objectives import Objective
from trainaudit.probe.opening import Opened, example_inputs, with_shapes
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.sequence_first import is_sequence_first
from trainaudit.probe.structures import mapped, moved, shapes_shown, size_of
from trainaudit.probe.synthetic import Example, batch_count, drawn, few, fitting_size, is_tensor
from trainaudit.probe.task import Task, forward
from trainaudit.probe.teacher import Goal, goal_of, random_targets, taught_targets
from trainaudit.probe.trainee import Batch

SYNTHETIC = ("random", "teacher")
_HELD = 4
_KINDS = ("classes", "values", "binary")
"""Tried in this order for a loss of the user's own, which does not say what it wants."""


@frozen
class Synthetic:
    """`kind` is "random" or "teacher"."""

    train: tuple[Batch, ...]
    validation: tuple[Batch, ...]
    kind: str
    words: str
    notes: tuple[str, ...] = ()


def synthetic_batches(task: Task, plan: ProbePlan) -> Synthetic:
    """A few hundred examples, the same for the same seed, and a few batches of others for validation."""
    opened, graph, chosen = task.opened, task.graph, task.chosen
    example = example_inputs(opened, graph)
    is_turned = _is_turned(opened, example)
    example = _turned(example) if is_turned else example
    loss = "" if chosen is None else chosen.name
    size = fitting_size(example, plan.batch_size)
    inputs, result, note = _first_run(opened, example, min(size, few(example)), plan.seed, graph, is_turned)
    tried_size = size_of(inputs.args or dict(inputs.kwargs))
    size = tried_size if note else size
    label = _label_left_open(task.signature, inputs)
    if chosen is None and not label and loss_within(result) is not None:
        return _unlabelled(task, plan, example, size, note, is_turned)
    output = read_by_loss(result)
    is_turned_out = is_turned and output.ndim > 1 and output.shape[1] == tried_size
    output = output.transpose(0, 1) if is_turned_out else output
    labels = label if task.own_loss else ""
    ids = _ids_of_places(inputs, output)
    is_token_model = ids is not None
    is_shifted = bool(labels) and is_token_model and _is_language_model(opened.model)
    head = head_of(graph, output)
    head = replace(head, is_like_input=head.is_like_input or _is_like_input(inputs, output))
    goal = goal_of(output, loss, head, is_token_model=is_token_model)
    if ids is not None:
        goal = replace(goal, shape=(int(ids.shape[1]), *goal.shape[1:]))
    if size < tried_size == output.shape[-1]:  # similarities within the batch: there are as many classes as examples
        goal = replace(goal, shape=(*goal.shape[:-1], size))
    if chosen is not None and not loss:

        def with_random(wanted: Goal) -> Batch:
            return _batch(
                inputs, random_targets(wanted, tried_size, plan.seed), "", tried_size, (is_turned, is_turned_out)
            )

        goal = _goal_for(opened, chosen, goal, output, with_random)
    taught = plan.data != "random"

    def batch(number: int) -> Batch:
        given = drawn(example, size, plan.seed + 1 + number, graph, opened.model)
        if is_shifted:
            given, target = _sentences(given, plan.seed, number, taught)
        elif taught:
            target = taught_targets(goal, given, size, plan.seed)
        else:
            target = random_targets(goal, size, plan.seed + 1 + number)
        return _batch(given, target, labels, size, (is_turned, is_turned_out))

    count = batch_count(example, size)
    batches = tuple(batch(number) for number in range(count + _HELD))
    words = f"synthetic: {counted(count, 'batch', 'batches')} of {size}, {_inputs_shown(batches[0], labels)}; {_targets_shown(goal, taught, is_shifted)}"
    kind = "teacher" if taught else "random"
    return Synthetic(batches[:count], batches[count:], kind, words, (note,) if note else ())


def _is_turned(opened: Opened, example: Example) -> bool:
    """The model takes time first. Everything here is drawn with the batch first, and turned where the model is called."""
    args, kwargs = _placed(opened, example)
    model = with_shapes(opened, args, kwargs)
    return is_sequence_first(model, Batch(args, kwargs, raw=args), forward, opened.shown)


def _turned(example: Example) -> Example:
    args, kwargs = mapped(
        (example.args, dict(example.kwargs)), lambda tensor: tensor.transpose(0, 1) if tensor.ndim > 1 else tensor
    )
    return Example(args, kwargs)


def _unlabelled(task: Task, plan: ProbePlan, example: Example, size: int, note: str, is_turned: bool) -> Synthetic:
    """Inputs alone, for a model that computes its loss from them."""

    def batch(number: int) -> Batch:
        given = drawn(example, size, plan.seed + 1 + number, task.graph, task.opened.model)
        given = _turned(given) if is_turned else given
        return Batch(given.args, dict(given.kwargs), None, dict(given.kwargs) or given.args, size)

    count = batch_count(example, size)
    batches = tuple(batch(number) for number in range(count + _HELD))
    words = f"synthetic: {counted(count, 'batch', 'batches')} of {size}, {_inputs_shown(batches[0], '')}"
    return Synthetic(batches[:count], batches[count:], "random", words, (note,) if note else ())


def _first_run(
    opened: Opened, example: Example, size: int, seed: int, graph: Graph | None, is_turned: bool
) -> tuple[Example, Any, str]:
    """Inputs and what the model makes of them: a batch of `size`, or of the example's own size where it takes no other, with a sentence on that."""
    own = next((int(value.shape[0]) for _, value in example.items if is_tensor(value) and value.ndim), 1)
    inputs = drawn(example, size + (size == own), seed, graph, opened.model)
    try:
        return inputs, _run(opened, inputs, size, is_turned), ""
    except TrainauditError:
        inputs = drawn(example, own, seed, graph, opened.model)
        note = f"The model takes batches of {counted(own, 'example')} alone."
        return inputs, _run(opened, inputs, own, is_turned), note


def _run(opened: Opened, inputs: Example, size: int, is_turned: bool) -> Any:
    args, kwargs = _placed(opened, _turned(inputs) if is_turned else inputs)
    model = with_shapes(opened, args, kwargs)
    batch = Batch(args, kwargs, raw=(*args, *kwargs.values()), size=size)
    return objectives.tried(model, batch, forward, opened.shown)


def _placed(opened: Opened, inputs: Example) -> Any:
    """The arguments on the model's own device."""
    import torch

    device = str(next((p.device for p in opened.model.parameters()), torch.device("cpu")))
    return moved((inputs.args, dict(inputs.kwargs)), device)


def _label_left_open(signature: Signature, inputs: Example) -> str:
    """forward's parameter for the targets, "" where the example gives it: then it is an input like others (the target sequence of a decoder)."""
    label = signature.label or ""
    return "" if label in (*inputs.kwargs, *signature.names[: len(inputs.args)]) else label


def _batch(inputs: Example, target: Any, labels: str, size: int, turned: tuple[bool, bool]) -> Batch:
    """`turned`: whether the inputs, and whether the targets, have time first."""
    if turned[0]:
        inputs = _turned(inputs)
    if turned[1] and target.ndim > 1:
        target = target.transpose(0, 1)
    kwargs = dict(inputs.kwargs) | ({labels: target} if labels else {})
    raw: Any = (*inputs.args, target)
    if inputs.kwargs:
        raw = {**inputs.kwargs, (labels or "labels"): target}
    return Batch(inputs.args, kwargs, target, raw, size)


def _goal_for(opened: Opened, chosen: Objective, goal: Goal, output: Any, batch_for: Callable[[Goal], Batch]) -> Goal:
    """The first kind of target that the user's own loss can be computed with on a batch of it. Raises `TrainauditError` where it is none of them."""
    import math

    failure: TrainauditError | None = None
    candidates = [goal, *(replace(goal, kind=kind) for kind in _KINDS if kind != goal.kind)]
    for candidate in candidates:
        if candidate.kind == "classes" and (output.ndim < 2 or output.shape[candidate.axis + 1] < 2):
            continue
        batch = batch_for(candidate)
        device = str(output.device)
        args, kwargs, target, raw = moved((batch.args, dict(batch.kwargs), batch.target, batch.raw), device)
        batch = replace(batch, args=args, kwargs=kwargs, target=target, raw=raw)
        try:
            loss = objectives.tried(with_shapes(opened, args, kwargs), batch, chosen.compute, opened.shown).loss
        except TrainauditError as error:
            failure = failure or error
            continue
        if math.isfinite(float(loss)):
            return candidate
    if failure is None:
        return goal
    hint = "Give the data that it is meant for: --data pkg.mod:NAME."
    raise TrainauditError(
        "no-data", f"No synthetic targets fit the loss: {failure.what[:1].lower()}{failure.what[1:]}", hint
    ) from failure


def _ids_of_places(inputs: Example, output: Any) -> Any:
    """The token ids for each of which the output has a place (a decoder's, where there are two), or the first ones where it has one for the last token
    alone, as language models give where they get no targets. None of other models."""
    found = [
        value for _, value in inputs.items if is_tensor(value) and not value.is_floating_point() and value.ndim == 2
    ]
    if output.ndim != 3 or not found or output.shape[0] != found[0].shape[0]:
        return None
    same = [value for value in found if value.shape[1] == output.shape[1]]
    return same[-1] if same else found[0] if output.shape[1] == 1 else None


def _is_like_input(inputs: Example, output: Any) -> bool:
    """The output has the shape of a float input, as in autoencoders and denoisers."""
    return output.ndim > 1 and any(
        is_tensor(value) and value.is_floating_point() and value.shape == output.shape for _, value in inputs.items
    )


def _is_language_model(model: Any) -> bool:
    """A model of transformers that predicts the tokens themselves: its labels are token ids."""
    return any(
        mark in type(model).__name__
        for mark in ("ForCausalLM", "LMHead", "ForMaskedLM", "ForConditionalGeneration", "ForPreTraining")
    )


def _sentences(inputs: Example, seed: int, number: int, taught: bool) -> tuple[Example, Any]:
    """Token ids that are inputs and labels at once. Taught ones follow a random table three times out of four, so that the next can be learnt."""
    import torch

    place = next(
        name for name, value in inputs.items if is_tensor(value) and not value.is_floating_point() and value.ndim == 2
    )
    ids = dict(inputs.items)[place].clone()
    if taught:
        top = int(ids.max()) + 1
        table = torch.randint(0, 1 << 31, (1 << 17,), generator=torch.Generator().manual_seed(seed))
        follows = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed + number)) < 0.75
        for step in range(1, ids.shape[1]):
            ids[:, step] = torch.where(
                follows[:, step], table[ids[:, step - 1].long() % (1 << 17)].to(ids.dtype) % top, ids[:, step]
            )
    args = tuple(ids if str(at) == place else value for at, value in enumerate(inputs.args))
    return Example(args, {name: ids if name == place else value for name, value in inputs.kwargs.items()}), ids.long()


def _inputs_shown(batch: Batch, label: str) -> str:
    return (
        f"inputs {shapes_shown(batch.args or {name: value for name, value in batch.kwargs.items() if name != label})}"
    )


def _targets_shown(goal: Goal, taught: bool, is_shifted: bool) -> str:
    if is_shifted:
        return "the tokens themselves as labels"
    kind = {
        "classes": f"classes below {goal.shape[goal.axis] if goal.shape else 0}", "binary": "targets of 0 and 1", "signs": "targets of −1 and 1",
        "shares": "shares of classes", "values": "numbers as targets",
    }[goal.kind]  # fmt: skip
    return f"{kind} that are a random function of the inputs" if taught else f"{kind}, drawn by chance"
