"""What torch's operators are translated into computes the same numbers: the raw graph, run by onnxruntime, against the module itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainaudit.load.canonical import canonicalize
from trainaudit.load.raw import RawGraph
from trainaudit.load.shapes.inference import infer_shapes

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from trainaudit.load.torch.capture import capture  # noqa: E402
from trainaudit.load.torch.from_torch import State, raw_graph  # noqa: E402
from trainaudit.load.torch.prepare import Example, returned_tensors  # noqa: E402


class Written(nn.Module):
    """A function of one activation (2, 6, 8) of a linear layer, and of the modules `parts`."""

    def __init__(self, function: Callable[..., Any], parts: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.function, self.first, self.parts = function, nn.Linear(8, 8), nn.ModuleList(parts)

    def forward(self, x: Tensor, *more: Tensor) -> Any:
        return self.function(self.first(x), *more, *self.parts)


def model_of(raw: RawGraph) -> Any:
    """The raw graph as an ONNX model."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper

    def attribute(value: Any) -> Any:
        return numpy_helper.from_array(np.asarray(value.read())) if hasattr(value, "read") else value

    def kind(name: str) -> int:
        dtype = raw.tensors[name].dtype if name in raw.tensors else raw.dtypes[name]
        return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    nodes = [
        helper.make_node(
            node.op,
            node.inputs,
            node.outputs,
            domain=node.domain,
            **{key: attribute(value) for key, value in node.attributes.items()},
        )
        for node in raw.nodes
    ]
    inputs = [helper.make_tensor_value_info(name, kind(name), raw.shapes[name]) for name in raw.inputs]
    outputs = [helper.make_tensor_value_info(name, kind(name), raw.shapes.get(name)) for name in raw.outputs]
    tensors = [numpy_helper.from_array(np.array(data.read(), order="C"), name) for name, data in raw.tensors.items()]
    graph = helper.make_graph(nodes, "translated", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def check(function: Callable[..., Any], *parts: nn.Module, more: tuple[Tensor, ...] = ()) -> None:
    torch.manual_seed(0)
    module = Written(function, parts)
    example = (torch.randn(2, 6, 8), *more)
    captured = capture(module, Example(example), training=False)
    assert not isinstance(captured, str)
    raw, _ = raw_graph(captured, State.of(module.named_parameters(), module.named_buffers()), "translated")
    session = onnxruntime.InferenceSession(model_of(raw).SerializeToString())
    with torch.no_grad():
        result = returned_tensors(module.eval()(*example))
    wanted = torch.utils._pytree.tree_leaves(result)

    found = session.run(None, {name: tensor.numpy() for name, tensor in zip(raw.inputs, example, strict=True)})

    graph = canonicalize(raw, infer_shapes(raw))
    assert graph.unrecognized == ()
    assert len(found) == len(wanted)
    for array, tensor, name in zip(found, wanted, graph.outputs, strict=True):
        assert array.shape == tuple(tensor.shape)
        np.testing.assert_allclose(array, tensor.numpy(), rtol=2e-4, atol=2e-5)
        shape = graph.values[name].shape if name in graph.values else tensor.shape
        assert shape is not None
        assert all(size == seen for size, seen in zip(shape, tensor.shape, strict=True) if isinstance(size, int))


@pytest.mark.parametrize(
    "name",
    ["relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus", "softsign", "tanhshrink", "hardshrink",
     "softshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid"],
)  # fmt: skip
def test_activation_functions(name: str) -> None:
    check(getattr(F, name))


def test_activation_functions_with_arguments() -> None:
    check(
        lambda x: (
            F.softmax(x, 1),
            F.log_softmax(x, -1),
            F.glu(x, -1),
            F.threshold(x, 0.1, 0.0),
            F.softmin(x, -1),
            F.normalize(x, dim=-1),
        )
    )
    check(lambda x, part: part(x), nn.PReLU(6))
    check(
        lambda x: (
            F.gelu(x, approximate="tanh"),
            F.leaky_relu(x, 0.3),
            F.softplus(x, beta=2.0),
            F.hardtanh(x, -0.5, 0.7),
            F.celu(x, 0.5),
        )
    )


def test_arithmetic() -> None:
    check(
        lambda x: (
            x + 1,
            1 - x,
            x / 2,
            2 / x,
            x**2,
            -x,
            x.abs(),
            x.exp(),
            torch.add(x, x, alpha=3),
            torch.rsub(x, x, alpha=2),
            x.square(),
        )
    )
    check(
        lambda x: (
            x.abs().log(),
            x.abs().sqrt(),
            x.exp().rsqrt(),
            x.abs().log1p(),
            x.expm1(),
            x.erf(),
            x.sin(),
            x.sign(),
            x.floor(),
            x.ceil(),
        )
    )
    check(
        lambda x: (
            x.clamp(-1, 1),
            x.clamp_min(0),
            torch.where(x > 0, x, 0.0),
            x.masked_fill(x > 0, 0.5),
            torch.addcmul(x, x, x, value=2),
        )
    )
    check(
        lambda x: (
            torch.lerp(x, x * 2, 0.3),
            torch.maximum(x, -x),
            torch.minimum(x, -x),
            x.abs().log2(),
            x.abs().log10(),
            x.reciprocal(),
        )
    )
    check(lambda x: (x > 0, x.eq(x), x != 0, (x > 0) & (x < 1), ~(x > 0), x.isnan(), x <= 0.5))


def test_reductions() -> None:
    check(
        lambda x: (
            x.sum(1),
            x.mean((1, 2)),
            x.sum(),
            x.amax((1, 2)),
            x.logsumexp(1),
            x.prod(1),
            x.cumsum(1),
            (x > 0).any(-1),
            (x > 0).all(),
        )
    )
    check(
        lambda x: (
            x.max(1)[0],
            x.max(1)[1],
            x.max(),
            torch.max(x, x + 1),
            x.argmax(-1),
            x.argmin(),
            x.min(2, keepdim=True)[0],
        )
    )
    check(
        lambda x: (
            x.var(1),
            x.std(-1, keepdim=True),
            *torch.var_mean(x, 1),
            x.var(1, correction=0),
            x.norm(dim=-1),
            x.norm(p=1, dim=1),
        )
    )
    check(
        lambda x: (
            x.topk(2)[0],
            x.sort(-1)[0],
            x.argsort(-1, descending=True),
            torch.linalg.vector_norm(x, float("inf"), dim=1),
        )
    )


def test_movement() -> None:
    check(
        lambda x: (
            x.transpose(0, 1),
            x.permute(2, 0, 1),
            x.unsqueeze(0),
            x[:, :1].squeeze(1),
            x.flatten(),
            x.flatten(0, 1),
            x.flatten(1),
        )
    )
    check(
        lambda x: (
            x.unflatten(-1, (2, 4)),
            x.reshape(-1, 4, 4),
            x.mT,
            x.movedim(1, 0),
            x.swapaxes(1, 2),
            x.view(x.shape[0], 48),
        )
    )
    check(
        lambda x: (
            x.repeat(1, 2, 1),
            x.expand(3, -1, -1, -1),
            x.tile(2),
            x.repeat_interleave(2, 1),
            x[:, :1].expand_as(x),
            x.roll(1, 1),
            x.flip(1),
        )
    )
    check(
        lambda x: (
            F.pad(x, (1, 2)),
            F.pad(x, (1, 1), mode="reflect"),
            F.pad(x, (2, 1), mode="replicate"),
            x.tril(),
            x.triu(1),
        )
    )


def test_parts() -> None:
    check(
        lambda x: (
            torch.cat([x, x], -1),
            torch.stack([x, x], 1),
            *x.split(2, 1),
            *x.chunk(3, -1),
            *x[:, :2].unbind(1),
            *x.split([1, 5], 1),
        )
    )
    check(
        lambda x: (
            x[:, 0],
            x[:, 1:3],
            x[:, [0, 2]],
            x[..., ::2],
            x[:, -1:],
            x[torch.arange(2), torch.tensor([1, 2])],
            x[0],
        )
    )
    check(lambda x: (x[:, torch.arange(6), torch.arange(6)], x[x > 0], x.masked_select(x > 0), torch.diff(x, dim=1)))
    check(lambda x: (x.gather(1, torch.zeros(2, 1, 8, dtype=torch.long)), x.index_select(1, torch.tensor([0, 1]))))
    check(
        lambda x: (
            x.scatter(1, torch.zeros(2, 1, 8, dtype=torch.long), x[:, :1]),
            x.scatter_add(1, torch.zeros(2, 1, 8, dtype=torch.long), x[:, :1]),
        )
    )
    check(lambda x: torch.slice_scatter(x, x[:, :2] * 2, 1, 2, 4) + torch.select_scatter(x, x[:, 0] * 3, 1, -1))


def test_products() -> None:
    check(lambda x: (x @ x.mT, torch.bmm(x, x.mT), torch.baddbmm(x @ x.mT, x, x.mT, alpha=0.5, beta=2)))
    check(lambda x: (torch.addmm(x[0] @ x[0].T, x[0], x[0].T), torch.outer(x[0, 0], x[0, 1]), torch.mv(x[0], x[0, 0])))
    check(lambda x, part: torch.einsum("bij,kj->bik", x, part.weight), nn.Linear(8, 8))
    check(lambda x, part: part(x, x), nn.Bilinear(8, 8, 3))
    check(lambda x: torch.tensordot(x, x, ([1, 2], [1, 2])))
    check(lambda x: F.cosine_similarity(x, x.flip(1), -1))


def test_layers() -> None:
    check(lambda x, *parts: tuple(part(x) for part in parts), nn.Conv1d(6, 4, 3, padding="same"), nn.ConvTranspose1d(6, 4, 3, 2, output_padding=1),
          nn.Conv1d(6, 6, 3, groups=6, padding=1, dilation=2), nn.Linear(8, 3))  # fmt: skip
    check(lambda x, part: part(x[0]), nn.Conv1d(6, 4, 3))
    check(lambda x, *parts: tuple(part(x) for part in parts), nn.LayerNorm(8), nn.LayerNorm(8, elementwise_affine=False), nn.GroupNorm(2, 6),
          nn.InstanceNorm1d(6), nn.RMSNorm(8), nn.BatchNorm1d(6), nn.BatchNorm1d(6, affine=False))  # fmt: skip
    ids = torch.tensor([[1, 2], [3, 4]])
    check(
        lambda x, i, a, b: (a(i) + x.mean(), b(i), F.one_hot(i, 5)),
        nn.Embedding(5, 3),
        nn.EmbeddingBag(5, 3),
        more=(ids,),
    )


def test_pooling_and_images() -> None:
    check(
        lambda x: (
            F.max_pool1d(x, 2),
            F.avg_pool1d(x, 3, 2, 1),
            F.adaptive_avg_pool1d(x, 1),
            F.adaptive_max_pool1d(x, 2),
            F.adaptive_avg_pool1d(x, 4),
        )
    )
    check(
        lambda x: (F.interpolate(x[:, None], size=(12, 4), mode="bilinear"), F.interpolate(x[:, None], scale_factor=2))
    )
    check(
        lambda x: (
            F.interpolate(x[:, None], size=(9, 5), mode="bilinear", align_corners=True),
            F.pixel_shuffle(x.reshape(-1, 4, 2, 6), 2),
        )
    )
    check(lambda x: F.pixel_unshuffle(x[:, None], 2))


def test_attention() -> None:
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    check(lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], attn_mask=mask))
    check(lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True, scale=0.7))
    check(lambda x: _grouped(x.reshape(-1, 6, 4, 2).transpose(1, 2)))
    check(lambda x, part: part(x, x, x), nn.MultiheadAttention(8, 2, batch_first=True))
    check(lambda x, part: part(x), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))


