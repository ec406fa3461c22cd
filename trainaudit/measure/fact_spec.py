"""What is said of a fact: its type, unit, source and meaning. No fact is named here. Stdlib only."""

from __future__ import annotations

from trainaudit.frozen import frozen

GRAPH = "graph"
WEIGHTS = "weights"
SIGNAL = "signal"
"""Predicted from graph and weights by signal propagation."""
SETTINGS = "settings"
FORWARD = "forward"
TRAINING = "training"
DATA = "data"
"""Of the examples themselves, real ones."""
PROBED = frozenset({FORWARD, TRAINING, DATA})
"""Sources that a probe gives, and no file."""

SUBJECT_KINDS = ("model", "input", "output", "block", "segment", "layer", "parameter", "training", "data")
SINGLE_KINDS = ("model", "training", "data")
"""Kinds with one subject, called like the kind: the model, the run of a probe, the data that it read. Every rule reads their facts."""


@frozen
class FactSpec:
    """`type` is number, count, boolean or word; `unit` is "" for words and booleans. `words` closes the set of words, where it is
    closed. `source` is the evidence that the fact needs."""

    name: str
    type: str
    unit: str
    source: str
    meaning: str
    words: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The subject's kind: the part before the dot."""
        return self.name.split(".", 1)[0]

    @property
    def has_few_values(self) -> bool:
        """It takes a few values, on however many subjects."""
        return self.type == "boolean" or bool(self.words)


def number(name: str, unit: str, source: str, meaning: str) -> FactSpec:
    return FactSpec(name, "number", unit, source, meaning)


def count(name: str, unit: str, source: str, meaning: str) -> FactSpec:
    return FactSpec(name, "count", unit, source, meaning)


def boolean(name: str, source: str, meaning: str) -> FactSpec:
    return FactSpec(name, "boolean", "", source, meaning)


def word(name: str, source: str, meaning: str, *words: str) -> FactSpec:
    return FactSpec(name, "word", "", source, meaning, words)
