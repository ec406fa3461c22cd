"""Changes on models as users have them: LightningModules, transformers, attention, compiled and shared modules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainaudit.changes import Change
from trainaudit.fix.module.applying import apply
from trainaudit.fix.refusal import NotApplicableError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from tests.fix.module.models import Net, classes, graph_of, same, state, trainee_of  # noqa: E402
from trainaudit.probe.copies import fresh  # noqa: E402
from trainaudit.probe.instruments import Instruments  # noqa: E402
from trainaudit.probe.objectives import of_model, of_training_step  # noqa: E402
from trainaudit.probe.optimizers import of_lightning  # noqa: E402
from trainaudit.probe.stepping import backward, forward, learner, step, update  # noqa: E402
from trainaudit.probe.trainee import Batch, Trainee  # noqa: E402
from trainaudit.probe.user_objects import Caller  # noqa: E402


class Lit(Net):
    """Written like a LightningModule: the loss and the optimizer are its own."""

    def training_step(self, batch: Any, _batch_idx: int) -> Any:
        x, y = batch
        return functional.cross_entropy(self(x), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def lightning(model: Any) -> Trainee:
    x, y = classes()
    batch = Batch(args=(x,), target=y, raw=(x, y), size=len(x))
    return Trainee(model, of_training_step(model).compute, of_lightning(model, None, Caller("", 0)).make, (batch,))


def test_a_module_with_a_step_of_its_own() -> None:
    model = Lit()
    trainee, graph = lightning(model), graph_of(model, classes()[0])
    changes = [
        Change("drop-layer", "softmax"),
        Change("insert-normalization", "fc1", "batch_norm"),
        Change("learning-rate", amount=0.25),
    ]
    made = apply(trainee, graph, changes)
    x, y = classes()
    wanted = functional.batch_norm(model.fc1(x), None, None, training=True)
    wanted = model.fc3(torch.sigmoid(model.fc2(torch.sigmoid(wanted))))
    torch.testing.assert_close(made.compute(made.model, made.train[0]).loss, functional.cross_entropy(wanted, y))
    optimizer = made.make_optimizer(made.model)
    assert optimizer.param_groups[0]["lr"] == 0.25
    held = {id(item) for item in optimizer.param_groups[0]["params"]}
    assert {id(item) for item in made.model.parameters()} == held


class Twice(nn.Module):
    """One activation function at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.act = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3), nn.Tanh()

    def forward(self, x: Any) -> Any:
        return self.fc3(self.act(self.fc2(self.act(self.fc1(x)))))


def test_a_shared_module_is_changed_at_the_place_that_was_named() -> None:
    model, (x, y) = Twice(), classes()
    graph = graph_of(model, x)
    second = [layer.name for layer in graph.layers if layer.op == "tanh"][1]
    made = apply(trainee_of(model, (x, y)), graph, [Change("swap-activation", second, "relu")])
    wanted = model.fc3(torch.relu(model.fc2(torch.tanh(model.fc1(x)))))
    torch.testing.assert_close(made.compute(made.model, made.train[0]).output, wanted)


def test_each_forward_pass_of_a_step_is_changed() -> None:
    """Two views of the same examples, as contrastive learning has them."""
    model, (x, y) = Twice(), classes()
    graph = graph_of(model, x)
    plain = trainee_of(model, (x, y))

    def both(copied: Any, batch: Batch) -> Any:
        return replace(plain.compute(copied, batch), output=copied(2 * x))

    first = next(layer.name for layer in graph.layers if layer.op == "tanh")
    made = apply(replace(plain, compute=both), graph, [Change("swap-activation", first, "relu")])
    wanted = model.fc3(torch.tanh(model.fc2(torch.relu(model.fc1(2 * x)))))
    torch.testing.assert_close(made.compute(made.model, made.train[0]).output, wanted)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.layer(x).mean(1))


