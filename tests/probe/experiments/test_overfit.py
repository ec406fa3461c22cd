"""One batch by heart: what learns it does, and what cannot names the floor that it stalls at."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.probe.experiments.trainees import clusters, conditions, mlp, trainee  # noqa: E402
from trainaudit.probe.experiments.floors import double_softmax, sigmoid_before_logits  # noqa: E402
from trainaudit.probe.experiments.overfit import EXAMPLES, overfit_one_batch  # noqa: E402
from trainaudit.probe.experiments.standardized import standardized  # noqa: E402
from trainaudit.probe.experiments.target_shape import target_shape  # noqa: E402
from trainaudit.probe.trainee import Trainee  # noqa: E402
from trainaudit.trace.experiments import NAMES, RAN, Experiment  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Using a target size")


def run(subject: Trainee, **others: object) -> Experiment:
    found = overfit_one_batch(conditions(subject, **others))
    assert found.state == RAN, found.reason
    assert set(found.values) <= set(NAMES["overfit-one-batch"])
    return found


def two_values(count: int = 64, share: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
    x, _ = clusters(count)
    return x, (torch.arange(count) % round(1 / share) == 0).float()[:, None]


def test_a_network_that_can_learns_the_batch_by_heart() -> None:
    found = run(trainee(mlp(8, 32, 4), *clusters()))
    assert found.values["accuracy"] == 1.0
    assert found.values["final_loss"] < 0.02
    assert found.values["sample_count"] == EXAMPLES[0]
    assert found.values["optimizer"] == "user"
    assert not found.values["is_stalled"]
    assert found.values["nearest_floor"] == "none"


def test_dropout_and_weight_decay_are_off_whoever_asks_for_them() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.drop = nn.Linear(8, 64), nn.Linear(64, 4), nn.Dropout(0.9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.drop(torch.relu(self.first(x)))
            return self.second(nn.functional.dropout(hidden, 0.9, self.training))

    torch.manual_seed(0)
    decaying = trainee(
        Dropping(), *clusters(), optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.3, weight_decay=0.5)
    )
    assert run(decaying).values["final_loss"] < 0.02


def test_a_learning_rate_that_is_too_small_is_no_fault_of_the_network() -> None:
    slow = trainee(mlp(8, 32, 4), *clusters(), optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1e-8))
    values = run(slow).values
    assert values["optimizer"] == "own"
    assert values["final_loss"] < 0.02
    assert values["user_final_loss"] == pytest.approx(values["start_loss"], rel=1e-3)


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_softmax_twice_stalls_at_its_floor(classes: int) -> None:
    model = mlp(8, 64, classes, last=(nn.Softmax(dim=1),))
    values = run(trainee(model, *clusters(classes=classes))).values
    assert values["floor_double_softmax"] == pytest.approx(math.log(math.e + classes - 1) - 1)
    assert values["nearest_floor"] == "double-softmax"


def test_the_double_softmax_floor_is_what_cross_entropy_gives_for_the_surest_answer() -> None:
    for classes in (2, 5, 100):
        surest = torch.zeros(1, classes, dtype=torch.float64)
        surest[0, 0] = 1
        assert double_softmax(classes) == pytest.approx(float(nn.functional.cross_entropy(surest, torch.tensor([0]))))


def test_a_sigmoid_before_logits_stalls_at_its_floor() -> None:
    x, y = two_values()
    values = run(trainee(mlp(8, 64, 1, last=(nn.Sigmoid(),)), x, y, loss="bce-with-logits")).values
    surest = nn.functional.binary_cross_entropy_with_logits(y[:16], y[:16])
    assert values["floor_sigmoid"] == pytest.approx(float(surest), rel=1e-6)
    assert sigmoid_before_logits(0.25) == pytest.approx(float(surest), rel=1e-6)
    assert values["nearest_floor"] == "sigmoid"


def test_a_target_that_is_broadcast_stalls_at_its_variance() -> None:
    x, _ = clusters(64)
    y = x[:, 0] * x[:, 1]
    subject = trainee(mlp(8, 64, 1), x, y, loss="mse")
    found = run(subject, earlier={"target-shape": target_shape(conditions(subject))})
    assert found.values["floor_broadcast"] == pytest.approx(float(y[:16].var(unbiased=False)), rel=1e-6)
    assert found.values["nearest_floor"] == "broadcast"
    right = run(trainee(mlp(8, 64, 1), x, y[:, None], loss="mse"))
    assert right.values["final_loss"] < 0.02 * right.values["constant_loss"]


def test_a_network_of_dead_units_answers_the_constant() -> None:
    model = mlp(8, 32, 4)
    with torch.no_grad():
        model[0].bias.fill_(-1000)
    values = run(trainee(model, *clusters())).values
    assert values["nearest_floor"] == "constant"
    assert values["is_stalled"] is True
    assert values["constant_loss"] == pytest.approx(math.log(4), rel=1e-6)


def clipped(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Keras's cross-entropy of probabilities: below 1e-7 it has no gradient."""
    return -output.softmax(1).clamp(1e-7, 1.0).log().gather(1, target[:, None]).mean()


