"""Which loss is computed: the named one, the user's own, the model's own, a step, Lightning's, or one that is inferred; and what is said of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from tests.probe.trainee.made import falls, losses, made, made_in, mlp
from trainaudit.errors import TrainauditError

DATA = """
generator = torch.Generator().manual_seed(0)
X = torch.randn(64, 6, generator=generator)
Y = torch.randint(0, 3, (64,), generator=generator)
pair = (X, Y)
hot = (X, torch.nn.functional.one_hot(Y, 3).float())
values = (X, torch.randn(64, 3, generator=generator))
shares = (X, torch.rand(64, 3, generator=generator).softmax(1))
flags = (X, torch.randint(0, 2, (64, 3), generator=generator).float())
"""


def data(**code: str) -> str:
    return DATA + "".join(code.values())


# --- inferred ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "loss", "words"),
    [
        ("pair", "cross-entropy", "cross-entropy, inferred: integer targets below the 3 outputs"),
        ("hot", "cross-entropy", "cross-entropy, inferred: one-hot targets over 3 outputs"),
        ("values", "mse", "mse, inferred: numbers as targets, one for each output"),
        ("shares", "cross-entropy", "cross-entropy, inferred: shares of 3 classes as targets"),
        ("flags", "bce-with-logits", "bce-with-logits, inferred: targets of 0 and 1, and no sigmoid at the output"),
    ],
)
def test_inferred_from_the_targets(work: Path, name: str, loss: str, words: str) -> None:
    trainee = made_in(work, DATA, data=f"net.py:{name}")
    assert (trainee.loss, trainee.words["loss"]) == (loss, words)
    assert trainee.class_count == (3 if loss == "cross-entropy" else None)


@pytest.mark.parametrize(
    ("tail", "loss"),
    [
        (nn.Softmax(1), "categorical-crossentropy"),
        (nn.LogSoftmax(1), "nll"),
        (nn.Identity(), "cross-entropy"),
    ],
)
def test_inferred_from_the_head(tail: Any, loss: str) -> None:
    assert made(mlp(tail), torch.zeros(2, 6)).loss == loss


def test_a_column_of_targets_is_compared_one_by_one(work: Path) -> None:
    code = """
def build_model(): return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
data = (torch.randn(64, 6), torch.randn(64))
"""
    trainee = made_in(work, code, data="net.py:data")
    assert trainee.notes == (
        "Targets of shape (32,) are compared with outputs of shape (32, 1) one by one, since the loss is inferred.",
    )
    model = copy.deepcopy(trainee.model)
    batch = trainee.train[0]
    expected = ((model(*batch.args)[:, 0] - batch.target) ** 2).mean()
    torch.testing.assert_close(trainee.compute(model, batch).loss, expected)


def test_what_cannot_be_inferred(work: Path) -> None:
    code = "odd = (torch.randn(64, 6), torch.randn(64, 7))\nwords = [(torch.randn(4, 6), ['a', 'b', 'c', 'd'])]\n"
    with pytest.raises(TrainauditError) as refused:
        made_in(work, code, data="net.py:odd")
    assert refused.value.what == "The loss cannot be inferred from outputs of shape (32, 3) and targets float32[32,7]."
    with pytest.raises(TrainauditError) as refused:
        made_in(work, code, data="net.py:words")
    assert refused.value.what == "The loss cannot be inferred: the data give targets that are a list."


# --- named ---------------------------------------------------------------------------------------------------------------

CRITERIA = """
def squares(output, target): return ((output - target) ** 2).mean()
class Scaled(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = factor
    def forward(self, output, target): return self.factor * nn.functional.cross_entropy(output, target)
def factory(): return nn.CrossEntropyLoss(label_smoothing=0.1)
weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 1.0]))
def rows(output, target): return nn.functional.cross_entropy(output, target, reduction="none")
three = 3
"""


@pytest.mark.parametrize(
    ("loss", "targets", "name", "words"),
    [
        ("mse", "values", "mse", "mse, as declared"),
        ("net.py:squares", "values", "mse", "squares of net.py:squares, which computes mse"),
        ("net.py:Scaled", "pair", "", "Scaled of net.py:Scaled"),
        ("net.py:factory", "pair", "cross-entropy", "CrossEntropyLoss of net.py:factory"),
        ("net.py:weighted", "pair", "cross-entropy", "CrossEntropyLoss of net.py:weighted"),
        ("torch.nn:CrossEntropyLoss", "pair", "cross-entropy", "CrossEntropyLoss of torch.nn:CrossEntropyLoss"),
    ],
)
def test_named(work: Path, loss: str, targets: str, name: str, words: str) -> None:
    trainee = made_in(work, DATA + CRITERIA, data=f"net.py:{targets}", loss=loss)
    assert (trainee.loss, trainee.words["loss"]) == (name, words)
    assert falls(trainee)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ("crossentropy", r'^The loss "crossentropy" is not known\. Did you mean "cross-entropy"\?'),
        ("net.py:three", r"^net.py:three gives an int, which is no loss\."),
        ("net.py:rows", r"^The loss of the criterion is a tensor of shape \(32,\), and no single number\. Reduce it: \.mean\(\)\."),
        ("net.py:missing", r"^net.py has no missing\."),
    ],
)  # fmt: skip
def test_one_sentence_for_what_does_not_fit(work: Path, loss: str, sentence: str) -> None:
    with pytest.raises(TrainauditError, match=sentence):
        made_in(work, DATA + CRITERIA, data="net.py:pair", loss=loss)


def test_the_users_line_is_named(work: Path) -> None:
    code = """
