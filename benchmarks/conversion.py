"""ONNX files as torch modules: the onnx package's own node tests, and the corpus through both exporters.

`python -m benchmarks.conversion` writes conversion.md; `--nodes` and `--exports` run one half and print it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from benchmarks.conversion_nodes import node_table, node_tests, stored_tests, try_node
from benchmarks.exports import MODELS, TRAINED, exported, network
from tests.corpus.exporting import EXPORTERS, FORMS, ONLY_DYNAMO
from trainaudit.errors import TrainauditError
from trainaudit.load.onnx_file import read_raw_graph
from trainaudit.probe.onnx_module import Converted, convert
from trainaudit.probe.onnx_module.inputs import drawn

_HEAD = """# ONNX files as torch modules

Written by `python -m benchmarks.conversion` (onnx {onnx}, onnxruntime {onnxruntime}, torch {torch}); {seconds:.0f} seconds of one core.

## The onnx package's node tests

Each test's model is converted with the check against onnxruntime that every conversion gets, then run on the test's stored inputs and compared
with its stored outputs under the test's own tolerance (relative 1e-3 in most; a millionth of the output's largest value besides), types and shapes included; half-precision floats get what the check
lets pass. The module runs in evaluation mode, except where the test's BatchNormalization says training. A test that compares a random draw with
the draw of numpy's generator can tell nothing. "Float" are the tests with a float32 input or output.

{nodes}

## The corpus, fresh and trained, through both exporters, in training and in inference form

The error is the largest absolute difference from onnxruntime over the largest magnitude of the output, in evaluation mode, on one seeded random input. "Trained" is
the share of floating-point weights (elements of stored tensors with two elements or more that the model reads) that are parameters; "gradient" the
share of those that one backward pass in training mode reaches, "not all zero" those whose gradient holds another number than zero: a head that starts
at zero lets nothing through on the first step. "Gradients apart" is how far the gradients of files in training form lie from those of the PyTorch network
itself in evaluation mode, parameter by parameter, relative to the largest number of each; empty where the network draws numbers or calls one normalization twice.

{exports}
"""


@dataclass(frozen=True, slots=True)
class Export:
    """One file of one network; `refusal` says why it has none of the rest."""

    name: str
    error: float | None = None
    unchecked: str = ""
    trained: int = 0
    weights: int = 0
    reached: int = 0
    moved: int = 0
    refusal: str = ""
    off: float | None = None
    """How far the gradients lie from the network's own; None where they were not compared."""


def exports() -> Iterator[Export]:
    """Every file of the corpus, converted and trained for one backward pass."""
    for is_trained, names in ((False, MODELS), (True, TRAINED)):
        for name in names:
            for exporter in EXPORTERS:
                if exporter == "torchscript" and name in ONLY_DYNAMO:
                    continue
                for form in FORMS:
                    path = str(exported(name, exporter, form, is_trained=is_trained))
                    yield try_export(name, path, is_trained=is_trained, is_whole=form == "training")


def try_export(name: str, path: str, *, is_trained: bool, is_whole: bool) -> Export:
    """Convert one file and run one backward pass in training mode; where the file is whole (nothing folded), hold the gradients in evaluation
    mode against the network's own."""
    try:
        converted = convert(path, is_own=True)
    except TrainauditError as error:
        return Export(name, refusal=error.what.partition(" ")[2])
    module, raw = converted.module, read_raw_graph(path)
    parameters = list(module.parameters())
    trained = sum(one.numel() for one in parameters)
    constants = [
        value
        for stored, value in module.plan.constants.items()
        if stored in raw.tensors and value.is_floating_point() and value.numel() > 1
    ]
    torch.manual_seed(0)
    try:
        outputs = module(*next(iter(drawn(raw, 0))).values())
    except Exception as error:  # the file runs nowhere, see `unchecked`
        return Export(name, converted.error, converted.unchecked, refusal=f"does not run: {error}")
    floats = [value for value in outputs if value.is_floating_point() and value.requires_grad]
    sum(((value.float() + torch.randn_like(value.float())) ** 2).mean() for value in floats).backward()
    reached = [one for one in parameters if one.grad is not None and bool(torch.isfinite(one.grad).all())]
    return Export(
        name, converted.error, converted.unchecked, trained, trained + sum(value.numel() for value in constants),
        sum(one.numel() for one in reached), sum(one.numel() for one in reached if bool(one.grad.any())),
        off=gradients_apart(converted, *network(name, is_trained=is_trained)) if is_whole else None,
    )  # fmt: skip


