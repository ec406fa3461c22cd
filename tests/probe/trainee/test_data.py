"""`--data`: every kind of thing that it may name, and one sentence for each way in which that fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from tests.probe.trainee.made import losses, made_in
from trainaudit.errors import TrainauditError

CODE = """
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler
import numpy as np

generator = torch.Generator().manual_seed(0)
X = torch.randn(96, 6, generator=generator)
Y = torch.randint(0, 3, (96,), generator=generator)

class Rows(Dataset):
    def __len__(self): return 96
    def __getitem__(self, i): return X[i], Y[i]

class Duck:
    def __len__(self): return 96
    def __getitem__(self, i): return X[i].numpy(), int(Y[i])

class Stream(IterableDataset):
    def __iter__(self): return iter(zip(X, Y))

loader = DataLoader(TensorDataset(X, Y), batch_size=16)
rows = Rows()
duck = Duck()
stream = Stream()
pair = (X, Y)
arrays = (X.numpy().astype("float64"), Y.numpy())
columns = {"x": X, "y": Y}
batches = [(X[:32], Y[:32]), (X[32:64], Y[32:64])]
examples = [(X[i], Y[i]) for i in range(96)]
dicts = [{"input": X[:32], "labels": Y[:32]}]

def once():
    for start in range(0, 96, 32):
        yield X[start:start + 32], Y[start:start + 32]

def function(seed, batch_size):
    return DataLoader(TensorDataset(X, Y), batch_size=batch_size)

def both():
    return loader, DataLoader(TensorDataset(X[:32], Y[:32]), batch_size=8)

def four():
    return X[:64], Y[:64], X[64:], Y[64:]

drawn = DataLoader(TensorDataset(X, Y), 16, sampler=WeightedRandomSampler(torch.ones(96), 96))

def split():
    return {"train": (X[:64], Y[:64]), "val": (X[64:], Y[64:])}

def informed(seed):
    return X, Y, {"classes": 3}
"""


@pytest.mark.parametrize(
    ("name", "size", "batches", "words"),
    [
        ("loader", 16, 6, "the DataLoader net.py:loader"),
        ("rows", 32, 3, "96 examples of net.py:rows in batches of 32, shuffled and collated by trainaudit"),
        ("duck", 32, 3, "96 examples of net.py:duck in batches of 32, shuffled and collated by trainaudit"),
        ("Rows", 32, 3, "96 examples of net.py:Rows in batches of 32, shuffled and collated by trainaudit"),
        ("stream", 32, 3, "the IterableDataset net.py:stream in batches of 32"),
        ("pair", 32, 3, "96 examples of net.py:pair in batches of 32, shuffled by trainaudit"),
        ("arrays", 32, 3, "96 examples of net.py:arrays in batches of 32, shuffled by trainaudit"),
        ("columns", 32, 3, "96 examples of net.py:columns in batches of 32, shuffled by trainaudit"),
        ("batches", 32, 2, "the iterable net.py:batches"),
        ("dicts", 32, 1, "the iterable net.py:dicts"),
        ("once", 32, 3, "the one pass of the iterable net.py:once"),
        ("function", 32, 3, "the DataLoader net.py:function"),
        ("informed", 32, 3, "96 examples of net.py:informed in batches of 32, shuffled by trainaudit"),
    ],
)
def test_every_kind_becomes_batches(work: Path, name: str, size: int, batches: int, words: str) -> None:
    trainee = made_in(work, CODE, data=f"net.py:{name}")
    assert [batch.size for batch in trainee.train] == [size] * batches
    assert trainee.data == "real"
    assert trainee.is_whole
    assert trainee.words["data"] == words
    assert trainee.loss == "cross-entropy"
    first = trainee.train[0]
    assert first.target.dtype == torch.int64
    assert next(iter((*first.args, *first.kwargs.values()))).dtype == torch.float32
    assert all(np.isfinite(losses(trainee, 3)))


@pytest.mark.parametrize(
    ("name", "may_repeat"),
    [("loader", False), ("drawn", True), ("rows", False), ("stream", True), ("batches", False), ("once", True)],
)
def test_what_is_drawn_with_replacement_or_streamed_may_come_twice(work: Path, name: str, may_repeat: bool) -> None:
    assert made_in(work, CODE, data=f"net.py:{name}").source.may_repeat is may_repeat


def test_examples_are_told_from_batches_by_the_models_input(work: Path) -> None:
    from trainaudit.load.target import Target, parse_inputs
    from trainaudit.probe.making import make_trainee
    from trainaudit.probe.plan import ProbePlan

    made_in(work, CODE)
    target = Target("net.py:build_model", inputs=parse_inputs(["float32[2,6]"]))
    trainee = make_trainee(target, ProbePlan(data="net.py:examples"), None)
    assert [batch.size for batch in trainee.train] == [32] * 3


@pytest.mark.parametrize("name", ["both", "four", "split"])
def test_validation_data_come_along(work: Path, name: str) -> None:
    trainee = made_in(work, CODE, data=f"net.py:{name}")
    assert sum(batch.size for batch in trainee.validation) == 32
    assert all(batch.target is not None for batch in trainee.validation)


def test_validation_data_are_named_apart(work: Path) -> None:
    trainee = made_in(work, CODE, data="net.py:loader", validation="net.py:batches")
    assert [batch.size for batch in trainee.validation] == [32, 32]


def test_validation_alone_is_refused(work: Path) -> None:
    with pytest.raises(TrainauditError, match=r"^Validation data are given, and no training data\."):
        made_in(work, CODE, validation="net.py:batches")


def test_the_batch_size_is_the_plans(work: Path) -> None:
    assert [batch.size for batch in made_in(work, CODE, data="net.py:pair", batch_size=48).train] == [48, 48]


# --- files ---------------------------------------------------------------------------------------------------------------


def table(dtype: str = "float32") -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {"x": generator.normal(size=(64, 6)).astype(dtype), "y": generator.integers(0, 3, 64)}


@pytest.mark.parametrize("names", [("x", "y"), ("inputs", "targets"), ("input", "labels")])
@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_files_of_arrays(work: Path, names: tuple[str, str], kind: str) -> None:
    arrays = dict(zip(names, table().values(), strict=True))
    if kind == "npz":
        np.savez(work / "data.npz", **arrays)
    else:
        save = pytest.importorskip("safetensors.numpy").save_file
        save(arrays, str(work / "data.safetensors"))
    trainee = made_in(work, data=f"data.{kind}")
    assert [batch.size for batch in trainee.train] == [32, 32]
    rows = {row.tobytes() for batch in trainee.train for row in batch.args[0].numpy()}
    assert rows == {row.tobytes() for row in arrays[names[0]]}


def test_a_file_with_validation_arrays(work: Path) -> None:
    arrays = table()
    np.savez(work / "data.npz", x_train=arrays["x"], y_train=arrays["y"], x_val=arrays["x"][:8], y_val=arrays["y"][:8])
    trainee = made_in(work, data="data.npz")
    assert sum(batch.size for batch in trainee.train) == 64
    assert sum(batch.size for batch in trainee.validation) == 8


def test_nothing_is_unpickled(work: Path) -> None:
    class Canary:
        def __reduce__(self) -> Any:
            return (os.mkdir, ("unpickled",))

    np.savez(work / "data.npz", x=np.array([Canary()], dtype=object), y=np.zeros(1))
    with pytest.raises(TrainauditError) as refused:
        made_in(work, data="data.npz")
    assert str(refused.value) == "data.npz holds Python objects, which are not unpickled. Save arrays of numbers alone."
    assert not Path("unpickled").exists()


def test_arrays_of_different_length(work: Path) -> None:
    np.savez(work / "data.npz", x=np.zeros((8, 6)), y=np.zeros(7))
    with pytest.raises(TrainauditError) as refused:
        made_in(work, data="data.npz")
    what = "The arrays of data.npz differ in the number of examples (x 8, y 7)."
    assert refused.value.what == what


def test_a_damaged_file(work: Path) -> None:
    (work / "data.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(TrainauditError, match=r"^data\.npz cannot be read \(BadZipFile"):
        made_in(work, data="data.npz")


# --- what fails ----------------------------------------------------------------------------------------------------------

FAILING = """
from torch.utils.data import DataLoader, Dataset

