"""Weights that are changed on a copy: the numbers are those that were asked for, and nothing else moves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from trainaudit.changes import Change
from trainaudit.errors import TrainauditError
from trainaudit.fix.module.applying import apply
from trainaudit.fix.refusal import NotApplicableError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tests.fix.module.models import Net, classes, graph_of, same, state, trainee_of, values  # noqa: E402


def changed(change: Change, model: Any = None, **options: Any) -> tuple[Any, Any]:
    """The model as it is, and the copy on which the change was made."""
    model = Net() if model is None else model
    before, drawn = state(model), torch.get_rng_state()
    made = apply(trainee_of(model, classes()), graph_of(model, classes()[0]), [change], **options)
    assert same(state(model), before) == []
    assert torch.equal(torch.get_rng_state(), drawn)
    assert made.model is not model
    return model, made.model


@pytest.mark.parametrize(
    ("scheme", "amount", "std"),
    [
        ("kaiming_normal", None, math.sqrt(2 / 256)),
        ("kaiming_normal", 0.5, 0.5 / 16),
        ("kaiming_uniform", None, math.sqrt(2 / 256)),
        ("xavier_normal", None, math.sqrt(2 / (256 + 512))),
        ("xavier_uniform", 2.0, 2 * math.sqrt(2 / (256 + 512))),
        ("lecun_normal", None, 1 / 16),
        ("normal", 0.02, 0.02),
        ("normal", None, 0.02),
    ],
)
def test_schemes_have_the_deviation_of_their_formula(scheme: str, amount: float | None, std: float) -> None:
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 3))
    made = apply(
        trainee_of(model, classes(features=256)),
        graph_of(model, classes(features=256)[0]),
        [Change("initialize", "0.weight", scheme, amount)],
    )
    weight = made.model[0].weight
    assert float(weight.detach().std()) == pytest.approx(std, rel=0.01)
    assert abs(float(weight.detach().mean())) < 0.02 * std
    if scheme.endswith("uniform"):
        assert float(weight.detach().abs().max()) <= math.sqrt(3) * std


def test_only_the_named_weight_is_drawn_and_the_same_seed_draws_the_same() -> None:
    model, made = changed(Change("initialize", "fc2.weight", "kaiming_normal"))
    assert same(state(model), state(made)) == ["fc2.weight"]
    other = changed(Change("initialize", "fc2.weight", "kaiming_normal"), model)[1]
    assert torch.equal(made.fc2.weight, other.fc2.weight)
    seeded = changed(Change("initialize", "fc2.weight", "kaiming_normal"), model, seed=1)[1]
    assert not torch.equal(made.fc2.weight, seeded.fc2.weight)


def test_orthogonal_rows() -> None:
    made = changed(Change("initialize", "fc3.weight", "orthogonal", 2.0))[1]
    weight = made.fc3.weight.detach().double()
    np.testing.assert_allclose(weight @ weight.T, 4 * np.eye(3), atol=1e-6)


def test_scale_and_set() -> None:
    model, made = changed(Change("scale", "fc3.weight", amount=0.01))
    assert torch.equal(made.fc3.weight, model.fc3.weight * 0.01)
    made = changed(Change("set", "fc3.bias", amount=0.0), model)[1]
    assert not made.fc3.bias.any()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, 1, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][:, -1])


def test_forget_gates_of_both_directions_add_up_to_the_amount() -> None:
    model = Recurrent()
    x = torch.zeros(2, 5, 6)
    trainee = trainee_of(model, (x, torch.zeros(2, dtype=torch.long)))
    made = apply(trainee, graph_of(model, x), [Change("forget-gate-bias", "lstm", amount=1.0)]).model.lstm
    for side in ("", "_reverse"):
        total = getattr(made, f"bias_ih_l0{side}") + getattr(made, f"bias_hh_l0{side}")
        assert torch.equal(total[8:16], torch.ones(8))
        kept = getattr(model.lstm, f"bias_ih_l0{side}") + getattr(model.lstm, f"bias_hh_l0{side}")
        assert torch.equal(total[:8], kept[:8])
        assert torch.equal(total[16:], kept[16:])


def test_recurrent_weights_are_orthogonal_gate_by_gate_in_both_directions() -> None:
    model = Recurrent()
    x = torch.zeros(2, 5, 6)
    trainee = trainee_of(model, (x, torch.zeros(2, dtype=torch.long)))
    change = Change("initialize", "lstm.weight_hh_l0+reverse", "orthogonal")
    made = apply(trainee, graph_of(model, x), [change]).model.lstm
    for side in ("", "_reverse"):
        for gate in getattr(made, f"weight_hh_l0{side}").detach().double().chunk(4):
            np.testing.assert_allclose(gate @ gate.T, np.eye(8), atol=1e-6)
    assert not torch.equal(made.weight_hh_l0, made.weight_hh_l0_reverse)


def test_the_output_bias_becomes_the_log_of_the_base_rates() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    x, _ = classes()
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    made = apply(trainee_of(model, (x, y)), graph_of(model, x), [Change("output-bias", "2")]).model
    assert made[2].bias.detach().exp().tolist() == pytest.approx([0.5, 0.375, 0.125], rel=1e-5)


def test_the_output_bias_becomes_the_targets_mean() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    x, y = values()
    made = apply(trainee_of(model, (x, y + 7), loss="mse"), graph_of(model, x), [Change("output-bias", "2")]).model
    assert float(made[2].bias.detach()) == pytest.approx(float(y.mean()) + 7)


def test_what_is_not_there_is_refused() -> None:
    trainee, graph = trainee_of(Net(), classes()), graph_of(Net(), classes()[0])
    with pytest.raises(NotApplicableError, match=r"no parameter fc9\.weight"):
        apply(trainee, graph, [Change("set", "fc9.weight", amount=0.0)])
    with pytest.raises(NotApplicableError, match="no LSTM"):
        apply(trainee, graph, [Change("forget-gate-bias", "fc1", amount=1.0)])
    with pytest.raises(TrainauditError, match='"initialise"'):
        apply(trainee, graph, [Change("initialise", "fc1.weight")])
