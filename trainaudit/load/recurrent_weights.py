"""Recurrent layers in a state dict: torch.nn's names weight_ih_l0, weight_hh_l0, bias_ih_l0 … as the roles and layouts of the graph. Imports stdlib,
numpy, ir and load."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Attribute, Role, TensorData
from trainaudit.ir.ops import Op
from trainaudit.load.known import ComputedData

_INPUT = re.compile(r"weight_ih(_l\d+(?:_reverse)?)?")
_KINDS = {4: Op.LSTM, 3: Op.GRU, 1: Op.RNN}
_TORCH_TO_ONNX = {Op.LSTM: (0, 3, 1, 2), Op.GRU: (1, 0, 2), Op.RNN: (0,)}
"""torch orders an LSTM's gates i, f, g, o and a GRU's r, z, n; ONNX and the graph i, o, f, c and z, r, h."""
_ORDER = {Op.LSTM: "iofc", Op.GRU: "zrh", Op.RNN: "i"}


@frozen
class Level:
    """One level and direction of a recurrent layer. `uses` are its tensors with role and the word that names them; `words` all words it takes."""

    op: Op
    uses: tuple[tuple[Role, str, TensorData], ...]
    words: tuple[str, ...]
    attributes: dict[str, Attribute]
    fan_in: int
    hidden: int
    gates: int


def recurrent_levels(tensors: Mapping[str, TensorData]) -> Iterator[Level]:
    """The levels among a module's own tensors, in their order. The kind follows from the rows for each hidden unit: 4 LSTM, 3 GRU, 1 RNN."""
    for word, incoming in tensors.items():
        match = _INPUT.fullmatch(word)
        if match is None:
            continue
        suffix = match.group(1) or ""
        recurrent = tensors.get(f"weight_hh{suffix}")
        if recurrent is None or len(recurrent.shape) != 2 or len(incoming.shape) != 2 or 0 in recurrent.shape:
            continue
        projection = tensors.get(f"weight_hr{suffix}")
        hidden = projection.shape[-1] if projection is not None and projection.shape else recurrent.shape[1]
        op = _KINDS.get(recurrent.shape[0] // hidden) if hidden else None
        if op is None or recurrent.shape[0] % hidden or incoming.shape[0] != recurrent.shape[0]:
            continue
        gates = recurrent.shape[0] // hidden
        uses = [(Role.INPUT_WEIGHT, word, incoming), (Role.RECURRENT_WEIGHT, f"weight_hh{suffix}", recurrent)]
        biases = [tensors.get(f"bias_{which}{suffix}") for which in ("ih", "hh")]
        words = [word, f"weight_hh{suffix}"]
        if biases[0] is not None and biases[1] is not None and _fit(biases[0], biases[1], recurrent.shape[0]):
            uses.append((Role.BIAS, f"bias_ih{suffix}", _joined(biases[0], biases[1], _TORCH_TO_ONNX[op], hidden)))
            words += [f"bias_ih{suffix}", f"bias_hh{suffix}"]
        attributes: dict[str, Attribute] = {"hidden_size": hidden, "bidirectional": False, "gate_order": _ORDER[op]}
        yield Level(op, tuple(uses), tuple(words), attributes, incoming.shape[1], hidden, gates)


def _fit(first: TensorData, second: TensorData, rows: int) -> bool:
    return first.shape == second.shape == (rows,) and first.dtype == second.dtype


def _joined(first: TensorData, second: TensorData, order: tuple[int, ...], hidden: int) -> ComputedData:
    """Both biases as one tensor of shape (1, 2·gates·hidden), gates in the graph's order."""

    def compute() -> npt.NDArray[np.generic]:
        rows = [
            np.asarray(bias.read()).reshape(len(order), hidden)[list(order)].reshape(-1) for bias in (first, second)
        ]
        return np.concatenate(rows)[None]

    dtype = "float32" if first.dtype in ("bfloat16", "float8_e4m3fn", "float8_e5m2") else first.dtype
    return ComputedData((1, 2 * first.shape[0]), dtype, compute)
