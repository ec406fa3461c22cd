"""The order of a source's examples over two passes, and whether augmentation draws anew: by example, by epoch and by worker.

torch is imported inside functions only. Worker processes are not started: each is emulated in this process by a copy of the dataset and the seeds
that torch's `DataLoader` gives its workers (torch.utils.data._utils.worker), the user's `worker_init_fn` included.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe.data import Source
from trainaudit.probe.reading import reading
from trainaudit.probe.structures import arrays_as_tensors, rows_of_bytes, tensors_in

_BATCHES = 4
_EXAMPLES = 3
_DRAWN = 16
"""Examples that a worker draws: were it one, two independent flips of it would often agree."""
_WORKERS, _EPOCHS = 4, 2
_EMULATED = "Whether workers repeat each other's random draws was told by emulating them in one process, as torch's DataLoader seeds them."


@frozen
class Order:
    """`is_same`: two passes gave the same examples in the same order. `repeated_share`: of the draws of all workers in two epochs, those that equal
    another one's. None is what was not told. `is_drawn_here` says that trainaudit itself draws the order."""

    is_same: bool | None = None
    is_augmented: bool | None = None
    repeated_share: float | None = None
    is_drawn_here: bool = False
    notes: tuple[str, ...] = ()


def order_of(source: Source | None, *, seed: int, ends: float) -> Order:
    """What can be told until the clock `ends` (`time.perf_counter`). A source that breaks down on being read again leaves the rest open."""
    if source is None:
        return Order()
    notes: list[str] = []
    augmented = repeated = same = None
    try:
        augmented = _is_augmented(source, seed, ends)
        if (
            source.loader is not None
        ):  # a list of batches that is given for the probe says nothing of the order in training
            same = _is_same_order(source, seed, ends, augmented)
        repeated = _repeated_share(source, seed, ends) if augmented else None
    except TrainauditError as error:
        notes.append(f"The order of the data was not looked at to the end: {error.what}")
    if repeated is not None:
        notes.append(_EMULATED)
    return Order(same, augmented, repeated, source.is_shuffled_here, tuple(notes))


def _is_same_order(source: Source, seed: int, ends: float, is_augmented: bool | None) -> bool | None:
    """The first batches of two passes under different seeds; of augmented data their targets alone, where those tell examples apart."""
    first, second = (
        [_fingerprint(raw, is_augmented) for raw in _first(source, seed + place, ends)] for place in (1, 2)
    )
    if not first or len(first) != len(second) or None in first or len(set(first)) < 2:
        return None
    return first == second


def _first(source: Source, seed: int, ends: float) -> list[Any]:
    """The first batches of a new pass."""
    found: list[Any] = []
    with seeded(seed), reading(source.shown):
        for raw in source.passes():
            found.append(arrays_as_tensors(raw))
            if len(found) >= _BATCHES or time.perf_counter() > ends:
                break
    return found


def _fingerprint(raw: Any, is_augmented: bool | None) -> tuple[Any, ...] | None:
    """The bits of a batch; of an augmented one those of its last tensor that is no float (the labels), None without one."""
    tensors = [tensor for _, tensor in tensors_in(raw)]
    if is_augmented:
        tensors = [tensor for tensor in tensors if not tensor.is_floating_point()][-1:]
        if not tensors or tensors[0].unique().numel() < 2:
            return None
    return tuple(_bits(tensor) for tensor in tensors) or None


def _bits(tensor: Any) -> bytes:
    import hashlib

    return hashlib.blake2b(rows_of_bytes(tensor, 1)[0].data, digest_size=16).digest()


# --- augmentation --------------------------------------------------------------------------------------------------------


def _is_augmented(source: Source, seed: int, ends: float) -> bool | None:
    """Some example fetched twice in a row, under different seeds, differs."""
    if source.fetch is None or not source.count:
        return None
    chosen = [place * source.count // _EXAMPLES for place in range(min(_EXAMPLES, source.count))]
    for index in dict.fromkeys(chosen):
        if time.perf_counter() > ends:
            return None
        if _fetched(source, source.fetch, index, seed + 1) != _fetched(source, source.fetch, index, seed + 2):
            return True
    return False


def _fetched(source: Source, fetch: Any, index: int, seed: int) -> tuple[bytes, ...]:
    with seeded(seed), reading(source.shown):
        return _all_bits(fetch(index))


def _all_bits(example: Any) -> tuple[bytes, ...]:
    """Of an example's tensors, arrays and pictures."""
    import numpy as np

    found = arrays_as_tensors(example)
    tensors = tuple(_bits(tensor) for _, tensor in tensors_in(found))
    if tensors:
        return tensors
    item = example[0] if isinstance(example, (tuple, list)) and example else example
    return (np.asarray(item).tobytes(),) if hasattr(item, "__array__") or hasattr(item, "__array_interface__") else ()


def _repeated_share(source: Source, seed: int, ends: float) -> float | None:
    """Of the same examples drawn by each worker in each of two epochs, the share of draws that equal another one."""
    loader = source.loader
    workers = min(_WORKERS, int(getattr(loader, "num_workers", 0) or 0))
    if loader is None or workers < 1 or not source.count:
        return None
    indices = range(0, source.count, max(1, source.count // _DRAWN))[:_DRAWN]
    draws: list[tuple[tuple[bytes, ...], ...]] = []
    for epoch in range(_EPOCHS):
        base = random.Random(seed + epoch).getrandbits(62)
        for worker in range(workers):
            if time.perf_counter() > ends:
                return None
            try:
                dataset = copy.deepcopy(loader.dataset)
            except Exception:  # a dataset that cannot be copied cannot be emulated
                return None
            with seeded(0), _as_worker(worker, loader, dataset, base), reading(source.shown):
                if loader.worker_init_fn is not None:
                    loader.worker_init_fn(worker)
                draws.append(tuple(_all_bits(dataset[index]) for index in indices))
    return sum(draws.count(draw) > 1 for draw in draws) / len(draws)


@contextmanager
def _as_worker(worker: int, loader: Any, dataset: Any, base_seed: int) -> Iterator[None]:
    """The random state and `get_worker_info()` of one of the loader's workers."""
    import numpy
    import torch
    from torch.utils.data._utils import worker as module

    seed = base_seed + worker
    random.seed(seed)
    torch.manual_seed(seed)
    generate = getattr(module, "_generate_state", None)
    if generate is not None:
        numpy.random.seed(generate(base_seed, worker))
    before = getattr(module, "_worker_info", None)
    module._worker_info = module.WorkerInfo(id=worker, num_workers=loader.num_workers, seed=seed, dataset=dataset)
    try:
        yield
    finally:
        module._worker_info = before
