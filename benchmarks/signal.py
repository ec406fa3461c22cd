"""How far is the predicted signal from the measured one? `python -m benchmarks.signal` writes signal.md. Needs torch and onnx.

Each network is built in torch, written as ONNX in training form, loaded and predicted; the same quantities are then measured by autograd on the
same weights. `--only TEXT` keeps the networks whose name holds the text (and writes no file), `--init NAME` one initialization, `--layers` prints
every quantity, `--worst N` the N worst.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.signal_networks import INITIALIZATIONS, NETWORKS, Network, make
from trainaudit.ir.graph import Graph, Layer, Role
from trainaudit.ir.ops import Op
from trainaudit.load.from_onnx import load_onnx
from trainaudit.measure.signal.prediction import Prediction
from trainaudit.measure.signal.propagation import predict

DRAWS = 8
"""Batches (and draws of the output's gradient) that a measured figure is the mean of."""
ROUNDING = 1e-9
"""A bias's gradient below this share of its layer's weight gradient is zero but for rounding: it has no decades to be off by."""
REQUIRED, AIM = (0.1, 0.5), (0.05, 0.3)
"""Median and 95th percentile of |log10(predicted / measured)|."""


@dataclass(frozen=True)
class Quantity:
    """One figure of one layer. `kind` is rms, std (of its output), parameter (its gradient) or value (the gradient by its output).
    `spread` is |log10| of the quotient of two halves of the measurement."""

    kind: str
    name: str
    measured: float
    predicted: float | None
    spread: float

    @property
    def error(self) -> float:
        if self.predicted is None:
            return math.nan
        if not self.predicted > 0.0 or not math.isfinite(self.predicted):
            return math.inf
        return abs(math.log10(self.predicted / self.measured))


@dataclass(frozen=True)
class Cell:
    network: str
    initialization: str
    quantities: tuple[Quantity, ...]
    seconds: float
    uncovered: tuple[str, ...] = ()

    def errors(self, *kinds: str) -> list[float]:
        return [q.error for q in self.quantities if q.kind in kinds and q.predicted is not None]


FORWARD, BACKWARD = ("rms", "std"), ("parameter", "value")


def measure(network: Network, model: nn.Module, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """(kind, module path or parameter name) → mean square over each draw. The output's gradient is standard normal, independent for each sample
    and element, so that the second moment of a gradient summed over B samples is B times that for one sample."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    found: dict[tuple[str, str], list[float]] = {}
    outputs: dict[str, Tensor] = {}

    def keep(path: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            assert isinstance(tensor, Tensor)
            tensor.retain_grad()
            outputs[path] = tensor

        return hook

    handles = [
        m.register_forward_hook(keep(path))
        for path, m in model.named_modules()
        if not [*m.children()] and not isinstance(m, nn.Sequential)
    ]  # type: ignore[arg-type]
    for _ in range(DRAWS):
        batch = network.batch
        result = model(network.inputs(batch, generator))
        model.zero_grad()
        result.backward(torch.randn(result.shape, generator=generator, dtype=result.dtype))
        for path, tensor in outputs.items():
            if tensor.grad is None:  # nothing reads it
                continue
            value = tensor.detach()
            found.setdefault(("rms", path), []).append(value.square().mean().item())
            found.setdefault(("std", path), []).append(value.var(correction=0).item())
            found.setdefault(("value", path), []).append(tensor.grad.square().mean().item())
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found.setdefault(("parameter", name), []).append(parameter.grad.square().mean().item() / batch)
        outputs.clear()
    for handle in handles:
        handle.remove()
    return {key: np.array(values) for key, values in found.items()}


def _outputs(graph: Graph) -> dict[str, str]:
    """Module path → the value that it puts out: the first output of its last layer that is read, or is the model's."""

    def is_read(name: str) -> bool:
        readers = [graph.layers[at].op for at in graph.values[name].consumers]
        return name in graph.outputs or any(op is not Op.SHAPE for op in readers)

    used = [layer for layer in graph.layers if layer.source.module and is_read(layer.outputs[0])]
    return {layer.source.module or "": layer.outputs[0] for layer in used}


def _parameters(graph: Graph, names: Sequence[str]) -> dict[str, str]:
    """Torch's name → the name in the graph. An exporter joins the parts of a recurrent layer's parameters: those are found by role."""
    found: dict[str, str] = {}
    by_role = {
        (layer.source.module, role): name
        for layer in graph.layers if layer.source.module is not None
        for role, name in layer.parameters.items()
    }  # fmt: skip
    roles = {"weight_ih_l0": Role.INPUT_WEIGHT, "weight_hh_l0": Role.RECURRENT_WEIGHT}
    for name in names:
        module, _, last = name.rpartition(".")
        role = roles.get(last.removesuffix("_reverse"), Role.BIAS if last.startswith("bias_") else None)
        if role is not None:
            found[name] = by_role.get((module, role.value), "")
        elif name in graph.parameters:
            found[name] = name
    return found


def compare(graph: Graph, prediction: Prediction, measured: dict[tuple[str, str], np.ndarray]) -> Iterator[Quantity]:
    outputs = _outputs(graph)
    names = _parameters(graph, [name for kind, name in measured if kind == "parameter"])
    joined: dict[tuple[str, str], list[np.ndarray]] = {}
    for (kind, name), squares in measured.items():
        label = names.get(name) or name if kind == "parameter" else name
        joined.setdefault((kind, label), []).append(squares)
    roots = {key: np.mean(parts, axis=0) for key, parts in joined.items()}
    for (kind, name), squares in roots.items():
        if not squares.mean() > 0.0:
            continue
        figure = float(np.sqrt(squares.mean()))
        predicted = _predicted(prediction, kind, name, outputs)
        if kind == "parameter" and _is_rounding(graph, name, squares, roots):
            continue
        half = len(squares) // 2
        spread = abs(math.log10(squares[:half].mean() / squares[half:].mean())) / 2 if squares.min() > 0 else 0.0
        yield Quantity(kind, name, figure, predicted, spread)


def _is_rounding(graph: Graph, name: str, squares: np.ndarray, roots: dict[tuple[str, str], np.ndarray]) -> bool:
    """Whether a bias's gradient is zero but for rounding, beside that of its layer's weight."""
    parameter = graph.parameters.get(name)
    if parameter is None or parameter.role is not Role.BIAS:
        return False
    owner: Layer = graph.layers[parameter.owners[0]]
    weight = roots.get(("parameter", owner.parameters.get("weight", "")))
    return weight is not None and bool(squares.mean() < ROUNDING**2 * weight.mean())


def _predicted(prediction: Prediction, kind: str, name: str, outputs: dict[str, str]) -> float | None:
    if kind == "parameter":
        return prediction.parameter_gradients.get(name)
    value = outputs.get(name, "")
    if kind == "value":
        return prediction.gradients.get(value)
    signal = prediction.signals.get(value)
    return None if signal is None else signal.rms if kind == "rms" else signal.std


def run_cell(name: str, initialization: str, folder: Path, seed: int = 0) -> Cell:
    """One row of the table."""
    return hold_against(NETWORKS[name], name, initialization, folder, seed)


def hold_against(network: Network, name: str, initialization: str, folder: Path, seed: int = 0) -> Cell:
    """Build, export, load, predict, measure, compare."""
    model = make(network, initialization, seed)
    path = folder / "model.onnx"
    _export(network, model, path)
    graph = load_onnx(str(path))
    start = time.process_time()
    prediction = predict(graph)
    seconds = time.process_time() - start
    quantities = tuple(compare(graph, prediction, measure(network, model, seed + 1)))
    return Cell(name, initialization, quantities, seconds, tuple(f"{k}: {v}" for k, v in prediction.uncovered.items()))


def _export(network: Network, model: nn.Module, path: Path) -> None:
    from tests.corpus.exporting import export

    example = network.inputs(2, torch.Generator().manual_seed(0), torch.float32)
    export(model, (example,), path, exporter="torchscript", form="training")


def _quantiles(errors: Sequence[float]) -> tuple[float, float]:
    if not errors:
        return math.nan, math.nan
    return float(np.median(errors)), float(np.quantile(errors, 0.95))


def _figures(errors: Sequence[float]) -> str:
    return " | ".join(f"{figure:.3f}" for figure in _quantiles(errors))


def _coverage(cells: Sequence[Cell], *kinds: str) -> float:
    every = [q for cell in cells for q in cell.quantities if not kinds or q.kind in kinds]
    return sum(q.predicted is not None for q in every) / max(1, len(every))


def _worst(cell: Cell) -> str:
    known = [q for q in cell.quantities if q.predicted is not None]
    if not known:
        return ""
    worst = max(known, key=lambda q: q.error)
    return f"{worst.name} ({worst.kind}) {worst.error:.2f}"


def table(cells: Sequence[Cell]) -> str:
    lines = [
        "# Signal propagation: predicted against measured",
        "",
        "`python -m benchmarks.signal` (fixed seeds, CPU) writes this file.",
        "",
        _PROSE,
    ]
    lines += [
        "",
        "## All networks together",
        "",
        "| | median | required | aim | 95th percentile | required | aim | covered |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, kinds in (
        ("forward", FORWARD), ("backward", BACKWARD), ("of these: rms of a layer's output", ("rms",)), ("std of a layer's output", ("std",)),
        ("gradient by a parameter", ("parameter",)), ("gradient by a layer's output", ("value",)),
    ):  # fmt: skip
        median, high = _quantiles([error for cell in cells for error in cell.errors(*kinds)])
        lines.append(
            f"| {title} | {median:.3f} | {REQUIRED[0]} | {AIM[0]} | {high:.3f} | {REQUIRED[1]} | {AIM[1]} | {_coverage(cells, *kinds):.1%} |"
        )
    spread = [q.spread for cell in cells for q in cell.quantities]
    median, high = _quantiles(spread)
    lines += [
        "",
        f"{len(cells)} cells, {sum(len(c.quantities) for c in cells):,} quantities. The measurement's own spread (one half of the draws against the",
    ]
    lines += [
        f"other, in decades): median {median:.3f}, 95th percentile {high:.3f}. Prediction: {1000 * float(np.median([c.seconds for c in cells])):.0f} ms a network (median, CPU)."
    ]
    beyond = [cell for cell in cells if not _within(cell, REQUIRED)]
    lines += [
        "",
        f"{len(cells) - len(beyond)} of {len(cells)} cells are within the required bounds by themselves, {sum(_within(c, AIM) for c in cells)} within the aim.",
    ]
    lines += [
        "",
        "## By network and initialization",
        "",
        "| network | initialization | forward median | p95 | backward median | p95 | worst | covered |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        lines.append(
            f"| {cell.network} | {cell.initialization} | {_figures(cell.errors(*FORWARD))} | {_figures(cell.errors(*BACKWARD))} | {_worst(cell)} | {_coverage([cell]):.0%} |"
        )
    return "\n".join([*lines, ""])


def _within(cell: Cell, bounds: tuple[float, float]) -> bool:
    figures = [_quantiles(cell.errors(*kinds)) for kinds in (FORWARD, BACKWARD)]
    return _coverage([cell]) == 1.0 and all(median <= bounds[0] and high <= bounds[1] for median, high in figures)


_PROSE = f"""|log10(predicted / measured)|, in decades, over the layers of each network. Forward: rms and standard deviation of the output of
each module. Backward: rms of the gradient by one element of each parameter and of each module's output, for one sample, where the gradient by the
network's output is standard normal. Measured by autograd in float64 over {DRAWS} batches of 16 to 256 random inputs, the networks in training
form. A bias whose gradient is zero but for rounding (below {ROUNDING:g} of its
weight's: before a batch normalization, in a key) is left out, whatever is predicted for it. Initializations: torch's default; He, Glorot
(normal) and orthogonal; small N(0, 0.01²); large 3 × He; all but the default with zero biases. Networks: `benchmarks/signal_networks.py`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--init", choices=[*INITIALIZATIONS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--worst", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            if options.only not in name:
                continue
            for initialization in [options.init] if options.init else INITIALIZATIONS:
                cell = run_cell(name, initialization, Path(folder), options.seed)
                cells.append(cell)
                print(
                    f"{name:28} {initialization:10} forward {_figures(cell.errors(*FORWARD))}  backward {_figures(cell.errors(*BACKWARD))}  "
                    f"{_coverage([cell]):4.0%}  {1000 * cell.seconds:4.0f} ms  {_worst(cell)}  {' '.join(cell.uncovered[:3])}",
                    flush=True,
                )
                for q in cell.quantities if options.layers else ():
                    print(
                        f"    {q.kind:9} {q.name:28} measured {q.measured:10.4g} predicted {q.predicted or math.nan:10.4g} error {q.error:6.3f} spread {q.spread:.3f}"
                    )
    for q, cell in sorted(
        ((q, c) for c in cells for q in c.quantities if q.predicted is not None), key=lambda p: -p[0].error
    )[: options.worst]:
        print(
            f"{q.error:6.2f} {cell.network} / {cell.initialization}: {q.kind} {q.name} measured {q.measured:.4g} predicted {q.predicted:.4g}"
        )
    for title, kinds in (
        ("forward", FORWARD),
        ("backward", BACKWARD),
        *(((k,) and (k, (k,))) for k in ("rms", "std", "parameter", "value")),
    ):
        print(
            f"{title}: {_figures([e for c in cells for e in c.errors(*kinds)])} covered {_coverage(cells, *kinds):.1%}"
        )
    if not options.only and not options.init:
        (Path(__file__).parent / "signal.md").write_text(table(cells), "utf-8")


if __name__ == "__main__":
    main()
