"""Example inputs of Python targets: given, carried by the module, or inferred and said so."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from tests.target_runs import audited, refused
from tests.test_targets_python import NET
from trainaudit.cli import main


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_an_inferred_shape_is_said() -> None:
    audit = audited("net.py:Net")
    note = "No example input was given: float32[2,3,64,64] was inferred from stem (Conv2d). Say --input to audit it with another."
    assert audit["warnings"][0] == note
    assert audit["model"]["inputs"] == ["x: float32[batch, 3, 64, 64]"]
    assert "was inferred from stem (Conv2d)" in " ".join(
        CliRunner().invoke(main, ["net.py:Net", "--isolated"]).stdout.split()
    )


@pytest.mark.parametrize("target", ["net.py:Carries", "net.py:pair", "net.py:by_name"])
def test_a_known_example_is_taken(target: str) -> None:
    audit = audited(target)
    assert not [warning for warning in audit["warnings"] if "inferred" in warning]


def test_inputs_are_taken_as_given() -> None:
    audit = audited("net.py:Net", "--input", "float32[5,3,20,24]")
    assert audit["model"]["inputs"] == ["x: float32[batch, 3, 20, 24]"]
    audit = audited("net.py:Two", "--input", "int64[2,5]", "--input", "x=float32[2,3]")
    assert [text.split(":")[0] for text in audit["model"]["inputs"]] == ["ids", "x"]


@pytest.mark.parametrize(
    ("layers", "spec"),
    [
        ("nn.Linear(6, 4)", "float32[2,6]"),
        ("nn.Flatten(), nn.Linear(6, 4)", "float32[2,6]"),
        ("nn.Conv1d(5, 4, 3)", "float32[2,5,64]"),
        ("nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 2)", "float32[2,3,28,28]"),
        ("nn.Conv2d(3, 4, 32, 32), nn.Flatten(), nn.Linear(4 * 49, 2)", "float32[2,3,224,224]"),
        ("nn.Embedding(11, 4)", "int64[2,16]"),
        ("nn.LSTM(5, 4, batch_first=True)", "float32[2,16,5]"),
        ("nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)", "float32[2,3,64,64]"),
        ("nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)", "float32[2,16,8]"),
        ("nn.Linear(6, 4).double()", "float64[2,6]"),
    ],
)
def test_shapes_follow_from_first_layers(layers: str, spec: str) -> None:
    Path("seq.py").write_text(f"from torch import nn\nmodel = nn.Sequential({layers})\n")
    assert f"{spec} was inferred from 0" in audited("seq.py:model")["warnings"][0].replace("from 1 ", "from 0 ")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("model = nn.Sequential(nn.ReLU())", "its first layer does not tell the shape"),
        ("model = nn.Sequential(nn.LazyLinear(3))", "its first layer does not tell the shape"),
        (
            "model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2))",
            "what the layer 0 (Conv2d) tells does not fit",
        ),
        ("model = nn.Sequential(nn.Linear(8, 4), nn.Linear(3, 2))", "what the layer 0 (Linear) tells does not fit"),
        ("model = nn.Bilinear(3, 4, 5)", "forward takes 2 inputs (input1, input2)"),
    ],
)
def test_where_nothing_is_known_the_input_is_asked_for(body: str, why: str) -> None:
    Path("odd.py").write_text(f"from torch import nn\n{body}\n")
    said = refused("odd.py:model")
    assert f"No example input is known for odd.py:model: {why}" in said
    if "2 inputs" in why:
        assert "Give each: --input 'input1=float32[8,64]' --input 'input2=float32[8,64]'." in said
    else:
        assert "Give one: --input 'float32[8,3,224,224]', or by name --input 'ids=int64[2,128]'." in said


def test_a_forward_that_takes_names_alone_gets_its_input_by_name() -> None:
    Path("named.py").write_text(
        "from torch import nn\n"
        "class Named(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(6, 4)\n"
        "    def forward(self, *, image):\n"
        "        return self.layer(image)\n"
    )
    assert audited("named.py:Named")["model"]["inputs"] == ["image: float32[batch, 6]"]
    assert audited("named.py:Named", "--input", "float32[3,5,6]")["model"]["inputs"] == ["image: float32[batch, 5, 6]"]


def test_an_inferred_shape_that_does_not_fit_fails_without_a_log_of_torch() -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(handler)
    try:
        Path("odd.py").write_text("from torch import nn\nmodel = nn.Sequential(nn.Linear(8, 4), nn.Linear(3, 2))\n")
        refused("odd.py:model")
    finally:
        logger.removeHandler(handler)
    assert records == []


def test_an_input_that_does_not_fit_is_said_with_the_line() -> None:
    said = refused("net.py:Net", "--input", "float32[2,4,8,8]")
    line = NET.splitlines().index("        x = self.act(self.stem(x)).mean((2, 3))") + 1
    assert f"could not be run on its example input (float32[2,4,8,8]) at net.py:{line} (RuntimeError" in said