def test_inputs_off_scale_are_told_from_a_network_that_cannot_learn() -> None:
    x, y = clusters(64)
    on_scale = run(trainee(mlp(8, 32, 4), x, y, function=clipped, name="cross-entropy"))
    assert on_scale.values["final_loss"] < 0.02
    far = run(trainee(mlp(8, 32, 4), 1000 * (x + 3), y, function=clipped, name="cross-entropy"))
    assert far.values["final_loss"] > 1.0
    assert far.values["is_learnt_standardized"] is True
    model = mlp(8, 32, 4)
    with torch.no_grad():
        model[2].weight.zero_()
    model[2].weight.requires_grad_(False)
    constant = run(trainee(model, 1000 * (x + 3), y)).values
    assert constant["final_loss"] > 1.0
    assert constant["is_learnt_standardized"] is False


def test_columns_are_standardized_each_by_its_own_mean() -> None:
    x = torch.stack([torch.arange(64.0), 1000 + 10 * torch.arange(64.0), torch.full((64,), 5.0)], 1)
    subject = trainee(mlp(3, 4), x, torch.zeros(64, dtype=torch.long))
    (changed,) = standardized(subject, subject.train[0]).args
    assert torch.allclose(changed[:, 0], changed[:, 1])
    assert torch.allclose(changed[:, 0], ((x[:, 0] - x[:, 0].mean()) / x[:, 0].std(unbiased=False))[:16])
    assert changed[:, 2].abs().max() == 0
    fine = trainee(mlp(8, 4), *clusters())
    assert standardized(fine, fine.train[0]) is None


def test_equal_inputs_with_different_labels_force_a_loss() -> None:
    x, y = clusters(64)
    x[0], y[0], y[1] = x[1], 0, 1
    values = run(trainee(mlp(8, 64, 4), x, y)).values
    assert values["label_conflict"] == pytest.approx(2 / 16 * math.log(2))
    assert values["final_loss"] == pytest.approx(values["label_conflict"], abs=0.02)


def test_floors_are_on_the_scale_of_a_loss_that_is_a_sum() -> None:
    def summed(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, target, reduction="sum")

    model = mlp(8, 64, 4, last=(nn.Softmax(dim=1),))
    values = run(trainee(model, *clusters(), function=summed, name="cross-entropy")).values
    assert values["floor_double_softmax"] == pytest.approx(16 * double_softmax(4), rel=1e-4)
    assert values["nearest_floor"] == "double-softmax"


def test_a_loss_that_is_not_known_by_name_tells_no_classes() -> None:
    """It may read the targets in its own way: language models shift them."""
    assert (
        "accuracy" not in run(trainee(mlp(8, 32, 4), *clusters(), function=nn.functional.cross_entropy, name="")).values
    )


def test_what_does_not_fit_into_the_time_is_not_run() -> None:
    found = overfit_one_batch(conditions(trainee(mlp(8, 32, 4), *clusters()), seconds=5, step_seconds=1.0))
    assert found.state == "not run"
    assert "time budget" in found.reason


def test_accuracy_and_loss_are_of_one_state() -> None:
    """An update that ruins what was learnt comes after the loss that is reported: the share of right answers behind it would deny that loss."""
    known = 0.005 * math.log(4)
    losses = [math.inf]

    def watched(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.cross_entropy(output, target)
        losses.append(loss.item())
        return loss

    class Ruining(torch.optim.Adam):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            super().step(closure)
            if losses[-1] <= known:
                with torch.no_grad():
                    for group in self.param_groups:
                        for weight in group["params"]:
                            weight.neg_()

    subject = trainee(
        mlp(8, 32, 4), *clusters(), function=watched, optimizer=lambda m: Ruining(m.parameters(), lr=0.01)
    )
    found = run(subject)
    assert found.values["optimizer"] == "user"
    assert found.values["least_loss"] <= known
    assert found.values.get("accuracy") is None
