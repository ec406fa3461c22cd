"""The options of `trainaudit probe` and every refusal, with nothing trained: what is asked for reaches the plan, and what is wrong is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.report import trace_samples
from trainaudit import probing
from trainaudit.cli import main
from trainaudit.demo import build
from trainaudit.errors import TrainauditError
from trainaudit.load.target import Target
from trainaudit.probe.plan import ProbePlan
from trainaudit.settings import Settings, read_settings
from trainaudit.trace.trace_file import write_trace


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["probe", *arguments])


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder with the two demo models."""
    build(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Target, ProbePlan, Settings]]:
    """What would have been probed; nothing is."""
    seen: list[tuple[Target, ProbePlan, Settings]] = []

    def probe_target(target: Target, plan: ProbePlan, settings: Settings, *_more: object) -> Any:
        seen.append((target, plan, settings))
        raise TrainauditError("stopped", "is not probed here.")

    monkeypatch.setattr(probing, "probe_target", probe_target)
    return seen


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--data", "pkg.data:batches"], "data", "pkg.data:batches"),
        (["--validation", "held.npz"], "validation", "held.npz"),
        (["--loss", "mse"], "loss", "mse"),
        (["--loss", "pkg.losses:focal"], "loss", "pkg.losses:focal"),
        (["--optimizer", "sgd"], "optimizer", "sgd"),
        (["--lr", "0.01"], "learning_rate", 0.01),
        (["--step", "pkg.train:step"], "step", "pkg.train:step"),
        (["--spec", "spec.py"], "spec", "spec.py"),
        (["--steps", "30"], "steps", 30),
        (["--batch-size", "8"], "batch_size", 8),
        (["--device", "cpu"], "device", "cpu"),
        (["--precision", "bf16"], "precision", "bf16"),
        (["--seed", "7"], "seed", 7),
        (["--repeats", "2"], "repeats", 2),
        (["--time-budget", "12.5"], "time_budget", 12.5),
        (["--causal"], "is_causal", True),
        (["--experiments", "same-seed,target-shape", "--experiments", "same-seed"], "experiments", ("same-seed", "target-shape")),
        (["--forward-only"], "forward_only", True),
    ],
)  # fmt: skip
def test_every_option_reaches_the_plan(
    work: Path, asked: list[tuple[Target, ProbePlan, Settings]], arguments: list[str], field: str, value: object
) -> None:
    assert run("faulty.onnx", "--isolated", *arguments).exit_code == 2
    ((_, plan, _),) = asked
    assert getattr(plan, field) == value
    assert {name for name in plan.__dataclass_fields__ if getattr(plan, name) != getattr(ProbePlan(), name)} == {field}


def test_without_options_the_plan_is_the_default_one(
    work: Path, asked: list[tuple[Target, ProbePlan, Settings]]
) -> None:
    run("faulty.onnx", "--isolated")
    assert asked[0][1] == ProbePlan()


def test_inputs_arguments_and_selection_are_those_of_check(
    work: Path, asked: list[tuple[Target, ProbePlan, Settings]]
) -> None:
    run(
        "pkg.mod:Net",
        "--isolated",
        "-k",
        "width=8",
        "--input",
        "float32[2,3]",
        "--select",
        "training",
        "--loss",
        "pkg.losses:focal",
    )
    ((target, _, settings),) = asked
    assert target.arguments == {"width": 8}
    assert [str(spec) for spec in target.inputs] == ["float32[2,3]"]
    assert settings.select == ("training",)
    assert settings.loss is None  # an import string says nothing to rules on the file


def test_settings_say_how_a_named_target_is_probed_and_the_command_line_counts_more(
    work: Path, asked: list[tuple[Target, ProbePlan, Settings]]
) -> None:
    Path("trainaudit.toml").write_text(
        '[targets.small]\nmodel = "faulty.onnx"\nloss = "cross-entropy"\ndata = "pkg.data:batches"\noptimizer = "sgd"\n'
        "lr = 0.1\nsteps = 50\nseed = 3\ntime-budget = 20\n"
    )
    assert read_settings().named["small"].probe
    run("small", "--steps", "9")
    plan = asked[0][1]
    assert (plan.loss, plan.data, plan.optimizer, plan.learning_rate) == (
        "cross-entropy",
        "pkg.data:batches",
        "sgd",
        0.1,
    )
    assert (plan.steps, plan.seed, plan.time_budget) == (9, 3, 20)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "No model was named"),
        (["nope.onnx"], "does not exist"),
        (["faulty.onnx", "--loss", "crossentropy"], 'Did you mean "cross-entropy"?'),
        (["faulty.onnx", "--experiments", "same-sed"], 'Did you mean "same-seed"?'),
        (["faulty.onnx", "--lr", "0"], "is not in the range"),
        (["faulty.onnx", "--lr", "nan"], "learning rate of a probe is nan"),
        (["faulty.onnx", "--time-budget", "nan"], "time budget of a probe is nan"),
        (["faulty.onnx", "--time-budget", "0"], "is not in the range"),
        (["faulty.onnx", "--steps", "0"], "is not in the range"),
        (["faulty.onnx", "--batch-size", "0"], "is not in the range"),
        (["faulty.onnx", "--seed", "-1"], "is not in the range"),
        (["faulty.onnx", "--repeats", "0"], "is not in the range"),
        (["faulty.onnx", "--device", "tpu"], "is not one of"),
        (["faulty.onnx", "--precision", "fp8"], "is not one of"),
        (["faulty.onnx", "repaired.onnx", "--trace", "t.json"], "2 models cannot share one trace"),
        (["faulty.onnx", "--from-trace", "nope.json"], "There is no file nope.json"),
        (["faulty.onnx", "--from-trace", "faulty.onnx"], "cannot be read"),
        (["faulty.onnx", "--from-trace", "half.json"], "half.json is not JSON"),
        (["faulty.onnx", "--report", "x.docx"], "does not say which kind of report"),
        (["faulty.onnx", "--baseline", "nope.json"], "nope.json"),
        (["pkg.mod:Net", "--forward-only"], "no ONNX file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(work: Path, arguments: list[str], says: str) -> None:
    Path("half.json").write_text(write_trace(trace_samples.trace(), "m")[:4000])
    result = run(*arguments, "--isolated")
    said = " ".join(result.output.split())
    assert result.exit_code == 2, said
    assert says in said
    assert "Traceback" not in said
    assert "broke down" not in said
    assert not Path("t.json").exists()


def test_ctrl_c_before_anything_is_known_ends_with_130(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probing, "open_and_measure", interrupted)
    assert run("faulty.onnx", "--isolated", "--forward-only").exit_code == 130


def test_ctrl_c_before_the_first_step_still_reports_what_the_file_tells(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probing, "_forward", interrupted)
    result = run("faulty.onnx", "repaired.onnx", "--isolated", "--forward-only", "--loss", "cross-entropy")
    assert result.exit_code == 1
    assert "error[double-softmax]" in result.stdout
    said = " ".join(result.stdout.split())
    assert "Interrupted before the probe measured anything" in said
    assert "1 more of the targets were not probed" in said


def test_the_help_names_every_option() -> None:
    said = run("--help").stdout
    for option in (
        "--data", "--validation", "--loss", "--optimizer", "--lr", "--step", "--spec", "--steps", "--batch-size", "--device", "--precision", "--seed",
        "--repeats", "--time-budget", "--causal", "--experiments", "--forward-only", "--trace", "--from-trace", "--input", "-k", "--select", "--ignore",
        "--report", "--output-format", "--baseline", "--fail-on", "--quiet",
    ):  # fmt: skip
        assert option in said
