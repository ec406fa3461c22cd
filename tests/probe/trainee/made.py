"""What the tests of trainees share: a small model, and a trainee made of files in a working folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainaudit.load.target import Target
from trainaudit.probe.making import make_trainee, make_trainee_of
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.trainee import Trainee

NET = """
import torch
from torch import nn

torch.manual_seed(0)

def build_model():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
"""


def mlp(*tail: Any) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3), *tail)


def made(module: Any = None, example: Any = None, **plan: Any) -> Trainee:
    """A trainee of a module that is there already."""
    return make_trainee_of(mlp() if module is None else module, example, ProbePlan(**plan), None)


def made_in(folder: Path, code: str = "", *, target: str = "net.py:build_model", **plan: Any) -> Trainee:
    """A trainee of `net.py` in the working folder, with `code` behind its model."""
    (folder / "net.py").write_text(NET + code, "utf-8")
    return make_trainee(Target(target), ProbePlan(**plan), None)


def losses(trainee: Trainee, steps: int = 10) -> list[float]:
    """Losses of a few steps on a copy, as a probe makes them."""
    import copy

    torch.manual_seed(0)
    model = copy.deepcopy(trainee.model).train()
    optimizer = trainee.make_optimizer(model)
    found = []
    for step in range(steps):
        computed = trainee.compute(model, trainee.train[step % len(trainee.train)])
        optimizer.zero_grad()
        computed.loss.backward()
        optimizer.step()
        found.append(computed.loss.item())
    return found


def falls(trainee: Trainee) -> bool:
    """The loss on the batches goes down when they are learnt by heart."""
    found = losses(trainee, 60 * len(trainee.train))
    count = len(trainee.train)
    return sum(found[-count:]) < 0.98 * sum(found[:count])
