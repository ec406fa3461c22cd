"""Fresh or trained, on graphs made by hand and on networks that are really trained. `benchmarks/initializers.py` measures the rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.measure.weight_graphs import Step, activation, chain, linear, normal, torch_uniform
from tests.models import initial
from tests.models.initial import Array, Initializer
from tests.models.network import Network
from trainaudit import Audit, audit
from trainaudit.ir.graph import Graph, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.static.weights import measure_weights

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def model_state(graph: Graph) -> str:
    return str(measure_weights(graph, {})["model.weights_state"]["model"])


def fresh_linear(units: int, inputs: int, seed: int) -> Step:
    bound = inputs**-0.5
    return linear(
        torch_uniform(units, inputs, bound=bound, seed=seed), torch_uniform(units, bound=bound, seed=seed + 1)
    )


def batch_norm(size: int, scale: float = 0.0, statistics: float = 0.0) -> Step:
    """γ = 1 and β = 0, running mean 0 and variance 1, each moved by as much."""
    ones = np.ones(size, np.float32)
    return (
        Op.BATCH_NORM,
        {
            Role.SCALE: ones + normal(size, std=scale, seed=5), Role.SHIFT: normal(size, std=scale, seed=6),
            Role.RUNNING_MEAN: normal(size, std=statistics, seed=7),
            Role.RUNNING_VARIANCE: ones + np.abs(normal(size, std=statistics, seed=8)),
        },
        {},
    )  # fmt: skip


def test_torch_defaults_are_fresh() -> None:
    assert model_state(chain([fresh_linear(64, 32, 0), activation(Op.RELU), fresh_linear(10, 64, 2)])) == "fresh"


def test_a_model_of_constants_is_fresh() -> None:
    assert model_state(chain([linear(np.zeros((10, 784), np.float32))])) == "fresh"


def test_a_bias_beside_an_unknown_weight_tells_nothing() -> None:
    """The bound that it was drawn with depends on the weight's fan-in."""
    bias = torch_uniform(64, bound=48**-0.5)
    graph = chain([(Op.CONV, {Role.BIAS: bias}, {}), linear(normal(64, 64))])
    assert model_state(graph) == "unknown"


def test_normal_weights_follow_their_biases() -> None:
    def net(*bias: float) -> Graph:
        return chain([linear(normal(64, 64, seed=i), normal(64, std=s, seed=9 + i)) for i, s in enumerate(bias)])

    assert model_state(net(0.0, 0.0, 0.0)) == "fresh"
    assert model_state(net(0.004, 0.002, 0.011)) == "trained"
    assert model_state(net(0.01, 0.01, 0.01)) == "unknown"  # drawn by hand, or moved from zero


WIDTHS = ((128, 64), (128, 128), (10, 128))
"""(units, inputs) of the layers of a small network."""


def network(weight: Draw, bias: Draw, seed: int) -> Graph:
    """All parameters drawn in order from one generator, as a loop over them does."""
    random = np.random.default_rng(seed)
    return chain(
        [
            linear(*(np.asarray(d(random, s), np.float32) for d, s in ((weight, shape), (bias, shape[:1]))))
            for shape in WIDTHS
        ]
    )


def spread(std: float) -> Draw:
    return lambda random, shape: random.normal(0.0, std, shape)


@pytest.mark.parametrize("draw", [initial.uniform(1.0, 0.0), lambda random, shape: random.uniform(0.0, 1.0, shape)])
def test_a_loop_that_draws_from_0_to_1_is_fresh(draw: Draw) -> None:
    for seed in range(5):
        assert model_state(network(draw, draw, seed)) == "fresh"


@pytest.mark.parametrize("factor", [100.0, 10.0, 2.0, 0.5, 0.1])
def test_scaled_defaults_are_fresh(factor: float) -> None:
    for seed in range(5):
        layers = [
            linear(
                *(
                    torch_uniform(*shape, bound=inputs**-0.5, seed=seed + i) * np.float32(factor)
                    for shape in ((units, inputs), (units,))
                )
            )
            for i, (units, inputs) in enumerate(WIDTHS)
        ]
        assert model_state(chain(layers)) == "fresh"


