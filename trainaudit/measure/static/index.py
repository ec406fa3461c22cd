"""One forward pass over a graph: who feeds whom, how deep, and where paths join. May import `ir` only.

Everything that the graph measurements share is computed here once, in plain lists indexed by layer, so that no measurement searches.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph, Layer, Shape
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, RECURRENT, SHAPING, WEIGHTED, Op

INPUT = -1
"""Stands for a graph input where a producer's index is wanted. As an index it addresses the last, virtual entry of a list."""

STORED = -2
"""Stands for a parameter or an absent input."""

_SKIPPED = SHAPING | DROPOUTS
_JOINING = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MAX, Op.MIN, Op.MEAN, Op.CONCAT, Op.WHERE, Op.BRANCH})
_MEETING = _JOINING | {Op.MATMUL, Op.EINSUM, Op.ATTENTION}
"""Layers that several paths meet in: what all of them cross lies above where they part."""
_BENDING = (
    ACTIVATIONS
    | RECURRENT
    | {Op.ATTENTION, Op.MATMUL, Op.EINSUM, Op.MAX_POOL, Op.LAYER_NORM, Op.RMS_NORM, Op.GROUP_NORM}
)
"""Layers that are not linear. A residual branch beside a projection holds one; a low-rank update beside a weight does not."""

_ADDING = frozenset({Op.ADD, Op.SUB})
_SHARES = {op: (int(op in WEIGHTED), int(op in _BENDING), op in _SKIPPED, op is not Op.SHAPE) for op in Op}
"""What a layer adds to the weighted and to the bending layers above it, whether it is looked through, and whether it hands values on."""


@frozen
class Join:
    """A residual sum: `skip` and `branch` are the producers of its operands (INPUT for a graph input), `fork` is where both come from.

    `projected` says that the skip path holds one weighted layer (a ResNet's downsample)."""

    skip: int
    branch: int
    fork: int
    projected: bool


@frozen
class Index:
    """`sources[i]` holds the producer of each input of layer i (a layer index, INPUT or STORED); `uses[i]` the layers that read its
    values (Shape layers left out); `places` the layers of each kind; `depends` whether it depends on the values of a graph input; `depth` the weighted layers on the
    longest path to it; `origin[i]` the nearest layer at or above i that neither reshapes nor drops out (INPUT for none); `fork[i]` the
    layer that its main paths all cross; `joins` the residual sums; `merging` the layers where two or more activations meet
    elementwise. `depth`, `origin` and `fork` have one more entry for INPUT."""

    graph: Graph
    layers: tuple[Layer, ...]
    ops: list[Op]
    sources: list[Sequence[int]]
    uses: list[Sequence[int]]
    places: dict[Op, list[int]]
    depends: bytearray
    depth: list[int]
    origin: list[int]
    fork: list[int]
    joins: dict[int, Join]
    merging: set[int]

    def shape(self, value: str) -> Shape | None:
        """Shape of a value, None where it is not known."""
        found = self.graph.values.get(value)
        return None if found is None else found.shape

    def input_shape(self, layer: Layer, slot: int = 0) -> Shape | None:
        """Shape of a layer's input."""
        return self.shape(layer.inputs[slot]) if slot < len(layer.inputs) else None

    def of(self, kinds: Collection[Op]) -> list[int]:
        """The layers of these kinds, in order: a measurement that concerns few kinds of layers visits no others."""
        found = [positions for op, positions in self.places.items() if op in kinds]
        return found[0] if len(found) == 1 else sorted(chain.from_iterable(found))

    def output_layers(self) -> frozenset[int]:
        """The layers that produce outputs of the model."""
        found = (self.graph.values.get(name) for name in self.graph.outputs)
        return frozenset(value.producer for value in found if value is not None and value.producer is not None)

    def activations(self, position: int) -> list[int]:
        """The sources of a layer that depend on a graph input, STORED ones left out."""
        depends = self.depends
        return [s for s in self.sources[position] if s == INPUT or (s >= 0 and depends[s])]


