"""What stands straight before and behind a layer, reshapes aside. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from collections.abc import Sequence

from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, SHAPING, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue
from trainaudit.measure.static.index import INPUT, Index, sole_use, through
from trainaudit.measure.static.layer_facts import OP_WORDS

_FED = ACTIVATIONS | {Op.LOG, Op.LOSS}
_MULTIPLYING = WEIGHTED | NORMALIZATIONS
_FOLLOWED = WEIGHTED | NORMALIZATIONS | ACTIVATIONS | DROPOUTS


def measure_neighbors(index: Index) -> Columns:
    """layer.activation, previous_activation, next_normalization, next_dropout and is_beside_normalization, with the layers' names."""
    layers, ops, uses = index.layers, index.ops, index.uses
    outputs = index.output_layers()
    activation: dict[str, FactValue] = {}
    activation_layer: dict[str, FactValue] = {}
    previous: dict[str, FactValue] = {}
    previous_layer: dict[str, FactValue] = {}
    normalization: dict[str, FactValue] = {}
    normalization_layer: dict[str, FactValue] = {}
    dropout: dict[str, FactValue] = {}
    beside: dict[str, FactValue] = {}
    for i in index.of(_FOLLOWED | _FED):
        op, name = ops[i], layers[i].name
        above = through(index, i) if op in _FED else INPUT
        if op in _FOLLOWED:
            follower = sole_use(index, i, outputs)
            following = None if follower is None else ops[follower]
            is_normalized = following in NORMALIZATIONS
            normalization[name] = OP_WORDS[following] if is_normalized and following is not None else "none"
            normalization_layer[name] = layers[follower].name if is_normalized and follower is not None else "none"
            if op in _MULTIPLYING:
                is_activated = following in ACTIVATIONS
                activation[name] = OP_WORDS[following] if is_activated and following is not None else "none"
                if is_activated and follower is not None:
                    activation_layer[name] = layers[follower].name
            elif op in ACTIVATIONS:
                dropout[name] = _dropout(ops, uses, i)
                beside[name] = is_normalized or (above >= 0 and ops[above] in NORMALIZATIONS)
        if op in _FED:
            if above >= 0 and ops[above] in ACTIVATIONS and not layers[i].attributes.get("epsilon_dropped"):
                previous[name] = OP_WORDS[ops[above]]
                previous_layer[name] = layers[above].name
            else:
                previous[name] = previous_layer[name] = "none"
    return {
        "layer.activation": activation,
        "layer.activation_layer": activation_layer,
        "layer.previous_activation": previous,
        "layer.previous_activation_layer": previous_layer,
        "layer.next_normalization": normalization,
        "layer.next_normalization_layer": normalization_layer,
        "layer.next_dropout": dropout,
        "layer.is_beside_normalization": beside,
    }


def _dropout(ops: list[Op], uses: list[Sequence[int]], position: int) -> str:
    """The dropout among the users of an activation's output, one run of reshapes aside."""
    current = position
    while True:
        users = uses[current]
        for user in users:
            if ops[user] in DROPOUTS:
                return OP_WORDS[ops[user]]
        if len(users) != 1 or ops[users[0]] not in SHAPING:
            return "none"
        current = users[0]
