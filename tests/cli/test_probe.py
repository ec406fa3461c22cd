"""`trainaudit probe` from the command line to the record: a small network with its own data, trained for a moment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.models.clocks import AMPLE
from trainaudit import progress
from trainaudit.cli import main
from trainaudit.trace.trace_file import read_trace

torch = pytest.importorskip("torch")

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, softmax=True):
        super().__init__()
        self.first, self.second, self.softmax = nn.Linear(12, 16), nn.Linear(16, 4), softmax

    def forward(self, x):
        x = self.second(torch.relu(self.first(x)))
        return x.softmax(-1) if self.softmax else x

def batches():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 12, generator=generator)
    y = (x @ torch.randn(12, 4, generator=generator)).argmax(-1)
    return [(x[i:i + 16], y[i:i + 16]) for i in range(0, 96, 16)]

class Talking(Net):
    def forward(self, x):
        print("forward runs")
        import warnings
        warnings.warn("this is slow")
        return super().forward(x)

def empty():
    return []

def broken():
    raise RuntimeError("the disk is full")
"""
FLAGS = (
    "--isolated", "--data", "net.py:batches", "--loss", "cross-entropy", "--optimizer", "sgd", "--lr", "0.1", "--steps", "12",
    "--seed", "5", "--repeats", "2", "--time-budget", "10000", "--device", "cpu", "--experiments", "target-shape,same-seed",
)  # fmt: skip


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    (folder / "net.py").write_text(NET)
    return folder


