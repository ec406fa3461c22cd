"""Naming targets: kinds, inputs, arguments, the settings' own names. Nothing here needs torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from trainaudit.cli import main
from trainaudit.demo import build
from trainaudit.errors import TrainauditError
from trainaudit.load.target import DTYPES, InputSpec, Kind, kind_of, parse_arguments, parse_input, parse_inputs
from trainaudit.settings import Settings, read_settings, with_flags
from trainaudit.targets import COMMANDS, expand_targets


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build(tmp_path_factory.mktemp("demo"))[0].read_bytes()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("m.onnx", Kind.ONNX),
        ("m.ONNX", Kind.ONNX),
        ("model", Kind.ONNX),
        ("dir/m.pt2", Kind.PROGRAM),
        ("m.safetensors", Kind.SAFETENSORS),
        ("model.safetensors.index.json", Kind.SAFETENSORS),
        ("m.pt", Kind.CHECKPOINT),
        ("m.pth", Kind.CHECKPOINT),
        ("pytorch_model.bin", Kind.CHECKPOINT),
        ("last.ckpt", Kind.CHECKPOINT),
        ("pkg.mod:attr", Kind.PYTHON),
        ("mod:Outer.inner", Kind.PYTHON),
        ("path/file.py:build", Kind.PYTHON),
        (r"C:\proj\net.py:build", Kind.PYTHON),
        ("C:/proj/net.py:build", Kind.PYTHON),
        (r"C:\models\m.onnx", Kind.ONNX),
        ("C:model.onnx", Kind.ONNX),
        (r"C:\models\m", Kind.ONNX),
        ("a:b:c.onnx", Kind.ONNX),
        ("a b:c", Kind.ONNX),
        ("pkg.mod:", Kind.ONNX),
        (":attr", Kind.ONNX),
        ("pkg/mod:attr", Kind.ONNX),
        ("hf:folder", Kind.CONFIG),
        (r"hf:C:\folder", Kind.CONFIG),
    ],
)
def test_kinds(spec: str, kind: Kind) -> None:
    assert kind_of(spec) is kind


def test_what_is_there_decides_where_the_name_does_not(work: Path, model: bytes) -> None:
    Path("net:v2").write_bytes(model)
    assert kind_of("net:v2") is Kind.ONNX
    assert run("net:v2", "--exit-zero").exit_code == 0
    Path("folder").mkdir()
    assert kind_of("folder") is Kind.ONNX
    Path("folder/config.json").write_text("{}")
    assert kind_of("folder") is Kind.CONFIG


@given(
    name=st.from_regex(r"[A-Za-z_]\w{0,8}", fullmatch=True) | st.just(""),
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(1, 30), max_size=5).map(tuple),
)
def test_an_input_reads_as_it_is_written(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    spec = InputSpec(name, dtype, shape)
    assert parse_input(str(spec)) == spec
    assert parse_input(f" {spec} ".replace(",", " , ")) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8,3,224,224", "is no input. Write it as --input 'float32[8,3,224,224]'"),
        ("float32", "is no input"),
        ("float32[2,,3]", "is no input"),
        ("float32[-2]", "is no input"),
        ("float32[2]x", "is no input"),
        ("a b=float32[2]", "is no input"),
        ("", "is no input"),
        ("flaot32[2]", 'names the type flaot32, which is not known. Did you mean "float32"?'),
        ("float32[0]", "holds 0 values"),
        ("float32[99999,99999]", "holds 9999800001 values"),
        ("float32[" + "9" * 5_000 + "]", "is no input"),
    ],
)
def test_a_bad_input_shows_how_it_is_written(text: str, words: str) -> None:
    with pytest.raises(TrainauditError) as caught:
        parse_input(text)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


def test_positional_inputs_come_before_named_ones() -> None:
    found = parse_inputs(["b=float32[2]", "int64[3]", "a=bool[1]", "float32[4]"])
    assert [str(item) for item in found] == ["int64[3]", "float32[4]", "b=float32[2]", "a=bool[1]"]
    with pytest.raises(TrainauditError, match='The input "b" is given twice'):
        parse_inputs(["b=float32[2]", "b=float32[3]"])


def test_arguments_are_typed_literals() -> None:
    found = parse_arguments(
        ["a=3", "b=1e-3", "c=true", "d=None", "e=[1, 2]", "f=relu", "g='3'", "h=a=b", "i=", "j=__import__('os')"]
    )
    assert found == {
        "a": 3, "b": 1e-3, "c": True, "d": None, "e": [1, 2], "f": "relu", "g": "3", "h": "a=b", "i": "", "j": "__import__('os')",
    }  # fmt: skip
    for text in ("width", "=3", "a b=3", "3=3"):
        with pytest.raises(TrainauditError, match=r"is not KEY=VALUE\. Write -k width=64"):
            parse_arguments([text])


# --- named in the settings -----------------------------------------------------------------------------------------------


def settings_of(work: Path, text: str) -> Settings:
    (work / "trainaudit.toml").write_text(text, "utf-8")
    return read_settings(work)


def test_a_target_has_a_table_of_its_own(work: Path) -> None:
    settings = settings_of(
        work,
        """
        [targets.small]
        model = "net.py:Net"
        input = { x = "float32[2,3]", ids = "int64[2,8]" }
        loss = "mse"
        arguments = { width = 64, act = "relu" }
        [targets.plain]
        model = "pkg.mod:build"
        input = ["float32[2,3]", "float32[2]"]
        [targets]
        teacher = "models/teacher.onnx"
        config = "hf:conf"
        """,
    )
    small, plain, teacher, config = settings.named.values()
    assert (small.spec, small.name, small.loss) == ("net.py:Net", "small", "mse")
    assert small.arguments == {"width": 64, "act": "relu"}
    assert [str(item) for item in small.inputs] == ["x=float32[2,3]", "ids=int64[2,8]"]
    assert (plain.spec, [str(item) for item in plain.inputs]) == ("pkg.mod:build", ["float32[2,3]", "float32[2]"])
    assert teacher.spec == "models/teacher.onnx"
    assert config.spec == "hf:conf"
    assert {one.root for one in settings.named.values()} == {str(work)}


def test_paths_in_targets_are_relative_to_the_file(work: Path) -> None:
    settings_of(work, 'targets = { a = "net.py:Net", b = "pkg.mod:f", c = "hf:conf", d = "m.pt" }')
    named = read_settings(work / "deep").named
    assert [one.spec for one in named.values()] == ["../net.py:Net", "pkg.mod:f", "hf:../conf", "../m.pt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[targets.a]\nmodle = 'm.onnx'", '"modle" is not a key of targets.a. Did you mean "model"?'),
        ("[targets.a]\nloss = 'mse'", 'targets.a has no model. Write model = "models/net.onnx"'),
        ("[targets.a]\nmodel = 3", "targets.a.model is not a text."),
        ("[targets.a]\nmodel = 'm'\nloss = 'mes'", 'targets.a.loss is "mes", which is not known. Did you mean "mse"?'),
        ("[targets.a]\nmodel = 'm'\ninput = 3", "targets.a.input is neither a text nor a table."),
        ("[targets.a]\nmodel = 'm'\ninput = '8,3'", 'targets.a.input: The input "8,3" is no input. Write it as'),
        ("[targets.a]\nmodel = 'm'\ninput = { x = 3 }", "targets.a.input.x is not a text."),
        ("[targets.a]\nmodel = 'm'\ninput = [3]", "targets.a.input is not a text."),
        (
            "[targets.a]\nmodel = 'm'\narguments = [3]",
            "targets.a.arguments is not a table. Write arguments = { width = 64 }.",
        ),
        ("targets = { a = 3 }", "targets.a is neither a table nor a text."),
        ("targets = { 'a/b' = 'm' }", 'The target name "a/b" cannot be typed.'),
        ("targets = 3", "targets is not a list of texts."),
    ],
)
def test_refusals_of_targets_name_the_key(text: str, words: str, work: Path) -> None:
    with pytest.raises(TrainauditError) as caught:
        settings_of(work, text)
    assert words in str(caught.value)
    assert "trainaudit.toml" in str(caught.value)


def test_the_command_line_counts_for_named_targets_too(work: Path) -> None:
    settings = settings_of(
        work, "[targets.a]\nmodel = 'net.py:Net'\nloss = 'mse'\ninput = 'float32[1]'\narguments = { w = 1, d = 2 }"
    )
    flagged = with_flags(settings, loss="l1", inputs=["float32[9]"], arguments=["w=5"])
    (target,) = expand_targets([], flagged, named=False, force_exclude=False)
    assert (target.loss, flagged.loss) == (None, "l1")
    assert [str(item) for item in target.inputs] == ["float32[9]"]
    assert target.arguments == {"w": 5, "d": 2}


def test_a_bare_call_audits_all_named_targets_and_a_name_one(work: Path, model: bytes) -> None:
    Path("models").mkdir()
    for name in ("a", "b"):
        Path(f"models/{name}.onnx").write_bytes(model)
    settings_of(
        work,
        '[targets.first]\nmodel = "models/a.onnx"\nloss = "cross-entropy"\n'
        '[targets.all]\nmodel = "models/*.onnx"\n[targets.second]\nmodel = "models/b.onnx"\n',
    )
    record = json.loads(run("--output-format", "json").stdout)
    assert [audit["target"] for audit in record["audits"]] == ["first", "models/a.onnx", "models/b.onnx", "second"]
    rules = [{finding["rule"] for finding in audit["findings"]} for audit in record["audits"]]
    assert ["double-softmax" in found for found in rules] == [True, False, False, False]  # its own loss alone
    assert [audit["model"]["file"] for audit in record["audits"]] == [
        "models/a.onnx",
        "models/a.onnx",
        "models/b.onnx",
        "models/b.onnx",
    ]
    record = json.loads(run("second", "--output-format", "json").stdout)
    assert [audit["target"] for audit in record["audits"]] == ["second"]
    sarif = json.loads(run("second", "--output-format", "sarif").stdout)
    places = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in sarif["runs"][0]["results"]
    }
    assert places == {"models/b.onnx"}


def test_a_misspelt_name_suggests_one(work: Path) -> None:
    settings_of(work, '[targets.teacher]\nmodel = "m.onnx"\n')
    result = run("techer")
    assert result.exit_code == 2
    assert 'techer is neither a file nor a target of the settings. Did you mean "teacher"?' in result.stderr
    assert "Known targets: teacher." in run("xyz").stderr
    assert "xyz.onnx: does not exist" in " ".join(run("xyz.onnx").stdout.split())


def test_a_misspelt_command_suggests_one(work: Path) -> None:
    assert sorted(COMMANDS) == sorted(main.commands)
    result = run("prob", "m.onnx")
    assert result.exit_code == 2
    assert 'prob is neither a file nor a command. Did you mean "probe"?' in result.stderr
    assert "neither a file" not in run("resnet").stdout + run("resnet").stderr


def test_an_ignore_names_a_target_by_its_name_or_its_file(work: Path, model: bytes) -> None:
    Path("m.onnx").write_bytes(model)
    for name in ("mine", "m.onnx"):
        settings_of(
            work,
            f'[targets.mine]\nmodel = "m.onnx"\n[[ignore]]\nrule = "ALL"\ntarget = "{name}"\nreason = "test"\n',
        )
        assert run("mine").exit_code == 0


def test_python_files_are_imported_only_where_they_are_named(work: Path, model: bytes) -> None:
    Path("m.onnx").write_bytes(model)
    Path("canary.py").write_text("import pathlib; pathlib.Path('imported').touch()\n")
    run("*", "--exit-zero")
    run("**/*", "--exit-zero")
    result = run("canary.py")
    assert result.exit_code == 2
    assert (
        "canary.py is Python code and names no model. Name a module or a function in it: canary.py:NAME; or define build_model in it."
        in result.stderr
    )
    assert not Path("imported").exists()


def test_without_torch_one_sentence_says_how_to_get_it(work: Path) -> None:
    Path("net.py").write_text("import torch\n")
    Path("w.pt").write_bytes(b"PK\x03\x04")
    program = """
