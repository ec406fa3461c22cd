"""The fact table as seen from one kind of subject: every fact becomes a column over that kind's ids. May import `measure`.

A rule about parameters reads `layer.role` as the role of the layer that owns the parameter, and `model.loss` as the model's. The columns
are made when they are first asked for, and shared by all rules.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import filterfalse

from trainaudit.measure.catalog import BY_NAME, DATA, FORWARD, SETTINGS, SINGLE_KINDS, TRAINING, FactSpec
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

    __slots__ = ("_having", "_layers", "_table", "_unmeasured", "_values", "columns", "kind", "subjects")

    def __init__(self, kind: str, table: FactTable) -> None:
        self.kind = kind
        self.subjects: Mapping[str, Subject] = table.subjects.get(kind, {})
        self._table = table
        self._layers: dict[str, str] = {}
        self.columns: Mapping[str, Mapping[str, FactValue]] = _Columns(self)
        self._values: dict[str, frozenset[FactValue]] = {}
        self._having: dict[tuple[str, frozenset[FactValue]], list[str]] = {}
        self._unmeasured: dict[str, Collection[str]] = {}

    def _checked(self, fact: str, column: Mapping[str, FactValue]) -> Mapping[str, FactValue]:
        """The column in Python's own types; notes on which subjects it was not measured."""
        types = set(map(type, column.values()))
        if float in types and not math.isfinite(_total(column.values(), types)):
            types.add(complex)
        if not types <= _PLAIN | {Unmeasured}:
            column = {subject: _plain(value) for subject, value in column.items()}
            types = set(map(type, column.values()))
        if Unmeasured in types:
            self._unmeasured[fact] = frozenset([s for s, value in column.items() if value.__class__ is Unmeasured])
        return column

    def values(self, fact: str) -> frozenset[FactValue]:
        """The different values of a fact that has few."""
        values = self._values.get(fact)
        if values is None:
            values = self._values[fact] = frozenset(self.columns[fact].values())
        return values

    def having(self, fact: str, values: frozenset[FactValue]) -> Collection[str]:
        """The subjects on which the fact has one of these values: many rules ask for the same kinds of layers."""
        found = self._having.get((fact, values))
        if found is None:
            column = self.columns[fact]
            found = self._having[fact, values] = [subject for subject, value in column.items() if value in values]
        return found

    def without_value(self, facts: Iterable[FactSpec], subjects: Collection[str]) -> Collection[str]:
        """Those of the subjects on which one of the facts is absent or unmeasured, and perhaps others that are not asked for."""
        found: set[str] = set()
        for spec in facts:
            column = self.columns[spec.name]
            found.update(self._unmeasured.get(spec.name, ()))
            if len(column) < len(self.subjects):
                found.update(filterfalse(column.__contains__, subjects))
        return found

    def is_empty(self, fact: str) -> bool:
        """The fact applies to no subject."""
        return not self.columns[fact]

    def subjects_with(self, facts: Iterable[str]) -> Collection[str]:
        """Ids of the subjects that have all these facts."""
        columns = sorted((self.columns[fact] for fact in sorted(facts)), key=len)
        columns = [column for column in columns if len(column) < len(self.subjects)]
        if not columns:
            return self.subjects.keys()
        subjects: Collection[str] = columns[0].keys()
        for other in columns[1:]:
            subjects = [subject for subject in subjects if subject in other]
        return subjects

    def seen(self, fact: str) -> Mapping[str, FactValue]:
        """What `columns` holds of a fact."""
        spec = BY_NAME[fact]
        column = self._table.columns.get(fact, {})
        if fact not in self._table.columns and spec.source in NOT_RUN:
            # Evidence that was not gathered is not run, not inapplicable.
            return self._everywhere(fact, Unmeasured(NOT_RUN[spec.source]))
        if spec.kind in SINGLE_KINDS:
            return self._everywhere(fact, column.get(spec.kind))
        if spec.kind == self.kind:
            return self._checked(fact, column)
        if not self._layers:
            owners = ((name, subject.layer) for name, subject in self.subjects.items())
            self._layers = {name: layer for name, layer in owners if layer is not None}
        return self._checked(fact, {name: column[layer] for name, layer in self._layers.items() if layer in column})

    def _everywhere(self, fact: str, value: FactValue | None) -> Mapping[str, FactValue]:
        """The same value on all subjects, where there is one."""
        if value is None or not self.subjects:
            return {}
        value = _plain(value)
        if isinstance(value, Unmeasured):
            self._unmeasured[fact] = self.subjects
        return _Everywhere(self.subjects, value)


class _Columns(dict[str, Mapping[str, FactValue]]):
    """Fact → subject id → value, for the subjects to which the fact applies; each column is made when it is first asked for."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __missing__(self, fact: str) -> Mapping[str, FactValue]:
        column = self[fact] = self._view.seen(fact)
        return column


class _Everywhere(Mapping[str, FactValue]):
    """One value on all subjects."""

    __slots__ = ("_subjects", "_value")

    def __init__(self, subjects: Mapping[str, Subject], value: FactValue) -> None:
        self._subjects = subjects
        self._value = value

    def __getitem__(self, subject: str) -> FactValue:
        return self._value

    def __iter__(self) -> Iterator[str]:
        return iter(self._subjects)

    def __len__(self) -> int:
        return len(self._subjects)


def _total(values: Iterable[FactValue], types: Collection[type]) -> float:
    """The sum of the floats, which is finite if they are."""
    if len(types) > 1:
        values = [value for value in values if value.__class__ is float]
    return sum(values)  # type: ignore[arg-type]


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
