"""The torch module that runs a plan. Values are named as in the file's flat graph, so that instruments can ask for them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from trainaudit.counting import count as counted
from trainaudit.probe.onnx_module import control
from trainaudit.probe.onnx_module.casting import settled
from trainaudit.probe.onnx_module.steps import Block, Plan, Step
from trainaudit.probe.onnx_module.values import Tensor

_DEEPEST_PATH = 32


class OnnxModule(nn.Module):
    """`forward(*inputs)` takes the file's inputs in order and gives a tuple of its outputs.

    For each value whose name is in `watched`, `watch(name, tensor)` is called when it is computed; both cost nothing while `watch` is None.
    Parameters and running statistics are named as in the file where torch allows it (`parameter_names` maps torch's names back). Constants
    stay on the CPU, so that arithmetic on shapes never waits for a device; where one meets a device's tensor, a copy there is kept.
    """

    def __init__(self, plan: Plan, parameters: Mapping[str, Tensor], statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.plan = plan
        self.input_names, self.output_names = plan.inputs, plan.outputs
        self.watch: Callable[[str, Tensor], None] | None = None
        self.watched: frozenset[str] = frozenset()
        self.is_settled = False
        """Whether drawing operators give a fixed number instead, so that two runtimes can be compared."""
        self.parameter_names: dict[str, str] = {}
        self._places: list[tuple[str, nn.Module, str]] = []
        self._copies: dict[tuple[str, torch.device], Tensor] = {}
        for name, tensor in parameters.items():
            self.parameter_names[self._register(name, nn.Parameter(tensor))] = name
        for name, tensor in statistics.items():
            self._register(name, tensor)

    def _register(self, name: str, tensor: Tensor) -> str:
        """Put a tensor under its own dotted name; under a number where torch forbids that name. Gives torch's name."""
        path = name.split(".")
        if not self._is_free(path):
            path = ["renamed", str(len(self._places))]
        holder: nn.Module = self
        for part in path[:-1]:
            if part not in holder._modules:
                holder.add_module(part, nn.Module())
            inner = holder._modules[part]
            assert inner is not None
            holder = inner
        if isinstance(tensor, nn.Parameter):
            holder.register_parameter(path[-1], tensor)
        else:
            holder.register_buffer(path[-1], tensor)
        self._places.append((name, holder, path[-1]))
        return ".".join(path)

    def _is_free(self, path: list[str]) -> bool:
        if len(path) > _DEEPEST_PATH or not all(path) or path[0] == "renamed":
            return False
        holder: nn.Module | None = self
        for part in path[:-1]:
            if holder is not None and part in holder._modules:
                holder = holder._modules[part]
            elif hasattr(holder if holder is not None else nn.Module, part):
                return False
            else:
                holder = None  # from here on the way is new
        return not hasattr(holder if holder is not None else nn.Module, path[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "watch": None, "_copies": {}}

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        """The outputs for these inputs. Raises what torch raises, with a note that names the node."""
        if len(inputs) != len(self.input_names):
            raise TypeError(
                f"the model takes {counted(len(self.input_names), 'input')} ({', '.join(self.input_names)}), not {len(inputs)}"
            )
        values: dict[str, Any] = dict(self.plan.constants)
        for name, holder, attribute in self._places:
            values[name] = getattr(holder, attribute)
        values.update(zip(self.input_names, inputs, strict=True))
        if self.watch is not None:
            for name in self.input_names:
                if name in self.watched:
                    self.watch(name, values[name])
        on_host = all(value.device.type == "cpu" for value in values.values() if isinstance(value, Tensor))
        Run(self, values, on_host).block(self.plan.block)
        return tuple(values[name] for name in self.plan.block.results)


class Run:
    """One forward pass: the values so far, and how many iterations of loops there were."""

    __slots__ = ("is_settled", "iterations", "module", "on_host", "values", "watch", "watched")

    def __init__(self, module: OnnxModule, values: dict[str, Any], on_host: bool) -> None:
        self.module = module
        self.values = values
        self.on_host = on_host
        self.watch = module.watch
        self.watched = module.watched if module.watch is not None else frozenset()
        self.is_settled = module.is_settled
        self.iterations = 0

    def block(self, block: Block) -> list[Any]:
        """Run the steps of a block, and give its results."""
        values, training, watched = self.values, self.module.training, self.watched
        step: Step | None = None
        results: Any
        try:
            for step in block.steps:
                if step.bodies:
                    results = control.RUNNERS[step.op](self, step)
                else:
                    arguments: list[Any] = [values[name] if name else None for name in step.inputs]
                    for place, value in step.fixed:
                        arguments[place] = value
                    for place, reader in step.readers:
                        arguments[place] = reader(arguments[place])
                    if not self.on_host:
                        self._bring_together(arguments, step.inputs)
                    assert step.function is not None
                    made: Any
                    if self.is_settled and step.is_random:
                        made = settled(step.op, arguments, step.keywords)
                    elif step.wants_training:
                        made = step.function(*arguments, **{**step.keywords, "training": training})
                    else:
                        made = step.function(*arguments, **step.keywords)
                    results = made if made.__class__ is tuple else (made,)
                for name, value in zip(step.outputs, results, strict=False):
                    values[name] = value
                if watched and not watched.isdisjoint(step.outputs):
                    self._show(step)
                for name in step.forget:
                    values.pop(name, None)
        except Exception as error:
            if step is not None and not hasattr(error, "__notes__"):
                error.add_note(f"in the {step.op} node {step.name!r}")
            raise
        return [values[name] if name else None for name in block.results]

    def _show(self, step: Step) -> None:
        assert self.watch is not None
        for name in step.outputs:
            if name in self.watched:
                self.watch(name, self.values[name])

    def _bring_together(self, arguments: list[Any], names: tuple[str, ...]) -> None:
        """Copy what is on the CPU to the device that another argument is on."""
        tensors = [value for value in arguments if isinstance(value, Tensor)]
        device = next((value.device for value in tensors if value.device.type != "cpu"), None)
        if device is None:
            return
        for place, value in enumerate(arguments):
            if not isinstance(value, Tensor) or value.device.type != "cpu":
                continue
            name = names[place]
            copy = self.module._copies.get((name, device))
            if copy is None:
                copy = value.to(device)
                if name in self.module.plan.constants:
                    self.module._copies[name, device] = copy
            arguments[place] = copy
