"""Elementwise arithmetic, comparisons and logic of aten."""

from __future__ import annotations

from typing import Any

from trainaudit.load.torch.emit import TYPE_CODES, Call, Emitter, Names, Translate
from trainaudit.load.torch.tensors import type_word


def same(emit: Emitter, call: Call) -> Names:
    """A call that changes no value: its result is its first argument."""
    return emit.name(next(iter(call.arguments.values())))


def one(op: str) -> Translate:
    """An operator of one operand."""

    def translate(emit: Emitter, call: Call) -> Names:
        return emit.add(op, [emit.name(next(iter(call.arguments.values())))])

    return translate


def two(op: str) -> Translate:
    """An operator of two operands, either of which may be a number."""

    def translate(emit: Emitter, call: Call) -> Names:
        left, right = operands(emit, call)
        return emit.add(op, [left, right])

    return translate


def operands(emit: Emitter, call: Call) -> tuple[str, str]:
    """Both operands' names; a number takes the type of the other one, as torch's promotion does for numbers of the same kind."""
    left, right = list(call.arguments.values())[:2]
    like = left if hasattr(left, "meta") else right
    if any(isinstance(side, float) for side in (left, right)) and not _is_float(emit.dtype(like)):
        like = call.node  # an integer tensor and a float: the result's type
    return emit.name(left, like), emit.name(right, like)


def _is_float(dtype: str) -> bool:
    return "float" in dtype


def _sum(op: str) -> Translate:
    """a ± alpha·b."""

    def translate(emit: Emitter, call: Call) -> Names:
        left, right = operands(emit, call)
        alpha = call.get("alpha", 1)
        if alpha != 1:
            right = emit.add("Mul", [right, emit.name(alpha, call.node)])
        return emit.add(op, [left, right])

    return translate


def _reversed_difference(emit: Emitter, call: Call) -> Names:
    left, right = operands(emit, call)
    alpha = call.get("alpha", 1)
    if alpha != 1:
        left = emit.add("Mul", [left, emit.name(alpha, call.node)])
    return emit.add("Sub", [right, left])


def _quotient(emit: Emitter, call: Call) -> Names:
    left, right = operands(emit, call)
    mode = call.get("rounding_mode")
    result = emit.add("Div", [left, right])
    if mode is None or not _is_float(emit.dtype(call.node)):
        return result
    return emit.add("Floor" if mode == "floor" else "Round", [result])


