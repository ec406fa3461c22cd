"""What cannot be converted is one sentence: unknown operators, wrong results, damaged and hostile files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch

from tests.probe.onnx_module.making import written
from trainaudit.errors import TrainauditError
from trainaudit.probe.onnx_module import convert
from trainaudit.probe.onnx_module.table import TABLE

CONVOLUTIONAL = """g (float[N, 1, 6, 6] x) => (float[N, 4] y)
  <float[2, 1, 3, 3] k = {0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, 0.9, 0.2, 0.1, 0.3, -0.4, 0.6, 0.5, 0.7, -0.9, 0.8},
   float[2] s = {1.0, 2.0}, float[2] b = {0.5, 0.1}, float[2] m = {0.2, 0.3}, float[2] v = {1.5, 2.5},
   float[2, 4] w = {1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, 5.0}, int64[2] shape = {0, -1}> {
    a = Conv<pads = [1, 1, 1, 1]>(x, k)
    c = BatchNormalization(a, s, b, m, v)
    d = Relu(c)
    e = GlobalAveragePool(d)
    f = Reshape(e, shape)
    y = MatMul(f, w)
  }"""


def _refused(path: str) -> TrainauditError:
    with pytest.raises(TrainauditError) as caught:
        convert(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_every_unknown_operator_is_named_and_counted(tmp_path: Path) -> None:
    text = "g (float[2] x) => (float[2] y) { a = other.Foo(x)  b = other.Foo(a)  c = Bar(b)  d = Relu(c)  y = local.Baz(d) }"
    error = _refused(written(tmp_path, text))
    assert error.slug == "unsupported-operator"
    for said in ("other.Foo (2×)", "Bar", "local.Baz"):
        assert said in error.what
    assert "Relu" not in error.what


def test_an_unknown_attribute_is_named(tmp_path: Path) -> None:
    error = _refused(written(tmp_path, "g (float[2] x) => (float[2] y) { y = Relu<slant = 2>(x) }"))
    assert "Relu that has the attribute slant" in error.what


def test_types_that_torch_lacks_are_named(tmp_path: Path) -> None:
    assert "string in 'x'" in _refused(written(tmp_path, "g (string[2] x) => (string[2] y) { y = Identity(x) }")).what


def test_a_wrong_result_is_never_reported_as_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, CONVOLUTIONAL)
    error = convert(path).error
    assert error is not None
    assert error < 1e-5
    monkeypatch.setitem(TABLE, "Relu", lambda x: torch.nn.functional.leaky_relu(x, 0.002))
    assert _refused(path).slug == "conversion-differs"


def test_a_result_of_another_type_is_a_wrong_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "Relu", lambda x: torch.relu(x).double())
    assert _refused(written(tmp_path, "g (float[2] x) => (float[2] y) { y = Relu(x) }")).slug == "conversion-differs"


def test_what_onnxruntime_runs_and_torch_does_not_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(TABLE, "Relu", broken)
    error = _refused(written(tmp_path, "g (float[2] x) => (float[2] y) { y = Relu(x) }"))
    assert error.slug == "conversion-failed"
    assert "no such kernel" in error.what
    assert "in the Relu node" in error.what


def test_what_onnxruntime_cannot_run_is_converted_and_says_that_it_is_unchecked(tmp_path: Path) -> None:
    result = convert(written(tmp_path, "g (float[2] x) => (float[2] y) { y = Relu(x) }", ir_version=200))
    assert result.error is None
    assert result.unchecked.startswith("onnxruntime cannot run it")


def test_sequences_and_numbers_come_back_from_onnxruntime_s_own_process(tmp_path: Path) -> None:
    text = """g (float[4, 3] x) => (seq(float[2, 3]) y, int64 n, float[4, 3] z) <int64 two = {2}> {
      y = SplitToSequence(x, two)  n = SequenceLength(y)  z = Exp(x) }"""
    result = convert(written(tmp_path, text))
    assert result.unchecked == ""
    assert result.error is not None
    assert result.error < 1e-6


@pytest.mark.parametrize(
    "text",
    [
        "g (float[1] x) => (float[N] y) <int64[2] s = {100000000, 100000000}> { y = Expand(x, s) }",
        "g (float[1] x) => (float[N] y) <int64[1] s = {100000000000000}> { a = ConstantOfShape(s)  y = Add(a, x) }",
        "g (float[1] x) => (float[N] y) <int64[1] s = {9000000000000}> { y = Tile(x, s) }",
        "g (int64 x) => (int64[N] y) <int64 a = {0}, int64 b = {9000000000000}, int64 c = {1}> { z = Range(a, b, c)  y = Add(z, x) }",
        "g (float[1] x) => (float[N] y) <int64[2] p = {0, 900000000000}> { y = Pad(x, p) }",
        "g (float[1, 1, 2, 2] x) => (float[1, 1, A, B] y) <float[4] s = {1.0, 1.0, 1e9, 1e9}> { y = Resize(x, , s) }",
    ],
)
def test_a_few_bytes_cannot_ask_for_all_of_memory(text: str, tmp_path: Path) -> None:
    error = _refused(written(tmp_path, text))
    assert error.slug == "conversion-failed"
    assert "asks for a tensor of" in error.what


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Path(written(tmp_path_factory.mktemp("intact"), CONVOLUTIONAL)).read_bytes()


def _tried(folder: Path, content: bytes) -> None:
    path = folder / "damaged.onnx"
    path.write_bytes(content)
    try:
        result = convert(str(path))
    except TrainauditError:
        return
    assert result.error is not None or result.unchecked


def test_a_truncated_file_is_one_sentence(intact: bytes, tmp_path: Path) -> None:
    for length in range(0, len(intact), 7):
        _tried(tmp_path, intact[:length])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_is_one_sentence(intact: bytes, tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    content = bytearray(intact)
    for place, value in changes:
        content[place % len(content)] = value
    _tried(tmp_path, bytes(content))
