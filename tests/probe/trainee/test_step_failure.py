"""A step that raises on the user's data: which part of it, on what types and shapes, and what the probe makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests.models.clocks import AMPLE  # noqa: E402
from tests.probe.trainee.made import made, made_in  # noqa: E402
from trainaudit.errors import TrainauditError  # noqa: E402
from trainaudit.probe.plan import ProbePlan  # noqa: E402
from trainaudit.probe.run import run_probe  # noqa: E402
from trainaudit.trace.experiments import NOT_RUN, RAN  # noqa: E402
from trainaudit.trace.trace import Failure  # noqa: E402

CODE = """
X, Y = torch.randn(64, 6), torch.randint(0, 3, (64,))
pair, wide, alone = (X, Y), (torch.randn(64, 5), Y), torch.randn(64, 5)
mixed = [(X[:16], Y[:16]), (X[16:32], Y[16:32].float())]
def picky(output, target):
    if target.is_floating_point():
        raise ValueError("floats are no labels")
    return nn.functional.cross_entropy(output, target)
def raising(model, batch):
    raise RuntimeError("no step")
def half(model, batch):
    model(batch[0]) + torch.zeros(7)
"""


@pytest.mark.parametrize(
    ("plan", "failure"),
    [
        (
            {"data": "pair", "loss": "bce"},
            Failure(
                "loss",
                "ValueError: outputs of shape (32, 3) and targets of shape (32,) differ",
                "float32[32,6]",
                "float32[32,3]",
                "int64[32]",
            ),
        ),
        (
            {"data": "wide", "loss": "cross-entropy"},
            Failure(
                "forward pass",
                "RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x5 and 6x16)",
                "float32[32,5]",
                "none",
                "int64[32]",
            ),
        ),
        (
            {"data": "wide"},
            Failure(
                "forward pass",
                "RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x5 and 6x16)",
                "float32[32,5]",
                "none",
                "int64[32]",
            ),
        ),
        (
            {"data": "alone"},
            Failure(
                "forward pass",
                "RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x5 and 6x16)",
                "float32[32,5]",
                "none",
                "none",
            ),
        ),
        (
            {"data": "pair", "step": "net.py:raising"},
            Failure("step", "RuntimeError: no step, at net.py:18", "float32[32,6]", "none", "int64[32]"),
        ),
        (
            {"data": "pair", "step": "net.py:half"},
            Failure(
                "loss",
                "RuntimeError: The size of tensor a (3) must match the size of tensor b (7) at non-singleton dimension 1, at net.py:20",
                "float32[32,6]",
                "float32[32,3]",
                "int64[32]",
            ),
        ),
    ],
)
def test_the_part_that_raised_with_types_and_shapes(work: Path, plan: dict[str, str], failure: Failure) -> None:
    given = {name: f"net.py:{value}" if name == "data" else value for name, value in plan.items()}
    trainee = made_in(work, CODE, **given)
    assert trainee.failure == failure


def test_a_step_that_can_be_computed_has_no_failure(work: Path) -> None:
    assert made_in(work, CODE, data="net.py:pair").failure is None


def test_on_synthetic_data_it_is_no_fault_of_the_users() -> None:
    with pytest.raises(TrainauditError, match="could not be run on a batch of its data"):
        made(torch.nn.Linear(6, 3), torch.zeros(2, 5), loss="cross-entropy")


def test_the_user_s_model_is_left_as_found(work: Path) -> None:
    model = made_in(work, CODE, data="net.py:pair", loss="bce").model
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_the_probe_of_it_trains_nothing_and_says_what_it_knows(work: Path) -> None:
    plan = ProbePlan(data="net.py:pair", loss="bce", optimizer="sgd", learning_rate=0.25, time_budget=AMPLE)
    trainee = made_in(work, CODE, data=plan.data, loss=plan.loss, optimizer=plan.optimizer, learning_rate=0.25)
    trace = run_probe(trainee, None, plan)
    assert (trace.stopped, trace.run, trace.failure) == ("loss failed", None, trainee.failure)
    settings = trace.settings
    assert (settings.loss, settings.optimizer, settings.learning_rate, settings.batch_size) == ("bce", "SGD", 0.25, 32)
    shapes = trace.experiments.pop("target-shape")
    assert shapes.state == RAN
    assert shapes.values == {
        "output_shape": "float32[32,3]",
        "target_shape": "int64[32]",
        "is_broadcast": False,
        "error": "ValueError: outputs of shape (32, 3) and targets of shape (32,) differ",
    }
    assert trace.experiments
    assert {(one.state, one.reason) for one in trace.experiments.values()} == {
        (NOT_RUN, "the loss could not be computed on the data")
    }
    assert trace.notes == (
        "Nothing was trained, since the loss could not be computed on the data: ValueError: outputs of shape (32, 3) and targets of shape (32,) differ.",
    )


def test_without_an_output_there_are_no_shapes_to_compare(work: Path) -> None:
    trace = run_probe(made_in(work, CODE, data="net.py:wide"), None, ProbePlan(time_budget=AMPLE))
    assert trace.stopped == "forward pass failed"
    assert {one.state for one in trace.experiments.values()} == {NOT_RUN}


def test_a_later_batch_that_a_step_raises_on(work: Path) -> None:
    trainee = made_in(work, CODE, data="net.py:mixed", loss="net.py:picky")
    assert trainee.failure is None
    trace = run_probe(trainee, None, ProbePlan(steps=4, time_budget=AMPLE))
    assert (trace.stopped, trace.run) == ("loss failed", None)
    assert trace.failure is not None
    assert trace.failure.said.startswith("ValueError: floats are no labels, at net.py:")
    assert trace.failure.target == "float32[16]"
