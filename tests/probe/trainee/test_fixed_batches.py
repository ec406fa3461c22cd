"""Data of a file that was exported for batches of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from trainaudit.load.opening import open_target  # noqa: E402
from trainaudit.load.target import Target  # noqa: E402
from trainaudit.probe.making import make_trainee  # noqa: E402
from trainaudit.probe.plan import ProbePlan  # noqa: E402
from trainaudit.probe.trainee import Trainee  # noqa: E402


def trainee(folder: Path, *, is_reshaped: bool, columns: int = 6) -> Trainee:
    """Of a linear layer on float32[4,6] behind a reshape to 4 rows, or without one, and 24 examples of data."""
    weight = np.random.default_rng(0).standard_normal((6, 3)).astype("float32")
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["rows"])] if is_reshaped else []
    nodes.append(helper.make_node("MatMul", ["rows" if is_reshaped else "x", "weight"], ["y"]))
    stored = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([4, 6]), "shape")]
    float32 = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "fixed", [helper.make_tensor_value_info("x", float32, [4, 6])],
        [helper.make_tensor_value_info("y", float32, [4, 3])], stored if is_reshaped else stored[:1],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    x = np.random.default_rng(1).standard_normal((24, columns)).astype("float32")
    np.savez(folder / "data.npz", x=x, y=np.arange(24) % 3)
    target = Target(str(folder / "m.onnx"))
    plan = ProbePlan(data=str(folder / "data.npz"), loss="cross-entropy", batch_size=10)
    return make_trainee(target, plan, open_target(target))


def test_batches_are_cut_to_the_size_that_the_file_takes(tmp_path: Path) -> None:
    made = trainee(tmp_path, is_reshaped=True)
    assert [(batch.size, batch.is_fixed) for batch in made.train] == [(4, True)] * 4
    assert made.failure is None
    assert any("batches of 4 alone" in note for note in made.notes)


def test_a_size_that_is_only_declared_binds_nobody(tmp_path: Path) -> None:
    made = trainee(tmp_path, is_reshaped=False)
    assert [batch.size for batch in made.train] == [10, 10]
    assert made.failure is None


def test_data_that_do_not_fit_in_another_way_are_said_not_to(tmp_path: Path) -> None:
    made = trainee(tmp_path, is_reshaped=True, columns=5)
    assert made.failure is not None
    assert [batch.size for batch in made.train] == [10, 10]
