"""Writes a torch model as ONNX, through either exporter, in training or in inference form. Needs torch; dynamo needs onnxscript."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

EXPORTERS = ("torchscript", "dynamo")
FORMS = ("training", "inference")
ONLY_DYNAMO = {
    "self_normalizing": "TorchScript's exporter has no alpha dropout in training form",
    "glm": "TorchScript's exporter loses the rank of a concatenated rotary embedding",
}
"""Networks that only the newer exporter can write, and why."""


def export(model: nn.Module, example: tuple[Tensor, ...], path: Path, *, exporter: str, form: str) -> None:
    """The batch axis of every input is dynamic. The training form keeps Dropout and BatchNorm and folds nothing."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    is_training = form == "training"
    model.train(is_training)
    names = [f"input{index}" for index in range(len(example))]
    # the batch axis of the outputs follows by itself
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            mode = torch.onnx.TrainingMode.TRAINING if is_training else torch.onnx.TrainingMode.EVAL
            torch.onnx.export(
                model, example, str(path), dynamo=False, training=mode, do_constant_folding=not is_training,
                input_names=names, dynamic_axes={name: {0: "batch"} for name in names}, opset_version=17,
            )  # fmt: skip
        else:
            batch = torch.export.Dim("batch", min=1, max=64)
            torch.onnx.export(
                model, example, str(path), dynamo=True, optimize=not is_training, input_names=names,
                dynamic_shapes=[{0: batch} for _ in example] if len(example) > 1 else ({0: batch},),
                external_data=False, verbose=False,
            )  # fmt: skip
