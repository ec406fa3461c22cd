"""`fresh`: a copy of the user's model that may be trained, under a seed of its own. torch is imported inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.load.torch.quiet import quiet
from trainaudit.load.torch.restore import left_as_found
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe.trainee import Trainee


@contextmanager
def fresh(trainee: Trainee, seed: int, *, model: Any = None) -> Iterator[Any]:
    """A copy of the model (of `model`, where that is given) on the trainee's device, in training mode and without gradients; inside, the
    generators of Python, numpy and torch start at `seed`. The model itself and the generators are as before afterwards.

    A model that cannot be copied is trained itself and put back, bit for bit, afterwards.
    Raises `TrainauditError` where it can neither be copied nor stays on the device it is on.
    """
    original = trainee.model if model is None else model
    with ExitStack() as stack:
        stack.enter_context(seeded(seed))
        made = copied(original)
        if made is None:
            if not is_on(original, trainee.device):
                what = f"The model cannot be copied to the device {trainee.device}: copy.deepcopy fails on it."
                raise TrainauditError("uncopyable-model", what, f"Probe it with --device {_device(original)}.")
            stack.enter_context(left_as_found(original, computes=True))
            made = original
        made.to(trainee.device)
        made.train()
        made.zero_grad(set_to_none=True)
        yield made


def copied(model: Any) -> Any:
    """None where the model does not let itself be copied (open files, locks, tensors that are no leaves)."""
    try:
        with quiet():
            return copy.deepcopy(model)
    except MemoryError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None


def is_on(model: Any, device: str) -> bool:
    """All parameters and buffers are on a device of that type."""
    return all(tensor.device.type == device.split(":")[0] for tensor in (*model.parameters(), *model.buffers()))


def _device(model: Any) -> str:
    return next((str(tensor.device) for tensor in model.parameters()), "cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """torch's own error on accelerators, and the sentence of its allocator on a CPU."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = str(error).lower()
    words = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(word in said for word in words)
