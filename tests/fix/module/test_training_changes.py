"""Another optimizer, gradient, loss or other batches: what a training step then does equals the step written by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from trainaudit.changes import LOSSES, Change
from trainaudit.fix.module.applying import apply
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.settings import LOSSES as KNOWN

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from tests.fix.module.models import Net, classes, same, state, trainee_of, values  # noqa: E402
from trainaudit.probe.copies import fresh  # noqa: E402
from trainaudit.probe.stepping import learner, step  # noqa: E402


def trained(trainee: Any, steps: int = 1) -> dict[str, Any]:
    """The weights after some steps on the first batch."""
    with fresh(trainee, 0) as model:
        ready = learner(trainee, model)
        for _ in range(steps):
            step(ready, trainee.train[0])
        return state(model)


def linear(units: int = 1) -> Any:
    torch.manual_seed(0)
    return nn.Linear(6, units)


def test_losses_are_those_of_the_settings() -> None:
    assert tuple(KNOWN) == LOSSES


def test_the_rate_of_the_users_own_optimizer() -> None:
    model = linear()

    def own(copied: Any) -> Any:
        groups = [{"params": [copied.weight], "lr": 0.1}, {"params": [copied.bias], "lr": 0.2}]
        return torch.optim.SGD(groups, momentum=0.5)

    made = apply(
        trainee_of(model, values(), loss="mse", make_optimizer=own), None, [Change("learning-rate", amount=0.01)]
    )
    assert made.model is model
    optimizer = made.make_optimizer(model)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.02]
    assert [group["momentum"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_clipping_between_backward_pass_and_step() -> None:
    trainee = trainee_of(linear(), (values()[0], 1000 * values()[1]), loss="mse", rate=1.0)
    made = apply(trainee, None, [Change("clip-gradients", amount=0.5)])
    before, after = state(trainee.model), trained(made)
    change = torch.cat([(after[name] - before[name]).flatten() for name in before])
    assert float(change.norm()) == pytest.approx(0.5, rel=1e-4)
    free = trained(trainee)
    plain = torch.cat([(free[name] - before[name]).flatten() for name in before])
    torch.testing.assert_close(change / change.norm(), plain / plain.norm())


def test_minimizing_turns_the_step_around() -> None:
    x, y = values()
    up = trainee_of(
        linear(), (x, y), loss="mse", make_optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.1, maximize=True)
    )
    down = trainee_of(up.model, (x, y), loss="mse")
    assert same(trained(apply(up, None, [Change("minimize")])), trained(down)) == []
    negative = replace(down, compute=lambda m, b: replace(down.compute(m, b), loss=-down.compute(m, b).loss))
    assert same(trained(apply(negative, None, [Change("minimize")]), 3), trained(down, 3)) == []


def test_warm_up_rises_linearly() -> None:
    made = apply(trainee_of(linear(), values(), loss="mse"), None, [Change("warm-up", amount=4)])
    with fresh(made, 0) as model:
        ready, rates = learner(made, model), []
        for _ in range(6):
            step(ready, made.train[0])
            rates.append(ready.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_weight_decay_of_all_and_of_matrices_alone() -> None:
    own = trainee_of(
        linear(), values(), loss="mse", make_optimizer=lambda m: torch.optim.AdamW(m.parameters(), weight_decay=0.5)
    )
    optimizer = apply(own, None, [Change("weight-decay", amount=0.01)]).make_optimizer(own.model)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01]
    optimizer = apply(own, None, [Change("decay-matrices-alone")]).make_optimizer(own.model)
    decays = {id(item): group["weight_decay"] for group in optimizer.param_groups for item in group["params"]}
    assert decays == {id(own.model.weight): 0.5, id(own.model.bias): 0.0}


def test_a_parameter_that_the_optimizer_left_out() -> None:
    trainee = trainee_of(linear(), values(), loss="mse", make_optimizer=lambda m: torch.optim.SGD([m.weight], lr=0.1))
    assert same(state(trainee.model), trained(trainee)) == ["weight"]
    assert same(state(trainee.model), trained(apply(trainee, None, [Change("train-parameter", "bias")]))) == [
        "weight",
        "bias",
    ]


def test_a_mean_in_place_of_a_sum() -> None:
    mean = trainee_of(linear(), values(), loss="mse")
    summed = replace(mean, compute=lambda m, b: replace(mean.compute(m, b), loss=mean.compute(m, b).loss * b.size))
    after, wanted = trained(apply(summed, None, [Change("mean-loss")])), trained(mean)
    for name in wanted:
        torch.testing.assert_close(after[name], wanted[name])


@pytest.mark.parametrize(
    ("loss", "to", "units", "target"),
    [
        ("nll", "cross-entropy", 3, "indices"),
        ("bce", "bce-with-logits", 1, "column"),
        ("mse", "cross-entropy", 3, "one-hot"),
        ("mse", "bce-with-logits", 3, "one-hot"),
        ("cross-entropy", "mse", 3, "indices"),
    ],
)
def test_another_loss_on_the_same_outputs(loss: str, to: str, units: int, target: str) -> None:
    x, y = classes()
    dense = functional.one_hot(y, 3).float()
    given = {"indices": y, "column": (y > 0).float()[:, None], "one-hot": dense}[target]
    model = linear(units)
    trainee = trainee_of(model, (x, given), loss=loss)
    made = apply(trainee, None, [Change("loss", to=to)])
    output = model(x)
    wanted = {
        "cross-entropy": lambda: functional.cross_entropy(output, y),
        "bce-with-logits": lambda: functional.binary_cross_entropy_with_logits(output, given),
        "mse": lambda: functional.mse_loss(output, dense),
    }[to]()
    computed = made.compute(model, made.train[0])
    torch.testing.assert_close(computed.loss, wanted)
    assert made.loss == to
    assert trainee.loss == loss


def test_a_loss_that_does_not_fit_is_refused() -> None:
    trainee = trainee_of(linear(3), (values()[0], torch.randn(8, 5)), loss="mse")
    with pytest.raises(NotApplicableError):
        apply(trainee, None, [Change("loss", to="bce-with-logits")])


def test_a_target_that_was_broadcast_is_compared_one_by_one() -> None:
    x, y = values()
    trainee = trainee_of(linear(), (x, y[:, 0]), loss="mse")
    made = apply(trainee, None, [Change("align-target")])
    torch.testing.assert_close(
        made.compute(trainee.model, made.train[0]).loss, functional.mse_loss(trainee.model(x), y)
    )
    own = replace(trainee, loss="", compute=lambda m, b: _own(m, b))
    torch.testing.assert_close(
        apply(own, None, [Change("align-target")]).compute(own.model, own.train[0]).loss,
        functional.mse_loss(trainee.model(x), y),
    )


def _own(model: Any, batch: Any) -> Any:
    from trainaudit.probe.trainee import Computed

    output = model(*batch.args)
    return Computed(((output - batch.target) ** 2).mean(), output, batch.target)


# --- data -----------------------------------------------------------------------------------------------------------------


def test_standard_inputs_with_the_training_datas_statistics() -> None:
    batches = [(100 * classes(seed=seed)[0] + 7, classes(seed=seed)[1]) for seed in (0, 1)]
    trainee = trainee_of(Net(), *batches)
    held = replace(trainee, validation=trainee.train[:1])
    made = apply(held, None, [Change("standardize-inputs")])
    whole = torch.cat([x for x, _ in batches])
    wanted = (batches[0][0] - whole.mean(0)) / whole.std(0, correction=0)
    torch.testing.assert_close(made.train[0].args[0], wanted)
    torch.testing.assert_close(made.validation[0].args[0], wanted)
    assert made.train[0].raw[0] is made.train[0].args[0]
    assert torch.equal(held.train[0].args[0], batches[0][0])
    assert made.train[0].target is held.train[0].target


def test_a_constant_feature_and_the_channels_of_images() -> None:
    x = torch.randn(8, 2, 4, 4) * torch.tensor([3.0, 0.0])[:, None, None] + 5
    made = apply(trainee_of(nn.Flatten(), (x, classes()[1])), None, [Change("standardize-inputs")]).train[0].args[0]
    assert float(made[:, 0].std(correction=0)) == pytest.approx(1, rel=1e-5)
    assert not made[:, 1].any()


def test_standard_targets() -> None:
    x, y = values()
    made = apply(trainee_of(linear(), (x, 50 + 10 * y), loss="mse"), None, [Change("standardize-targets")])
    target = made.train[0].target
    assert target.shape == y.shape
    assert float(target.mean()) == pytest.approx(0, abs=1e-5)
    assert float(target.std(correction=0)) == pytest.approx(1, rel=1e-5)
    own = replace(trainee_of(linear(), (x, 50 + 10 * y), loss="mse"), loss="")
    assert torch.equal(apply(own, None, [Change("standardize-targets")]).train[0].target, target)
    answers = replace(trainee_of(linear(), (x, (y > 0).float()), loss="mse"), loss="")
    for other in (trainee_of(Net(), classes()), answers):
        with pytest.raises(NotApplicableError):
            apply(other, None, [Change("standardize-targets")])


def test_larger_and_shuffled_batches_hold_the_same_examples() -> None:
    trainee = trainee_of(Net(), *(classes(4, seed=seed) for seed in range(4)))
    made = apply(trainee, None, [Change("batch-size", amount=8)])
    assert [batch.size for batch in made.train] == [8, 8]
    assert torch.equal(torch.cat([b.args[0] for b in made.train]), torch.cat([b.args[0] for b in trainee.train]))
    mixed = apply(trainee, None, [Change("shuffle")])
    assert [batch.size for batch in mixed.train] == [4, 4, 4, 4]
    rows = sorted(tuple(row.tolist()) for batch in mixed.train for row in batch.args[0])
    assert rows == sorted(tuple(row.tolist()) for batch in trainee.train for row in batch.args[0])
    assert not torch.equal(mixed.train[0].args[0], trainee.train[0].args[0])
    assert [batch.size for batch in apply(trainee, None, [Change("batch-size", amount=64)]).train] == [16]
    with pytest.raises(NotApplicableError, match="4 examples"):
        apply(trainee_of(Net(), classes(4)), None, [Change("batch-size", amount=64)])


def test_the_trainee_stays_as_it_was() -> None:
    trainee = trainee_of(Net(), classes())
    before = copy.copy(trainee)
    for change in (Change("learning-rate", amount=1.0), Change("loss", to="nll"), Change("standardize-inputs")):
        apply(trainee, None, [change])
    assert trainee == before
