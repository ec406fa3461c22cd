"""The targets that need torch, opened: what was named becomes a module with an example input, and that a graph. torch is imported inside functions
only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Graph, Origin
from trainaudit.load.module_tree import module_tree
from trainaudit.load.target import INPUT_EXAMPLE, WEIGHTS_ALONE, InputSpec, Kind, Target
from trainaudit.load.torch.capture import ForwardError
from trainaudit.load.torch.checkpoint import read_checkpoint
from trainaudit.load.torch.config_folder import model_of
from trainaudit.load.torch.examples import Example, example_for
from trainaudit.load.torch.from_torch import load_module, load_program
from trainaudit.load.torch.importing import told
from trainaudit.load.torch.prepare import unwrapped
from trainaudit.load.torch.program_file import load_program_file
from trainaudit.load.torch.quiet import aside
from trainaudit.load.torch.resolving import is_model, own_example, resolve

_CAPTURES = {
    "torch.export": "captured with torch.export in training mode",
    "make_fx": "calls recorded with make_fx in training mode",
    "module tree": WEIGHTS_ALONE,
    "program": "the graph of an exported program, in the mode it was exported in",
}
"""How a module became a graph → what reports say about it."""


def open_torch(target: Target) -> Graph:
    """The graph of a target of any kind but ONNX and safetensors."""
    with aside():
        if target.kind is Kind.CHECKPOINT:
            weights, notes = read_checkpoint(target.path)
            origin = Origin(target.path, "torch weights", weights.size, capture=WEIGHTS_ALONE, notes=notes)
            return module_tree(weights.tensors, origin)
        if target.kind is Kind.PROGRAM:
            graph = load_program(load_program_file(target.path), name=target.spec)
            origin = replace(graph.origin, size=os.stat(target.path).st_size, format="pt2")  # noqa: PTH116
            return _placed(replace(graph, origin=replace(origin, capture=_CAPTURES["program"])), target.path)
        if target.kind is Kind.CONFIG:
            return open_config(target.path, target.inputs)
        found = resolve(target)
        return _placed(open_object(found.model, found.example, target.inputs, target.spec), found.file, found.line)


def open_config(folder: str, inputs: Sequence[InputSpec]) -> Graph:
    """The graph of a folder with the config.json of a transformers model."""
    made = model_of(folder)
    example = example_for(made.model, inputs, made.example, folder)
    graph = _captured(made.model, replace(example, note=" ".join(made.notes)), folder)
    return _placed(graph, os.path.join(folder, "config.json"))  # noqa: PTH118


def open_object(model: Any, example: Any, inputs: Sequence[InputSpec], shown: str) -> Graph:
    """The graph of a Module or an ExportedProgram that is there already; `shown` is how messages call it."""
    import torch

    if isinstance(model, torch.export.ExportedProgram):
        graph = load_program(model, name=shown)
        return replace(graph, origin=replace(graph.origin, format="torch", capture=_CAPTURES["program"]))
    if not is_model(model):
        what = f"A value of the type {type(model).__name__} is no model."
        raise TrainauditError("no-module", what, "Give a path, a torch.nn.Module or an ExportedProgram.")
    if isinstance(model, torch.jit.ScriptModule):
        what = f"{shown} is a TorchScript module, whose code is compiled."
        raise TrainauditError("torchscript-module", what, "Audit the module that it was made from.")
    model = unwrapped(model)
    known = own_example(model) if example is None else example
    with aside():
        return _captured(model, example_for(model, inputs, known, shown), shown)


def _captured(model: Any, example: Example, shown: str) -> Graph:
    try:
        with _without_cache(model):
            graph = load_module(model, example.value, name=shown)
    except ForwardError as failed:
        error = failed.__cause__ or failed
        shapes = ", ".join(_shapes(example.value)) or "no input"
        what = f"{shown} could not be run on its example input ({shapes}){told(error)}."
        raise TrainauditError("forward-failed", what, f"Give an input that fits: {INPUT_EXAMPLE}.") from error
    notes = (*((example.note,) if example.note else ()), *graph.origin.notes)
    how = _CAPTURES.get(graph.origin.capture, graph.origin.capture)
    return replace(graph, origin=replace(graph.origin, path="", format="torch", capture=how, notes=notes))


def _shapes(value: Any) -> Iterator[str]:
    from torch import Tensor

    items = value.items() if isinstance(value, dict) else (("", item) for item in value)
    for name, item in items:
        if isinstance(item, Tensor):
            dtype = str(item.dtype).removeprefix("torch.")
            yield str(InputSpec(name, dtype, tuple(item.shape)))


def _placed(graph: Graph, file: str, line: int | None = None) -> Graph:
    """The graph with the file that it is from."""
    return replace(graph, origin=replace(graph.origin, path=file, line=line))


@contextlib.contextmanager
def _without_cache(model: Any) -> Iterator[None]:
    """While a transformers model is captured it keeps no keys and values for the next token, which no training step does."""
    configs = {
        id(part.config): part.config
        for part in model.modules()
        if getattr(getattr(part, "config", None), "use_cache", None) is True
    }
    for config in configs.values():
        config.use_cache = False
    try:
        yield
    finally:
        for config in configs.values():
            config.use_cache = True
