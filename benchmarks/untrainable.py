"""Small networks that cannot train, or train badly, for one seeded reason each: what trainaudit says beside what other tools were seen to say.

    python -m benchmarks.untrainable        writes benchmarks/untrainable.md

F1 to F9 and F12 are the ten models that other linters of ONNX files pass. All take 32 features, have ten classes and declare the
loss cross-entropy. The other tools' words were noted in November 2026 from runs of their versions of that day, each with its own
defaults: findings beyond what the same tool says about healthy networks, "~" a warning only. Needs torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import trainaudit
from tests.corpus.exporting import export
from trainaudit.result import Audit, Finding

HERE = Path(__file__).parent
FEATURES, WIDTH, CLASSES = 32, 64, 10
PEERS = ("torch-audit", "torchtest2", "torchmortem", "neural_net_checklist", "preflight-ml", "torchdiag")
ONNX_TEN = ("F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F12")
"""Of these onnx.checker, onnx-doctor and polygraphy check lint found nothing in any."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`rules`: any of them names the cause. `place`: the layer at which it should be named, "" for the whole network. `peers`: what each
    of PEERS said, "–" for nothing. `evidence`: "file" for an ONNX
    file, "module" where the PyTorch module is audited, "run" where neither has it."""

    id: str
    title: str
    build: Callable[[], nn.Module]
    rules: tuple[str, ...]
    place: str
    peers: tuple[str, ...]
    evidence: str = "file"


def mlp(
    depth: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """`depth` hidden layers and the output layer. The hidden layer of index i stands at `fc<i>`, the last one at `head`."""
    model = nn.Sequential()
    for index in range(depth):
        model.add_module(f"fc{index}", nn.Linear(WIDTH if index else FEATURES, WIDTH))
        if norm:
            model.add_module(f"norm{index}", norm(WIDTH))
        model.add_module(f"act{index}", activation())
        if dropout:
            model.add_module(f"drop{index}", nn.Dropout(dropout))
    model.add_module("head", nn.Linear(WIDTH, CLASSES))
    return model


def drawn(model: nn.Module, draw: Callable[[Tensor], object], *, biases: bool = True) -> nn.Module:
    """Every weight of the linear layers drawn by `draw`; biases zero unless they are to stay."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            draw(module.weight)
            if biases:
                nn.init.zeros_(module.bias)
    return model


def _healthy_he_norm() -> nn.Module:
    return drawn(mlp(6, norm=nn.BatchNorm1d), lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


def _dead(share: float) -> nn.Module:
    model = drawn(mlp(4), lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))
    model.fc2.bias.data[: int(share * WIDTH)] = -50.0
    return model


class UnusedLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.forgotten = mlp(3), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Detached(nn.Module):
    """The head trains on features whose gradient is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = mlp(3), nn.Linear(CLASSES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.backbone(x).detach()))


class BatchLeak(nn.Module):
    """Rows and columns are mixed by a reshape: each output row holds features of other samples."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.head = mlp(2), nn.Linear(CLASSES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x)
        return self.head(torch.relu(h.t().reshape(h.shape)))


def _overconfident() -> nn.Module:
    model = drawn(mlp(3), lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))
    nn.init.normal_(model.head.weight, 0.0, 5.0)
    return model


def _softmax_at_the_end() -> nn.Module:
    model = mlp(3)
    model.add_module("softmax", nn.Softmax(dim=-1))
    return model


TOO_SMALL = (
    "undersized-init",
    "init-activation-mismatch",
    "predicted-vanishing-signal",
    "predicted-vanishing-gradient",
)
TOO_LARGE = (
    "oversized-init", "init-activation-mismatch", "predicted-exploding-signal", "predicted-exploding-gradient",
    "confident-output-init",
)  # fmt: skip
DEEP = ("missing-normalization", "plain-depth", *TOO_SMALL)
SATURATED = ("saturated-activation", "oversized-init", "saturating-stack", "init-activation-mismatch")

