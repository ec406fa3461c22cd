"""Real models, damaged in every way: the answer is a valid graph or one clear sentence, soon."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.load.onnx_files import TEST_DATA, saved
from tests.load.test_wire import rich_model
from trainaudit.errors import TrainauditError
from trainaudit.load.onnx_file import read_raw_graph

RICH = rich_model(seed=1, scale=3000)
SMALL = [
    onnx.load(path, load_external_data=False)
    for path in sorted(TEST_DATA.rglob("*.onnx"))
    if path.stat().st_size < 20_000
][::4]
SEEDS = [RICH.SerializeToString(), *(proto.SerializeToString() for proto in SMALL)]
SECONDS = 5.0

quick = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def survives(content: bytes, folder: Path) -> None:
    """Read the file and everything in it."""
    path = folder / "m.onnx"
    path.write_bytes(content)
    start = time.process_time()
    try:
        graph = read_raw_graph(str(path))
        for data in graph.tensors.values():
            assert len(data.shape) <= 32
            elements = int(np.prod(data.shape, dtype=object))
            if elements < 1 << 22:
                assert sum(block.size for block in data.blocks(4096)) == elements
    except TrainauditError as error:
        sentence = error.what
    else:
        sentence = "A graph."
        defined = {*graph.inputs, *graph.tensors, ""}
        for node in graph.nodes:
            assert type(node.name) is type(node.op) is type(node.domain) is str
            assert defined.issuperset(node.inputs)
            assert not defined.intersection(name for name in node.outputs if name)
            defined.update(node.outputs)
        assert defined.issuperset(graph.outputs)
        assert graph.node_count >= 0
    assert sentence.isprintable()
    assert sentence.endswith(".")
    assert time.process_time() - start < SECONDS


def test_the_seeds_are_good(place: Path) -> None:
    for content in SEEDS:
        (place / "seed.onnx").write_bytes(content)
        read_raw_graph(str(place / "seed.onnx"))


@quick
@given(st.sampled_from(SEEDS), st.floats(0, 1))
def test_truncated(place: Path, content: bytes, share: float) -> None:
    survives(content[: int(len(content) * share)], place)


@quick
@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(1, 8))
def test_bytes_changed(place: Path, content: bytes, seed: int, changes: int) -> None:
    source = random.Random(seed)
    octets = bytearray(content)
    head = min(len(octets), 4000)  # names, nodes and lengths rather than weights, most of the time
    for _ in range(changes):
        index = source.randrange(head if source.random() < 0.7 else len(octets))
        octets[index] = source.choice(
            (source.randrange(256), octets[index] ^ 1 << source.randrange(8), 0, 0x7F, 0x80, 0xFF)
        )
    survives(bytes(octets), place)


@quick
@given(st.sampled_from(SEEDS), st.integers(0, 2**32))
def test_stretches_removed_doubled_and_moved(place: Path, content: bytes, seed: int) -> None:
    source = random.Random(seed)
    first, last = sorted(source.randrange(len(content)) for _ in range(2))
    target = source.randrange(len(content))
    kind = source.randrange(3)
    if kind == 0:
        survives(content[:first] + content[last:], place)
    elif kind == 1:
        survives(content[:last] + content[first:], place)
    else:
        survives(content[:target] + content[first:last] + content[target:], place)


NUMBERS = [0, 1, -1, 2, 7, 21, 127, 128, 2**31 - 1, -(2**31), 2**62, -(2**63)]
TEXTS = [
    "",
    "x",
    "y",
    "w0",
    "If",
    "Loop",
    "Scan",
    "Constant",
    "F",
    "f",
    "body",
    "../x",
    "/etc/passwd",
    "\0",
    "\x1b[31m",
    "a" * 5000,
]


def mutate(message: Any, source: random.Random, depth: int = 0) -> None:
    """Change one field somewhere below `message`: a number, a text, an element more, less or twice, a field of another type."""
    fields = list(message.DESCRIPTOR.fields)
    present = [field for field, _ in message.ListFields()]
    field = source.choice(present if present and source.random() < 0.85 else fields)
    value = getattr(message, field.name)
    repeated = field.is_repeated
    if field.message_type is not None:
        if repeated:
            action = source.randrange(5)
            if action == 0 and len(value):
                del value[source.randrange(len(value))]
            elif action == 1 and len(value):
                value.append(source.choice(value))
            elif action == 2:
                value.add()
            elif len(value):
                mutate(source.choice(value), source, depth + 1)
        elif source.random() < 0.1:
            message.ClearField(field.name)
        elif depth < 12:
            mutate(value, source, depth + 1)
        return
    replacement: Any
    if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64, field.CPPTYPE_UINT64, field.CPPTYPE_ENUM):
        replacement = source.choice(NUMBERS)
    elif field.cpp_type == field.CPPTYPE_STRING:
        replacement = source.choice(TEXTS)
        if field.type == field.TYPE_BYTES:
            replacement = replacement.encode() + source.choice((b"", b"\xff"))
    else:
        replacement = source.choice((0.0, -1.5, float("inf"), float("nan")))
    try:
        if not repeated:
            setattr(message, field.name, replacement)
        elif len(value) and source.random() < 0.5:
            value[source.randrange(len(value))] = replacement
        elif len(value) and source.random() < 0.5:
            del value[source.randrange(len(value))]
        else:
            value.append(replacement)
    except (ValueError, TypeError):
        return  # out of the field's range


@settings(quick, max_examples=600)
@given(st.integers(0, len(SMALL) * 2), st.integers(0, 2**32), st.integers(1, 6))
def test_fields_changed(place: Path, index: int, seed: int, changes: int) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(SMALL[index] if index < len(SMALL) else RICH)
    source = random.Random(seed)
    for _ in range(changes):
        mutate(proto.graph if source.random() < 0.7 else proto, source)
    survives(proto.SerializeToString(), place)


def test_huge_declared_shapes_allocate_nothing(place: Path) -> None:
    """Every way to claim a terabyte in a hundred bytes."""
    for data_type in (1, 7, 10, 16, 21):
        for dims in ([1 << 40], [1 << 20, 1 << 20], [1 << 62]):
            for way in ("raw_data", "nothing", "external"):
                tensor = TensorProto(name="w", data_type=data_type, dims=dims)
                if way == "raw_data":
                    tensor.raw_data = b"\0" * 64
                elif way == "external":
                    (place / "w.data").write_bytes(b"\0" * 64)
                    tensor.data_location = TensorProto.EXTERNAL
                    tensor.external_data.add(key="location", value="w.data")
                graph = helper.make_graph([helper.make_node("Relu", ["w"], ["y"])], "g", [], [], [tensor])
                proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
                with pytest.raises(TrainauditError):
                    read_raw_graph(saved(proto, place))
