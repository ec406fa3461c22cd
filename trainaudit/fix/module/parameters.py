"""Changes of stored numbers, made in place on a copy of the model. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainaudit.changes import Change
from trainaudit.counting import count as counted
from trainaudit.fix.drawing import drawn
from trainaudit.fix.module.losses import dry_run
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Graph, Layer, Parameter, Role
from trainaudit.ir.ops import Op
from trainaudit.probe.experiments.constant_answers import best_constant_output
from trainaudit.probe.losses import CLASSIFYING, TWO_VALUED, class_axis
from trainaudit.probe.trainee import Trainee

_ON_LOGITS = {"nll": "cross-entropy", "categorical-crossentropy": "cross-entropy", "bce": "bce-with-logits"}
_LARGEST = 7.0
"""Of a log share or log odds: a class that the batches which were read do not hold counts as one of a thousand."""


def with_weights(trainee: Trainee, graph: Graph | None, changes: Sequence[Change], seed: int) -> None:
    """Makes the changes on `trainee.model`, which is a copy."""
    import torch

    with torch.no_grad():
        for change in changes:
            if change.kind == "forget-gate-bias":
                _set_forget_gate(trainee.model, layer_of(graph, change.where), _amount(change))
            elif change.kind == "output-bias":
                _set_output_bias(trainee, layer_of(graph, change.where))
            else:
                for name, tensor in tensors_of(trainee.model, change.where):
                    _change(tensor, name, change, _parameter(graph, change.where), seed)


def layer_of(graph: Graph | None, name: str) -> Layer:
    """The layer of that name. Raises `NotApplicableError` where there is none."""
    found = None if graph is None else next((layer for layer in graph.layers if layer.name == name), None)
    if found is None:
        raise NotApplicableError(f"the graph has no layer {name}")
    return found


def tensors_of(model: Any, name: str) -> list[tuple[str, Any]]:
    """The model's own tensors that a parameter of the graph is made of, by their names in the model: two directions of a recurrent layer, and its two
    biases, are one parameter of the graph. Raises `NotApplicableError` where one of them is not there."""
    held = dict(model.named_parameters(remove_duplicate=False))
    held |= {file: held[own] for own, file in getattr(model, "parameter_names", {}).items() if own in held}
    if name in held:
        return [(name, held[name])]
    base = name.removesuffix("+reverse")
    sides = (base,) if base == name else (base, f"{base}_reverse")
    names = [part for side in sides for part in _pair(side, held)]
    if not names or not all(part in held for part in names):
        raise NotApplicableError(f"the model has no parameter {name}")
    return [(part, held[part]) for part in names]


def _pair(name: str, held: dict[str, Any]) -> tuple[str, ...]:
    """A recurrent layer's bias of the graph is the sum of two of torch's."""
    if name in held:
        return (name,)
    path, _, last = name.rpartition(".")
    pair = tuple(f"{path}.{last.replace('bias_', kind, 1)}".removeprefix(".") for kind in ("bias_ih_", "bias_hh_"))
    return pair if last.startswith("bias_") else (name,)


def _parameter(graph: Graph | None, name: str) -> Parameter | None:
    return None if graph is None else graph.parameters.get(name)


def _change(tensor: Any, name: str, change: Change, known: Parameter | None, seed: int) -> None:
    import torch

    if change.kind == "scale":
        tensor.mul_(_amount(change))
    elif change.kind == "set":
        tensor.fill_(_amount(change))
    else:
        values = drawn(_as_stored(tensor, name, known), change.to, change.amount, seed)
        tensor.copy_(torch.from_numpy(values))


def _amount(change: Change) -> float:
    if change.amount is None:
        raise NotApplicableError(f"{change.kind} has no amount")
    return change.amount


def _as_stored(tensor: Any, name: str, known: Parameter | None) -> Parameter:
    """The parameter as torch holds it: what the graph says of it where the shapes agree, else torch's own order (units first)."""
    shape = tuple(tensor.shape)
    if known is not None and known.shape == shape:
        return replace(known, name=name)
    if len(shape) < 2:
        raise NotApplicableError(f"{name} is no matrix")
    fan_in = tensor[0].numel()
    gates = 1 if known is None else known.gates
    field = tensor[0][0].numel()
    return Parameter(
        name, shape, "float32", Role.WEIGHT, True, (), None, unit_axis=0, fan_in=fan_in, fan_out=shape[0] * field, gates=gates  # type: ignore[arg-type]
    )  # fmt: skip


def _set_forget_gate(model: Any, layer: Layer, amount: float) -> None:
    """torch's gates stand in the order input, forget, cell, output; a file's in the order input, output, forget, cell, its two biases side by side."""
    name = layer.parameters.get(Role.BIAS)
    if layer.op is not Op.LSTM or name is None:
        raise NotApplicableError(f"{layer.name} is no LSTM with a bias")
    for own, tensor in tensors_of(model, name):
        if tensor.ndim == 2:
            size = tensor.shape[1] // 8
            tensor[:, 2 * size : 3 * size] = amount
            tensor[:, 6 * size : 7 * size] = 0.0
        else:
            size = tensor.shape[0] // 4
            tensor[size : 2 * size] = amount if "bias_ih" in own.rpartition(".")[2] else 0.0


def _set_output_bias(trainee: Trainee, layer: Layer) -> None:
    name = layer.parameters.get(Role.BIAS)
    if name is None:
        raise NotApplicableError(f"{layer.name} has no bias")
    found = tensors_of(trainee.model, name)
    if len(found) != 1:
        raise NotApplicableError(f"{layer.name} has no bias of its own")
    best = _best_bias(trainee)
    bias = found[0][1]
    if best.numel() != bias.numel():
        raise NotApplicableError(
            f"{layer.name} has {counted(bias.numel(), 'unit')}, and the targets tell of {best.numel()}"
        )
    bias.copy_(best.reshape(bias.shape))


def _best_bias(trainee: Trainee) -> Any:
    """(units,): the best constant before the last activation function, over the batches that were read: means, medians, log shares or log odds."""
    import torch

    loss = _ON_LOGITS.get(trainee.loss, trainee.loss)
    output = dry_run(trainee).output
    targets = [batch.target for batch in trainee.train]
    if output is None or not output.ndim or not all(isinstance(each, torch.Tensor) for each in targets):
        raise NotApplicableError("the loss reads no output and target that are seen")
    target = torch.cat([each for each in targets if each.shape[1:] == targets[0].shape[1:]])
    fill = best_constant_output(loss, output[:1].expand(len(target), *output.shape[1:]), target)
    if fill is None:
        raise NotApplicableError(f"of the loss {loss or 'of your own'} no best constant is known")
    place = class_axis(output, target) if loss in CLASSIFYING else min(1, output.ndim - 1)
    filled = fill(torch.zeros_like(output[:1])).movedim(place, -1).reshape(-1, output.shape[place])[0]
    return filled.clamp(-_LARGEST, _LARGEST) if loss in CLASSIFYING or loss in TWO_VALUED else filled
