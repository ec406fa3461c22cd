"""Reductions, searches along an axis, and losses."""

from __future__ import annotations

from collections.abc import Callable

from trainaudit.load.torch.aten_arithmetic import operands
from trainaudit.load.torch.emit import Call, Emitter, Names, Translate, positive, rank_of, traced


def _axes(call: Call) -> list[int]:
    """The axes that are reduced, counted from the front; all of them where none is named."""
    rank = rank_of(call["self"])
    given = call.get("dim")
    if given is None or given == []:
        return list(range(rank))
    return [positive(axis, rank) for axis in ([given] if isinstance(given, int) else given)]


def reduced(emit: Emitter, op: str, name: str, axes: list[int], keep: bool) -> str:
    return emit.add(op, [name, emit.numbers(axes)], keepdims=int(keep))


def _reduce(op: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        return reduced(emit, op, emit.name(call["self"]), _axes(call), bool(call.get("keepdim", False)))

    return translate


def _extreme(op: str, at: str, pairwise: str) -> Translate:
    """max and min: over everything, along an axis with the places, or of two tensors."""

    def translate(emit: Emitter, call: Call) -> Names:
        if "other" in call.arguments:
            return emit.add(pairwise, list(operands(emit, call)))
        name, axes, keep = emit.name(call["self"]), _axes(call), bool(call.get("keepdim", False))
        values = reduced(emit, op, name, axes, keep)
        if not isinstance(call.result, (list, tuple)):
            return values
        return [values, emit.add(at, [name], axis=axes[0], keepdims=int(keep))]

    return translate


def _argument(op: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        name = emit.name(call["self"])
        if call.get("dim") is None:
            name = emit.add("Reshape", [name, emit.numbers([-1])])
        return emit.add(op, [name], axis=_axes(call)[0], keepdims=int(bool(call.get("keepdim", False))))

    return translate


def _spread(emit: Emitter, call: Call) -> Names:
    """var, std and their pairs with the mean, from their definition."""
    x, axes, keep = call["self"], _axes(call), bool(call.get("keepdim", False))
    kind = call.node.target._schema.name.partition("::")[2]
    name = emit.name(x)
    mean = reduced(emit, "ReduceMean", name, axes, True)
    away = emit.add("Sub", [name, mean])
    result = reduced(emit, "ReduceMean", emit.add("Mul", [away, away]), axes, keep)
    correction = call.get("correction", 1 if call.get("unbiased", True) else 0)
    count = 1
    for axis in axes:
        size = emit.shape(x)[axis]
        count = count * size if isinstance(size, int) else 0
    if correction and count > correction:
        result = emit.add("Mul", [result, emit.name(count / (count - correction), x)])
    if kind.startswith("std"):
        result = emit.add("Sqrt", [result])
    if not kind.endswith("_mean"):
        return result
    return [result, mean if keep else emit.add("Squeeze", [mean, emit.numbers(axes)])]


def _length(emit: Emitter, call: Call) -> Names | None:
    """The p-norms that ONNX has."""
    op = {2: "ReduceL2", 1: "ReduceL1", float("inf"): "ReduceMax"}.get(call.get("p", call.get("ord", 2)))
    if op is None:
        return None
    name = emit.name(call["self"])
    if op == "ReduceMax":
        name = emit.add("Abs", [name])
    return reduced(emit, op, name, _axes(call), bool(call.get("keepdim", False)))


def _running(op: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        axis = positive(int(call["dim"]), rank_of(call["self"]))
        return emit.add(op, [emit.name(call["self"]), emit.fill(axis, "int64")])

    return translate


def _any(op: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        name = emit.add("Cast", [emit.name(call["self"])], to=6)
        return emit.add("Cast", [reduced(emit, op, name, _axes(call), bool(call.get("keepdim", False)))], to=9)

    return translate


def _sorted(emit: Emitter, call: Call) -> Names:
    """topk, sort and argsort."""
    x = call["self"]
    axis = positive(int(call.get("dim", -1)), rank_of(x))
    count = call.get("k", traced(x).shape[axis])
    largest = bool(call.get("largest", call.get("descending", False)))
    wanted = (
        emit.numbers([count])
        if isinstance(count, int)
        else emit.add("Unsqueeze", [emit.name(count), emit.numbers([0])])
    )
    made = emit.several("TopK", [emit.name(x), wanted], 2, axis=axis, largest=int(largest))
    return made if isinstance(call.result, (list, tuple)) else made[1]


_REDUCTIONS = ("none", "mean", "sum")


def _loss(op: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        inputs = [emit.name(call["self"]), emit.name(call["target"]), emit.name(call.get("weight"))]
        made = emit.add(op, inputs, reduction=_REDUCTIONS[int(call.get("reduction", 1))])
        return [made, ""] if isinstance(call.result, (list, tuple)) else made

    return translate


def _cost(write: Callable[[Emitter, Call, str, str], str]) -> Translate:
    """A loss of two tensors of one shape, value by value and then reduced."""

    def translate(emit: Emitter, call: Call) -> Names:
        cost = write(emit, call, emit.name(call["self"]), emit.name(call["target"]))
        kind, axes = int(call.get("reduction", 1)), list(range(rank_of(call["self"])))
        return cost if not kind else reduced(emit, "ReduceMean" if kind == 1 else "ReduceSum", cost, axes, False)

    return translate


def _squared(emit: Emitter, _call: Call, x: str, target: str) -> str:
    away = emit.add("Sub", [x, target])
    return emit.add("Mul", [away, away])


def _absolute(emit: Emitter, _call: Call, x: str, target: str) -> str:
    return emit.add("Abs", [emit.add("Sub", [x, target])])


def _logistic(emit: Emitter, _call: Call, x: str, target: str) -> str:
    """softplus(x) − x·y."""
    return emit.add("Sub", [emit.add("Softplus", [x]), emit.add("Mul", [x, target])])


TABLE: dict[str, Translate] = {
    "sum": _reduce("ReduceSum"), "mean": _reduce("ReduceMean"), "prod": _reduce("ReduceProd"), "amax": _reduce("ReduceMax"),
    "amin": _reduce("ReduceMin"), "logsumexp": _reduce("ReduceLogSumExp"),
    "max": _extreme("ReduceMax", "ArgMax", "Max"), "min": _extreme("ReduceMin", "ArgMin", "Min"),
    "argmax": _argument("ArgMax"), "argmin": _argument("ArgMin"),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _spread),
    **dict.fromkeys(("norm", "linalg_vector_norm", "linalg_norm"), _length),
    "cumsum": _running("CumSum"), "cumprod": _running("CumProd"), "any": _any("ReduceMax"), "all": _any("ReduceMin"),
    **dict.fromkeys(("topk", "sort", "argsort"), _sorted),
    "cross_entropy_loss": _loss("SoftmaxCrossEntropyLoss"),
    **dict.fromkeys(("nll_loss", "nll_loss_nd", "nll_loss2d", "nll_loss_forward", "nll_loss2d_forward"), _loss("NegativeLogLikelihoodLoss")),
    "mse_loss": _cost(_squared), "l1_loss": _cost(_absolute), "binary_cross_entropy_with_logits": _cost(_logistic),
}  # fmt: skip
