"""`apply`: the trainee as it would be with some changes made, on a copy of its model. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainaudit.changes import DATA, GRAPH, KINDS, TRAINING, WEIGHTS, Change
from trainaudit.errors import TrainauditError
from trainaudit.fix.module.architecture import with_architecture
from trainaudit.fix.module.batches import with_data
from trainaudit.fix.module.losses import dry_run
from trainaudit.fix.module.parameters import with_weights
from trainaudit.fix.module.training import with_training
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Graph
from trainaudit.load.torch.restore import left_as_found
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe.copies import copied
from trainaudit.probe.trainee import Trainee


def apply(trainee: Trainee, graph: Graph | None, changes: Sequence[Change], *, seed: int = 0) -> Trainee:
    """A new trainee over a copy of the model in which all of the changes are made; the trainee, its model and all random generators are as before.

    `graph` is the one whose names the changes use. What is not changed is the same bit for bit: weights, batches, optimizer and loss. `seed` is that
    of weights which are drawn anew; the same seed gives the same weights.
    Raises `NotApplicableError` where a change cannot be made with certainty (none is made then), and `TrainauditError` for a kind that there is not.
    """
    import torch

    for change in changes:
        if change.kind not in KINDS:
            raise TrainauditError(
                "unknown-change", f'There is no change of the kind "{change.kind}".', f"Known: {', '.join(KINDS)}."
            )
    parts = {
        part: [change for change in changes if KINDS[change.kind].part == part]
        for part in (DATA, WEIGHTS, GRAPH, TRAINING)
    }
    with left_as_found(trainee.model, computes=False), seeded(seed):
        if parts[DATA]:
            trainee = with_data(trainee, parts[DATA], seed)
        if parts[WEIGHTS] or parts[GRAPH]:
            trainee = replace(trainee, model=_copy_of(trainee.model))
        if parts[WEIGHTS]:
            with_weights(trainee, graph, parts[WEIGHTS], seed)
        if parts[GRAPH]:
            with torch.no_grad():
                trainee = with_architecture(trainee, graph, parts[GRAPH])
        if parts[TRAINING]:
            trainee = with_training(trainee, parts[TRAINING])
        dry_run(trainee)
        return trainee


def _copy_of(model: Any) -> Any:
    made = copied(model)
    if made is None:
        raise NotApplicableError("the model does not let itself be copied")
    return made
