"""An ε that the exporter left out of the file is known from the note of the node that read it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.load.canonical_models import loaded, text_model


def note(argument: str) -> str:
    return (
        f"%log : [num_users=1] = call_function[target=torch.ops.aten.log.default](args = (%{argument},), kwargs = {{}})"
    )


@pytest.mark.parametrize(
    ("argument", "dropped"), [("add_12", True), ("add", True), ("relu_1", False), ("view_3", False), ("address", False)]
)
def test_the_note_names_a_sum_that_is_not_there(argument: str, dropped: bool, tmp_path: Path) -> None:
    model = text_model("relu_1 = Relu(x) y = Log(relu_1)", "float[n, 8] x", "float y", {})
    model.graph.node[1].metadata_props.append(
        onnx.StringStringEntryProto(key="pkg.torch.onnx.fx_node", value=note(argument))
    )
    assert loaded(tmp_path, model).layers[1].attributes == {"epsilon_dropped": dropped}


def test_a_sum_that_is_there(tmp_path: Path) -> None:
    model = text_model("add_12 = Add(x, x) y = Log(add_12)", "float[n, 8] x", "float y", {})
    model.graph.node[1].metadata_props.append(
        onnx.StringStringEntryProto(key="pkg.torch.onnx.fx_node", value=note("add_12"))
    )
    assert loaded(tmp_path, model).layers[1].attributes == {"epsilon_dropped": False}


def test_without_a_note_nothing_is_said(tmp_path: Path) -> None:
    model = text_model("relu_1 = Relu(x) y = Log(relu_1)", "float[n, 8] x", "float y", {})
    assert loaded(tmp_path, model).layers[1].attributes == {}
