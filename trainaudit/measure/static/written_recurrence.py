"""Recurrences that an exporter wrote out step by step, or as the body of a loop. Imports `ir` only."""

from __future__ import annotations

from collections.abc import Mapping

from trainaudit.ir.graph import Graph, Layer, Parameter, Role
from trainaudit.ir.ops import DROPOUTS, RECTIFIERS, SHAPING, Op

_BENDS = RECTIFIERS | {Op.TANH}
_PASSED = SHAPING | DROPOUTS
_SUMMED = _PASSED | {Op.ADD}
_FARTHEST = 16
"""Layers between two steps within which a plain recurrence is looked for."""
_LSTM_GATES = 4
_CUTS = frozenset({Op.SPLIT, Op.SLICE, Op.GATHER})


def written_cells(graph: Graph, roles: Mapping[str, object]) -> list[tuple[Layer, Parameter]]:
    """The recurrent cells that are written as linear layers (`roles` is layer.role): each weight once, with the first layer that uses it."""
    if "recurrent-cell" not in roles.values():
        return []
    found: dict[str, tuple[Layer, Parameter]] = {}
    for layer in graph.layers:
        if layer.op is Op.LINEAR and roles.get(layer.name) == "recurrent-cell":
            weight = graph.parameter_of(layer, Role.WEIGHT)
            if weight is not None and len(weight.shape) == 2:
                found.setdefault(weight.name, (layer, weight))
    return list(found.values())


def is_plain(graph: Graph, weight: Parameter) -> bool:
    """Whether a square weight maps a hidden state to the next one: h' = f(W·h + …), f tanh or a rectifier, with no gate between (Elman 1990)."""
    if weight.shape[0] != weight.shape[1]:
        return False
    owners = set(weight.owners)
    for position in weight.owners:
        state = _through(graph, graph.layers[position])
        if state is None:
            continue
        if state.op is Op.LOOP_ENTRY:
            if _is_next_state(graph, graph.layers[position]):
                return True
        elif state.op in _BENDS and _sums(graph, state, owners):
            return True
    return False


def has_four_gates(graph: Graph, layer: Layer) -> bool:
    """Whether a layer's result, summed, is cut into four of which some go through a sigmoid: the gates of an LSTM."""
    waiting = list(layer.outputs)
    for _ in range(_FARTHEST):
        if not waiting:
            break
        value = graph.values.get(waiting.pop())
        users = [graph.layers[position] for position in (() if value is None else value.consumers)]
        cuts = [user for user in users if user.op in _CUTS]
        parts = [part for cut in cuts for part in cut.outputs]
        if len(parts) == _LSTM_GATES:
            behind = [graph.values[part].consumers for part in parts if part in graph.values]
            return any(graph.layers[position].op is Op.SIGMOID for positions in behind for position in positions)
        waiting.extend(name for user in users if user.op in _SUMMED and user not in cuts for name in user.outputs)
    return False


def _through(graph: Graph, layer: Layer) -> Layer | None:
    """The layer above, reshapes and dropout aside."""
    for _ in range(_FARTHEST):
        above = graph.maker_of(layer.inputs[0]) if layer.inputs else None
        if above is None or above.op not in _PASSED:
            return above
        layer = above
    return None


def _sums(graph: Graph, activation: Layer, owners: set[int]) -> bool:
    """Whether an activation function takes a sum with the result of one of the layers `owners`."""
    waiting = list(activation.inputs)
    for _ in range(_FARTHEST):
        if not waiting:
            return False
        above = graph.maker_of(waiting.pop())
        if above is not None:
            if above.index in owners:
                return True
            if above.op in _SUMMED:
                waiting.extend(above.inputs)
    return False


def _is_next_state(graph: Graph, layer: Layer) -> bool:
    """Whether a layer's result is summed and bent, and then not multiplied with a gate."""
    is_bent = False
    waiting = list(layer.outputs)
    for _ in range(_FARTHEST):
        if not waiting:
            break
        value = graph.values.get(waiting.pop())
        for position in () if value is None else value.consumers:
            user = graph.layers[position]
            if user.op is Op.MUL:
                return False
            if user.op in _BENDS and not is_bent:
                is_bent = True
                waiting.extend(user.outputs)
            elif user.op in _PASSED or (user.op is Op.ADD and not is_bent):
                waiting.extend(user.outputs)
    return is_bent
