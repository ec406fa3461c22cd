"""`Trainee`: a model with everything that one training step needs. Every experiment works on copies of it. torch is not imported here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainaudit.trace.trace import Failure


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, on the probe's device. `args` and `kwargs` are what the model is called with; `target` what the loss compares with (None where the
    model or the step computes its own loss); `raw` the batch as the user's data gave it; `size` counts examples."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    target: Any = None
    raw: Any = None
    size: int = 0
    is_fixed: bool = False
    """The model takes batches of this size alone (an ONNX file may fix it), so that no part of it can be used."""
    label: Any = None
    """The target as the data gave it, where it had to be changed for a loss to be computed at all."""


@dataclass(frozen=True, slots=True)
class Computed:
    """`loss` is a scalar tensor, `output` the tensor that the loss read (None where a user's own step hides it)."""

    loss: Any
    output: Any = None
    target: Any = None


@dataclass(frozen=True, slots=True)
class Trainee:
    """`model` is the user's own module and is never trained: `copies.fresh` gives the copy that is. `compute(model, batch)` is one forward pass and
    its loss, in the mode and precision that are on; `make_optimizer(model)` an optimizer over that model's parameters, with the user's settings.

    `train` and `validation` are batches read once, bounded by the plan, and used in turn. `has_own_step` says that `compute` wraps a whole step of the
    user's (`--step`, a LightningModule's training_step)."""

    model: Any
    compute: Callable[[Any, Batch], Computed]
    make_optimizer: Callable[[Any], Any]
    train: tuple[Batch, ...]
    validation: tuple[Batch, ...] = ()
    data: str = "random"
    """"real", "random" or "teacher"; see `trace.ProbeSettings.data`."""
    loss: str = ""
    is_loss_inferred: bool = False
    has_own_step: bool = False
    class_count: int | None = None
    is_causal: bool = False
    device: str = "cpu"
    precision: str = "fp32"
    words: Mapping[str, str] = field(default_factory=dict)
    """How "data", "loss" and "optimizer" were chosen, a clause each."""
    notes: tuple[str, ...] = ()
    source: Any = None
    """The `data.Source` that `train` was read from, which `data_statistics` passes over again; None for synthetic data."""
    validation_source: Any = None
    ignore_index: int = -100
    """The label that the loss leaves out."""
    is_whole: bool = False
    """`train` is all that the source has."""
    failure: Failure | None = None
    """What a first step on the user's data raised: nothing can be trained."""
    conversion: Any = None
    """The `onnx_module.Converted` that `model` is of; None for a model that is no ONNX file."""
