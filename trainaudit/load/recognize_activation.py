"""Activation functions written out in several nodes, recognised by what they compute rather than by how they are spelled.

A small closed stretch of elementwise nodes with one activation x as its only input is evaluated at fixed points; the values are
held against the known functions. So every order of association and every way to write a constant is the same.
Stdlib, numpy, ir, load.wiring and load.elementwise only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainaudit.ir.graph import Attribute
from trainaudit.ir.ops import Op
from trainaudit.load.elementwise import clip_bounds
from trainaudit.load.functions import ELEMENTWISE, PARAMETRIC, POINTS, name_function
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Draft, Wiring

ROOTS = frozenset(
    {"Erf", "Tanh", "Sigmoid", "Softplus", "Exp", "Abs", "Clip", "Relu", "Max", "Min", "HardSigmoid", "Elu", "Greater",
     "GreaterOrEqual", "Less", "LessOrEqual"}
)  # fmt: skip
"""Operators that stand inside a written-out activation function."""

_REACH = 12
"""Most nodes of one function."""

_STEPS = 5
"""Most steps forward from its root."""

_LARGEST_GUARD = 1e-3
"""An ε beyond that is no guard but part of the function."""

_LAST = frozenset({"Mul", "Div", "Add", "Sub", "Neg", "Log", "Min", "Max", "Clip", "Where", "Reciprocal", "Sum"})
"""Operators that a written-out function can end in."""


Spelling = tuple[Any, ...] | float | str
"""A stretch of nodes as nested tuples (op, attributes, *operands), numbers and "x"."""


Stretches = dict[str, tuple[dict[str, Spelling], set[int]]]
"""By x: how the values made from it are spelled, and the nodes that make them."""


def _spell(
    wiring: Wiring, name: str, spelled: dict[str, Spelling], visited: set[int], *, is_exit: bool = False
) -> Spelling | None:
    """How `name` is made from x, or None where anything else than x and stored numbers is read, or more than `_REACH` nodes.

    `spelled` holds x and what is made from it so far; `visited` every node entered so far: it bounds depth and work in graphs that are
    elementwise all the way up. In the end it holds the nodes of the stretch.
    """
    if name in wiring.raw.tensors or name in wiring.known:
        number_held = wiring.scalar(name)
        if number_held is not None:
            return number_held
    place = wiring.producer.get(name)
    if place is None or wiring.taken[place] or place in visited or len(visited) >= _REACH:
        return None
    node = wiring.nodes[place]
    op = node.op
    if op not in ELEMENTWISE or node.domain not in ("", "ai.onnx"):
        return None
    if not is_exit and _leaves(wiring, name):
        return None
    visited.add(place)
    spelling: list[Any] = [op, tuple(sorted(node.attributes.items())) if op in PARAMETRIC else ()]
    for source in node.inputs:
        operand = spelled.get(source) if source else ""
        if operand is None:
            operand = _spell(wiring, source, spelled, visited)
            if operand is None:
                return None
        spelling.append(operand)
    result = spelled[name] = tuple(spelling)
    return result


def _leaves(wiring: Wiring, name: str) -> bool:
    """Something reads the value that is in no written-out function, so the value is inside none: the skip connection of a residual
    block, behind which the search need not go."""
    if name in wiring.outputs:
        return True
    readers = wiring.consumers.get(name, ())
    if len(readers) == 1:
        return False  # the search came from there
    nodes = wiring.nodes
    for reader in readers[:_REACH]:  # noqa: SIM110 -- a generator costs more than the loop
        if nodes[reader].op not in ELEMENTWISE:
            return True
    return False


def _evaluate(spelling: Spelling, done: dict[int, Any]) -> Any:
    """The values of a spelled stretch at `POINTS`."""
    if isinstance(spelling, float):
        return spelling
    if isinstance(spelling, str):
        return POINTS if spelling else None
    found = done.get(id(spelling))
    if found is None:
        operands = [_evaluate(operand, done) for operand in spelling[2:]]
        found = done[id(spelling)] = ELEMENTWISE[spelling[0]](dict(spelling[1]), *operands)
    return found


def _named(wiring: Wiring, spelling: Spelling) -> tuple[Op, dict[str, Attribute]] | None:
    """The function that a spelling computes; each spelling is evaluated once per model."""
    try:
        return wiring.functions[spelling]
    except KeyError:
        pass
    values = _evaluate(spelling, {})
    named = None
    if np.shape(values) == POINTS.shape and values.dtype.kind == "f" and np.isfinite(values).all():
        named = name_function(values)
    wiring.functions[spelling] = named
    return named


def _sources(wiring: Wiring, place: int, most: int) -> list[str]:
    """Values that could be x: those read on the way back from a node through elementwise nodes, nearest first."""
    nodes, producer = wiring.nodes, wiring.producer
    tensors, known = wiring.raw.tensors, wiring.known
    found: list[str] = []
    pending = [place]
    for reader in pending:  # grows while it is walked
        for name in nodes[reader].inputs:
            if not name or name in tensors or name in known or name in found:
                continue
            found.append(name)
            if len(found) == most:
                return found
            maker = producer.get(name)
            if maker is not None and not wiring.taken[maker] and nodes[maker].op in ELEMENTWISE:
                pending.append(maker)
    return found


def written_out(wiring: Wiring, place: int) -> Draft | None:
    """The longest known activation function around a root node."""
    following = _next(wiring, place)
    if following is None and not _may_end(wiring, place):
        return None
    nodes = wiring.nodes
    candidates: list[str] | None = None  # found when they are first needed
    stretches: Stretches = {}
    best: Draft | None = None
    current = place
    for _ in range(_STEPS):
        node = nodes[current]
        op, result = node.op, node.outputs[0]
        if op in _GUARDS and _is_guard(wiring, node):
            break
        more = () if following is None else nodes[following].inputs
        is_end = (
            op in _LAST and not (op == "Clip" and _is_complete(wiring, node)) and not _is_plain_chain(wiring, result)
        )
        if candidates is None and (is_end or len(more) > 1):
            candidates = _sources(wiring, place, 8 if nodes[place].op == "Tanh" else 4)
        if is_end and candidates is not None:
            draft = _match(wiring, place, result, candidates, stretches)
            if draft is not None:
                best = draft
            if not candidates:
                break
        if following is None or (len(more) > 1 and _reads_more(wiring, more, result, candidates or ())):
            break
        current = following
        following = _next(wiring, current)
    return best


_GUARDS = frozenset({"Clip", "Add", "Max"})


def _is_guard(wiring: Wiring, node: RawNode) -> bool:
    """Of a clip, sum or maximum: an ε behind a function (σ(x) + 1e-8 before a logarithm), too small to change what is computed, and not part of it."""
    if node.op == "Clip":
        low = clip_bounds(wiring, node)[0]
    else:
        low = next((wiring.scalar(name) for name in node.inputs if wiring.is_stored(name)), None)
    return low is not None and 0.0 < low <= _LARGEST_GUARD


def _is_complete(wiring: Wiring, clip: RawNode) -> bool:
    """A clip that is an activation function alone: ReLU6 behind ReLU is two functions, not one."""
    low, high = clip_bounds(wiring, clip)
    return (low == 0 and high in (None, 6)) or (low == -1 and high == 1)


def _may_end(wiring: Wiring, place: int) -> bool:
    """A root whose only reader is no elementwise node, and whose input is none either, is a layer of its own."""
    node = wiring.nodes[place]
    if node.op not in ("Clip", "Max", "Min"):
        return False
    makers = [wiring.producer.get(name) for name in node.inputs]
    return any(maker is not None and wiring.nodes[maker].op in ELEMENTWISE for maker in makers)


def _reads_more(wiring: Wiring, names: Sequence[str], through: str, candidates: Sequence[str]) -> bool:
    """Besides `through` a node reads a value that is neither x nor made inside the function: no function goes on through it."""
    if len(names) > _REACH:
        return True
    for name in names:
        if name == through or not name or name in candidates or wiring.is_stored(name):
            continue
        maker = wiring.producer.get(name)
        if maker is None or wiring.nodes[maker].op not in ELEMENTWISE or _leaves(wiring, name):
            return True
    return False


def _next(wiring: Wiring, place: int) -> int | None:
    """The node that alone reads a node's result, elementwise and not yet absorbed."""
    name = wiring.nodes[place].outputs[0]
    readers = wiring.consumers.get(name)
    if not readers or name in wiring.outputs or (len(readers) > 1 and len(set(readers)) > 1):
        return None
    reader = readers[0]
    return None if wiring.taken[reader] or wiring.nodes[reader].op not in ELEMENTWISE else reader