def build_model(): return Bad()
class Bad(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 3)
    def forward(self, x): return self.fc(x)
"""
    failure = made_in(work, DATA + code, data="net.py:pair").failure
    assert failure is not None
    assert ", at net.py:" in failure.said
    assert "mat1 and mat2 shapes cannot be multiplied" in failure.said
    assert "\n" not in failure.said


# --- the model's own -----------------------------------------------------------------------------------------------------


class Output(NamedTuple):
    loss: Any
    logits: Any


class OwnLoss(nn.Module):
    """In the manner of transformers: labels in, (loss, logits) out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Any, labels: Any = None) -> Any:
        logits = self.fc(x)
        return Output(None if labels is None else nn.functional.cross_entropy(logits, labels), logits)


def test_the_models_own_loss() -> None:
    trainee = made(OwnLoss(), torch.zeros(2, 6))
    assert trainee.words["loss"] == "the model's own"
    assert trainee.class_count == 3
    batch = trainee.train[0]
    computed = trainee.compute(trainee.model, batch)
    assert computed.output.shape == (32, 3)
    torch.testing.assert_close(computed.loss, nn.functional.cross_entropy(computed.output, batch.target))


def test_a_declared_loss_counts_instead() -> None:
    trainee = made(OwnLoss(), torch.zeros(2, 6), loss="hinge")
    assert trainee.loss == "hinge"
    computed = trainee.compute(trainee.model, trainee.train[0])
    torch.testing.assert_close(computed.loss, nn.functional.multi_margin_loss(computed.output, trainee.train[0].target))


def test_transformers_models_compute_their_loss() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=1, n_embd=16, n_head=2, vocab_size=40, n_positions=16, bos_token_id=1, eos_token_id=1
    )
    model = transformers.GPT2LMHeadModel(config)
    trainee = made(model, {"input_ids": torch.zeros(2, 8, dtype=torch.long)})
    assert trainee.is_causal
    assert trainee.class_count == 40
    found = losses(trainee, 32)
    assert found[-1] < found[0]