class Broken(Dataset):
    def __len__(self): return 64
    def __getitem__(self, i):
        if i == 40: raise ValueError("row 40 is damaged")
        return torch.zeros(6), 0

broken = DataLoader(Broken(), batch_size=32)
workers = DataLoader(Broken(), batch_size=32, num_workers=1)
empty = []
nothing = DataLoader([], batch_size=4)
number = 7

def needs(path, root="."): return []

def raises(): raise OSError("no disk")
"""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("broken", r"^Reading net.py:broken failed at net.py:\d+ \(ValueError: row 40 is damaged\)\."),
        ("workers", r"^Reading net.py:workers failed at net.py:\d+ in a worker \(ValueError: row 40 is damaged\)\."),
        ("empty", r"^net.py:empty gave no batch\."),
        ("nothing", r"^net.py:nothing gave no batch\."),
        ("number", r"^net.py:number gives an int, which holds no batches\. Name a DataLoader"),
        ("needs", r"^net.py:needs needs path\. Give it a default, or wrap it in a function without arguments\."),
        ("raises", r"^net.py:raises failed at net.py:\d+ \(OSError: no disk\)\."),
        ("brocken", r"^net.py has no brocken\. Did you mean \"broken\"\?"),
    ],
)
def test_one_sentence_for_what_fails(work: Path, name: str, sentence: str) -> None:
    with pytest.raises(TrainauditError, match=sentence):
        made_in(work, FAILING, data=f"net.py:{name}")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("missing.npz", "missing.npz does not exist. Check the path."),
        ("batches", '--data "batches" is no import string. Write pkg.mod:NAME or path/file.py:NAME.'),
        ("nowhere.py:x", "nowhere.py does not exist. Check the path."),
    ],
)
def test_what_is_not_there(work: Path, data: str, sentence: str) -> None:
    with pytest.raises(TrainauditError) as refused:
        made_in(work, data=data)
    assert str(refused.value) == sentence


def test_an_endless_loader_is_read_within_bounds(work: Path) -> None:
    code = """
def endless():
    while True:
        yield torch.zeros(64, 6), torch.zeros(64, dtype=torch.long)
"""
    trainee = made_in(work, code, data="net.py:endless")
    assert sum(batch.size for batch in trainee.train) == 64 * 64
    assert not trainee.is_whole


def test_reading_draws_nothing_from_the_callers_generators(work: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    made_in(work, CODE, data="net.py:rows")
    torch.manual_seed(5)
    made_in(work, CODE, data="net.py:function")
    assert torch.equal(torch.rand(1), expected)
