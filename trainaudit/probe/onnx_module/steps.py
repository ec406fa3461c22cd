"""What is computed, in which order, and what may be forgotten when: the plan that `planner` makes and `module` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trainaudit.probe.onnx_module.binding import Reader
from trainaudit.probe.onnx_module.values import Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """One call. `fixed` are arguments that were read on the host beforehand, `readers` read the others there; `forget` are values that
    nothing reads after it. Control flow has `bodies` instead of a function, and the node's own inputs."""

    op: str
    name: str
    function: Callable[..., Any] | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    fixed: tuple[tuple[int, Any], ...] = ()
    readers: tuple[tuple[int, Reader], ...] = ()
    wants_training: bool = False
    is_random: bool = False
    bodies: tuple[Block, ...] = ()
    entries: tuple[str, ...] = ()
    """Of a loop: the names of its body's inputs."""
    forget: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """`reads` are the values from outside that the steps or the results need."""

    steps: tuple[Step, ...]
    results: tuple[str, ...]
    reads: frozenset[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole model; `statistics` are the tensors that BatchNormalization updates (name → the tensor of the file that it starts as),
    `constants` every other stored or computed value that no training changes and `stored` the names of tensors that are read at all."""

    block: Block
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stored: frozenset[str]
    constants: Mapping[str, Tensor]
    statistics: Mapping[str, str]

    def __deepcopy__(self, _memo: dict[int, Any]) -> Plan:
        return self  # nothing in it changes


def with_forgetting(steps: list[Step], results: tuple[str, ...]) -> tuple[Step, ...]:
    """Steps that forget what they computed after its last reader."""
    last: dict[str, int] = {}
    for index, step in enumerate(steps):
        for name in step.outputs:
            last[name] = index
        for name in (*step.inputs, *(name for body in step.bodies for name in body.reads)):
            if name in last:
                last[name] = index
    forget: dict[int, list[str]] = {}
    for name, index in last.items():
        if name and name not in results:
            forget.setdefault(index, []).append(name)
    return tuple(replace(step, forget=tuple(forget.get(index, ()))) for index, step in enumerate(steps))