def gradients_apart(converted: Converted, net: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> float | None:
    """The largest difference between a parameter's gradient and the one of the network that the file was made from, over the largest number in it
    (or a thousandth of the largest of any parameter's: a key's bias has none but rounding). None where the outputs differ, for they are drawn."""
    module = converted.module.eval()
    net.eval()
    module.zero_grad()
    held = {
        own: value for name, own in module.plan.statistics.items() for value in [dict(module.named_buffers()).get(name)]
    }
    with torch.no_grad():  # an exporter in training form updates them once
        for name, value in net.named_buffers():
            if held.get(name) is not None:
                value.copy_(held[name])
    sides = []
    for outputs in (module(*example), torch.utils._pytree.tree_leaves(net(*example))):
        sides.append([value for value in outputs if isinstance(value, torch.Tensor) and value.requires_grad])
        generator = torch.Generator().manual_seed(1)
        sum((value * torch.randn(value.shape, generator=generator)).mean() for value in sides[-1]).backward()
    if not all(torch.allclose(*pair, rtol=1e-4, atol=1e-4) for pair in zip(*sides, strict=False)):
        return None
    theirs, parameters = dict(net.named_parameters(remove_duplicate=False)), dict(module.named_parameters())
    pairs = [
        (mine.grad, theirs[own].grad)
        for mine, own in ((parameters[name], own) for name, own in converted.parameter_names.items())
        if own in theirs and theirs[own].grad is not None and mine.shape == theirs[own].shape
    ]
    least = 1e-3 * max(float(other.abs().max()) for _, other in pairs)
    return max(float((mine - other).abs().max()) / max(float(other.abs().max()), least) for mine, other in pairs)


def export_table(rows: list[Export]) -> str:
    """Totals, then a row per network over all of its files, the worst of each number."""
    good = [row for row in rows if not row.refusal]
    errors = [row.error for row in good if row.error is not None]
    off = [row.off for row in good if row.off is not None]
    weights, trained, reached = (sum(getattr(row, what) for row in good) for what in ("weights", "trained", "reached"))
    lines = [
        f"{len(rows)} files of {len({row.name for row in rows})} networks: {len(good)} converted and run, {len(errors)} of them held against "
        f"onnxruntime with an error of at most {max(errors):.1e} (median {float(np.median(errors)):.1e}); {trained / weights:.2%} of all weights are "
        f"parameters, {reached / trained:.2%} of those have a gradient. The gradients of {len(off)} files in training form lie at most {max(off):.1e} "
        f"from those of the network itself.",
        "",
        *(f"- {row.name}: {row.refusal or row.unchecked}" for row in rows if row.refusal or row.unchecked),
        "",
        "| network | files | largest error | trained | gradient | not all zero | gradients apart |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row.name for row in good):
        mine = [row for row in good if row.name == name]
        error = max((row.error for row in mine if row.error is not None), default=float("nan"))
        shares = (
            min(row.trained / row.weights for row in mine),
            min(row.reached / row.trained for row in mine),
            min(row.moved / row.trained for row in mine),
        )
        apart = max((row.off for row in mine if row.off is not None), default=None)
        cells = [
            name,
            str(len(mine)),
            f"{error:.1e}",
            *(f"{share:.1%}" for share in shares),
            "" if apart is None else f"{apart:.1e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    import onnxruntime

    torch.set_num_threads(1)
    only = sys.argv[1:]
    started = time.process_time()
    nodes = files = ""
    if "--exports" not in only:
        with tempfile.TemporaryDirectory() as folder:
            nodes = node_table([try_node(test, Path(folder)) for test in node_tests()])
            more = node_table([try_node(test, Path(folder)) for test in stored_tests()])
            nodes += (
                "\n\nThe models that the package stores as files, most of them from PyTorch's first exporter (opset 6 to 9):\n\n"
                + more
            )
        print(nodes, flush=True)
    if "--nodes" not in only:
        files = export_table(list(exports()))
        print(files, flush=True)
    if not only:
        head = _HEAD.format(
            onnx=onnx.__version__, onnxruntime=onnxruntime.__version__, torch=torch.__version__,
            seconds=time.process_time() - started, nodes=nodes, exports=files,
        )  # fmt: skip
        Path(__file__).with_suffix(".md").write_text(head, encoding="utf-8")


if __name__ == "__main__":
    main()
