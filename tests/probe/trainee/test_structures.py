"""Tensors in whatever users put them into."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from trainaudit.probe.structures import arrays_as_tensors, bytes_of, mapped, moved, shapes_shown, size_of, tensors_in


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass
class Record:
    rows: Any
    name: str = "record"


class Own:
    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def to(self, device: str) -> Own:
        return Own(device)


X = torch.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    "value", [X, (X, X), [X], {"a": X, "b": [X, 3]}, Pair(X, None), Record(X), OrderedDict(a=X), ({"a": (X,)}, "text")]
)
def test_every_tensor_is_changed_and_all_else_stays(value: Any) -> None:
    found = mapped(value, lambda tensor: tensor + 1)
    assert type(found) is type(value)
    before, after = list(tensors_in(value)), list(tensors_in(found))
    assert [name for name, _ in before] == [name for name, _ in after]
    assert all(torch.equal(new, old + 1) for (_, old), (_, new) in zip(before, after, strict=True))


def test_moving_keeps_one_object_in_several_places_one() -> None:
    own = Own()
    found = moved((X, {"again": X}, Record(X), own, [own], "word"), "meta")
    assert found[0].device.type == "meta"
    assert found[0] is found[1]["again"] is found[2].rows
    assert found[3] is found[4][0]
    assert (found[3].device, found[5], own.device) == ("meta", "word", "cpu")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float64", "float32"), ("float32", "float32"), ("float16", "float16"), ("int64", "int64"), ("int32", "int32"), ("uint8", "uint8"),
     ("uint16", "int64"), ("bool", "bool"), (">f4", "float32"), (">i8", "int64")],
)  # fmt: skip
def test_arrays_become_tensors(dtype: str, expected: str) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    found = arrays_as_tensors({"x": (array, "name", 3)})["x"]
    assert str(found[0].dtype) == f"torch.{expected}"
    assert found[0].tolist() == array.tolist()
    assert found[1:] == ("name", 3)


def test_texts_and_objects_stay_arrays() -> None:
    words = np.array(["a", "b"])
    assert arrays_as_tensors(words) is words


def test_a_tensor_of_an_array_has_its_own_memory() -> None:
    array = np.zeros(3, np.float32)
    arrays_as_tensors(array)[0] = 5
    assert array[0] == 0


def test_what_is_said_of_a_batch() -> None:
    batch = (X, {"ids": torch.zeros(3, 4, dtype=torch.long)}, "word")
    assert shapes_shown(batch) == "float32[3,2], 1.ids=int64[3,4]"
    assert (size_of(batch), bytes_of(batch)) == (3, 24 + 96)
    assert shapes_shown("word") == "no tensors"
