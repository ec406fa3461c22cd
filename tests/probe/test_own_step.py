"""What is said of models that are trained by a step of the user's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import trainaudit  # noqa: E402
from tests.models.clocks import AMPLE  # noqa: E402
from trainaudit.result import Audit  # noqa: E402


class Players(nn.Module):
    """A generator that forward does not call, and a critic."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
        self.critic = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.critic(x)


def play(model: Players, batch: tuple[torch.Tensor]) -> torch.Tensor:
    real, loss = batch[0], nn.functional.binary_cross_entropy_with_logits
    made = model.generator(torch.randn(len(real), 4))
    told, fooled = model.critic(real), model.critic(made.detach())
    critic = loss(told, torch.ones_like(told)) + loss(fooled, torch.zeros_like(fooled))
    return critic + loss(model.critic(made), torch.ones_like(fooled))


@pytest.fixture(scope="module")
def played() -> Audit:
    generator = torch.Generator().manual_seed(0)
    rows = [(torch.randn(16, 8, generator=generator),) for _ in range(8)]
    return trainaudit.probe_model(
        Players(), data=rows, step=play, steps=30, time_budget=AMPLE, experiments=("overfit-one-batch",), device="cpu"
    )


def test_two_players_whose_losses_balance_are_not_said_to_learn_nothing(played: Audit) -> None:
    assert played.trace is not None
    assert played.trace.experiments["overfit-one-batch"].values["final_loss"] > 0.5
    assert not [finding for finding in played.findings if finding.is_live and finding.severity.name == "ERROR"]
    reasons = {outcome.rule: outcome.reason for outcome in played.outcomes}
    assert "shows no output" in reasons["cannot-overfit-one-batch"]


def test_nobody_is_asked_for_a_loss_that_was_given(played: Audit) -> None:
    """By --step, whose loss has no name."""
    assert not [outcome.command for outcome in played.outcomes if "--loss" in outcome.command]
    (reason,) = {outcome.reason for outcome in played.outcomes if outcome.rule == "wrong-loss-for-output"}
    assert "one of the user's own" in reason


def test_a_parameter_that_only_the_step_uses_is_not_said_to_be_unused(played: Audit) -> None:
    assert played.unmeasured.get("parameter.has_gradient") is None
    told = [finding.probe for finding in played.findings if finding.rule == "unused-parameter"]
    assert told == ["withdrawn"]


def gather(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of one label are pulled together and the others pushed apart: the sixteen columns are no classes."""
    points = model(batch[0])
    apart = torch.cdist(points, points)
    alike = (batch[1][:, None] == batch[1][None]).float()
    return (alike * apart**2 + (1 - alike) * (2 - apart).clamp(min=0) ** 2).mean(), points


def test_labels_beside_a_loss_that_nobody_knows_need_not_be_classes_of_the_output() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = [
        (torch.randn(16, 8, generator=generator), torch.randint(0, 5, (16,), generator=generator)) for _ in range(64)
    ]
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16))
    found = trainaudit.probe_model(
        model, data=rows, step=gather, steps=10, time_budget=AMPLE, experiments=(), device="cpu"
    )
    assert "missing-class" not in {finding.rule for finding in found.findings}
    (outcome,) = [outcome for outcome in found.outcomes if outcome.rule == "missing-class"]
    assert outcome.state.name in ("NOT_MEASURED", "NOT_APPLICABLE")
