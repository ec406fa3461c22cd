"""What a converted module is to a training run: parameters, gradients, modes, copies, and values by name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch
from torch import nn

from tests.probe.onnx_module.making import converted, written
from trainaudit.probe.onnx_module import Converted, convert


class Net(nn.Module):
    """A convolution, a normalization, a dropout and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(self.drop(x.mean((2, 3))))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, Converted]:
    """The network and what became of it in a file of training form."""
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for one in (*net.parameters(), net.norm.running_mean, net.norm.running_var):
            one.copy_(torch.rand_like(one) + 0.1)  # no two tensors are equal, so that none are merged
    path = str(tmp_path_factory.mktemp("net") / "net.onnx")
    torch.onnx.export(
        net, (torch.randn(4, 3, 6, 6),), path, dynamo=False, training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    return net, convert(path)


def test_parameters_have_the_file_s_names_and_values(pair: tuple[Net, Converted]) -> None:
    net, result = pair
    mine, theirs = dict(result.module.named_parameters()), dict(net.named_parameters())
    assert mine.keys() == theirs.keys() == result.parameter_names.keys()
    assert all(name == own for name, own in result.parameter_names.items())
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert set(dict(result.module.named_buffers())) == {"norm.running_mean", "norm.running_var"}


@pytest.mark.parametrize("is_training", [True, False])
def test_output_gradients_and_statistics_are_those_of_the_network(
    pair: tuple[Net, Converted], is_training: bool
) -> None:
    net, result = (copy.deepcopy(one) for one in (pair[0], pair[1].module))
    net.drop.p = 0.0  # two generators would draw two masks
    net.train(is_training)
    result.train(is_training)
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    if is_training:
        expected = net(x)
        torch.manual_seed(3)
        seen: dict[str, torch.Tensor] = {}
        result.watch, result.watched = seen.__setitem__, frozenset(_values_before_dropout(result))
        result(x)
        before = next(iter(seen.values()))
        assert torch.allclose(net.head(before), expected, atol=1e-6)
        result.watch = None
    else:
        mine, expected = result(x)[0], net(x)
        assert torch.allclose(mine, expected, atol=1e-6)
        mine.square().sum().backward()
        expected.square().sum().backward()
        gradients = dict(result.named_parameters())
        for name, one in net.named_parameters():
            assert torch.allclose(gradients[name].grad, one.grad, rtol=1e-4, atol=1e-5), name
    for name, one in net.named_buffers():
        if name != "norm.num_batches_tracked":
            assert torch.allclose(dict(result.named_buffers())[name], one, atol=1e-6), name


def _values_before_dropout(module: nn.Module) -> list[str]:
    return [step.inputs[0] for step in module.plan.block.steps if step.op == "Dropout"]


def test_dropout_drops_in_training_alone(pair: tuple[Net, Converted]) -> None:
    module = copy.deepcopy(pair[1].module)
    names = [
        name for step in module.plan.block.steps if step.op == "Dropout" for name in (step.inputs[0], step.outputs[0])
    ]
    seen: dict[str, torch.Tensor] = {}
    module.watch, module.watched = seen.__setitem__, frozenset(names)
    torch.manual_seed(0)
    module.train()(torch.randn(500, 3, 6, 6))
    before, after = (seen[name] for name in names)
    zero = (after == 0) & (before != 0)
    assert 0.2 < zero.float().mean() < 0.3
    assert torch.allclose(after[~zero], before[~zero] / 0.75)
    module.eval()(torch.randn(5, 3, 6, 6))
    assert torch.equal(*(seen[name] for name in names))


def test_a_few_steps_of_an_optimizer_bring_the_loss_down(pair: tuple[Net, Converted]) -> None:
    module = copy.deepcopy(pair[1].module).train()
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    torch.manual_seed(0)
    x, target = torch.randn(16, 3, 6, 6), torch.randint(0, 5, (16,))
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x)[0], target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_copies_share_nothing_that_training_changes(pair: tuple[Net, Converted]) -> None:
    original = pair[1].module
    before = {name: value.clone() for name, value in original.state_dict().items()}
    other = copy.deepcopy(original).train()
    other(torch.randn(4, 3, 6, 6))[0].sum().backward()
    with torch.no_grad():
        for one in other.parameters():
            one.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())
    assert all(one.grad is None for one in original.parameters())
    original.load_state_dict(other.state_dict())
    original.load_state_dict(before)


def test_fresh_normalizations_that_share_a_tensor_have_statistics_of_their_own(tmp_path: Path) -> None:
    text = """g (float[N, 2] x) => (float[N, 2] y)
      <float[2] ones = {1.0, 1.0}, float[2] zeros = {0.0, 0.0}> {
        a = BatchNormalization(x, ones, zeros, zeros, ones)
        b = Exp(a)
        y = BatchNormalization(b, ones, zeros, zeros, ones)
      }"""
    module = converted(tmp_path, text).module.train()
    module(torch.randn(64, 2) + 3.0)
    means = [value for name, value in module.named_buffers() if "zeros" in name]
    assert len(means) == 2
    assert not torch.allclose(means[0], means[1], atol=0.05)


