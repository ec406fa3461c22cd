"""How wrong outputs are, whatever the loss."""

from __future__ import annotations

import pytest

from trainaudit.fix.answers import errors_of

torch = pytest.importorskip("torch")


def test_classes_as_integers_and_as_one_hot_rows_are_judged_alike() -> None:
    output = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 5.0], [4.0, 0.0, 1.0]])
    labels = torch.tensor([0, 1, 2, 1])
    rows = torch.nn.functional.one_hot(labels, 3).float()
    assert errors_of("cross-entropy", [output], [labels]) == (0.25, None)
    assert errors_of("mse", [output[:2], output[2:]], [rows[:2], rows[2:]]) == (0.25, None)


def test_labels_that_the_loss_leaves_out_do_not_count() -> None:
    output = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    assert errors_of("cross-entropy", [output], [torch.tensor([0, -100])]) == (0.0, None)


def test_two_values_lie_on_the_sides_of_the_middle_of_what_the_loss_reads() -> None:
    target = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    shares = torch.tensor([[0.1], [0.9], [0.4], [0.2]])
    assert errors_of("bce", [shares], [target]) == (0.25, None)
    assert errors_of("bce-with-logits", [torch.logit(shares)], [target]) == (0.25, None)


def test_numbers_are_judged_against_the_best_constant_in_whichever_unit() -> None:
    target = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    constant = torch.full((4, 1), 2.5)
    assert errors_of("mse", [constant], [target]) == (None, 1.0)
    output = target + 0.1
    _, error = errors_of("mse", [output], [target])
    _, scaled = errors_of("mse", [output * 1000 - 7], [target * 1000 - 7])
    assert error == pytest.approx(0.008, rel=1e-4)
    assert scaled == pytest.approx(error, rel=1e-3)


def test_a_target_without_the_last_axis_is_the_same_numbers() -> None:
    target = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert errors_of("mse", [target[:, None] + 0.1], [target])[1] == pytest.approx(0.008, rel=1e-4)


def test_outputs_that_are_hidden_or_of_other_sizes_are_not_judged() -> None:
    assert errors_of("", [None], [torch.zeros(3)]) == (None, None)
    assert errors_of("", [torch.zeros(3, 2)], [torch.zeros(3, 5)]) == (None, None)
    assert errors_of("", [torch.zeros(3, 2)], [torch.zeros(3, 2) + 0.5]) == (None, None)
