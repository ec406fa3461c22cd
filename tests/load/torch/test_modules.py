"""Modules of every kind that people write are read, or refused with one sentence."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest

from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.ir.verify import verify

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from trainaudit.load.torch.capture import ForwardError  # noqa: E402
from trainaudit.load.torch.from_torch import load_module, load_program  # noqa: E402


def load(module: nn.Module, example: Any, **more: Any) -> Graph:
    graph = load_module(module, example, name="model", **more)
    assert verify(graph) == ()
    return graph


def ops(graph: Graph) -> list[str]:
    return [layer.op.value for layer in graph.layers]


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def test_layers_parameters_and_places_of_a_small_network() -> None:
    graph = load(mlp(), torch.randn(2, 4))

    assert [(layer.name, layer.op) for layer in graph.layers] == [("0", Op.LINEAR), ("1", Op.RELU), ("2", Op.LINEAR)]
    assert set(graph.parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert graph.values[graph.inputs[0]].shape == ("batch", 4)
    assert graph.origin.format == "torch.export"
    assert graph.form == "training"
    assert graph.layers[0].source.module_class == "torch.nn.modules.linear.Linear"


class Written(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x)) + 1


def test_findings_point_at_the_users_own_line() -> None:
    line = Written.forward.__code__.co_firstlineno + 1

    for layer in load(Written(), torch.randn(2, 4)).layers:
        assert layer.source.file is not None
        assert layer.source.file.endswith("test_modules.py")
        assert layer.source.line == line


def test_weights_are_read_from_the_module_itself() -> None:
    module = mlp()
    graph = load(module, torch.randn(2, 4))
    with torch.no_grad():
        module[0].weight.fill_(3.0)

    assert (graph.parameters["0.weight"].data.read() == 3.0).all()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.shared = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight
        self.shared.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(self.shared(self.embedding(x))))


def test_tied_shared_and_frozen_parameters() -> None:
    graph = load(Tied(), torch.randint(0, 20, (2, 5)))

    assert len(graph.parameters["embedding.weight"].owners) == 2
    assert len(graph.parameters["shared.weight"].owners) == 2
    assert "head.weight" not in graph.parameters
    assert not graph.parameters["shared.weight"].trainable
    assert graph.parameters["shared.bias"].trainable


def test_a_parameter_that_nothing_uses_is_there_without_owner() -> None:
    module = Written()
    module.forgotten = nn.Linear(4, 4)

    assert load(module, torch.randn(2, 4)).parameters["forgotten.weight"].owners == ()


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(5, 8))
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x + self.table)


def test_a_buffer_is_not_trained() -> None:
    graph = load(Table(), torch.randn(2, 5, 8))

    assert not next(item for item in graph.parameters.values() if item.shape == (5, 8)).trainable


def test_lazy_parameters_get_their_shapes_on_a_copy() -> None:
    module = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    graph = load(module, torch.randn(2, 4))

    assert graph.parameters["0.weight"].shape == (8, 4)
    assert "copy" in graph.origin.notes[0]
    assert torch.nn.parameter.is_lazy(module[0].weight)


def test_lazy_parameters_without_an_example_are_refused() -> None:
    with pytest.raises(TrainauditError, match="no shape yet"):
        load_module(nn.LazyLinear(8), None, name="model")


def test_parameters_on_the_meta_device_have_shapes_and_no_values() -> None:
    with torch.device("meta"):
        module = mlp()
    graph = load(module, torch.randn(2, 4))

    assert graph.parameters["0.weight"].shape == (8, 4)
    assert all(item.generated for item in graph.parameters.values())


def test_channels_last_weights_are_read_in_the_order_of_their_axes() -> None:
    module = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    data = load(module, torch.randn(2, 3, 8, 8)).parameters["weight"].data

    wanted = module.weight.detach().contiguous().numpy()
    assert (data.read() == wanted).all()
    flat = [value for block in data.blocks(50) for value in block.tolist()]
    assert flat == wanted.reshape(-1).tolist()


@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, lambda module: torch.compile(nn.DataParallel(module))]
)
def test_wrappers_are_taken_off(wrap: Any) -> None:
    assert set(load(wrap(mlp()), torch.randn(2, 4)).parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_quantized_module_is_refused_with_a_sentence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear})
    with pytest.raises(TrainauditError, match="quantized weights cannot be read") as caught:
        load(module, torch.randn(2, 4))
    assert caught.value.slug == "quantized-module"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    module = mlp().to(dtype)
    graph = load(module, torch.randn(2, 4, dtype=dtype))
    parameter = graph.parameters["0.weight"]

    assert parameter.dtype == str(dtype).removeprefix("torch.")
    assert (parameter.data.read() == module[0].weight.detach().to(torch.float64).numpy()).all()
    assert sum(block.size for block in parameter.data.blocks(10)) == 32


@dataclasses.dataclass
class Result:
    first: Tensor
    second: Tensor


class ManyEnds(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.a, self.b = form, nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, *, x: Tensor, y: Tensor | None = None, flag: bool = True) -> Any:  # noqa: ARG002
        first, second = self.a(x), self.b(x if y is None else y)
        return {"dict": {"first": first, "more": [second]}, "tuple": (first, second), "class": Result(first, second)}[
            self.form
        ]


@pytest.mark.parametrize("form", ["dict", "tuple", "class"])
def test_inputs_by_name_and_outputs_of_any_form(form: str) -> None:
    graph = load(ManyEnds(form), {"x": torch.randn(2, 4), "y": torch.randn(2, 4)})

    assert graph.inputs == ("x", "y")
    assert [graph.values[name].shape for name in graph.outputs] == [("batch", 3), ("batch", 2)]


class Cache:
    def __init__(self, held: Tensor) -> None:
        self.held = held


class WithCache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = self.layer(x)
        return {"logits": torch.tanh(h), "cache": Cache(h), "loss": None, "hidden": (h, 3)}


def test_objects_that_a_module_returns_beside_tensors_are_left_out() -> None:
    graph = load(WithCache(), torch.randn(2, 4))

    assert graph.origin.format == "torch.export"
    assert graph.outputs == ("logits", "hidden.0")


def test_a_batch_of_one_is_open_too() -> None:
    graph = load(mlp(), torch.randn(1, 4))

    assert graph.values[graph.inputs[0]].shape == ("batch", 4)


class Depends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = nn.Linear(4, 4), nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = F.relu(x)
        return self.drop(self.layer(x))


def test_a_path_that_depends_on_data_is_recorded_with_the_example() -> None:
    graph = load(Depends(), torch.ones(2, 4))

    assert ops(graph) == ["relu", "linear", "dropout"]
    assert graph.origin.format == "make_fx"
    assert "path depends on data" in graph.origin.notes[0]
    assert graph.inputs == ("x",)
    assert graph.layers[1].name == "layer"
    assert graph.layers[1].source.file is not None
    assert graph.layers[1].source.file.endswith("test_modules.py")


class Elsewhere(nn.Module):
    """What it computes, torch does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.from_numpy(x.detach().numpy() * 2))


