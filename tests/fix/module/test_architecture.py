"""Another architecture on a copy: what it computes equals the module that is mended by hand, with the same weights."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from trainaudit.changes import Change
from trainaudit.fix.module.applying import apply
from trainaudit.fix.refusal import NotApplicableError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from tests.fix.module.models import Net, classes, graph_of, same, state, trainee_of  # noqa: E402
from trainaudit.load.opening import open_target  # noqa: E402
from trainaudit.load.target import Target  # noqa: E402
from trainaudit.probe.copies import fresh  # noqa: E402
from trainaudit.probe.onnx_module import convert  # noqa: E402
from trainaudit.probe.stepping import learner, step  # noqa: E402


class Flexible(nn.Module):
    """Net as it is mended by hand: what stands at each place is given."""

    def __init__(self, first: Any = None, second: Any = None, last: Any = None, behind: Any = None) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.first, self.second, self.last = first or nn.Sigmoid(), second or nn.Sigmoid(), last or nn.Softmax(-1)
        self.behind = behind or nn.Identity()

    def forward(self, x: Any) -> Any:
        x = self.first(self.behind(self.fc1(x)))
        x = self.second(self.fc2(x))
        return self.last(self.fc3(x))


def by_hand(model: Any, mended: Any) -> Any:
    missing, unexpected = mended.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("behind") for name in missing)
    return mended


CASES: dict[str, tuple[Sequence[Change], Callable[[], Any]]] = {
    "swap a module": ([Change("swap-activation", "act", "relu")], lambda: Flexible(first=nn.ReLU())),
    "swap a function": ([Change("swap-activation", "sigmoid_1", "gelu")], lambda: Flexible(second=nn.GELU())),
    "swap both": (
        [Change("swap-activation", "act", "relu"), Change("swap-activation", "sigmoid_1", "tanh")],
        lambda: Flexible(nn.ReLU(), nn.Tanh()),
    ),
    "drop a softmax": ([Change("drop-layer", "softmax")], lambda: Flexible(last=nn.Identity())),
    "log-softmax": ([Change("swap-activation", "softmax", "log_softmax")], lambda: Flexible(last=nn.LogSoftmax(-1))),
    "over another axis": ([Change("softmax-axis", "softmax", amount=0)], lambda: Flexible(last=nn.Softmax(0))),
    "batch norm": ([Change("insert-normalization", "fc1", "batch_norm")], lambda: Flexible(behind=nn.BatchNorm1d(8))),
    "layer norm": ([Change("insert-normalization", "fc1", "layer_norm")], lambda: Flexible(behind=nn.LayerNorm(8))),
    "rms norm": ([Change("insert-normalization", "fc1", "rms_norm")], lambda: Flexible(behind=nn.RMSNorm(8, eps=1e-5))),
    "group norm": ([Change("insert-normalization", "fc1", "group_norm")], lambda: Flexible(behind=nn.GroupNorm(1, 8))),
    "an activation behind": ([Change("insert-activation", "fc1", "relu")], lambda: Flexible(behind=nn.ReLU())),
    "one after the other": (
        [Change("insert-normalization", "fc1", "layer_norm"), Change("insert-activation", "fc1", "relu")],
        lambda: Flexible(behind=nn.Sequential(nn.LayerNorm(8), nn.ReLU())),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any, Any]:
    """A model, its graph, the module of its ONNX file in training form, and the file's graph."""
    model, (x, _) = Net(), classes()
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.train(), (x,), stream, dynamo=False, training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
            dynamic_axes={"x": {0: "batch"}}, input_names=["x"],
        )  # fmt: skip
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    path.write_bytes(stream.getvalue())
    return model, graph_of(model, x), convert(str(path)).module, open_target(Target(str(path)))


def named_in_file(graph: Any, like: Any, name: str) -> str:
    """The file's name of a layer of the module's graph: the layer of that kind at the same place among those of its kind."""
    layer = next(layer for layer in like.layers if layer.name == name)
    place = [one.name for one in like.layers if one.op is layer.op].index(name)
    return [one.name for one in graph.layers if one.op is layer.op][place]


@pytest.mark.parametrize("case", CASES)
def test_modules_compute_what_the_module_mended_by_hand_computes(case: str) -> None:
    changes, build = CASES[case]
    model, (x, y) = Net(), classes()
    before = state(model)
    trainee = trainee_of(model, (x, y), loss="cross-entropy")
    made = apply(trainee, graph_of(model, x), changes)
    wanted = by_hand(model, build())
    for training in (True, False, True):
        made.model.train(training)
        wanted.train(training)
        torch.testing.assert_close(made.compute(made.model, made.train[0]).output, wanted(x))
    assert same(state(model), before) == []
    kept = {name: tensor for name, tensor in state(made.model).items() if not name.startswith("added_")}
    assert same(kept, before) == []
    assert isinstance(made.model, Net)
    assert type(made.model).__name__ == "Net"
    made.model.eval()
    wanted.eval()
    torch.testing.assert_close(made.model(x), wanted(x))
    assert sorted(layer.op for layer in graph_of(made.model, x).layers) == sorted(
        layer.op for layer in graph_of(wanted, x).layers
    )


