"""Fresh or trained, on graphs made by hand and on networks that are really trained. `benchmarks/initializers.py` measures the rates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.measure.weight_graphs import Step, activation, chain, linear, normal, torch_uniform
from trainaudit.ir.graph import Graph, Role
from trainaudit.ir.ops import Op
from trainaudit.measure.static.weights import measure_weights


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
    def net(bias: float) -> Graph:
        return chain([linear(normal(64, 64, seed=i), normal(64, std=bias, seed=9 + i)) for i in range(3)])

    assert model_state(net(0.0)) == "fresh"
    assert model_state(net(0.01)) == "trained"


def test_normal_weights_follow_their_normalizations() -> None:
    def net(scale: float, statistics: float) -> Graph:
        return chain([linear(normal(64, 64)), batch_norm(64, scale, statistics), linear(normal(64, 64, seed=2))])

    assert model_state(net(0.0, 0.0)) == "fresh"
    assert model_state(net(0.05, 0.3)) == "trained"
    assert model_state(net(0.0, 0.3)) == "fresh"  # a forward pass in training mode, as an export makes one


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
