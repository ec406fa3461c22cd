"""What is said of the data: moments against numpy's, shares that were planted, order and augmentation of real loaders."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.probe.trainee.made import made
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe.data import sources_in
from trainaudit.probe.data_order import order_of
from trainaudit.probe.data_statistics import describe
from trainaudit.probe.feature_statistics import feature_axis, features_of
from trainaudit.probe.label_statistics import batch_entropy_ratio, describe_targets
from trainaudit.probe.trainee import Batch, Trainee
from trainaudit.probe.user_objects import Caller
from trainaudit.trace.data import DataSample

FAR = math.inf


def trainee_of(batches: list[tuple[Any, Any]], held: list[tuple[Any, Any]] | None = None, **fields: Any) -> Trainee:
    """A trainee of batches that are there; the model and the loss are not looked at."""
    train, validation = ([Batch((x,), {}, y, (x, y), len(x)) for x, y in part] for part in (batches, held or []))
    settings: dict[str, Any] = {"loss": "cross-entropy", "class_count": 4, "data": "real", **fields}
    none: Any = None
    return Trainee(torch.nn.Identity(), none, none, tuple(train), tuple(validation), **settings)


def sample_of(batches: list[tuple[Any, Any]], held: list[tuple[Any, Any]] | None = None, **fields: Any) -> DataSample:
    return describe(trainee_of(batches, held, **fields), seed=0)


def draws(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def labels(count: int, seed: int = 0) -> Any:
    return torch.randint(0, 4, (count,), generator=torch.Generator().manual_seed(seed))


# --- inputs --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(2, 12), st.integers(1, 5), st.floats(-1e4, 1e4), st.floats(1e-3, 1e3))
def test_moments_are_numpys(batches: int, rows: int, columns: int, shift: float, scale: float) -> None:
    parts = [scale * draws(rows, columns, seed=seed).double() + shift for seed in range(batches)]
    whole = torch.cat(parts).numpy()
    found = features_of(parts)
    assert found.mean == pytest.approx(whole.mean(), rel=1e-6, abs=1e-9)
    assert found.std == pytest.approx(whole.std(), rel=1e-5, abs=1e-7 * max(1, abs(shift)))
    assert (found.least, found.most) == (whole.min(), whole.max())
    assert found.count == columns


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((8, 5), 1), ((8, 3, 9, 9), 1), ((8, 3, 100), 1), ((8, 16, 4), 2), ((8,), 0), ((8, 2, 3, 4, 5), 1)],
)
def test_what_a_feature_is(shape: tuple[int, ...], axis: int) -> None:
    tensor = draws(*shape)
    assert feature_axis(tensor) == axis
    assert features_of([tensor]).count == (1 if len(shape) == 1 else shape[axis])


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    values = draws(16, 4)
    values[3, 1], values[5, 2] = FAR, math.nan
    found = features_of([values])
    finite = values[values.isfinite()]
    assert found.non_finite_count == 2
    assert found.mean == pytest.approx(finite.double().mean().item())
    assert found.most == pytest.approx(finite.max().item())
    assert features_of([torch.full((4, 2), math.nan)]).mean is None


def test_constant_features_and_scales() -> None:
    values = draws(64, 8)
    values[:, 0] = 3.0
    values[:, 1] *= 1000
    found = features_of([values[:32], values[32:]])
    assert found.constant_share == 1 / 8
    stds = np.sort(values.numpy()[:, 1:].std(0))
    assert found.scale_ratio == pytest.approx(stds[-1] / np.quantile(stds, 0.25), rel=1e-4)


def test_outliers() -> None:
    values = draws(1000, 4)
    values[17, 2] = 50.0
    found = features_of([values])
    column = values[:, 2].double()
    assert found.largest_z == pytest.approx(((50 - column.mean()) / column.std(correction=0)).item(), rel=1e-6)
    assert found.outlier_share == 1 / 4000


def test_moments_of_much_data_are_those_of_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainaudit.probe.data_statistics._MOST_ELEMENTS", 300)
    parts = [(draws(20, 5, seed=seed), labels(20)) for seed in range(6)]
    parts[5][0][0, 0] = math.nan
    [found] = sample_of(parts).inputs
    assert found.mean == pytest.approx(torch.cat([x for x, _ in parts[:3]]).double().mean().item())
    assert found.non_finite_count == 1


def test_inputs_are_named_by_forward() -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(7, 3)

        def forward(self, ids: Any, weights: Any) -> Any:
            return self.table(ids).sum(1) + weights

    trainee = made(Two(), (torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 3)))
    from dataclasses import replace

    found = describe(replace(trainee, data="real"), seed=0).inputs
    assert [(item.name, item.dtype, item.mean is None) for item in found] == [
        ("ids", "int64", True),
        ("weights", "float32", False),
    ]


# --- examples ------------------------------------------------------------------------------------------------------------


def test_duplicates_and_contradictions() -> None:
    x, y = draws(64, 5), labels(64)
    x[10], y[10] = x[3], y[3]  # a copy
    x[40], y[40] = x[4], (y[4] + 1) % 4  # a contradiction
    sample = sample_of([(x[:32], y[:32]), (x[32:], y[32:])])
    assert sample.duplicate_share == 2 / 64
    assert sample.conflicting_share == 2 / 64
    assert (sample.sample_count, sample.batch_count, sample.batch_size) == (64, 2, 32)


def test_overlap() -> None:
    x, y = draws(64, 5), labels(64)
    sample = sample_of([(x, y)], [(torch.cat([x[:4], draws(12, 5, seed=9)]), labels(16))])
    assert sample.overlap_share == 4 / 16
    assert sample_of([(x, y)]).overlap_share is None


def test_of_synthetic_data_sizes_alone_are_said() -> None:
    sample = describe(made(), seed=0)
    assert (sample.kind, sample.sample_count, sample.inputs, sample.target) == ("teacher", 512, (), None)


# --- targets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "fields", "kind"),
    [
        (labels(64), {}, "classes"),
        (torch.nn.functional.one_hot(labels(64), 4).float(), {}, "classes"),
        (labels(64).float(), {}, "classes"),
        ((labels(64) > 1).float(), {"loss": "bce", "class_count": None}, "binary"),
        ((labels(64) > 1).long(), {"loss": "bce-with-logits", "class_count": None}, "binary"),
        (draws(64, 4).softmax(1), {}, "probabilities"),
        (draws(64, 1), {"loss": "mse", "class_count": None}, "values"),
        (labels(64), {"loss": "mse", "class_count": None}, "values"),
        (torch.zeros(64, dtype=torch.complex64), {"loss": "", "class_count": None}, "other"),
    ],
)
def test_kinds_of_targets(target: Any, fields: dict[str, Any], kind: str) -> None:
    found = sample_of([(draws(64, 3), target)], **fields).target
    assert found is not None
    assert found.kind == kind


def test_classes_are_counted() -> None:
    y = torch.tensor([0] * 40 + [1] * 20 + [2] * 3 + [-100])
    found = sample_of([(draws(64, 3), y)]).target
    assert found is not None
    assert dict(found.class_counts) == {"0": 40, "1": 20, "2": 3}
    assert (found.class_count, found.missing_class_count, found.ignored_count, found.out_of_range_count) == (4, 1, 1, 0)


def test_targets_that_are_not_finite() -> None:
    y = draws(64, 1)
    y[3] = math.nan
    found = sample_of([(draws(64, 3), y)], loss="mse", class_count=None).target
    assert found is not None
    assert (found.kind, found.non_finite_count) == ("values", 1)
    assert found.mean == pytest.approx(y[y.isfinite()].mean().item(), rel=1e-5)


def test_targets_that_are_no_tensors() -> None:
    assert describe_targets(trainee_of([]), [Batch(target=["a", "b"], size=2)]) is None


@pytest.mark.parametrize("size", [8, 32, 128])
def test_labels_of_shuffled_batches(size: int) -> None:
    """1 whatever the batch size, 0 where each batch holds one class."""
    y = torch.arange(1024) % 4
    shuffled = y[torch.randperm(1024, generator=torch.Generator().manual_seed(0))]
    parts = [(draws(size, 3), part) for part in shuffled.split(size)]
    trainee = trainee_of(parts)
    assert batch_entropy_ratio(trainee, trainee.train, 0) == pytest.approx(1.0, abs=0.03)
    trainee = trainee_of([(draws(size, 3), part) for part in y.sort().values.split(size)])
    assert batch_entropy_ratio(trainee, trainee.train, 0) == pytest.approx(0.0, abs=1e-6)


# --- order and augmentation ----------------------------------------------------------------------------------------------


class Jittered(Dataset):  # type: ignore[type-arg]
    """Noise that is drawn anew for each access, by one of the ways in which users draw."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.own = np.random.default_rng(0)
        self.labels = labels(64)

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        noise = {
            "torch": lambda: torch.randn(3),
            "numpy": lambda: torch.from_numpy(np.random.randn(3)),
            "python": lambda: torch.tensor([random.random() for _ in range(3)]),
            "own": lambda: torch.from_numpy(self.own.normal(size=3)),
            "none": lambda: torch.zeros(3),
        }[self.how]()
        return index + noise, self.labels[index]


