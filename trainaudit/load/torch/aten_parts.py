"""Calls of aten that join tensors or take parts of them: concatenation, splits, slices, indices."""

from __future__ import annotations

from typing import Any

from trainaudit.load.torch.emit import LAST, Call, Emitter, Names, Translate, positive, rank_of, traced


def _concat(emit: Emitter, call: Call) -> Names:
    parts = [
        part
        for part in call["tensors"]
        if traced(part) is None or len(traced(part).shape) != 1 or traced(part).shape[0] != 0
    ]
    axis = positive(int(call.get("dim", 0)), rank_of(call.node))
    names = [emit.name(part) for part in parts]
    return names[0] if len(names) == 1 else emit.add("Concat", names, axis=axis)


def _stack(emit: Emitter, call: Call) -> Names:
    axis = positive(int(call.get("dim", 0)), rank_of(call.node))
    parts = [emit.add("Unsqueeze", [emit.name(part), emit.numbers([axis])]) for part in call["tensors"]]
    return emit.add("Concat", parts, axis=axis)


def _split(emit: Emitter, call: Call) -> Names | None:
    """split, chunk, split_with_sizes, tensor_split: the pieces' sizes are those of the results."""
    axis = positive(int(call.get("dim", 0)), rank_of(call["self"]))
    sizes = [piece.shape[axis] for piece in call.result]
    if len(sizes) == 1:
        return [emit.name(call["self"])]
    if not all(isinstance(size, int) for size in sizes):
        return emit.several("Split", [emit.name(call["self"])], len(sizes), axis=axis, num_outputs=len(sizes))
    return emit.several("Split", [emit.name(call["self"]), emit.numbers(sizes)], len(sizes), axis=axis)


def _unbind(emit: Emitter, call: Call) -> Names:
    x, count = call["self"], len(call.result)
    axis = positive(int(call.get("dim", 0)), rank_of(x))
    name = emit.name(x)
    if count == 1:
        return [emit.add("Squeeze", [name, emit.numbers([axis])])]
    pieces = emit.several("Split", [name, emit.numbers([1] * count)], count, axis=axis)
    return [emit.add("Squeeze", [piece, emit.numbers([axis])]) for piece in pieces]


def _select(emit: Emitter, call: Call) -> Names:
    x, index = call["self"], call["index"]
    axis = positive(int(call["dim"]), rank_of(x))
    return emit.add("Gather", [emit.name(x), emit.name(index)], axis=axis)


def _slice(emit: Emitter, call: Call) -> Names:
    """A slice that leaves the shape as it is moves nothing."""
    x = call["self"]
    start, end, step = call.get("start", 0), call.get("end", LAST), call.get("step", 1)
    if step == 1 and emit.shape(x) == emit.shape(call.node):
        return emit.name(x)
    axis = positive(int(call.get("dim", 0)), rank_of(x))
    return emit.add(
        "Slice", [emit.name(x), emit.sizes([start]), emit.sizes([end]), emit.numbers([axis]), emit.numbers([step])]
    )


def _narrow(emit: Emitter, call: Call) -> Names | None:
    start, length = call["start"], call["length"]
    if not isinstance(start, int) or not isinstance(length, int):
        return None
    axis = positive(int(call["dim"]), rank_of(call["self"]))
    bounds = [emit.numbers([start]), emit.numbers([start + length]), emit.numbers([axis])]
    return emit.add("Slice", [emit.name(call["self"]), *bounds])


def _flip(emit: Emitter, call: Call) -> Names:
    axes = [positive(axis, rank_of(call["self"])) for axis in call["dims"]]
    bounds = [emit.numbers([number] * len(axes)) for number in (-1, -LAST)]
    return emit.add("Slice", [emit.name(call["self"]), *bounds, emit.numbers(axes), emit.numbers([-1] * len(axes))])


def _roll(emit: Emitter, call: Call) -> Names | None:
    """Along each axis the last values in front of the others."""
    name, axes = emit.name(call["self"]), list(call.get("dims", []))
    shifts = list(call["shifts"])
    if not axes or not all(isinstance(shift, int) for shift in shifts):
        return None
    for shift, axis in zip(shifts, axes, strict=True):
        at = emit.numbers([axis])
        end = emit.add("Slice", [name, emit.numbers([-shift]), emit.numbers([LAST]), at])
        begin = emit.add("Slice", [name, emit.numbers([0]), emit.numbers([-shift]), at])
        name = emit.add("Concat", [end, begin], axis=axis)
    return name


def _index_select(emit: Emitter, call: Call) -> Names:
    axis = positive(int(call["dim"]), rank_of(call["self"]))
    return emit.add("Gather", [emit.name(call["self"]), emit.name(call["index"])], axis=axis)


def _gather(emit: Emitter, call: Call) -> Names:
    axis = positive(int(call["dim"]), rank_of(call["self"]))
    return emit.add("GatherElements", [emit.name(call["self"]), emit.name(call["index"])], axis=axis)


def _index(emit: Emitter, call: Call) -> Names | None:
    """x[i] along one axis is Gather; x[:, i, j] of neighboring axes is GatherND with those axes in front; x[mask] takes what NonZero finds."""
    x, indices = call["self"], list(call["indices"])
    places = [place for place, index in enumerate(indices) if index is not None]
    first = places[0]
    if any(emit.dtype(indices[place]) in ("bool", "uint8") for place in places):
        return _masked(emit, x, indices[0]) if places == [0] else None
    if len(places) == 1:
        return emit.add("Gather", [emit.name(x), emit.name(indices[first])], axis=first)
    if places != list(range(first, first + len(places))):
        return None
    name, chosen = emit.name(x), [indices[place] for place in places]
    if not first:
        return emit.add("GatherND", [name, _coordinates(emit, chosen)])
    rank, behind = rank_of(x), first + len(places)
    name = emit.add("Transpose", [name], perm=[*places, *range(first), *range(behind, rank)])
    found = emit.add("GatherND", [name, _coordinates(emit, chosen)])
    new, left = max(rank_of(index) for index in chosen), rank - len(places)
    return emit.add("Transpose", [found], perm=[*range(new, new + first), *range(new), *range(new + first, new + left)])


