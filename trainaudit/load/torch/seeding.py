"""Random state: what an audit draws is the same each time, and the caller's own draws go on as if there had been no audit. torch is imported
inside functions only."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

SEED = 0


@contextlib.contextmanager
def seeded(seed: int = SEED) -> Iterator[None]:
    """Python's, numpy's and torch's generators are seeded inside and as before afterwards."""
    import numpy
    import torch

    python, array = random.getstate(), numpy.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        numpy.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(array)
