"""Inference against the truth: outputs stored with ONNX's own operator tests, ONNX's own inference, and real runs of exports."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tests.load.raw_graphs import has_graph, proto_shape, raw_graph
from trainaudit.ir.graph import Dimension, Shape
from trainaudit.load.datatypes import TYPE_NAMES
from trainaudit.load.onnx_file import read_raw_graph
from trainaudit.load.raw import RawGraph
from trainaudit.load.shapes import inference as shapes_module
from trainaudit.load.shapes.inference import Inferred, infer_shapes
from trainaudit.load.shapes.known import Number


@pytest.fixture(autouse=True)
def every_node_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """These models are right, so a rule that stumbles over one is wrong: it must not hide behind the guard."""
    monkeypatch.setattr(shapes_module, "MALFORMED", ())


def fits(inferred: Shape, actual: tuple[int, ...]) -> bool:
    return len(inferred) == len(actual) and all(
        not isinstance(size, int) or size == length for size, length in zip(inferred, actual, strict=True)
    )


@cache
def operator_tests() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(collect_testcases(None))


def without_output_types(model: ModelProto) -> ModelProto:
    """The model with nothing but its inputs declared."""
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.ClearField("type")
    return copy


def loaded(model: ModelProto, folder: Path) -> RawGraph | None:
    """Plain graphs as they are, control flow and functions through the loader; None where it has no such opset."""
    if not model.functions and not any(has_graph(a) for node in model.graph.node for a in node.attribute):
        return raw_graph(model)
    if any(entry.domain == "" and entry.version < 7 for entry in model.opset_import):
        return None
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return read_raw_graph(str(path))


def actual_outputs(case: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    for _, outputs in case.data_sets or ():
        for value, output in zip(case.model.graph.output, outputs, strict=False):
            if isinstance(output, (np.ndarray, np.generic)):
                yield value.name, np.asarray(output)


def test_operators_against_their_stored_outputs(tmp_path: Path) -> None:
    known = theirs = total = 0
    wrong: list[str] = []
    for case in operator_tests():
        model = without_output_types(case.model)
        raw = loaded(model, tmp_path)
        if raw is None:
            continue
        inferred = infer_shapes(raw)
        for name, output in actual_outputs(case):
            total += 1
            shape = inferred.shapes.get(name)
            if shape is not None:
                known += 1
                if not fits(shape, output.shape):
                    wrong.append(f"{case.name}: {name} is {output.shape}, inferred {shape}")
            wrong += wrong_numbers(case.name, inferred.numbers.get(name), output)
        wrong += [f"{case.name}: {problem}" for problem in wrong_dtypes(case.model, inferred)]
        theirs += ranks_known_to_onnx(model)
    assert not wrong
    assert total > 1900
    assert known > 0.98 * total
    assert known >= theirs


def wrong_numbers(case: str, numbers: tuple[Number, ...] | None, output: np.ndarray[Any, Any]) -> list[str]:
    if numbers is None or output.dtype.kind not in "iufb":
        return []
    return [
        f"{case}: element {actual}, folded {number}"
        for number, actual in zip(numbers, output.ravel().tolist(), strict=True)
        if isinstance(number, (int, float)) and abs(number - actual) > 1e-4 * max(1, abs(actual))
    ]


def wrong_dtypes(model: ModelProto, inferred: Inferred) -> Iterator[str]:
    for value in model.graph.output:
        if value.type.HasField("tensor_type") and value.name in inferred.dtypes:
            actual = TYPE_NAMES.get(value.type.tensor_type.elem_type)
            if inferred.dtypes[value.name] != actual:
                yield f"{value.name} is {actual}, inferred {inferred.dtypes[value.name]}"


def ranks_known_to_onnx(model: ModelProto) -> int:
    try:
        theirs = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # onnx refuses some of its own tests once their outputs are not declared
        return 0
    return sum(v.type.tensor_type.HasField("shape") for v in theirs.graph.output if v.type.HasField("tensor_type"))


MODELS = sorted((Path(onnx.__file__).parent / "backend/test/data").rglob("*.onnx"))


def test_models_of_the_onnx_package_against_its_own_inference() -> None:
    ours = theirs = our_sizes = their_sizes = 0
    contradictions: list[str] = []
    for path in MODELS:
        model = onnx.load(path)
        if model.functions or any(has_graph(a) for node in model.graph.node for a in node.attribute):
            continue
        inferred = infer_shapes(raw_graph(model))
        reference = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = {
            value.name: proto_shape(value.type.tensor_type.shape)
            for value in (*reference.value_info, *reference.output)
            if value.type.tensor_type.HasField("shape")
        }
        for name in (name for node in model.graph.node for name in node.output if name):
            mine, other = inferred.shapes.get(name), shapes.get(name)
            ours, theirs = ours + (mine is not None), theirs + (other is not None)
            our_sizes += sum(isinstance(size, int) for size in mine or ())
            their_sizes += sum(isinstance(size, int) for size in other or ())
            if mine is not None and other is not None and not compatible(mine, other):
                contradictions.append(f"{path.name}: {name} is {other}, inferred {mine}")
    assert not contradictions
    assert theirs > 4000
    assert ours >= theirs
    assert our_sizes >= their_sizes


def compatible(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(
        x == y or not isinstance(x, int) or not isinstance(y, int) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_every_value_of_a_dynamic_transformer_against_a_real_run(exporter: str, tmp_path: Path) -> None:
    """All that is declared is the input (batch, sequence); two runs of other sizes must agree with every inferred size."""
    path = tmp_path / "transformer.onnx"
    export_transformer(path, exporter)
    runtime = pytest.importorskip("onnxruntime")
    raw = read_raw_graph(str(path))
    raw.shapes = {name: shape for name, shape in raw.shapes.items() if name in raw.inputs}
    raw.dtypes = {name: dtype for name, dtype in raw.dtypes.items() if name in raw.inputs}
    inferred = infer_shapes(raw)
    made = [name for node in raw.nodes for name in node.outputs if name]
    assert [name for name in made if name not in inferred.shapes or None in inferred.shapes[name]] == []
    assert inferred.shapes[raw.outputs[0]] == ("batch", "sequence", 7)

    model = onnx.load(path)
    declared = {value.name for value in model.graph.output}
    for name in (name for node in model.graph.node for name in node.output if name and name not in declared):
        model.graph.output.add().name = name
    del model.graph.value_info[:]
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for batch, sequence in ((3, 5), (1, 9)):
        symbols = {"batch": batch, "sequence": sequence}
        ids = np.random.default_rng(0).integers(0, 50, (batch, sequence))
        for output, array in zip(session.get_outputs(), session.run(None, {"ids": ids}), strict=True):
            shape = tuple(in_numbers(size, symbols) for size in inferred.shapes[output.name])
            assert fits(shape, array.shape), output.name
            assert inferred.dtypes[output.name] == array.dtype.name, output.name
            numbers = inferred.numbers.get(output.name)
            if numbers is not None:
                actual = tuple(in_numbers(x, symbols) if isinstance(x, str) else x for x in numbers)
                assert wrong_numbers(output.name, actual, array) == []


def in_numbers(size: Dimension, symbols: dict[str, int]) -> Dimension:
    return eval(size, {"min": min, "max": max}, dict(symbols)) if isinstance(size, str) else size


def export_transformer(path: Path, exporter: str) -> None:
    torch = pytest.importorskip("torch")
    if exporter == "dynamo":
        pytest.importorskip("onnxscript")

    class Block(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.qkv = torch.nn.LayerNorm(16), torch.nn.Linear(16, 48)
            self.out, self.fc = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)
            self.register_buffer("mask", torch.tril(torch.ones(1, 1, 64, 64)))

        def forward(self, x: Any) -> Any:
            batch, length, width = x.shape
            q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
            scores = q @ k.transpose(-1, -2) / k.size(-1) ** 0.5
            scores = scores.masked_fill(self.mask[:, :, :length, :length] == 0, float("-inf"))
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
            x = x + self.out(mixed)
            return x + torch.nn.functional.gelu(self.fc(x.flatten(0, 1))).view(batch, -1, width)

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = torch.nn.Embedding(50, 16), torch.nn.Embedding(64, 16)
            self.blocks, self.head = torch.nn.ModuleList([Block(), Block()]), torch.nn.Linear(16, 7)

        def forward(self, ids: Any) -> Any:
            x = self.words(ids) + self.places(torch.arange(ids.size(1), device=ids.device).unsqueeze(0))
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    ids = torch.zeros((2, 6), dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            torch.onnx.export(
                Model().eval(), (ids,), str(path), dynamo=False, input_names=["ids"], opset_version=17,
                dynamic_axes={"ids": {0: "batch", 1: "sequence"}},
            )  # fmt: skip
        else:
            sizes = {0: torch.export.Dim("batch", min=1, max=60), 1: torch.export.Dim("sequence", min=1, max=60)}
            torch.onnx.export(
                Model().eval(), (ids,), str(path), dynamo=True, input_names=["ids"], dynamic_shapes=(sizes,),
                external_data=False, verbose=False,
            )  # fmt: skip
