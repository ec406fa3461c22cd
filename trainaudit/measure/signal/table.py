"""Which file of rules covers which op. A graph needs a few of these files, and only those are imported."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module

from trainaudit.ir.ops import Op
from trainaudit.measure.signal.rule import Rule

FILES: dict[str, frozenset[Op]] = {
    "dense": frozenset({Op.LINEAR}),
    "conv": frozenset({Op.CONV, Op.CONV_TRANSPOSE}),
    "elementwise": frozenset(
        {
            Op.RELU, Op.LEAKY_RELU, Op.PRELU, Op.RELU6, Op.THRESHOLDED_RELU, Op.ELU, Op.SELU, Op.CELU, Op.GELU, Op.SILU, Op.MISH,
            Op.SIGMOID, Op.HARD_SIGMOID, Op.HARD_SWISH, Op.TANH, Op.HARD_TANH, Op.SOFTPLUS, Op.SOFTSIGN, Op.LOG_SIGMOID, Op.ABS,
            Op.ERF, Op.CLIP, Op.SIN, Op.COS, Op.EXP, Op.LOG, Op.SQRT, Op.RECIPROCAL, Op.POW, Op.MIN, Op.MAX,
            Op.SIGN, Op.FLOOR, Op.CEIL, Op.ROUND,
        }
    ),
    "arithmetic": frozenset({Op.ADD, Op.SUB}),
    "movement": frozenset(
        {
            Op.IDENTITY, Op.DETACH, Op.ROTARY, Op.QUANTIZE, Op.DEQUANTIZE, Op.TRANSPOSE, Op.RESHAPE, Op.FLATTEN, Op.SQUEEZE,
            Op.UNSQUEEZE,
        }
    ),
    "normalization": frozenset({Op.BATCH_NORM, Op.LAYER_NORM, Op.RMS_NORM, Op.GROUP_NORM, Op.INSTANCE_NORM, Op.LP_NORM}),
    "pooling": frozenset(
        {
            Op.AVERAGE_POOL, Op.MAX_POOL, Op.GLOBAL_AVERAGE_POOL, Op.GLOBAL_MAX_POOL, Op.REDUCE_MEAN, Op.REDUCE_SUM, Op.REDUCE_MAX,
            Op.REDUCE_L2, Op.REDUCE_SUM_SQUARE,
        }
    ),
    "concatenation": frozenset({Op.CONCAT}),
    "selection": frozenset({Op.SPLIT, Op.SLICE}),
    "gathering": frozenset({Op.GATHER}),
    "repetition": frozenset({Op.EXPAND, Op.TILE, Op.RESIZE, Op.PAD}),
    "scaling": frozenset({Op.NEG, Op.MUL, Op.DIV, Op.DROPOUT, Op.ALPHA_DROPOUT}),
    "sources": frozenset({Op.CONSTANT, Op.RANDOM, Op.CAST, Op.WHERE}),
    "attention": frozenset({Op.ATTENTION}),
    "contractions": frozenset({Op.MATMUL, Op.EINSUM}),
    "embedding": frozenset({Op.EMBEDDING}),
    "products": frozenset({Op.GLU}),
    "recurrence": frozenset({Op.LSTM, Op.RNN, Op.GRU}),
    "softmax": frozenset({Op.SOFTMAX, Op.LOG_SOFTMAX, Op.CUMSUM}),
}  # fmt: skip
"""File → the ops in its `RULES`."""


def rules_for(ops: Collection[Op]) -> dict[Op, Rule]:
    """The rules of all files that cover one of these ops."""
    rules: dict[Op, Rule] = {}
    for file, covered in FILES.items():
        if not covered.isdisjoint(ops):
            rules |= import_module(f"trainaudit.measure.signal.{file}").RULES
    return rules
