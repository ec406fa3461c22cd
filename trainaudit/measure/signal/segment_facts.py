"""segment.* facts: what the prediction says of the signal at the far end of each segment, and where on the way the damage starts.
May import `ir`, `measure.facts` and siblings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from trainaudit.ir.graph import Layer, Role
from trainaudit.measure.facts import Columns, FactValue, Subject
from trainaudit.measure.signal.readings import GONE, Readings, first_largest
from trainaudit.measure.signal.segments import RESIDUAL, Segment
from trainaudit.measure.static.index import Index
from trainaudit.measure.static.places import fitting_normalization

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
            "segment.weighted_count": len(names),
            "segment.first_layer": names[0],
            "segment.last_layer": names[-1],
            "segment.worst_layer": names[worst],
            "segment.closing": segment.closing,
            "segment.sigmoid_count": _longest_run(words, _SIGMOIDS),
            "segment.tanh_count": _longest_run(words, _TANHS),
            **_lines([index.layers[i] for i in segment.chain], structure),
        }
        for layer in (*names, *(index.layers[i].name for i in segment.beside)) if segment.closing != RESIDUAL else ():
            columns.setdefault("layer.predicted_segment_end_std", {})[layer] = facts["segment.predicted_end_std"]
            columns.setdefault("layer.segment_sigmoid_count", {})[layer] = facts["segment.sigmoid_count"]
        for fact, value in facts.items():
            columns.setdefault(fact, {})[name] = value
    return subjects, columns


def _lines(chain: Sequence[Layer], structure: Columns) -> dict[str, FactValue]:
    """The chain's layers, one on each line, and in step with them what a fix needs to know of each."""
    gains, activations = structure.get("layer.wanted_gain", {}), structure.get("layer.activation", {})
    behind = structure.get("layer.activation_layer", {})
    squashed = [str(behind[layer.name]) for layer in chain if activations.get(layer.name) in _SIGMOIDS + _TANHS]
    wanted = [gains.get(layer.name) for layer in chain]
    return {
        "segment.weighted_layers": "\n".join([layer.name for layer in chain]),
        "segment.fitting_normalizations": "\n".join([fitting_normalization(layer) for layer in chain]),
        "segment.weights": "\n".join([layer.parameters.get(Role.WEIGHT, "") for layer in chain]),
        "segment.biases": "\n".join([layer.parameters.get(Role.BIAS, "") for layer in chain]),
        "segment.wanted_gains": "\n".join([f"{gain:.6g}" if isinstance(gain, float) else "1" for gain in wanted]),
        "segment.squashed_layers": "\n".join(squashed),
    }


def _changes(index: Index, segment: Segment, read: Readings) -> tuple[dict[str, FactValue], int]:
    """The facts that need the prediction, and the place in the chain where the damage starts."""
    starts = [index.layers[i].inputs[0] for i in segment.chain]
    start, reads = read.std(starts[0]), read.gradient(starts[0])
    if reads is None:  # the model's own input: from the first layer's result on, then
        starts[0] = index.layers[segment.chain[0]].outputs[0]
    forward = [
        _quotient(read.std(end), read.std(index.layers[i].inputs[0]))
        for i, end in zip(segment.chain, segment.ends, strict=True)
    ]
    backward = [
        _quotient(read.gradient(here), read.gradient(end)) for here, end in zip(starts, segment.ends, strict=True)
    ]
    changes = [_product(forward), _product(backward[::-1])]
    facts: dict[str, FactValue] = {
        "segment.predicted_forward_change": read.missing if changes[0] is None else changes[0],
        "segment.predicted_backward_change": read.missing if changes[1] is None else changes[1],
        "segment.predicted_start_std": read.missing if start is None else start,
        "segment.predicted_end_std": read.missing if start is None or changes[0] is None else start * changes[0],
    }
    both = None if changes[0] is None or changes[1] is None else math.sqrt(changes[0]) * math.sqrt(changes[1])
    facts["segment.predicted_change"] = read.missing if both is None else both
    damage = [(abs(math.log(change)), way) for way, change in enumerate(changes) if change]
    if not damage or max(damage)[0] == 0.0:
        return facts, 0
    way = max(damage)[1]
    steps = [math.log(step) if step else 0.0 for step in (forward, backward)[way]]
    grows = sum(steps) > 0.0
    return facts, first_largest(steps if grows else [-step for step in steps])


def _quotient(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None or other == 0.0 else one / other


def _product(factors: Sequence[float | None]) -> float | None:
    """In the order in which the signal or the gradient passes them. None where one is not known, unless what passed had left the range of numbers
    by then: the product is at least as small, or as large, as what is returned."""
    product = 1.0
    for factor in factors:
        if not factor and (0.0 < product < GONE or product > 1.0 / GONE):
            return product
        if factor is None:
            return None
        product *= factor
    return product


def _longest_run(words: list[str], kinds: tuple[str, ...]) -> int:
    return max((len(list(run)) for is_one, run in groupby(words, lambda word: word in kinds) if is_one), default=0)
