"""`run_forward`: an ONNX model's activations on real or synthetic batches, by onnxruntime alone. No torch, no gradients.

The outputs of layers become outputs of a copy of the model in memory. The file is untrusted: libraries of custom operators are never registered, external
data were checked by the loader and may not leave the model's folder, and how much is read at once is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Graph, Layer
from trainaudit.ir.ops import ACTIVATIONS, NORMALIZATIONS, WEIGHTED, Op
from trainaudit.load.protobuf import onnx_classes
from trainaudit.load.target import Target
from trainaudit.probe import forward_inputs
from trainaudit.probe.forward_inputs import Feeds, batches_for
from trainaudit.probe.forward_statistics import Statistics
from trainaudit.probe.layout import unit_axis
from trainaudit.probe.plan import ProbePlan
from trainaudit.trace.trace import ActivationSeries, NonFinite, ProbeSettings, Tap, Trace, TrainingRun

_MOST_BYTES = 2_000_000_000
"""Of the model file: protobuf holds no more than 2 GiB in one message."""
_READ = ACTIVATIONS | NORMALIZATIONS | WEIGHTED | {Op.ATTENTION, Op.ADD}


def run_forward(target: Target, graph: Graph, plan: ProbePlan, progress: Callable[[str, float], None]) -> Trace:
    """Runs the model on as many batches as the time budget has room for. Ctrl-C ends it with what was measured so far.

    Raises `TrainauditError` with one sentence where the model does not run, or the data do not fit it.
    """
    began = time.perf_counter()
    shown = target.name or target.spec
    layers = {layer.outputs[0]: layer for layer in graph.layers if layer.op in _READ and layer.outputs}
    session, readable = _session(target, list(layers), shown)
    batches, kind, words = batches_for(session, target, graph, plan, shown)
    loaded = time.perf_counter()
    found: dict[str, Statistics] = {}
    stopped, cuts, steps = "completed", [], 0
    groups: list[list[str]] = []
    non_finite: NonFinite | None = None
    count = len(batches)
    try:
        for step, feeds in enumerate(batches):
            progress("forward", step / count)
            groups = groups or _groups(session, readable, feeds, shown)
            last = (-1, 0)
            for names in groups:
                for name, output in zip(names, _run(session, names, feeds, shown).values(), strict=True):
                    last = _read(found, layers[name], output, last)
                    if non_finite is None and not np.isfinite(output).all():
                        non_finite = NonFinite(step, "activation", layers[name].name, layers[name].name)
            steps += 1
            if time.perf_counter() - began > plan.time_budget and steps < count:
                stopped = "time budget"
                cuts.append(f"{steps} of {count} batches were run within the time budget of {plan.time_budget:g} s.")
                break
    except KeyboardInterrupt:
        if not steps:
            raise
        stopped = "interrupted"
    size = _size_of(batches[0])
    return Trace(
        settings=ProbeSettings(
            evidence="forward", data=kind, data_words=words, steps=count, batch_size=size, device="cpu", seed=plan.seed,
            time_budget=plan.time_budget, sample_every=1,
        ),
        sampled_steps=tuple(range(steps)),
        run=TrainingRun(loss=(), first_non_finite=non_finite) if non_finite else None,
        activations=tuple(_series(found, layers)),
        stopped=stopped,
        cuts=tuple(cuts),
        environment=_environment(),
        timings={"load session": loaded - began, "forward": time.perf_counter() - loaded},
    )  # fmt: skip


def _read(found: dict[str, Statistics], layer: Layer, output: Any, last: tuple[int, int]) -> tuple[int, int]:
    """Takes in one output; what it returns is where the units were, for the activation functions behind it."""
    if not isinstance(output, np.ndarray) or output.dtype.kind != "f" or not output.ndim or not output.size:
        return last
    axis = unit_axis(layer.op, output.shape, last)
    found.setdefault(layer.outputs[0], Statistics(layer.op)).add(output, axis)
    return (1 if axis == 1 and output.ndim > 2 else -1, output.shape[axis])


def _series(found: Mapping[str, Statistics], layers: Mapping[str, Layer]) -> Iterator[ActivationSeries]:
    for name, statistics in found.items():
        layer = layers[name]
        yield statistics.series(Tap(layer.name, layer.name, layer.source.module or "", layer.op.value))


# --- the session ---------------------------------------------------------------------------------------------------------


def _session(target: Target, wanted: Sequence[str], shown: str) -> tuple[Any, list[str]]:
    """A session of the model with the wanted values as outputs besides, and those of them that it has."""
    ort = _onnxruntime()
    path = Path(target.path)
    if path.stat().st_size > _MOST_BYTES:
        what = f"{shown} is larger than 2 GB, and cannot be changed in memory."
        raise TrainauditError("too-large", what, "Save its weights as external data.")
    try:
        model = onnx_classes().ModelProto.FromString(path.read_bytes())
    except Exception as error:
        raise TrainauditError(
            "not-onnx", f"{shown} cannot be parsed ({type(error).__name__}).", "Export it again."
        ) from error
    made = {name for node in model.graph.node for name in node.output}
    declared = {output.name for output in model.graph.output}
    readable = [name for name in wanted if name in made]
    for name in readable:
        if name not in declared:
            model.graph.output.add().name = name
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.resolve().parent))
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        what = f"onnxruntime {ort.__version__} cannot load {shown}: {_told(error, path)}"
        raise TrainauditError("not-runnable", what, "Leave --forward-only out, or export the model again.") from error
    if not readable:
        raise TrainauditError(
            "nothing-to-read", f"{shown} has no layer whose output could be read.", "Audit it without a probe."
        )
    return session, readable


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        what = "--forward-only needs onnxruntime, which is not installed."
        raise TrainauditError("no-onnxruntime", what, "Install it: pip install onnxruntime.") from None
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


def _environment() -> dict[str, str]:
    return {"onnxruntime": str(_onnxruntime().__version__)}


def _run(session: Any, names: Sequence[str], feeds: Feeds, shown: str) -> dict[str, Any]:
    try:
        return dict(zip(names, session.run(list(names), feeds), strict=True))
    except Exception as error:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
        what = f"{shown} could not be run on its inputs ({shapes}): {_told(error)}"
        raise TrainauditError(
            "forward-failed", what, "Give inputs that fit: --input 'NAME=float32[8,3,224,224]', or --data."
        ) from error


def _told(error: Exception, path: Path | None = None) -> str:
    """The first line of what onnxruntime says, without its codes and this machine's folders."""
    lines = str(error).strip().splitlines()
    text = (lines[0] if lines else type(error).__name__).removeprefix("[ONNXRuntimeError] : ")
    text = text.split(" : ", 2)[-1]
    text = text if path is None else text.replace(str(path.resolve().parent), "")
    return text[:200].rstrip(". ") + "."


def _groups(session: Any, readable: Sequence[str], feeds: Feeds, shown: str) -> list[list[str]]:
    """The outputs in groups that are held at once, by their sizes on one example, or on all where the model takes no single one."""
    few = {name: value[:1] if value.ndim else value for name, value in feeds.items()}
    try:
        sizes, times = _run(session, readable, few, shown), _size_of(feeds)
    except TrainauditError:
        sizes, times = _run(session, readable, feeds, shown), 1
    groups: list[list[str]] = [[]]
    held = 0
    for name, output in sizes.items():
        size = times * (output.size if isinstance(output, np.ndarray) else 0)
        if held + size > forward_inputs.MOST_ELEMENTS and groups[-1]:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return groups


def _size_of(feeds: Feeds) -> int:
    return next((int(value.shape[0]) for value in feeds.values() if value.ndim), 1)
