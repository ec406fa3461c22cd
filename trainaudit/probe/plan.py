"""`ProbePlan`: what a probe is asked to do, as the command line and the settings say it. Stdlib only; nothing is imported or opened."""

from __future__ import annotations

from trainaudit.frozen import frozen

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("fp32", "bf16", "fp16")


@frozen
class ProbePlan:
    """Empty texts mean that it is inferred, and said. Import strings are `pkg.mod:attr` or `path/file.py:attr`."""

    data: str = ""
    """Import string of a DataLoader, Dataset, iterable, callable or tensors; a path to .npz or .safetensors; "" for synthetic data."""
    validation: str = ""
    loss: str = ""
    """A name of `settings.LOSSES`, or an import string."""
    optimizer: str = ""
    """A class name of torch.optim in any case ("adamw"), or an import string to a factory that takes the model or its parameters."""
    learning_rate: float | None = None
    step: str = ""
    """Import string of a function (model, batch) → loss, or → (loss, output)."""
    spec: str = ""
    """A Python file (or module) with build_model, make_data, make_loss and make_optimizer, any of which may be missing."""
    steps: int | None = None
    batch_size: int | None = None
    device: str = "auto"
    precision: str = "fp32"
    seed: int = 0
    repeats: int = 3
    """Of experiments that noise could decide."""
    time_budget: float = 60.0
    """Seconds for everything behind the static audit."""
    forward_only: bool = False
    is_causal: bool = False
    sample_every: int = 10
    """Full instruments every so many steps (and at the first ten)."""
    experiments: tuple[str, ...] = ()
    """Those to run, () for all."""
    prove_fixes: bool = False
    """Make each fix that a machine can make on a copy, and train it beside the model."""
