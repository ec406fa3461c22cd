"""Calls of aten that move all values of a tensor: shapes, axes, repetition, padding."""

from __future__ import annotations

from typing import Any

from trainaudit.load.torch.emit import Call, Emitter, Names, Translate, positive, rank_of, traced


def reshaped(emit: Emitter, name: str, before: tuple[Any, ...] | None, after: Any) -> str:
    """A reshape to the shape of the traced value `after`; `before` is the input's. Sizes are stored: a symbolic one is copied (0) where
    the same one stands at the same place, and one more is left to be inferred (−1)."""
    shape = emit.shape(after)
    target: list[int] = []
    for place, size in enumerate(shape):
        if isinstance(size, int):
            target.append(size)
        elif -1 not in target:
            target.append(-1)
        elif before is not None and place < len(before) and before[place] == size and size is not None:
            target.append(0)
        else:
            return emit.add("Reshape", [name, emit.sizes(_traced_sizes(after))])
    return emit.add("Reshape", [name, emit.numbers(target)])


def _traced_sizes(node: Any) -> list[Any]:
    """The sizes of a call's result as its arguments give them, where they are numbers or traced sizes."""
    given = next((argument for argument in node.args[1:] if isinstance(argument, (list, tuple))), None)
    return list(given) if given is not None else [size if isinstance(size, int) else -1 for size in traced(node).shape]


def _view(emit: Emitter, call: Call) -> Names:
    x = call["self"]
    before, name = emit.shape(x), emit.name(x)
    if before == emit.shape(call.node):
        return name
    return reshaped(emit, name, before, call.node)


def _flatten(emit: Emitter, call: Call) -> Names:
    """The usual one, all but the batch, has an operator."""
    x = call["self"]
    rank = rank_of(x)
    if (
        rank > 1
        and positive(call.get("start_dim", 0), rank) == 1
        and positive(call.get("end_dim", -1), rank) == rank - 1
    ):
        return emit.name(x) if rank == 2 else emit.add("Flatten", [emit.name(x)], axis=1)
    return _view(emit, call)


def _permuted(emit: Emitter, call: Call, order: list[int]) -> Names:
    x = emit.name(call["self"])
    return x if order == sorted(order) else emit.add("Transpose", [x], perm=order)


def _permute(emit: Emitter, call: Call) -> Names:
    rank = rank_of(call["self"])
    return _permuted(emit, call, [positive(axis, rank) for axis in call["dims"]])


def _swap(emit: Emitter, call: Call) -> Names | None:
    """transpose, swapaxes, t, and the properties T and mT."""
    rank = rank_of(call["self"])
    names = [name for name in call.arguments if name != "self"]
    order = list(range(rank))
    if len(names) >= 2:
        first, second = (positive(int(call[name]), rank) for name in names[:2])
        if rank == 0:
            return emit.name(call["self"])
        order[first], order[second] = order[second], order[first]
    elif "numpy_T" in str(call.node.target):
        order.reverse()
    elif rank >= 2:
        order[-1], order[-2] = order[-2], order[-1]
    return _permuted(emit, call, order)