def _masked(emit: Emitter, x: Any, mask: Any) -> str:
    places = emit.add("Transpose", [emit.add("NonZero", [emit.name(mask)])], perm=[1, 0])
    return emit.add("GatherND", [emit.name(x), places])


def _masked_select(emit: Emitter, call: Call) -> Names | None:
    return _masked(emit, call["self"], call["mask"]) if rank_of(call["self"]) == rank_of(call["mask"]) else None


def _difference(emit: Emitter, call: Call) -> Names | None:
    """Each value less the one before it."""
    if call.get("n", 1) != 1:
        return None
    around = [call.get("prepend"), call["self"], call.get("append")]
    names = [emit.name(piece) for piece in around if piece is not None]
    axis = positive(int(call.get("dim", -1)), rank_of(call["self"]))
    whole = names[0] if len(names) == 1 else emit.add("Concat", names, axis=axis)
    at = emit.numbers([axis])
    later = emit.add("Slice", [whole, emit.numbers([1]), emit.numbers([LAST]), at])
    earlier = emit.add("Slice", [whole, emit.numbers([0]), emit.numbers([-1]), at])
    if emit.dtype(call["self"]) == "bool":
        return emit.add("Xor", [later, earlier])
    return emit.add("Sub", [later, earlier])


def _index_add(emit: Emitter, call: Call) -> Names:
    axis = positive(int(call["dim"]), rank_of(call["self"]))
    return emit.add(
        "Scatter", [emit.name(call["self"]), emit.name(call["index"]), emit.name(call["source"])], axis=axis
    )


def _coordinates(emit: Emitter, indices: list[Any]) -> str:
    """Index tensors that broadcast to one shape, side by side on a new last axis."""
    names = [emit.name(index) for index in indices]
    rank = max(rank_of(index) for index in indices)
    if len({emit.shape(index) for index in indices}) > 1:
        together = names[0]
        for name in names[1:]:
            together = emit.add("Add", [together, name])
        shape = emit.add("Shape", [together])
        names = [emit.add("Expand", [name, shape]) for name in names]
    return emit.add("Concat", [emit.add("Unsqueeze", [name, emit.numbers([rank])]) for name in names], axis=rank)


def _index_put(emit: Emitter, call: Call) -> Names | None:
    indices = list(call["indices"])
    if any(index is None or emit.dtype(index) == "bool" for index in indices):
        return None
    inputs = [emit.name(call["self"]), _coordinates(emit, indices), emit.name(call["values"])]
    return emit.add("ScatterND", inputs, reduction="add" if call.get("accumulate", False) else "none")


def _scatter(reduction: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names | None:
        source = call.get("src", call.get("value"))
        if not hasattr(source, "meta"):
            return None
        axis = positive(int(call["dim"]), rank_of(call["self"]))
        inputs = [emit.name(call["self"]), emit.name(call["index"]), emit.name(source)]
        return emit.add("ScatterElements", inputs, axis=axis, reduction=reduction)

    return translate


def _overwritten(emit: Emitter, call: Call) -> Names | None:
    """select_scatter and slice_scatter: what stands before, the new part, what stands behind."""
    x, source = call["self"], emit.name(call["src"])
    axis = positive(int(call["dim"]), rank_of(x))
    size = emit.shape(x)[axis]
    if "index" in call.arguments:
        start, step = call["index"], 1
        source = emit.add("Unsqueeze", [source, emit.numbers([axis])])
        end = start + 1 if isinstance(start, int) and start != -1 else LAST
    else:
        start, end, step = call.get("start", 0), call.get("end", LAST), call.get("step", 1)
    if step != 1 or not isinstance(start, int) or not isinstance(end, int):
        return None
    pieces = [source]
    at = emit.numbers([axis])
    if start != 0 and start != -(size if isinstance(size, int) else LAST):
        pieces.insert(0, emit.add("Slice", [emit.name(x), emit.numbers([0]), emit.numbers([start]), at]))
    if end < (size if isinstance(size, int) else LAST):
        pieces.append(emit.add("Slice", [emit.name(x), emit.numbers([end]), emit.numbers([LAST]), at]))
    return emit.add("Concat", pieces, axis=axis) if len(pieces) > 1 else source


TABLE: dict[str, Translate] = {
    **dict.fromkeys(("cat", "concat", "concatenate"), _concat), "stack": _stack,
    **dict.fromkeys(("split", "chunk", "split_with_sizes", "tensor_split", "unsafe_chunk", "unsafe_split", "split_copy"), _split),
    "unbind": _unbind, "select": _select, "select_copy": _select, "slice": _slice, "slice_copy": _slice, "narrow": _narrow,
    "flip": _flip, "roll": _roll, "index_select": _index_select, "gather": _gather, "index": _index, "take_along_dim": _gather,
    **dict.fromkeys(("index_put", "_unsafe_index_put"), _index_put), "_unsafe_index": _index,
    **dict.fromkeys(("select_scatter", "slice_scatter"), _overwritten),
    "scatter": _scatter("none"), "scatter_add": _scatter("add"),
    "index_add": _index_add, "index_copy": _index_add, "diff": _difference, "masked_select": _masked_select,
}  # fmt: skip
