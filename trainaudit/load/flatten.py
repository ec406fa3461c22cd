"""From bodies to one flat list of nodes: functions and control flow are inlined, names made unique, nodes sorted.

Imports the rest of load. Everything here is bounded: a few bytes of functions that call functions can stand for more nodes than
there is memory ("billion laughs"), so all work that inlining multiplies is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Shape, TensorData
from trainaudit.load.bodies import MOST_NODES, Body, constant_data, too_many_nodes
from trainaudit.load.raw import RawAttribute, RawNode
from trainaudit.load.tensors import shown

_MOST_WORK = 20_000_000
"""Names, attributes and types that inlining may copy."""

_MOST_CHARACTERS = 256 << 20
"""Characters of names that inlining may make."""

_DEEPEST = 100

FunctionKey = tuple[str, str, str]
"""(domain, name, overload)."""

Attributes = dict[str, RawAttribute]


@dataclass(slots=True)
class Flat:
    """What flattening fills: the fields of `RawGraph` that depend on it."""

    nodes: list[RawNode] = field(default_factory=list)
    tensors: dict[str, TensorData] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    node_count: int = 0


def flatten(body: Body, functions: dict[FunctionKey, Body]) -> Flat:
    """The main graph, flat and in topological order. Raises `TrainauditError` for cycles, names that are defined twice or never,
    functions that call themselves, and graphs that grow past all bounds."""
    flat = Flat(tensors=body.tensors, constants=body.constants, shapes=body.shapes, dtypes=body.dtypes)
    inputs = [name for name in body.inputs if name not in body.tensors]
    _check_definitions(body, inputs)
    if functions or body.bodies or body.references:
        flat.node_count = body.node_count
        _Inliner(flat, functions, _names(body)).inline_main(body)
    else:
        flat.nodes, flat.node_count = body.nodes, body.node_count
    flat.nodes = sorted_nodes(flat.nodes, (*inputs, *flat.tensors), body.outputs)
    return flat


def _names(body: Body) -> set[str]:
    names = {*body.inputs, *body.tensors}
    for node in body.nodes:
        names.update(node.outputs)
    return names


def _check_definitions(body: Body, inputs: Iterable[str]) -> None:
    """Static single assignment: each name of a body is defined once."""
    defined = set(body.tensors)
    for name in inputs:
        if name in defined:
            raise _twice(name)
        defined.add(name)
    size = len(defined)
    for node in body.nodes:
        for name in node.outputs:
            if name:
                defined.add(name)
                size += 1
        if len(defined) != size:
            raise _twice(next(name for name in node.outputs if name in defined and name))
    return


def _twice(name: str) -> TrainauditError:
    return TrainauditError(
        "duplicate-name",
        f"The value {shown(name)} is defined more than once.",
        "ONNX allows one definition per name: export the model again.",
    )


@dataclass(slots=True)
class _Place:
    """Where a body is being inlined: how its names and those around it are called now, and what its function was called with."""

    names: list[dict[str, str]]
    """Innermost first; a name that none of them knows is the main graph's."""
    scope: str
    functions: tuple[str, ...]
    active: tuple[FunctionKey, ...]
    passed: Attributes
    prefix: str
    metadata: dict[str, str]


