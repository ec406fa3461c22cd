"""Our own reader of .safetensors: what it reads, and one sentence for everything that is not a whole file."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainaudit.errors import TrainauditError
from trainaudit.load.safetensors import read_safetensors, read_sharded, shards_of


def written(header: Any, content: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def save(path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> Path:
    header, content = {}, b""
    for name, values in tensors.items():
        octets = values.tobytes()
        word = {"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64", "u1": "U8"}[values.dtype.str[1:]]
        header[name] = entry(word, list(values.shape), len(content), len(content) + len(octets))
        content += octets
    path.write_bytes(written(header, content))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(TrainauditError) as caught:
        read_safetensors(str(path))
    return str(caught.value)


def test_values_come_back(tmp_path: Path) -> None:
    wanted = {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1.5, -2.0], np.float16),
        "empty": np.zeros((0, 4), np.float64), "steps": np.array(7, np.int64),
    }  # fmt: skip
    found = read_safetensors(str(save(tmp_path / "m.safetensors", wanted)))
    assert set(found.tensors) == set(wanted)
    for name, values in wanted.items():
        read = found.tensors[name].read()
        assert read.dtype == values.dtype
        np.testing.assert_array_equal(read, values)


def test_the_types_of_the_reference_implementation(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("safetensors.torch")
    tensors = {
        str(dtype): torch.tensor([0.5, -1.0, 2.0, 0.0]).to(dtype)
        for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
                      torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
    }  # fmt: skip
    path = str(tmp_path / "m.safetensors")
    reference.save_file(tensors, path, metadata={"format": "pt"})
    found = read_safetensors(path)
    assert found.texts == ("pt",)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found.tensors[name].read().astype(float), tensor.double().numpy(), err_msg=name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\1" * 4, "does not start like a safetensors file"),
        (struct.pack("<Q", 1 << 40) + b"{}", "does not start like a safetensors file"),
        (struct.pack("<Q", 500) + b"{}" + b" " * 8, "its header needs 500 bytes, and 10 are there"),
        (written(b"{" + b"[" * 50_000), "its header is not JSON"),
        (written(b'{"a": NaN}'), "NaN is no JSON"),
        (written(b'{"a": 1, "a": 2}'), "a name stands in it twice"),
        (written(b"{\xff}"), "its header is not JSON"),
        (written({"a": 3}), "does not say where the tensor a lies"),
        (written({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, True]}}, b"1234"), "does not say where"),
        (written({"a": entry("F32", [2], 0, 4)}, b"1234"), "needs 8 bytes and has 4"),
        (written({"a": entry("F32", [1], 0, 4)}), "its tensors take 4 bytes, and 0 are there"),
        (written({"a": entry("F32", [1], 4, 8)}, b"12345678"), "overlap or leave gaps at byte 0"),
        (written({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, b"123456"), "overlap or leave gaps"),
        (written({"a": entry("U8", [4], 0, 4)}, b"12345"), "its tensors take 4 bytes, and 5 are there"),
        (written({"a": entry("U8", [-4], 0, 4)}, b"1234"), "has no valid shape"),
        (written({"a": entry("U8", [1] * 65, 0, 1)}, b"1"), "has no valid shape"),
        (written({"a": entry("U8", [1 << 61, 1 << 61], 0, 4)}, b"1234"), "and has 4"),
        (written({"a": entry("Q4_K", [4], 0, 4)}, b"1234"), "stores a as Q4_K, which is not known here"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a git-LFS pointer"),
        (b"PK\x03\x04" + b"archive/data.pkl" * 10, "it looks like a PyTorch file"),
    ],
)
def test_what_is_no_whole_file_gets_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    message = refusal(path)
    assert words in message
    assert message.count("\n") == 0


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_of_a_file_does_more_than_refuse(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Truncated, overwritten or extended anywhere: the file reads as a file of the same bytes, or is refused."""
    path = tmp_path_factory.mktemp("fuzz") / "m.safetensors"
    values = {"layer.weight": np.ones((3, 4), np.float32), "layer.bias": np.zeros(3, np.float32)}
    content = bytearray(save(path, values).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["cut", "set", "insert"]))
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        if kind == "cut":
            del content[at:]
        elif kind == "set" and content:
            content[at] = data.draw(st.integers(0, 255))
        else:
            content[at:at] = data.draw(st.binary(max_size=9))
    path.write_bytes(bytes(content))
    try:
        found = read_safetensors(str(path))
    except TrainauditError as error:
        message = str(error)
    else:
        message = ""
        for tensor in found.tensors.values():
            assert tensor.nbytes <= len(content)
            assert tensor.read().shape == tensor.shape
    assert "\n" not in message


def test_shards_lie_beside_their_index(tmp_path: Path) -> None:
    save(tmp_path / "model-1.safetensors", {"a.weight": np.ones((2, 2), np.float32)})
    save(tmp_path / "model-2.safetensors", {"b.weight": np.zeros((2, 2), np.float32)})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}}))
    assert list(read_sharded(str(index)).tensors) == ["a.weight", "b.weight"]
    index.write_text(json.dumps({"weight_map": {"a.weight": "model-1.safetensors", "x": "model-3.safetensors"}}))
    with pytest.raises(TrainauditError, match=r"model-3.safetensors does not exist"):
        read_sharded(str(index))


@pytest.mark.parametrize(
    "name", ["../m.safetensors", "/etc/passwd", "sub/m.safetensors", "..\\m.safetensors", "m.bin", 3, None]
)
def test_no_index_leads_out_of_its_folder(name: object, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(TrainauditError, match=r"names a shard that is no \.safetensors file in its own folder"):
        shards_of(str(index))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100_000])
def test_what_is_no_index_is_refused(text: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(TrainauditError, match=r"is not a whole safetensors file|is empty"):
        shards_of(str(index))