class Several(nn.Module):
    """Two inputs, several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, ids: Any, x: Any) -> Any:
        hidden = self.table(ids).mean(1) + x
        return {"hidden": hidden, "logits": self.fc(hidden)}


def test_several_inputs_and_outputs() -> None:
    trainee = made(Several(), (torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 6)))
    ids, x = trainee.train[0].args
    assert (ids.shape, x.shape) == ((32, 5), (32, 6))
    assert int(ids.max()) <= 6
    assert trainee.compute(trainee.model, trainee.train[0]).output.shape == (32, 3)


@pytest.mark.parametrize(
    "batch", ["[(I, X, Y)]", "[((I, X), Y)]", "[{'x': X, 'ids': I, 'label': Y}]", "[({'ids': I, 'x': X}, Y)]"]
)
def test_batches_of_several_inputs(work: Path, batch: str) -> None:
    code = (
        "from tests.probe.trainee.test_objectives import Several\ndef build_model(): return Several()\n"
        f"I, X, Y = torch.randint(0, 7, (8, 5)), torch.randn(8, 6), torch.randint(0, 3, (8,))\ndata = {batch}\n"
    )
    trainee = made_in(work, code, data="net.py:data")
    first = trainee.train[0]
    assert len(first.args) + len(first.kwargs) == 2
    assert first.target.shape == (8,)
    assert losses(trainee, 2)[0] > 0


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (
            "[{'ids': I, 'label': Y}]",
            "forward needs the argument x, which the batches (ids=int64[8,5], label=int64[8]) do not give.",
        ),
        (
            "[(I, X, X, Y)]",
            "The data gives batches of 4 parts (int64[8,5], float32[8,6], float32[8,6], int64[8]), and forward takes ids, x.",
        ),
    ],
)
def test_a_batch_that_does_not_fit_forward(work: Path, batch: str, sentence: str) -> None:
    code = (
        "from tests.probe.trainee.test_objectives import Several\ndef build_model(): return Several()\n"
        f"I, X, Y = torch.randint(0, 7, (8, 5)), torch.randn(8, 6), torch.randint(0, 3, (8,))\ndata = {batch}\n"
    )
    with pytest.raises(TrainauditError) as refused:
        made_in(work, code, data="net.py:data")
    assert refused.value.what == sentence


def test_arguments_that_cannot_be_guessed() -> None:
    with pytest.raises(TrainauditError, match=r"forward takes 2 inputs \(ids, x\)\. Give each: --input 'ids="):
        made(Several())


# --- steps ---------------------------------------------------------------------------------------------------------------

STEPS = """
class Bag:
    def __init__(self, start): self.rows, self.answers = X[start:start + 32], Y[start:start + 32]
bags = [Bag(0), Bag(32)]

def loss_alone(model, batch):
    return nn.functional.cross_entropy(model(batch.rows), batch.answers)

def with_output(model, batch):
    output = model(batch.rows)
    return nn.functional.cross_entropy(output, batch.answers), output

def as_dict(model, batch):
    return {"loss": loss_alone(model, batch)}

def none(model, batch):
    return None
"""


@pytest.mark.parametrize(("step", "has_output"), [("loss_alone", False), ("with_output", True), ("as_dict", False)])
def test_a_step_of_the_users_own(work: Path, step: str, has_output: bool) -> None:
    trainee = made_in(work, DATA + STEPS, data="net.py:bags", step=f"net.py:{step}")
    assert trainee.words["loss"] == f"computed by the step net.py:{step}"
    computed = trainee.compute(trainee.model, trainee.train[0])
    assert (computed.output is not None) == has_output
    assert falls(trainee)


def test_a_step_without_a_loss(work: Path) -> None:
    with pytest.raises(TrainauditError) as refused:
        made_in(work, DATA + STEPS, data="net.py:bags", step="net.py:none")
    assert str(refused.value) == "net.py:none gives a NoneType as its loss. Return the loss, or (loss, output)."


PLAIN_STEPS = """
def squared(model, batch):
    return ((model(batch[0]) - nn.functional.one_hot(batch[1], 3)) ** 2).mean()

def entropy(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])

def summed(model, batch):
    return entropy(model, batch) + 0.1 * sum(p.square().sum() for p in model.parameters())

def twice(model, batch):
    return nn.functional.cross_entropy((model(batch[0]) + model(-batch[0])) / 2, batch[1])
"""


@pytest.mark.parametrize(
    ("step", "name"), [("entropy", "cross-entropy"), ("squared", ""), ("summed", ""), ("twice", "")]
)
def test_what_a_step_that_returns_its_loss_alone_gives_to_it(work: Path, step: str, name: str) -> None:
    """Seen where the loss is one with a name of one answer of the model: how low it can get is known then."""
    trainee = made_in(work, DATA + PLAIN_STEPS, data="net.py:pair", step=f"net.py:{step}")
    assert trainee.loss == name
    computed = trainee.compute(trainee.model, trainee.train[0])
    assert (computed.output is not None) == bool(name)
    assert falls(trainee)


LIGHTNING = """
import lightning

