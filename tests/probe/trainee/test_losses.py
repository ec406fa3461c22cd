"""The losses that have a name, against torch's own, against Keras' formulas written out, and against autograd."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional

from trainaudit.probe.identifying import identified
from trainaudit.probe.losses import NAMED, TORCH_CLASSES, class_axis
from trainaudit.settings import LOSSES


def draws(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def labels(count: int, *shape: int) -> Any:
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(1))


def test_every_name_of_the_settings_is_a_loss() -> None:
    assert set(NAMED) == set(LOSSES)
    assert set(TORCH_CLASSES.values()) <= set(LOSSES)


@pytest.mark.parametrize(
    ("name", "output", "target", "expected"),
    [
        ("cross-entropy", draws(8, 5), labels(5, 8), functional.cross_entropy(draws(8, 5), labels(5, 8))),
        ("nll", draws(8, 5).log_softmax(1), labels(5, 8), functional.cross_entropy(draws(8, 5), labels(5, 8))),
        ("categorical-crossentropy", draws(8, 5).softmax(1), labels(5, 8), functional.cross_entropy(draws(8, 5), labels(5, 8))),
        ("bce", draws(8, 2).sigmoid(), labels(2, 8, 2), functional.binary_cross_entropy_with_logits(draws(8, 2), labels(2, 8, 2).float())),
        ("bce-with-logits", draws(8, 2), labels(2, 8, 2), functional.binary_cross_entropy_with_logits(draws(8, 2), labels(2, 8, 2).float())),
        ("mse", draws(8, 2), draws(8, 2) + 3, torch.tensor(9.0)),
        ("l1", draws(8, 2), draws(8, 2) - 3, torch.tensor(3.0)),
        ("huber", draws(8, 2), draws(8, 2) + 3, torch.tensor(2.5)),
        ("hinge", draws(8, 5), labels(5, 8), functional.multi_margin_loss(draws(8, 5), labels(5, 8))),
        ("kl", draws(8, 5).log_softmax(1), draws(8, 5).softmax(1), torch.tensor(0.0)),
    ],
)  # fmt: skip
def test_values(name: str, output: Any, target: Any, expected: Any) -> None:
    torch.testing.assert_close(NAMED[name](output, target), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["cross-entropy", "nll", "categorical-crossentropy"])
def test_one_hot_rows_are_the_same_as_indices(name: str) -> None:
    output = draws(8, 5).softmax(1) if name == "categorical-crossentropy" else draws(8, 5).log_softmax(1)
    rows = functional.one_hot(labels(5, 8), 5).float()
    torch.testing.assert_close(NAMED[name](output, rows), NAMED[name](output, labels(5, 8)))


@pytest.mark.parametrize(
    ("output", "target", "axis"),
    [((8, 5), (8,), 1), ((8, 7, 5), (8, 7), 2), ((8, 5, 7), (8, 7), 1), ((8, 5, 4, 4), (8, 4, 4), 1), ((8, 5, 4, 4), (8, 5, 4, 4), 1)],
)  # fmt: skip
def test_the_axis_of_the_classes(output: tuple[int, ...], target: tuple[int, ...], axis: int) -> None:
    wanted = draws(*target) if target == output else labels(5, *target)
    assert class_axis(draws(*output), wanted) == axis


def test_language_models_have_classes_last() -> None:
    output, target = draws(8, 7, 5), labels(5, 8, 7)
    expected = functional.cross_entropy(output.reshape(-1, 5), target.reshape(-1))
    torch.testing.assert_close(NAMED["cross-entropy"](output, target), expected)


def test_keras_rescales_and_clips_probabilities() -> None:
    """keras.losses.categorical_crossentropy: p / Σp, then clipped to [1e-7, 1 − 1e-7]."""
    output = torch.tensor([[0.0, 2.0, 2.0], [1.0, 0.0, 0.0]])
    value = NAMED["categorical-crossentropy"](output, torch.tensor([0, 0]))
    assert value.item() == pytest.approx((-math.log(1e-7) - math.log(1 - 1e-7)) / 2, rel=1e-5)


def test_binary_crossentropy_is_finite_outside_the_unit_interval() -> None:
    output = torch.tensor([[-1.0], [2.0]], requires_grad=True)
    loss = NAMED["bce"](output, torch.tensor([[1.0], [1.0]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert output.grad is not None
    assert output.grad.tolist() == [[0.0], [0.0]]


def test_hinge_takes_zeros_and_ones_as_signs() -> None:
    output = torch.tensor([[0.5], [-2.0]])
    assert NAMED["hinge"](output, torch.tensor([[1], [0]])).item() == pytest.approx(0.25)
    assert NAMED["hinge"](output, torch.tensor([[1.0], [-1.0]])).item() == pytest.approx(0.25)


def test_squared_errors_broadcast_as_torch_does() -> None:
    """(N, 1) against (N,) is a fault that a probe is there to find; a declared loss hides nothing."""
    output, target = torch.zeros(4, 1), torch.tensor([1.0, 2.0, 3.0, 4.0])
    with pytest.warns(UserWarning, match="broadcasting"):
        assert NAMED["mse"](output, target).item() == pytest.approx(7.5)


@pytest.mark.parametrize("name", ["bce", "kl"])
def test_shapes_that_differ_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"outputs of shape \(8, 1\) and targets of shape \(8,\) differ"):
        NAMED[name](draws(8, 1).sigmoid(), labels(2, 8))


# --- a criterion of the user's own is named by what it computes ----------------------------------------------------------


def written_out(p: Any, y: Any) -> Any:
    return -(y * torch.log(p.clamp(1e-7, 1 - 1e-7))).sum(1).mean()


def softmax_within(z: Any, y: Any) -> Any:
    return -(z.log_softmax(1).gather(1, y[:, None])).mean()


@pytest.mark.parametrize(
    ("criterion", "output", "target", "name"),
    [
        (softmax_within, draws(8, 5), labels(5, 8), "cross-entropy"),
        (written_out, draws(8, 5).softmax(1), functional.one_hot(labels(5, 8), 5).float(), "categorical-crossentropy"),
        (lambda p, y: ((p - y) ** 2).mean(), draws(8, 2), draws(8, 2), "mse"),
        (lambda p, y: (p - y).abs().mean(), draws(8, 2), draws(8, 2), "l1"),
        (lambda p, y: ((p - y) ** 2).sum(), draws(8, 2), draws(8, 2), ""),
        (lambda p, y: ((p - y) ** 2).mean() + 0.1, draws(8, 2), draws(8, 2), ""),
        (lambda p, y: p.broken + y, draws(8, 2), draws(8, 2), ""),
        (lambda p, y: (p - y).square().mean().log(), draws(8, 2), draws(8, 2), ""),
    ],
)
def test_identified(criterion: Any, output: Any, target: Any, name: str) -> None:
    assert identified(criterion, output, target) == name


def test_torchs_own_losses_are_identified_too() -> None:
    """The same way tells each class of torch.nn by its values alone."""
    cases = {
        "CrossEntropyLoss": (draws(8, 5), labels(5, 8)),
        "NLLLoss": (draws(8, 5).log_softmax(1), labels(5, 8)),
        "BCELoss": (draws(8, 2).sigmoid(), labels(2, 8, 2).float()),
        "BCEWithLogitsLoss": (draws(8, 2), labels(2, 8, 2).float()),
        "MSELoss": (draws(8, 2), draws(8, 2) + 1),
        "L1Loss": (draws(8, 2), draws(8, 2) + 1),
        "HuberLoss": (draws(8, 2), draws(8, 2) + 1),
        "MultiMarginLoss": (draws(8, 5), labels(5, 8)),
    }
    found = {name: identified(getattr(torch.nn, name)(), *case) for name, case in cases.items()}
    assert found == {name: TORCH_CLASSES[name] for name in cases}
