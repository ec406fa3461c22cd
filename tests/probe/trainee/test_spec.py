"""One Python file for all of a probe: build_model, make_data, make_loss, make_optimizer; and the settings' table for a target."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.probe.trainee.made import made_in
from trainaudit.errors import TrainauditError
from trainaudit.load.target import Target
from trainaudit.probe.making import make_trainee, with_inputs_of_data
from trainaudit.probe.plan import ProbePlan
from trainaudit.probing import plan_for
from trainaudit.settings import read_settings
from trainaudit.targets import expand_targets

SPEC = """
BATCH_SIZE = 12

def make_dataset(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(48, 6, generator=generator), torch.randint(0, 3, (48,), generator=generator), {"note": "made"}

def make_loss(): return nn.CrossEntropyLoss()
def make_optimizer(model): return torch.optim.SGD(model.parameters(), lr=0.25)
"""


def test_the_file_with_build_model_says_the_rest(work: Path) -> None:
    trainee = made_in(work, SPEC)
    assert [batch.size for batch in trainee.train] == [12] * 4
    assert trainee.words == {
        "data": "48 examples of net.py:make_dataset in batches of 12, shuffled by trainaudit",
        "loss": "CrossEntropyLoss of net.py:make_loss",
        "optimizer": "as net.py:make_optimizer makes it",
    }
    assert trainee.make_optimizer(trainee.model).param_groups[0]["lr"] == 0.25


def test_the_plan_counts_before_the_file(work: Path) -> None:
    trainee = made_in(work, SPEC, loss="hinge", optimizer="adam", learning_rate=0.5, data="teacher")
    assert (trainee.loss, trainee.data) == ("hinge", "teacher")
    assert type(trainee.make_optimizer(trainee.model)) is torch.optim.Adam


def test_a_spec_beside_the_target(work: Path) -> None:
    (work / "how.py").write_text("import torch\nfrom torch import nn\n" + SPEC, "utf-8")
    trainee = made_in(work, spec="how.py")
    assert trainee.words["loss"] == "CrossEntropyLoss of how.py:make_loss"


def test_what_a_spec_imports_is_not_its_own(work: Path) -> None:
    (work / "shared.py").write_text("def make_data(recipe): raise AssertionError\n", "utf-8")
    trainee = made_in(work, "from shared import make_data\n" + SPEC)
    assert trainee.words["data"].startswith("48 examples of net.py:make_dataset")


def test_an_empty_spec(work: Path) -> None:
    (work / "how.py").write_text("x = 1\n", "utf-8")
    with pytest.raises(
        TrainauditError, match=r"^how.py defines neither build_model nor make_data, make_loss or make_optimizer\."
    ):
        made_in(work, spec="how.py")


def test_the_seed_is_the_plans(work: Path) -> None:
    first, again, other = (made_in(work, SPEC, seed=seed).train[0].args[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_file_is_a_target(work: Path) -> None:
    from tests.probe.trainee.made import NET

    (work / "net.py").write_text(NET + SPEC, "utf-8")
    [target] = expand_targets(["net.py"], read_settings(isolated=True), named=True, force_exclude=False)
    assert target.spec == "net.py:build_model"


def test_the_graph_gets_the_sizes_of_the_data(work: Path) -> None:
    made_in(work, SPEC)
    target = with_inputs_of_data(Target("net.py:build_model"), ProbePlan())
    assert [str(item) for item in target.inputs] == ["float32[12,6]"]


def test_declared_inputs_stay(work: Path) -> None:
    from trainaudit.load.target import parse_inputs

    made_in(work, SPEC)
    target = Target("net.py:build_model", inputs=parse_inputs(["float32[3,6]"]))
    assert with_inputs_of_data(target, ProbePlan()) is target


# --- settings ------------------------------------------------------------------------------------------------------------


def test_the_settings_say_how_a_target_is_probed(work: Path) -> None:
    made_in(work, SPEC)
    (work / "trainaudit.toml").write_text(
        '[targets.small]\nmodel = "net.py:build_model"\ndata = "net.py:make_dataset"\nloss = "net.py:make_loss"\n'
        'optimizer = "adamw"\nlr = 0.125\nbatch-size = 24\ncausal = true\nseed = 4\n',
        "utf-8",
    )
    settings = read_settings()
    [target] = expand_targets(["small"], settings, named=True, force_exclude=False)
    plan = plan_for(target, settings, {"batch_size": None, "seed": 5})
    assert (plan.data, plan.loss, plan.optimizer) == ("net.py:make_dataset", "net.py:make_loss", "adamw")
    assert (plan.learning_rate, plan.batch_size, plan.is_causal, plan.seed) == (0.125, 24, True, 5)
    trainee = make_trainee(target, plan, None)
    assert [batch.size for batch in trainee.train] == [24, 24]
    assert trainee.make_optimizer(trainee.model).param_groups[0]["lr"] == 0.125


def test_paths_of_the_settings_are_beside_their_file(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "inner").mkdir()
    (work / "trainaudit.toml").write_text(
        '[targets.small]\nmodel = "net.py:build_model"\ndata = "data/train.npz"\nspec = "how.py"\noptimizer = "lib.py:make"\n',
        "utf-8",
    )
    monkeypatch.chdir(work / "inner")
    assert read_settings().named["small"].probe == {
        "data": "../data/train.npz",
        "spec": "../how.py",
        "optimizer": "../lib.py:make",
    }


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("lr = 0", "targets.small.lr is 0, which is too small."),
        ('lr = "fast"', "targets.small.lr is not a number."),
        ("batch-size = 1.5", "targets.small.batch-size is not a whole number."),
        ('causal = "yes"', "targets.small.causal is neither true nor false."),
        ("data = 3", "targets.small.data is not a text."),
        ('optimiser = "sgd"', '"optimiser" is not a key of targets.small.'),
    ],
)
def test_settings_that_say_nothing(work: Path, line: str, what: str) -> None:
    (work / "trainaudit.toml").write_text(f'[targets.small]\nmodel = "net.py:build_model"\n{line}\n', "utf-8")
    with pytest.raises(TrainauditError) as refused:
        read_settings()
    assert refused.value.what == f"trainaudit.toml: {what}"