@pytest.fixture
def work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def probed(folder: Path) -> Result:
    """One probe that every test reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run(
            "probe", "net.py:Net", *FLAGS, "--trace", "trace.json", "--report", "audit.json", "--report", "audit.html"
        )


def record(path: Path) -> Any:
    return json.loads(path.read_text())


def test_findings_decide_the_exit_code(probed: Result) -> None:
    assert probed.exit_code == 1, probed.output
    assert "error[double-softmax]" in probed.stdout


def test_the_terminal_says_what_was_run(probed: Result) -> None:
    said = " ".join(probed.stdout.split())
    assert "probe: 12 of 12 steps of 16 examples, cpu" in said
    assert "float32, seed 5" in said
    assert "SGD" in said
    assert "target shape output [16, 4] against target [16]" in said
    assert "same seed two runs from one seed gave the same" in said
    code = {line for line in probed.stdout.splitlines() if line.startswith(" " * 12)}  # code is not wrapped
    assert [line for line in probed.stdout.splitlines() if len(line) > 80 and line not in code] == []
    assert "\x1b" not in probed.output


def test_nothing_of_the_progress_is_written_where_nobody_watches(probed: Result) -> None:
    assert probed.stderr == ""


def test_the_record_holds_the_trace_with_settings_and_seeds(probed: Result, work: Path) -> None:
    (audit,) = record(work / "audit.json")["audits"]
    assert audit["evidence"] == ["structure", "weights", "training"]
    trace = audit["trace"]
    assert {name: trace["settings"][name] for name in ("data", "loss", "optimizer", "learning_rate", "steps", "seed", "repeats")} == {
        "data": "real", "loss": "cross-entropy", "optimizer": "SGD", "learning_rate": 0.1, "steps": 12, "seed": 5, "repeats": 2,
    }  # fmt: skip
    assert set(trace["experiments"]) == {"target-shape", "same-seed"}
    assert trace["experiments"]["same-seed"]["seeds"]
    assert len(trace["run"]["loss"]) == 12
    assert trace["data"]["kind"] == "real"
    assert trace["environment"]["torch"] == torch.__version__
    rows = {row["name"]: row for row in audit["layers"]}
    assert rows["first"]["measured_rms"] > 0
    assert rows["first"]["predicted_rms"] > 0


def test_the_trace_file_is_the_records_trace(probed: Result, work: Path) -> None:
    assert repr(read_trace((work / "trace.json").read_text(), "t")) == repr(
        read_trace((work / "audit.json").read_text(), "a")
    )


def test_the_page_shows_the_probe(probed: Result, work: Path) -> None:
    page = (work / "audit.html").read_text()
    assert ">The probe</h2>" in page
    assert "Loss of the run" in page
    assert "Activations, rms: measured from" in page
    assert "; predicted" in page


@pytest.mark.parametrize("saved", ["trace.json", "audit.json"])
def test_a_saved_trace_is_judged_again_to_the_same_findings(probed: Result, work: Path, saved: str) -> None:
    run("probe", "net.py:Net", "--isolated", "--from-trace", saved, "--report", "again.json")
    (first,), (again,) = record(work / "audit.json")["audits"], record(work / "again.json")["audits"]
    for field in ("findings", "outcomes", "evidence", "trace"):
        assert again[field] == first[field], field
    assert {**again["facts"], "model.loss": 0} == {**first["facts"], "model.loss": 0}


def test_measured_facts_can_be_written_and_judged(probed: Result, work: Path) -> None:
    assert run("measure", "net.py:Net", "--isolated", "--from-trace", "trace.json", "-o", "facts.json").exit_code == 0
    judged = run("judge", "facts.json", "--isolated", "--report", "judged.json")
    assert judged.exit_code == 1
    (first,), (again,) = record(work / "audit.json")["audits"], record(work / "judged.json")["audits"]
    assert again["outcomes"] == first["outcomes"]
    assert again["trace"] == first["trace"]


def test_a_rule_of_ones_own_is_held_against_a_saved_trace(probed: Result, work: Path) -> None:
    rule = (Path(__file__).parents[2] / "rules" / "output" / "double-softmax.toml").read_text()
    (work / "own" / "team").mkdir(parents=True, exist_ok=True)
    text = (
        rule[: rule.index("applies_to")] if "applies_to" in rule[: rule.index("when")] else rule[: rule.index("when")]
    )
    text = text.replace('"double-softmax"', '"few-steps"').replace('subject = "output"', 'subject = "training"')
    text += 'when = "training.step_count < limit"\nmessage = "Only {training.step_count} were made."\nwhy = "w"\n'
    text += '[thresholds.limit]\nvalue = 100\nunit = "steps"\nbecause = "b"\n'
    (work / "own" / "team" / "few-steps.toml").write_text(text)
    result = run(
        "probe", "net.py:Net", "--isolated", "--from-trace", "trace.json", "--rules", "own", "--select", "few-steps"
    )
    assert "Only 12 were made." in " ".join(result.stdout.split()), result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "net.py:nothing"], "net.py has no nothing"),
        (["--data", "net.py:empty"], "empty"),
        (["--data", "net.py:broken"], "the disk is full"),
        (["--data", "nope.npz"], "nope.npz does not exist"),
        (["--loss", "net.py:nothing"], "net.py has no nothing"),
        (["--optimizer", "adamx"], 'Did you mean "adamax"?'),
        (["--spec", "nope.py"], "nope.py does not exist"),
        (["--step", "net.py:nothing"], "net.py has no nothing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(work: Path, arguments: list[str], says: str) -> None:
    result = run("probe", "net.py:Net", "--isolated", "--time-budget", "10000", *arguments)
    said = " ".join(result.output.split())
    assert result.exit_code == 2, said
    assert says in said
    assert "Traceback" not in said
    assert "broke down" not in said


def test_one_target_that_fails_does_not_keep_the_others_from_being_probed(work: Path) -> None:
    result = run("probe", "net.py:Nope", "net.py:Net", *FLAGS, "--output-format", "json")
    document = json.loads(result.stdout)
    assert result.exit_code == 2
    assert [failure["target"] for failure in document["failures"]] == ["net.py:Nope"]
    assert document["audits"][0]["trace"]


def test_what_the_users_code_prints_does_not_mix_with_the_output(work: Path) -> None:
    result = run("probe", "net.py:Talking", *FLAGS, "--output-format", "json")
    json.loads(result.stdout)
    assert "forward runs" in result.stderr
    assert "this is slow" not in result.stderr


def test_ctrl_c_ends_with_what_was_measured_so_far(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def shown(*, quiet: bool) -> Iterator[progress.Progress]:
        def advance(stage: str, share: float) -> None:
            if stage == "training" and share > 0.5:
                raise KeyboardInterrupt

        yield advance

    monkeypatch.setattr(progress, "shown", shown)
    result = run("probe", "net.py:Net", "net.py:Net", *FLAGS, "--report", "part.json")
    (audit,) = record(work / "part.json")["audits"]
    assert result.exit_code == 1
    assert audit["trace"]["stopped"] == "interrupted"
    assert 0 < len(audit["trace"]["run"]["loss"]) < 12
    assert "ended by the user" in " ".join(result.stdout.split())


def test_progress_is_shown_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.shown(quiet=False) as advance:
        advance("training", 0.5)
    assert "training" in capsys.readouterr().err
    for quiet, environment in ((True, ""), (False, "1")):
        monkeypatch.setenv("CI", environment)
        with progress.shown(quiet=quiet) as advance:
            advance("training", 0.5)
        assert capsys.readouterr().err == ""


def test_a_module_is_probed_from_python_with_ones_own_objects() -> None:
    import trainaudit

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = torch.utils.data.TensorDataset(torch.randn(64, 6), torch.randn(64, 1))
    audit = trainaudit.probe_model(
        model, data=torch.utils.data.DataLoader(data, 16), loss=torch.nn.MSELoss(), optimizer=lambda params: torch.optim.SGD(params, 0.1),
        steps=6, time_budget=AMPLE, experiments=("target-shape",),
    )  # fmt: skip
    assert audit.trace is not None
    assert (audit.trace.settings.loss, audit.trace.settings.optimizer, audit.trace.settings.data) == (
        "mse",
        "SGD",
        "real",
    )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(trainaudit.TrainauditError, match="takes no argument step_count"):
        trainaudit.probe_model(model, step_count=3)


def test_a_trace_of_another_model_is_refused(probed: Result, work: Path) -> None:
    from trainaudit.demo import build

    build(work)
    for command in (["probe"], ["measure"]):
        result = run(*command, "repaired.onnx", "--isolated", "--from-trace", "trace.json")
        assert result.exit_code == 2
        assert "The trace is of another model" in " ".join(result.output.split())


def test_judging_a_saved_trace_of_an_onnx_file_loads_neither_torch_nor_onnxruntime(work: Path) -> None:
    from trainaudit.demo import build

    pytest.importorskip("onnxruntime")
    build(work)
    run("probe", "repaired.onnx", "--isolated", "--forward-only", "--steps", "1", "--trace", "forward.json")
    program = (
        "import sys; from trainaudit.cli import main\n"
        "try: main(['probe', 'repaired.onnx', '--isolated', '--from-trace', 'forward.json', '--exit-zero'])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print('LOADED', *(name for name in ('torch', 'onnxruntime') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert "probe: 1 of 1 batch of 32 examples" in done.stdout
    assert done.stdout.strip().endswith("LOADED")
