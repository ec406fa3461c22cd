"""What a model's output is: the tensor that a loss reads, its activation function and its classes. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.probe.structures import parts_of, tensors_in

_NAMES = (
    "logits", "output", "outputs", "out", "pred", "preds", "prediction", "predictions", "prediction_logits", "probs", "scores", "y", "y_hat",
    "sample", "reconstruction", "last_hidden_state",
)  # fmt: skip
"""Keys under which models give what the loss reads, the likeliest first."""


@frozen
class Head:
    """`activation` is the word of the op that the output passes last ("none", "softmax", "sigmoid", "log_softmax", "relu", …), or "" where that is
    not known. `is_trunk` says that the output is a feature map or hidden state, `is_like_input` that it has the input's shape."""

    activation: str = ""
    is_trunk: bool = False
    is_like_input: bool = False


def head_of(graph: Graph | None, output: Any) -> Head:
    """From the graph where there is one, else from the numbers of `output`, a tensor of the untrained model."""
    if graph is not None and graph.is_connected:
        from trainaudit.measure.static.index import build_index
        from trainaudit.measure.static.structure import measure_structure

        _, columns = measure_structure(graph, build_index(graph))
        primary = next((name for name, is_first in columns.get("output.is_primary", {}).items() if is_first), None)
        if primary is not None:
            return Head(
                activation=str(columns["output.final_activation"].get(primary, "")),
                is_trunk=columns["output.is_trunk_feature"].get(primary) is True,
                is_like_input=columns["model.is_output_like_input"].get("model") is True,
            )
    return Head(activation=_activation(output))


def _activation(output: Any) -> str:
    """softmax and log-softmax show in the numbers: rows of shares that sum to 1."""
    import torch

    if output.ndim < 2 or (output.shape[-1] < 2 and output.shape[1] < 2):
        return ""
    for axis in {1, output.ndim - 1}:
        values = output.detach().double()
        for word, shares in (("softmax", values), ("log_softmax", values.exp())):
            if output.shape[axis] > 1 and bool((shares >= 0).all()) and bool((shares <= 1).all()):
                total = shares.sum(axis)
                if torch.allclose(total, torch.ones_like(total), atol=1e-3):
                    return word
    return ""


def loss_within(result: Any) -> Any:
    """The loss that a model has computed itself: a `loss` entry, or the result where it is one number; None without one."""
    import torch

    if isinstance(result, torch.Tensor):
        return result if result.ndim == 0 and result.is_floating_point() else None
    for key, value in parts_of(result):
        if key == "loss" and isinstance(value, torch.Tensor) and value.numel() == 1:
            return value.reshape(())
    if (
        isinstance(result, tuple) and len(result) > 1
    ):  # (loss, output) and (output, loss), as hand-written models give them
        for place in (0, len(result) - 1):
            value = result[place]
            if isinstance(value, torch.Tensor) and value.ndim == 0 and value.is_floating_point():
                return value
    return None


def read_by_loss(result: Any) -> Any:
    """The tensor that a loss reads: the result itself, the entry with a usual name, else the first float tensor with a batch axis.

    Raises `TrainauditError` where there is none.
    """
    import torch

    if isinstance(result, torch.Tensor):
        return result
    parts = dict(parts_of(result))
    for name in _NAMES:
        found = parts.get(name)
        if isinstance(found, torch.Tensor):
            return found
        if isinstance(found, (Mapping, tuple, list)):
            return read_by_loss(found)
    for _, tensor in tensors_in(result):
        if tensor.is_floating_point() and tensor.ndim:
            return tensor
    what = f"forward returns a {type(result).__name__} without a tensor that a loss could read."
    raise TrainauditError("no-output", what, "Give the step yourself: --step pkg.mod:function.")