_FREE = frozenset({Op.HARD_SIGMOID, Op.LEAKY_RELU, Op.ELU, Op.THRESHOLDED_RELU})
"""Functions with a number of their own: a factor before them may belong to them, so the farthest x counts."""


def _is_plain_chain(wiring: Wiring, exit_name: str) -> bool:
    """Only operators of one operand and without attributes lie behind the exit, and no stretch of them up to it is a known function.

    That is what most layers in a row look like, and it is seen on one way back, whatever the roots and candidates on it.
    """
    if exit_name in wiring.plain:
        return True
    nodes, functions = wiring.nodes, wiring.functions
    chain: tuple[str, ...] = ()
    name = exit_name
    while len(chain) < _REACH:
        maker = wiring.producer.get(name)
        if maker is None:
            break
        node = nodes[maker]
        if wiring.taken[maker] or node.op not in ELEMENTWISE or (chain and _leaves(wiring, name)):
            break
        if len(node.inputs) != 1 or node.attributes or node.domain:
            return False
        chain += (node.op,)
        if len(chain) > 1:
            if chain not in functions:
                spelling: Spelling = "x"
                for op in reversed(chain):
                    spelling = (op, (), spelling)
                functions[chain] = _named(wiring, spelling)
            if functions[chain] is not None:
                return False
        name = node.inputs[0]
    if wiring.is_stored(name):
        return False
    wiring.plain.add(exit_name)
    return True


