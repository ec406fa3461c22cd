"""What a forward-only probe is run on: batches of a data file, or drawn by the types and shapes of the model's inputs. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Graph
from trainaudit.load.target import InputSpec, Target
from trainaudit.probe.data_files import read_arrays
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.synthetic import SHARED, is_convolved, rows_read_by

BATCH_SIZE = 32
BATCHES = 8
"""Of synthetic data; of real data at most so many are read."""
MOST_ELEMENTS = 1 << 26
"""Of what is held at once: 256 MiB in float32."""
_LENGTH, _EXTENT = 16, 64
_TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
}  # fmt: skip

Feeds = dict[str, Any]
"""Name of an input → its array."""


def batches_for(
    session: Any, target: Target, graph: Graph, plan: ProbePlan, shown: str
) -> tuple[list[Feeds], str, str]:
    """The batches, what kind of data they are, and the same in words."""
    inputs = {item.name: item for item in session.get_inputs()}
    for item in inputs.values():
        if item.type not in _TYPES:
            what = f"The input {item.name} of {shown} is a {item.type}, which cannot be made up."
            raise TrainauditError("odd-input", what, "Leave --forward-only out.")
    if plan.data and plan.data not in ("random", "teacher"):
        return _stored(inputs, plan, shown), "real", f"batches of {Path(plan.data).name}"
    generator = np.random.default_rng(plan.seed)
    specs = _specified(inputs, target, plan, shown)
    batches = [
        {name: _drawn(spec, graph, name, generator) for name, spec in specs.items()}
        for _ in range(plan.steps or BATCHES)
    ]
    return batches, "random", "synthetic: inputs drawn by shape and type"


def _specified(inputs: Mapping[str, Any], target: Target, plan: ProbePlan, shown: str) -> dict[str, InputSpec]:
    """Type and shape of each input: as `--input` gives it, or as the model declares it with open axes filled in."""
    named = {spec.name: spec for spec in target.inputs if spec.name}
    free = iter([spec for spec in target.inputs if not spec.name])
    if unknown := [name for name in named if name not in inputs]:
        raise TrainauditError(
            "bad-input", f"{shown} has no input {unknown[0]}.", f"Its inputs are {', '.join(inputs)}."
        )
    specs = {}
    for name, item in inputs.items():
        given = named.get(name) or next(free, None)
        dtype = str(np.dtype(_TYPES[item.type]))
        shape = tuple(_axis(size, place, len(item.shape), plan) for place, size in enumerate(item.shape))
        if given is not None and given.dtype != dtype:
            raise TrainauditError(
                "bad-input", f"The input {name} of {shown} is {dtype}, not {given.dtype}.", "Correct --input."
            )
        specs[name] = InputSpec(name, dtype, shape if given is None else given.shape)
        if math.prod(specs[name].shape) > MOST_ELEMENTS:
            raise TrainauditError(
                "too-large", f"A batch of the input {name} of {shown} is too large.", "Say --batch-size 1."
            )
    return specs


def _axis(size: Any, place: int, rank: int, plan: ProbePlan) -> int:
    if isinstance(size, int) and size > 0:
        return size
    if place == 0:
        return plan.batch_size or BATCH_SIZE
    return _EXTENT if rank >= 4 else _LENGTH


def _drawn(spec: InputSpec, graph: Graph, name: str, generator: Any) -> Any:
    """As `synthetic.drawn` draws them: floats that share a quarter of their variance within an example, low token ids more often."""
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return _normal(spec.shape, graph, name, generator).astype(dtype)
    if dtype.kind == "b" or "mask" in name:
        return np.ones(spec.shape, dtype)
    if "position" in name and spec.shape:
        return np.broadcast_to(np.arange(spec.shape[-1], dtype=dtype), spec.shape).copy()
    if "type" in name or "segment" in name:
        return np.zeros(spec.shape, dtype)
    rows = rows_read_by(graph, name) if name in graph.values else None
    top = max(1, min(rows or 2, int(np.iinfo(dtype).max)))
    return np.minimum(generator.random(spec.shape) ** 3 * top, top - 1).astype(dtype)


def _normal(shape: tuple[int, ...], graph: Graph, name: str, generator: Any) -> Any:
    noise = generator.standard_normal(shape)
    if len(shape) < 3:
        return noise
    kept = 1 if len(shape) >= 4 or is_convolved(graph, name) else 2
    level = generator.standard_normal([size if axis in (0, kept) else 1 for axis, size in enumerate(shape)])
    return math.sqrt(1 - SHARED) * noise + math.sqrt(SHARED) * level


def _stored(inputs: Mapping[str, Any], plan: ProbePlan, shown: str) -> list[Feeds]:
    """Batches of the arrays in a file, by the inputs' names or in their order; targets are left out."""
    if not plan.data.lower().endswith((".npz", ".safetensors")):
        what = f"--forward-only reads data from .npz and .safetensors files, and {plan.data} is none."
        raise TrainauditError("bad-data", what, "Save the inputs with numpy.savez, or leave --forward-only out.")
    arrays = read_arrays(plan.data)
    if isinstance(arrays, Mapping) and all(name in arrays for name in inputs):
        chosen = {name: np.asarray(arrays[name]) for name in inputs}
    else:
        values = (
            list(arrays.values())
            if isinstance(arrays, Mapping)
            else list(arrays)
            if isinstance(arrays, tuple)
            else [arrays]
        )
        if len(values) < len(inputs):
            what = f"{plan.data} holds {counted(len(values), 'array')}, and {shown} has {counted(len(inputs), 'input')} ({', '.join(inputs)})."
            raise TrainauditError("bad-data", what, "Save an array under the name of each input.")
        chosen = {name: np.asarray(value) for name, value in zip(inputs, values, strict=False)}
    chosen = {name: value.astype(_TYPES[inputs[name].type], copy=False) for name, value in chosen.items()}
    count = min((value.shape[0] for value in chosen.values() if value.ndim), default=0)
    fixed = next((item.shape[0] for item in inputs.values() if item.shape and isinstance(item.shape[0], int)), None)
    size = fixed or min(plan.batch_size or BATCH_SIZE, count)
    if not size or count < size:
        what = f"{plan.data} holds {counted(count, 'example')}, fewer than the {size or 1} of one batch."
        raise TrainauditError("bad-data", what, "Save more, or say --batch-size.")
    starts = range(0, count - size + 1, size)[: plan.steps or BATCHES]
    return [{name: value[start : start + size] for name, value in chosen.items()} for start in starts]
