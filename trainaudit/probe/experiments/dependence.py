"""What outputs depend on, by their gradients: other samples of the batch, and later positions of a sequence.

Evaluation mode throughout: batch normalization mixes a batch in training mode, as it should. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainaudit.probe.batches import batch_axis, gathered, inputs, take, with_inputs
from trainaudit.probe.copies import fresh
from trainaudit.probe.experiments.conditions import Conditions, too_slow
from trainaudit.probe.stepping import precise
from trainaudit.probe.trainee import Batch, Trainee
from trainaudit.trace.experiments import NOT_RUN, RAN, Experiment

Values = dict[str, float | str | bool]
_SAMPLES, _POSITIONS = (6, 5, 7, 4, 3, 2), 8
_ROUNDING = 1e-6
_HIDDEN = "the step computes its loss itself, and shows no output"
_NO_GRADIENT = "no input takes a gradient: there are no floating-point inputs, and no embedding that reads the others"


def batch_dependence(conditions: Conditions) -> Experiment:
    """For each of a few samples the gradient of its outputs, weighted at random, by the inputs of all samples: only its own may count."""
    import torch

    trainee = conditions.trainee
    whole = gathered(trainee.train, max(_SAMPLES))
    if whole.size < 2:
        return Experiment(NOT_RUN, "the batches hold one example each")
    batch = take(whole, range(_sample_count(whole)))
    fitting = conditions.steps_that_fit(examples=batch.size)
    if fitting < batch.size + 1:
        return too_slow(batch.size + 1, fitting, conditions.allowance.left())
    with fresh(trainee, conditions.seed) as model, _in_evaluation(trainee, model):
        output, leaves = _with_leaves(trainee, model, batch)
        if output is None or not leaves:
            return Experiment(NOT_RUN, _HIDDEN if output is None else _NO_GRADIENT)
        axis = batch_axis(output, batch.size)
        axes = [batch_axis(leaf, batch.size) for leaf in leaves]
        if axis is None or None in axes:
            return Experiment(NOT_RUN, "no axis of the output or of the input counts examples")
        weights = torch.randn_like(output)
        norms = torch.zeros(batch.size, batch.size, dtype=torch.float64)
        touched: list[Any] = [None] * len(leaves)
        for sample in range(min(batch.size, max(_SAMPLES))):
            weighted = (output * weights).select(axis, sample).sum()
            for place, (gradient, along) in enumerate(zip(_gradients(weighted, leaves), axes, strict=True)):
                if gradient is None or along is None:
                    continue
                rows = gradient.detach().movedim(along, 0).reshape(batch.size, -1)
                norms[sample] += rows.double().square().sum(1).cpu()
                reached = rows != 0
                touched[place] = reached.any(0) if touched[place] is None else touched[place] | reached.any(0)
    values = _leak(norms.sqrt())
    sizes = [leaf.numel() // batch.size for leaf in leaves]
    reached_count = sum(int(mask.sum()) for mask in touched if mask is not None)
    values |= {"sample_count": batch.size, "ignored_input_share": 1 - reached_count / sum(sizes)}
    return Experiment(RAN, values=values, seeds=(conditions.seed,))


def _sample_count(batch: Batch) -> int:
    """A few, and no number that another axis has: a table of as many positions would look like samples."""
    others = {size for tensor in inputs(batch) for size in tensor.shape[1:]}
    few = [count for count in _SAMPLES if count <= batch.size]
    return next((count for count in few if count not in others), few[0])


def _leak(norms: Any) -> Values:
    """From ‖∂out_i/∂x_j‖ as a matrix: the largest share of another sample, and the pairs with any."""
    own = norms.diagonal()
    others = norms.clone()
    others.fill_diagonal_(0)
    values: Values = {"pair_count": int((others > 0).sum())}
    if bool((own > 0).any()):
        values["leak"] = float((others.amax(1) / own.clamp(min=float(own.max()) * 1e-12)).max())
    return values


def time_dependence(conditions: Conditions) -> Experiment:
    """For some positions the gradient of their outputs by the inputs at all positions, of two samples: in a causal model no later one counts."""
    import torch

    trainee = conditions.trainee
    batch = take(trainee.train[0], range(min(trainee.train[0].size, 2)))
    with fresh(trainee, conditions.seed) as model, _in_evaluation(trainee, model):
        output, leaves = _with_leaves(trainee, model, batch)
        if output is None:
            return Experiment(NOT_RUN, _HIDDEN)
        length = output.shape[1] if output.ndim == 3 else 0
        in_time = [leaf for leaf in leaves if leaf.ndim == 3 and leaf.shape[:2] == output.shape[:2] and length > 1]
        if not in_time or output.shape[0] != batch.size:
            return Experiment(NOT_RUN, "input and output are no sequences of one length")
        if not conditions.is_causal and not _reads_tokens(batch, length):
            return Experiment(NOT_RUN, "the model is not declared causal, and reads no tokens")
        places = sorted({round(place * (length - 1) / (_POSITIONS - 1)) for place in range(_POSITIONS)})
        fitting = conditions.steps_that_fit(examples=batch.size)
        if fitting < len(places):
            return too_slow(len(places), fitting, conditions.allowance.left())
        weights = torch.randn_like(output)
        leaks: dict[int, float] = {}
        for place in places:
            weighted = (output * weights)[:, place].sum()
            found = [gradient for gradient in _gradients(weighted, in_time) if gradient is not None]
            norms = sum(gradient.double().square().sum((0, 2)) for gradient in found)
            if found and float(norms[place]) > 0:
                leaks[place] = float((norms[place + 1 :].max() / norms[place]).sqrt()) if place + 1 < length else 0.0
    if not leaks:
        return Experiment(NOT_RUN, "no output depends on the input at its own position")
    values: Values = {"future_leak": max(leaks.values()), "is_declared_causal": conditions.is_causal}
    leaking = [place for place, leak in leaks.items() if leak > _ROUNDING]
    if leaking:
        values["first_leak"] = min(leaking)
    return Experiment(RAN, values=values, seeds=(conditions.seed,))


def _reads_tokens(batch: Batch, length: int) -> bool:
    return any(
        not tensor.is_floating_point() and tuple(tensor.shape) == (batch.size, length) for tensor in inputs(batch)
    )


@contextmanager
def _in_evaluation(trainee: Trainee, model: Any) -> Iterator[None]:
    """Evaluation mode, with batch normalizations that know the batch's statistics: those of an untrained model say nothing, and one without
    running statistics would mix the samples in any mode. Recurrent layers of cuDNN give gradients in training mode alone."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for module in norms:
        if module.running_mean is None:
            module.running_mean = torch.zeros(module.num_features, device=trainee.device)
            module.running_var = torch.ones(module.num_features, device=trainee.device)
            module.track_running_stats = True
        module.momentum = 1.0
    if norms:
        with torch.no_grad(), precise(trainee):
            trainee.compute(model, trainee.train[0])
    model.eval()
    with torch.backends.cudnn.flags(enabled=False):
        yield


def _with_leaves(trainee: Trainee, model: Any, batch: Batch) -> tuple[Any, list[Any]]:
    """The output on the batch, and the tensors that its gradients are taken by: floating-point inputs, and what embeddings make of the others."""
    import torch

    given = [
        tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor for tensor in inputs(batch)
    ]
    leaves = [tensor for tensor in given if tensor.is_floating_point()]

    def embedded(_module: Any, _args: Any, output: Any) -> Any:
        leaf = output.detach().requires_grad_()
        if leaf.ndim > 1 and leaf.shape[0] == batch.size:
            leaves.append(leaf)
            return leaf
        return output

    hooks = [
        module.register_forward_hook(embedded)
        for module in model.modules()
        if isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag))
    ]
    with precise(trainee):
        output = trainee.compute(model, with_inputs(batch, given)).output
    for hook in hooks:
        hook.remove()
    return output, leaves


def _gradients(value: Any, leaves: list[Any]) -> Any:
    import torch

    if not value.requires_grad:
        return [None] * len(leaves)
    return torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
