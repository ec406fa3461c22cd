"""The module of a target, with what it is called with. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.load.target import DTYPES, InputSpec, Kind, Target
from trainaudit.load.torch.examples import example_for
from trainaudit.load.torch.importing import shown_file
from trainaudit.load.torch.prepare import Example as Call
from trainaudit.load.torch.prepare import materialized, refuse_quantized, unwrapped
from trainaudit.probe.synthetic import Example, example_of_graph
from trainaudit.probe.user_objects import shown_name


@frozen
class Opened:
    """`model` is a torch.nn.Module; `example` what the user or the module itself gives to call it with, None where nothing does; `shown` how
    messages call it. `conversion` is the `onnx_module.Converted` of an ONNX file."""

    model: Any
    shown: str
    example: Any = None
    target: Target | None = None
    notes: tuple[str, ...] = ()
    conversion: Any = None


def open_model(target: Target) -> Opened:
    """The module that a target stands for. Raises `TrainauditError` for weights alone, which nothing could run."""
    kind = target.kind
    if kind is Kind.ONNX:
        from trainaudit.probe.onnx_module import convert

        converted = convert(target.path)
        return Opened(converted.module, shown_file(target.spec), target=target, conversion=converted)
    if kind is Kind.CONFIG:
        from trainaudit.load.torch.config_folder import model_of

        made = model_of(target.path)
        return Opened(made.model, shown_file(target.path), made.example, target, made.notes)
    if kind is Kind.PROGRAM:
        from trainaudit.load.torch.program_file import load_program_file

        return of_module(load_program_file(target.path), None, shown_file(target.spec), target)
    if kind is Kind.PYTHON:
        from trainaudit.load.torch.resolving import resolve

        found = resolve(target)
        return of_module(found.model, found.example, shown_name(target.spec), target)
    what = f"{target.spec} holds weights without the code that runs them, so that it cannot be probed."
    raise TrainauditError("weights-alone", what, "Name the model: pkg.mod:attr, path/file.py:attr or an ONNX file.")


def of_module(model: Any, example: Any, shown: str, target: Target | None = None) -> Opened:
    """A Module or ExportedProgram that is there already."""
    import torch

    from trainaudit.load.torch.resolving import own_example

    notes: tuple[str, ...] = ()
    if isinstance(model, torch.export.ExportedProgram):
        example = example if example is not None else _example_of_program(model)
        model = model.module()
        for name in ("train", "eval"):  # they refuse; an exported graph has its mode in its calls
            model.__dict__.pop(name, None)
        notes = ("The exported program is trained in the mode that it was exported in.",)
    if isinstance(model, torch.jit.ScriptModule):
        what = f"{shown} is a TorchScript module, whose code is compiled."
        raise TrainauditError("torchscript-module", what, "Probe the module that it was made from.")
    if not isinstance(model, torch.nn.Module):
        what = f"A value of the type {type(model).__name__} is no model."
        raise TrainauditError("no-module", what, "Give a path, a torch.nn.Module or an ExportedProgram.")
    model = unwrapped(model)
    refuse_quantized(model, shown)
    return Opened(model, shown, own_example(model) if example is None else example, target, notes)


def _example_of_program(program: Any) -> Any:
    args, kwargs = program.example_inputs or ((), {})
    return dict(kwargs) if kwargs and not args else tuple(args)


def example_inputs(opened: Opened, graph: Graph | None) -> Example:
    """What the model is called with: as given, as the ONNX file declares it, as the module carries it, or inferred from its first layer.

    Raises `TrainauditError` that says which inputs are to be given.
    """
    specs = opened.target.inputs if opened.target is not None else ()
    if opened.conversion is not None and not specs:
        if graph is None:
            from trainaudit.load.opening import open_target

            assert opened.target is not None
            graph = open_target(opened.target)
        return example_of_graph(graph)
    value = example_for(opened.model, specs, opened.example, opened.shown).value
    return Example(kwargs=dict(value)) if isinstance(value, Mapping) else Example(tuple(value))


def with_shapes(opened: Opened, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The model, or a copy of it whose lazy parameters have got their shapes."""
    return materialized(opened.model, Call(args, dict(kwargs)), training=True)


def input_spec(name: str, value: Any) -> InputSpec | None:
    """The declaration of one input; None for what is no tensor with elements, or of a type that no declaration has."""
    import torch

    if not isinstance(value, torch.Tensor) or not value.numel():
        return None
    dtype = str(value.dtype).removeprefix("torch.")
    return InputSpec(name, dtype, tuple(value.shape)) if dtype in DTYPES else None
