"""Layers of aten that hold weights, normalizations, and products of activations."""

from __future__ import annotations

import math
from typing import Any

from trainaudit.load.torch.emit import Call, Emitter, Names, Translate, each, rank_of, traced


def _linear(emit: Emitter, call: Call) -> Names:
    x, weight, bias = call["input"], emit.name(call["weight"]), emit.name(call.get("bias"))
    if rank_of(x) == 2 and rank_of(call["weight"]) == 2:
        return emit.add("Gemm", [emit.name(x), weight, bias], transB=1)
    if rank_of(call["weight"]) == 2:
        weight = emit.add("Transpose", [weight], perm=[1, 0])
    result = emit.add("MatMul", [emit.name(x), weight])
    return emit.add("Add", [result, bias]) if bias else result


def _product(emit: Emitter, call: Call) -> Names:
    left, right = list(call.arguments.values())[:2]
    return emit.add("MatMul", [emit.name(left), emit.name(right)])


def _added_product(left: str, right: str) -> Translate:
    """beta·self + alpha·(left @ right) of addmm, addmv and baddbmm."""

    def translate(emit: Emitter, call: Call) -> Names:
        alpha, beta = call.get("alpha", 1), call.get("beta", 1)
        names = [emit.name(call[left]), emit.name(call[right])]
        if left == "mat1":
            return emit.add(
                "Gemm", [*names, emit.name(call["self"]) if beta else ""], alpha=float(alpha), beta=float(beta)
            )
        product = emit.add("MatMul", names)
        if alpha != 1:
            product = emit.add("Mul", [product, emit.name(alpha, call.node)])
        if not beta:
            return product
        start = emit.name(call["self"])
        if beta != 1:
            start = emit.add("Mul", [start, emit.name(beta, call.node)])
        return emit.add("Add", [start, product])

    return translate


def _bilinear(emit: Emitter, call: Call) -> Names:
    """Σ_ij x_i W_kij y_j + b."""
    left, right = emit.name(call["input1"]), emit.name(call["input2"])
    result = emit.add("Einsum", [left, emit.name(call["weight"])], equation="...i,kij->...kj")
    result = emit.add("Mul", [result, emit.add("Unsqueeze", [right, emit.numbers([-2])])])
    result = emit.add("ReduceSum", [result, emit.numbers([-1])], keepdims=0)
    return emit.add("Add", [result, emit.name(call["bias"])]) if call.get("bias") is not None else result


def _einsum(emit: Emitter, call: Call) -> Names:
    return emit.add("Einsum", [emit.name(tensor) for tensor in call["tensors"]], equation=str(call["equation"]))


def _embedding(emit: Emitter, call: Call) -> Names:
    return emit.add("Gather", [emit.name(call["weight"]), emit.name(call["indices"])], axis=0)


