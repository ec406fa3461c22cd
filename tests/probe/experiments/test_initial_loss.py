"""The loss at the start: what it should be by the loss and the data, and what it is."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.probe.experiments.trainees import clusters, conditions, mlp, trainee  # noqa: E402
from trainaudit.probe.experiments.initial_loss import loss_at_init  # noqa: E402
from trainaudit.probe.trainee import Trainee  # noqa: E402
from trainaudit.trace.experiments import NAMES, RAN, Experiment  # noqa: E402


def run(subject: Trainee, **others: object) -> Experiment:
    found = loss_at_init(conditions(subject, **others))
    assert found.state == RAN
    assert set(found.values) <= set(NAMES["loss-at-init"])
    return found


def test_an_untrained_classifier_knows_nothing() -> None:
    model = mlp(8, 32, 10)
    with torch.no_grad():
        model[-1].weight.mul_(0.01)
        model[-1].bias.zero_()
    values = run(trainee(model, *clusters(200, classes=10), batch_size=20)).values
    assert values["expected"] == pytest.approx(math.log(10), rel=1e-6)
    assert values["expected_kind"] == "uniform-classes"
    assert values["loss"] == pytest.approx(math.log(10), rel=1e-3)
    assert values["logit_std"] < 0.05
    assert values["class_count"] == 10
    assert values["batch_scaling"] == pytest.approx(0, abs=1e-5)


def test_a_head_that_is_too_sure_costs_by_the_spread_of_its_logits() -> None:
    model = mlp(8, 32, 10)
    with torch.no_grad():
        model[-1].weight.mul_(50)
    values = run(trainee(model, *clusters(200, classes=10))).values
    assert values["loss"] > 2 * values["expected"]
    assert values["logit_std"] > 2


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_best_bias_of_rare_positives_is_their_base_rate(share: float) -> None:
    x, _ = clusters(400)
    y = (torch.arange(400) % round(1 / share) == 0).float()[:, None]
    model = mlp(8, 32, 1)
    with torch.no_grad():
        model[-1].weight.zero_()
        model[-1].bias.zero_()
    values = run(trainee(model, x, y, loss="bce-with-logits", batch_size=40)).values
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert values["loss"] == values["expected"] == pytest.approx(math.log(2), rel=1e-5)
    assert values["best_constant"] == pytest.approx(entropy, rel=1e-3)
    assert values["prior_loss"] == pytest.approx(entropy, rel=1e-2)
    assert values["bias_gain"] == pytest.approx(1 - entropy / math.log(2), rel=2e-2)


def test_a_regression_is_held_against_the_variance_of_its_targets() -> None:
    x, _ = clusters(160)
    y = 100 + 3 * torch.randn(160, 1, generator=torch.Generator().manual_seed(0))
    values = run(trainee(mlp(8, 32, 1), x, y, loss="mse")).values
    assert values["expected"] == pytest.approx(float(y.var(unbiased=False)), rel=1e-2)
    assert values["expected_kind"] == "target-variance"
    assert values["loss"] > 500 * values["expected"]
    assert values["bias_gain"] > 0.99


def test_a_bias_is_judged_on_other_examples_than_those_it_was_found_on() -> None:
    """Labels at random with equal chances: no bias gains anything, though it could fit the chance frequencies of one batch."""
    x, _ = clusters(64)
    y = torch.randint(0, 10, (64,), generator=torch.Generator().manual_seed(1))
    model = mlp(8, 32, 10)
    with torch.no_grad():
        model[-1].weight.zero_()
        model[-1].bias.zero_()
    assert run(trainee(model, x, y)).values["bias_gain"] < 0.05


def test_classes_that_are_not_there_do_not_make_a_bias_worse_than_none() -> None:
    x, _ = clusters(64)
    y = torch.randint(0, 300, (64,), generator=torch.Generator().manual_seed(1))
    values = run(trainee(mlp(8, 32, 300), x, y)).values
    assert 0 <= values["bias_gain"] < 0.05


def test_a_sum_over_the_batch_is_told_from_a_mean() -> None:
    def summed(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, target, reduction="sum")

    values = run(trainee(mlp(8, 32, 4), *clusters(), function=summed, name="cross-entropy")).values
    assert values["batch_scaling"] == pytest.approx(1, abs=1e-4)
    assert values["expected"] == pytest.approx(16 * math.log(4), rel=1e-5)


def test_the_best_constant_is_that_of_all_targets_that_were_read() -> None:
    """However few batches there is time for."""
    values = run(
        trainee(mlp(8, 32, 10), *clusters(400, classes=10), batch_size=8), seconds=3.0, step_seconds=1.0
    ).values
    assert values["best_constant"] == pytest.approx(math.log(10), rel=1e-5)


def test_dropout_differs_from_seed_to_seed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 4))
    found = run(trainee(model, *clusters(16)))
    assert len(found.curves["losses"]) == len(found.seeds) == 3
    assert len(set(found.curves["losses"])) == 3
    assert found.values["spread"] > 0