def build_index(graph: Graph) -> Index:
    """Index of a graph. Linear in its edges, up to a logarithm at joins; nothing recurses."""
    layers = graph.layers
    count = len(layers)
    ops = [layer.op for layer in layers]
    places: dict[Op, list[int]] = {op: [] for op in Op}
    for i, op in enumerate(ops):
        places[op].append(i)
    places = {op: positions for op, positions in places.items() if positions}
    sources, uses = _edges(graph, ops, places.get(Op.SHAPE, []))
    depends = bytearray(count + 1)
    depends[INPUT] = 1
    depth = [0] * (count + 1)
    bends = [0] * (count + 1)
    origin = [INPUT] * (count + 1)
    fork = [INPUT] * (count + 1)
    level = [0] * (count + 1)
    jump = [INPUT] * (count + 1)
    joins: dict[int, Join] = {}
    merging: set[int] = set()

    for i, (op, feeding) in enumerate(zip(ops, sources, strict=True)):
        is_weighted, is_bending, is_skipped, hands_on = _SHARES[op]
        if len(feeding) == 1 and feeding[0] >= INPUT:
            parent = feeding[0]
            if hands_on:
                depends[i] = depends[parent]
            depth[i] = depth[parent] + is_weighted
            bends[i] = bends[parent] + is_bending
            origin[i] = origin[parent] if is_skipped else i
        else:
            deepest = bent = 0
            active: list[int] = []
            for source in feeding:
                if source > STORED:
                    if depth[source] > deepest:
                        deepest = depth[source]
                    if bends[source] > bent:
                        bent = bends[source]
                    if depends[source]:
                        active.append(source)
            depth[i] = deepest + is_weighted
            bends[i] = bent + is_bending
            parent = active[0] if active else INPUT
            if is_skipped:
                first = feeding[0] if feeding else STORED
                origin[i] = origin[first] if first > STORED else i
            else:
                origin[i] = i
            if active and hands_on:
                depends[i] = 1
                if len(active) > 1 and op in _MEETING:
                    parent = _common(active, level, jump, fork)
                    if op in _JOINING and op is not Op.CONCAT:
                        merging.add(i)
                    if op in _ADDING and len(active) == 2:
                        join = _residual(active[0], active[1], parent, depth, len(graph.inputs))
                        if join is not None and (not join.projected or bends[join.branch] > bends[parent]):
                            joins[i] = join
                    if parent == INPUT and INPUT not in active:
                        parent = _main_operand(graph, layers[i], feeding, active, depth)
        fork[i] = parent
        near, above = level[parent], jump[parent]
        far = level[above]
        level[i] = near + 1
        jump[i] = jump[above] if near - far == far - level[jump[above]] else parent
    return Index(graph, layers, ops, sources, uses, places, depends, depth, origin, fork, joins, merging)


def _edges(graph: Graph, ops: list[Op], measured: list[int]) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Sources and uses of all layers. `measured` are the Shape layers."""
    values = graph.values
    made = {name: INPUT if value.producer is None else value.producer for name, value in values.items()}
    made.update({name: STORED for name in graph.parameters if made.get(name) == INPUT})
    sources: list[Sequence[int]] = []
    uses: list[Sequence[int]] = []
    for layer in graph.layers:
        names = layer.inputs
        if len(names) == 1:
            sources.append((made.get(names[0], STORED),))
        else:
            sources.append([made.get(name, STORED) for name in names])
        names = layer.outputs
        if len(names) == 1:
            value = values.get(names[0])
            uses.append(() if value is None else value.consumers)
        else:
            users: dict[int, None] = {}
            for name in names:
                value = values.get(name)
                if value is not None:
                    users.update(dict.fromkeys(value.consumers))
            uses.append(tuple(users))
    for i in {s for shape in measured for s in sources[shape] if s >= 0}:
        uses[i] = [user for user in uses[i] if ops[user] is not Op.SHAPE]
    return sources, uses


def _common(active: list[int], level: list[int], jump: list[int], fork: list[int]) -> int:
    """Nearest common ancestor in the tree of forks, by jump pointers (Myers 1983): logarithmic in the depth."""
    first = active[0]
    for second in active[1:]:
        if level[first] < level[second]:
            first, second = second, first
        target = level[second]
        while level[first] > target:
            first = jump[first] if level[jump[first]] >= target else fork[first]
        while first != second:
            if jump[first] != jump[second]:
                first, second = jump[first], jump[second]
            else:
                first, second = fork[first], fork[second]
        if first == INPUT:
            break
    return first


def _residual(left: int, right: int, fork: int, depth: list[int], inputs: int) -> Join | None:
    """A sum is residual if one operand comes from the fork with no weighted layer between, the other with at least one; or with
    exactly one (a projection) against two or more."""
    near, far = depth[left] - depth[fork], depth[right] - depth[fork]
    if near > far:
        left, right, near, far = right, left, far, near
    if near == 0 and far > 0:
        return Join(left, right, fork, False)
    if near == 1 and far >= 2 and (fork != INPUT or inputs == 1):
        return Join(left, right, fork, True)
    return None


def _main_operand(graph: Graph, layer: Layer, feeding: Sequence[int], active: list[int], depth: list[int]) -> int:
    """Of operands with no layer in common, the one that carries the model's stream: a mask, which no weight has touched, and what comes from
    another input by a broadcast do not. INPUT where neither can be told."""
    if len(graph.inputs) == 1 and all(depth[source] for source in active):
        return INPUT
    out = graph.values.get(layer.outputs[0]) if layer.outputs else None
    shape = None if out is None else out.shape
    whole = active
    if shape is not None:
        same = []
        for source, name in zip(feeding, layer.inputs, strict=True):
            if source in active:
                value = graph.values.get(name)
                if value is not None and value.shape == shape:
                    same.append(source)
        whole = same or active
    return max(whole, key=lambda source: depth[source])


def through(index: Index, position: int) -> int:
    """The origin of a layer's first input: the nearest layer above that neither reshapes nor drops out, INPUT or STORED for none."""
    row = index.sources[position]
    if not row or row[0] == STORED:
        return STORED
    return index.origin[row[0]]


def sole_use(index: Index, position: int, outputs: frozenset[int], skipped: frozenset[Op] = SHAPING) -> int | None:
    """The layer that alone consumes a layer's output, looking through reshapes; None where several do, or the model itself does.

    `outputs` are the layers that produce outputs of the model."""
    uses, ops = index.uses, index.ops
    current = position
    while True:
        if current in outputs:
            return None
        users = uses[current]
        if len(users) != 1:
            return None
        current = users[0]
        if ops[current] not in skipped:
            return current
