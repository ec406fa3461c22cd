"""`--optimizer` and `--lr`: names, classes, functions of the model or its parameters, and one sentence for what is none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from tests.probe.trainee.made import made, made_in
from trainaudit.errors import TrainauditError

CODE = """
import functools
def of_model(model): return torch.optim.RMSprop(model.parameters(), lr=0.02)
def of_parameters(params, lr=0.5): return torch.optim.SGD(params, lr=lr)
def of_p(p): return torch.optim.SGD(p, lr=0.6)
def confused(model): return torch.optim.SGD(model.parameters(), rate=0.6)
def grouped(net): return torch.optim.AdamW([{"params": net[0].parameters(), "lr": 0.1}, {"params": net[2].parameters()}], lr=0.2)
def with_schedule(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]
partial = functools.partial(torch.optim.SGD, lr=0.7, momentum=0.9)
ready = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
def nothing(model): return None
def raises(model): raise KeyError("lr")
word = "sgd"
"""


def optimizer(trainee: Any) -> Any:
    return trainee.make_optimizer(trainee.model)


@pytest.mark.parametrize(
    ("plan", "kind", "rate", "words"),
    [
        ({}, "Adam", 3e-4, "Adam with learning rate 0.0003, which the recipe calls safe"),
        ({"learning_rate": 0.01}, "Adam", 0.01, "Adam, with the given learning rate 0.01"),
        ({"optimizer": "adamw"}, "AdamW", 1e-3, "AdamW, as named, with its default learning rate"),
        ({"optimizer": "SGD", "learning_rate": 0.1}, "SGD", 0.1, "SGD, as named, with the given learning rate 0.1"),
    ],
)
def test_names(plan: dict[str, Any], kind: str, rate: float, words: str) -> None:
    trainee = made(**plan)
    assert type(optimizer(trainee)).__name__ == kind
    assert optimizer(trainee).param_groups[0]["lr"] == rate
    assert trainee.words["optimizer"] == words


@pytest.mark.parametrize(
    ("name", "kind", "rates"),
    [
        ("of_model", "RMSprop", [0.02]),
        ("of_parameters", "SGD", [0.5]),
        ("of_p", "SGD", [0.6]),
        ("grouped", "AdamW", [0.1, 0.2]),
        ("with_schedule", "SGD", [0.3]),
        ("partial", "SGD", [0.7]),
    ],
)
def test_import_strings(work: Path, name: str, kind: str, rates: list[float]) -> None:
    found = optimizer(made_in(work, CODE, optimizer=f"net.py:{name}"))
    assert type(found).__name__ == kind
    assert [group["lr"] for group in found.param_groups] == rates


@pytest.mark.parametrize("name", ["of_model", "of_parameters", "grouped", "with_schedule", "partial"])
def test_the_given_rate_counts(work: Path, name: str) -> None:
    found = optimizer(made_in(work, CODE, optimizer=f"net.py:{name}", learning_rate=0.007))
    assert {group["lr"] for group in found.param_groups} == {0.007}


def test_it_is_made_over_the_model_that_it_is_given(work: Path) -> None:
    import copy

    trainee = made_in(work, CODE, optimizer="net.py:of_model")
    model = copy.deepcopy(trainee.model)
    held = {id(parameter) for group in trainee.make_optimizer(model).param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in model.parameters()}


def test_frozen_parameters_are_left_out() -> None:
    from tests.probe.trainee.made import mlp

    model = mlp()
    model[0].requires_grad_(False)
    held = [parameter for group in optimizer(made(model)).param_groups for parameter in group["params"]]
    assert len(held) == 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("adan", r'^The optimizer "adan" is not known\. Did you mean "adam"\?'),
        ("lbfgs", r"^LBFGS evaluates the loss several times in a step, which a probe cannot follow\."),
        ("net.py:ready", r"^net.py:ready is an optimizer that is made already, for another model's parameters\."),
        ("net.py:nothing", r"^net.py:nothing gives a NoneType, which is no optimizer\."),
        ("net.py:raises", r"^Making the optimizer of net.py:raises failed at net.py:\d+ \(KeyError: 'lr'\)\."),
        ("net.py:confused", r"^Making the optimizer of net.py:confused failed at net.py:\d+ \(TypeError: .*'rate'\)\."),
        ("net.py:word", r"^net.py:word gives a str, which makes no optimizer\."),
    ],
)
def test_one_sentence_for_what_is_none(work: Path, name: str, sentence: str) -> None:
    with pytest.raises(TrainauditError, match=sentence):
        made_in(work, CODE, optimizer=name)


def test_a_model_without_parameters() -> None:
    with pytest.raises(TrainauditError, match=r"^The model has no trainable parameters\."):
        made(torch.nn.Flatten(), torch.zeros(2, 3))