def test_where_nothing_can_follow_the_layers_stand_alone() -> None:
    graph = load(Elsewhere(), torch.randn(2, 4))

    assert graph.origin.format == "module tree"
    assert not graph.is_connected
    assert [(layer.name, layer.op) for layer in graph.layers] == [("layer", Op.LINEAR)]
    assert "were not run" in graph.origin.notes[0]


@pytest.mark.parametrize(
    ("example", "kind", "said"),
    [
        (torch.randn(2, 5), RuntimeError, "cannot be multiplied"),
        ((torch.randn(2, 8), torch.randn(2, 8)), TypeError, "positional argument"),
        ({"y": torch.randn(2, 8)}, TypeError, "unexpected keyword argument"),
    ],
)
def test_what_the_module_itself_raises_is_the_cause(example: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(ForwardError, match=said) as caught:
        load_module(mlp(), example, name="model")
    assert isinstance(caught.value.__cause__, kind)


def test_attention_of_torch_is_attention() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    graph = load(nn.TransformerEncoder(layer, 2), torch.randn(2, 5, 8))

    assert ops(graph).count("attention") == 2
    assert graph.unrecognized == ()
    assert graph.layers[ops(graph).index("attention")].attributes["dropout"] == pytest.approx(0.1)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_of_two_levels_and_directions(kind: type[nn.RNNBase]) -> None:
    module = kind(4, 5, num_layers=2, bidirectional=True, dropout=0.2, batch_first=True)
    graph = load(module, torch.randn(2, 7, 4))

    word = kind.__name__.lower()
    assert ops(graph).count(word) == 2
    assert ops(graph).count("dropout") == 1
    assert not [item for item in graph.parameters.values() if not item.owners]
    assert sum(item.size for item in graph.parameters.values() if item.trainable) == sum(
        weight.numel() for weight in module.parameters()
    )


def test_an_lstms_gates_stand_in_onnx_order() -> None:
    module = nn.LSTM(4, 5)
    graph = load(module, torch.randn(7, 2, 4))

    stored = graph.parameters["weight_ih_l0"].data.read()[0].reshape(4, 5, 4)
    own = module.weight_ih_l0.detach().numpy().reshape(4, 5, 4)
    assert (stored == own[[0, 3, 1, 2]]).all()


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.orthogonal = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.orthogonal(self.spectral(self.weight(x)))


def test_parametrized_weights_are_their_layers_own() -> None:
    graph = load(Normed(), torch.randn(2, 4))

    assert [(layer.name, layer.op) for layer in graph.layers] == [
        ("weight", Op.LINEAR), ("spectral", Op.LINEAR), ("orthogonal", Op.LINEAR)
    ]  # fmt: skip
    for layer in graph.layers:
        assert graph.parameters[layer.parameters["weight"]].trainable


class ManyCalls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).chunk(3, -1)
        h = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], is_causal=True)[:, 0]
        image = F.interpolate(torch.einsum("bij,bkj->bik", h, h)[:, None], scale_factor=2, mode="bilinear")
        return torch.fft.rfft(image).abs()


