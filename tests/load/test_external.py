"""External data: what lies in the model's folder is read, everything else is refused."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.load.onnx_files import model, saved
from trainaudit.errors import TrainauditError
from trainaudit.load.external import ExternalFiles
from trainaudit.load.onnx_file import read_raw_graph

ARRAY = np.arange(1000, dtype=np.float32)


def with_external(folder: Path, location: str, **entries: str) -> str:
    folder.mkdir(exist_ok=True)
    proto = TensorProto(name="w", data_type=1, dims=[1000], data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **entries}.items():
        proto.external_data.add(key=key, value=text)
    return saved(model([helper.make_node("Foo", ["x", "w"], ["y"])], [proto]), folder)


def refused(path: str) -> TrainauditError:
    with pytest.raises(TrainauditError) as caught:
        read_raw_graph(path)
    return caught.value


def test_onnx_own_external_data(tmp_path: Path) -> None:
    arrays = {f"w{index}": np.random.default_rng(index).normal(size=(37, index + 1)) for index in range(80)}
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    nodes = [helper.make_node("Sum", ["x", *arrays], ["y"])]
    for name, one_file in (("one.onnx", True), ("many.onnx", False)):
        onnx.save(
            model(nodes, tensors), tmp_path / name, save_as_external_data=True, all_tensors_to_one_file=one_file,
            location="one.data" if one_file else None, size_threshold=0,
        )  # fmt: skip
        graph = read_raw_graph(str(tmp_path / name))
        for key, array in arrays.items():
            np.testing.assert_array_equal(graph.tensors[key].read(), array)
            np.testing.assert_array_equal(
                np.concatenate([b.copy() for b in graph.tensors[key].blocks(10)]), array.ravel()
            )


@pytest.mark.parametrize("location", ["w.data", "./w.data", "deep/er/w.data", "deep\\er\\w.data"])
def test_below_the_folder(tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "m" / location.replace("\\", "/")
    target.parent.mkdir(parents=True)
    target.write_bytes(ARRAY.tobytes())
    path = with_external(tmp_path / "m", location)
    np.testing.assert_array_equal(read_raw_graph(path).tensors["w"].read(), ARRAY)
    monkeypatch.chdir(tmp_path / "m")  # a path without a folder
    np.testing.assert_array_equal(read_raw_graph("model.onnx").tensors["w"].read(), ARRAY)


@pytest.mark.parametrize(
    ("location", "slug"),
    [
        ("../secret", "external-data-outside-folder"),
        ("deep/../../secret", "external-data-outside-folder"),
        ("deep\\..\\..\\secret", "external-data-outside-folder"),
        ("{root}/secret", "external-data-outside-folder"),
        ("/etc/passwd", "external-data-outside-folder"),
        ("\\\\server\\share\\secret", "external-data-outside-folder"),
        ("C:\\secret", "external-data-outside-folder"),
        ("C:secret", "external-data-outside-folder"),
        ("~/secret", "external-data-outside-folder"),
        (".", "external-data-outside-folder"),
        ("", "invalid-external-data"),
        ("se\0cret", "invalid-external-data"),
        ("deep", "invalid-external-data"),
        ("pipe", "invalid-external-data"),
        ("link", "external-data-linked"),
        ("inner-link", "external-data-linked"),
        ("folder-link/secret", "external-data-linked"),
        ("hard", "external-data-linked"),
        ("missing.data", "missing-external-data"),
        ("deep/missing.data", "missing-external-data"),
        ("inner/missing.data", "missing-external-data"),
        ("n" * 300, "missing-external-data"),
        ("a/" * 100 + "b", "invalid-external-data"),
    ],
)
def test_attacks(tmp_path: Path, location: str, slug: str) -> None:
    folder = tmp_path / "m"
    (folder / "deep").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_bytes(ARRAY.tobytes())
    (folder / "inner").write_bytes(ARRAY.tobytes())
    (folder / "link").symlink_to(secret)
    (folder / "inner-link").symlink_to(folder / "inner")
    (folder / "folder-link").symlink_to(tmp_path)
    (folder / "hard").hardlink_to(secret)
    os.mkfifo(folder / "pipe")
    error = refused(with_external(folder, location.replace("{root}", str(tmp_path))))
    assert error.slug == slug
    assert error.hint or slug == "invalid-external-data"
    assert "'w'" in error.what
    assert str(tmp_path) not in str(error)
    assert error.what.isprintable()


def test_the_hint_for_missing_data_names_the_usual_causes(tmp_path: Path) -> None:
    hint = refused(with_external(tmp_path, "model.onnx.data")).hint
    assert "git lfs pull" in hint
    assert ".data" in hint


@pytest.mark.parametrize(
    ("entries", "slug"),
    [
        ({}, None),
        ({"length": "4000"}, None),
        ({"offset": "0", "length": "4000", "checksum": "x"}, None),
        ({"length": "3999"}, "tensor-size-mismatch"),
        ({"length": "4001"}, "truncated-external-data"),
        ({"offset": "1"}, "truncated-external-data"),
        ({"offset": str(2**62)}, "truncated-external-data"),
        ({"offset": "-4"}, "invalid-tensor"),
        ({"offset": "x"}, "invalid-tensor"),
        ({"offset": "9" * 5000}, "invalid-tensor"),
        ({"length": "٣"}, "invalid-tensor"),
    ],
)
def test_offsets_and_lengths(tmp_path: Path, entries: dict[str, str], slug: str | None) -> None:
    (tmp_path / "w.data").write_bytes(ARRAY.tobytes())
    path = with_external(tmp_path, "w.data", **entries)
    if slug is None:
        np.testing.assert_array_equal(read_raw_graph(path).tensors["w"].read(), ARRAY)
    else:
        assert refused(path).slug == slug


def test_a_model_behind_a_link_finds_data_beside_the_link(tmp_path: Path) -> None:
    """The user named the link, so it is followed; the data is looked for where the user pointed."""
    (tmp_path / "w.data").write_bytes(ARRAY.tobytes())
    real = with_external(tmp_path / "elsewhere", "w.data")
    (tmp_path / "model.onnx").symlink_to(real)
    np.testing.assert_array_equal(read_raw_graph(str(tmp_path / "model.onnx")).tensors["w"].read(), ARRAY)
    assert refused(real).slug == "missing-external-data"


def test_a_link_put_in_place_after_the_check_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "w.data"
    target.write_bytes(ARRAY.tobytes())
    secret = tmp_path / "secret"
    secret.write_bytes(ARRAY.tobytes())
    real_open = os.open

    def swapping_open(name: str, *arguments: object, **options: object) -> int:
        if name == "w.data":
            target.unlink()
            target.symlink_to(secret)
        return real_open(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", swapping_open)
    with pytest.raises(TrainauditError) as caught:
        ExternalFiles(str(tmp_path)).open("w.data", "'w'")
    assert caught.value.slug == "external-data-linked"


def test_data_that_changes_between_load_and_read(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(ARRAY.tobytes())
    graph = read_raw_graph(with_external(tmp_path, "w.data"))
    os.truncate(tmp_path / "w.data", 100)
    with pytest.raises(TrainauditError) as caught:
        graph.tensors["w"].read()
    assert caught.value.slug == "file-changed"


def test_thousands_of_data_files_do_not_exhaust_descriptors(tmp_path: Path) -> None:
    count = 400
    protos = []
    for index in range(count):
        (tmp_path / f"{index}.data").write_bytes(np.full(4, index, np.float32).tobytes())
        proto = TensorProto(name=f"w{index}", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
        proto.external_data.add(key="location", value=f"{index}.data")
        protos.append(proto)
    path = saved(model([helper.make_node("Sum", ["x", *(proto.name for proto in protos)], ["y"])], protos), tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, used + 100), hard))
    try:
        graph = read_raw_graph(path)
        assert [int(graph.tensors[f"w{index}"].read()[0]) for index in range(count)] == list(range(count))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    del graph
    assert len(list(Path("/dev/fd").iterdir())) <= used
