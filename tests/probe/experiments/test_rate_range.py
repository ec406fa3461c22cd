"""Rates of a sweep: on made-up losses whose answer is known, and on a network."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from tests.probe.experiments.trainees import clusters, conditions, mlp, trainee  # noqa: E402
from trainaudit.probe.experiments.rate_range import learning_rate_range, read, smoothed  # noqa: E402
from trainaudit.trace.experiments import NAMES, NOT_RUN, RAN  # noqa: E402

RATES = [10 ** (-6 + 7 * number / 119) for number in range(120)]


def sweep(fall: float, blow_up: float) -> list[float]:
    """Flat at 2, falling around the rate `fall` to 0.5, and growing without bound from `blow_up` on."""
    decades = [math.log10(rate) for rate in RATES]
    falls = [2 - 1.5 / (1 + math.exp(-6 * (decade - math.log10(fall)))) for decade in decades]
    return [loss + max(0.0, rate / blow_up) ** 6 for loss, rate in zip(falls, RATES, strict=True)]


@pytest.mark.parametrize("fall, blow_up", [(1e-4, 1e-2), (1e-3, 0.1), (0.01, 1.0)])
def test_the_suggested_rate_is_where_the_loss_falls(fall: float, blow_up: float) -> None:
    found = read(RATES, sweep(fall, blow_up))
    assert fall / 5 < found["suggested"] < 2 * fall
    assert blow_up / 3 < found["highest_stable"] < 3 * blow_up


def test_nothing_is_suggested_where_the_loss_never_falls() -> None:
    assert "suggested" not in read(RATES, [2.0] * 120)
    assert read(RATES, [2.0] * 120)["highest_stable"] == RATES[-1]


def test_a_loss_that_is_not_finite_ends_the_stable_rates() -> None:
    found = read(RATES[:60], [2.0] * 59 + [math.nan])
    assert found["highest_stable"] == RATES[58]


def test_smoothing_is_unbiased() -> None:
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)


def test_a_network_is_told_a_rate_that_trains_it() -> None:
    found = learning_rate_range(conditions(trainee(mlp(8, 32, 32, 4), *clusters(512))))
    assert found.state == RAN
    assert set(found.values) <= set(NAMES["learning-rate-range"])
    assert found.values["current"] == 3e-3
    assert 1e-4 < found.values["suggested"] < 0.1
    assert found.values["suggested"] < found.values["highest_stable"]
    assert len(found.curves["rate"]) == len(found.curves["loss"])


def test_plain_descent_wants_larger_rates_than_adam() -> None:
    x, y = clusters(512)
    descent = trainee(mlp(8, 32, 32, 4), x, y, optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.1))
    adam = trainee(mlp(8, 32, 32, 4), x, y)
    found = [learning_rate_range(conditions(subject)).values["suggested"] for subject in (descent, adam)]
    assert found[0] > 3 * found[1]


def test_groups_of_the_optimizer_keep_their_proportion() -> None:
    seen = []

    def two_groups(model: torch.nn.Module) -> torch.optim.Optimizer:
        first, *others = model.parameters()
        made = torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": others, "lr": 0.01}])
        plain = made.step
        made.step = lambda *a: (seen.append([group["lr"] for group in made.param_groups]), plain(*a))[1]
        return made

    learning_rate_range(conditions(trainee(mlp(8, 16, 4), *clusters(), optimizer=two_groups)))
    assert len(seen) > 50
    assert all(one == pytest.approx(10 * other) for one, other in seen)


def test_a_slow_network_is_not_swept() -> None:
    assert (
        learning_rate_range(conditions(trainee(mlp(8, 16, 4), *clusters()), seconds=1, step_seconds=0.1)).state
        == NOT_RUN
    )
