"""What a user types and sees: exit codes, formats, reports, settings, and one clear sentence for every broken file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from trainaudit.cli import main
from trainaudit.demo import build


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    build(folder)
    return folder


@pytest.fixture
def work(tmp_path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder that holds the two demo models."""
    for name in ("faulty.onnx", "repaired.onnx"):
        (tmp_path / name).write_bytes((demo / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_a_faulty_model_exits_with_one_and_names_layers(work: Path) -> None:
    result = run("faulty.onnx", "--loss", "cross-entropy")
    assert result.exit_code == 1
    for words in (
        "error[double-softmax]",
        "error[symmetric-init]",
        "classifier.fc1",
        "warning[linear-stack]",
        "100 %",
        "Found ",
    ):
        assert words in result.stdout
    record = json.loads(run("faulty.onnx", "--loss", "cross-entropy", "--output-format", "json").stdout)
    code = {line.strip() for finding in record["audits"][0]["findings"] for line in finding["fix"]["code"].splitlines()}
    # code is for copying and stays as it is; everything else keeps to 80 columns
    assert [line for line in result.stdout.splitlines() if len(line) > 80 and line.strip() not in code] == []
    assert "\x1b" not in result.stdout


def test_the_command_that_comes_next_can_be_copied(work: Path) -> None:
    path = str(work / "repaired.onnx")
    shown = "".join(run(path, "--loss", "cross-entropy").stdout.split())
    assert f"trainauditprobe{path}--losscross-entropy" in shown
    assert str(work) not in run(path, "--output-format", "json").stdout  # a record is passed on


def test_a_clean_model_exits_with_zero(work: Path) -> None:
    result = run("repaired.onnx", "--loss", "cross-entropy")
    assert result.exit_code == 0, result.stdout
    assert "double-softmax" not in result.stdout


def test_a_rule_that_needs_the_loss_is_not_run_rather_than_passed(work: Path) -> None:
    result = run("faulty.onnx", "-v")
    assert "error[double-softmax]" not in result.stdout
    assert "not run" in result.stdout
    assert "--loss NAME" in result.stdout


@pytest.mark.parametrize(("fail_on", "code"), [("error", 1), ("warning", 1), ("note", 1), ("never", 0)])
def test_fail_on(work: Path, fail_on: str, code: int) -> None:
    assert run("faulty.onnx", "--fail-on", fail_on).exit_code == code


def test_fail_on_error_lets_warnings_pass(work: Path) -> None:
    assert run("faulty.onnx", "--select", "linear-stack", "--fail-on", "error").exit_code == 0
    assert run("faulty.onnx", "--select", "linear-stack", "--fail-on", "warning").exit_code == 1


def test_exit_zero_does_not_hide_what_could_not_be_audited(work: Path) -> None:
    assert run("faulty.onnx", "--exit-zero").exit_code == 0
    Path("broken.onnx").write_bytes(b"")
    assert run("faulty.onnx", "broken.onnx", "--exit-zero").exit_code == 2


def test_one_broken_model_does_not_hide_the_findings_of_another(work: Path) -> None:
    Path("broken.onnx").write_bytes(b"")
    result = run("broken.onnx", "faulty.onnx")
    assert result.exit_code == 2
    assert "symmetric-init" in result.stdout
    assert "broken.onnx" in result.stdout + result.stderr


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_names_no_model(work: Path, path: str) -> None:
    result = run(path)
    assert result.exit_code == 2
    assert "An empty path names no model." in result.stderr


def test_json_is_the_record(work: Path) -> None:
    result = run("faulty.onnx", "--loss", "cross-entropy", "--output-format", "json")
    record = json.loads(result.stdout)
    assert record["format"] == 1
    (audit,) = record["audits"]
    assert len(audit["model"]["sha256"]) == 64
    assert {"double-softmax", "symmetric-init"} <= {finding["rule"] for finding in audit["findings"]}
    assert str(work) not in result.stdout


def test_many_reports_from_one_run(work: Path) -> None:
    result = run(
        "faulty.onnx",
        "repaired.onnx",
        *(word for suffix in ("html", "json", "sarif", "md", "xml") for word in ("--report", f"out/r.{suffix}")),
    )
    assert result.exit_code == 1
    assert Path("out/r.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    assert len(json.loads(Path("out/r.json").read_bytes())["audits"]) == 2
    assert json.loads(Path("out/r.sarif").read_bytes())["version"] == "2.1.0"
    assert "symmetric-init" in Path("out/r.md").read_text(encoding="utf-8")
    ElementTree.parse("out/r.xml")
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "r-models", "r.html", "r.json", "r.md", "r.sarif", "r.xml"
    ]  # fmt: skip
    assert sorted(path.name for path in Path("out/r-models").iterdir()) == ["faulty.onnx.html", "repaired.onnx.html"]


def test_a_comparison_is_a_report_too(work: Path) -> None:
    run("faulty.onnx", "--report", "a.json")
    run("repaired.onnx", "--report", "b.json")
    plain = run("diff", "a.json", "b.json")
    result = run("diff", "a.json", "b.json", "--report", "out/d.html", "--report", "out/d.md")
    assert (result.exit_code, result.output) == (plain.exit_code, plain.output)
    assert "faulty.onnx → repaired.onnx" in Path("out/d.html").read_text(encoding="utf-8")
    assert Path("out/d.md").read_text(encoding="utf-8").startswith("## trainaudit: ")
    refused = run("diff", "a.json", "b.json", "--report", "d.sarif")
    assert refused.exit_code == 2
    assert "no comparison of two records as sarif" in refused.stderr


def test_records_of_several_runs_are_one_report(work: Path) -> None:
    run("faulty.onnx", "--report", "a.json")
    run("repaired.onnx", "--report", "b.json", "--fail-on", "error")
    result = run("report", "a.json", "b.json", "--report", "both.html", "--report", "both.json")
    assert (result.exit_code, result.output) == (0, "")
    assert len(list(Path("both-models").iterdir())) == 2
    record = json.loads(Path("both.json").read_bytes())
    assert [audit["target"] for audit in record["audits"]] == ["faulty.onnx", "repaired.onnx"]
    assert "fail-on" not in record["settings"]
    assert "python" in record["environment"]
    assert "in 2 models" in run("report", "a.json", "b.json").output


@pytest.mark.parametrize("form", ["full", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown"])
def test_every_format_is_written_to_a_file_as_to_the_terminal(work: Path, form: str) -> None:
    shown = run("faulty.onnx", "--output-format", form)
    written = run("faulty.onnx", "--output-format", form, "-o", "out.txt", "--color", "always")
    assert shown.exit_code == written.exit_code == 1
    text = Path("out.txt").read_text(encoding="utf-8")
    assert written.stdout == ""
    assert "symmetric-init" in text
    assert "\x1b" not in text


def test_a_record_renders_again_without_the_model(work: Path) -> None:
    run("faulty.onnx", "--report", "audit.json")
    Path("faulty.onnx").unlink()
    assert run("report", "audit.json", "--report", "again.html").exit_code == 0
    assert "symmetric-init" in Path("again.html").read_text(encoding="utf-8")
    again = run("report", "audit.json")
    assert "symmetric-init" in again.stdout


def test_diff_tells_new_from_fixed(work: Path) -> None:
    run("faulty.onnx", "--report", "old.json")
    Path("faulty.onnx").write_bytes(Path("repaired.onnx").read_bytes())
    run("faulty.onnx", "--report", "new.json")
    better, worse = run("diff", "old.json", "new.json"), run("diff", "new.json", "old.json")
    assert better.exit_code == 0
    assert "fixed" in better.stdout.lower()
    assert worse.exit_code == 1
    assert "symmetric-init" in worse.stdout


def test_baseline(work: Path) -> None:
    assert run("faulty.onnx", "--write-baseline", "base.json").exit_code == 1
    assert run("faulty.onnx", "--baseline", "base.json").exit_code == 0
    assert run("faulty.onnx", "--baseline", "base.json", "--loss", "cross-entropy").exit_code == 1


def test_measure_and_judge_are_the_two_halves_of_check(work: Path) -> None:
    assert run("measure", "faulty.onnx", "--loss", "cross-entropy", "-o", "facts.json").exit_code == 0
    whole = json.loads(run("faulty.onnx", "--loss", "cross-entropy", "--output-format", "json").stdout)
    half = run("judge", "facts.json", "--output-format", "json")
    assert half.exit_code == 1
    assert json.loads(half.stdout)["audits"][0]["findings"] == whole["audits"][0]["findings"]


def test_settings_file(work: Path) -> None:
    Path("trainaudit.toml").write_text(
        'targets = ["*.onnx"]\nloss = "cross-entropy"\nexclude = ["repaired*"]\n'
        '[[ignore]]\nrule = "symmetric-init"\nreason = "a test of ignores"\n'
        '[[ignore]]\nrule = "tiny-epsilon"\nreason = "nothing of the kind is here"\n'
    )
    result = run()
    assert result.exit_code == 1
    assert "double-softmax" in result.stdout
    assert "error[symmetric-init]" not in result.stdout
    assert "1 ignored" in result.stdout
    assert "matched nothing" in result.stdout + result.stderr
    assert "repaired.onnx" not in result.stdout
    assert "error[symmetric-init]" in run("faulty.onnx", "--isolated").stdout


def test_an_ignore_without_a_reason_is_refused(work: Path) -> None:
    Path("trainaudit.toml").write_text('[[ignore]]\nrule = "symmetric-init"\n')
    result = run("faulty.onnx")
    assert result.exit_code == 2
    assert "reason" in result.stderr


def test_threshold_override(work: Path) -> None:
    assert "excessive-dropout" in run("faulty.onnx").stdout
    Path("trainaudit.toml").write_text('[thresholds]\n"excessive-dropout.limit" = 0.95\n')
    assert "excessive-dropout" not in run("faulty.onnx").stdout


def test_jobs_give_the_same_record(work: Path) -> None:
    one = json.loads(run("faulty.onnx", "repaired.onnx", "--output-format", "json").stdout)
    two = json.loads(run("faulty.onnx", "repaired.onnx", "--output-format", "json", "--jobs", "2").stdout)
    assert [audit["findings"] for audit in one["audits"]] == [audit["findings"] for audit in two["audits"]]


def test_color_is_on_when_forced_and_off_when_refused(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in run("faulty.onnx", "--color", "always").stdout
    assert "\x1b[" not in run("faulty.onnx").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("faulty.onnx").stdout
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("faulty.onnx").stdout


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("demo")
    assert result.exit_code == 0, result.stdout
    assert "symmetric-init" in result.stdout
    for name in ("faulty.html", "repaired.html"):
        assert f"trainaudit-demo/{name}" in result.stdout
        assert Path("trainaudit-demo", name).stat().st_size > 10_000


BAD_FILES = {
    "empty": b"",
    "random": bytes(range(256)) * 40,
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n",
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
}


@pytest.mark.parametrize("kind", [*BAD_FILES, "truncated", "zip", "missing", "folder"])
def test_a_broken_file_gets_one_sentence_and_exit_code_two(work: Path, kind: str) -> None:
    path = Path(f"{kind}.onnx")
    if kind in BAD_FILES:
        path.write_bytes(BAD_FILES[kind])
    elif kind == "truncated":
        path.write_bytes(Path("faulty.onnx").read_bytes()[:100_000])
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02.")
    elif kind == "folder":
        path.mkdir()
    result = run(str(path))
    said = result.stdout + result.stderr
    assert result.exit_code == 2, said
    assert "Traceback" not in said
    assert path.name in said
    if kind == "lfs":
        assert "git lfs pull" in " ".join(said.split())
    if kind == "zip":
        assert "torch" in said.lower()


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing-*.onnx",), ("faulty.onnx", "--select", "double-sofmax"), ("faulty.onnx", "--loss", "crossentropy"),
        ("faulty.onnx", "--report", "out.docx"), ("faulty.onnx", "--baseline", "missing.json"), ("report", "faulty.onnx"),
        ("judge", "missing.json"), ("rule", "explain", "double-sofmax"), ("faulty.onnx", "--rules", "missing"), (),
    ],
)  # fmt: skip
def test_bad_usage_gets_one_sentence_and_exit_code_two(work: Path, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.stdout
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 6


def test_a_misspelt_rule_is_answered_with_the_right_one(work: Path) -> None:
    assert "double-softmax" in run("faulty.onnx", "--select", "double-sofmax").stderr
    assert "double-softmax" in run("rule", "explain", "double-sofmax").stderr


def test_names_cannot_act_on_a_terminal_or_a_workflow(work: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    hostile = "\x1b[31mred\x1b[0m\n::error::owned<script>alert(1)</script>"
    weight = numpy_helper.from_array(np.full((8, 8), 0.5, np.float32), hostile + ".weight")
    nodes = [
        helper.make_node("Gemm", ["x", weight.name], ["h"], name=hostile),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", weight.name], ["y"], name="head"),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8]) for name in ("x", "y")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", info[:1], info[1:], [weight])), "hostile.onnx")
    for form in ("full", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown"):
        result = run("hostile.onnx", "--output-format", form)
        assert result.exit_code == 1, result.stdout + result.stderr
        assert "\x1b" not in result.stdout
        if form == "github":
            assert not [line for line in result.stdout.splitlines() if line.startswith("::error::owned")]
        if form == "markdown":
            assert "<script>" not in re.sub(r"`[^`]*`", "", result.stdout)  # inert in a code span
    run("hostile.onnx", "--report", "r.html")
    assert "<script>alert" not in Path("r.html").read_text(encoding="utf-8")


def test_the_loss_can_be_declared_when_facts_are_judged(work: Path) -> None:
    run("measure", "faulty.onnx", "-o", "facts.json")
    assert "double-softmax" not in run("judge", "facts.json", "--output-format", "concise").stdout
    assert (
        "double-softmax" in run("judge", "facts.json", "--loss", "cross-entropy", "--output-format", "concise").stdout
    )


def test_a_path_typed_in_full_leaves_no_trace(work: Path) -> None:
    full = str(work / "faulty.onnx")
    assert str(work) not in run(full, "--output-format", "json").stdout
    assert str(work) not in run("measure", full).stdout
    run(full, "--write-baseline", "base.json")
    assert str(work) not in Path("base.json").read_text(encoding="utf-8")
    assert run("faulty.onnx", "--baseline", "base.json").exit_code == 0


@pytest.mark.parametrize("arguments", [("--ignore", "*"), ("--select", "linear-stack", "--ignore", "linear-stack")])
def test_no_rule_left_is_no_audit(work: Path, arguments: tuple[str, ...]) -> None:
    result = run("faulty.onnx", *arguments)
    assert result.exit_code == 2
    assert "no rule" in result.stderr


def test_unknown_operators_are_never_a_clean_bill(work: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8]) for name in ("x", "y")]

    def save(nodes: list[onnx.NodeProto], opset: int = 17) -> None:
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("my.domain", 1)]
        onnx.save(
            helper.make_model(helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=opsets), "own.onnx"
        )

    save([helper.make_node("Mystery", ["x"], ["y"], domain="my.domain")])
    result = run("own.onnx")
    assert result.exit_code == 2
    assert "Mystery" in result.stdout
    save([helper.make_node("Mystery", ["x"], ["h"], domain="my.domain"), helper.make_node("Relu", ["h"], ["y"])])
    assert "Only 50 % of the nodes" in run("own.onnx").stdout.replace("\n", " ").replace("  ", " ")
    save([helper.make_node("Relu", ["x"], ["y"])], opset=99)
    assert "opset 99" in run("own.onnx").stdout


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("arguments", [("faulty.onnx",), ("rule", "list"), ("probe", "--help")], ids=" ".join)
def test_output_that_cannot_be_written_gets_one_sentence_and_exit_code_two(
    work: Path, arguments: tuple[str, ...]
) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "trainaudit", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, cwd=work
        )
    assert done.returncode == 2
    assert done.stderr == (
        "error[cannot-write]: The output could not be written: no space left on device. Write to a file with -o.\n"
    )


def test_a_reader_that_went_away_gets_one_sentence_and_exit_code_two(work: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trainaudit", "faulty.onnx"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=work,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate()
    assert process.returncode == 2
    assert said == "error[cannot-write]: The output could not be written: broken pipe. Write to a file with -o.\n"
