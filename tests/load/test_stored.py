"""Every data type in every way of storing it, whole, in blocks and in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.load.onnx_files import model, saved
from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import TensorData
from trainaudit.ir.tensor import widen_bfloat16
from trainaudit.load.datatypes import DATA_TYPES, small_float_table
from trainaudit.load.encoded import decode_varints
from trainaudit.load.onnx_file import read_raw_graph

KINDS = [number for number in DATA_TYPES if number != TensorProto.STRING]
SMALL_FLOATS = [number for number, kind in DATA_TYPES.items() if kind.small_float is not None]


def _array(number: int, count: int) -> np.ndarray:
    """Random bit patterns of the type, as numpy or ml_dtypes holds them."""
    random = np.random.default_rng(number)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(number))
    bits = DATA_TYPES[number].bits
    if number == TensorProto.BOOL:
        return random.integers(0, 2, count).astype(bool)
    if bits < 8:
        codes = random.integers(0, 1 << bits, count).astype(np.uint8)
        if DATA_TYPES[number].name.startswith("int"):
            codes = ((codes << (8 - bits)).view(np.int8) >> (8 - bits)).view(np.uint8)
        return codes.view(dtype)
    return random.integers(0, 256, count * dtype.itemsize).astype(np.uint8).view(dtype)


def _same(found: np.ndarray, expected: np.ndarray) -> None:
    name = expected.dtype.name
    if name in ("int4", "int2"):
        expected = expected.astype(np.int8)
    elif name in ("uint4", "uint2"):
        expected = expected.astype(np.uint8)
    elif name.startswith(("bfloat16", "float8_", "float6_", "float4_")):
        expected = expected.astype(np.float32)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def _typed(array: np.ndarray, number: int) -> Any:
    """A TensorProto with its values in the typed field."""
    proto = TensorProto(name="w", data_type=number, dims=array.shape)
    kind = DATA_TYPES[number]
    flat = array.reshape(-1)
    field = helper.tensor_dtype_to_field(number)
    if kind.name.startswith("complex"):
        values = flat.view(np.float32 if kind.bits == 64 else np.float64)
    elif kind.bits in (2, 4):
        values = np.frombuffer(numpy_helper.from_array(array).raw_data, np.uint8)
    elif kind.bits <= 8 and kind.name != "int8":
        values = flat.view(np.uint8)
    elif kind.name in ("float16", "bfloat16"):
        values = flat.view(np.uint16)
    else:
        values = flat
    getattr(proto, field).extend(values.tolist())
    return proto


def _tensor(proto: Any, folder: Path) -> TensorData:
    proto.name = "w"
    return read_raw_graph(saved(model([helper.make_node("Foo", ["x", "w"], ["y"])], [proto]), folder)).tensors["w"]


@pytest.mark.parametrize("count", [1, 15, 12_345], ids=["one", "few", "many"])
@pytest.mark.parametrize("way", ["raw", "typed", "external"])
@pytest.mark.parametrize("number", KINDS, ids=lambda number: DATA_TYPES[number].name)
def test_every_type_in_every_way(tmp_path: Path, number: int, way: str, count: int) -> None:
    array = _array(number, count)
    if array.size % 3 == 0:
        array = array.reshape(3, -1)
    proto = numpy_helper.from_array(array, "w")
    if way == "typed":
        proto = _typed(array, number)
    elif way == "external":
        (tmp_path / "w.data").write_bytes(b"padding" + proto.raw_data + b"more")
        content = len(proto.raw_data)
        proto.ClearField("raw_data")
        proto.data_location = TensorProto.EXTERNAL
        for key, text in (("location", "w.data"), ("offset", "7"), ("length", str(content))):
            proto.external_data.add(key=key, value=text)
    data = _tensor(proto, tmp_path)
    assert data.shape == array.shape
    assert data.dtype == DATA_TYPES[number].name
    assert data.nbytes > 0
    _same(data.read(), array)
    for length in (1, 7, 4096) if count < 100 else (1000, 4096, 20_000):
        blocks = [block.copy() for block in data.blocks(length)]
        assert [block.size for block in blocks[:-1]] == [length] * (len(blocks) - 1)
        assert 1 <= blocks[-1].size <= length
        joined = np.concatenate(blocks)
        _same(widen_bfloat16(joined) if data.dtype == "bfloat16" else joined, array.reshape(-1))
        np.testing.assert_array_equal(data.read_range(2, 9), joined[2:9])
    positions = np.unique(np.random.default_rng(1).integers(0, count, 50))
    np.testing.assert_array_equal(data.sample(positions), joined[positions])
    assert data.read_range(5, 3).size == 0
    assert data.sample(positions[:0]).size == 0


@pytest.mark.parametrize("number", SMALL_FLOATS, ids=lambda number: DATA_TYPES[number].name)
def test_small_floats_against_ml_dtypes(number: int) -> None:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(number))
    codes = np.arange(1 << DATA_TYPES[number].bits, dtype=np.uint8)
    np.testing.assert_array_equal(small_float_table(DATA_TYPES[number]), codes.view(dtype).astype(np.float32))


def test_sample_reads_far_and_near_positions(tmp_path: Path) -> None:
    array = np.arange(3_000_000, dtype=np.float32)
    data = _tensor(numpy_helper.from_array(array), tmp_path)
    for step in (1, 3, 5000, 2_999_999):
        positions = np.arange(0, array.size, step)
        np.testing.assert_array_equal(data.sample(positions), array[positions])


def test_strings(tmp_path: Path) -> None:
    words = np.array([["a", "ü", ""], ["b", "c" * 5000, "d"]], object)
    data = _tensor(numpy_helper.from_array(words), tmp_path)
    assert (data.dtype, data.shape) == ("string", (2, 3))
    assert (data.read() == words).all()
    assert [list(block) for block in data.blocks(4)] == [["a", "ü", "", "b"], ["c" * 5000, "d"]]


@pytest.mark.parametrize("linear", [True, False])
def test_sparse_initializer(tmp_path: Path, linear: bool) -> None:
    dense = np.zeros((50, 60, 7), np.float32)
    where = np.sort(np.random.default_rng(0).choice(dense.size, 900, replace=False))
    dense.reshape(-1)[where] = np.arange(1, 901)
    indices = where if linear else np.stack(np.unravel_index(where, dense.shape), axis=1)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(dense.reshape(-1)[where], "w"),
        numpy_helper.from_array(indices.astype(np.int64)),
        dense.shape,
    )
    proto = model([helper.make_node("Foo", ["x", "w"], ["y"])], sparse_initializer=[sparse])
    data = read_raw_graph(saved(proto, tmp_path)).tensors["w"]
    np.testing.assert_array_equal(data.read(), dense)
    np.testing.assert_array_equal(np.concatenate(list(data.blocks(1000))), dense.reshape(-1))
    positions = np.arange(0, dense.size, 3)
    np.testing.assert_array_equal(data.sample(positions), dense.reshape(-1)[positions])


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.integers(0, 9))
def test_varints(numbers: list[int], missing: int) -> None:
    octets = bytearray()
    for number in numbers:
        while number > 127:
            octets.append(number & 127 | 128)
            number >>= 7
        octets.append(number)
    found, used = decode_varints(np.frombuffer(bytes(octets) + b"\x80" * missing, np.uint8))
    assert found.tolist() == numbers
    assert used == len(octets)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 40), st.integers(-3, 3).filter(bool))
def test_wrong_sizes_are_refused(tmp_path_factory: pytest.TempPathFactory, number: int, count: int, off: int) -> None:
    proto = numpy_helper.from_array(_array(number, max(count, 1)), "w")
    size = len(proto.raw_data)
    proto.raw_data = proto.raw_data + b"\0" * off if off > 0 else proto.raw_data[:off]
    if len(proto.raw_data) == size:
        return
    with pytest.raises(TrainauditError, match="declares") as caught:
        _tensor(proto, tmp_path_factory.mktemp("m"))
    assert caught.value.slug == "tensor-size-mismatch"


@pytest.mark.parametrize("dims", [[2**40, 2**10], [2**62, 2**62], [-1, 4], [1] * 40, [2**31, 2**31, 0]])
def test_shapes_that_no_file_can_hold(tmp_path: Path, dims: list[int]) -> None:
    proto = TensorProto(name="w", data_type=1, dims=dims, raw_data=b"\0" * 16)
    with pytest.raises(TrainauditError) as caught:
        _tensor(proto, tmp_path)
    assert caught.value.slug in ("tensor-size-mismatch", "invalid-tensor")


def test_sparse_tensors_cannot_claim_endless_zeros(tmp_path: Path) -> None:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "w"), numpy_helper.from_array(np.array([3])), [10**6, 10**6]
    )
    with pytest.raises(TrainauditError, match="claim more than") as caught:
        read_raw_graph(
            saved(model([helper.make_node("Foo", ["x", "w"], ["y"])], sparse_initializer=[sparse]), tmp_path)
        )
    assert caught.value.slug == "too-large"


def test_too_few_varints_are_an_error(tmp_path: Path) -> None:
    proto = TensorProto(name="w", data_type=7, dims=[5000])
    proto.int64_data.extend([300] * 4000)
    data = _tensor(proto, tmp_path)
    with pytest.raises(TrainauditError, match="another number of values"):
        data.read()


def test_ml_dtypes_is_what_the_tests_compare_with() -> None:
    assert np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)) == np.dtype(ml_dtypes.bfloat16)
