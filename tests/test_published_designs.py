"""Small networks of published designs raise no alarm, and their faulty twins do: as exported by torch, with training kept."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import trainaudit  # noqa: E402
from tests.corpus.exporting import export  # noqa: E402
from trainaudit.cli import main  # noqa: E402
from trainaudit.ir.graph import Parameter, Role  # noqa: E402
from trainaudit.ir.tensor import ArrayData  # noqa: E402
from trainaudit.load.from_onnx import load_onnx  # noqa: E402
from trainaudit.measure import measuring  # noqa: E402
from trainaudit.measure.signal.propagation import predict  # noqa: E402
from trainaudit.measure.static.initialization import SILENT, UNTOUCHED, identify_weight  # noqa: E402
from trainaudit.measure.static.tensor_statistics import tensor_statistics  # noqa: E402
from trainaudit.result import Audit, Severity  # noqa: E402


def audit(
    folder: Path, model: nn.Module, *example: torch.Tensor, loss: str | None = None, exporter: str = "dynamo"
) -> Audit:
    path = folder / "model.onnx"
    export(model, example, path, exporter=exporter, form="training")
    return trainaudit.audit(path, loss=loss)


def alarms(found: Audit) -> set[str]:
    return {finding.rule for finding in found.findings if finding.severity is not Severity.NOTE}


class Recurrent(nn.Module):
    """A cell that starts from zeros, which torch stores as a tensor, and a stack behind it."""

    def __init__(self, kind: str, behind: nn.Module) -> None:
        super().__init__()
        self.cell, self.behind = getattr(nn, kind)(8, 32), behind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for step in range(3):
            state = self.cell(x[:, step], state)
        return self.behind(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_the_signal_is_predicted_behind_a_state_that_starts_at_zero(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    found = audit(tmp_path, Recurrent(kind, nn.Linear(32, 3)), torch.randn(4, 5, 8))
    assert not alarms(found)
    assert found.facts["model.signal_coverage"]["model"] == 1.0
    assert not found.warnings


class Started(nn.Module):
    """A state that the graph fills, a half everywhere, beside an input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(5, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(torch.full((len(x), 4), 0.5)) + self.second(x)


def test_a_linear_layer_on_a_filled_state_gives_what_it_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, path = Started(), tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.randn(3, 5),), str(path), dynamo=True, optimize=False, verbose=False)
    graph = load_onnx(str(path))
    (layer,) = [layer for layer in graph.layers if layer.name == "first"]
    signal = predict(graph).signals[layer.outputs[0]]
    truth = model.first(torch.full((1, 4), 0.5)).detach()[0].numpy()
    np.testing.assert_allclose(signal.mean, truth, rtol=1e-5)
    np.testing.assert_allclose(signal.variance, 0.0, atol=1e-12)


def test_a_saturating_stack_behind_a_cell_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stack = [part for _ in range(12) for part in (nn.Linear(32, 32), nn.Sigmoid())]
    found = audit(tmp_path, Recurrent("RNNCell", nn.Sequential(*stack, nn.Linear(32, 3))), torch.randn(4, 5, 8))
    assert "saturating-stack" in alarms(found)


def test_a_measurement_that_breaks_down_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> Any:
        raise IndexError("tuple index out of range")

    monkeypatch.setattr(measuring, "measure_signal", broken)
    found = audit(tmp_path, nn.Linear(8, 3), torch.randn(4, 8))
    (warning,) = found.warnings
    assert "A part of the audit was not made" in warning
    assert "IndexError" in warning


