"""Parts of batches: examples are taken, split and zeroed along the axis that counts them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from trainaudit.probe.batches import inputs, split, take, with_inputs, zeroed  # noqa: E402
from trainaudit.probe.trainee import Batch  # noqa: E402


def named_batch() -> Batch:
    ids, labels = torch.arange(12).reshape(4, 3), torch.arange(4)
    mask = torch.ones(4, 3, dtype=torch.long)
    raw = {"ids": ids, "attention_mask": mask, "labels": labels}
    return Batch(kwargs=raw, target=labels, raw=raw, size=4)


def test_examples_are_taken_everywhere_alike() -> None:
    part = take(named_batch(), [2, 0])
    assert part.size == 2
    assert part.kwargs["ids"].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert part.target.tolist() == [2, 0]
    assert part.raw["labels"] is part.target
    assert part.raw["ids"] is part.kwargs["ids"]


def test_sequences_that_come_time_first_are_cut_along_their_second_axis() -> None:
    batch = Batch((torch.arange(20).reshape(5, 4, 1),), target=torch.arange(4), size=4)
    assert take(batch, [1]).args[0].flatten().tolist() == [1, 5, 9, 13, 17]


def test_a_batch_that_cannot_be_told_apart_stays_whole() -> None:
    nodes, edges = torch.zeros(7, 3), torch.zeros(2, 9, dtype=torch.long)
    batch = Batch((nodes, edges), target=torch.zeros(7), size=7)
    assert take(batch, [0]) is batch
    assert split(batch, 2) == (batch,)


def test_labels_and_masks_are_no_inputs() -> None:
    batch = named_batch()
    assert [tensor is batch.kwargs["ids"] for tensor in inputs(batch)] == [True]
    blank = zeroed(batch)
    assert not blank.kwargs["ids"].any()
    assert blank.kwargs["attention_mask"].all()
    assert blank.kwargs["labels"].tolist() == [0, 1, 2, 3]
    assert not blank.raw["ids"].any()


def test_new_inputs_stand_where_the_old_ones_stood() -> None:
    x, y = torch.zeros(2, 3), torch.zeros(2)
    changed = with_inputs(Batch((x,), target=y, raw=(x, y), size=2), [x + 1])
    assert changed.args[0].all()
    assert changed.raw[0] is changed.args[0]
    assert changed.raw[1] is y


def test_a_split_leaves_out_a_rest_that_is_smaller() -> None:
    batch = Batch((torch.arange(10)[:, None],), target=torch.arange(10), size=10)
    assert [part.target.tolist() for part in split(batch, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert split(batch, 10) == (batch,)
