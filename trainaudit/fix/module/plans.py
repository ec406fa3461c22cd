"""Layers of a module that was made of an ONNX file are steps of its plan: another step in the place of one. torch is imported at module level: import
this file inside functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from trainaudit.fix.module.edits import Computing, Edit
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Graph, Layer
from trainaudit.probe.copies import fresh
from trainaudit.probe.onnx_module.module import OnnxModule
from trainaudit.probe.onnx_module.steps import Step, with_forgetting
from trainaudit.probe.stepping import precise
from trainaudit.probe.trainee import Trainee


def shapes(trainee: Trainee, graph: Graph, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of what the layers of these names give. Raises `NotApplicableError` for one that the plan does not compute at its top."""
    layers = {layer.name: layer for layer in graph.layers}
    wanted: dict[str, str] = {}
    for name in names:
        layer = layers.get(name)
        if layer is None:
            raise NotApplicableError(f"the graph has no layer {name}")
        wanted[_output(layer)] = name
        _place(trainee.model, layer)
    found: dict[str, tuple[int, ...]] = {}

    def look(value: str, tensor: Any) -> None:
        if isinstance(tensor, torch.Tensor):
            found[wanted[value]] = tuple(tensor.shape)

    with fresh(trainee, 0) as model, torch.no_grad(), precise(trainee):
        model.watched, model.watch = frozenset(wanted), look
        trainee.compute(model, trainee.train[0])
    missing = [name for name in names if name not in found]
    if missing:
        raise NotApplicableError(f"the step that computes {missing[0]} is not found with certainty")
    return found


def _output(layer: Layer) -> str:
    if not layer.inputs or not layer.outputs:
        raise NotApplicableError(f"{layer.name} reads nothing that is computed")
    return layer.outputs[0]


def _place(model: OnnxModule, layer: Layer) -> int:
    """The index of the step that gives the layer's result."""
    known = {name for step in model.plan.block.steps for name in step.outputs} | set(model.plan.inputs)
    found = [index for index, step in enumerate(model.plan.block.steps) if _output(layer) in step.outputs[:1]]
    if len(found) != 1 or layer.inputs[0] not in known or model.plan.block.steps[found[0]].function is None:
        raise NotApplicableError(f"the step that computes {layer.name} is not found with certainty")
    return found[0]


def put(model: OnnxModule, layer: Layer, edit: Edit, names: dict[str, str]) -> None:
    """Let the layer give what the edit makes of it. `names` are those that the edit's tensors have in the module."""
    index, block = _place(model, layer), model.plan.block
    steps = list(block.steps)
    steps[index] = _edited(steps[index], layer.inputs[edit.place], edit, names)
    model.plan = replace(model.plan, block=replace(block, steps=with_forgetting(steps, block.results)))


def _edited(step: Step, operand: str, edit: Edit, names: dict[str, str]) -> Step:
    """The step behind the layer's operand and the edit's tensors, which it reads first."""
    own, shift = list(names), 1 + len(names)
    function, wants_training = step.function, step.wants_training
    reads = [place for place, name in enumerate(step.inputs) if name == operand]
    assert function is not None

    def compute(x: Any, *arguments: Any, training: bool, **keywords: Any) -> Any:
        rest: list[Any] = []

        def run(changed: Any) -> Any:
            given = [changed if place in reads else value for place, value in enumerate(arguments[len(own) :])]
            mode = {"training": training} if wants_training else {}
            results = function(*given, **keywords, **mode)
            if isinstance(results, tuple):
                rest[:] = results[1:]
                return results[0]
            return results

        made = edit.compute(Computing(x, run, training, dict(zip(own, arguments, strict=False))))
        return (made, *rest) if rest else made

    return replace(
        step,
        function=compute,
        inputs=(operand, *names.values(), *step.inputs),
        fixed=tuple((place + shift, value) for place, value in step.fixed),
        readers=tuple((place + shift, reader) for place, reader in step.readers),
        wants_training=True,
    )


def with_epsilon(model: OnnxModule, layer: Layer, amount: float) -> None:
    """The ε of a normalization that is one node."""
    index, block = _place(model, layer), model.plan.block
    steps = list(block.steps)
    if layer.nodes != 1 or "epsilon" not in steps[index].keywords:
        raise NotApplicableError(f"the ε of {layer.name} is not an attribute of one node")
    steps[index] = replace(steps[index], keywords={**steps[index].keywords, "epsilon": amount})
    model.plan = replace(model.plan, block=replace(block, steps=tuple(steps)))
