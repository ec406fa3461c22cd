"""Holding a converted module against onnxruntime on the same input, in inference form."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trainaudit.errors import TrainauditError
from trainaudit.load.protobuf import onnx_classes
from trainaudit.load.raw import RawGraph
from trainaudit.load.tensors import shown
from trainaudit.probe.onnx_module.casting import RANDOM
from trainaudit.probe.onnx_module.inputs import drawn, why_not
from trainaudit.probe.onnx_module.module import OnnxModule
from trainaudit.probe.onnx_module.values import Tensor

TOLERANCE = 1e-4
"""Of float32, relative to the output's scale: two orders above rounding, two below any wrong formula that was seen."""

_COARSE = {"float16": 1e-2, "bfloat16": 8e-2}
_QUANTIZED = 0.1
"""A value between two steps of a quantizer rounds to either side: one step of 255, times what follows."""

_LARGEST_COPY = 1 << 31


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


def check(path: str, raw: RawGraph, module: OnnxModule, seed: int) -> Checked:
    """The largest difference from onnxruntime relative to the output's scale, on random inputs.

    Raises `TrainauditError` where the module cannot run what onnxruntime can, or differs by more than `tolerance`.
    """
    untouched = [place for place, name in enumerate(raw.outputs) if name not in _drawn_values(raw)]
    if not untouched:
        return Checked(None, "every output depends on numbers that the model draws")
    reason = why_not(raw)
    if reason:
        return Checked(None, reason)
    failure: Exception | None = None
    best: tuple[dict[str, Tensor], list[Any]] | None = None
    for inputs in drawn(raw, seed):
        try:
            outputs = list(_computed(module, inputs))
        except TrainauditError:
            raise
        except Exception as error:
            failure = failure or error
            continue
        if best is None:
            best = inputs, outputs
        if all(_is_finite(value) for value in outputs):
            best = inputs, outputs
            break
    if best is None:
        assert failure is not None
        return _failed(path, raw, failure, seed)
    inputs, outputs = best
    try:
        theirs = run_onnxruntime(path, raw, inputs)
    except _CannotRunError as error:
        return Checked(None, f"onnxruntime cannot run it: {error}")
    found = max((difference(outputs[place], theirs[place]) for place in untouched), default=0.0)
    limit = tolerance(raw)
    if not found <= limit:
        worst = max(untouched, key=lambda place: difference(outputs[place], theirs[place]))
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
    try:
        with torch.no_grad():
            result: tuple[Any, ...] = module(*inputs.values())
            return result
    finally:
        module.train(was_training)


def _failed(path: str, raw: RawGraph, failure: Exception, seed: int) -> Checked:
    """What to make of a module that runs on no inputs: an error, unless onnxruntime does not run on them either."""
    try:
        run_onnxruntime(path, raw, next(iter(drawn(raw, seed))))
    except (_CannotRunError, StopIteration):
        return Checked(None, f"neither torch nor onnxruntime runs it on random inputs: {_first_line(failure)}")
    where = " ".join(getattr(failure, "__notes__", []))
    raise TrainauditError(
        "conversion-failed",
        f"{path} cannot be run as a torch module: {_first_line(failure)} {where}".strip() + ".",
        "Probe the PyTorch model itself, or with --forward-only.",
    ) from failure


def _first_line(error: Exception) -> str:
    text = (str(error) or type(error).__name__).strip().splitlines()[0]
    return text if len(text) <= 200 else text[:197] + "…"


class _CannotRunError(Exception):
    """Why onnxruntime does not give outputs."""


def run_onnxruntime(path: str, raw: RawGraph, inputs: dict[str, Tensor]) -> list[Any]:
    """The outputs of the file in inference form. Raises `_CannotRunError`."""
    try:
        import onnxruntime
    except ImportError:
        raise _CannotRunError("it is not installed") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model: str | bytes = path
    if needs_inference_form(raw):
        folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 -- as in the loader
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        model = inference_form(path)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
        return list(session.run(None, feeds))
    except Exception as error:  # its exceptions share no class of their own
        raise _CannotRunError(_first_line(error)) from error


def needs_inference_form(raw: RawGraph) -> bool:
    """Whether an exporter froze BatchNormalization or Dropout in training mode, which onnxruntime cannot run or draws numbers for."""
    return any(
        (node.op == "BatchNormalization" and (node.attributes.get("training_mode") or len(node.outputs) > 1))
        or (node.op == "Dropout" and len(node.inputs) > 2)
        for node in raw.nodes
    )


def inference_form(path: str) -> bytes:
    """The file with BatchNormalization and Dropout as in inference. Raises `_CannotRunError`."""
    if os.path.getsize(path) >= _LARGEST_COPY:  # noqa: PTH202
        raise _CannotRunError("its training form is too large to be copied")
    with open(path, "rb") as file:  # noqa: PTH123
        model = onnx_classes().ModelProto.FromString(file.read())
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _to_inference(nodes)
    content: bytes = model.SerializeToString()
    return content


def _to_inference(nodes: Any) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _to_inference(attribute.g.node)
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            for attribute in node.attribute:
                if attribute.name == "training_mode":
                    attribute.i = 0
        elif node.op_type == "Dropout":
            del node.input[2:]


def _drawn_values(raw: RawGraph) -> set[str]:
    """Values that depend on numbers that the model draws."""
    touched: set[str] = set()
    for node in raw.nodes:
        if node.op in RANDOM or not touched.isdisjoint(node.inputs):
            touched.update(name for name in node.outputs if name)
    return touched


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_finite(item) for item in value)
    return not isinstance(value, Tensor) or not value.is_floating_point() or bool(torch.isfinite(value).all())


def difference(mine: Any, theirs: Any) -> float:
    """The largest absolute difference over the largest finite magnitude of `theirs`; infinite where shapes, types, NaN or infinities differ.

    Sequences are compared by their elements, booleans and strings for being equal.
    """
    if isinstance(theirs, list) or isinstance(mine, list):
        if not isinstance(mine, list) or not isinstance(theirs, list) or len(mine) != len(theirs):
            return float("inf")
        return max((difference(one, other) for one, other in zip(mine, theirs, strict=True)), default=0.0)
    if mine is None or theirs is None:
        return 0.0 if mine is None and theirs is None else float("inf")
    expected = np.asarray(theirs)
    if not isinstance(mine, Tensor) or tuple(mine.shape) != expected.shape:
        return float("inf")
    if str(mine.dtype).removeprefix("torch.") != expected.dtype.name:
        return float("inf")
    if expected.dtype.kind in "biu":
        left, right = (np.asarray(side).astype(np.float64) for side in (mine.detach().cpu().numpy(), expected))
    else:
        kind = torch.complex128 if mine.is_complex() else torch.float64
        left = mine.detach().cpu().to(kind).numpy()
        right = expected.astype(left.dtype)
    if left.size == 0:
        return 0.0
    odd = ~np.isfinite(right)
    if not np.array_equal(left[odd], right[odd], equal_nan=True) or not np.isfinite(left[~odd]).all():
        return float("inf")
    if odd.all():
        return 0.0
    scale = float(np.abs(right[~odd]).max())
    return float(np.abs(left[~odd] - right[~odd]).max()) / (scale or 1.0)
