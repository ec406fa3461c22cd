"""A module made of an ONNX file is read by the names of its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
from torch.nn import functional  # noqa: E402

from tests.probe.instruments.networks import made, numbers  # noqa: E402
from trainaudit.load.from_onnx import load_onnx  # noqa: E402
from trainaudit.probe.instruments import Instruments  # noqa: E402
from trainaudit.probe.localise import localise  # noqa: E402
from trainaudit.probe.onnx_module import convert  # noqa: E402
from trainaudit.probe.trainee import Batch, Computed  # noqa: E402


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Any, Any, Any, Any, Any, Any]:
    """(the torch model and its graph, inputs and classes, the module of its file and its graph)."""
    model, graph, x, target = made("functional")
    path = str(tmp_path / "model.onnx")
    torch.onnx.export(
        model, (x,), path, dynamo=False, training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False
    )
    return model, graph, x, target, convert(path, is_own=True).module, load_onnx(path)


def test_the_same_numbers_as_of_the_torch_model(exported: Any) -> None:
    model, graph, x, target, module, file_graph = exported
    readings = []
    for one, its_graph, output_of in ((model, graph, lambda y: y), (module, file_graph, lambda y: y[0])):
        optimizer = torch.optim.SGD(one.parameters(), 0.1)
        with Instruments(one, optimizer, its_graph) as instruments:
            for index in range(2):
                with instruments.step(index):
                    optimizer.zero_grad()
                    loss = functional.cross_entropy(output_of(one(x)), target)
                    loss.backward()
                    instruments.read_gradients(loss)
                    optimizer.step()
        assert getattr(one, "watch", None) is None
        readings.append(instruments.collect())
    left, right = readings
    assert [item.tap.op for item in left.activations] == [item.tap.op for item in right.activations]
    assert all(item.tap.layer for item in right.activations)
    for one, other in zip(left.activations, right.activations, strict=True):
        for field in ("mean", "rms", "absmax", "zero_share", "gradient_rms"):
            wanted = pytest.approx(numbers(getattr(other, field)), rel=1e-3, abs=1e-7, nan_ok=True)
            assert numbers(getattr(one, field)) == wanted, (one.tap, field)
        assert (one.unit_count, one.silent_share, one.samples_seen) == (
            other.unit_count,
            other.silent_share,
            other.samples_seen,
        )
    norms = {item.name: item.gradient_norm for item in left.parameters}
    for item in right.parameters:
        if item.name in norms:
            assert item.gradient_norm == pytest.approx(norms[item.name], rel=1e-3)
    assert norms["first.bias"] in [pytest.approx(item.gradient_norm, rel=1e-3) for item in right.parameters]


def test_localise(exported: Any) -> None:
    *_, x, target, module, graph = exported

    def compute(model: Any, batch: Batch) -> Computed:
        output = model(*batch.args)[0]
        return Computed(functional.cross_entropy(output, batch.target), output)

    with torch.no_grad():
        dict(module.named_parameters())["last.bias"].fill_(3e38)
        name = next(key for key, item in module.named_parameters() if item.shape == (3, 8))
        module.get_parameter(name).fill_(3e38)
    seen = localise(module, compute, Batch(args=(x,), target=target, size=12), graph, 4)
    assert seen is not None
    assert (seen.step, seen.kind, seen.layer) == (4, "activation", "last")
    assert module.watch is None
