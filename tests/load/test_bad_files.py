"""Files that are no model: one clear sentence each, whatever they are."""

from __future__ import annotations

import io
import os
import pickle
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.load.onnx_files import TEST_DATA, model, saved, value
from trainaudit.errors import TrainauditError
from trainaudit.load.onnx_file import read_raw_graph

MODEL = (TEST_DATA / "light" / "light_squeezenet.onnx").read_bytes()


def refused(path: str) -> TrainauditError:
    with pytest.raises(TrainauditError) as caught:
        read_raw_graph(path)
    error = caught.value
    assert error.what.endswith(".")
    assert error.hint.endswith(".")
    assert error.what.isprintable()
    return error


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.onnx"), io.BytesIO(b""))
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5\nsize 102000000\n"
HEADER = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'

KINDS = {
    "empty": (b"", "empty-file"),
    "lfs": (LFS, "git-lfs-pointer"),
    "pt": (_zip("archive/data.pkl", "archive/data/0"), "pytorch-file"),
    "zip": (_zip("a/b.txt"), "zip-file"),
    "pickle": (pickle.dumps({"w": 1}, protocol=2), "pickle-file"),
    "pickle4": (pickle.dumps({"w": 1}, protocol=4), "pickle-file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "hdf5-file"),
    "safetensors": (len(HEADER).to_bytes(8, "little") + HEADER + bytes(4), "safetensors-file"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(100), "tflite-file"),
    "ort": (b"\x18\x00\x00\x00ORTM" + bytes(100), "ort-file"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(100), "gguf-file"),
    "numpy": (_npy(), "numpy-file"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(100), "compressed-file"),
    "tar": (_tar(), "tar-file"),
    "html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "html-file"),
    "xml": (b'<?xml version="1.0"?><net name="m" version="11"/>', "xml-file"),
    "json": (b'\xef\xbb\xbf{"irVersion": "8", "graph": {}}', "json-file"),
    "onnxtxt": (
        b'<\n  ir_version: 8,\n  opset_import: ["" : 18]\n>\nagraph (float[4] x) => (float[4] y) {}',
        "onnx-text-file",
    ),
    "savedmodel": (b"\x08\x01\x12\x90\x07\x0a\x10" + b"tags serve" + bytes(20), "tensorflow-file"),
    "zeros": (bytes(4096), "zeros"),
    "text": (b"hello, this is no model\n" * 10, "not-an-onnx-model"),
    "random": (random.Random(0).randbytes(5000), "not-an-onnx-model"),
    "one byte": (b"\xff", "not-an-onnx-model"),
    "cut": (MODEL[: len(MODEL) // 2], "truncated-file"),
    "header only": (b"\x08\x07\x12\x07pytorch", "empty-model"),
    "no graph": (onnx.ModelProto(ir_version=8, graph=onnx.GraphProto()).SerializeToString(), "empty-model"),
    "flipped": (MODEL[:40] + b"\xff" * 8 + MODEL[48:], "damaged-file"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_looks_like(tmp_path: Path, kind: str) -> None:
    content, slug = KINDS[kind]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    error = refused(str(path))
    assert error.slug == slug
    assert error.what.startswith(str(path))


def test_the_hint_of_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(LFS)
    hint = refused(str(tmp_path / "m.onnx")).hint
    assert "git lfs pull" in hint
    assert "lfs: true" in hint


def test_truncation_says_how_much_is_missing(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((300, 300), np.float32), "w")
    content = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight]).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[:200_000])
    error = refused(str(path))
    assert error.slug == "truncated-file"
    assert "has 200,000 bytes" in error.what
    needed = int(error.what.split("at least ")[1].rstrip(".").replace(",", ""))
    assert 360_000 < needed <= len(content)


def test_paths_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.onnx")
    Path("folder.onnx").mkdir()
    Path("dangling.onnx").symlink_to("nowhere")
    Path("circle.onnx").symlink_to("circle.onnx")
    expected = {
        "pipe.onnx": "not-a-file",
        "folder.onnx": "is-a-directory",
        "/dev/null": "not-a-file",
        "/dev/zero": "not-a-file",
        "missing.onnx": "missing-file",
        "dangling.onnx": "missing-file",
        "circle.onnx": "unreadable-file",
        "nul\0l.onnx": "missing-file",
        "n" * 5000: "unreadable-file",
        "": "missing-file",
    }
    assert {path: refused(path).slug for path in expected} == expected


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(model([helper.make_node("Relu", ["x"], ["y"])]), tmp_path)

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", "/private/place")

    monkeypatch.setattr(os, "open", denied)
    error = refused(path)
    assert error.slug == "unreadable-file"
    assert "permission denied" in error.what
    assert "/private/place" not in str(error)


def test_a_message_names_the_path_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(b"junk")
    assert str(tmp_path) not in str(refused("m.onnx"))


@pytest.mark.parametrize(
    ("opset", "slug"), [(None, "missing-opset"), (5, "opset-too-old"), (6, None), (7, None), (28, None), (10**6, None)]
)
def test_opsets(tmp_path: Path, opset: int | None, slug: str | None) -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])])
    del proto.opset_import[:]
    if opset is not None:
        proto.opset_import.append(helper.make_opsetid("ai.onnx" if opset == 7 else "", opset))
    path = saved(proto, tmp_path)
    if slug is None:
        assert read_raw_graph(path).opset == opset
    else:
        assert refused(path).slug == slug


def test_a_model_of_another_domain_alone_needs_no_opset(tmp_path: Path) -> None:
    proto = model([helper.make_node("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml")])
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    graph = read_raw_graph(saved(proto, tmp_path))
    assert (graph.opset, graph.origin.opset) == (0, None)


def test_names_in_messages_are_harmless(tmp_path: Path) -> None:
    evil = "\x1b[31m<script>\n::error::\u202e" + "a" * 500
    proto = model([helper.make_node("Add", ["x", evil], ["y"])])
    message = str(refused(saved(proto, tmp_path)))
    assert message.isprintable()
    assert len(message) < 400


def test_text_that_is_not_unicode(tmp_path: Path) -> None:
    """Wherever a file holds text: node, operator, value, attribute, metadata, type, tensor, external data, function."""
    inner = helper.make_node("Relu", ["a"], ["b"], name="TEXT09")
    function = helper.make_function(
        "TEXT00", "TEXT01", ["a"], ["b"], [inner], [helper.make_opsetid("", 18)], attributes=["TEXT02"]
    )
    node = helper.make_node(
        "TEXT10", ["x", "TEXT11"], ["y", "TEXT12"], name="TEXT13", domain="TEXT14", doc_string="TEXT15"
    )
    node.attribute.append(helper.make_attribute("TEXT16", 1))
    node.metadata_props.add(key="TEXT17", value="TEXT18")
    weight = numpy_helper.from_array(np.ones(4, np.float32), "TEXT11")
    proto = model([node], [weight], value_info=[value("TEXT12", ("TEXT19",)), value("TEXT20")], functions=[function])
    proto.producer_name, proto.doc_string, proto.graph.doc_string = "TEXT21", "TEXT22", "TEXT23"
    proto.metadata_props.add(key="TEXT24", value="TEXT25")
    proto.graph.metadata_props.add(key="TEXT26", value="TEXT27")
    content = proto.SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    read_raw_graph(str(path))
    for number in (*range(3), *range(9, 28)):
        place = b"TEXT%02d" % number
        assert place in content
        path.write_bytes(content.replace(place, b"\xff\xfe\xff\xfe\xff\xfe"))
        assert refused(str(path)).slug in ("invalid-text", "undefined-value"), place