def _not(op: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        return emit.add("Not", [emit.add(op, operands(emit, call))])

    return translate


def _log_of_one_plus(emit: Emitter, call: Call) -> Names:
    return emit.add("Log", [emit.add("Add", [emit.name(call["self"]), emit.name(1.0, call.node)])])


def _exp_minus_one(emit: Emitter, call: Call) -> Names:
    return emit.add("Sub", [emit.add("Exp", [emit.name(call["self"])]), emit.name(1.0, call.node)])


def _scaled_logarithm(factor: float) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        return emit.add("Mul", [emit.add("Log", [emit.name(call["self"])]), emit.name(factor, call.node)])

    return translate


def _inverse_root(emit: Emitter, call: Call) -> Names:
    return emit.add("Reciprocal", [emit.add("Sqrt", [emit.name(call["self"])])])


def _square(emit: Emitter, call: Call) -> Names:
    x = emit.name(call["self"])
    return emit.add("Mul", [x, x])


def _multiply_add(op: str) -> Translate:
    """self + value · tensor1 ∘ tensor2 of addcmul and addcdiv."""

    def translate(emit: Emitter, call: Call) -> Names:
        product = emit.add(op, [emit.name(call["tensor1"]), emit.name(call["tensor2"])])
        if call.get("value", 1) != 1:
            product = emit.add("Mul", [product, emit.name(call["value"], call.node)])
        return emit.add("Add", [emit.name(call["self"]), product])

    return translate


def _interpolated(emit: Emitter, call: Call) -> Names:
    """lerp: start + weight · (end − start)."""
    start, end = emit.name(call["self"]), emit.name(call["end"])
    step = emit.add("Mul", [emit.add("Sub", [end, start]), emit.name(call["weight"], call.node)])
    return emit.add("Add", [start, step])


def _where(emit: Emitter, call: Call) -> Names | None:
    if "self" not in call.arguments:
        return None  # the form with a condition alone: indices
    return emit.add(
        "Where", [emit.name(call["condition"]), emit.name(call["self"], call.node), emit.name(call["other"], call.node)]
    )


def _masked_fill(emit: Emitter, call: Call) -> Names:
    return emit.add("Where", [emit.name(call["mask"]), emit.name(call["value"], call.node), emit.name(call["self"])])


def _clamp(emit: Emitter, call: Call) -> Names:
    low, high = call.get("min"), call.get("max")
    return emit.add("Clip", [emit.name(call["self"]), emit.name(low, call.node), emit.name(high, call.node)])


def cast_to(emit: Emitter, name: str, dtype: str) -> str:
    """The value in another element type."""
    code = TYPE_CODES.get(dtype)
    return emit.add("Cast", [name], to=code) if code is not None else emit.add("to", [name], domain="aten")


def _cast(emit: Emitter, call: Call) -> Names:
    """to, _to_copy, type_as: a cast where the type changes; a copy or a move to another device is nothing."""
    name, wanted = emit.name(call["self"]), type_word(call.result.dtype)
    return name if emit.dtype(call["self"]) == wanted else cast_to(emit, name, wanted)


def _copied(emit: Emitter, call: Call) -> Names:
    """copy_: what was there before is gone."""
    name = emit.name(call["src"])
    if emit.dtype(call["src"]) != type_word(call.result.dtype):
        name = cast_to(emit, name, type_word(call.result.dtype))
    if emit.shape(call["src"]) != emit.shape(call["self"]):
        name = emit.add("Expand", [name, emit.sizes(sizes_of(emit, call["self"]))])
    return name


def sizes_of(emit: Emitter, node: Any) -> list[Any]:
    """A value's sizes as arguments for `Emitter.sizes`: numbers; for a symbolic size 1, which an Expand keeps."""
    return [size if isinstance(size, int) else 1 for size in emit.shape(node)]


_ONE = {
    "neg": "Neg", "abs": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "erf": "Erf", "sin": "Sin",
    "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh",
    "acosh": "Acosh", "atanh": "Atanh", "sign": "Sign", "sgn": "Sign", "round": "Round", "floor": "Floor", "ceil": "Ceil",
    "trunc": "Round", "logical_not": "Not", "isnan": "IsNaN", "isinf": "IsInf", "bitwise_not": "Not",
}  # fmt: skip

_TWO = {
    "mul": "Mul", "multiply": "Mul", "pow": "Pow", "maximum": "Max", "minimum": "Min", "fmod": "Mod", "remainder": "Mod",
    "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "logical_and": "And",
    "logical_or": "Or", "logical_xor": "Xor", "greater": "Greater", "less": "Less", "greater_equal": "GreaterOrEqual",
    "less_equal": "LessOrEqual", "bitwise_and": "And", "bitwise_or": "Or", "bitwise_xor": "Xor", "__and__": "And", "__or__": "Or",
}  # fmt: skip

TABLE: dict[str, Translate] = {
    **{name: one(op) for name, op in _ONE.items()},
    **{name: two(op) for name, op in _TWO.items()},
    **dict.fromkeys(
        ("clone", "contiguous", "alias", "lift", "lift_fresh", "lift_fresh_copy", "positive", "resolve_conj", "resolve_neg",
         "requires_grad", "_conj", "alias_copy", "pin_memory"),
        same,
    ),
    "add": _sum("Add"), "sub": _sum("Sub"), "subtract": _sum("Sub"), "rsub": _reversed_difference,
    "div": _quotient, "divide": _quotient, "true_divide": two("Div"), "floor_divide": two("Div"), "__rsub__": _reversed_difference,
    "ne": _not("Equal"), "not_equal": _not("Equal"),
    "log1p": _log_of_one_plus, "expm1": _exp_minus_one, "rsqrt": _inverse_root, "square": _square,
    "log2": _scaled_logarithm(1.4426950408889634), "log10": _scaled_logarithm(0.4342944819032518),
    "addcmul": _multiply_add("Mul"), "addcdiv": _multiply_add("Div"), "lerp": _interpolated,
    "where": _where, "masked_fill": _masked_fill,
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max"), _clamp),
    **dict.fromkeys(("to", "_to_copy", "type_as", "float", "half"), _cast), "copy": _copied,
}  # fmt: skip