FAULTS: Sequence[Fault] = (
    Fault("F1", "zero weights", lambda: drawn(mlp(3), nn.init.zeros_), ("zero-init-hidden", "symmetric-init"), "fc0",
          ("TA105", "yes~", "yes", "yes", "yes", "yes")),
    Fault("F2", "constant weights", lambda: drawn(mlp(3), lambda w: nn.init.constant_(w, 0.1)), ("symmetric-init",), "fc0",
          ("TA102", "yes~", "yes", "yes", "yes", "yes")),
    Fault("F3", "N(0, 1e-3), 8 × ReLU", lambda: drawn(mlp(8), lambda w: nn.init.normal_(w, 0.0, 1e-3)), TOO_SMALL, "",
          ("–", "yes~", "gradient_flow", "–", "–", "yes")),
    Fault("F4", "N(0, 1), 8 × ReLU", lambda: drawn(mlp(8), nn.init.normal_), TOO_LARGE, "",
          ("TA102", "yes~", "gradient_flow", "yes", "yes", "yes")),
    Fault("F5", "torch's default initialization, 20 × ReLU, no normalization", lambda: mlp(20), DEEP, "",
          ("–", "overfit~", "dead", "–", "–", "yes")),
    Fault("F6", "10 × sigmoid", lambda: mlp(10, nn.Sigmoid), ("saturating-stack", "predicted-vanishing-gradient", "missing-normalization"), "",
          ("–", "overfit~", "gradient_flow", "overfit", "–", "yes")),
    Fault("F7", "saturated tanh", lambda: drawn(mlp(4, nn.Tanh), lambda w: nn.init.normal_(w, 0.0, 2.0)), SATURATED, "fc0",
          ("–", "–", "saturation", "overfit", "–", "–")),
    Fault("F8", "saturated sigmoid", lambda: drawn(mlp(2, nn.Sigmoid), lambda w: nn.init.normal_(w, 0.0, 5.0)), SATURATED, "fc0",
          ("–", "–", "saturation", "overfit", "–", "–")),
    Fault("F9", "a dead ReLU layer", lambda: _dead(1.0), ("dead-by-bias", "unfireable-relu"), "fc2",
          ("TA105", "yes", "yes", "yes", "yes", "yes")),
    Fault("F10", "a layer with 75 % of its units dead", lambda: _dead(0.75), ("dead-by-bias", "unfireable-relu"), "fc2",
          ("TA105", "–", "dead", "–", "–", "yes")),
    Fault("F11", "softmax before cross-entropy", _softmax_at_the_end, ("double-softmax",), "",
          ("–", "overfit~", "(false saturation)", "yes", "–", "–")),
    Fault("F12", "no nonlinearity", lambda: mlp(4, nn.Identity), ("linear-stack",), "",
          ("–", "–", "(false saturation)", "–", "–", "–")),
    Fault("F13", "an unused layer", UnusedLayer, ("unused-parameter", "unreachable-parameter", "dead-branch"), "forgotten",
          ("TA500", "yes", "yes", "yes", "yes", "yes"), "module"),
    Fault("F14", "samples of a batch mixed", BatchLeak, ("batch-mixing-reshape",), "",
          ("–", "yes", "–", "yes", "–", "–")),
    Fault("F15", "a detached backbone", Detached, ("non-differentiable-path",), "",
          ("–", "yes", "yes", "yes", "yes", "yes"), "module"),
    Fault("F16", "an over-confident head", _overconfident, ("confident-output-init", "oversized-init"), "head",
          ("TA102", "initial_loss~", "–", "yes", "–", "–")),
    Fault("F17", "learning rate 1.0", lambda: mlp(3), (), "", ("TA102/105", "overfit~", "yes", "n/a", "–", "–"), "run"),
    Fault("F18", "learning rate 1e-8", lambda: mlp(3), (), "", ("–", "overfit", "update_ratio", "n/a", "–", "–"), "run"),
    Fault("F19", "inputs 0 to 255", lambda: mlp(3), (), "", ("TA301", "initial_loss~", "–", "yes", "yes", "yes"), "run"),
    Fault("F20", "dropout 0.95, four times", lambda: mlp(4, dropout=0.95), ("excessive-dropout",), "drop0",
          ("TA102", "yes~", "–", "yes", "yes", "–")),
    Fault("F21", "Xavier on 12 × ReLU", lambda: drawn(mlp(12), nn.init.xavier_normal_), DEEP, "",
          ("–", "–", "(dead)", "–", "–", "warning (dead > 20 %)")),
)  # fmt: skip

