"""segment.* facts: what the prediction says of the signal at the far end of each segment, and where on the way the damage starts.
May import `ir`, `measure.facts` and siblings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby, pairwise

from trainaudit.measure.facts import Columns, FactValue, Subject
from trainaudit.measure.signal.readings import Readings, first_largest
from trainaudit.measure.signal.segments import Segment
from trainaudit.measure.static.index import Index

_SIGMOIDS = ("sigmoid", "hard_sigmoid")
_TANHS = ("tanh", "hard_tanh", "softsign")


def measure_segments(
    index: Index, segments: tuple[Segment, ...], structure: Columns, read: Readings
) -> tuple[Mapping[str, Subject], Columns]:
    """Segments as subjects (each stands at the layer where its damage starts, or at its first) and their facts."""
    subjects: dict[str, Subject] = {}
    columns: Columns = {}
    activations = structure.get("layer.activation", {})
    for segment in segments:
        names = [index.layers[i].name for i in segment.chain]
        name = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
        facts, worst = _changes(index, segment, read)
        position = segment.chain[worst]
        subjects[name] = Subject("segment", name, index.layers[position].name, position)
        words = [str(activations.get(layer, "none")) for layer in names]
        if segment.head is not None:
            words.append(str(activations.get(index.layers[segment.head].name, "none")))
        facts |= {
            "segment.name": name,
            "segment.weighted_count": len(names),
            "segment.first_layer": names[0],
            "segment.last_layer": names[-1],
            "segment.worst_layer": names[worst],
            "segment.closing": segment.closing,
            "segment.sigmoid_count": _longest_run(words, _SIGMOIDS),
            "segment.tanh_count": _longest_run(words, _TANHS),
        }
        for fact, value in facts.items():
            columns.setdefault(fact, {})[name] = value
    return subjects, columns


def _changes(index: Index, segment: Segment, read: Readings) -> tuple[dict[str, FactValue], int]:
    """The facts that need the prediction, and the place in the chain where the damage starts."""
    values = [index.layers[i].inputs[0] for i in segment.chain] + [segment.end]
    spreads = [read.std(value) for value in values]
    gradients = [read.gradient(value) for value in values]
    forward, backward = _ratio(spreads[-1], spreads[0]), _ratio(gradients[0], gradients[-1])
    if gradients[0] is None:  # a model's own input may have none: then from the first layer's result on
        values_after = [index.layers[segment.chain[0]].outputs[0], *values[1:]]
        gradients = [read.gradient(value) for value in values_after]
        backward = _ratio(gradients[0], gradients[-1])
    facts: dict[str, FactValue] = {
        "segment.forward_change": read.missing if forward is None else forward,
        "segment.backward_change": read.missing if backward is None else backward,
        "segment.start_std": read.missing if spreads[0] is None else spreads[0],
        "segment.end_std": read.missing if spreads[-1] is None else spreads[-1],
    }
    known = [change for change in (forward, backward) if change is not None]
    facts["segment.smallest_change"] = min(known) if forward is not None and backward is not None else read.missing
    facts["segment.largest_change"] = max(known) if forward is not None and backward is not None else read.missing
    worst = 0
    damage = [(abs(math.log(change)), way) for way, change in ((0, forward), (1, backward)) if change]
    if damage and max(damage)[0] > 0.0:
        way = max(damage)[1]
        change = (forward, backward)[way] or 1.0
        steps = spreads if way == 0 else gradients[::-1]
        factors = [_log_ratio(after, before) for before, after in pairwise(steps)]
        factors = factors if way == 0 else factors[::-1]
        worst = first_largest([factor if change > 1.0 else -factor for factor in factors])
    return facts, worst


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None or other == 0.0 else one / other


def _log_ratio(one: float | None, other: float | None) -> float:
    return math.log(one / other) if one and other else 0.0


def _longest_run(words: list[str], kinds: tuple[str, ...]) -> int:
    return max((len(list(run)) for is_one, run in groupby(words, lambda word: word in kinds) if is_one), default=0)