class _Inliner:
    """Carries what is shared by every body that is inlined: the result, the taken names and the budgets."""

    __slots__ = ("characters", "flat", "functions", "taken", "visited", "work")

    def __init__(self, flat: Flat, functions: dict[FunctionKey, Body], taken: set[str]) -> None:
        self.flat = flat
        self.functions = functions
        self.taken = taken
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
            if bodies and node.op in _CONTROL and not node.domain:
                self._inline_control(node, attributes, bodies, place, depth)
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

    def _unique(self, name: str) -> str:
        """A name that is not taken yet, and is from now on."""
        taken = self.taken
        if name in taken:
            number = 1
            while (candidate := f"{name}_{number}") in taken:
                number = number * 2 if number > 64 else number + 1
            if number > 64:  # search downwards from a power of two that is free: no quadratic counting
                low, high = number // 2, number
                while high - low > 1:
                    middle = (low + high) // 2
                    if f"{name}_{middle}" in taken:
                        low = middle
                    else:
                        high = middle
                candidate = f"{name}_{high}"
            name = candidate
        taken.add(self._made(name))
        return name

    def _define(self, body: Body, names: dict[str, str], prefix: str) -> None:
        """Name everything that `body` defines (unless `names` has it), and take over its tensors and types."""
        _check_definitions(body, [name for name in body.inputs if name not in body.tensors])
        self._spend(len(body.tensors) + len(body.shapes) + len(body.dtypes) + len(body.nodes))
        lead = f"{prefix}/" if prefix else ""
        for name in body.inputs:
            if name and name not in names:
                names[name] = self._unique(lead + name)
        for name, data in body.tensors.items():
            if name not in names:
                names[name] = self._unique(lead + name)
            self.flat.tensors[names[name]] = data
            if name in body.constants:
                self.flat.constants.add(names[name])
        for node in body.nodes:
            for name in node.outputs:
                if name and name not in names:
                    names[name] = self._unique(lead + name)
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
                "recursive-function", f"The function {shown(node.op)} calls itself.", "ONNX functions may not be recursive."
            )
        if len(node.inputs) > len(function.inputs) or len(node.outputs) > len(function.outputs):
            raise TrainauditError(
                "invalid-function-call",
                f"A call of the function {shown(node.op)} has {len(node.inputs)} inputs and {len(node.outputs)} outputs; "
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
        self._define(function, names, prefix)
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

    def _inline_control(
        self, node: RawNode, attributes: Attributes, bodies: dict[str, Body], place: _Place, depth: int
    ) -> None:
        inputs = [self._resolve(name, place) for name in node.inputs]
        outputs = [self._resolve(name, place) for name in node.outputs]
        name = self._node_name(node, place)
        step = name or next((name for name in outputs if name), node.op)
        metadata = node.metadata or place.metadata
        if node.op == "If":
            joined = list(inputs[:1])
            for branch in ("then_branch", "else_branch"):
                body = bodies.get(branch)
                if body is None or len(body.outputs) < len(outputs):
                    raise _invalid_control(node, f"has no {branch} that gives its {len(outputs)} results")
                inner = self._enter(body, place, f"{step}/{branch}")
                self._inline_nodes(body, inner, depth + 1)
                joined += [self._resolve(result, inner) for result in body.outputs[: len(outputs)]]
            self._leave(node.op, name, joined, outputs, attributes, metadata, place)
            return
        body = bodies.get("body")
        if body is None:
            raise _invalid_control(node, "has no body")
        if node.op == "Scan" and len(inputs) == len(body.inputs) + 1:
            inputs = inputs[1:]  # opset 8: sequence_lens first
        if len(inputs) > len(body.inputs) and node.op != "SequenceMap":
            raise _invalid_control(node, f"passes {len(inputs)} values to a body that takes {len(body.inputs)}")
        inner = self._enter(body, place, f"{step}/body")
        entries = [self._resolve(entry, inner) for entry in body.inputs]
        kept = {**attributes, "control": node.op}
        self._leave("LoopEntry", name, inputs, entries, kept, metadata, inner)
        self._inline_nodes(body, inner, depth + 1)
        results = [self._resolve(result, inner) for result in body.outputs]
        self._leave("LoopExit", name, results, outputs, dict(kept), metadata, place)

    def _enter(self, body: Body, place: _Place, step: str) -> _Place:
        """The place of a body of control flow: its own names, then all that it can see around it."""
        names: dict[str, str] = {}
        scope = self._made(f"{place.scope}/{step}" if place.scope else step)
        self._define(body, names, place.prefix)
        return _Place(
            [names, *place.names], scope, place.functions, place.active, place.passed, place.prefix, place.metadata
        )

    def _leave(
        self, op: str, name: str, inputs: list[str], outputs: list[str], attributes: Attributes, metadata: dict[str, str],
        place: _Place,
    ) -> None:  # fmt: skip
        self._spend(len(inputs) + len(outputs) + len(attributes))
        self.flat.nodes.append(
            RawNode(op, "", name, inputs, outputs, attributes, metadata, place.scope, place.functions)
        )


_CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def _invalid_control(node: RawNode, what: str) -> TrainauditError:
    label = shown(node.name or next(iter(node.outputs), ""))
    return TrainauditError("invalid-control-flow", f"The {node.op} node {label} {what}.", "Export the model again.")


def sorted_nodes(nodes: list[RawNode], given: Iterable[str], outputs: Iterable[str]) -> list[RawNode]:
    """`nodes` in topological order, as they stand where that is one, else sorted stably (Kahn 1962).

    Raises `TrainauditError` where a node or an output reads a value that nothing defines, where a value is defined twice, and
    where the nodes form a cycle.
    """
    defined = set(given)
    defined.add("")
    in_order = True
    for node in nodes:
        if in_order:
            for name in node.inputs:
                if name not in defined:
                    in_order = False
                    break
        defined.update(node.outputs)
    if not in_order:
        _check_reads(nodes, defined)
        nodes = _kahn(nodes)
    for name in outputs:
        if name not in defined:
            raise TrainauditError(
                "undefined-value", f"The model's output {shown(name)} is computed by no node.", "Export the model again."
            )
    return nodes


def _check_reads(nodes: list[RawNode], defined: set[str]) -> None:
    for node in nodes:
        for name in node.inputs:
            if name not in defined:
                label = shown(node.name or next(iter(node.outputs), ""))
                raise TrainauditError(
                    "undefined-value",
                    f"The node {label} ({shown(node.op)}) reads {shown(name)}, which nothing defines.",
                    "Export the model again.",
                )


def _kahn(nodes: list[RawNode]) -> list[RawNode]:
    """Sort by dependency; among nodes that are ready, the one that stands first in the file goes first."""
    import heapq

    producer = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    waiting = [0] * len(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        for name in node.inputs:
            source = producer.get(name)
            if source is not None:
                waiting[index] += 1
                readers[source].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    ordered: list[RawNode] = []
    while ready:
        index = heapq.heappop(ready)
        ordered.append(nodes[index])
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(ordered) != len(nodes):
        stuck = next(node for node, count in zip(nodes, waiting, strict=True) if count)
        label = shown(stuck.name or next(iter(stuck.outputs), ""))
        raise TrainauditError(
            "cyclic-graph",
            f"The graph has a cycle: the node {label} ({shown(stuck.op)}) waits for its own result.",
            "ONNX graphs are acyclic: export the model again.",
        )
    return ordered
