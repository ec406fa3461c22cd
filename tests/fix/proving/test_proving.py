"""Fixes that are made on a copy and trained beside the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from trainaudit.changes import Change
from trainaudit.fix.proving import Trial, prove
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.probe.budget import Allowance
from trainaudit.probe.plan import ProbePlan
from trainaudit.result import NO_EFFECT, NOT_RUN, PROVED, WORSE, Effect, Proof

torch = pytest.importorskip("torch")

HEAL, NOTHING, HARM = (
    Change("initialize", "all", "kaiming_normal"),
    Change("scale", "all", "", 1.0),
    Change("scale", "all", "", 100.0),
)
IMPOSSIBLE = Change("drop-layer", "nowhere")


def tiny(scale: float = 0.05) -> Any:
    """Six ReLU layers whose weights are far too small."""
    generator = torch.Generator().manual_seed(0)
    layers: list[Any] = []
    for _ in range(6):
        layers += [torch.nn.Linear(16, 16), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(16, 4))
    with torch.no_grad():
        for item in model.parameters():
            item.fill_(0.1) if item.ndim == 1 else item.uniform_(-scale, scale, generator=generator)
    return model


def trial(model: Any, *, seconds: float = 1e6, steps: int = 40, loss: str = "cross-entropy") -> Trial:
    from trainaudit.probe.making import make_trainee_of

    trainee = make_trainee_of(model, torch.zeros(8, 16), ProbePlan(loss=loss, learning_rate=1e-2), None)

    def apply(given: Any, changes: tuple[Change, ...], seed: int) -> Any:
        import copy

        made = copy.deepcopy(given.model)
        generator = torch.Generator().manual_seed(seed)
        for change in changes:
            if change == IMPOSSIBLE:
                raise NotApplicableError("the layer is not found")
            for item in made.parameters():
                if item.ndim > 1 and change == HEAL:
                    item.data.normal_(0, (2 / item.shape[1]) ** 0.5, generator=generator)
                elif item.ndim > 1 and change == HARM:
                    item.data.mul_(1e4)
        return replace(given, model=made)

    return Trial(
        trainee,
        apply,
        lambda _: False,
        lambda _, __: "not here",
        (1, 2, 3),
        steps,
        Allowance(time.perf_counter() + seconds),
        command="again",
    )


def effect(proof: Proof, name: str) -> Effect:
    return next(effect for effect in proof.effects if effect.name.startswith(name) and effect.is_measured)


def test_a_fix_that_helps_is_proved_and_its_numbers_are_told() -> None:
    proof = prove(trial(tiny()), ("undersized-init",), (HEAL,))
    assert proof.verdict == PROVED
    assert proof.compared == "loss"
    assert proof.gain is not None
    assert proof.gain > 0.1
    assert len(proof.gains) == len(proof.seeds) >= 3
    assert proof.steps == 40
    loss, ratio = effect(proof, "loss after 40 steps"), effect(proof, "gradient ratio")
    assert loss.before is not None
    assert loss.after is not None
    assert loss.after < loss.before
    assert ratio.before is not None
    assert ratio.after is not None
    assert ratio.before < 1e-4 < 0.05 < ratio.after
    assert not ratio.is_lower_better
    assert proof.unpredicted == "not here"


def test_a_fix_that_changes_nothing_has_no_effect() -> None:
    proof = prove(trial(tiny()), ("rule",), (NOTHING,))
    assert proof.verdict == NO_EFFECT
    assert proof.gains == (0.0, 0.0, 0.0)


def test_a_fix_that_harms_is_worse() -> None:
    proof = prove(trial(tiny()), ("rule",), (HARM,))
    assert proof.verdict == WORSE
    assert proof.gain is not None
    assert proof.gain < 0


def test_a_fix_that_cannot_be_made_is_not_run_and_says_why() -> None:
    proof = prove(trial(tiny()), ("rule",), (IMPOSSIBLE,))
    assert (proof.verdict, proof.reason, proof.command) == (NOT_RUN, "the layer is not found", "")


def test_a_proof_whose_steps_were_not_all_made_is_cut_and_no_verdict() -> None:
    proof = prove(trial(tiny(), seconds=-1), ("rule",), (HEAL,))
    assert proof.verdict == NOT_RUN
    assert proof.reason.startswith("cut: ")
    assert proof.command == "again"
    assert proof.gain is None


def test_the_same_seed_gives_the_same_proof() -> None:
    first, second = (prove(trial(tiny()), ("rule",), (HEAL,)) for _ in range(2))
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    prove(trial(model), ("rule",), (HEAL,))
    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(item.grad is None for item in model.parameters())


@pytest.mark.parametrize("is_altered", [True, False])
def test_losses_of_two_kinds_are_never_compared(is_altered: bool) -> None:
    made = trial(tiny())
    proof = prove(replace(made, alters_loss=_always(is_altered)), ("rule",), (HEAL,))
    names = [effect.name for effect in proof.effects]
    assert proof.compared == ("wrong classes" if is_altered else "loss")
    assert any(name.startswith("loss") for name in names) != is_altered


def _always(answer: bool) -> Callable[[Any], bool]:
    return lambda _: answer