def order(data: Any, ends: float = FAR) -> Any:
    [source, _] = sources_in(data, "data", Caller(), batch_size=16, rank=None)
    return order_of(source, seed=0, ends=ends)


def seed_all_the_same(_worker: int) -> None:
    torch.manual_seed(0)


def test_the_order_of_a_loader() -> None:
    data = TensorDataset(draws(64, 3), labels(64))
    assert order(DataLoader(data, batch_size=16)).is_same is True
    assert order(DataLoader(data, batch_size=16, shuffle=True)).is_same is False
    assert order(DataLoader(data, batch_size=64)).is_same is None  # one batch has no order
    assert order(data).is_same is None  # trainaudit's own order says nothing of the user's
    assert order(data).is_drawn_here


def test_the_order_of_augmented_data_shows_in_their_labels() -> None:
    assert order(DataLoader(Jittered("torch"), batch_size=16)).is_same is True
    assert order(DataLoader(Jittered("torch"), batch_size=16, shuffle=True)).is_same is False


@pytest.mark.parametrize(
    ("how", "augmented"), [("torch", True), ("numpy", True), ("python", True), ("own", True), ("none", False)]
)
def test_augmentation(how: str, augmented: bool) -> None:
    assert order(Jittered(how)).is_augmented is augmented


@pytest.mark.parametrize(
    ("how", "share"), [("torch", 0.0), ("numpy", 0.0), ("python", 0.0), ("own", 1.0), ("none", None)]
)
def test_workers_that_repeat_each_other(how: str, share: float | None) -> None:
    found = order(DataLoader(Jittered(how), batch_size=16, num_workers=2))
    assert found.repeated_share == share
    assert (found.notes != ()) == (share is not None)