class Transformer(nn.Module):
    """A spatial transformer (Jaderberg 2015): its last layer starts at the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(1, 8, 7), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(968, 32), nn.ReLU()
        )
        self.place, self.conv, self.head = nn.Linear(32, 6), nn.Conv2d(1, 8, 3), nn.Linear(8, 5)
        nn.init.zeros_(self.place.weight)
        self.place.bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = functional.affine_grid(self.place(self.locate(x)).view(-1, 2, 3), x.shape, align_corners=False)
        x = functional.grid_sample(x, grid, align_corners=False)
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("is_dynamo", [True, False])
def test_a_spatial_transformer_starts_at_the_identity(tmp_path: Path, is_dynamo: bool) -> None:
    """With the grid as one operator, and as the newer exporter writes it out."""
    torch.manual_seed(0)
    model, example = Transformer(), torch.randn(2, 1, 28, 28)
    found = audit(tmp_path, model, example)
    if not is_dynamo:
        path = str(tmp_path / "one.onnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, (example,), path, dynamo=False, opset_version=20)
        assert "AffineGrid" in {layer.raw_op for layer in load_onnx(path).layers}
        found = trainaudit.audit(path)
    assert not alarms(found)


class Aligned(nn.Module):
    """PointNet's alignment (Qi 2016), whose identity is the bias."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 9))
        nn.init.zeros_(self.align[2].weight)
        self.align[2].bias.data = start * torch.eye(3).flatten()
        self.points, self.head = nn.Linear(3, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x @ self.align(x.flatten(1)).view(-1, 3, 3)
        return self.head(torch.relu(self.points(x)).amax(1))


def test_an_alignment_starts_at_the_identity(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert not alarms(audit(tmp_path, Aligned(1.0), torch.randn(4, 10, 3)))
    assert "zero-init-hidden" in alarms(audit(tmp_path, Aligned(0.0), torch.randn(4, 10, 3)))


class Latent(nn.Module):
    """A categorical latent variable (Jang 2017), or a plain softmax between layers."""

    def __init__(self, is_drawn: bool) -> None:
        super().__init__()
        self.encode, self.decode, self.is_drawn = nn.Linear(50, 40), nn.Linear(40, 5), is_drawn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.encode(x).view(-1, 4, 10)
        chosen = functional.gumbel_softmax(logits, 0.7) if self.is_drawn else logits.softmax(-1)
        return self.decode(chosen.flatten(1))


def test_a_relaxed_draw_is_no_hidden_softmax(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert not alarms(audit(tmp_path, Latent(True), torch.randn(8, 50)))
    assert alarms(audit(tmp_path, Latent(False), torch.randn(8, 50))) == {"hidden-softmax"}


class Pooled(nn.Module):
    """Attention pooling over tokens, by one score for each."""

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.embed, self.norm, self.score, self.head = (
            nn.Linear(8, 64),
            nn.LayerNorm(64),
            nn.Linear(64, 1),
            nn.Linear(64, 10),
        )
        if scale is not None:
            nn.init.normal_(self.head.weight, std=scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(self.embed(x))
        weights = self.score(tokens).softmax(1)
        return self.head(torch.bmm(weights.transpose(1, 2), tokens).squeeze(1))


def test_a_score_is_no_bottleneck_and_what_reads_the_pool_is_the_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert not alarms(audit(tmp_path, Pooled(), torch.randn(4, 12, 8), loss="cross-entropy"))
    assert alarms(audit(tmp_path, Pooled(1.0), torch.randn(4, 12, 8), loss="cross-entropy")) == {
        "confident-output-init"
    }


class Headed(nn.Module):
    """Whatever the end of a small classifier is."""

    def __init__(self, end: Any, outputs: int = 1) -> None:
        super().__init__()
        self.body, self.end = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, outputs)), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.body(x))


@pytest.mark.parametrize("end", [
    lambda z: z.sigmoid().clamp(1e-6, 1 - 1e-6), lambda z: z.sigmoid().clamp(min=1e-7), lambda z: z.sigmoid() + 1e-7,
])  # fmt: skip
def test_a_clamp_hides_no_sigmoid(tmp_path: Path, end: Any) -> None:
    torch.manual_seed(0)
    found = audit(tmp_path, Headed(end), torch.randn(4, 8), loss="bce-with-logits")
    assert alarms(found) == {"sigmoid-before-logits-loss"}


def test_a_clamp_hides_no_softmax_and_goes_with_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    end = lambda z: z.softmax(1).clamp_min(1e-9).view(-1, 5)  # noqa: E731
    found = audit(tmp_path, Headed(end, 5), torch.randn(4, 8), loss="cross-entropy")
    (finding,) = [one for one in found.findings if one.rule == "double-softmax"]
    assert [change.kind for change in finding.root.changes] == ["drop-layer", "drop-layer"]


def test_a_bound_that_cuts_more_is_a_layer_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    end = lambda z: z.sigmoid().clamp(0.2, 0.8)  # noqa: E731
    found = audit(tmp_path, Headed(end), torch.randn(4, 8), loss="bce-with-logits")
    assert "sigmoid-before-logits-loss" not in alarms(found)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, set()), (1000.0, {"exp-overflow"})])