HEALTHY: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "H1 Kaiming, BatchNorm, 6 × ReLU": (_healthy_he_norm, ("(TA400, correct)", "clean", "8 false", "crash", "false FATAL", "false")),
    "H2 torch's default, 3 × ReLU": (lambda: mlp(3), ("2 generic", "clean", "clean", "clean", "clean", "clean")),
    "H3 LayerNorm, 3 × ReLU": (lambda: mlp(3, norm=nn.LayerNorm), ("2 generic", "clean", "clean", "clean", "clean", "clean")),
}  # fmt: skip


def audited(build: Callable[[], nn.Module], folder: Path, evidence: str = "file") -> Audit:
    """The audit of the exported file (training form, nothing folded), or of the module itself, with the loss declared."""
    torch.manual_seed(0)
    if evidence == "module":
        return trainaudit.audit(build(), (torch.randn(8, FEATURES),), loss="cross-entropy")
    path = folder / "model.onnx"
    export(build(), (torch.randn(8, FEATURES),), path, exporter="torchscript", form="training")
    return trainaudit.audit(path, loss="cross-entropy")


def names_cause(fault: Fault, audit: Audit) -> bool:
    """Whether a finding names the cause at its place."""
    return any(finding.rule in fault.rules and _is_at(finding, fault.place) for finding in audit.findings)


def _is_at(finding: Finding, place: str) -> bool:
    where = [(one.subject, one.location.layer or "", one.location.parameter or "") for one in finding.occurrences]
    return not place or any(name == place or name.startswith(f"{place}.") for names in where for name in names)


def said(audit: Audit) -> str:
    """Errors and warnings with their first layer; the others of the same finding as a count."""
    parts = [
        f"**{finding.rule}** at {finding.root.subject}"
        + (f" (+{len(finding.occurrences) - 1})" if len(finding.occurrences) > 1 else "")
        for finding in audit.findings
        if finding.severity.value != "note"
    ]
    return "; ".join(parts) or "nothing"


def table() -> list[str]:
    lines = [
        f"| | fault | trainaudit, without running anything | cause named | {' | '.join(PEERS)} |",
        "|---|---|---|---|" + "---|" * len(PEERS),
    ]
    named = shown = 0
    with tempfile.TemporaryDirectory() as folder:
        for fault in FAULTS:
            ours, verdict = "in the optimizer or the data, not in the model", "–"
            if fault.evidence != "run":
                audit = audited(fault.build, Path(folder), fault.evidence)
                ours, verdict = said(audit), "yes" if names_cause(fault, audit) else "no"
                shown += 1
                named += verdict == "yes"
            if fault.evidence == "module":
                ours += " (the PyTorch module: an exported file does not have it)"
            mark = " †" if fault.id in ONNX_TEN else ""
            lines.append(f"| {fault.id}{mark} | {fault.title} | {ours} | {verdict} | {' | '.join(fault.peers)} |")
        for title, (build, peers) in HEALTHY.items():
            lines.append(
                f"| {title[:2]} | healthy: {title[3:]} | {said(audited(build, Path(folder)))} | – | {' | '.join(peers)} |"
            )
    return [
        f"Of {len(FAULTS)} seeded faults {shown} can be seen without a run; trainaudit names the cause of {named}.",
        "",
        "† one of the ten ONNX files on which onnx.checker, onnx-doctor and polygraphy check lint found nothing.",
        "",
        "The columns of other tools were noted in November 2026: findings beyond what the same tool says about healthy networks, "
        "“~” a warning only. Those tools run the model, some train it; “yes” is a finding, not the right cause. ONNX files were not "
        "open to them.",
        "",
        *lines,
    ]


def main() -> None:
    head = ["# Networks that do not train", "", "Made by `python -m benchmarks.untrainable`.", ""]
    (HERE / "untrainable.md").write_text("\n".join([*head, *table()]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
