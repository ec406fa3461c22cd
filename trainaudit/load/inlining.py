"""Inlining functions and the bodies of control flow under unique names.

Imports the rest of load. Everything here is bounded: a few bytes of functions that call functions can stand for more nodes than
there is memory ("billion laughs"), so all work that inlining multiplies is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.frozen import slotted
from trainaudit.ir.graph import Shape, TensorData
from trainaudit.load.bodies import MOST_NODES, Body, constant_data, too_many_nodes
from trainaudit.load.ordering import check_definitions
from trainaudit.load.raw import RawAttribute, RawNode
from trainaudit.load.tensors import shown

_MOST_WORK = 20_000_000
"""Names, attributes and types that inlining may copy."""

_MOST_CHARACTERS = 256 << 20
"""Characters of names that inlining may make."""

_DEEPEST = 100

FunctionKey = tuple[str, str, str]
"""(domain, name, overload)."""

Attributes = Mapping[str, RawAttribute]


@slotted
class Flat:
    """What flattening fills: the fields of `RawGraph` that depend on it."""

    nodes: list[RawNode] = field(default_factory=list)
    tensors: dict[str, TensorData] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    node_count: int = 0


@slotted
class _Place:
    """Where a body is being inlined: how its names and those around it are called now, and what its function was called with."""

    names: list[dict[str, str]]
    """Innermost first; a name that none of them knows is the main graph's."""
    scope: str
    functions: tuple[str, ...]
    active: tuple[FunctionKey, ...]
    passed: Attributes
    prefix: str
    metadata: Mapping[str, str]


