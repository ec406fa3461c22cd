"""How often are initializers named right, and trained weights called fresh? `python -m benchmarks.initializers` writes initializers.md.

Needs torch. `--draws` sets the draws of each scheme (1,000), `--seeds` the trainings of each network with each optimizer (3).
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.networks import NETWORKS, OPTIMIZERS, train, weights_graph
from trainaudit.ir.graph import Parameter, Role
from trainaudit.ir.tensor import ArrayData
from trainaudit.measure.static.initialization import CHANGED, identify_bias, identify_weight
from trainaudit.measure.static.schemes import TRUNCATED_STD
from trainaudit.measure.static.tensor_statistics import tensor_statistics
from trainaudit.measure.static.weights import measure_weights

Draw = Callable[[Tensor], object]

SHAPES = ((64, 64), (256, 64), (128, 256), (1024, 256), (256, 1024))
"""(fan_out, fan_in)."""
BRANCHES = 24
STEPS = (10, 100, 300, 1000)
DTYPES = ("float32", "float16", "bfloat16")


def draws(fan_out: int, fan_in: int) -> Mapping[str, Draw]:
    """Scheme and generator → how the original draws it. Keras's generators are numpy's here: uniform in float32, normals cut by redrawing."""
    init = nn.init

    def normal(std: float) -> Draw:
        return lambda w: w.normal_(0.0, std)

    def cut(std: float) -> Draw:
        return lambda w: init.trunc_normal_(w, 0.0, std, -2.0 * std, 2.0 * std)

    def uniform(bound: float) -> Draw:
        return lambda w: w.copy_(torch.from_numpy(np.random.uniform(-bound, bound, tuple(w.shape)).astype(np.float32)))

    glorot, he, lecun = 2.0 / (fan_in + fan_out), 2.0 / fan_in, 1.0 / fan_in
    return {
        "pytorch-default (torch)": lambda w: init.kaiming_uniform_(w, a=math.sqrt(5.0)),
        "xavier-uniform (torch)": init.xavier_uniform_,
        "xavier-uniform (Keras)": uniform(math.sqrt(3.0 * glorot)),
        "xavier-uniform-tanh-gain (torch)": lambda w: init.xavier_uniform_(w, gain=5.0 / 3.0),
        "xavier-normal (torch)": init.xavier_normal_,
        "xavier-normal (Keras)": cut(math.sqrt(glorot) / TRUNCATED_STD),
        "kaiming-uniform (torch)": lambda w: init.kaiming_uniform_(w, nonlinearity="relu"),
        "kaiming-uniform (Keras)": uniform(math.sqrt(3.0 * he)),
        "kaiming-normal (torch)": lambda w: init.kaiming_normal_(w, nonlinearity="relu"),
        "kaiming-normal (Keras)": cut(math.sqrt(he) / TRUNCATED_STD),
        "kaiming-uniform-fan-out (torch)": lambda w: init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
        "kaiming-normal-fan-out (torch)": lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
        "lecun-uniform (Keras)": uniform(math.sqrt(3.0 * lecun)),
        "lecun-normal (torch)": normal(math.sqrt(lecun)),
        "lecun-normal (Keras)": cut(math.sqrt(lecun) / TRUNCATED_STD),
        "truncated-normal-0.02 (TensorFlow)": cut(0.02),
        "normal-0.02 (torch)": normal(0.02),
        "normal-0.02-residual (torch)": normal(0.02 / math.sqrt(BRANCHES)),
        "normal-0.01 (torch)": normal(0.01),
        "normal-1 (torch)": normal(1.0),
        "uniform-0.05 (Keras)": uniform(0.05),
        "orthogonal (torch)": init.orthogonal_,
        "orthogonal-1.414 (torch)": lambda w: init.orthogonal_(w, gain=math.sqrt(2.0)),
        "sparse (torch)": lambda w: init.sparse_(w, 0.3),
        "zeros (torch)": init.zeros_,
        "identity (torch)": init.eye_,
    }


def weight_parameter(weight: Tensor, name: str = "weight") -> Parameter:
    """A linear layer's weight, (fan_out, fan_in)."""
    values = weight.numpy()
    fan_out, fan_in = values.shape
    return Parameter(name, values.shape, "float32", Role.WEIGHT, True, (0,), ArrayData(values), 0, fan_in, fan_out)


def named(scheme: str, fan_out: int, fan_in: int, count: int) -> Counter[str]:
    """Of `count` draws: how many were named right, how many right and with no other name, how many called changed."""
    result: Counter[str] = Counter()
    wanted = scheme.split(" ")[0]
    draw = draws(fan_out, fan_in)[scheme]
    for number in range(count):
        weight = torch.empty(fan_out, fan_in)
        with torch.no_grad():
            draw(weight)
        parameter = weight_parameter(weight, f"weight{number}")
        identity = identify_weight(parameter, tensor_statistics(parameter), BRANCHES)
        result["right"] += wanted in identity.names
        result["alone"] += identity.names == (wanted,)
        result["changed"] += identity.standing == CHANGED
    return result


def named_bias(size: int, fan_in: int, count: int) -> Counter[str]:
    """The same for torch's default bias."""
    result: Counter[str] = Counter()
    for _ in range(count):
        values = torch.empty(size).uniform_(-(fan_in**-0.5), fan_in**-0.5).numpy()
        parameter = Parameter("bias", values.shape, "float32", Role.BIAS, True, (0,), ArrayData(values), 0)
        identity = identify_bias(tensor_statistics(parameter), fan_in, None)
        result["right"] += "pytorch-default" in identity.names
        result["alone"] += identity.names == ("pytorch-default",)
        result["changed"] += identity.standing == CHANGED
    return result