def test_a_layer_behind_attention() -> None:
    model = Attending()
    x, y = torch.randn(4, 5, 8), torch.tensor([0, 1, 2, 0])
    graph = graph_of(model, x)
    relu = next(layer.name for layer in graph.layers if layer.op == "relu")
    made = apply(trainee_of(model, (x, y)), graph, [Change("swap-activation", relu, "gelu")])
    other = Attending()
    other.load_state_dict(model.state_dict())
    other.layer.activation = functional.gelu
    other.layer.activation_relu_or_gelu = 2
    for training in (True, False):
        made.model.train(training)
        other.train(training)
        torch.testing.assert_close(made.compute(made.model, made.train[0]).output, other(x))


def test_a_model_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, max_position_embeddings=8,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    ids, labels = torch.randint(20, (4, 6)), torch.tensor([0, 1, 0, 1])
    from trainaudit.load.torch.opening import open_object

    graph = open_object(model, {"input_ids": ids, "labels": labels}, (), "Bert")
    gelus = [layer.name for layer in graph.layers if layer.op == "gelu"]
    assert len(gelus) == 2
    batch = Batch(
        kwargs={"input_ids": ids, "labels": labels}, target=labels, raw={"input_ids": ids, "labels": labels}, size=4
    )
    trainee = Trainee(model, of_model("Bert").compute, lambda m: torch.optim.AdamW(m.parameters(), lr=1e-2), (batch,))
    before = state(model)
    made = apply(
        trainee,
        graph,
        [Change("swap-activation", gelus[1], "relu"), Change("initialize", "classifier.weight", "zeros")],
    )
    other = transformers.BertForSequenceClassification(config)
    other.load_state_dict(model.state_dict())
    other.bert.encoder.layer[1].intermediate.intermediate_act_fn = nn.ReLU()
    nn.init.zeros_(other.classifier.weight)
    wanted = replace(trainee, model=other)
    losses = []
    for one in (made, wanted):
        with fresh(one, 0) as copied:
            ready = learner(one, copied)
            losses.append([step(ready, one.train[0]) for _ in range(4)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert same(state(model), before) == []


def test_the_instruments_see_what_is_computed_then() -> None:
    """A changed copy is probed like any other: its layers keep their names, and its readings are those of the changed network."""
    model, (x, y) = Net(), classes()
    graph = graph_of(model, x)
    made = apply(trainee_of(model, (x, y)), graph, [Change("insert-normalization", "fc1", "layer_norm")])
    with fresh(made, 0) as copied:
        ready = learner(made, copied)
        with Instruments(copied, ready.optimizer, graph) as instruments, instruments.step(0, last=True):
            computed = forward(ready, made.train[0])
            backward(ready, computed.loss)
            instruments.read_gradients(computed.loss)
            update(ready)
        readings = instruments.collect()
    names = [series.tap.layer for series in readings.activations]
    assert {"fc1", "fc2", "fc3", "act"} <= set(names)
    parameters = {series.name for series in readings.parameters}
    assert {"added_0_weight", "added_0_bias", "fc1.weight"} <= parameters


def test_a_compiled_module() -> None:
    model, (x, y) = Net(), classes()
    graph = graph_of(model, x)
    compiled = torch.compile(model, backend="eager")
    trainee = replace(trainee_of(model, (x, y)), model=compiled)
    made = apply(trainee, graph, [Change("drop-layer", "softmax")])
    wanted = model.fc3(torch.sigmoid(model.fc2(torch.sigmoid(model.fc1(x)))))
    torch.testing.assert_close(made.compute(made.model, made.train[0]).output, wanted)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    class Stubborn(Net):
        def __deepcopy__(self, _memo: Any) -> Any:
            raise TypeError("cannot be copied")

    model, (x, y) = Stubborn(), classes()
    with pytest.raises(NotApplicableError, match="copied"):
        apply(trainee_of(model, (x, y)), None, [Change("scale", "fc1.weight", amount=2.0)])
