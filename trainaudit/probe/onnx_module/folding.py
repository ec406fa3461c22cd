"""Running what gives the same every time, once: shapes and tables that the file computes from constants alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from trainaudit.probe.onnx_module.steps import Block, Step, with_forgetting
from trainaudit.probe.onnx_module.values import Tensor

_LARGEST_FOLDED = 1 << 22
"""Elements of a result that is kept: 16 MiB of float32."""


def fold(block: Block, constants: dict[str, Tensor]) -> Block:
    """The block without the steps that give the same every time; their results are constants. Host arguments are read where they are known."""
    steps: list[Step] = []
    for step in block.steps:
        if step.bodies:
            steps.append(replace(step, bodies=tuple(fold(body, constants) for body in step.bodies)))
            continue
        known = all(not name or name in constants for name in step.inputs)
        if known and not step.is_random and not step.wants_training and _computed(step, constants):
            continue
        fixed, readers = [], []
        for place, reader in step.readers:
            try:
                fixed.append((place, reader(constants[step.inputs[place]])))
            except (KeyError, RuntimeError):  # not known yet, or no such number: said when it is run
                readers.append((place, reader))
        steps.append(replace(step, fixed=tuple(fixed), readers=tuple(readers)))
    return Block(with_forgetting(steps, block.results), block.results, block.reads)


def _computed(step: Step, constants: dict[str, Tensor]) -> bool:
    """Whether the step could be run here and now, on constants alone."""
    assert step.function is not None
    arguments: list[Any] = [constants[name] if name else None for name in step.inputs]
    try:
        for place, reader in step.readers:
            arguments[place] = reader(arguments[place])
        with torch.no_grad():
            result = step.function(*arguments, **step.keywords)
    except Exception:  # a damaged file's, of any kind: said when it is run, with the node's name
        return False
    results = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(value, Tensor) and value.numel() <= _LARGEST_FOLDED for value in results):
        return False
    for name, value in zip(step.outputs, results, strict=False):
        if name:
            constants[name] = value
    return True