def judged(
    name: str, optimizer: str, seed: int, dtypes: tuple[str, ...] = DTYPES, steps: tuple[int, ...] = STEPS
) -> Iterator[tuple[str, int, str, Counter[str]]]:
    """(stored type, steps trained, state of the model, states of the parameters that really differ from their start)."""
    torch.manual_seed(seed)
    build, data = NETWORKS[name]
    model = build()
    starts = {dtype: weights_graph(model, dtype) for dtype in dtypes}
    for dtype, start in starts.items():
        facts = measure_weights(start, {})
        yield dtype, 0, str(facts["model.weights_state"]["model"]), Counter(map(str, facts["parameter.state"].values()))
    for step in train(model, data, OPTIMIZERS[optimizer](model.parameters()), seed):
        if step in steps:
            for dtype, start in starts.items():
                graph = weights_graph(model, dtype)
                facts = measure_weights(graph, {})
                moved = [
                    str(state)
                    for parameter, state in facts["parameter.state"].items()
                    if graph.parameters[parameter].data.read().tobytes()
                    != start.parameters[parameter].data.read().tobytes()
                ]
                yield dtype, step, str(facts["model.weights_state"]["model"]), Counter(moved)
        if step >= max(steps):
            return


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=1000)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = options.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    np.random.seed(0)
    with np.errstate(all="ignore"):
        lines = [*_title(), *_scheme_table(arguments.draws), *_training_tables(arguments.seeds)]
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _title() -> list[str]:
    return [
        "# Initializers: how often they are named right",
        "",
        "`python -m benchmarks.initializers` (fixed seeds, CPU) writes this file.",
    ]


def _scheme_table(count: int) -> list[str]:
    lines = [
        "",
        f"## Fresh weights: {count:,} draws of each scheme for each fan-out × fan-in",
        "",
        "Percentage whose names include the right one; in brackets, percentage with that name alone, where that is less (schemes coincide at some",
        "fans: Xavier and LeCun on a square layer). Last column: percentage, over all shapes, called changed by training from the tensor alone.",
        "",
        "| scheme | " + " | ".join(f"{o} × {i}" for o, i in SHAPES) + " | called changed |",
        "|---|" + "---|" * (len(SHAPES) + 1),
    ]
    worst = 100.0
    for scheme in draws(64, 64):
        cells, changed = [], 0
        for fan_out, fan_in in SHAPES:
            result = named(scheme, fan_out, fan_in, count)
            cells.append(_cell(result, count))
            changed += result["changed"]
            worst = min(worst, 100.0 * result["right"] / count)
        lines.append(f"| {scheme} | " + " | ".join(cells) + f" | {100.0 * changed / count / len(SHAPES):.2f} |")
    for size in (64, 256, 1024):
        result = named_bias(size, 256, count)
        lines.append(
            f"| bias of {size}, pytorch-default | | | {_cell(result, count)} | | | {100.0 * result['changed'] / count:.2f} |"
        )
        worst = min(worst, 100.0 * result["right"] / count)
    return [*lines, "", f"Worst cell: {worst:.1f} % named right."]


def _cell(result: Counter[str], count: int) -> str:
    right, alone = 100.0 * result["right"] / count, 100.0 * result["alone"] / count
    return f"{right:.1f}" if alone >= right else f"{right:.1f} ({alone:.1f})"


def _training_tables(seeds: int) -> list[str]:
    states: dict[tuple[str, str, int], Counter[str]] = {}
    models: dict[tuple[str, str, int], Counter[str]] = {}
    for name in NETWORKS:
        for optimizer in OPTIMIZERS:
            for seed in range(seeds):
                for dtype, step, model, parameters in judged(name, optimizer, seed):
                    states.setdefault((dtype, name, step), Counter()).update(parameters)
                    models.setdefault((dtype, name, step), Counter()).update([model])
    return [line for dtype in DTYPES for line in _training_table(dtype, seeds, states, models)]


def _training_table(
    dtype: str,
    seeds: int,
    states: Mapping[tuple[str, str, int], Counter[str]],
    models: Mapping[tuple[str, str, int], Counter[str]],
) -> list[str]:
    columns = (0, *STEPS)
    lines = [
        "",
        f"## Really trained networks, weights stored as {dtype}",
        "",
        f"{seeds} seeds × {len(OPTIMIZERS)} optimizers ({'; '.join(OPTIMIZERS)}). In each cell: parameters called fresh / all parameters that differ",
        "from their start (at 0 steps: called trained / all), then the models that are not called trained (at 0 steps: fresh), most of them unknown.",
        "",
        "| network | " + " | ".join(f"{step} steps" for step in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    wrong = total = false_alarms = fresh = 0
    for name in NETWORKS:
        cells = []
        for step in columns:
            counted, model = states[dtype, name, step], models[dtype, name, step]
            missed = counted["fresh" if step else "trained"]
            everything = sum(counted.values())
            if step >= 100:
                wrong, total = wrong + missed, total + everything
            if step == 0:
                false_alarms, fresh = false_alarms + missed, fresh + everything
            off = sum(model.values()) - model["trained" if step else "fresh"]
            cells.append(f"{missed} / {everything}" + (f", {off} models" if off else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"Trained parameters called fresh, 100 steps and more: {wrong} of {total:,} ({100.0 * wrong / max(1, total):.2f} %). "
        f"Fresh parameters called trained: {false_alarms} of {fresh:,}.",
    ]


if __name__ == "__main__":
    main()