@pytest.mark.parametrize("case", CASES)
def test_both_train_alike(case: str) -> None:
    changes, build = CASES[case]
    model, (x, y) = Net(), classes()
    made = apply(trainee_of(model, (x, y)), graph_of(model, x), changes)
    other = trainee_of(by_hand(model, build()), (x, y))
    losses = []
    for trainee in (made, other):
        with fresh(trainee, 0) as copied:
            ready = learner(trainee, copied)
            losses.append([step(ready, trainee.train[0]) for _ in range(5)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_files_compute_what_the_module_mended_by_hand_computes(case: str, exported: tuple[Any, Any, Any, Any]) -> None:
    changes, build = CASES[case]
    (x, y), (model, own, module, graph) = classes(), exported
    changes = [Change(one.kind, named_in_file(graph, own, one.where), one.to, one.amount) for one in changes]
    made = apply(trainee_of(module, (x, y)), graph, changes)
    wanted = by_hand(model, build())
    losses: list[list[float]] = []
    for training in (True, False, True):
        made.model.train(training)
        wanted.train(training)
        torch.testing.assert_close(made.compute(made.model, made.train[0]).output, wanted(x))
        torch.testing.assert_close(module(x)[0], model(x))
    for trainee in (apply(trainee_of(module, (x, y)), graph, changes), trainee_of(by_hand(model, build()), (x, y))):
        with fresh(trainee, 0) as copied:
            ready = learner(trainee, copied)
            losses.append([step(ready, trainee.train[0]) for _ in range(5)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


class Images(nn.Module):
    """Convolutions, a dropout before a normalization, one before a pooling, and a rectifier that works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
        self.drop1, self.drop2 = nn.Dropout2d(0.5), nn.Dropout(0.25)
        self.norm, self.pool, self.act = nn.BatchNorm2d(4, eps=1e-12), nn.MaxPool2d(2), nn.ReLU(inplace=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        x = self.norm(self.drop1(self.conv1(x)))
        x = self.act(x)
        x = self.pool(self.drop2(self.conv2(x)))
        return self.head(x.flatten(1))


def images() -> tuple[Any, Any]:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])


def mended_images(change: Change, forward: Callable[[Any, Any], Any]) -> None:
    """The change on `Images` does what `forward(model, x)` does, in training (the same seed) and in evaluation."""
    model, (x, y) = Images(), images()
    made = apply(trainee_of(model, (x, y)), graph_of(model, x), [change])
    for training in (True, False):
        model.train(training)
        made.model.train(training)
        torch.manual_seed(3)
        found = made.compute(made.model, made.train[0]).output
        torch.manual_seed(3)
        torch.testing.assert_close(found, forward(model, x))


def test_a_dropout_is_moved_behind_the_normalization() -> None:
    def forward(model: Any, x: Any) -> Any:
        x = model.act(model.drop1(model.norm(model.conv1(x))))
        return model.head(model.pool(model.drop2(model.conv2(x))).flatten(1))

    mended_images(Change("move-dropout", "drop1"), forward)


def test_a_dropout_is_moved_behind_the_pooling() -> None:
    def forward(model: Any, x: Any) -> Any:
        x = model.act(model.norm(model.drop1(model.conv1(x))))
        return model.head(model.drop2(model.pool(model.conv2(x))).flatten(1))

    mended_images(Change("move-dropout", "drop2"), forward)


def test_an_activation_that_works_in_place() -> None:
    def forward(model: Any, x: Any) -> Any:
        x = functional.leaky_relu(model.norm(model.drop1(model.conv1(x))))
        return model.head(model.pool(model.drop2(model.conv2(x))).flatten(1))

    mended_images(Change("swap-activation", "act", "leaky_relu"), forward)


def test_a_smaller_rate_of_dropout() -> None:
    def forward(model: Any, x: Any) -> Any:
        x = model.act(model.norm(functional.dropout2d(model.conv1(x), 0.1, model.training)))
        return model.head(model.pool(model.drop2(model.conv2(x))).flatten(1))

    mended_images(Change("dropout-rate", "drop1", amount=0.1), forward)


def test_maps_are_normalized_by_channel_and_scaled() -> None:
    norm = nn.BatchNorm2d(4)

    def forward(model: Any, x: Any) -> Any:
        x = model.act(model.norm(model.drop1(model.conv1(x))))
        norm.train(model.training)
        return model.head(model.pool(model.drop2(norm(model.conv2(x)))).flatten(1))

    mended_images(Change("insert-normalization", "conv2", "batch_norm"), forward)

    def scaled(model: Any, x: Any) -> Any:
        x = model.act(model.norm(model.drop1(model.conv1(x))))
        return model.head(model.pool(model.drop2(0.5 * model.conv2(x))).flatten(1))

    mended_images(Change("scale-branch", "conv2", amount=0.5), scaled)


def test_the_epsilon_of_a_normalization() -> None:
    model, (x, y) = Images(), images()
    made = apply(trainee_of(model, (x, y)), graph_of(model, x), [Change("epsilon", "norm", amount=1e-5)])
    assert made.model.norm.eps == 1e-5
    assert model.norm.eps == 1e-12


def test_a_bias_that_is_dropped_stays_zero() -> None:
    model, (x, y) = Images(), images()
    made = apply(trainee_of(model, (x, y)), graph_of(model, x), [Change("drop-bias", "conv1")])
    with fresh(made, 0) as copied:
        ready = learner(made, copied)
        for _ in range(3):
            step(ready, made.train[0])
        assert not copied.conv1.bias.any()
        assert not torch.equal(copied.conv1.weight, model.conv1.weight)
    assert model.conv1.bias.requires_grad


class Logs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return torch.log(torch.softmax(self.fc(x), -1))


def test_a_guard_and_a_logarithm_in_one_step() -> None:
    model, (x, y) = Logs(), classes()
    graph = graph_of(model, x)
    log, softmax = (next(layer.name for layer in graph.layers if layer.op == op) for op in ("log", "softmax"))
    trainee = trainee_of(model, (1000 * x, y), loss="nll")
    assert not torch.isfinite(trainee.compute(model, trainee.train[0]).output).all()
    made = apply(trainee, graph, [Change("guard", log, amount=1e-6)])
    wanted = torch.log(torch.softmax(model.fc(1000 * x), -1).clamp_min(1e-6))
    torch.testing.assert_close(made.compute(made.model, made.train[0]).output, wanted)
    both = [Change("swap-activation", softmax, "log_softmax"), Change("drop-layer", log)]
    made = apply(trainee, graph, both)
    wanted = torch.log_softmax(model.fc(1000 * x), -1)
    torch.testing.assert_close(made.compute(made.model, made.train[0]).output, wanted)


class Quotient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.scale = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.mean(x) / self.scale(x)


def test_a_divisor_is_kept_away_from_zero() -> None:
    model, (x, y) = Quotient(), classes()
    graph = graph_of(model, x)
    name = next(layer.name for layer in graph.layers if layer.op == "div")
    made = apply(trainee_of(model, (x, y)), graph, [Change("guard", name, amount=0.2)])
    scale = model.scale(x)
    assert float(scale.detach().abs().min()) < 0.2
    safe = torch.where(scale < 0, scale.clamp(max=-0.2), scale.clamp(min=0.2))
    torch.testing.assert_close(made.compute(made.model, made.train[0]).output, model.mean(x) / safe)


class ByHand(nn.Module):
    """A linear layer that is written out, and a SiLU that is written out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(3))

    def forward(self, x: Any) -> Any:
        x = x @ self.weight + self.bias
        return x * torch.sigmoid(x)


def test_layers_that_are_written_out() -> None:
    model, (x, y) = ByHand(), classes()
    graph = graph_of(model, x)
    linear, silu = (next(layer.name for layer in graph.layers if layer.op == op) for op in ("linear", "silu"))
    made = apply(trainee_of(model, (x, y)), graph, [Change("insert-normalization", linear, "layer_norm")])
    normal = functional.layer_norm(x @ model.weight + model.bias, (3,))
    torch.testing.assert_close(made.compute(made.model, made.train[0]).output, normal * torch.sigmoid(normal))
    with pytest.raises(NotApplicableError, match="not found with certainty"):
        apply(trainee_of(model, (x, y)), graph, [Change("swap-activation", silu, "relu")])


def test_a_chain_of_children_and_an_optimizer_that_names_its_parameters() -> None:
    model, (x, y) = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)), classes()

    def own(copied: Any) -> Any:
        return torch.optim.Adam([*copied[0].parameters(), *copied[2].parameters()], lr=0.1)

    trainee = trainee_of(model, (x, y), make_optimizer=own)
    made = apply(trainee, graph_of(model, x), [Change("insert-normalization", "0", "batch_norm")])
    with fresh(made, 0) as copied:
        ready = learner(made, copied)
        for _ in range(3):
            step(ready, made.train[0])
        after = state(copied)
    assert not torch.equal(after["added_0_weight"], torch.ones(8))
    assert after["added_0_running_mean"].any()


def test_what_is_not_such_a_layer_is_refused() -> None:
    model, (x, y) = Net(), classes()
    trainee, graph = trainee_of(model, (x, y)), graph_of(model, x)
    for change in (
        Change("swap-activation", "fc1", "relu"),
        Change("drop-layer", "fc1"),
        Change("move-dropout", "act"),
        Change("drop-bias", "act"),
        Change("epsilon", "fc1", amount=1e-5),
        Change("insert-activation", "no such layer", "relu"),
    ):
        with pytest.raises(NotApplicableError):
            apply(trainee, graph, [change])
    with pytest.raises(NotApplicableError, match="graph"):
        apply(trainee, None, [Change("drop-layer", "softmax")])
