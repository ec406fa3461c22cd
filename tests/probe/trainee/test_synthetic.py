"""Synthetic data: inputs by shape, type and name; targets that are random or a function of the inputs; ONNX files too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import nn

from tests.probe.trainee.made import losses, made, mlp
from trainaudit.load.opening import open_target
from trainaudit.load.target import Target
from trainaudit.load.torch.opening import open_object
from trainaudit.probe.heads import Head
from trainaudit.probe.making import make_trainee, make_trainee_of
from trainaudit.probe.plan import ProbePlan
from trainaudit.probe.synthetic import Example
from trainaudit.probe.teacher import Goal, goal_of, random_targets, taught_targets


class Tokens(nn.Module):
    def __init__(self, classes: int = 11) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, ids: Any, attention_mask: Any = None) -> Any:
        hidden = self.table(ids)
        return self.head(hidden if attention_mask is None else hidden * attention_mask[..., None])


def conv(*tail: Any) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *tail)


def test_floats_are_standard_normal() -> None:
    values = torch.cat([batch.args[0] for batch in made().train])
    assert values.mean().abs() < 0.05
    assert (values.std() - 1).abs() < 0.05


def test_images_have_unit_variance_and_levels_of_their_own() -> None:
    model = conv(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    values = torch.cat([batch.args[0] for batch in made(model, torch.zeros(2, 3, 16, 16)).train])
    assert (values.std() - 1).abs() < 0.05
    levels = values.mean((2, 3))
    assert 0.2 < levels.var() < 0.3


def test_token_ids_stay_below_the_table() -> None:
    trainee = made(Tokens())
    ids = torch.cat([batch.args[0] for batch in trainee.train])
    assert ids.dtype == torch.int64
    assert int(ids.min()) == 0
    assert int(ids.max()) == 10
    counts = torch.bincount(ids.flatten(), minlength=11)
    assert counts[0] > counts[10]


def test_masks_stay_ones() -> None:
    trainee = made(
        Tokens(), {"ids": torch.zeros(2, 5, dtype=torch.long), "attention_mask": torch.ones(2, 5, dtype=torch.long)}
    )
    assert all(bool((batch.kwargs["attention_mask"] == 1).all()) for batch in trainee.train)


def test_the_same_seed_gives_the_same_data_and_another_other_ones() -> None:
    first, again, other = (made(seed=seed).train for seed in (0, 0, 1))
    assert all(
        torch.equal(a.args[0], b.args[0]) and torch.equal(a.target, b.target) for a, b in zip(first, again, strict=True)
    )
    assert not torch.equal(first[0].args[0], other[0].args[0])
    assert not torch.equal(first[0].args[0], first[1].args[0])


def test_the_kind_is_said() -> None:
    assert made().data == "teacher"
    assert made(data="random").data == "random"
    assert made().words["data"].endswith("classes below 3 that are a random function of the inputs")
    assert made(data="random").words["data"].endswith("classes below 3, drawn by chance")


def test_a_teacher_can_be_learnt_and_chance_cannot() -> None:
    """The loss on examples that were not trained on."""

    def held_loss(kind: str) -> float:
        import copy

        torch.manual_seed(0)
        trainee = made(data=kind, learning_rate=3e-2)
        model = copy.deepcopy(trainee.model)
        optimizer = trainee.make_optimizer(model)
        for step in range(200):
            optimizer.zero_grad()
            trainee.compute(model, trainee.train[step % len(trainee.train)]).loss.backward()
            optimizer.step()
        with torch.no_grad():
            return sum(trainee.compute(model, batch).loss.item() for batch in trainee.validation) / len(
                trainee.validation
            )

    assert held_loss("teacher") < 0.4
    assert held_loss("random") > 1.0


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ("cross-entropy", "classes"), ("nll", "classes"), ("categorical-crossentropy", "classes"), ("bce", "binary"), ("bce-with-logits", "binary"),
        ("mse", "values"), ("l1", "values"), ("huber", "values"), ("hinge", "classes"), ("kl", "shares"),
    ],
)  # fmt: skip
def test_targets_fit_the_named_loss(loss: str, kind: str) -> None:
    tails = {
        "nll": nn.LogSoftmax(1),
        "categorical-crossentropy": nn.Softmax(1),
        "bce": nn.Sigmoid(),
        "kl": nn.LogSoftmax(1),
    }
    trainee = made(mlp(tails.get(loss, nn.Identity())), torch.zeros(2, 6), loss=loss)
    target = trainee.train[0].target
    if kind == "classes":
        assert (target.dtype, int(target.max())) == (torch.int64, 2)
    elif kind == "binary":
        assert set(target.unique().tolist()) == {0.0, 1.0}
    elif kind == "values":
        assert (target.shape, target.unique().numel()) == ((32, 3), 96)
    else:
        torch.testing.assert_close(target.sum(-1), torch.ones(32))
    assert losses(trainee, 2)[0] > 0


def test_targets_fit_a_criterion_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.probe.trainee.made import made_in

    monkeypatch.chdir(tmp_path)
    code = "def make_loss(): return lambda output, target: ((output - target) ** 4).mean()\n"
    target = made_in(tmp_path, code).train[0].target
    assert (target.dtype, target.shape) == (torch.float32, (32, 3))


def test_an_autoencoder_is_given_its_input() -> None:
    model = nn.Sequential(nn.Linear(6, 2), nn.ReLU(), nn.Linear(2, 6))
    graph = open_object(model, torch.zeros(2, 6), (), "model")
    trainee = make_trainee_of(model, torch.zeros(2, 6), ProbePlan(), graph)
    assert trainee.loss == "mse"
    assert torch.equal(trainee.train[0].target, trainee.train[0].args[0])
    assert trainee.train[0].target is not trainee.train[0].args[0]


def test_inputs_alone_are_the_targets_of_an_autoencoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.probe.trainee.made import made_in

    monkeypatch.chdir(tmp_path)
    code = "def build_model(): return nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 6))\ndata = [torch.randn(8, 6)] * 2\n"
    batch = made_in(tmp_path, code, data="net.py:data").train[0]
    assert torch.equal(batch.target, batch.args[0])
    assert batch.target is not batch.args[0]


def test_a_segmentation_has_a_class_for_each_pixel() -> None:
    trainee = made(conv(nn.Conv2d(4, 5, 1)), torch.zeros(2, 3, 8, 8))
    assert trainee.loss == "cross-entropy"
    assert trainee.train[0].target.shape == (32, 8, 8)
    assert trainee.class_count == 5


def test_a_language_model_has_a_class_for_each_token() -> None:
    trainee = made(Tokens())
    batch = trainee.train[0]
    assert batch.target.shape == batch.args[0].shape
    answers = {}
    for one in trainee.train:  # the same token has the same answer everywhere
        for token, answer in zip(one.args[0].flatten().tolist(), one.target.flatten().tolist(), strict=True):
            assert answers.setdefault(token, answer) == answer


@given(
    st.sampled_from(["classes", "binary", "signs", "values", "shares"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=40)
def test_targets_have_the_shape_and_range_of_their_goal(
    kind: str, shape: list[int], size: int, taught: bool, seed: int
) -> None:
    goal = Goal(kind, tuple(shape), axis=0)
    inputs = Example((torch.randn(size, 3, generator=torch.Generator().manual_seed(seed)),))
    target = taught_targets(goal, inputs, size, seed) if taught else random_targets(goal, size, seed)
    assert tuple(target.shape) == (size, *(shape[1:] if kind == "classes" else shape))
    if kind == "classes":
        assert 0 <= int(target.min()) <= int(target.max()) < shape[0]
    elif kind in ("binary", "signs"):
        assert set(target.unique().tolist()) <= ({0.0, 1.0} if kind == "binary" else {-1.0, 1.0})
    elif kind == "shares":
        torch.testing.assert_close(target.sum(1), torch.ones(size, *shape[1:]))
    assert bool(torch.isfinite(target.double()).all())


def test_the_teacher_is_one_function() -> None:
    """The same inputs in another batch get the same targets."""
    inputs = torch.randn(16, 6)
    goal = goal_of(torch.zeros(16, 3), "cross-entropy", Head(), is_token_model=False)
    whole = taught_targets(goal, Example((inputs,)), 16, 0)
    part = taught_targets(goal, Example((inputs[4:12],)), 8, 0)
    assert torch.equal(whole[4:12], part)
    assert whole.unique().numel() == 3


class Decoder(Tokens):
    def forward(self, source: Any, ids: Any) -> Any:
        return self.head(self.table(ids) + self.table(source).mean(1, keepdim=True))


def test_a_decoder_has_a_class_for_each_of_its_own_tokens() -> None:
    example = (torch.zeros(2, 9, dtype=torch.long), torch.zeros(2, 5, dtype=torch.long))
    trainee = made(Decoder(), example)
    assert (trainee.loss, trainee.train[0].target.shape) == ("cross-entropy", (32, 5))


def test_a_bounded_output_gets_bounded_numbers() -> None:
    model = conv(nn.Conv2d(4, 2, 1), nn.Tanh())
    graph = open_object(model, torch.zeros(2, 3, 8, 8), (), "model")
    target = make_trainee_of(model, torch.zeros(2, 3, 8, 8), ProbePlan(), graph).train[0].target
    assert target.shape == (32, 2, 8, 8)
    assert -1 < float(target.min()) < -0.5
    assert 0.5 < float(target.max()) < 1


class TimeFirst(nn.Module):
    """Recurrence over (time, batch, features) or tokens (time, batch); its last state or all of them."""

    def __init__(self, *, tokens: bool, whole: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 5) if tokens else nn.Identity()
        self.cell = nn.GRU(5, 8)
        self.head = nn.Linear(8, 3)
        self.whole = whole

    def forward(self, x: Any) -> Any:
        states = self.cell(self.table(x))[0]
        return self.head(states if self.whole else states[-1])


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_model_that_takes_time_first(tokens: bool, whole: bool) -> None:
    """The second axis counts the examples, of inputs and of targets for each place in time."""
    example = torch.zeros(7, 2, dtype=torch.long) if tokens else torch.zeros(7, 2, 5)
    trainee = made(TimeFirst(tokens=tokens, whole=whole), example)
    batch = trainee.train[0]
    assert batch.size == 32
    assert batch.args[0].shape[:2] == (7, 32)
    assert tuple(batch.target.shape) == ((32,) if not whole else (7, 32) if tokens else (7, 32, 3))
    assert losses(trainee, 2)[0] > 0


def test_time_second_stays_second() -> None:
    class Turning(TimeFirst):
        def forward(self, x: Any) -> Any:
            return super().forward(x.transpose(0, 1))

    trainee = made(Turning(tokens=False, whole=False), torch.zeros(2, 7, 5))
    assert trainee.train[0].args[0].shape == (32, 7, 5)


def test_batches_of_the_users_own_with_time_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.probe.trainee.made import made_in

    monkeypatch.chdir(tmp_path)
    code = (
        "from tests.probe.trainee.test_synthetic import TimeFirst\ndef build_model(): return TimeFirst(tokens=False, whole=False)\n"
        "data = [(torch.randn(7, 6, 5), torch.arange(6) % 3)] * 3\n"
    )
    assert [batch.size for batch in made_in(tmp_path, code, data="net.py:data").train] == [6, 6, 6]


def test_a_model_that_takes_one_batch_size_alone() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.fc(x.reshape(4, 6))

    trainee = made(Fixed(), torch.zeros(4, 6))
    assert trainee.train[0].size == 4
    assert trainee.notes == ("The model takes batches of 4 examples alone.",)


def test_an_onnx_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.models.network import Network

    net = Network({"x": ("N", 6)})
    hidden = net.activation("Relu", "relu", net.linear("fc1", "x", 16))
    net.output(net.activation("Softmax", "softmax", net.linear("head", hidden, 3), axis=-1), "shares")
    path = str(tmp_path / "m.onnx")
    net.save(path)
    target = Target(path)
    trainee = make_trainee(target, ProbePlan(learning_rate=1e-2), open_target(target))
    assert (trainee.loss, trainee.class_count, trainee.data) == ("categorical-crossentropy", 3, "teacher")
    found = losses(trainee, 64)
    assert found[-1] < found[0]


def test_an_onnx_file_with_data_by_the_names_of_its_inputs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import numpy as np

    from tests.models.network import Network

    net = Network({"x": ("N", 6)})
    net.output(net.linear("head", "x", 3), "logits")
    net.save(str(tmp_path / "m.onnx"))
    np.savez(tmp_path / "data.npz", x=np.zeros((64, 6), np.float32), labels=np.zeros(64, np.int64), other=np.zeros(64))
    trainee = make_trainee(Target(str(tmp_path / "m.onnx")), ProbePlan(data=str(tmp_path / "data.npz")), None)
    assert len(trainee.train[0].args) == 1
    assert trainee.loss == "cross-entropy"


def test_weights_alone_cannot_be_probed(tmp_path: Path) -> None:
    from trainaudit.errors import TrainauditError

    with pytest.raises(TrainauditError, match="holds weights without the code that runs them"):
        make_trainee(Target(str(tmp_path / "w.safetensors")), ProbePlan(), None)


def test_an_exported_program(tmp_path: Path) -> None:
    program = torch.export.export(mlp(), (torch.zeros(4, 6),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    path = str(tmp_path / "m.pt2")
    torch.export.save(program, path)
    trainee = make_trainee(Target(path), ProbePlan(learning_rate=1e-2), open_target(Target(path)))
    assert trainee.notes == ("The exported program is trained in the mode that it was exported in.",)
    assert (trainee.loss, trainee.train[0].size) == ("cross-entropy", 32)
    found = losses(trainee, 64)
    assert found[-1] < found[0]


def test_a_folder_of_a_transformers_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        num_hidden_layers=1,
        hidden_size=16,
        num_attention_heads=2,
        vocab_size=40,
        intermediate_size=32,
        architectures=["BertForSequenceClassification"],
    )
    config.save_pretrained(tmp_path)
    trainee = make_trainee(Target(f"hf:{tmp_path}"), ProbePlan(batch_size=8), None)
    assert trainee.words["loss"] == "the model's own"
    assert (trainee.class_count, trainee.train[0].size) == (2, 8)
    assert losses(trainee, 2)[0] > 0
