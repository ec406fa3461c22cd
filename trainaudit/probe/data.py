"""Data that the user names: an import string or a file becomes a `Source` of batches. torch is imported inside functions only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.torch.importing import shown_file
from trainaudit.probe.data_files import read_arrays
from trainaudit.probe.structures import arrays_as_tensors, mapped, parts_of, size_of
from trainaudit.probe.user_objects import Caller, a, called, named, shown_name

FILES = (".npz", ".safetensors")
_VALIDATION = ("validation", "valid", "val", "test", "eval", "dev")
_TRAINING = ("train", "training")
_KINDS = "a DataLoader, a Dataset, an iterable of batches, tensors (X, y), or a function that returns one of them"


@frozen
class Source:
    """Where batches come from. `passes` starts a new pass over them; `fetch` gives one example by its index, where there is an index.
    `count` is the number of examples, `loader` the user's DataLoader, where they are known. `words` say what it is, in one clause."""

    shown: str
    words: str
    passes: Callable[[], Iterator[Any]]
    fetch: Callable[[int], Any] | None = None
    count: int | None = None
    loader: Any = None
    is_shuffled_here: bool = False
    """trainaudit itself draws the order."""
    may_repeat: bool = False
    """One example may come twice in a pass: it is drawn with replacement, or comes from a stream, which may start over."""


def sources_of(
    text: str, caller: Caller, *, batch_size: int, rank: int | None, option: str = "--data"
) -> tuple[Source, Source | None]:
    """The training data that `text` names, and the validation data that come with them. `rank` is the number of axes of a batch of the
    model's first input, where it is known: it tells a list of examples from a list of batches."""
    if PurePath(text).suffix.lower() in FILES:
        return _both(read_arrays(text), shown_file(text), caller, batch_size, rank)
    found = named(text, caller, option)
    return sources_in(found, shown_name(text), caller, batch_size=batch_size, rank=rank)


def sources_in(
    found: Any, shown: str, caller: Caller, *, batch_size: int, rank: int | None
) -> tuple[Source, Source | None]:
    """The same of an object that is there already; functions and classes are called first."""
    for _ in range(3):
        if not _is_function(found):
            break
        found = called(
            found, shown, replace(caller, known={**caller.known, "seed": caller.seed, "batch_size": batch_size})
        )
    return _both(found, shown, caller, batch_size, rank)


def _is_function(value: Any) -> bool:
    if isinstance(value, type):
        return True
    return callable(value) and not _is_data(value)


def _is_data(value: Any) -> bool:
    return hasattr(value, "__iter__") or hasattr(value, "__getitem__")


def _both(found: Any, shown: str, caller: Caller, batch_size: int, rank: int | None) -> tuple[Source, Source | None]:
    train, validation = _split(found)
    held = None if validation is None else _source(validation, shown, caller.seed, batch_size, rank)
    return _source(train, shown, caller.seed, batch_size, rank), held


def _split(found: Any) -> tuple[Any, Any]:
    """Training and validation data, where both were given: by key, as a pair, or as (X, y, X_val, y_val)."""
    if isinstance(found, Mapping):
        train = next((found[key] for key in _TRAINING if key in found), None)
        held = next((found[key] for key in _VALIDATION if key in found), None)
        if train is not None:
            return train, held
        return _split_by_suffix(found)
    if not isinstance(found, tuple):
        return found, None
    arrays = [item for item in found if _is_array(item)]
    if len(found) == 2 and not arrays and all(_is_whole_data(item) for item in found):
        return found
    if (
        len(arrays) >= 2
        and len(arrays) < len(found)
        and all(isinstance(item, (Mapping, str, type(None))) for item in found[len(arrays) :])
    ):
        return tuple(arrays), None  # (X, Y, info)
    if len(arrays) == len(found) == 4:
        sizes = [len(item) for item in arrays]
        if sizes[0] == sizes[1] != sizes[2] == sizes[3]:
            return found[:2], found[2:]
    return found, None


def _split_by_suffix(found: Mapping[str, Any]) -> tuple[Any, Any]:
    """{x, y, x_val, y_val} → ({x, y}, {x, y})."""
    held: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, item in found.items():
        match = re.fullmatch(rf"(.+)_({'|'.join(_VALIDATION)})|({'|'.join(_VALIDATION)})_(.+)", str(key))
        start = re.fullmatch(rf"(.+)_({'|'.join(_TRAINING)})|({'|'.join(_TRAINING)})_(.+)", str(key))
        if match:
            held[match[1] or match[4]] = item
        else:
            rest[(start[1] or start[4]) if start else key] = item
    return (rest, held) if held and set(held) <= set(rest) else (found, None)


def _is_whole_data(value: Any) -> bool:
    """A data set of its own: a loader, a Dataset, or a pair of arrays."""
    if isinstance(value, (tuple, list)):
        return len(value) >= 2 and all(_is_array(item) for item in value)
    return not _is_array(value) and not isinstance(value, (str, bytes)) and _is_data(value)