def test_values_are_seen_by_the_file_s_names_and_only_those_asked_for(tmp_path: Path) -> None:
    text = """g (float[2, 3] x) => (float[2, 3] y) <float[3] w = {1.0, -2.0, 3.0}> { a = Mul(x, w) b = Relu(a) y = Neg(b) }"""
    module = converted(tmp_path, text).module
    seen: list[str] = []
    values: dict[str, torch.Tensor] = {}

    def watch(name: str, value: torch.Tensor) -> None:
        seen.append(name)
        values[name] = value

    module.watch, module.watched = watch, frozenset({"x", "b", "y", "unknown"})
    x = torch.tensor([[1.0, 1.0, -1.0], [2.0, -2.0, 0.5]])
    (y,) = module(x)
    assert seen == ["x", "b", "y"]
    assert torch.equal(values["b"], torch.relu(x * torch.tensor([1.0, -2.0, 3.0])))
    assert values["y"] is y
    module.watch = None
    module(x)
    assert seen == ["x", "b", "y"]


@pytest.mark.parametrize("name", ["forward", "training.weight", "a..b", ".a", "renamed.1", "_buffers.x", "a.b"])
def test_names_that_torch_forbids_are_mapped(name: str, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    names = [name, "a", "w"]
    nodes, last = [], "x"
    for index, weight in enumerate(names):
        nodes.append(helper.make_node("MatMul", [last, weight], [f"v{index}"]))
        last = f"v{index}"
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, ["n", 2])], [helper.make_tensor_value_info(last, kind, ["n", 2])],
        [helper.make_tensor(weight, kind, [2, 2], [1.0 + index, 2.0, 3.0, 5.0]) for index, weight in enumerate(names)],
    )  # fmt: skip
    path = str(tmp_path / "names.onnx")
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    result = convert(path)
    assert result.error is not None
    assert sorted(result.parameter_names.values()) == sorted(names)
    parameters = dict(result.module.named_parameters())
    for torch_name, own in result.parameter_names.items():
        assert float(parameters[torch_name][0, 0].detach()) == 1.0 + names.index(own)
    assert result.parameter_names["w"] == "w"


def test_one_weight_that_two_nodes_read_is_one_parameter(tmp_path: Path) -> None:
    text = """g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w = {1.0, 2.0, 3.0, 4.0}> {
        a = MatMul(x, w)  c = Identity(w)  b = Relu(a)  y = MatMul(b, c) }"""
    module = converted(tmp_path, text).module
    assert [name for name, _ in module.named_parameters()] == ["w"]


def test_only_the_right_number_of_inputs_is_taken(tmp_path: Path) -> None:
    module = convert(written(tmp_path, "g (float[2] x, float[2] z) => (float[2] y) { y = Add(x, z) }")).module
    with pytest.raises(TypeError, match="takes 2 inputs"):
        module(torch.zeros(2))


def test_an_error_says_which_node_it_comes_from(tmp_path: Path) -> None:
    module = convert(written(tmp_path, "g (float[N, 3] x, float[N, 3] z) => (float[M, 3] y) { y = Add(x, z) }")).module
    with pytest.raises(RuntimeError) as caught:
        module(torch.zeros(2, 3), torch.zeros(4, 3))
    assert "Add node" in caught.value.__notes__[0]


def test_constants_follow_a_module_to_another_device(tmp_path: Path) -> None:
    """The meta device stands for a GPU: it has no values, so reading one on the host would raise."""
    text = """g (float[N, 4] x) => (float[N, 2, 2] y) <float[4, 4] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0,
      7.0, 8.0}, float[4] c = {1.0, 2.0, 3.0, 4.0}, int64[1] z = {0}, int64[1] one = {1}, int64[2] twos = {2, 2}> {
        a = MatMul(x, w)  b = Mul(a, c)  s = Shape(b)  n = Slice(s, z, one, z)  t = Concat<axis = 0>(n, twos)  y = Reshape(b, t) }"""
    module = convert(written(tmp_path, text)).module.to("meta")
    (y,) = module(torch.zeros(3, 4, device="meta"))
    assert y.device.type == "meta"
    assert tuple(y.shape) == (3, 2, 2)


def test_clips_pass_no_gradient_at_their_bounds(tmp_path: Path) -> None:
    """As torch's ReLU6 does, which exporters write as a Clip."""
    module = converted(
        tmp_path, "g (float[N] x) => (float[N] y) <float a = {0.0}, float b = {6.0}> { y = Clip(x, a, b) }"
    ).module
    x = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    module(x)[0].sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "mask",
    [
        "d = Div(x, k)  r = RandomUniformLike(x)  s = Add(k, r)  f = Floor(s)  y = Mul(d, f)",
        "r = RandomUniformLike(x)  l = Less(r, k)  m = Cast<to = 1>(l)  s = Div(m, k)  y = Mul(x, s)",
    ],
    ids=["stochastic depth", "dropout"],
)
def test_dropout_that_is_written_out_passes_its_input_on_in_evaluation(mask: str, tmp_path: Path) -> None:
    module = converted(tmp_path, f"g (float[N, 50] x) => (float[N, 50] y) <float k = {{0.8}}> {{ {mask} }}").module
    x = torch.randn(40, 50)
    assert torch.equal(module.eval()(x)[0], x)
    torch.manual_seed(0)
    dropped = module.train()(x)[0]
    assert 0.15 < (dropped == 0).float().mean() < 0.25
    assert torch.allclose(dropped[dropped != 0], x[dropped != 0] / 0.8)