class Inliner:
    """Carries what is shared by every body that is inlined: the result, the taken names and the budgets."""

    __slots__ = ("characters", "flat", "functions", "numbers", "taken", "visited", "work")

    def __init__(self, flat: Flat, functions: dict[FunctionKey, Body], taken: set[str]) -> None:
        self.flat = flat
        self.functions = functions
        self.taken = taken
        self.numbers: dict[str, int] = {}
        self.work = self.characters = self.visited = 0

    def inline_main(self, body: Body) -> None:
        place = _Place([], "", (), (), {}, "", {})
        self._inline_nodes(body, place, 0)

    def _inline_nodes(self, body: Body, place: _Place, depth: int) -> None:
        if depth > _DEEPEST:
            raise TrainauditError("too-deep", f"Functions and control flow are nested more than {_DEEPEST} deep.")
        emit = self.flat.nodes.append
        main = not place.names
        for index, node in enumerate(body.nodes):
            self.visited += 1
            if self.visited > MOST_NODES:
                raise too_many_nodes()
            attributes = node.attributes
            references = body.references.get(index)
            if references:
                attributes = dict(attributes)
                for name, source in references.items():
                    value = place.passed.get(source)
                    if value is not None:
                        attributes[name] = value
            bodies = body.bodies.get(index)
            if self.functions:
                key = (node.domain, node.op, body.overloads.get(index, ""))
                function = self.functions.get(key)
                if function is not None:
                    self._inline_call(node, attributes, key, function, place, depth)
                    continue
            if bodies:
                self._inline_bodies(node, attributes, bodies, place, depth)
                continue
            if main:
                emit(node)
                continue
            self._spend(len(node.inputs) + len(node.outputs) + len(attributes))
            outputs = [self._resolve(name, place) for name in node.outputs]
            if references and node.op == "Constant" and not node.domain and len(outputs) == 1:
                data = constant_data(attributes)
                if data is not None:
                    self.flat.tensors[outputs[0]] = data
                    self.flat.constants.add(outputs[0])
                    continue
            emit(
                RawNode(
                    node.op, node.domain, self._node_name(node, place), [self._resolve(name, place) for name in node.inputs],
                    outputs, dict(attributes) if attributes is node.attributes else attributes,
                    node.metadata or place.metadata, place.scope, place.functions,
                )
            )  # fmt: skip

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > _MOST_WORK:
            raise TrainauditError(
                "too-large",
                "The model grows past all bounds when its functions and control flow are inlined.",
                "Export it without nested functions.",
            )

    def _made(self, name: str) -> str:
        self.characters += len(name)
        if self.characters > _MOST_CHARACTERS:
            self._spend(_MOST_WORK + 1)
        return name

    def _resolve(self, name: str, place: _Place) -> str:
        if name:
            for names in place.names:
                found = names.get(name)
                if found is not None:
                    return found
        return name

    def _node_name(self, node: RawNode, place: _Place) -> str:
        if not place.prefix or not node.name:
            return node.name
        return self._made(f"{place.prefix}/{node.name}")

    def _unique(self, name: str, fallback: str) -> str:
        """`name` where it is free, else `fallback` with a number as needed; taken from now on."""
        taken = self.taken
        if name in taken:
            name = fallback
            if name in taken:
                number = self.numbers.get(name, 1)
                while (candidate := f"{name}_{number}") in taken:
                    number += 1
                self.numbers[name] = number + 1
                name = candidate
        taken.add(self._made(name))
        return name

    def _define(self, body: Body, names: dict[str, str], prefix: str, fallback: str) -> None:
        """Name everything that `body` defines (unless `names` has it), and take over its tensors and types. Names get `prefix`
        always and `fallback` where they would shadow another."""
        check_definitions(body)
        self._spend(len(body.tensors) + len(body.shapes) + len(body.dtypes) + len(body.nodes))
        lead = f"{prefix}/" if prefix else ""

        def define(name: str) -> None:
            if name and name not in names:
                names[name] = self._unique(lead + name, f"{fallback}/{name}")

        for name in body.inputs:
            define(name)
        for name, data in body.tensors.items():
            define(name)
            self.flat.tensors[names[name]] = data
            if name in body.constants:
                self.flat.constants.add(names[name])
        for node in body.nodes:
            for name in node.outputs:
                define(name)
        for name, shape in body.shapes.items():
            if name in names:
                self.flat.shapes.setdefault(names[name], shape)
        for name, dtype in body.dtypes.items():
            if name in names:
                self.flat.dtypes.setdefault(names[name], dtype)

    # -- functions

    def _inline_call(
        self, node: RawNode, attributes: Attributes, key: FunctionKey, function: Body, place: _Place, depth: int
    ) -> None:
        if key in place.active:
            raise TrainauditError(
                "recursive-function",
                f"The function {shown(node.op)} calls itself.",
                "ONNX functions may not be recursive.",
            )
        if len(node.inputs) > len(function.inputs) or len(node.outputs) > len(function.outputs):
            raise TrainauditError(
                "invalid-function-call",
                f"A call of the function {shown(node.op)} has {counted(len(node.inputs), 'input')} and {counted(len(node.outputs), 'output')}; "
                f"the function has {len(function.inputs)} and {len(function.outputs)}.",
                "Export the model again.",
            )
        self.flat.node_count += function.node_count - 1
        self._spend(len(function.inputs) + len(function.outputs) + len(attributes))
        prefix = self._call_prefix(node, place)
        names: dict[str, str] = {}
        for index, name in enumerate(function.inputs):
            names[name] = self._resolve(node.inputs[index], place) if index < len(node.inputs) else ""
        results = [self._resolve(name, place) for name in node.outputs]
        copies: list[tuple[str, str]] = []
        for name, result in zip(function.outputs, results, strict=False):
            if not result:
                continue
            if name in names:  # an input passed through, or a value given out twice
                copies.append((name, result))
            else:
                names[name] = result
        inner_attributes = {name: value for name, value in function.attributes.items() if value is not None}
        inner_attributes.update((name, value) for name, value in attributes.items() if name in function.attributes)
        inner = _Place(
            [names], place.scope, (*place.functions, node.op), (*place.active, key), inner_attributes, prefix,
            node.metadata or place.metadata,
        )  # fmt: skip
        self._define(function, names, prefix, prefix)
        self._inline_nodes(function, inner, depth + 1)
        for name, result in copies:
            source = names[name]
            if source == result:
                continue
            self.flat.nodes.append(
                RawNode("Identity", "", prefix, [source], [result], {}, inner.metadata, place.scope, inner.functions)
            )

    def _call_prefix(self, node: RawNode, place: _Place) -> str:
        name = node.name or next((name for name in node.outputs if name), "") or node.op
        return self._made(f"{place.prefix}/{name}") if place.prefix else name

    # -- control flow

    def _inline_bodies(
        self, node: RawNode, attributes: Attributes, bodies: dict[str, Body], place: _Place, depth: int
    ) -> None:
        """Inline a node that holds graphs. What is not If, Loop or Scan stays as it is, reads its bodies' results besides, and is
        taken to pass its inputs to all of them: too many edges rather than weights that nobody looks at."""
        inputs = [self._resolve(name, place) for name in node.inputs]
        outputs = [self._resolve(name, place) for name in node.outputs]
        name = self._node_name(node, place)
        step = node.name or next((name for name in node.outputs if name), node.op)
        metadata = node.metadata or place.metadata
        op = node.op if not node.domain else ""
        read = inputs
        if op == "If":
            read = inputs[:1]
            if set(bodies) != {"then_branch", "else_branch"}:
                raise _invalid_control(node, "has not a then_branch and an else_branch")
            bodies = {branch: bodies[branch] for branch in ("then_branch", "else_branch")}
        elif op in ("Loop", "Scan"):
            read = []
            if set(bodies) != {"body"}:
                raise _invalid_control(node, "has no body")
            if op == "Scan" and len(inputs) == len(bodies["body"].inputs) + 1:
                inputs = inputs[1:]  # opset 8: sequence_lens first
            if len(inputs) > len(bodies["body"].inputs):
                raise _invalid_control(
                    node, f"passes {counted(len(inputs), 'value')} to a body that takes {len(bodies['body'].inputs)}"
                )
        for key, body in bodies.items():
            inner = self._enter(body, place, f"{step}/{key}")
            if op == "If":
                if len(body.outputs) < len(outputs):
                    raise _invalid_control(node, f"gives {len(outputs)} results, its {key} {len(body.outputs)}")
            elif body.inputs:
                entries = [self._resolve(entry, inner) for entry in body.inputs if entry not in body.tensors]
                self._emit("LoopEntry", "", name, inputs, entries, {**attributes, "control": node.op}, metadata, inner)
            self._inline_nodes(body, inner, depth + 1)
            results = body.outputs[: len(outputs)] if op == "If" else body.outputs
            read = read + [self._resolve(result, inner) for result in results]
        if op in ("Loop", "Scan"):
            attributes = {**attributes, "control": node.op}
            self._emit("LoopExit", "", name, read, outputs, attributes, metadata, place)
        else:
            self._emit(node.op, node.domain, name, read, outputs, attributes, metadata, place)

    def _enter(self, body: Body, place: _Place, step: str) -> _Place:
        """The place of a body of control flow: its own names, then all that it can see around it."""
        names: dict[str, str] = {}
        if place.prefix and not place.scope.startswith(f"{place.prefix}/"):
            step = f"{place.prefix}/{step}"
        scope = self._made(f"{place.scope}/{step}" if place.scope else step)
        self._define(body, names, place.prefix, scope)
        return _Place(
            [names, *place.names], scope, place.functions, place.active, place.passed, place.prefix, place.metadata
        )

    def _emit(
        self, op: str, domain: str, name: str, inputs: list[str], outputs: list[str], attributes: Attributes,
        metadata: Mapping[str, str], place: _Place,
    ) -> None:  # fmt: skip
        self._spend(len(inputs) + len(outputs) + len(attributes))
        self.flat.nodes.append(
            RawNode(op, domain, name, inputs, outputs, attributes, metadata, place.scope, place.functions)
        )


def _invalid_control(node: RawNode, what: str) -> TrainauditError:
    label = shown(node.name or next(iter(node.outputs), ""))
    return TrainauditError("invalid-control-flow", f"The {node.op} node {label} {what}.", "Export the model again.")
