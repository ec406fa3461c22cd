"""Tensors that a module makes from nothing but sizes: fills, ranges, random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainaudit.load.torch.emit import TYPE_CODES, Call, Emitter, Names, Translate, rank_of, traced
from trainaudit.load.torch.tensors import type_word


def _filled(value: float | None) -> Translate:
    """zeros, ones, full, empty and their forms "like" and "new": one number everywhere."""

    def translate(emit: Emitter, call: Call) -> Names:
        number = value if value is not None else call.get("fill_value", 0)
        dtype = type_word(call.result.dtype)
        shape = emit.shape(call.node)
        if hasattr(number, "meta"):  # a traced number
            return emit.add("Expand", [emit.name(number), _wanted(emit, call)])
        if all(isinstance(size, int) for size in shape):
            return emit.add(
                "ConstantOfShape",
                [emit.numbers([int(size) for size in shape if isinstance(size, int)])],
                value=_one(number, dtype),
            )
        return emit.add("ConstantOfShape", [_wanted(emit, call)], value=_one(number, dtype))

    return translate


def _one(number: Any, dtype: str) -> Any:
    from trainaudit.load.known import FillData

    return FillData((1,), dtype, number)


def _wanted(emit: Emitter, call: Call) -> str:
    """The sizes of what is made: given, or another tensor's."""
    given = call.get("size")
    if given is not None:
        return emit.sizes(list(given))
    return emit.add("Shape", [emit.name(call["self"])])


def _fill(emit: Emitter, call: Call) -> Names:
    """fill_ and zero_: what was there before is gone."""
    return emit.add(
        "Expand", [emit.name(call.get("value", 0), call.node), emit.add("Shape", [emit.name(call["self"])])]
    )


def _range(emit: Emitter, call: Call) -> Names:
    dtype = type_word(call.result.dtype)

    def bound(value: Any) -> str:
        return (
            emit.name(value)
            if hasattr(value, "meta")
            else emit.fill(float(value) if "float" in dtype else value, dtype)
        )

    return emit.add("Range", [bound(call.get("start", 0)), bound(call["end"]), bound(call.get("step", 1))])


def _random(op: str) -> Translate:
    """rand, randn, and the forms "like"."""

    def translate(emit: Emitter, call: Call) -> Names:
        dtype = TYPE_CODES[type_word(call.result.dtype)]
        if "self" in call.arguments:
            return emit.add(f"{op}Like", [emit.name(call["self"])], dtype=dtype)
        shape = emit.shape(call.node)
        if all(isinstance(size, int) for size in shape):
            return emit.add(op, [], shape=[int(size) for size in shape if isinstance(size, int)], dtype=dtype)
        zeros = emit.add("ConstantOfShape", [_wanted(emit, call)], value=_one(0, type_word(call.result.dtype)))
        return emit.add(f"{op}Like", [zeros], dtype=dtype)

    return translate


def _bernoulli(emit: Emitter, call: Call) -> Names:
    """Draws with the tensor's chances, or with one chance for all."""
    x = emit.name(call["self"])
    chance = call.get("p")
    if isinstance(chance, (int, float)):
        x = emit.add("Expand", [emit.name(float(chance), call.node), emit.add("Shape", [x])])
    return emit.add("Bernoulli", [x])


def _redrawn(op: str) -> Translate:
    """normal_, uniform_, exponential_: random numbers in place of what was there."""

    def translate(emit: Emitter, call: Call) -> Names:
        return emit.add(op, [emit.name(call["self"])])

    return translate


def _line(emit: Emitter, call: Call) -> Names | None:
    start, end, steps = call["start"], call["end"], call["steps"]
    if not all(isinstance(value, (int, float)) for value in (start, end, steps)):
        return None
    return emit.array(np.linspace(start, end, steps, dtype=np.float32))


def _unit(emit: Emitter, call: Call) -> Names | None:
    rows, columns = traced(call.node).shape
    return (
        emit.array(np.eye(rows, columns, dtype=np.float32))
        if isinstance(rows, int) and isinstance(columns, int)
        else None
    )


def _scalar(emit: Emitter, call: Call) -> Names:
    value = call["s"] if "s" in call.arguments else call["self"]
    return emit.name(value, call.node)


def _one_hot(emit: Emitter, call: Call) -> Names:
    classes = traced(call.node).shape[-1]
    depth = emit.numbers([classes]) if isinstance(classes, int) else emit.name(call["num_classes"])
    return emit.add("OneHot", [emit.name(call["self"]), depth, emit.numbers([0, 1])], axis=rank_of(call["self"]))


TABLE: dict[str, Translate] = {
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "empty", "empty_like", "new_empty", "empty_strided", "empty_permuted"), _filled(0.0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), _filled(1.0)),
    **dict.fromkeys(("full", "full_like", "new_full"), _filled(None)),
    **dict.fromkeys(("fill", "zero"), _fill), "arange": _range,
    **dict.fromkeys(("rand", "rand_like"), _random("RandomUniform")),
    **dict.fromkeys(("randn", "randn_like"), _random("RandomNormal")),
    "bernoulli": _bernoulli, "scalar_tensor": _scalar, "linspace": _line, "eye": _unit,
    **dict.fromkeys(("uniform", "exponential", "random"), _redrawn("RandomUniformLike")), "normal": _redrawn("RandomNormalLike"), "one_hot": _one_hot,
}  # fmt: skip