class Module(lightning.LightningModule):
    example_input_array = torch.zeros(2, 6)

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x): return self.fc(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss)
        return {"loss": loss}

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 10)}

class Fed(Module):
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 6), torch.arange(64) % 3), 16)

class Unready(Module):
    def train_dataloader(self):
        return self.rows  # made by setup()

class Manual(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
"""


def test_a_lightning_module(work: Path) -> None:
    pytest.importorskip("lightning")
    trainee = made_in(work, DATA + LIGHTNING, target="net.py:Module", data="net.py:pair")
    words = "computed by Module.training_step, which is cross-entropy of what the model returns"
    assert (trainee.loss, trainee.words["loss"]) == ("cross-entropy", words)
    computed = trainee.compute(trainee.model, trainee.train[0])
    assert computed.output.shape == (trainee.train[0].size, 3)
    assert not trainee.model._forward_hooks
    assert trainee.words["optimizer"] == "as Module.configure_optimizers makes it"
    optimizer = trainee.make_optimizer(trainee.model)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.9
    assert falls(trainee)


def test_a_lightning_module_on_synthetic_data(work: Path) -> None:
    pytest.importorskip("lightning")
    trainee = made_in(work, LIGHTNING, target="net.py:Module")
    assert trainee.data == "teacher"
    assert trainee.train[0].target.dtype == torch.int64


def test_a_lightning_module_with_data_of_its_own(work: Path) -> None:
    pytest.importorskip("lightning")
    trainee = made_in(work, LIGHTNING, target="net.py:Fed")
    assert (trainee.data, trainee.train[0].size, trainee.notes) == ("real", 16, ())
    assert "Fed:train_dataloader" in trainee.words["data"]
    unready = made_in(work, LIGHTNING, target="net.py:Unready")
    assert unready.data == "teacher"
    assert any("Unready.train_dataloader could not be used" in note for note in unready.notes)
    assert made_in(work, LIGHTNING, target="net.py:Fed", data="random").data == "random"


def test_a_lightning_module_that_steps_by_hand(work: Path) -> None:
    pytest.importorskip("lightning")
    with pytest.raises(TrainauditError, match=r"^Manual.training_step runs its own optimizers"):
        made_in(work, DATA + LIGHTNING, target="net.py:Manual", data="net.py:pair")


# --- labels that no output stands for ------------------------------------------------------------------------------------


def test_labels_out_of_range_are_counted_and_the_run_goes_on(work: Path) -> None:
    from trainaudit.probe.data_statistics import describe

    code = DATA + "shifted = (X, Y + 1)\n"
    trainee = made_in(work, code, data="net.py:shifted")
    outside = sum(int((batch.label > 2).sum()) for batch in trainee.train if batch.label is not None)
    assert outside > 0
    assert trainee.notes[0].startswith(f"{outside} of 64 labels are not below the model's 3 outputs")
    assert losses(trainee, 2)[0] > 0
    target = describe(trainee, seed=0).target
    assert target is not None
    assert target.out_of_range_count == outside


def test_labels_that_the_loss_ignores_are_in_range(work: Path) -> None:
    from trainaudit.probe.data_statistics import describe

    code = (
        DATA
        + "padded = (X, torch.where(Y == 2, 255, Y))\ndef make_loss(): return nn.CrossEntropyLoss(ignore_index=255)\n"
    )
    trainee = made_in(work, code, data="net.py:padded")
    assert all(batch.label is None for batch in trainee.train)
    target = describe(trainee, seed=0).target
    assert target is not None
    assert (target.out_of_range_count, target.ignored_count > 0) == (0, True)


def test_the_users_model_is_left_as_found() -> None:
    model = mlp(nn.Dropout(0.5)).eval()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    trainee = made(model)
    assert torch.equal(torch.rand(1), expected)
    assert trainee.model is model
    assert not model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
