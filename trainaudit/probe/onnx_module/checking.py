"""Holding a converted module against onnxruntime on the same input, in inference form."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from trainaudit.errors import TrainauditError
from trainaudit.load.raw import RawGraph
from trainaudit.load.tensors import shown
from trainaudit.probe.onnx_module.comparing import difference, is_finite
from trainaudit.probe.onnx_module.inference_form import inference_form, is_inference_form
from trainaudit.probe.onnx_module.inputs import drawn, why_not
from trainaudit.probe.onnx_module.module import OnnxModule
from trainaudit.probe.onnx_module.reference import CannotRunError, ask, first_line
from trainaudit.probe.onnx_module.values import ExcessError, Tensor

TOLERANCE = 1e-4
"""Of float32, relative to the output's scale: two orders above rounding, two below any wrong formula that was seen."""

_COARSE = {"float16": 1e-2, "bfloat16": 8e-2}
_QUANTIZED = 0.1
"""A value between two steps of a quantizer rounds to either side: one step of 255, times what follows."""


@dataclass(frozen=True, slots=True)
class Checked:
    """`error` is None where onnxruntime could not be asked, for the reason in `unchecked`."""

    error: float | None
    unchecked: str = ""


def tolerance(raw: RawGraph) -> float:
    """How far apart two right answers may lie, given the types that the model computes with."""
    if any("Quantize" in node.op or node.op.startswith("QLinear") for node in raw.nodes):
        return _QUANTIZED
    kinds = {*raw.dtypes.values(), *(tensor.dtype for tensor in raw.tensors.values())}
    return max([TOLERANCE, *(amount for kind, amount in _COARSE.items() if kind in kinds)])


def check(
    path: str, raw: RawGraph, module: OnnxModule, dropouts: Mapping[str, str], seed: int, isolated: bool
) -> Checked:
    """The largest difference from onnxruntime relative to the output's scale, on random inputs.

    Raises `TrainauditError` where the module cannot run what onnxruntime can, or differs by more than `tolerance`.
    """
    reason = why_not(raw)
    if reason:
        return Checked(None, reason)
    failure: Exception | None = None
    best: tuple[dict[str, Tensor], list[Any]] | None = None
    for inputs in drawn(raw, seed):
        try:
            outputs = list(_computed(module, inputs))
            is_clean = all(is_finite(value) for value in outputs)
        except ExcessError as error:
            raise _cannot_run(path, error) from error
        except Exception as error:
            failure = failure or error
            continue
        if best is None:
            best = inputs, outputs
        if is_clean:
            best = inputs, outputs
            break
    if best is None:
        assert failure is not None
        return _failed(path, raw, failure, dropouts, seed, isolated)
    inputs, outputs = best
    try:
        theirs = _reference(path, raw, dropouts, inputs, isolated)
    except CannotRunError as error:
        return Checked(None, f"onnxruntime cannot run it: {error}")
    found = max((difference(outputs[place], theirs[place]) for place in range(len(outputs))), default=0.0)
    limit = tolerance(raw)
    if not found <= limit:
        worst = max(range(len(outputs)), key=lambda place: difference(outputs[place], theirs[place]))
        raise TrainauditError(
            "conversion-differs",
            f"{path} as a torch module gives other values than onnxruntime: {shown(raw.outputs[worst])} differs by {found:.2g} of its scale "
            f"(at most {limit:.0e} is let pass).",
            "Probe the PyTorch model itself, or with --forward-only.",
        )
    return Checked(found)


def _computed(module: OnnxModule, inputs: dict[str, Tensor]) -> tuple[Any, ...]:
    was_training = module.training
    module.eval()
    module.is_settled = True
    try:
        with torch.no_grad():
            result: tuple[Any, ...] = module(*inputs.values())
            return result
    finally:
        module.is_settled = False
        module.train(was_training)


def _failed(
    path: str, raw: RawGraph, failure: Exception, dropouts: Mapping[str, str], seed: int, isolated: bool
) -> Checked:
    """What to make of a module that runs on no inputs: an error, unless onnxruntime does not run on them either."""
    try:
        _reference(path, raw, dropouts, next(iter(drawn(raw, seed))), isolated)
    except (CannotRunError, StopIteration):
        return Checked(None, f"neither torch nor onnxruntime runs it on random inputs: {first_line(failure)}")
    raise _cannot_run(path, failure) from failure


def _cannot_run(path: str, error: Exception) -> TrainauditError:
    where = " ".join(getattr(error, "__notes__", []))
    return TrainauditError(
        "conversion-failed",
        f"{path} cannot be run as a torch module: {first_line(error)} {where}".strip() + ".",
        "Probe the PyTorch model itself, or with --forward-only.",
    )


def _reference(
    path: str, raw: RawGraph, dropouts: Mapping[str, str], inputs: dict[str, Tensor], isolated: bool
) -> list[Any]:
    """The outputs of the file in inference form. Raises `CannotRunError`."""
    model: str | bytes = path
    if not is_inference_form(raw):
        copy = inference_form(path, dropouts)
        if copy is None:
            raise CannotRunError("its training form is too large to be copied")
        model = copy
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 -- as in the loader
    return ask(model, folder, {name: tensor.numpy() for name, tensor in inputs.items()}, isolated=isolated)
