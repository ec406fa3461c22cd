"""Shapes through If, Loop and Scan, as the loader inlines them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from trainaudit.ir.graph import Shape
from trainaudit.load.onnx_file import read_raw_graph
from trainaudit.load.shapes.inference import Inferred, infer_shapes


@pytest.fixture
def infer(tmp_path: Path):  # type: ignore[no-untyped-def]
    def of(text: str) -> Inferred:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return infer_shapes(read_raw_graph(str(path)))

    return of


def test_branches_say_what_they_agree_on(infer) -> None:  # type: ignore[no-untyped-def]
    known = infer(
        """g (float[N,4] x, bool c) => (y) <int64[2] twice = {1, 2}> {
            y = If (c) <
                then_branch = t () => (a) { a = Relu(x) },
                else_branch = e () => (b) { b = Tile(x, twice) }
            >
        }"""
    )
    assert known.shapes["y"] == ("N", None)
    assert known.dtypes["y"] == "float32"


def loop(carried: str, body: str, results: str) -> str:
    return f"""g (float[N,4] x, int64 trips, bool go, float[4,4] w) => (final, all) {{
        final, all = Loop (trips, go, {carried}) <
            body = step (int64 i, bool c, h) => (c_out, h_out, each) {{ c_out = Identity(c) {body} each = {results} }}
        >
    }}"""


def test_a_carried_value_that_keeps_its_shape_is_proven_to(infer) -> None:  # type: ignore[no-untyped-def]
    known = infer(loop("x", "m = MatMul(h, w) h_out = Tanh(m)", "Relu(h_out)"))
    assert known.shapes["final"] == ("N", 4)
    assert known.shapes["all"] == (None, "N", 4)


def test_a_carried_value_that_grows_keeps_what_stays(infer) -> None:  # type: ignore[no-untyped-def]
    known = infer(loop("x", "h_out = Concat<axis = 0>(h, x)", "ReduceSum(h)"))
    assert known.shapes["final"] == (None, 4)
    assert known.shapes["all"] == (None, 1, 1)


def test_a_carried_value_that_gains_axes_is_unknown(infer) -> None:  # type: ignore[no-untyped-def]
    known = infer(loop("x", "one = Constant<value_ints = [0]>() h_out = Unsqueeze(h, one)", "Relu(h_out)"))
    assert "final" not in known.shapes
    assert known.dtypes["final"] == "float32"


def test_nested_loops_start_over_until_nothing_is_assumed_wrongly(infer) -> None:  # type: ignore[no-untyped-def]
    known = infer(
        """g (float[N,4] x, int64 trips, bool go) => (final) {
            final = Loop (trips, go, x) <
                body = outer (int64 i, bool c, h) => (c_out, h_out) {
                    c_out = Identity(c)
                    h_out = Loop (trips, go, h) <
                        body = inner (int64 j, bool d, k) => (d_out, k_out) { d_out = Identity(d) k_out = Concat<axis = 1>(k, x) }
                    >
                }
            >
        }"""
    )
    assert known.shapes["final"] == ("N", None)


def test_scan_slices_and_stacks(infer) -> None:  # type: ignore[no-untyped-def]
    known = infer(
        """g (float[B,H] start, float[T,B,H] x) => (final, all) {
            final, all = Scan <num_scan_inputs = 1, body = step (h, now) => (h_out, each) {
                h_out = Add(h, now) each = Tanh(h_out)
            }> (start, x)
        }"""
    )
    expected: dict[str, Shape] = {"final": ("B", "H"), "all": ("T", "B", "H")}
    assert {name: known.shapes[name] for name in expected} == expected
    assert known.dtypes["all"] == "float32"


@pytest.mark.parametrize("count", [-(2**40), 2**40])
def test_a_scan_that_lies_about_its_inputs_costs_nothing(tmp_path: Path, count: int) -> None:
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("s", "x", "t", "y")]
    nodes = [onnx.helper.make_node("Add", ["s", "x"], ["t"]), onnx.helper.make_node("Identity", ["t"], ["y"])]
    body = onnx.helper.make_graph(nodes, "body", values[:2], values[2:])
    scan = onnx.helper.make_node("Scan", ["init", "seq"], ["f", "o"], num_scan_inputs=count, body=body)
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 2]) for name in ("init", "seq")]
    output = onnx.helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, None)
    path = tmp_path / "scan.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([scan], "g", inputs, [output])), path)
    assert "o" in infer_shapes(read_raw_graph(str(path))).dtypes