def test_unknown_operators_are_counted_and_named() -> None:
    graph = load(ManyCalls(), torch.randn(2, 6, 8))

    assert {"attention", "einsum", "resize", "other"} <= set(ops(graph))
    assert graph.unrecognized == (("aten.fft_rfft", 1),)
    assert next(layer for layer in graph.layers if layer.op is Op.ATTENTION).attributes["is_causal"] is True


class InPlace(nn.Module):
    def __init__(self, through_a_view: bool) -> None:
        super().__init__()
        self.through_a_view, self.layer = through_a_view, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        (h[:, :2] if self.through_a_view else h).relu_()
        return h * 2


@pytest.mark.parametrize("through_a_view", [False, True])
def test_changes_in_place_are_followed(through_a_view: bool) -> None:
    graph = load(InPlace(through_a_view), torch.randn(2, 4))

    needed = {graph.outputs[0]}
    for layer in reversed(graph.layers):
        if not needed.isdisjoint(layer.outputs):
            needed.update(layer.inputs)
    assert any(layer.op is Op.RELU and not needed.isdisjoint(layer.outputs) for layer in graph.layers)


class WithoutGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = torch.tanh(self.first(x))
        return self.second(x)


def test_regions_without_gradient_are_part_of_the_graph_and_end_in_a_cut() -> None:
    assert ops(load(WithoutGradient(), torch.randn(2, 4))) == ["linear", "tanh", "detach", "linear"]


def test_an_exported_program_is_read_as_its_module() -> None:
    module, example = mlp(), (torch.randn(2, 4),)
    graph = load_program(torch.export.export(module, example), name="model")

    assert ops(graph) == ["linear", "relu", "linear"]
    assert set(graph.parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all(item.trainable for item in graph.parameters.values())


def test_the_inference_form_has_no_dropout() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    graph = load(module, torch.randn(2, 4), training=False)

    assert ops(graph) == ["linear", "batch_norm"]
    assert graph.layers[1].attributes["training"] is False
    assert graph.form == "inference"
