"""Facts: numbers and words with units, never verdicts. A value **or** `Unmeasured(reason)`, never NaN. Stdlib only.

A fact that is *absent* for a subject does not apply to it (`layer.epsilon` of a convolution): a rule that needs it is not
applicable there. A fact that applies and could not be had is `Unmeasured`: a rule that needs it was not run there.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainaudit.frozen import frozen

Word = str
FactScalar = float | int | bool | Word


@frozen
class Unmeasured:
    """Why a fact that applies has no value: one clause without a full stop ("the shape of its input is not known")."""

    reason: str


FactValue = FactScalar | Unmeasured

NO_GRAPH = Unmeasured("only weights are known, and no graph")
"""Of a fact that needs edges, where there are none."""

Columns = dict[str, dict[str, FactValue]]
"""fact name → subject id → value. What a measurement returns."""


@frozen
class Subject:
    """What facts are about. `kind` is the facts' prefix, one of `catalog.SUBJECT_KINDS`; `id` is unique within it.

    `layer` is the layer that the subject belongs to (a parameter's first owner, an output's producer, a block's first layer,
    the layer itself): facts of that layer can be read by rules on the subject. `position` is that layer's index, so that
    subjects sort topologically.
    """

    kind: str
    id: str
    layer: str | None
    position: int


@frozen
class FactTable:
    """All facts of one model, column by column. Facts of a kind with one subject stand under its name: "model", "training", "data"."""

    subjects: Mapping[str, Mapping[str, Subject]]
    """kind → id → subject."""
    columns: Mapping[str, Mapping[str, FactValue]]

    def value(self, fact: str, subject: Subject) -> FactValue | None:
        """The fact as seen from a subject: its own, its layer's, or the model's. None where it does not apply."""
        column = self.columns.get(fact)
        if column is None:
            return None
        kind = fact.split(".", 1)[0]
        if kind == subject.kind:
            return column.get(subject.id)
        if kind in ("model", "training", "data"):
            return column.get(kind)
        if kind == "layer" and subject.layer is not None:
            return column.get(subject.layer)
        return None
