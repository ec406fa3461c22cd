"""Ranges of inputs that the user declares: what rules on logarithms and divisions then say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.models.network import Network
from trainaudit.cli import main
from trainaudit.errors import TrainauditError
from trainaudit.load.target import parse_ranges


@pytest.fixture
def logarithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dense layer on the logarithm of its input, called image."""
    monkeypatch.chdir(tmp_path)
    net = Network({"image": ("N", 32)})
    logarithm = net.node("Log", "log", ["image"])
    net.output(net.linear("head", logarithm, 10), "scores")
    net.save(str(tmp_path / "log.onnx"))
    return tmp_path / "log.onnx"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def test_a_logarithm_is_judged_by_the_declared_range(logarithm: Path) -> None:
    del logarithm
    assert "unguarded-log" in run("log.onnx", "--isolated", "--input-range", "0..1").stdout
    assert "unguarded-log" in run("log.onnx", "--isolated", "--input-range", "image=-1..1").stdout
    assert "unguarded-log" not in run("log.onnx", "--isolated", "--input-range", "0.5..2").stdout


def test_a_target_of_the_settings_has_its_range(logarithm: Path) -> None:
    settings = logarithm.with_name("trainaudit.toml")
    for written, is_said in (('"0..1"', True), ('{ image = "1..2" }', False)):
        settings.write_text(f'[targets.net]\nmodel = "log.onnx"\ninput-range = {written}\n')
        assert ("unguarded-log" in run("net").stdout) is is_said
    settings.write_text('[targets.net]\nmodel = "log.onnx"\ninput-range = 3\n')
    result = run("net")
    assert result.exit_code == 2
    assert "targets.net.input-range" in result.stderr


def test_an_input_that_there_is_not(logarithm: Path) -> None:
    del logarithm
    result = run("log.onnx", "--isolated", "--input-range", "imag=0..1")
    assert result.exit_code == 2
    assert 'Did you mean "image"?' in " ".join(result.output.split())


@pytest.mark.parametrize("text", ["", "1", "2..1", "a..b", "0..inf", "nan..1", "x=", "0..1..2", "0...1"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(TrainauditError, match=r"LOW\.\.HIGH"):
        parse_ranges([text])


def test_ranges_by_name() -> None:
    assert parse_ranges(["-1..1", "image=0..255", "x=1e-3..2"]) == {"": (-1, 1), "image": (0, 255), "x": (1e-3, 2)}


@pytest.mark.parametrize("texts", [("0..1", "0..2"), ("x=0..1", "x=0..1")])
def test_a_range_that_is_given_twice(texts: tuple[str, str]) -> None:
    with pytest.raises(TrainauditError, match="twice"):
        parse_ranges(texts)


def test_the_record_says_which_range_was_taken(logarithm: Path) -> None:
    del logarithm
    record = json.loads(run("log.onnx", "--isolated", "--input-range", "0.5..2", "--output-format", "json").stdout)
    assert "Inputs lie where it is declared: image from 0.5 to 2." in record["audits"][0]["warnings"]


def test_a_range_that_no_input_can_take_is_said(tmp_path: Path) -> None:
    net = Network({"ids": ("N", 8)}, integers=("ids",))
    net.output(net.linear("head", net.embedding("table", "ids", 100, 16), 10))
    net.save(str(tmp_path / "ids.onnx"))
    result = run(str(tmp_path / "ids.onnx"), "--isolated", "--input-range", "0..1", "--output-format", "json")
    assert any(
        "--input-range" in text and "not used" in text for text in json.loads(result.stdout)["audits"][0]["warnings"]
    )