def test_a_worker_init_function_that_undoes_the_seeds() -> None:
    loader = DataLoader(Jittered("torch"), batch_size=16, num_workers=2, worker_init_fn=seed_all_the_same)
    assert order(loader).repeated_share == 1.0


def test_the_emulation_draws_what_workers_draw() -> None:
    """Two real workers in two epochs, against what is said of them."""
    for how, share in (("torch", 0.0), ("own", 1.0)):
        loader = DataLoader(Jittered(how), batch_size=1, num_workers=2)
        with seeded(0):
            epochs = [[x for x, _ in loader] for _ in range(2)]
        draws_of = [[x - place for place, x in enumerate(epoch)] for epoch in epochs]
        # examples 0 and 1 are the first draws of worker 0 and 1
        first = [draw.round(decimals=6).flatten().tolist() for epoch in draws_of for draw in epoch[:2]]
        repeated = sum(first.count(draw) > 1 for draw in first) / len(first)
        assert repeated == share == order(loader).repeated_share


def test_without_time_nothing_is_told() -> None:
    found = order(DataLoader(Jittered("torch"), batch_size=16, num_workers=2), ends=-FAR)
    assert (found.is_augmented, found.repeated_share) == (None, None)


def test_a_source_that_breaks_down_later_is_said() -> None:
    class Loader(DataLoader):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            raise RuntimeError("only once")

    found = order(Loader(TensorDataset(draws(64, 3), labels(64)), batch_size=16))
    assert found.is_same is None
    assert "only once" in found.notes[0]


def test_a_user_sees_the_same_random_numbers_afterwards() -> None:
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    expected = (torch.rand(1).item(), np.random.rand(), random.random())
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    order(DataLoader(Jittered("torch"), batch_size=16, num_workers=2))
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
