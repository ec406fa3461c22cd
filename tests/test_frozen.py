"""`@frozen` and `@slotted` against the standard library's dataclasses: what one does the other does."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest

from trainaudit.frozen import frozen, slotted


@dataclass(frozen=True, slots=True)
class Standard:
    """A record."""

    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)


@frozen
class Ours:
    """A record."""

    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)

    @property
    def double(self) -> int:
        return 2 * self.size


@frozen
class Hashed:
    name: str
    shape: tuple[int, ...]


def test_fields_defaults_and_text_are_those_of_a_dataclass() -> None:
    standard, ours = Standard("a", tags=["b"]), Ours("a", tags=["b"])
    assert [item.name for item in fields(ours)] == [item.name for item in fields(standard)]
    assert is_dataclass(Ours)
    assert (ours.name, ours.size, ours.tags, ours.double) == ("a", 3, ["b"], 6)
    assert repr(ours) == repr(standard).replace("Standard", "Ours")
    assert not hasattr(ours, "__dict__")
    assert Ours.__doc__ == "A record."


def test_default_factories_run_for_each_instance() -> None:
    assert Ours("a").tags is not Ours("a").tags


def test_instances_are_compared_and_hashed_by_value() -> None:
    assert Ours("a") == Ours("a")
    assert Ours("a") != Ours("b")
    assert Ours("a") != Standard("a")
    assert hash(Hashed("a", (1, 2))) == hash(Hashed("a", (1, 2)))
    assert len({Hashed("a", (1,)), Hashed("a", (1,)), Hashed("a", (2,))}) == 2


def test_nothing_can_be_changed() -> None:
    ours: Any = Ours("a")
    with pytest.raises(FrozenInstanceError, match="size"):
        ours.size = 4
    with pytest.raises(FrozenInstanceError):
        del ours.name
    with pytest.raises((FrozenInstanceError, AttributeError)):
        ours.other = 1
    assert ours == Ours("a")


def test_copies_replacements_and_pickles_are_equal() -> None:
    ours = Ours("a", 5, ["b"])
    assert replace(ours, size=6) == Ours("a", 6, ["b"])
    assert copy.deepcopy(ours) == copy.copy(ours) == pickle.loads(pickle.dumps(ours)) == ours


def test_wrong_arguments_are_refused_by_name() -> None:
    kind: Any = Ours
    with pytest.raises(TypeError, match=r"Ours.__init__\(\) missing 1 required positional argument: 'name'"):
        kind()
    with pytest.raises(TypeError, match="unexpected keyword"):
        kind("a", color=1)


@frozen(eq=False)
class Identified:
    size: int


def test_compared_by_identity() -> None:
    one = Identified(1)
    assert one == one
    assert one != Identified(1)
    assert len({one, Identified(1)}) == 2
    with pytest.raises(FrozenInstanceError):
        one.size = 2  # type: ignore[misc]


@slotted
class Open:
    name: str
    size: int = 3
    tags: list[str] = field(default_factory=list)
    twice: int = 0

    def __post_init__(self) -> None:
        self.twice = 2 * self.size


@slotted(eq=False)
class Single:
    name: str


def test_slotted_classes_can_be_changed_and_are_compared_by_value() -> None:
    one: Any = Open("a")
    assert (one.name, one.size, one.tags, one.twice) == ("a", 3, [], 6)
    assert one.tags is not Open("a").tags
    assert one == Open("a")
    one.size = 4
    assert one != Open("a")
    assert repr(one) == "Open(name='a', size=4, tags=[], twice=6)"
    assert not hasattr(one, "__dict__")
    with pytest.raises(AttributeError):
        one.other = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    assert copy.deepcopy(one) == copy.copy(one) == pickle.loads(pickle.dumps(one)) == one


def test_slotted_classes_without_equality_are_compared_by_identity() -> None:
    one = Single("a")
    assert one != Single("a")
    assert {one: 1}[one] == 1
