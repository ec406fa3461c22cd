"""The same network read through torch and through either exporter of ONNX is the same graph and has the same findings.

`python -m benchmarks.captures` compares every network of the corpus with both exporters; here all hand-written ones take their turn with one
of them, and every sixth configuration of transformers with the older one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

import trainaudit
from trainaudit.result import Audit

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from tests.corpus.architectures import ARCHITECTURES  # noqa: E402
from tests.corpus.configs import CONFIGS  # noqa: E402
from tests.corpus.exporting import ONLY_DYNAMO, export  # noqa: E402
from tests.load.torch.agreeing import DIFFERENT, findings_of  # noqa: E402
from tests.load.torch.comparing import names_of, normal_lines  # noqa: E402
from trainaudit.load.from_onnx import load_onnx  # noqa: E402
from trainaudit.load.torch.from_torch import load_module  # noqa: E402

MODELS = {**ARCHITECTURES, **CONFIGS}
TURNS = [
    *((name, "torchscript" if place % 8 else "dynamo") for place, name in enumerate(ARCHITECTURES)),
    *((name, "torchscript") for name in list(CONFIGS)[::6]),
]


@pytest.mark.parametrize(("name", "exporter"), TURNS)
def test_a_network_is_the_same_graph(name: str, exporter: str, tmp_path: Path) -> None:
    if exporter == "torchscript" and name in ONLY_DYNAMO:
        pytest.skip(ONLY_DYNAMO[name])
    if (name, exporter) in DIFFERENT:
        pytest.skip(DIFFERENT[name, exporter])
    torch.manual_seed(0)
    model, example = MODELS[name]()
    stored = names_of(model)
    through_torch = load_module(model, example, name=name)
    export(model, example, tmp_path / "model.onnx", exporter=exporter, form="training")

    through_onnx = load_onnx(str(tmp_path / "model.onnx"))

    assert normal_lines(through_torch, stored) == normal_lines(through_onnx, stored)


class Roundabout(nn.Module):
    """What the exporters spell unlike torch's calls: dropout of nothing, casts to the type that is there, indices, splits of a table,
    patches, squares, attention whose scores are reshaped, and a pool of an image whose channels come last."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(8, 16))
        self.stem, self.bias = nn.Conv1d(16, 16, 1, bias=False), nn.Parameter(torch.randn(16, 1))
        self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.dropout, self.head = nn.Dropout(0.0), nn.Linear(16, 4)
        self.register_buffer("places", torch.tensor([7, 0, 3, 3, 1, 2, 6, 5]))

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout(F.relu(self.stem(x) + self.bias).square()).transpose(1, 2)
        left, right = self.table.chunk(2, 1)
        h = h.float().type_as(x) + self.table[self.places] * torch.cat((right, left), 1)
        n = x.shape[0]
        q, k, v = (
            layer(h).view(n, 8, 4, 4).transpose(1, 2).reshape(4 * n, 8, 4)
            for layer in (self.query, self.key, self.value)
        )
        scores = (q @ k.transpose(1, 2) / 2).view(n, 4, 8, 8)
        weights = torch.softmax(scores, -1).view(4 * n, 8, 8)
        h = h + (weights @ v).view(n, 4, 8, 4).transpose(1, 2).reshape(n, 8, 16)
        h = F.unfold(h.transpose(1, 2)[..., None], (3, 1), padding=(1, 0)).transpose(1, 2)[:, :, :16]
        h = h[:, [1, -1, 2, 2]].reshape(n, 2, 2, 16).permute(0, 3, 1, 2)
        return self.head(F.adaptive_avg_pool2d(h, 1)[..., 0, 0])


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_roundabout_spellings_are_the_same_graph(exporter: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, example = Roundabout(), (torch.randn(2, 16, 8),)
    through_torch = load_module(model, example, name="roundabout")
    export(model, example, tmp_path / "model.onnx", exporter=exporter, form="training")

    through_onnx = load_onnx(str(tmp_path / "model.onnx"))

    assert normal_lines(through_torch, names_of(model)) == normal_lines(through_onnx, names_of(model))
    kinds = {layer.op.value for layer in through_onnx.layers}
    assert {"conv", "pow", "attention", "unfold", "gather", "linear"} <= kinds
    assert kinds.isdisjoint({"dropout", "softmax", "pad", "sequence", "other"})


# --- findings ------------------------------------------------------------------------------------------------------------


def deep_sigmoids() -> nn.Module:
    layers = [layer for _ in range(12) for layer in (nn.Linear(64, 64), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def dropped_output() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(-1), nn.Softmax(-1), nn.Dropout(0.9)
    )


def no_activation() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.Linear(128, 128),
        nn.BatchNorm1d(128, eps=1e-14),
        nn.ReLU(),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def constant_weights() -> nn.Module:
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.normal_(model[2].weight, 0, 5.0)
    return model


class Unscaled(nn.Module):
    """Attention without its scale, normalized over the batch at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, 4, 16).repeat(1, 1, 4)
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        h = torch.softmax(scores, -1) @ self.value(x)
        return torch.log(F.softmax(self.head(h.mean(1)), 0))


class Frozen(nn.Module):
    """A weight with a NaN, a convolution whose kernels never meet an input, and roots and quotients without a guard."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 3, stride=5)
        self.head = nn.Linear(8 * 13, 10)
        with torch.no_grad():
            self.head.weight[0, 0] = math.nan

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.conv(x[:, None])).flatten(1)
        return self.head(torch.sqrt(h) / h.sum(1, keepdim=True))


FAULTY: tuple[Callable[[], nn.Module], ...] = (
    deep_sigmoids,
    dropped_output,
    no_activation,
    constant_weights,
    Unscaled,
    Frozen,
)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("make", FAULTY)
def test_a_faulty_network_has_the_same_findings(make: Callable[[], nn.Module], exporter: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, example = make(), (torch.randn(2, 64),)
    through_torch = trainaudit.audit(model, example)
    export(model, example, tmp_path / "model.onnx", exporter=exporter, form="training")

    through_onnx = trainaudit.audit(tmp_path / "model.onnx")

    assert findings_of(through_torch.findings)
    assert findings_of(through_torch.findings) == findings_of(through_onnx.findings)
    assert not _failed(through_torch)


def _failed(audit: Audit) -> list[str]:
    return [outcome.rule for outcome in audit.outcomes if outcome.state.value == "failed"]
