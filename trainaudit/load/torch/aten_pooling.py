"""Pooling, interpolation and the rearrangement of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainaudit.load.torch.emit import Call, Emitter, Names, Translate, each, rank_of, traced


def _pool(op: str, count: int) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        kernel = each(call["kernel_size"], count)
        stride = each(call["stride"], count) if call.get("stride") else kernel
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "pads": each(call.get("padding", 0), count) * 2,
                                      "ceil_mode": int(bool(call.get("ceil_mode", False)))}  # fmt: skip
        if op == "MaxPool":
            attributes["dilations"] = each(call.get("dilation", 1), count)
        elif op == "AveragePool":
            attributes["count_include_pad"] = int(bool(call.get("count_include_pad", True)))
        x = emit.name(call["self"])
        alone = rank_of(call["self"]) == count + 1
        if alone:
            x = emit.add("Unsqueeze", [x, emit.numbers([0])])
        if isinstance(call.result, (list, tuple)):
            return emit.several(op, [x], 2, **attributes)
        made = emit.add(op, [x], **attributes)
        return emit.add("Squeeze", [made, emit.numbers([0])]) if alone else made

    return translate


def _adaptive(kind: str, count: int) -> Translate:
    """To one value: a global pool. To a size that divides the input's: a pool with windows of the quotient. Else unknown."""

    def translate(emit: Emitter, call: Call) -> Names | None:
        x = call["self"]
        sizes = traced(x).shape[-count:]
        wanted = [
            size if size is not None else have
            for size, have in zip(each(call["output_size"], count), sizes, strict=True)
        ]
        is_pair = isinstance(call.result, (list, tuple))
        if rank_of(x) != count + 2:
            return None
        if all(size == 1 for size in wanted):
            made = emit.add(f"Global{kind}Pool", [emit.name(x)])
            return [made, ""] if is_pair else made
        if not all(isinstance(have, int) and have % size == 0 for have, size in zip(sizes, wanted, strict=True)):
            return None
        kernel = [int(have) // int(size) for have, size in zip(sizes, wanted, strict=True)]
        made = emit.add(f"{kind}Pool", [emit.name(x)], kernel_shape=kernel, strides=kernel)
        return [made, ""] if is_pair else made

    return translate


_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}


def _resize(mode: str) -> Translate:
    def translate(emit: Emitter, call: Call) -> Names:
        before, after = emit.shape(call["self" if "self" in call.arguments else "input"]), emit.shape(call.node)
        scales = [
            float(new) / old if isinstance(new, int) and isinstance(old, int) and old else 1.0
            for old, new in zip(before, after, strict=True)
        ]
        name = emit.name(call["self" if "self" in call.arguments else "input"])
        aligned = bool(call.get("align_corners", False))
        attributes: dict[str, Any] = {
            "mode": _MODES[mode],
            "coordinate_transformation_mode": "align_corners" if aligned else "half_pixel",
        }
        return emit.add("Resize", [name, "", emit.array(np.asarray(scales, np.float32))], **attributes)

    return translate


def _grid_sample(emit: Emitter, call: Call) -> Names:
    return emit.add("GridSample", [emit.name(call["input"]), emit.name(call["grid"])])


def _pixel_shuffle(emit: Emitter, call: Call) -> Names:
    return emit.add("DepthToSpace", [emit.name(call["self"])], blocksize=int(call["upscale_factor"]), mode="CRD")


def _pixel_unshuffle(emit: Emitter, call: Call) -> Names:
    return emit.add("SpaceToDepth", [emit.name(call["self"])], blocksize=int(call["downscale_factor"]))


TABLE: dict[str, Translate] = {
    **{f"max_pool{n}d": _pool("MaxPool", n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _pool("MaxPool", n) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _pool("AveragePool", n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive("Average", n) for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive("Average", n) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive("Max", n) for n in (1, 2, 3)},
    **{f"upsample_{mode}{n}d": _resize(mode) for mode, n in (("nearest", 1), ("nearest", 2), ("nearest", 3), ("linear", 1), ("bilinear", 2), ("trilinear", 3), ("bicubic", 2))},
    **{f"_upsample_nearest_exact{n}d": _resize("nearest") for n in (1, 2, 3)},
    **{f"_upsample_{mode}2d_aa": _resize(mode) for mode in ("bilinear", "bicubic")},
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), _grid_sample),
    "pixel_shuffle": _pixel_shuffle, "pixel_unshuffle": _pixel_unshuffle,
}  # fmt: skip