def _is_array(value: Any) -> bool:
    import numpy as np
    import torch

    return isinstance(value, (torch.Tensor, np.ndarray))


# --- kinds of data -------------------------------------------------------------------------------------------------------


def _source(value: Any, shown: str, seed: int, batch_size: int, rank: int | None) -> Source:
    from torch.utils.data import DataLoader, IterableDataset

    if isinstance(value, DataLoader):
        dataset = value.dataset
        count = _length(dataset)
        fetch = dataset.__getitem__ if hasattr(dataset, "__getitem__") and count is not None else None
        samplers = (value.sampler, value.batch_sampler)
        redraws = count is None or any(getattr(sampler, "replacement", False) for sampler in samplers)
        words = f"the DataLoader {shown}"
        return Source(shown, words, lambda: iter(value), fetch, count, value, may_repeat=redraws)
    if isinstance(value, IterableDataset):
        loader: Any = DataLoader(value, batch_size=batch_size)
        words = f"the IterableDataset {shown} in batches of {batch_size}"
        return Source(shown, words, lambda: iter(loader), may_repeat=True)
    if _is_array(value) or _are_columns(value):
        return _of_columns(value, shown, seed, batch_size)
    if _is_dataset(value) or _are_examples(value, rank):
        return _of_dataset(value, shown, seed, batch_size)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        once = isinstance(value, Iterator)
        words = f"{'the one pass of ' if once else ''}the iterable {shown}"
        return Source(shown, words, lambda: iter(value), may_repeat=_length(value) is None)
    raise TrainauditError("bad-data", f"{shown} gives {a(value)}, which holds no batches.", f"Name {_KINDS}.")


def _are_columns(value: Any) -> bool:
    """(X, y) or {name: X}: arrays whose first axes agree."""
    items = value if isinstance(value, tuple) else list(value.values()) if isinstance(value, Mapping) else []
    if (
        isinstance(value, tuple)
        and items
        and isinstance(items[0], (tuple, list, Mapping))
        and all(_is_array(i) for i in items[1:])
    ):
        inner = items[0].values() if isinstance(items[0], Mapping) else items[0]
        items = [*inner, *items[1:]]
    sizes = {len(item) for item in items if _is_array(item) and item.ndim}
    return bool(items) and all(_is_array(item) and item.ndim for item in items) and len(sizes) == 1


def _is_dataset(value: Any) -> bool:
    """Indexed examples: a torch Dataset, or any class of the user's with __len__ and __getitem__."""
    from torch.utils.data import Dataset

    if isinstance(value, Dataset):
        return True
    return (
        hasattr(value, "__len__")
        and hasattr(value, "__getitem__")
        and not isinstance(value, (list, tuple, Mapping, str, bytes))
    )


def _are_examples(value: Any, rank: int | None) -> bool:
    """A list whose items have an axis less than the model's input: single examples."""
    if not isinstance(value, (list, tuple)) or not value or rank is None:
        return False
    first = next((item for item in _leaves(value[0]) if _is_array(item)), None)
    return first is not None and first.ndim == rank - 1


def _leaves(value: Any) -> Iterator[Any]:
    parts = parts_of(value)
    if not parts:
        yield value
    for _, item in parts:
        yield from _leaves(item)


def _of_columns(value: Any, shown: str, seed: int, batch_size: int) -> Source:
    tensors = arrays_as_tensors(value)
    count = size_of(tensors)
    if not count:
        raise TrainauditError("empty-data", f"{shown} holds no examples.", "Give at least one batch.")
    size = min(batch_size, count)

    def rows(index: Any) -> Any:
        return mapped(tensors, lambda tensor: tensor[index])

    def passes() -> Iterator[Any]:
        for chosen in _orders(count, size, seed):
            yield rows(chosen)

    return Source(
        shown,
        f"{counted(count, 'example')} of {shown} in batches of {size}, shuffled by trainaudit",
        passes,
        rows,
        count,
        is_shuffled_here=True,
    )


def _orders(count: int, size: int, seed: int) -> Iterator[Any]:
    """Indices of the batches of one shuffled pass; a last batch that is not full is left out, unless it is the only one."""
    import torch

    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for start in range(0, max(1, count // size) * size, size):
        yield order[start : start + size]


def _of_dataset(dataset: Any, shown: str, seed: int, batch_size: int) -> Source:
    from torch.utils.data import default_collate

    count = _length(dataset)
    if count is None:
        return Source(shown, f"the iterable {shown}", lambda: iter(dataset), may_repeat=True)
    if not count:
        raise TrainauditError("empty-data", f"{shown} holds no examples.", "Give at least one batch.")
    size = min(batch_size, count)

    def passes() -> Iterator[Any]:
        for chosen in _orders(count, size, seed):
            examples = [arrays_as_tensors(dataset[index]) for index in chosen.tolist()]
            yield default_collate(examples)

    words = f"{counted(count, 'example')} of {shown} in batches of {size}, shuffled and collated by trainaudit"
    return Source(shown, words, passes, dataset.__getitem__, count, is_shuffled_here=True)


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None
