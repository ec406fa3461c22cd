"""Small hand-made graphs with weights in memory, for tests of weight facts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trainaudit.ir.graph import Attribute, Graph, Layer, Origin, Parameter, Role, Value
from trainaudit.ir.ops import Op
from trainaudit.ir.tensor import ArrayData

Array = npt.NDArray[np.generic]
Step = tuple[Op, Mapping[Role, Array], Mapping[str, Attribute]]

GATES = {Op.LSTM: 4, Op.GRU: 3}


def parameter(
    values: Array, role: Role = Role.WEIGHT, name: str = "weight", owner: int = 0, gates: int = 1, stored: str = ""
) -> Parameter:
    """A parameter stored as torch stores it: units first."""
    axis = fan_in = fan_out = None
    if role is Role.WEIGHT and values.ndim:
        axis, fan_in = 0, math.prod(values.shape[1:])
        fan_out = values.shape[0] * math.prod(values.shape[2:])
    elif role in (Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT) and values.ndim == 3:
        axis, fan_in, fan_out = 1, values.shape[2], values.shape[1]
    return Parameter(
        name, values.shape, stored or values.dtype.name, role, role not in (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE),
        (owner,), ArrayData(values, stored), axis, fan_in, fan_out, gates=gates,
    )  # fmt: skip


def chain(steps: Sequence[Step]) -> Graph:
    """Layers in a row, "0", "1", …; parameters are named "0.weight" and so on."""
    layers, parameters = [], {}
    values = {"x": Value("x", None, "float32", None, (0,))}
    for i, (op, tensors, attributes) in enumerate(steps):
        roles = {}
        for role, array in tensors.items():
            name = f"{i}.{role.value}"
            roles[role.value] = name
            parameters[name] = parameter(array, role, name, i, GATES.get(op, 1))
        layers.append(Layer(i, str(i), op, op.value, (f"v{i - 1}" if i else "x",), (f"v{i}",), roles, attributes))
        values[f"v{i}"] = Value(f"v{i}", None, "float32", i, (i + 1,) if i + 1 < len(steps) else ())
    return Graph(tuple(layers), values, parameters, ("x",), (f"v{len(steps) - 1}",), Origin("", "test", 0))


def linear(weight: Array, bias: Array | None = None) -> Step:
    """A linear layer, weight (units, inputs)."""
    tensors = {Role.WEIGHT: weight} | ({} if bias is None else {Role.BIAS: bias})
    return Op.LINEAR, tensors, {"in_features": weight.shape[1], "out_features": weight.shape[0]}


def activation(op: Op, **attributes: Attribute) -> Step:
    return op, {}, attributes


def normal(*shape: int, std: float = 0.05, seed: int = 0) -> npt.NDArray[np.float32]:
    """Draws that no torch generator made."""
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32)


def torch_uniform(*shape: int, bound: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """U(±bound) rounded as a float32 generator rounds it: k/2²⁴ scaled by one fused multiply-add."""
    k = np.random.default_rng(seed).integers(0, 1 << 24, shape).astype(np.float64)
    edge = float(np.float32(bound))
    return (k * 2.0**-24 * (2.0 * edge) - edge).astype(np.float32)