def _moved(emit: Emitter, call: Call) -> Names:
    rank = rank_of(call["self"])
    sources, targets = (
        [positive(axis, rank) for axis in ([given] if isinstance(given, int) else given)]
        for given in (call["source"], call["destination"])
    )
    order = [axis for axis in range(rank) if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        order.insert(target, source)
    return _permuted(emit, call, order)


def _unsqueeze(emit: Emitter, call: Call) -> Names:
    axis = positive(int(call["dim"]), rank_of(call["self"]) + 1)
    return emit.add("Unsqueeze", [emit.name(call["self"]), emit.numbers([axis])])


def _squeeze(emit: Emitter, call: Call) -> Names:
    """Axes of another size than 1 stay."""
    x, shape = call["self"], emit.shape(call["self"])
    given = call.get("dim")
    axes = range(len(shape)) if given is None else [given] if isinstance(given, int) else given
    chosen = [positive(axis, len(shape)) for axis in axes]
    chosen = [axis for axis in chosen if shape and shape[axis] == 1]
    return emit.add("Squeeze", [emit.name(x), emit.numbers(chosen)]) if chosen else emit.name(x)


def _expand(emit: Emitter, call: Call) -> Names:
    """−1 keeps a size, which ONNX writes as 1."""
    x = call["self"]
    before, after = emit.shape(x), emit.shape(call.node)
    if before == after:
        return emit.name(x)
    given = call.get("size")
    wanted: list[Any] = []
    for place, size in enumerate(after):
        old = before[place - len(after) + len(before)] if place >= len(after) - len(before) else None
        if isinstance(size, int):
            wanted.append(size)
        elif old == size and size is not None:
            wanted.append(1)
        elif isinstance(given, (list, tuple)):
            wanted.append(given[place])
        else:  # expand_as
            return emit.add("Expand", [emit.name(x), emit.add("Shape", [emit.name(call["other"])])])
    return emit.add("Expand", [emit.name(x), emit.sizes(wanted)])


def _broadcast_together(emit: Emitter, call: Call) -> Names:
    """Each tensor in the shape that all of them have together."""
    together = emit.shape(call["tensors"][0])
    names = [emit.name(tensor) for tensor in call["tensors"]]
    if all(emit.shape(tensor) == together for tensor in call["tensors"]):
        return names
    whole = names[0]
    for name in names[1:]:
        whole = emit.add("Add", [whole, name])
    shape = emit.add("Shape", [whole])
    return [emit.add("Expand", [name, shape]) for name in names]


def _repeat(emit: Emitter, call: Call) -> Names:
    times = list(call.get("repeats", call.get("dims", [])))
    x = call["self"]
    name, extra = emit.name(x), len(times) - rank_of(x)
    if extra > 0:
        name = emit.add("Unsqueeze", [name, emit.numbers(range(extra))])
    elif extra < 0:
        times = [1] * -extra + times
    return emit.add("Tile", [name, emit.sizes(times)])


def _repeat_interleave(emit: Emitter, call: Call) -> Names | None:
    x, times = call["self"], call.get("repeats")
    if not isinstance(times, int) or call.get("dim") is None:
        return None
    rank = rank_of(x)
    axis = positive(int(call["dim"]), rank)
    wide = emit.add("Unsqueeze", [emit.name(x), emit.numbers([axis + 1])])
    wide = emit.add("Tile", [wide, emit.numbers([1] * (axis + 1) + [times] + [1] * (rank - axis - 1))])
    return reshaped(emit, wide, None, call.node)


def _pad(mode: str) -> Translate:
    """torch lists the last axis first, begin and end together; ONNX all begins and then all ends."""

    def translate(emit: Emitter, call: Call) -> Names | None:
        given = list(call.get("pad", call.get("padding")))
        if not all(isinstance(size, int) for size in given):
            return None
        rank = rank_of(call["self"])
        begins, ends = [0] * rank, [0] * rank
        for place in range(len(given) // 2):
            begins[rank - 1 - place], ends[rank - 1 - place] = given[2 * place], given[2 * place + 1]
        word = {"replicate": "edge", "circular": "wrap"}.get(str(call.get("mode", mode)), str(call.get("mode", mode)))
        value = emit.name(float(call.get("value", 0.0)), call["self"]) if word == "constant" else ""
        return emit.add("Pad", [emit.name(call["self"]), emit.numbers([*begins, *ends]), value], mode=word)

    return translate


def _triangle(upper: int) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        return emit.add(
            "Trilu", [emit.name(call["self"]), emit.fill(int(call.get("diagonal", 0)), "int64")], upper=upper
        )

    return translate


def _meshgrid(emit: Emitter, call: Call) -> Names | None:
    shapes = [piece.shape for piece in call.result]
    if not all(isinstance(size, int) for shape in shapes for size in shape):
        return None
    rank, order = len(shapes[0]), list(range(len(shapes[0])))
    if call.get("indexing", "ij") == "xy" and rank > 1:
        order[0], order[1] = 1, 0
    made = []
    for place, tensor in enumerate(call["tensors"]):
        line = [1] * rank
        line[order.index(place)] = -1
        made.append(
            emit.add(
                "Expand", [emit.add("Reshape", [emit.name(tensor), emit.numbers(line)]), emit.numbers(shapes[place])]
            )
        )
    return made


def _unfold(op: str) -> Translate:
    """im2col and col2im, which ONNX has in the second direction alone."""

    def translate(emit: Emitter, call: Call) -> Names:
        return emit.add(op, [emit.name(call["self"])])

    return translate


_VIEWS = (
    "view",
    "reshape",
    "_unsafe_view",
    "view_as",
    "reshape_as",
    "unflatten",
    "_reshape_alias",
    "view_copy",
    "ravel",
)

TABLE: dict[str, Translate] = {
    **dict.fromkeys(_VIEWS, _view), "flatten": _flatten,
    **dict.fromkeys(("permute", "permute_copy"), _permute),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "adjoint", "matrix_H", "transpose_copy"), _swap),
    **dict.fromkeys(("movedim", "moveaxis"), _moved), "unsqueeze": _unsqueeze, "squeeze": _squeeze,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to", "expand_copy"), _expand),
    **dict.fromkeys(("repeat", "tile"), _repeat), "repeat_interleave": _repeat_interleave,
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad("constant")),
    **{f"reflection_pad{n}d": _pad("reflect") for n in (1, 2, 3)}, **{f"replication_pad{n}d": _pad("edge") for n in (1, 2, 3)},
    "triu": _triangle(1), "tril": _triangle(0), "meshgrid": _meshgrid, "broadcast_tensors": _broadcast_together,
    "im2col": _unfold("Im2Col"), "col2im": _unfold("Col2Im"),
}  # fmt: skip
