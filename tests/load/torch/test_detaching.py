"""Where gradients are cut: detach and torch.no_grad stand in the graph where they keep a parameter from training, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

import trainaudit  # noqa: E402
from trainaudit.ir.ops import Op  # noqa: E402
from trainaudit.load.torch.from_torch import load_module  # noqa: E402

RULE = "non-differentiable-path"


class Parts(nn.Module):
    """What the networks of these tests are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.teacher = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32))
        self.codes = nn.Embedding(24, 32)
        self.head = nn.Linear(32, 10)


def network(forward: Callable[[Any, Tensor], Any]) -> Parts:
    """A seeded network with this forward."""
    torch.manual_seed(0)
    made: Parts = type("Network", (Parts,), {"forward": forward})()
    return made


class Detached(Parts):
    def forward(self, x: Tensor) -> Any:
        return self.head(self.backbone(x).detach())


class UnderNoGrad(Parts):
    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            h = self.backbone(x)
        return self.head(h)


class UnderNoGradByData(Parts):
    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            h = self.backbone(x)
        if h.sum() > 1e9:  # torch.export gives up here, make_fx does not
            h = h * 2
        return self.head(h)


class SwitchedOff(Parts):
    def forward(self, x: Tensor) -> Any:
        with torch.set_grad_enabled(False):
            h = self.backbone(x)
        return self.head(h)


def straight_through(m: Any, x: Tensor) -> Tensor:
    h = torch.sigmoid(m.backbone(x))
    return m.head(h + (h.round() - h).detach())


def nearest_code(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    h = m.backbone(x)
    q = m.codes(torch.cdist(h, m.codes.weight).argmin(1))
    loss = (q - h.detach()).square().mean() + (q.detach() - h).square().mean()
    return m.head(h + (q - h).detach()), loss


def nearest_code_without_loss(m: Any, x: Tensor) -> Tensor:
    h = m.backbone(x)
    q = m.codes(((h[:, None] - m.codes.weight) ** 2).sum(-1).argmin(1))
    return m.head(h + (q - h).detach())


def stop_gradient(m: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first, second = m.backbone(x), m.backbone(x + 0.1)
    return m.head(first), m.head(second), first.detach(), second.detach()


def loss_of_stopped(m: Any, x: Tensor) -> Tensor:
    first, second = m.backbone(x), m.backbone(x + 0.1)
    return -torch.cosine_similarity(first, second.detach()).mean()


def teacher(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        wanted = m.teacher(x)
    h = m.backbone(x)
    return m.head(h), (h * wanted).sum(1)


def positions(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        wave = torch.sin(torch.cumsum(torch.ones_like(x), 1))
    return m.head(m.backbone(x + wave.detach() + torch.tensor([0.5])))


def stable_softmax(m: Any, x: Tensor) -> Tensor:
    scores = m.backbone(x)
    return m.head((scores - scores.amax(1, keepdim=True).detach()).exp())


def cut(forward: Callable[[Any, Tensor], Any], change: Callable[[Parts], object] = lambda _: None) -> set[str]:
    """The parameters that the rule names."""
    module = network(forward)
    change(module)
    audit = trainaudit.audit(module, (torch.randn(8, 16),))
    return {item.subject for finding in audit.findings if finding.rule == RULE for item in finding.occurrences}


@pytest.mark.parametrize("kind", [Detached, UnderNoGrad, UnderNoGradByData, SwitchedOff])
def test_a_cut_off_backbone_is_named_with_the_line_that_cuts_it(kind: type[Parts]) -> None:
    torch.manual_seed(0)
    audit = trainaudit.audit(kind(), (torch.randn(8, 16),))
    (finding,) = [finding for finding in audit.findings if finding.rule == RULE]
    line = kind.forward.__code__.co_firstlineno + (1 if kind is Detached else 2)

    assert {"backbone.0.weight", "backbone.2.weight"} <= {item.subject for item in finding.occurrences}
    assert all(item.subject.startswith("backbone.") for item in finding.occurrences)
    assert f"test_detaching.py:{line}" in finding.root.message


@pytest.mark.parametrize(
    "forward",
    [straight_through, nearest_code, nearest_code_without_loss, stop_gradient, loss_of_stopped, teacher, positions, stable_softmax],
)  # fmt: skip
def test_meant_cuts_are_silent(forward: Callable[[Any, Tensor], Any]) -> None:
    assert cut(forward) == set()


def test_a_frozen_backbone_is_silent() -> None:
    assert cut(UnderNoGrad.forward, lambda module: module.backbone.requires_grad_(False)) == set()


def test_a_cut_that_keeps_no_gradient_from_a_parameter_is_no_layer() -> None:
    graph = load_module(network(positions), (torch.randn(8, 16),), name="model")

    assert Op.DETACH not in {layer.op for layer in graph.layers}


@pytest.mark.parametrize("forward", [Detached.forward, UnderNoGrad.forward, stop_gradient, nearest_code, teacher])
def test_named_as_cut_is_what_autograd_gives_nothing(forward: Callable[[Any, Tensor], Any]) -> None:
    module, x = network(forward), torch.randn(8, 16)
    results = module(x)
    sum(item.sum() for item in (results if isinstance(results, tuple) else (results,)) if item.requires_grad).backward()
    without = {name for name, parameter in module.named_parameters() if parameter.grad is None}

    from trainaudit.measure.static.flow import trace_uses
    from trainaudit.measure.static.index import build_index
    from trainaudit.measure.static.parameters import measure_parameters, trainable_sizes

    graph = load_module(module, (x,), name="model")
    index = build_index(graph)
    columns = measure_parameters(index, trace_uses(index), trainable_sizes(graph), {})
    reaches, blocked = columns["parameter.reaches_output"], columns["parameter.is_gradient_blocked"]
    assert {name for name, reached in reaches.items() if not reached or blocked[name]} == without