def _match(wiring: Wiring, place: int, exit_name: str, candidates: list[str], stretches: Stretches) -> Draft | None:
    """The function between one of the candidates and the exit. What lies before an earlier exit was spelled for that one, and where that
    failed the candidate is dropped: this exit reads the earlier one."""
    best: Draft | None = None
    for x in candidates[:]:
        spelled, members = stretches.setdefault(x, ({x: "x"}, set()))
        spelling = _spell(wiring, exit_name, spelled, members, is_exit=True)
        if spelling is None:
            candidates.remove(x)
            continue
        if len(members) < 2 or place not in members:
            continue
        named = _named(wiring, spelling)
        if named is None or not wiring.is_closed(members, (exit_name,)):
            continue
        ops = {wiring.nodes[member].op for member in members}
        if named[0] is Op.LOG_SIGMOID and "Sigmoid" in ops and not _is_module(wiring, members):
            continue  # log(sigmoid(x)) underflows: a rule looks for the two layers
        if "Cast" in ops and ops <= {"Cast", wiring.nodes[place].op}:
            continue  # one operator between casts
        best = Draft(named[0], place, [x], [exit_name], tuple(sorted(members)), attributes=dict(named[1]))
        if named[0] not in _FREE:
            break
    return best


def _is_module(wiring: Wiring, members: set[int]) -> bool:
    """The nodes are all that their module holds: so torch's TorchScript exporter spells nn.LogSigmoid, which computes a stable form."""
    paths = {wiring.nodes[member].name.rpartition("/")[0] for member in members}
    path = paths.pop()
    if paths or not path.startswith("/"):
        return False
    inside = sum(node.name.startswith(path + "/") for node in wiring.nodes)
    return inside == len(members)
