"""Activation functions of aten, and dropout."""

from __future__ import annotations

from trainaudit.load.torch.aten_arithmetic import one
from trainaudit.load.torch.emit import Call, Emitter, Names, Translate, positive, rank_of


def _leaky_relu(emit: Emitter, call: Call) -> Names:
    return emit.add("LeakyRelu", [emit.name(call["self"])], alpha=float(call["negative_slope"]))


def _rrelu(emit: Emitter, call: Call) -> Names:
    """A leaky ReLU whose slope is drawn: by its mean."""
    return emit.add("LeakyRelu", [emit.name(call["self"])], alpha=(float(call["lower"]) + float(call["upper"])) / 2)


def _elu(emit: Emitter, call: Call) -> Names:
    return emit.add("Elu", [emit.name(call["self"])], alpha=float(call["alpha"]))


def _celu(emit: Emitter, call: Call) -> Names:
    return emit.add("Celu", [emit.name(call["self"])], alpha=float(call["alpha"]))


def _gelu(emit: Emitter, call: Call) -> Names:
    return emit.add("Gelu", [emit.name(call["self"])], approximate=str(call.get("approximate", "none")))


def _prelu(emit: Emitter, call: Call) -> Names:
    """The slope stands on the channel axis: ONNX's PRelu broadcasts it from the last one."""
    slope = emit.name(call["weight"])
    rank = rank_of(call["self"])
    if rank > 2 and rank_of(call["weight"]) == 1:
        slope = emit.add("Unsqueeze", [slope, emit.numbers(range(1, rank - 1))])
    return emit.add("PRelu", [emit.name(call["self"]), slope])


def _clipped(low: float, high: float) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        bounds = [call.get("min_val", low), call.get("max_val", high)]
        return emit.add("Clip", [emit.name(call["self"]), *(emit.name(bound, call.node) for bound in bounds)])

    return translate


def _hard_sigmoid(emit: Emitter, call: Call) -> Names:
    return emit.add("HardSigmoid", [emit.name(call["self"])], alpha=1.0 / 6.0, beta=0.5)


def _silu(emit: Emitter, call: Call) -> Names:
    x = emit.name(call["self"])
    return emit.add("Mul", [x, emit.add("Sigmoid", [x])])


def _log_sigmoid(emit: Emitter, call: Call) -> Names:
    """−softplus(−x), the stable form that torch computes."""
    return emit.add("Neg", [emit.add("Softplus", [emit.add("Neg", [emit.name(call["self"])])])])


def _softplus(emit: Emitter, call: Call) -> Names:
    """softplus(βx)/β; torch goes linear above a threshold, which changes nothing visible."""
    x, beta = emit.name(call["self"]), float(call.get("beta", 1))
    if beta == 1.0:
        return emit.add("Softplus", [x])
    inner = emit.add("Softplus", [emit.add("Mul", [x, emit.name(beta, call.node)])])
    return emit.add("Div", [inner, emit.name(beta, call.node)])


def _softshrink(emit: Emitter, call: Call) -> Names:
    return emit.add("Shrink", [emit.name(call["self"])], bias=float(call["lambd"]), lambd=float(call["lambd"]))


def _hardshrink(emit: Emitter, call: Call) -> Names:
    return emit.add("Shrink", [emit.name(call["self"])], bias=0.0, lambd=float(call["lambd"]))


def _threshold(emit: Emitter, call: Call) -> Names | None:
    if call["value"] != 0:
        return None
    x = emit.name(call["self"])
    if call["threshold"] == 0:
        return emit.add("Relu", [x])
    return emit.add("ThresholdedRelu", [x], alpha=float(call["threshold"]))


def _softmax(op: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        axis = positive(call["dim"], max(rank_of(call["self"]), 1))
        return emit.add(op, [emit.name(call["self"])], axis=axis)

    return translate


def _glu(emit: Emitter, call: Call) -> Names:
    axis = positive(call["dim"], rank_of(call["self"]))
    left, right = emit.several("Split", [emit.name(call["self"])], 2, axis=axis, num_outputs=2)
    return emit.add("Mul", [left, emit.add("Sigmoid", [right])])


def dropped(emit: Emitter, name: str, share: float) -> str:
    """Dropout in its training form."""
    return emit.add("Dropout", [name, emit.fill(share, "float32"), emit.fill(True, "bool")])


def _dropout(emit: Emitter, call: Call) -> Names:
    """Dropout: nothing where it does not train, or drops nothing."""
    x = emit.name(call.get("input", call.get("self")))
    return dropped(emit, x, float(call["p"])) if call["train"] and call["p"] else x


def _native_dropout(emit: Emitter, call: Call) -> Names:
    x = emit.name(call["input"])
    if not call["train"] or not call["p"]:
        return [x, ""]
    ratio, training = emit.fill(float(call["p"]), "float32"), emit.fill(True, "bool")
    return emit.several("Dropout", [x, ratio, training], 2)


def _alpha_dropout(emit: Emitter, call: Call) -> Names:
    """x·a·mask + a·α′·(mask − 1) + b written out (Klambauer et al. 2017, arXiv:1706.02515), since ONNX has no operator for it."""
    x, share = emit.name(call["input"]), float(call["p"])
    if not call["train"] or not 0 < share < 1:
        return x
    alpha = 1.7580993408473766
    factor = 1.0 / ((alpha**2 * share + 1) * (1 - share)) ** 0.5
    dtype = emit.dtype(call["input"])
    drawn = emit.add("RandomUniformLike", [x])
    mask = emit.add("Cast", [emit.add("Less", [drawn, emit.fill(1 - share, dtype)])], to=1)
    moved = emit.add("Mul", [emit.add("Add", [mask, emit.fill(-1.0, dtype)]), emit.fill(alpha * factor, dtype)])
    moved = emit.add("Add", [moved, emit.fill(alpha * factor * share, dtype)])
    scaled = emit.add("Mul", [x, emit.add("Mul", [mask, emit.fill(factor, dtype)])])
    return emit.add("Add", [scaled, moved])


_ONE = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "selu": "Selu", "mish": "Mish", "hardswish": "HardSwish",
    "softsign": "Softsign", "special_expit": "Sigmoid",
}  # fmt: skip

TABLE: dict[str, Translate] = {
    **{name: one(op) for name, op in _ONE.items()},
    "leaky_relu": _leaky_relu,
    "rrelu": _rrelu, "elu": _elu, "celu": _celu, "gelu": _gelu, "prelu": _prelu, "_prelu_kernel": _prelu,
    "relu6": _clipped(0.0, 6.0), "hardtanh": _clipped(-1.0, 1.0), "hardsigmoid": _hard_sigmoid, "silu": _silu,
    "log_sigmoid": _log_sigmoid, "softplus": _softplus, "softshrink": _softshrink, "hardshrink": _hardshrink,
    "threshold": _threshold, "glu": _glu,
    **dict.fromkeys(("softmax", "_softmax", "special_softmax", "_safe_softmax"), _softmax("Softmax")),
    **dict.fromkeys(("log_softmax", "_log_softmax", "special_log_softmax"), _softmax("LogSoftmax")),
    **dict.fromkeys(("dropout", "feature_dropout"), _dropout), "native_dropout": _native_dropout,
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), _alpha_dropout),
}  # fmt: skip
