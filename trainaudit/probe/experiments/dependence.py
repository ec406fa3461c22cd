"""What outputs depend on: other samples of the batch, and later positions of a sequence. By gradients where inputs are floating-point numbers, and
by exchanging them where they are token ids.

Evaluation mode throughout: batch normalization mixes a batch in training mode, as it should. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe.batches import batch_axis, gathered, inputs, take, with_inputs
from trainaudit.probe.calling import LABELS
from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.answers import numbers
from trainaudit.probe.experiments.conditions import Conditions, too_slow
from trainaudit.probe.experiments.torch_functions import calibrate
from trainaudit.probe.heads import read_by_loss
from trainaudit.probe.stepping import precise
from trainaudit.probe.trainee import Batch, Computed, Trainee
from trainaudit.trace.experiments import NOT_RUN, RAN, Experiment

Values = dict[str, float | str | bool]
_SAMPLES, _POSITIONS = (6, 5, 7, 4, 3, 2), 8
_ROUNDING = 1e-6
"""Relative differences between outputs that other kernels for other numbers can make."""
_HIDDEN = "the step computes its loss itself, and the model returns no tensor to it"
_RANDOM = "the same inputs do not give the same output twice"


def batch_dependence(conditions: Conditions) -> Experiment:
    """For each of a few samples what its outputs have of the inputs of all samples: only its own may count."""
    trainee = conditions.trainee
    whole = gathered(trainee.train, max(_SAMPLES))
    if whole.size < 2:
        return Experiment(NOT_RUN, "the batches hold one example each")
    batch = take(whole, range(_sample_count(whole)))
    fitting = conditions.steps_that_fit(examples=batch.size)
    if fitting < batch.size // 2:
        return too_slow(batch.size // 2, fitting, conditions.allowance.left())
    with fresh(trainee, conditions.seed) as model, in_evaluation(trainee, model):
        trainee, batch = _call_alone(trainee, model, batch)
        output = _output(trainee, model, batch)
        if output is None:
            return Experiment(NOT_RUN, _HIDDEN)
        if _is_random(trainee, model, batch, output):
            return Experiment(NOT_RUN, _RANDOM)
        axis = batch_axis(output, batch.size)
        if axis is None or not inputs(batch) or any(batch_axis(tensor, batch.size) is None for tensor in inputs(batch)):
            return Experiment(NOT_RUN, "no axis of the output or of the input counts examples")
        if _is_comparing(trainee, model, batch, output):
            return Experiment(
                NOT_RUN, "the output compares the examples of a batch with each other, one row and one column for each"
            )
        values: Values = {"sample_count": batch.size}
        if any(tensor.is_floating_point() for tensor in inputs(batch)):
            norms, values["ignored_input_share"] = _gradients_by_sample(trainee, model, batch, axis)
        else:
            norms = _changes_by_sample(trainee, model, batch, axis, output)
    return Experiment(RAN, values=values | _leak(norms), seeds=(conditions.seed,))


def _sample_count(batch: Batch) -> int:
    """A few, and no number that another axis has: a table of as many positions would look like samples."""
    others = {size for tensor in inputs(batch) for size in tensor.shape[1:]}
    few = [count for count in _SAMPLES if count <= batch.size]
    return next((count for count in few if count not in others), few[0])


def _is_comparing(trainee: Trainee, model: Any, batch: Batch, output: Any) -> bool:
    """Two axes of the output count examples, as in contrastive losses: both shrink with the batch, or neither where the model takes one size alone."""
    if list(output.shape).count(batch.size) < 2:
        return False
    fewer = _output(trainee, model, take(batch, range(batch.size - 1)))
    return fewer is not None and (fewer.shape == output.shape or list(fewer.shape).count(batch.size - 1) >= 2)


def _gradients_by_sample(trainee: Trainee, model: Any, batch: Batch, axis: int) -> tuple[Any, float]:
    """‖∂(v·out_i)/∂x_j‖ as a matrix of i and j, v drawn at random (outputs that sum to 1 have no gradient as a sum), and the share of the
    elements of an input that have none in any sample."""
    import torch

    output, leaves = _with_leaves(trainee, model, batch)
    weights = torch.randn_like(output)
    norms = torch.zeros(batch.size, batch.size, dtype=torch.float64)
    reached = [torch.zeros(0)] * len(leaves)
    for sample in range(min(batch.size, max(_SAMPLES))):
        found = _gradients((output * weights).select(axis, sample).sum(), leaves)
        for place, (leaf, gradient) in enumerate(zip(leaves, found, strict=True)):
            along = batch_axis(leaf, batch.size) or 0
            rows = gradient.movedim(along, 0).reshape(batch.size, -1)
            norms[sample] += numbers(rows).square().sum(1)
            seen = (rows != 0).any(0)
            reached[place] = seen | reached[place] if sample else seen
    count = sum(mask.numel() for mask in reached)
    return norms.sqrt(), 1 - sum(int(mask.sum()) for mask in reached) / count


def _changes_by_sample(trainee: Trainee, model: Any, batch: Batch, axis: int, output: Any) -> Any:
    """How far out_i moves when sample j gets the next sample's inputs, as a matrix of i and j."""
    import torch

    columns = []
    for sample in range(batch.size):
        order = list(range(batch.size))
        order[sample] = (sample + 1) % batch.size
        exchanged = take(batch, order)
        moved = _output(trainee, model, with_inputs(batch, inputs(exchanged))) - output
        columns.append(numbers(moved.movedim(axis, 0).reshape(batch.size, -1)).norm(dim=1))
    return torch.stack(columns, 1)


