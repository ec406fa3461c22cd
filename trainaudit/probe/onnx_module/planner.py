"""From the flat graph of a file to the steps that compute it.

`RawGraph` has inlined every body of If, Loop and Scan under a scope of its own; here each becomes a `Block` again. Names are those of the
flat graph, which are unique, so that all blocks work on one dictionary of values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from trainaudit.errors import TrainauditError
from trainaudit.load.raw import RawGraph, RawNode
from trainaudit.load.tensors import shown
from trainaudit.probe.onnx_module.binding import keywords_of, signature_of, to_tensor
from trainaudit.probe.onnx_module.casting import RANDOM
from trainaudit.probe.onnx_module.folding import fold
from trainaudit.probe.onnx_module.steps import Block, Plan, Step, with_forgetting
from trainaudit.probe.onnx_module.table import CONTROL_FLOW, TABLE
from trainaudit.probe.onnx_module.values import NAMED_TYPES, Tensor, UnsupportedError

_STATISTICS = (3, 4)
"""Inputs of a BatchNormalization that training updates."""

_TYPE_GIVING = {"CastLike": (1,), "QuantizeLinear": (2,), "FakeQuantize": (2,)}
"""Inputs whose type is the result's."""


def make_plan(raw: RawGraph, trained: frozenset[str], dropouts: Mapping[str, str]) -> Plan:
    """The plan of `raw`; `trained` are the tensors that are parameters, `dropouts` the results of dropouts that are written out in several nodes,
    with the value that each passes on in evaluation. Raises `TrainauditError` that names every unsupported operator."""
    planner = _Planner(raw, trained, dropouts)
    for name in (*raw.inputs, *raw.outputs):
        if planner.is_odd(name):
            planner.refuse(f"{raw.dtypes[name]} in {shown(name)}")
    block = planner.block(tuple(raw.outputs), "")
    if planner.unsupported:
        listed = "; ".join(f"{what} ({count}×)" if count > 1 else what for what, count in planner.unsupported.items())
        raise TrainauditError(
            "unsupported-operator",
            f"{raw.origin.path} cannot be turned into a torch module: {listed}.",
            "Probe the PyTorch model itself, or with --forward-only.",
        )
    stored = frozenset(name for name in planner.read if name in raw.tensors)
    constants = {name: planner.tensor(name) for name in stored - trained - planner.statistics.keys()}
    block = fold(block, constants)
    return Plan(block, tuple(raw.inputs), tuple(raw.outputs), stored, constants, planner.statistics)