@pytest.mark.parametrize("bias", [0.01, 1.0])
@pytest.mark.parametrize("value", [0.5, 0.0])
def test_biases_do_not_overrule_constant_weights(value: float, bias: float) -> None:
    for seed in range(5):
        facts = measure_weights(network(initial.constant(value), spread(bias), seed), {})
        assert facts["model.weights_state"]["model"] == "fresh"
        assert facts["parameter.state"]["0.weight"] == "fresh"


def test_copied_units_are_fresh_and_pruned_ones_are_not() -> None:
    scales = np.linspace(0.2, 2.0, 64, dtype=np.float32)
    trained = [linear(normal(64, 64, seed=i) * scales[:, None], normal(64, std=0.1, seed=i)) for i in range(9)]
    copied = np.broadcast_to(normal(1, 64) * scales, (64, 64)).copy()
    pruned = normal(64, 64) * scales[:, None] * (np.arange(64) % 2)[:, None].astype(np.float32)
    for values, state in ((copied, "fresh"), (pruned, "trained")):
        facts = measure_weights(chain([*trained, linear(values)]), {})
        assert facts["model.weights_state"]["model"] == "trained"
        assert facts["parameter.state"]["9.weight"] == state


def test_normal_draws_without_a_grid_are_never_called_trained() -> None:
    """He's weights with N(0, 0.01²) biases look as weights of a few steps do."""
    for seed in range(12):
        assert model_state(network(initial.he_normal, spread(0.01), seed)) == "unknown"
        assert model_state(network(spread(1.0), spread(1.0), seed)) == "unknown"


def audited(tmp_path: Path, weight: Initializer, bias: Initializer, seed: int = 0) -> Audit:
    """A small convnet without torch's grid, Keras-like."""
    net = Network({"x": ("N", 3, 32, 32)}, seed=seed)
    h = "x"
    for i, channels in enumerate((16, 32)):
        h = net.conv(f"conv{i}", h, channels, 3, stride=2, padding=1, weight=weight, bias_values=bias)
        h = net.activation("Relu", f"relu{i}", h)
    h = net.node("GlobalAveragePool", "pool", [h], ("N", 32, 1, 1))
    h = net.node("Flatten", "flatten", [h], ("N", 32))
    net.output(net.linear("head", h, 10, weight=weight, bias_values=initial.constant(0.0)), "logits")
    net.save(str(tmp_path / "model.onnx"))
    return audit(tmp_path / "model.onnx")


