"""The fact table as seen from one kind of subject: every fact becomes a column over that kind's ids. May import `measure` and
`judge.rule`.

A rule about parameters reads `layer.role` as the role of the layer that owns the parameter, and `model.loss` as the model's. The columns
are made once per fact and shared by all rules.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from trainaudit.judge.rule import Rule
from trainaudit.measure.catalog import BY_NAME, DATA, FORWARD, SETTINGS, SINGLE_KINDS, TRAINING
from trainaudit.measure.facts import FactTable, FactValue, Subject, Unmeasured

_PLAIN = frozenset({float, int, bool, str})

NOT_RUN = {
    SETTINGS: "the loss is not declared",
    FORWARD: "no forward pass was run",
    TRAINING: "no training probe was run",
    DATA: "no data was read",
}


class View:
    """Columns for the subjects of one kind. The only state is what it has already worked out."""

    __slots__ = ("_columns", "_measured", "_rules", "_table", "kind", "subjects")

    def __init__(self, kind: str, table: FactTable) -> None:
        self.kind = kind
        self.subjects: Mapping[str, Subject] = table.subjects.get(kind, {})
        self._table = table
        self._columns: dict[str, Mapping[str, FactValue]] = {}
        self._measured: dict[str, bool] = {}
        self._rules: dict[str, dict[str, Mapping[str, FactValue]]] = {}

    def column(self, fact: str) -> Mapping[str, FactValue]:
        """Subject id → value, for the subjects to which the fact applies."""
        column = self._columns.get(fact)
        if column is None:
            column = self._seen(fact)
            types = set(map(type, column.values()))
            if float in types and not math.isfinite(sum(value for value in column.values() if type(value) is float)):
                types.add(complex)
            if not types <= _PLAIN | {Unmeasured}:
                column = {subject: _plain(value) for subject, value in column.items()}
                types = set(map(type, column.values()))
            self._columns[fact] = column
            self._measured[fact] = Unmeasured not in types
        return column

    def columns(self, rule: Rule) -> Mapping[str, Mapping[str, FactValue]]:
        """The columns of all facts that the rule's conditions and texts read."""
        columns = self._rules.get(rule.id)
        if columns is None:
            texts = [rule.message] if rule.fix is None else [rule.message, rule.fix.summary, rule.fix.torch]
            names = {*rule.needs, *(spec.name for text in texts for spec in text.facts)}
            if self.kind == "parameter":
                names.add("parameter.role")  # by which a finding's root is chosen
            columns = self._rules[rule.id] = {name: self.column(name) for name in sorted(names)}
        return columns

    def is_measured(self, fact: str) -> bool:
        """Every subject to which the fact applies has a value."""
        self.column(fact)
        return self._measured[fact]

    def is_empty(self, fact: str) -> bool:
        """The fact applies to no subject."""
        return not self.column(fact)

    def subjects_with(self, facts: Iterable[str]) -> Collection[str]:
        """Ids of the subjects that have all these facts."""
        columns = sorted((self.column(fact) for fact in sorted(facts)), key=len)
        columns = [column for column in columns if len(column) < len(self.subjects)]
        if not columns:
            return self.subjects.keys()
        subjects: Collection[str] = columns[0].keys()
        for other in columns[1:]:
            subjects = [subject for subject in subjects if subject in other]
        return subjects

    def _seen(self, fact: str) -> Mapping[str, FactValue]:
        spec = BY_NAME[fact]
        column = self._table.columns.get(fact, {})
        if fact not in self._table.columns and spec.source in NOT_RUN:
            # Evidence that was not gathered is not run, not inapplicable.
            return dict.fromkeys(self.subjects, Unmeasured(NOT_RUN[spec.source]))
        if spec.kind in SINGLE_KINDS:
            value = column.get(spec.kind)
            return {} if value is None else dict.fromkeys(self.subjects, value)
        if spec.kind == self.kind:
            return column
        owners = ((name, subject.layer) for name, subject in self.subjects.items())
        return {name: column[layer] for name, layer in owners if layer is not None and layer in column}


def _plain(value: object) -> FactValue:
    """The value as one of Python's own types, numpy's scalars unwrapped; a number that is not finite is not a measurement."""
    if isinstance(value, Unmeasured | str | bool):
        return value
    item = getattr(value, "item", None)
    number = item() if callable(item) else value
    if isinstance(number, str | bool):
        return number
    if not isinstance(number, int | float):
        raise TypeError(f"a fact holds a {type(value).__name__}")
    return (
        number
        if isinstance(number, int) or math.isfinite(number)
        else Unmeasured("the measurement gave no finite number")
    )
