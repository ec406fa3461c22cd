"""Who reads whom: samples of one batch, and positions of a sequence."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.probe.experiments.trainees import clusters, conditions, mlp, trainee  # noqa: E402
from trainaudit.probe.experiments.dependence import batch_dependence, time_dependence  # noqa: E402
from trainaudit.probe.trainee import Batch, Computed, Trainee  # noqa: E402
from trainaudit.trace.experiments import NAMES, NOT_RUN, RAN  # noqa: E402


class Reshaping(nn.Module):
    """`view` where `permute` was meant: the features of one sample are dealt out to others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(x))
        return self.second(hidden.t().reshape(hidden.shape))


class Tokens(nn.Module):
    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.places = nn.Embedding(20, 16), nn.Embedding(12, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head, self.causal = nn.Linear(16, 20), causal

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        hidden = self.tokens(ids) + self.places(torch.arange(length))
        return self.head(self.block(hidden, src_mask=mask))


def token_trainee(*, causal: bool, length: int = 12):
    ids = torch.randint(0, 20, (32, length), generator=torch.Generator().manual_seed(0))
    return trainee(
        Tokens(causal=causal), ids, ids, function=lambda out, y: nn.functional.cross_entropy(out.transpose(1, 2), y)
    )


def test_tokens_in_batches_of_a_fixed_size_are_told_apart() -> None:
    from trainaudit.probe.batches import of_fixed_size

    found = batch_dependence(conditions(of_fixed_size(token_trainee(causal=False))))
    assert found.state == RAN
    assert found.values["leak"] == 0


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(16), nn.BatchNorm1d(16, track_running_stats=False), nn.LayerNorm(16)])
def test_samples_of_a_normalized_network_are_apart(norm: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), norm, nn.ReLU(), nn.Linear(16, 4))
    found = batch_dependence(conditions(trainee(model, *clusters())))
    assert found.state == RAN
    assert set(found.values) <= set(NAMES["batch-dependence"])
    assert found.values["leak"] == 0
    assert found.values["pair_count"] == 0
    assert found.values["ignored_input_share"] == 0


def test_a_reshape_that_mixes_the_batch_leaks() -> None:
    torch.manual_seed(0)
    values = batch_dependence(conditions(trainee(Reshaping(), *clusters()))).values
    assert values["leak"] > 0.1
    assert values["pair_count"] > 0


def test_a_softmax_over_the_batch_leaks() -> None:
    values = batch_dependence(conditions(trainee(mlp(8, 16, 4, last=(nn.Softmax(dim=0),)), *clusters()))).values
    assert values["leak"] > 1e-3
    assert values["pair_count"] == values["sample_count"] * (values["sample_count"] - 1)