def _leak(norms: Any) -> Values:
    """The largest share that another sample has in an output, and the pairs with any."""
    own = norms.diagonal().clone()
    others = norms.clone()
    others.fill_diagonal_(0)
    values: Values = {"pair_count": int((others > _ROUNDING * own.max()).sum())}
    if bool((own > 0).any()):
        values["leak"] = float((others.amax(1) / own.clamp(min=float(own.max()) * 1e-12)).max())
    return values


def time_dependence(conditions: Conditions) -> Experiment:
    """For some positions what their outputs have of the inputs at later ones: nothing, in a causal model."""
    trainee = conditions.trainee
    batch = take(trainee.train[0], range(min(trainee.train[0].size, 3)))
    with fresh(trainee, conditions.seed) as model, in_evaluation(trainee, model):
        trainee, batch = _call_alone(trainee, model, batch)
        output = _output(trainee, model, batch)
        if output is None:
            return Experiment(NOT_RUN, _HIDDEN)
        if _is_random(trainee, model, batch, output):
            return Experiment(NOT_RUN, _RANDOM)
        shape = (batch.size, output.shape[1]) if output.ndim == 3 and output.shape[0] == batch.size else None
        in_time = [
            tensor for tensor in inputs(batch) if shape is not None and tensor.shape[:2] == shape and shape[1] > 1
        ]
        floats = [tensor for tensor in in_time if tensor.is_floating_point() and tensor.ndim == 3]
        tokens = [tensor for tensor in in_time if not tensor.is_floating_point() and tensor.ndim == 2]
        if not (floats or tokens) or shape is None:
            return Experiment(NOT_RUN, "input and output are no sequences of one length")
        if not conditions.is_causal and not tokens:
            return Experiment(NOT_RUN, "the model is not declared causal, and reads no tokens")
        places = sorted({round(place * (shape[1] - 1) / (_POSITIONS - 1)) for place in range(_POSITIONS)})
        fitting = conditions.steps_that_fit(examples=batch.size)
        if fitting < len(places) // 2:
            return too_slow(len(places) // 2, fitting, conditions.allowance.left())
        read = _gradients_by_position if floats else _changes_by_position
        leaks = read(trainee, model, batch, places)
    if not leaks:
        return Experiment(NOT_RUN, "no output depends on the input at its own position")
    values: Values = {"future_leak": max(leaks.values()), "is_declared_causal": conditions.is_causal}
    leaking = [place for place, leak in leaks.items() if leak > _ROUNDING]
    if leaking:
        values["first_leak"] = min(leaking)
    return Experiment(RAN, values=values, seeds=(conditions.seed,))


def _gradients_by_position(trainee: Trainee, model: Any, batch: Batch, places: list[int]) -> dict[int, float]:
    """Position → largest gradient of its outputs by the input at a later one, over that by its own; none where that is 0."""
    import torch

    output, leaves = _with_leaves(trainee, model, batch)
    in_time = [leaf for leaf in leaves if leaf.shape[:2] == output.shape[:2] and leaf.ndim == 3]
    weights = torch.randn_like(output)
    leaks: dict[int, float] = {}
    for place in places:
        found = _gradients((output * weights)[:, place].sum(), in_time)
        norms = sum(numbers(gradient).square().sum((0, 2)) for gradient in found).sqrt()
        if float(norms[place]) > 0:
            leaks[place] = float(norms[place + 1 :].max() / norms[place]) if place + 1 < len(norms) else 0.0
    return leaks


def _changes_by_position(trainee: Trainee, model: Any, batch: Batch, places: list[int]) -> dict[int, float]:
    """The same by how far outputs move when the samples exchange their tokens at one position."""
    output = _output(trainee, model, batch)
    moved = {}
    for place in places:
        changed = []
        for tensor in inputs(batch):
            other = tensor.clone()
            if tensor.shape[:2] == output.shape[:2] and not tensor.is_floating_point():
                other[:, place] = tensor[:, place].roll(1, 0)
            changed.append(other)
        difference = _output(trainee, model, with_inputs(batch, changed)) - output
        moved[place] = numbers(difference).square().sum((0, 2)).sqrt()
    own = {place: float(moved[place][place]) for place in places if float(moved[place][place]) > 0}
    return {
        place: max((float(moved[later][place]) / size for later in places if later > place), default=0.0)
        for place, size in own.items()
    }


@contextmanager
def in_evaluation(trainee: Trainee, model: Any) -> Iterator[None]:
    """Evaluation mode, with batch normalizations that know the batch's statistics: those of an untrained model say nothing, and one without
    running statistics would mix the samples in any mode. Recurrent layers of cuDNN give gradients in training mode alone."""
    import torch

    def run() -> None:
        with precise(trainee):
            trainee.compute(model, trainee.train[0])

    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            module.running_mean = torch.zeros(module.num_features, device=trainee.device)
            module.running_var = torch.ones(module.num_features, device=trainee.device)
            module.track_running_stats = True
    calibrate(run)
    model.eval()
    with torch.backends.cudnn.flags(enabled=False):
        yield


def _call_alone(trainee: Trainee, model: Any, batch: Batch) -> tuple[Trainee, Batch]:
    """Of a step of the user's own the model's call alone, on what the step gave it: the step may mix the examples of a batch on purpose (mixup, another
    order) and draw masks. As they are where the step does not call the model as a whole."""
    import torch

    if not trainee.has_own_step:
        return trainee, batch
    calls: list[tuple[Any, Any]] = []
    hook = model.register_forward_pre_hook(lambda _module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    try:
        with torch.no_grad(), precise(trainee), seeded():
            trainee.compute(model, batch)
    finally:
        hook.remove()
    if not calls:
        return trainee, batch
    args, kwargs = calls[-1]

    def compute(model: Any, given: Batch) -> Computed:
        model(*given.args, **given.kwargs)
        return Computed(None)

    labels = [value for name, value in kwargs.items() if name in LABELS]
    return replace(trainee, compute=compute), Batch(args=args, kwargs=kwargs, target=labels or None, size=batch.size)


def _is_random(trainee: Trainee, model: Any, batch: Batch, output: Any) -> bool:
    """A generator of its own goes on from call to call: what is changed by it would look like a dependence."""
    again = _output(trainee, model, batch)
    return again.shape != output.shape or bool((again - output).norm() > _ROUNDING * output.norm())


def _output(trainee: Trainee, model: Any, batch: Batch) -> Any:
    """Without gradient; None where there is none to be seen."""
    import torch

    with torch.no_grad():
        found = _shown(trainee, model, batch)
    return None if found is None or found.ndim == 0 else found.float()


def _shown(trainee: Trainee, model: Any, batch: Batch) -> Any:
    """What the loss reads; where a step of the user's hides it, what the model has returned last. What is drawn is the same each time."""
    returned: list[Any] = []
    hook = model.register_forward_hook(lambda _module, _args, result: returned.append(result))
    with precise(trainee), seeded():
        output = trainee.compute(model, batch).output
    hook.remove()
    if output is not None or not returned:
        return output
    try:
        return read_by_loss(returned[-1])
    except TrainauditError:
        return None


def _with_leaves(trainee: Trainee, model: Any, batch: Batch) -> tuple[Any, list[Any]]:
    """The output on the batch, and its floating-point inputs, by which gradients are taken."""
    given = [
        tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor for tensor in inputs(batch)
    ]
    output = _shown(trainee, model, with_inputs(batch, given))
    return output, [tensor for tensor in given if tensor.is_floating_point()]


def _gradients(value: Any, leaves: list[Any]) -> list[Any]:
    """∂value / ∂leaf of each, 0 where it does not depend on it."""
    import torch

    if not value.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient.detach()
        for leaf, gradient in zip(leaves, found, strict=True)
    ]