def test_rules_of_initializers_run_on_broken_draws(tmp_path: Path) -> None:
    def glorot(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        field = math.prod(shape[2:])
        bound = math.sqrt(6 / ((shape[0] + shape[1]) * field))
        return random.uniform(-bound, bound, shape)

    for seed in range(5):
        silent = audited(tmp_path, glorot, initial.constant(-6.0), seed)
        assert silent.model.weights_state == "fresh"
        found = [finding.occurrences for finding in silent.findings if finding.rule == "dead-by-bias"]
        assert {one.subject for occurrences in found for one in occurrences} == {"conv0"}  # nothing reaches conv1
    for std in (0.01, 1.0):
        equal = audited(tmp_path, initial.constant(0.5), initial.normal(std))
        assert "symmetric-init" in {finding.rule for finding in equal.findings}


def test_normal_weights_follow_their_normalizations() -> None:
    def net(scale: float, statistics: float) -> Graph:
        return chain([linear(normal(64, 64)), batch_norm(64, scale, statistics), linear(normal(64, 64, seed=2))])

    assert model_state(net(0.0, 0.0)) == "fresh"
    assert model_state(net(0.05, 0.3)) == "trained"
    assert model_state(net(0.0, 0.3)) == "fresh"  # a forward pass in training mode, as an export makes one
    assert model_state(net(0.05, 0.0)) == "trained"  # statistics that were reset, or never taken


def test_zero_biases_of_a_converter_do_not_make_trained_weights_fresh() -> None:
    trained = normal(64, 64) * np.linspace(0.2, 2.0, 64, dtype=np.float32)[:, None]
    assert model_state(chain([linear(trained, np.zeros(64, np.float32)) for _ in range(4)])) == "trained"


def test_without_evidence_the_state_is_unknown() -> None:
    assert model_state(chain([linear(normal(64, 64)), linear(normal(64, 64, seed=1))])) == "unknown"


def test_a_fresh_head_on_a_trained_body_is_mixed() -> None:
    spread = np.linspace(0.2, 2.0, 64, dtype=np.float32)[:, None]
    body = [linear(normal(64, 64, seed=i) * spread, normal(64, std=0.1, seed=i)) for i in range(3)]
    facts = measure_weights(chain([*body, fresh_linear(10, 64, 4)]), {})
    assert facts["model.weights_state"]["model"] == "mixed"
    assert facts["parameter.state"]["0.weight"] == facts["parameter.state"]["1.bias"] == "trained"
    assert facts["parameter.state"]["3.weight"] == facts["parameter.state"]["3.bias"] == "fresh"


def test_scales_of_a_folded_normalization_leave_the_rank_alone() -> None:
    scales = normal(64, std=1.0, seed=3)[:, None]
    graph = chain([linear(normal(64, 64) * scales), activation(Op.RELU), linear(normal(10, 64, seed=2))])
    ratios = [
        measure_weights(replace(graph, folded_normalizations=folded), {}).get("parameter.stable_rank_ratio", {})
        for folded in ((), ("0",))
    ]
    assert ratios[1]["0.weight"] == pytest.approx(1.0, abs=0.1)
    assert "0.weight" not in ratios[0]  # rows of such different scales are no draw


def test_low_rank_weights_of_a_fresh_model_are_not_called_trained() -> None:
    low = (normal(64, 3) @ normal(3, 64, seed=1)).astype(np.float32)
    zeros = np.zeros(64, np.float32)
    facts = measure_weights(
        chain([linear(normal(64, 64), zeros), linear(low, zeros), linear(normal(64, 64), zeros)]), {}
    )
    assert facts["model.weights_state"]["model"] == "fresh"
    assert facts["parameter.state"]["1.weight"] == "fresh"
    ratio = facts["parameter.stable_rank_ratio"]["1.weight"]
    assert isinstance(ratio, float)
    assert ratio < 0.3


def test_a_designed_shift_does_not_hide_a_low_rank() -> None:
    """A fresh model may hold a bias that looks changed (decay rates, a table of positions)."""
    low = (normal(64, 3) @ normal(3, 64, seed=1)).astype(np.float32)
    ramp = np.linspace(-1, 1, 64, dtype=np.float32) ** 3
    body = [fresh_linear(64, 64, seed) for seed in range(4)]
    facts = measure_weights(chain([*body, linear(low, ramp), fresh_linear(10, 64, 9)]), {})
    assert facts["model.weights_state"]["model"] == "fresh"
    assert facts["parameter.state"]["4.weight"] == "fresh"
    assert facts["parameter.stable_rank_ratio"]["4.weight"] < 0.3  # type: ignore[operator]


@pytest.mark.parametrize(
    "name",
    [
        "mlp, torch's defaults",
        "cnn with BatchNorm, kaiming-normal",
        "transformer, normal-0.02",
        "lstm, torch's defaults",
    ],
)
def test_really_trained_networks(name: str) -> None:
    pytest.importorskip("torch")
    from benchmarks.initializers import judged

    for optimizer in ("SGD 0.1", "Adam 1e-3"):
        for _, step, model, parameters in judged(name, optimizer, 0, ("float32", "float16"), (100,)):
            assert model == ("trained" if step else "fresh")
            assert set(parameters) == {model}


def test_schemes_of_the_benchmark_are_named() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.initializers import draws, named

    torch.manual_seed(0)
    for scheme in draws(64, 64):
        result = named(scheme, 128, 256, 5)
        assert (result["right"], result["changed"]) == (5, 0), scheme
