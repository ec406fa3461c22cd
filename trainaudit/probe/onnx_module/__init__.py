"""An ONNX file as a torch module that can be trained: `convert`. torch, and where it is installed onnxruntime, are imported inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainaudit.errors import TrainauditError


@dataclass(frozen=True, slots=True)
class Converted:
    """`module(*inputs)` takes the file's inputs in its order and gives a tuple of its outputs (see `module.OnnxModule`).

    `parameter_names` maps torch's names of parameters to the file's own; the two are equal wherever torch allows the name. `error` is the
    largest difference from onnxruntime on the same random input, in inference form and relative to the output's scale; None where
    onnxruntime could not be asked, for the reason in `unchecked`.
    """

    module: Any
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    parameter_names: Mapping[str, str]
    error: float | None
    unchecked: str = ""


def convert(path: str, *, seed: int = 0, training: bool = True, is_own: bool = False) -> Converted:
    """The file at `path` as a torch module in training (or evaluation) mode, held against onnxruntime.

    Floating-point tensors that the canonical graph calls trainable are parameters, running statistics of BatchNormalization buffers,
    all else constants; stored integer weights are not trained. A damaged file can crash onnxruntime, which therefore has a process of its own (a third
    of a second); `is_own` says that the caller made the file, and spares that. Raises `TrainauditError` for a file that cannot be read, that names operators
    which the table lacks, and where the module's values differ from onnxruntime's.
    """
    from trainaudit.load.from_onnx import load_onnx
    from trainaudit.load.onnx_file import read_raw_graph
    from trainaudit.probe.onnx_module.build import build, written_out_dropouts
    from trainaudit.probe.onnx_module.checking import check

    graph = load_onnx(path)
    raw = read_raw_graph(path)
    dropouts = written_out_dropouts(raw, graph)
    module = build(raw, graph, dropouts)
    try:
        checked = check(path, raw, module, dropouts, seed, isolated=not is_own)
    except RecursionError:
        raise TrainauditError("too-deep", f"{path} nests its control flow too deeply to be run.") from None
    module.train(training)
    return Converted(
        module, module.input_names, module.output_names, module.parameter_names, checked.error, checked.unchecked
    )