import sys
sys.modules["torch"] = None
from trainaudit.cli import main
main([sys.argv[1], "--isolated"])
"""
    for target in ("net.py:Net", "w.pt", "hf:folder", "m.pt2"):
        done = subprocess.run([sys.executable, "-c", program, target], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, done.stderr
        said = " ".join((done.stdout + done.stderr).split())
        assert "needs torch, which is not installed. Install it: pip install 'trainaudit[torch]'." in said
        assert "Traceback" not in said


def test_many_kinds_at_once_and_in_parallel(work: Path, model: bytes) -> None:
    """ONNX and safetensors, one of them broken; the order is that of the targets."""
    np = pytest.importorskip("numpy")
    from tests.load.test_safetensors import save

    Path("a.onnx").write_bytes(model)
    save(Path("b.safetensors"), {"fc.weight": np.ones((4, 3), np.float32)})
    Path("c.safetensors").write_bytes(b"\1" * 100)
    for jobs in ("1", "2"):
        result = run("a.onnx", "*.safetensors", "--jobs", jobs, "--output-format", "json")
        assert result.exit_code == 2
        record = json.loads(result.stdout)
        assert [audit["target"] for audit in record["audits"]] == ["a.onnx", "b.safetensors"]
        assert [failure["target"] for failure in record["failures"]] == ["c.safetensors"]


def test_what_is_not_used_is_said(work: Path, model: bytes) -> None:
    Path("a.onnx").write_bytes(model)
    for words in (("--input", "float32[2,3]"), ("-k", "width=3")):
        said = " ".join(run("a.onnx", *words).stdout.split())
        assert (
            "--input and -k (input and arguments in the settings) are for targets that are called, and were not used."
            in said
        )
    assert "were not used" not in run("a.onnx").stdout


def test_weights_alone_are_audited_without_torch(work: Path) -> None:
    np = pytest.importorskip("numpy")
    from tests.load.test_safetensors import save

    weights = np.random.default_rng(0).normal(0, 0.02, (16, 8)).astype(np.float32)
    weights[3] = np.nan
    save(Path("w.safetensors"), {"fc1.weight": np.full((8, 8), 0.1, np.float32), "fc2.weight": weights})
    program = "import sys\nfrom trainaudit.cli import main\ntry:\n    main(['w.safetensors', '--isolated', '--output-format', 'json'])\n"
    program += "finally:\n    print('TORCH' if 'torch' in sys.modules else '', file=sys.stderr)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "TORCH" not in done.stderr
    (audit,) = json.loads(done.stdout)["audits"]
    assert {"symmetric-init", "non-finite-weights"} <= {finding["rule"] for finding in audit["findings"]}
    assert audit["evidence"] == ["weights"]
    assert audit["model"]["capture"].startswith("weights alone")
    states = {outcome["rule"]: outcome for outcome in audit["outcomes"]}
    for rule in ("hidden-softmax", "dead-branch", "linear-stack", "predicted-vanishing-gradient", "ignored-input"):
        assert states[rule]["state"] == "not-measured", rule
        assert states[rule]["reason"] == "only weights are known, and no graph"