class _Planner:
    """Walks back from what is wanted. `read` collects every name that some step reads."""

    def __init__(self, raw: RawGraph, trained: frozenset[str], dropouts: Mapping[str, str]) -> None:
        self.raw = raw
        self.dropouts = dropouts
        self.trained = trained
        self.producer = {name: index for index, node in enumerate(raw.nodes) for name in node.outputs if name}
        self.unsupported: dict[str, int] = {}
        self.read: set[str] = set()
        self.statistics: dict[str, str] = {}
        self.wanted = {name for node in raw.nodes for name in node.inputs} | set(raw.outputs)
        self.alias = _aliases(raw)
        self.uses = Counter(self.alias.get(name, name) for node in raw.nodes for name in node.inputs)

    def tensor(self, name: str) -> Tensor:
        try:
            return to_tensor(self.raw.tensors[name])
        except UnsupportedError as error:
            raise TrainauditError(
                "unsupported-tensor",
                f"The tensor {shown(name)} {error}, which torch cannot.",
                "Probe the PyTorch model itself.",
            ) from error

    def block(self, results: tuple[str, ...], scope: str) -> Block:
        """The steps of one scope that `results` need."""
        steps: dict[int, Step] = {}
        reads: set[str] = set()
        waiting = [self.alias.get(name, name) for name in results]
        results = tuple(waiting)
        seen: set[str] = set()
        entered = self._entry_outputs(scope)
        while waiting:
            name = waiting.pop()
            if not name or name in seen or name in entered:
                continue
            seen.add(name)
            self.read.add(name)
            index = self.producer.get(name)
            if index is None or self.raw.nodes[index].scope != scope:
                reads.add(name)
                continue
            if index not in steps:
                steps[index] = self._step(self.raw.nodes[index])
                waiting += steps[index].inputs
                for body in steps[index].bodies:
                    waiting += body.reads
        return Block(with_forgetting([steps[index] for index in sorted(steps)], results), results, frozenset(reads))

    def _entry_outputs(self, scope: str) -> set[str]:
        if not scope:
            return set()
        return {
            name for node in self.raw.nodes if node.op == "LoopEntry" and node.scope == scope for name in node.outputs
        }

    def _step(self, node: RawNode) -> Step:
        inputs = [self.alias.get(name, name) for name in node.inputs]
        outputs = [name if name in self.wanted else "" for name in node.outputs]
        while outputs and not outputs[-1]:
            outputs.pop()
        label = node.name or next((name for name in node.outputs if name), "")
        if not node.domain and node.op in CONTROL_FLOW:
            return self._control(node, label, inputs, tuple(node.outputs))
        op, domain, attributes = node.op, node.domain, node.attributes
        if op == "DequantizeLinear" and not domain:
            quantizer = self._quantizer(node)
            if quantizer is not None:
                op, attributes = "FakeQuantize", quantizer.attributes
                inputs = [self.alias.get(name, name) for name in quantizer.inputs]
        function = TABLE.get(op) if not domain else None
        if function is None:
            self.refuse(f"{domain}.{op}" if domain else op)
            return Step(op, label, None, tuple(inputs), tuple(outputs))
        given = {"opset": self.raw.opset, "outputs": max(len(outputs), 1), "training": False}
        if op == "BatchNormalization":
            inputs, given["tracked"] = self._tracked(inputs)
        try:
            keywords = keywords_of(function, attributes, tuple(inputs), given)
        except UnsupportedError as error:
            self.refuse(f"{op} that {error}")
            return Step(op, label, None, tuple(inputs), tuple(outputs))
        if any(place < len(inputs) and self.is_odd(inputs[place]) for place in _TYPE_GIVING.get(op, ())):
            self.refuse(f"{op} to a type that torch lacks")
        signature = signature_of(function)
        if outputs and outputs[0] in self.dropouts and not signature.readers:
            function, inputs = partial(_unless_evaluating, function), [self.dropouts[outputs[0]], *inputs]
            return Step(op, label, function, tuple(inputs), tuple(outputs), keywords, wants_training=True)
        readers = tuple((place, reader) for place, reader in signature.readers if place < len(inputs) and inputs[place])
        return Step(
            op, label, function, tuple(inputs), tuple(outputs), keywords, (), readers, "training" in signature.keywords,
            op in RANDOM,
        )  # fmt: skip

    def is_odd(self, name: str) -> bool:
        """Whether the file declares a type that torch cannot compute with: text, numbers of less than a byte."""
        stored = self.raw.tensors.get(name)
        kind = stored.dtype if stored is not None else self.raw.dtypes.get(name)
        return kind is not None and kind not in NAMED_TYPES

    def refuse(self, what: str) -> None:
        self.unsupported[what] = self.unsupported.get(what, 0) + 1

    def _quantizer(self, node: RawNode) -> RawNode | None:
        """The QuantizeLinear that this DequantizeLinear undoes, or None."""
        index = self.producer.get(next(iter(node.inputs), ""))
        quantizer = self.raw.nodes[index] if index is not None else None
        if quantizer is None or quantizer.op != "QuantizeLinear" or quantizer.domain:
            return None
        same = {"axis": 1, "block_size": 0}
        alike = all(
            quantizer.attributes.get(name, default) == node.attributes.get(name, default)
            for name, default in same.items()
        )
        return quantizer if alike and self._equal(quantizer.inputs[1:], node.inputs[1:]) else None

    def _equal(self, left: list[str], right: list[str]) -> bool:
        """Whether scales and zero points are the same ones."""
        if len(left) != len(right):
            return False
        for one, other in zip(left, right, strict=True):
            first, second = self.alias.get(one, one), self.alias.get(other, other)
            if first == second:
                continue
            if first not in self.raw.tensors or second not in self.raw.tensors:
                return False
            if not torch.equal(self.tensor(first), self.tensor(second)):
                return False
        return True

    def _tracked(self, inputs: list[str]) -> tuple[list[str], bool]:
        """The inputs of a BatchNormalization with running statistics of its own (exporters merge equal tensors, so that fresh layers share one
        tensor of zeros and one of ones), and whether it has any that could be updated."""
        if len(inputs) != 5 or not all(inputs[place] in self.raw.tensors for place in _STATISTICS):
            return inputs, False
        inputs = list(inputs)
        for place in _STATISTICS:
            name, number = inputs[place], 1
            while self.uses[name] > 1 or name in self.statistics or name in self.trained:
                name, number = f"{inputs[place]}_{number}", number + 1
            self.statistics[name] = inputs[place]
            inputs[place] = name
        return inputs, True

    def _control(self, node: RawNode, label: str, inputs: list[str], outputs: tuple[str, ...]) -> Step:
        count = len(outputs)
        if node.op == "If":
            if len(inputs) != 1 + 2 * count:
                self.refuse("If without a condition")
                return Step("If", label, None, tuple(inputs), outputs)
            bodies = tuple(
                self.block(tuple(inputs[start : start + count]), self._scope_of(inputs[start : start + count], node))
                for start in (1, 1 + count)
            )
            return Step("If", label, None, (inputs[0],), outputs, bodies=bodies)
        own = inputs[: len(inputs) - count] if node.op == "SequenceMap" else []
        results = tuple(inputs[len(own) :])
        scope = self._scope_of(list(results), node)
        entries = [other for other in self.raw.nodes if other.op == "LoopEntry" and other.scope == scope]
        if scope == node.scope or len(entries) != 1:
            self.refuse(f"{node.attributes.get('control', node.op)} whose body cannot be told apart")
            return Step(node.op, label, None, (), outputs)
        entry = entries[0]
        inputs = [self.alias.get(name, name) for name in entry.inputs]
        kind = str(node.attributes.get("control", node.op))
        keywords: dict[str, Any] = {name: value for name, value in node.attributes.items() if name != "control"}
        if kind == "Loop":
            scans = node.inputs[1 + max(len(entry.inputs) - 2, 0) :]
            keywords["empty"] = [
                (self.raw.shapes.get(name, ()), self.raw.dtypes.get(name, "float32")) for name in scans
            ]
        if kind == "Scan" and self.raw.opset < 9:
            keywords["is_batched"] = True
        return Step(
            kind,
            label,
            None,
            tuple(inputs),
            outputs,
            keywords,
            bodies=(self.block(results, scope),),
            entries=tuple(entry.outputs),
        )

    def _scope_of(self, results: list[str], node: RawNode) -> str:
        """The scope of the body that gives these results: the one of a result that is computed in it; else the node's own."""
        for name in results:
            index = self.producer.get(name)
            if index is not None and len(self.raw.nodes[index].scope) > len(node.scope):
                return self.raw.nodes[index].scope
        return node.scope


def _unless_evaluating(
    function: Callable[..., Any], passed: Any, *arguments: Any, training: bool, **keywords: Any
) -> Any:
    """The last node of a dropout that is written out: in evaluation it passes on what the first node was given."""
    return function(*arguments, **keywords) if training else passed


def _aliases(raw: RawGraph) -> dict[str, str]:
    """Names that an Identity gives to a stored tensor: exporters spell merged weights so."""
    alias: dict[str, str] = {}
    for node in raw.nodes:
        if node.op == "Identity" and not node.domain and len(node.inputs) == len(node.outputs) == 1:
            source = alias.get(node.inputs[0], node.inputs[0])
            if source in raw.tensors:
                alias[node.outputs[0]] = source
    return alias