def _grouped(heads: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(heads, heads[:, :2], heads[:, :2], enable_gqa=True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind: Callable[..., nn.Module]) -> None:
    check(lambda x, part: part(x)[0], kind(8, 5, batch_first=True))
    check(lambda x, part: (part(x)[0], part(x)[1]), kind(8, 5, num_layers=2, bidirectional=True))
    check(lambda x, part: part(x)[0], kind(8, 5, bias=False, batch_first=True))


def test_recurrent_cells() -> None:
    check(
        lambda x, a, b, c: (a(x[:, 0]), *b(x[:, 0]), c(x[:, 0])), nn.GRUCell(8, 8), nn.LSTMCell(8, 8), nn.RNNCell(8, 8)
    )


def test_tensors_made_in_the_code() -> None:
    check(
        lambda x: (
            torch.zeros_like(x) + x,
            torch.ones(x.shape[0], 3),
            torch.full((2, 2), 1.5),
            x.new_zeros(x.shape[0], 1),
            torch.arange(x.shape[1]),
        )
    )
    check(
        lambda x: (
            torch.eye(3),
            torch.linspace(0, 1, 5),
            torch.arange(0, 3, 0.5),
            *torch.meshgrid(x[0, 0], x[0, 1], indexing="ij"),
        )
    )


def test_losses() -> None:
    labels = torch.tensor([1, 2])
    check(lambda x, y: (F.cross_entropy(x[:, 0], y), F.nll_loss(F.log_softmax(x[:, 0], -1), y)), more=(labels,))
    check(
        lambda x: (
            F.mse_loss(x, x + 1),
            F.l1_loss(x, 2 * x, reduction="sum"),
            F.binary_cross_entropy_with_logits(x, x.sigmoid()),
        )
    )


def test_types() -> None:
    check(lambda x: (x.half().float(), x.long(), x.double(), (x > 0).float()))


def test_parametrized_weights() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))
    check(lambda x, a, b: b(a(x)), normed, spectral)
