"""The user's model, gradients, hooks, mode and all generators are bit for bit as found, whatever a probe does to its copies."""

from __future__ import annotations

import copy
import random
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.models.clocks import AMPLE  # noqa: E402
from tests.probe.experiments.trainees import clusters, mlp, trainee  # noqa: E402
from trainaudit.probe.copies import fresh  # noqa: E402
from trainaudit.probe.plan import ProbePlan  # noqa: E402
from trainaudit.probe.run import run_probe  # noqa: E402
from trainaudit.probe.stepping import learner, step  # noqa: E402


def a_model_in_use() -> nn.Module:
    """With gradients, mixed modes, a frozen layer, running statistics and a hook."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))
    nn.functional.cross_entropy(model(torch.randn(8, 8)), torch.zeros(8, dtype=torch.long)).backward()
    model[3].eval()
    model[0].bias.requires_grad_(False)
    model[0].register_forward_hook(count_calls)
    return model


def count_calls(module: nn.Module, _args: object, _output: object) -> None:
    module.__dict__.setdefault("calls", []).append(1)


def state(model: nn.Module, *, is_written: bool = False) -> list[object]:
    """Everything that could differ: bytes of tensors and gradients, identities, modes, hooks, plain attributes, generators; and how often the
    tensors were written to, unless they had to be."""
    found: list[object] = []
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        grad = None if tensor.grad is None else (id(tensor.grad), tensor.grad.numpy().tobytes())
        found.append(
            (
                name,
                id(tensor),
                tensor.detach().numpy().tobytes(),
                tensor.requires_grad,
                is_written or tensor._version,
                grad,
            )
        )
    for name, module in model.named_modules():
        found.append(
            (
                name,
                module.training,
                sorted(vars(module)),
                list(module._forward_hooks),
                list(module._forward_pre_hooks),
                vars(module).get("calls"),
            )
        )
    numpy_state = np.random.get_state()
    return [
        *found,
        random.getstate(),
        numpy_state[1].tobytes(),
        numpy_state[2],
        torch.get_rng_state().numpy().tobytes(),
        torch.is_grad_enabled(),
    ]


class Uncopyable(nn.Sequential):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__(*parts)
        self.lock = threading.Lock()


@pytest.mark.parametrize("can_copy", [True, False])
def test_a_whole_probe_leaves_the_model_as_found(can_copy: bool) -> None:
    model = a_model_in_use() if can_copy else Uncopyable(*a_model_in_use())
    if not can_copy:
        with pytest.raises(TypeError):
            copy.deepcopy(model)
    before = state(model, is_written=not can_copy)
    trace = run_probe(trainee(model, *clusters()), None, ProbePlan(steps=12, time_budget=AMPLE))
    assert state(model, is_written=not can_copy) == before
    assert trace.run is not None
    assert len(trace.run.loss) == 12
    assert trace.run.loss[-1] != trace.run.loss[0]
    states = {
        name: found.state
        for name, found in trace.experiments.items()
        if name not in ("time-dependence", "train-eval-gap")
    }
    assert set(states.values()) == {"ran"}, states


@pytest.mark.parametrize("can_copy", [True, False])
def test_a_copy_that_breaks_leaves_the_model_as_found(can_copy: bool) -> None:
    model = a_model_in_use() if can_copy else Uncopyable(*a_model_in_use())
    before = state(model, is_written=not can_copy)
    subject = trainee(model, *clusters())

    def break_down() -> None:
        with fresh(subject, 1) as made:
            step(learner(subject, made), subject.train[0])
            made.register_forward_hook(lambda *_: None)
            made.new_attribute = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_down()
    assert state(model, is_written=not can_copy) == before


def test_copies_start_from_their_own_seed_in_training_mode_without_gradients() -> None:
    subject = trainee(a_model_in_use(), *clusters())
    drawn = []
    for seed in (1, 1, 2):
        with fresh(subject, seed) as made:
            drawn.append((torch.rand(1).item(), random.random(), np.random.rand()))
            assert made is not subject.model
            assert all(module.training for module in made.modules())
            assert all(parameter.grad is None for parameter in made.parameters())
            assert not made[0].bias.requires_grad
    assert drawn[0] == drawn[1] != drawn[2]


def test_tied_weights_stay_tied_in_copies() -> None:
    model = mlp(8, 8, 8)
    model[2].weight = model[0].weight
    with fresh(trainee(model, *clusters(classes=8)), 0) as made:
        assert made[2].weight is made[0].weight is not model[0].weight