def test_a_softplus_by_hand_overflows_where_its_operand_is_large(
    tmp_path: Path, factor: float, expected: set[str]
) -> None:
    torch.manual_seed(0)
    end = lambda z: torch.log(1 + torch.exp(factor * z))  # noqa: E731
    assert alarms(audit(tmp_path, Headed(end), torch.randn(4, 8), loss="mse")) == expected


def test_a_root_of_a_rectifier_explodes_no_gradient(tmp_path: Path) -> None:
    """Its slope is infinite at zero, where the rectifier lets nothing through."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), _Root(), nn.Linear(64, 5))
    assert "predicted-exploding-gradient" not in alarms(
        audit(tmp_path, model, torch.randn(4, 32), loss="cross-entropy")
    )
    predicted = predict(load_onnx(str(tmp_path / "model.onnx"))).parameter_gradients
    ratios = []
    for _ in range(5):
        model.zero_grad()
        functional.cross_entropy(model(torch.randn(2048, 32)), torch.randint(0, 5, (2048,))).backward()
        ratios.append(float(model[0].weight.grad.norm() / 32**0.5 / (model[3].weight.grad.norm() / 5**0.5)))
    measured = sorted(ratios)[2]
    assert abs(math.log10(predicted["0.weight"] / predicted["3.weight"] / measured)) < 0.3


class _Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(x)


class Standardized(nn.Conv2d):
    """A convolution whose weight is standardized at each step (Qiao 2019)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Cosine(nn.Module):
    """A head that compares directions (ArcFace, Deng 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64))
        self.classes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(100, 64)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 30 * functional.linear(functional.normalize(self.body(x)), functional.normalize(self.classes))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_weights_that_the_graph_normalizes_are_not_called_trained(tmp_path: Path, exporter: str) -> None:
    torch.manual_seed(0)
    parts = [nn.GroupNorm(8, 32), nn.ReLU(), Standardized(32, 64, 3, 2, 1), nn.GroupNorm(8, 64), nn.ReLU()]
    standardized = nn.Sequential(
        Standardized(3, 32, 3, 2, 1), *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )
    for model, example in ((standardized, torch.randn(2, 3, 32, 32)), (Cosine(), torch.randn(4, 64))):
        found = audit(tmp_path, model, example, exporter=exporter)
        assert found.model.weights_state == "fresh"
        assert found.facts["model.parameter_count"]["model"] == sum(one.numel() for one in model.parameters())
        assert not alarms(found)


def test_judge_names_the_loss_of_its_facts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export(nn.Linear(8, 3), (torch.randn(4, 8),), tmp_path / "model.onnx", exporter="dynamo", form="training")
    facts = str(tmp_path / "facts.json")
    assert (
        CliRunner().invoke(main, ["measure", str(tmp_path / "model.onnx"), "--loss", "mse", "-o", facts]).exit_code == 0
    )
    assert "--loss mse" in CliRunner().invoke(main, ["judge", facts]).stdout


@pytest.mark.parametrize(("low", "high", "standing"), [(-0.2, 0.1, UNTOUCHED), (-0.17644, 0.09137, SILENT)])
def test_nobody_draws_between_odd_ends(low: float, high: float, standing: str) -> None:
    values = np.random.default_rng(0).uniform(low, high, (16, 64)).astype(np.float32)
    parameter = Parameter("w", (16, 64), "float32", Role.WEIGHT, True, (0,), ArrayData(values), 0, 64, 16)
    assert identify_weight(parameter, tensor_statistics(parameter)).standing == standing