def test_inputs_that_nothing_reads_are_counted() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(4, 16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.part(x[:, :4])

    values = batch_dependence(conditions(trainee(Half(), *clusters()))).values
    assert values["ignored_input_share"] == pytest.approx(0.5)


@pytest.mark.parametrize("length", [5, 6, 12])
def test_samples_of_token_ids_are_apart(length: int) -> None:
    """Positions are no samples, also where there are as many of them as of samples."""
    values = batch_dependence(conditions(token_trainee(causal=True, length=length))).values
    assert values["leak"] == 0
    assert values["sample_count"] != length


def test_token_ids_that_reach_other_samples_leak() -> None:
    class Mixing(Tokens):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            out = super().forward(ids)
            return out + out.mean(0, keepdim=True)

    subject = token_trainee(causal=True)
    values = batch_dependence(conditions(replace(subject, model=Mixing(causal=True)))).values
    assert 0.05 < values["leak"] < 1
    assert values["pair_count"] == values["sample_count"] * (values["sample_count"] - 1)


def test_the_output_of_a_step_of_ones_own_is_what_the_model_returns() -> None:
    def step(model: nn.Module, batch: Batch) -> Computed:
        return Computed(nn.functional.cross_entropy(model(*batch.args), batch.target))

    for model, is_mixed in ((mlp(8, 16, 4), False), (Reshaping(), True)):
        found = batch_dependence(conditions(replace(trainee(model, *clusters()), compute=step)))
        assert (found.values["leak"] > 0.1) is is_mixed


def test_a_recurrent_network_reads_forward_in_time_alone() -> None:
    class Recurrent(nn.Module):
        def __init__(self, *, both_ways: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.lstm = nn.LSTM(8, 16, batch_first=True, bidirectional=both_ways)
            self.head = nn.Linear(32 if both_ways else 16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(x)[0])

    x = torch.randn(32, 9, 8, generator=torch.Generator().manual_seed(0))
    for both_ways in (False, True):
        subject = trainee(Recurrent(both_ways=both_ways), x, x[..., :3], loss="mse")
        values = time_dependence(conditions(subject, is_causal=True)).values
        assert (values["future_leak"] > 1e-3) is both_ways
        assert ("first_leak" in values) is both_ways


def test_a_causal_mask_keeps_later_positions_out() -> None:
    found = time_dependence(conditions(token_trainee(causal=True), is_causal=True))
    assert found.state == RAN
    assert set(found.values) <= set(NAMES["time-dependence"])
    assert found.values["future_leak"] == 0
    assert found.values["is_declared_causal"] is True
    assert "first_leak" not in found.values


def test_without_a_mask_the_first_position_sees_later_ones() -> None:
    values = time_dependence(conditions(token_trainee(causal=False), is_causal=True)).values
    assert values["future_leak"] > 0.01
    assert values["first_leak"] == 0


def test_time_is_not_looked_for_where_there_is_none() -> None:
    assert time_dependence(conditions(trainee(mlp(8, 16, 4), *clusters()))).state == NOT_RUN


def own_step(model: nn.Module, change) -> Trainee:
    """A trainee whose step changes the batch before it calls the model."""

    def step(model: nn.Module, batch: Batch) -> Computed:
        output = model(change(batch.args[0]))
        return Computed(output.square().mean(), output)

    return replace(trainee(model, *clusters()), compute=step, has_own_step=True)


def test_what_a_step_does_to_the_batch_is_no_leak_of_the_model() -> None:
    """Mixup, another order and a mask that is drawn anew: the model is called with what they gave, and keeps samples apart or does not."""
    changes = (
        lambda x: 0.6 * x + 0.4 * x.roll(1, 0),
        lambda x: x[torch.randperm(len(x))],
        lambda x: x * (torch.rand_like(x) > 0.3),
    )
    for change in changes:
        assert batch_dependence(conditions(own_step(mlp(8, 16, 4), change))).values["leak"] == 0
        assert batch_dependence(conditions(own_step(Reshaping(), change))).values["leak"] > 0.1


def test_a_random_mask_of_tokens_is_no_dependence() -> None:
    subject = token_trainee(causal=True)

    def step(model: nn.Module, batch: Batch) -> Computed:
        ids = torch.where(torch.rand(batch.args[0].shape) < 0.3, 0, batch.args[0])
        output = model(ids)
        return Computed(output.square().mean(), output)

    masked = replace(subject, compute=step, has_own_step=True)
    assert batch_dependence(conditions(masked)).values["leak"] == 0
    assert time_dependence(conditions(masked)).values["future_leak"] == 0


def test_a_model_that_draws_from_a_generator_of_its_own_is_not_judged() -> None:
    class Noisy(Tokens):
        def __init__(self) -> None:
            super().__init__(causal=True)
            self.seed = 0

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            self.seed += 1
            out = super().forward(ids)
            return out + torch.randn(out.shape, generator=torch.Generator().manual_seed(self.seed))

    found = batch_dependence(conditions(replace(token_trainee(causal=True), model=Noisy())))
    assert (found.state, found.reason) == (NOT_RUN, "the same inputs do not give the same output twice")


def test_noise_of_the_usual_generators_is_the_same_each_time() -> None:
    class Sampling(Tokens):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            out = super().forward(ids)
            return out + torch.randn_like(out)

    found = batch_dependence(conditions(replace(token_trainee(causal=True), model=Sampling(causal=True))))
    assert found.values["leak"] == 0
