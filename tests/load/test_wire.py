"""The walk over the wire format: what it cuts, what it keeps, and what it refuses. Also memory and speed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.load.onnx_files import model, saved
from trainaudit.errors import TrainauditError
from trainaudit.load import cutting, wire
from trainaudit.load.cutting import Marker, pieces
from trainaudit.load.datafile import DataFile
from trainaudit.load.onnx_file import read_raw_graph
from trainaudit.load.stored import FileBytes, MemoryBytes, StoredTensor
from trainaudit.load.wire import GRAPH, MODEL, WireError


def opened(path: str) -> DataFile:
    return DataFile(path, os.open(path, os.O_RDONLY), lambda: os.open(path, os.O_RDONLY))


def put_together(path: str) -> Any:
    """The model that the pieces make, markers replaced by what they stand for."""
    content = Path(path).read_bytes()
    marker = Marker()
    rebuilt = onnx.ModelProto()
    for kind, piece in pieces(opened(path), marker):
        if kind == GRAPH:
            rebuilt.graph.MergeFromString(piece)
        elif kind == MODEL:
            rebuilt.MergeFromString(piece)
        else:
            rebuilt.functions.append(onnx.FunctionProto.FromString(piece))

    def restore(message: Any) -> None:
        for field, found in message.ListFields():
            if field.message_type is None:
                continue
            for inner in found if isinstance(found, list) or hasattr(found, "__len__") else [found]:
                if isinstance(inner, onnx.TensorProto):
                    mark = marker.parse(inner.raw_data)
                    if mark is not None:
                        number, start, length = mark
                        assert length >= cutting.CUT_FROM
                        inner.ClearField("raw_data")
                        octets = bytearray()
                        size = length
                        while size > 127:
                            octets.append(size & 127 | 128)
                            size >>= 7
                        inner.MergeFromString(bytes([number << 3 | 2, *octets, size]) + content[start : start + length])
                else:
                    restore(inner)

    restore(rebuilt)
    return rebuilt


def rich_model(seed: int, scale: int) -> Any:
    """Tensors of many sizes everywhere that a model can hold one."""
    random = np.random.default_rng(seed)

    def tensor(name: str) -> Any:
        array = random.normal(size=int(random.integers(1, scale))).astype(np.float32)
        if random.integers(2):
            return numpy_helper.from_array(array, name)
        if random.integers(2):
            return helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.tolist())
        return helper.make_tensor(name, TensorProto.INT64, array.shape, (array * 1e6).astype(np.int64).tolist())

    def sparse(name: str) -> Any:
        values = tensor(name)
        indices = np.arange(values.dims[0]) * 3
        return helper.make_sparse_tensor(values, numpy_helper.from_array(indices), [int(indices[-1]) + 1])

    body = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=tensor("")), helper.make_node("Add", ["k", "v"], ["r"])],
        "b", [], [helper.make_tensor_value_info("r", 1, None)], [tensor("v")],
    )  # fmt: skip
    function = helper.make_function(
        "f", "F", ["a"], ["b"],
        [helper.make_node("Constant", [], ["k"], value=tensor("")), helper.make_node("Add", ["a", "k"], ["b"])],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("")),
        helper.make_node("Constant", [], ["s"], sparse_value=sparse("")),
        helper.make_node("If", ["c"], ["i"], then_branch=body, else_branch=body),
        helper.make_node("F", ["i"], ["j"], domain="f"),
        helper.make_node("Foo", ["j", "c", "s", "w0", "w1", "w2", "z"], ["y"], tensor=tensor("")),
    ]
    return model(
        nodes, [tensor("w0"), tensor("w1"), tensor("w2")], functions=[function], sparse_initializer=[sparse("z")]
    )


@pytest.mark.parametrize("scale", [10, 3000, 300_000])
@pytest.mark.parametrize("seed", range(4))
def test_pieces_and_payloads_make_the_model(tmp_path: Path, seed: int, scale: int) -> None:
    proto = rich_model(seed, scale)
    path = saved(proto, tmp_path)
    rebuilt = put_together(path)
    assert rebuilt == proto
    kept = sum(len(piece) for _, piece in pieces(opened(path), Marker()))
    assert kept < 60_000
    read_raw_graph(path)


def test_pieces_are_bounded(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", [f"h{i}"], [f"h{i + 1}"], name="n" * (i % 3000)) for i in range(3000)]
    proto = model(nodes, inputs=["h0"], outputs=["h3000"])
    path = saved(proto, tmp_path)
    sizes = [len(piece) for _, piece in pieces(opened(path), Marker())]
    assert len(sizes) > 4
    assert max(sizes) < 2 * cutting.PIECE
    assert put_together(path) == proto


def test_a_marker_cannot_be_forged(tmp_path: Path) -> None:
    marker = Marker()
    forged = Marker().make(9, 0, 100)
    assert marker.parse(forged) is None
    assert marker.parse(marker.make(9, 1, 100)) == (9, 1, 100)
    tensor = numpy_helper.from_array(np.frombuffer(forged, np.uint8), "w")
    data = read_raw_graph(saved(model([helper.make_node("Foo", ["x", "w"], ["y"])], [tensor]), tmp_path)).tensors["w"]
    assert data.read().tobytes() == forged


def test_large_tensors_stay_in_the_file_and_small_ones_do_not_need_it(tmp_path: Path) -> None:
    tensors = [numpy_helper.from_array(np.ones(count, np.float32), f"w{count}") for count in (10, 100_000)]
    graph = read_raw_graph(saved(model([helper.make_node("Sum", ["x", "w10", "w100000"], ["y"])], tensors), tmp_path))
    small, large = graph.tensors["w10"], graph.tensors["w100000"]
    assert isinstance(small, StoredTensor)
    assert isinstance(large, StoredTensor)
    assert isinstance(small.source, MemoryBytes)
    assert isinstance(large.source, FileBytes)


def test_payloads_spread_over_several_fields_are_joined(tmp_path: Path) -> None:
    """Legal and rare: packed float_data in two stretches, and float_data that is not packed."""
    array = np.random.default_rng(0).normal(size=3000).astype("<f4")

    def stretch(part: np.ndarray) -> bytes:
        size = part.nbytes
        return bytes([4 << 3 | 2, size & 127 | 128, size >> 7 & 127]) + part.tobytes()

    unpacked = b"".join(bytes([4 << 3 | 5]) + number.tobytes() for number in array)
    for octets in (stretch(array[:1500]) + stretch(array[1500:]), unpacked):
        proto = model([helper.make_node("Foo", ["x", "w"], ["y"])])
        tensor = proto.graph.initializer.add(name="w", data_type=1, dims=[3000])
        tensor.MergeFromString(octets)
        content = proto.SerializeToString()
        head = TensorProto(name="w", data_type=1, dims=[3000]).SerializeToString()
        raw_graph = onnx.GraphProto()
        raw_graph.CopyFrom(proto.graph)
        del raw_graph.initializer[:]
        message = head + octets
        size = len(message)
        body = raw_graph.SerializeToString() + bytes(
            [5 << 3 | 2, size & 127 | 128, size >> 7 & 127 | (128 if size >> 14 else 0)]
        )
        body += (bytes([size >> 14]) if size >> 14 else b"") + message
        rest = onnx.ModelProto()
        rest.CopyFrom(proto)
        rest.ClearField("graph")
        length, coded = len(body), bytearray()
        while length > 127:
            coded.append(length & 127 | 128)
            length >>= 7
        path = tmp_path / "m.onnx"
        path.write_bytes(rest.SerializeToString() + bytes([7 << 3 | 2, *coded, length]) + body)
        assert onnx.load(path) == proto, content[:0]
        np.testing.assert_array_equal(read_raw_graph(str(path)).tensors["w"].read(), array)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_end(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    with contextlib.suppress(WireError):
        list(pieces(opened(str(path)), Marker()))


def _measured(code: str) -> tuple[float, str]:
    """(peak resident MiB, output) of a process."""
    tail = "\nprint(next(int(l.split()[1]) / 1024 for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    run = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    *lines, peak = run.stdout.strip().splitlines()
    return float(peak), "\n".join(lines)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux's /proc")
@pytest.mark.parametrize("external", [False, True])
def test_memory_does_not_grow_with_the_weights(tmp_path: Path, external: bool) -> None:
    arrays = [np.zeros((2000, 3000), np.float32) for _ in range(3)]
    tensors = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(arrays)]
    path = tmp_path / "m.onnx"
    onnx.save(
        model([helper.make_node("Sum", ["x", "w0", "w1", "w2"], ["y"])], tensors), path,
        save_as_external_data=external, location="w.data" if external else None,
    )  # fmt: skip
    code = (
        "from trainaudit.load.onnx_file import read_raw_graph\n"
        f"graph = read_raw_graph({str(path)!r})\n"
        "print(sum(block.nbytes for data in graph.tensors.values() for block in data.blocks(1 << 17)))"
    )
    peak, read = _measured(code)
    assert int(read) == sum(array.nbytes for array in arrays)
    idle, _ = _measured("import numpy; from trainaudit.load.protobuf import onnx_classes; onnx_classes()")
    assert peak - idle < 20
    if not external:
        naive, _ = _measured(f"import onnx; onnx.load({str(path)!r})")
        assert peak < naive / 2


def test_a_sparse_file_of_six_gigabytes(tmp_path: Path) -> None:
    """Past protobuf's limit of 2 GB: three embedded tensors of 2 GiB each, in a file that takes no space on the disk."""
    size = 1 << 31

    def varint(number: int) -> bytes:
        octets = bytearray()
        while number > 127:
            octets.append(number & 127 | 128)
            number >>= 7
        return bytes([*octets, number])

    heads = [
        TensorProto(name=f"w{index}", data_type=1, dims=[size // 4]).SerializeToString() + b"\x4a" + varint(size)
        for index in range(3)
    ]
    fields = [b"\x2a" + varint(len(head) + size) + head for head in heads]
    proto = model([helper.make_node("Sum", ["x", "w0", "w1", "w2"], ["y"])])
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    path = tmp_path / "huge.onnx"
    last = np.array([1.5, -2.5], "<f4")
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.write(b"\x3a" + varint(sum(len(field) + size for field in fields) + len(graph)))
        for field in fields:
            file.write(field)
            file.seek(size - last.nbytes, 1)
            file.write(last.tobytes())
        file.write(graph)
    start = time.process_time()
    data = read_raw_graph(str(path)).tensors["w2"]
    assert data.nbytes == size
    np.testing.assert_array_equal(data.read_range(size // 4 - 2, size // 4), last)
    np.testing.assert_array_equal(data.sample(np.array([0, size // 8, size // 4 - 1])), [0, 0, -2.5])
    assert time.process_time() - start < 5


def test_training_information_is_skipped(tmp_path: Path) -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])])
    proto.training_info.add().algorithm.node.append(helper.make_node("Gradient", ["x"], ["dx"]))
    graph = read_raw_graph(saved(proto, tmp_path))
    assert [node.op for node in graph.nodes] == ["Relu"]


def test_a_part_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_LARGEST_MESSAGE", 10_000)
    proto = model([helper.make_node("Relu", ["x"], ["y"], doc_string="d" * 20_000)])
    with pytest.raises(TrainauditError) as caught:
        read_raw_graph(saved(proto, tmp_path))
    assert caught.value.slug == "too-large"


def bomb(field: bytes) -> bytes:
    """A model whose one node ends in many copies of `field`."""
    proto = model([onnx.NodeProto(op_type="Foo", input=["x"], output=["y"])])
    node = proto.graph.node[0].SerializeToString() + field * 60_000
    size = len(node)
    graph = onnx.GraphProto()
    graph.CopyFrom(proto.graph)
    del graph.node[:]
    content = graph.SerializeToString() + b"\x0a" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + node
    proto.ClearField("graph")
    size = len(content)
    return proto.SerializeToString() + b"\x3a" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + content


@pytest.mark.parametrize("field", [b"\x2a\x00", b"\x0a\x00", b"\x4a\x00"], ids=["attributes", "inputs", "metadata"])
@pytest.mark.parametrize("limit", ["_MOST_STEPS", "MOST_FIELDS"])
def test_empty_messages_that_take_hundredfold_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: bytes, limit: str
) -> None:
    path = tmp_path / "bomb.onnx"
    path.write_bytes(bomb(field))
    read_raw_graph(str(path))  # harmless at this size
    monkeypatch.setattr(cutting, "_SURVEYED_FROM", 50_000)
    monkeypatch.setattr(wire, limit, 50_000)
    if limit == "MOST_FIELDS":
        monkeypatch.setattr(cutting, limit, 50_000)
    with pytest.raises(TrainauditError, match="too large") as caught:
        read_raw_graph(str(path))
    assert caught.value.slug == "too-large"


def test_long_lists_of_numbers_become_tensors(tmp_path: Path) -> None:
    floats, integers = np.linspace(0, 1, 100_000, dtype=np.float32), np.arange(100_000)
    node = helper.make_node("Trees", ["x"], ["y"], domain="ai.onnx.ml", floats=floats.tolist(), ints=integers.tolist())
    attributes = read_raw_graph(saved(model([node]), tmp_path)).nodes[0].attributes
    for name, expected in (("floats", floats), ("ints", integers)):
        data = attributes[name]
        assert not isinstance(data, int | float | str | list)
        np.testing.assert_array_equal(data.read(), expected)
        assert data.dtype == expected.dtype.name
