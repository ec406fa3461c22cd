"""What moved from attributes to inputs, and what changed its meaning, since opset 7: each spelling against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from tests.probe.onnx_module.making import converted

SPELLINGS = {
    "squeeze, attribute": (9, "g (float[3, 1, 2] x) => (float[3, 2] y) { y = Squeeze<axes = [1]>(x) }"),
    "squeeze, input": (13, "g (float[3, 1, 2] x) => (float[3, 2] y) <int64[1] a = {1}> { y = Squeeze(x, a) }"),
    "squeeze, all": (13, "g (float[3, 1, 2] x) => (float[3, 2] y) { y = Squeeze(x) }"),
    "unsqueeze, attribute": (9, "g (float[3, 2] x) => (float[1, 3, 2, 1] y) { y = Unsqueeze<axes = [0, 3]>(x) }"),
    "clip, attributes": (10, "g (float[4, 5] x) => (float[4, 5] y) { y = Clip<min = -0.5, max = 0.25>(x) }"),
    "clip, inputs": (12, "g (float[4, 5] x) => (float[4, 5] y) <float m = {0.25}> { y = Clip(x, , m) }"),
    "slice, attributes": (9, "g (float[4, 5] x) => (float[2, 5] y) { y = Slice<axes = [0], starts = [1], ends = [3]>(x) }"),
    "slice, backwards": (
        11,
        "g (float[4, 5] x) => (float[4, 3] y) <int64[1] s = {-1}, int64[1] e = {-9}, int64[1] a = {1}, int64[1] t = {-2}> "
        "{ y = Slice(x, s, e, a, t) }",
    ),
    "pad, attributes": (10, "g (float[2, 3] x) => (float[4, 4] y) { y = Pad<pads = [1, 0, 1, 1], value = 2.0>(x) }"),
    "pad, reflecting": (
        18,
        'g (float[1, 5] x) => (float[1, 9] y) <int64[4] p = {0, 2, 0, 2}> { y = Pad<mode = "reflect">(x, p) }',
    ),
    "reduce sum, attribute": (11, "g (float[2, 3, 4] x) => (float[2, 4] y) { y = ReduceSum<axes = [1], keepdims = 0>(x) }"),
    "reduce sum, no axes": (
        13, "g (float[2, 3] x) => (float[2, 3] y) <int64[0] a = {}> { y = ReduceSum<noop_with_empty_axes = 1>(x, a) }"
    ),
    "reduce max, attribute": (12, "g (float[2, 3, 4] x) => (float[2, 1, 1] y) { y = ReduceMax<axes = [1, -1]>(x) }"),
    "split, attribute": (11, "g (float[7, 2] x) => (float[3, 2] y, float[4, 2] z) { y, z = Split<split = [3, 4]>(x) }"),
    "split, uneven": (18, "g (float[7, 2] x) => (float[4, 2] y, float[3, 2] z) { y, z = Split<num_outputs = 2>(x) }"),
    "dropout, attribute": (10, "g (float[4, 5] x) => (float[4, 5] y) { y = Dropout<ratio = 0.3>(x) }"),
    "upsample, attribute": (7, "g (float[1, 1, 2, 3] x) => (float[1, 1, 4, 9] y) { y = Upsample<scales = [1.0, 1.0, 2.0, 3.0]>(x) }"),
    "upsample, linear": (
        9,
        'g (float[1, 1, 2, 3] x) => (float[1, 1, 4, 6] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}> { y = Upsample<mode = "linear">(x, s) }',
    ),
    "resize, before coordinates": (
        10, "g (float[1, 1, 4, 4] x) => (float[1, 1, 6, 2] y) <float[4] s = {1.0, 1.0, 1.5, 0.5}> { y = Resize(x, s) }"
    ),
    "resize, sizes": (
        13,
        'g (float[1, 1, 4, 4] x) => (float[1, 1, 7, 3] y) <float[0] n = {}, int64[4] s = {1, 1, 7, 3}> '
        '{ y = Resize<mode = "cubic">(x, n, n, s) }',
    ),
    "softmax, flattening": (9, "g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = Softmax<axis = 1>(x) }"),
    "softmax, one axis": (13, "g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = Softmax<axis = 1>(x) }"),
    "log softmax, default axis": (9, "g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = LogSoftmax(x) }"),
    "top k, attribute": (9, "g (float[3, 6] x) => (float[3, 2] y, int64[3, 2] z) { y, z = TopK<k = 2>(x) }"),
    "flatten, negative": (11, "g (float[2, 3, 4] x) => (float[6, 4] y) { y = Flatten<axis = -1>(x) }"),
    "gemm, all attributes": (
        7,
        "g (float[3, 2] a, float[4, 3] b, float[2, 4] c) => (float[2, 4] y) "
        "{ y = Gemm<alpha = 0.5, beta = 2.0, transA = 1, transB = 1>(a, b, c) }",
    ),
    "group norm by groups": (
        18,
        "g (float[2, 4, 3] x) => (float[2, 4, 3] y) <float[2] s = {1.5, -2.0}, float[2] b = {0.5, 1.0}> "
        "{ y = GroupNormalization<num_groups = 2>(x, s, b) }",
    ),
    "group norm by channels": (
        21,
        "g (float[2, 4, 3] x) => (float[2, 4, 3] y) <float[4] s = {1.5, -2.0, 1.0, 3.0}, float[4] b = {0.5, 1.0, 0.0, 2.0}> "
        "{ y = GroupNormalization<num_groups = 2>(x, s, b) }",
    ),
    "batch norm": (
        9,
        "g (float[2, 2, 3] x) => (float[2, 2, 3] y) <float[2] s = {1.5, -2.0}, float[2] b = {0.5, 1.0}, float[2] m = {0.1, 0.2}, "
        "float[2] v = {1.0, 2.0}> { y = BatchNormalization<epsilon = 0.01>(x, s, b, m, v) }",
    ),
    "average over a dilated, uneven window": (
        19,
        "g (float[1, 2, 9, 9] x) => (float[1, 2, 4, 5] y) "
        "{ y = AveragePool<kernel_shape = [3, 2], strides = [2, 2], dilations = [2, 1], pads = [1, 0, 0, 1], ceil_mode = 1>(x) }",
    ),
    "maximum with places": (
        12,
        "g (float[1, 2, 5, 5] x) => (float[1, 2, 3, 3] y, int64[1, 2, 3, 3] i) "
        "{ y, i = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(x) }",
    ),
    "convolution, same below": (
        11,
        'g (float[1, 2, 5, 6] x, float[3, 2, 2, 3] w) => (float[1, 3, 3, 3] y) { y = Conv<auto_pad = "SAME_LOWER", strides = [2, 2]>(x, w) }',
    ),
    "transposed convolution": (
        11,
        "g (float[1, 2, 4, 4] x, float[2, 3, 3, 3] w, float[3] b) => (float[1, 3, 9, 8] y) "
        "{ y = ConvTranspose<strides = [2, 2], pads = [0, 1, 1, 1], output_padding = [1, 1]>(x, w, b) }",
    ),
    "expand": (13, "g (float[3, 1] x) => (float[2, 3, 4] y) <int64[3] s = {2, 1, 4}> { y = Expand(x, s) }"),
    "global lp pool": (13, "g (float[2, 3, 4] x) => (float[2, 3, 1] y) { y = GlobalLpPool<p = 3>(x) }"),
    "regions": (
        13,
        "g (float[1, 2, 6, 6] x) => (float[2, 2, 2, 2] y) <float[2, 5] r = {0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 1.0, 2.0, 5.0, 5.0}> "
        "{ y = MaxRoiPool<pooled_shape = [2, 2]>(x, r) }",
    ),
    "not": (13, "g (bool[3, 4] x) => (bool[3, 4] y) { y = Not(x) }"),
    "sequences": (
        13,
        "g (float[2, 3] a, float[1, 3] b) => (float[3, 3] y) <int64 p = {1}> "
        "{ s = SequenceConstruct(a, b, a)\n t = SequenceErase(s, p)\n u = SequenceErase(t)\n v = SequenceInsert(u, b) y = ConcatFromSequence<axis = 0>(v) }",
    ),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_agrees_with_onnxruntime(spelling: str, tmp_path: Path) -> None:
    opset, text = SPELLINGS[spelling]
    converted(tmp_path, text, opset=opset)