def _embedding_bag(emit: Emitter, call: Call) -> Names:
    """The rows of each bag and their sum, mean or maximum; bags are taken to be as long as they are on average."""
    rows = emit.add("Gather", [emit.name(call["weight"]), emit.name(call["indices"])], axis=0)
    op = ("ReduceSum", "ReduceMean", "ReduceMax")[int(call.get("mode", 0))]
    count, bags = (_seen(size) for size in (traced(call["indices"]).shape[0], call.result[0].shape[0]))
    width = int(traced(call["weight"]).shape[1])
    apart = emit.add("Reshape", [rows, emit.numbers([-1, max(count // max(bags, 1), 1), width])])
    return [emit.add(op, [apart, emit.numbers([1])], keepdims=0), *("" for _ in range(3))]


def _seen(size: Any) -> int:
    """A size in the example, where it is symbolic too."""
    return size if isinstance(size, int) else int(size.node.hint)


# --- convolution ---------------------------------------------------------------------------------------------------------


def _convolution(emit: Emitter, call: Call) -> Names:
    """conv1d to conv3d with numbers or a word for the padding, the transposed ones, and aten's general convolution."""
    weight = call["weight"]
    kernel = [size if isinstance(size, int) else 1 for size in traced(weight).shape[2:]]
    count = len(kernel)
    name = call.node.target._schema.name
    transposed = "transpose" in name or bool(call.get("transposed", False))
    stride, dilation = each(call.get("stride", 1), count), each(call.get("dilation", 1), count)
    padding = call.get("padding", 0)
    if padding == "same":
        total = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        pads = [each_side // 2 for each_side in total] + [each_side - each_side // 2 for each_side in total]
    else:
        pads = (each(0 if padding == "valid" else padding, count)) * 2
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": stride,
        "pads": pads,
        "dilations": dilation,
        "group": int(call.get("groups", 1)),
    }
    if transposed:
        attributes["output_padding"] = each(call.get("output_padding", 0), count)
    x = call["input"]
    name_of_x = emit.name(x)
    alone = rank_of(x) == count + 1  # one sample without a batch axis
    if alone:
        name_of_x = emit.add("Unsqueeze", [name_of_x, emit.numbers([0])])
    result = emit.add(
        "ConvTranspose" if transposed else "Conv",
        [name_of_x, emit.name(weight), emit.name(call.get("bias"))],
        **attributes,
    )
    return emit.add("Squeeze", [result, emit.numbers([0])]) if alone else result


# --- normalization -------------------------------------------------------------------------------------------------------


def _batch_norm(emit: Emitter, call: Call) -> Names:
    """batch_norm and its native forms. Where there is no affine part or no running statistics, ones and zeros stand for them."""
    x = call["input"]
    channels = traced(x).shape[1]
    dtype = emit.dtype(x)

    def given(key: str, value: float) -> str:
        return emit.name(call[key]) if call.get(key) is not None else emit.fill(value, dtype, (int(channels),))

    training = bool(call.get("training", call.get("train", "no_training" not in str(call.node.target))))
    inputs = [
        emit.name(x),
        given("weight", 1.0),
        given("bias", 0.0),
        given("running_mean", 0.0),
        given("running_var", 1.0),
    ]
    kept = 1.0 - float(call.get("momentum", 0.1))
    made = emit.add(
        "BatchNormalization", inputs, epsilon=float(call.get("eps", 1e-5)), momentum=kept, training_mode=int(training)
    )
    return [made, *("" for _ in call.result[1:])] if isinstance(call.result, (list, tuple)) else made


def _layer_norm(emit: Emitter, call: Call) -> Names:
    shape = [int(size) for size in call["normalized_shape"]]
    dtype = emit.dtype(call["input"])
    scale = emit.name(call["weight"]) if call.get("weight") is not None else emit.fill(1.0, dtype, tuple(shape))
    made = emit.add(
        "LayerNormalization",
        [emit.name(call["input"]), scale, emit.name(call.get("bias"))],
        axis=-len(shape),
        epsilon=float(call["eps"]),
    )
    return [made, "", ""] if isinstance(call.result, (list, tuple)) else made


def _rms_norm(emit: Emitter, call: Call) -> Names:
    """Without an ε torch takes that of the type."""
    shape = [int(size) for size in call["normalized_shape"]]
    dtype = emit.dtype(call["input"])
    epsilon = call.get("eps")
    if epsilon is None:
        epsilon = {"float16": 9.765625e-04, "bfloat16": 7.8125e-03, "float64": 2.220446049250313e-16}.get(
            dtype, 1.1920928955078125e-07
        )
    scale = emit.name(call["weight"]) if call.get("weight") is not None else emit.fill(1.0, dtype, tuple(shape))
    made = emit.add("RMSNormalization", [emit.name(call["input"]), scale], axis=-len(shape), epsilon=float(epsilon))
    return [made, ""] if isinstance(call.result, (list, tuple)) else made


def _group_norm(emit: Emitter, call: Call) -> Names:
    x = call["input"]
    groups = int(call.get("num_groups", call.get("group", 1)))
    return _grouped(emit, call, x, groups, int(traced(x).shape[1]))


def _instance_norm(emit: Emitter, call: Call) -> Names:
    x = call["input"]
    channels = int(traced(x).shape[1])
    dtype = emit.dtype(x)
    scale = emit.name(call["weight"]) if call.get("weight") is not None else emit.fill(1.0, dtype, (channels,))
    shift = emit.name(call["bias"]) if call.get("bias") is not None else emit.fill(0.0, dtype, (channels,))
    return emit.add("InstanceNormalization", [emit.name(x), scale, shift], epsilon=float(call["eps"]))


def _grouped(emit: Emitter, call: Call, x: Any, groups: int, channels: int) -> Names:
    dtype = emit.dtype(x)
    scale = emit.name(call["weight"]) if call.get("weight") is not None else emit.fill(1.0, dtype, (channels,))
    shift = emit.name(call["bias"]) if call.get("bias") is not None else emit.fill(0.0, dtype, (channels,))
    made = emit.add("GroupNormalization", [emit.name(x), scale, shift], num_groups=groups, epsilon=float(call["eps"]))
    return [made, "", ""] if isinstance(call.result, (list, tuple)) else made


def _weight_norm(emit: Emitter, call: Call) -> Names:
    """g·v/‖v‖ over all axes but one (Salimans & Kingma 2016, arXiv:1602.07868)."""
    v, axis = call["v"], int(call.get("dim", 0))
    axes = [place for place in range(rank_of(v)) if place != axis % rank_of(v)]
    length = emit.add("ReduceL2", [emit.name(v), emit.numbers(axes)], keepdims=1)
    made = emit.add("Mul", [emit.name(v), emit.add("Div", [emit.name(call["g"]), length])])
    return [made, length] if isinstance(call.result, (list, tuple)) else made


def _cosine_similarity(emit: Emitter, call: Call) -> Names:
    """x·y / max(‖x‖‖y‖, ε)."""
    left, right, axes = emit.name(call["x1"]), emit.name(call["x2"]), [int(call.get("dim", 1))]
    product = emit.add("ReduceSum", [emit.add("Mul", [left, right]), emit.numbers(axes)], keepdims=0)
    lengths = [emit.add("ReduceL2", [side, emit.numbers(axes)], keepdims=0) for side in (left, right)]
    bound = emit.add(
        "Clip", [emit.add("Mul", lengths), emit.name(max(float(call.get("eps", 1e-8)), math.ulp(0.0)), call.node)]
    )
    return emit.add("Div", [product, bound])


def _outer(emit: Emitter, call: Call) -> Names:
    left, right = (emit.name(value) for value in list(call.arguments.values())[:2])
    return emit.add(
        "Mul", [emit.add("Unsqueeze", [left, emit.numbers([1])]), emit.add("Unsqueeze", [right, emit.numbers([0])])]
    )


def _tensordot(emit: Emitter, call: Call) -> Names:
    left, right = call["self"], call["other"]
    axes = [[axis % rank_of(side) for axis in call[key]] for side, key in ((left, "dims_self"), (right, "dims_other"))]
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in range(rank_of(left))]
    second = [
        first[axes[0][axes[1].index(axis)]] if axis in axes[1] else next(letters) for axis in range(rank_of(right))
    ]
    kept = [
        letter
        for side, chosen in ((first, axes[0]), (second, axes[1]))
        for axis, letter in enumerate(side)
        if axis not in chosen
    ]
    equation = f"{''.join(first)},{''.join(second)}->{''.join(kept)}"
    return emit.add("Einsum", [emit.name(left), emit.name(right)], equation=equation)


TABLE: dict[str, Translate] = {
    "linear": _linear, "bilinear": _bilinear, "einsum": _einsum, "outer": _outer, "ger": _outer, "tensordot": _tensordot,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "vdot"), _product),
    "addmm": _added_product("mat1", "mat2"), "baddbmm": _added_product("batch1", "batch2"), "addmv": _added_product("mat", "vec"),
    "embedding": _embedding, **dict.fromkeys(("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"), _embedding_bag),
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution"),
        _convolution,
    ),
    **dict.fromkeys(
        ("batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional",
         "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_with_update_functional",
         "_batch_norm_no_update", "miopen_batch_norm"),
        _batch_norm,
    ),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm), **dict.fromkeys(("rms_norm", "_fused_rms_norm"), _rms_norm),
    "group_norm": _group_norm, "native_group_norm": _group_norm, "instance_norm": _instance_norm,
    **dict.fromkeys(("_weight_norm", "_weight_norm_interface"), _weight_norm),
    "cosine_similarity": _cosine_similarity,
}  # fmt: skip
