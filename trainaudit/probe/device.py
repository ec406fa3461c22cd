"""Where a probe computes. torch is imported inside functions only."""

from __future__ import annotations

import platform

from trainaudit.errors import TrainauditError


def chosen_device(asked: str) -> str:
    """ "auto" is CUDA where there is one, then MPS, then the CPU. Raises `TrainauditError` for a device that is not there."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(name for name, is_there in there.items() if is_there)
    kind = asked.split(":")[0]
    if not there.get(kind, False):
        what = f"There is no {asked} device that torch {torch.__version__} can use."
        raise TrainauditError("no-device", what, "Choose --device auto or cpu.")
    return asked


def device_name(device: str) -> str:
    """The hardware's own name: "NVIDIA A100", "x86_64, 2 threads"."""
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    count = torch.get_num_threads()
    return f"{platform.machine()}, {count} thread{'' if count == 1 else 's'}"


def synchronize(device: str) -> None:
    """Waits for what was launched, so that a clock read after it is right."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()
