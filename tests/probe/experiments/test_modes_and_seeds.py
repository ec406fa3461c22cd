"""Inputs against zeros, training against evaluation mode, the same seed twice, and shapes of targets."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.probe.experiments.trainees import clusters, conditions, mlp, trainee  # noqa: E402
from trainaudit.probe.experiments.eval_gap import train_eval_gap  # noqa: E402
from trainaudit.probe.experiments.input_baseline import input_baseline  # noqa: E402
from trainaudit.probe.experiments.reproduction import same_seed  # noqa: E402
from trainaudit.probe.experiments.target_shape import target_shape  # noqa: E402
from trainaudit.trace.experiments import FAILED, NAMES, NOT_RUN, RAN  # noqa: E402


def test_a_network_that_reads_its_inputs_learns_more_than_from_zeros() -> None:
    found = input_baseline(conditions(trainee(mlp(8, 32, 4), *clusters())))
    assert found.state == RAN
    assert set(found.values) <= set(NAMES["input-baseline"])
    assert found.values["effect"] > 10
    assert found.values["zeroed_loss"] == pytest.approx(math.log(4), rel=0.1)
    assert len(found.seeds) == 3
    assert len(found.curves) == 6


def test_random_labels_are_learned_too_where_inputs_are_read() -> None:
    x, _ = clusters()
    y = torch.randint(0, 4, (128,), generator=torch.Generator().manual_seed(0))
    assert input_baseline(conditions(trainee(mlp(8, 256, 4), x, y))).values["effect"] > 2


def test_a_network_whose_inputs_are_lost_gains_nothing_from_them() -> None:
    class Losing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(8, 32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.part(0 * x)

    assert abs(input_baseline(conditions(trainee(Losing(), *clusters()))).values["effect"]) < 2


def test_a_dead_rate_of_the_user_is_no_sign_of_lost_inputs() -> None:
    slow = trainee(mlp(8, 32, 4), *clusters(), optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1e-9))
    assert input_baseline(conditions(slow)).values["effect"] > 10


def test_zeros_that_break_the_loss_are_said() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(8, 32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.part(x / x.norm(dim=1, keepdim=True))

    found = input_baseline(conditions(trainee(Scaled(), *clusters())))
    assert found.state == FAILED
    assert "zeroed inputs" in found.reason


def test_modes_agree_where_nothing_depends_on_them() -> None:
    subject = trainee(mlp(8, 32, 4), *clusters())
    found = train_eval_gap(conditions(subject, trained=mlp(8, 32, 4, seed=1)))
    assert found.state == RAN
    assert set(found.values) <= set(NAMES["train-eval-gap"])
    assert found.values["train_loss"] == found.values["eval_loss"] != found.values["initial_eval_loss"]


def test_untouched_running_statistics_open_a_gap() -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32, momentum=0.0), nn.ReLU(), nn.Linear(32, 4))

    x, y = clusters()
    trained = build()
    optimizer = torch.optim.Adam(trained.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(50 + 20 * x), y).backward()
        optimizer.step()
    values = train_eval_gap(conditions(trainee(build(), 50 + 20 * x, y), trained=trained)).values
    assert values["eval_loss"] > 3 * values["train_loss"]
    assert values["batchnorm_count"] == 1


def test_dropouts_and_batch_normalizations_are_counted_wherever_they_are_asked_for() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.drop, self.none = mlp(8, 16, 4), nn.Dropout(0.1), nn.Dropout(0.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.batch_norm(x, None, None, training=True)
            return self.part(self.none(nn.functional.dropout(self.drop(x), 0.5, self.training)))

    values = train_eval_gap(conditions(trainee(Written(), *clusters()), trained=Written())).values
    assert (values["dropout_count"], values["batchnorm_count"]) == (2, 1)


def test_the_gap_is_not_measured_without_a_trained_model() -> None:
    assert train_eval_gap(conditions(trainee(mlp(8, 32, 4), *clusters()))).state == NOT_RUN


def test_one_seed_gives_one_run() -> None:
    dropping = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 4))
    found = same_seed(conditions(trainee(dropping, *clusters())))
    assert set(found.values) == set(NAMES["same-seed"])
    assert found.values["is_identical"] is True
    assert found.values["largest_difference"] == 0
    assert found.curves["first"] == found.curves["second"]


def test_randomness_beyond_the_seed_is_seen() -> None:
    generator = torch.Generator()
    generator.seed()

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(8, 32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.part(x + 0.1 * torch.randn(x.shape, generator=generator))

        def __deepcopy__(self, _memo: object) -> Noisy:
            made = Noisy()
            made.load_state_dict(self.state_dict())
            return made

    values = same_seed(conditions(trainee(Noisy(), *clusters()))).values
    assert values["is_identical"] is False
    assert 1e-6 < values["largest_difference"] < 1


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_column_against_a_row_is_broadcast(by_torch: bool) -> None:
    x, _ = clusters(64)
    function = nn.functional.mse_loss if by_torch else lambda out, y: ((out - y) ** 2).mean()
    found = target_shape(conditions(trainee(mlp(8, 16, 1), x, x[:, 0], loss="mse", function=function)))
    assert set(found.values) <= set(NAMES["target-shape"])
    assert found.values["is_broadcast"] is True
    assert (found.values["output_shape"], found.values["target_shape"]) == ("[16, 1]", "[16]")
    assert ("warning" in found.values) is by_torch


def test_a_loss_that_squeezes_its_output_is_right() -> None:
    x, _ = clusters(64)
    found = target_shape(
        conditions(
            trainee(mlp(8, 16, 1), x, x[:, 0], loss="mse", function=lambda out, y: nn.functional.mse_loss(out[:, 0], y))
        )
    )
    assert found.values["is_broadcast"] is False


def test_class_indices_are_no_broadcast() -> None:
    assert target_shape(conditions(trainee(mlp(8, 16, 4), *clusters()))).values["is_broadcast"] is False
