"""The facts as rules read them, on small graphs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.measure.weight_graphs import Array, Step, activation, chain, linear, normal, parameter, torch_uniform
from trainaudit.ir.graph import Graph, Parameter, Role, Source
from trainaudit.ir.ops import Op
from trainaudit.ir.tensor import ArrayData
from trainaudit.measure.catalog import BY_NAME, WEIGHTS
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.weights import measure_weights


def facts_of(steps: list[Step], structure: Columns | None = None) -> Columns:
    return measure_weights(chain(steps), structure or {})


def number(value: FactValue) -> float:
    assert isinstance(value, float | int)
    return value


def with_parameter(graph: Graph, changed: Parameter) -> Graph:
    parameters = {**graph.parameters, changed.name: changed}
    return Graph(graph.layers, graph.values, parameters, graph.inputs, graph.outputs, graph.origin)


def test_every_fact_is_in_the_catalog_and_of_its_type() -> None:
    recurrent = {
        Role.INPUT_WEIGHT: normal(1, 64, 32),
        Role.RECURRENT_WEIGHT: normal(1, 64, 16),
        Role.BIAS: normal(1, 128),
    }
    plain = {Role.INPUT_WEIGHT: normal(1, 16, 16), Role.RECURRENT_WEIGHT: normal(1, 16, 16)}
    ones = np.ones(32, np.float32)
    norm = {Role.SCALE: ones, Role.SHIFT: 0 * ones, Role.RUNNING_MEAN: 0 * ones, Role.RUNNING_VARIANCE: ones}
    broken = normal(32, 32)
    broken[1, 2] = np.inf
    facts = facts_of(
        [
            linear(normal(32, 32), np.zeros(32, np.float32)), activation(Op.RELU), (Op.BATCH_NORM, norm, {}),
            (Op.LSTM, recurrent, {"hidden_size": 16}), (Op.RNN, plain, {"hidden_size": 16}), linear(broken), linear(broken.copy()),
        ]
    )  # fmt: skip
    words = {"number": float | int, "count": int, "boolean": bool, "word": str}
    for fact, column in facts.items():
        spec = BY_NAME[fact]
        assert spec.source == WEIGHTS
        for value in column.values():
            assert isinstance(value, Unmeasured | words[spec.type])
            assert not isinstance(value, float) or math.isfinite(value)
            assert not spec.words or isinstance(value, Unmeasured) or value in spec.words


def test_gain_and_wanted_gain() -> None:
    weight = normal(256, 128, std=math.sqrt(2 / 128))
    facts = facts_of([linear(weight), activation(Op.RELU), linear(normal(64, 256)), activation(Op.SOFTMAX)])
    assert facts["layer.gain"]["0"] == pytest.approx(math.sqrt(2), rel=0.02)
    assert facts["layer.wanted_gain"]["0"] == pytest.approx(math.sqrt(2))
    assert "2" not in facts["layer.wanted_gain"]  # softmax is not elementwise
    assert facts["layer.weight_scheme"]["0"] == "kaiming-normal"


def test_wanted_gain_uses_the_slope_of_the_layer_that_follows() -> None:
    steps = [linear(normal(64, 64)), activation(Op.LEAKY_RELU, negative_slope=0.3), linear(normal(64, 64))]
    facts = facts_of(steps, {"layer.activation": {"0": "leaky_relu", "2": "none"}})
    assert facts["layer.wanted_gain"]["0"] == pytest.approx(math.sqrt(2 / 1.09))
    assert facts["layer.wanted_gain"]["2"] == 1.0


def test_symmetric_units() -> None:
    columns = np.tile(normal(1, 32), (64, 1))
    half = normal(64, 32)
    half[10:42] = half[3]
    apart = normal(64, 32)
    apart[:, 0] = 0.5  # the first value agrees, the units do not
    facts = facts_of([linear(columns), linear(half), linear(apart), linear(np.full((64, 32), 0.1, np.float32))])
    share = facts["parameter.duplicate_unit_share"]
    assert [share[f"{i}.weight"] for i in range(4)] == [1.0, 33 / 64, 0.0, 1.0]


def test_symmetric_units_of_transposed_and_large_weights() -> None:
    stored = np.ascontiguousarray(np.tile(normal(1, 700), (500, 1)).T)  # (inputs, units)
    graph = chain([linear(stored)])
    own = graph.parameters["0.weight"]
    flipped = Parameter(own.name, own.shape, own.dtype, own.role, True, (0,), own.data, 1, 700, 500)
    facts = measure_weights(with_parameter(graph, flipped), {})
    assert facts["parameter.duplicate_unit_share"]["0.weight"] == 1.0
    different = Parameter(
        own.name, own.shape, own.dtype, own.role, True, (0,), ArrayData(normal(700, 500)), 1, 700, 500
    )
    assert measure_weights(with_parameter(graph, different), {})["parameter.duplicate_unit_share"]["0.weight"] == 0.0


def test_gates_and_groups_are_compared_apart() -> None:
    one_gate = normal(16, 24)
    same_gates = np.tile(one_gate, (4, 1))[None]  # gates alike, units of a gate different
    facts = facts_of([(Op.LSTM, {Role.INPUT_WEIGHT: same_gates}, {"hidden_size": 16})])
    assert facts["parameter.duplicate_unit_share"]["0.input_weight"] == 0.0
    blur = parameter(np.tile(normal(1, 1, 3, 3), (16, 1, 1, 1)))
    depthwise = Parameter("0.weight", blur.shape, "float32", Role.WEIGHT, True, (0,), blur.data, 0, 9, 9, groups=16)
    graph = with_parameter(chain([(Op.CONV, {Role.WEIGHT: normal(16, 1, 3, 3)}, {})]), depthwise)
    assert measure_weights(graph, {})["parameter.duplicate_unit_share"]["0.weight"] == 0.0


def test_half_precision_units_do_not_collide_by_chance() -> None:
    facts = facts_of([linear(normal(4096, 64).astype(np.float16))])
    assert facts["parameter.duplicate_unit_share"]["0.weight"] == 0.0


def test_identical_weights() -> None:
    weight = normal(32, 32)
    steps = [linear(weight.copy(), np.zeros(32, np.float32)) for _ in range(3)]
    facts = facts_of([*steps, linear(normal(32, 32, seed=1)), linear(0 * weight), linear(0 * weight)])
    assert [facts["parameter.identical_count"][f"{i}.weight"] for i in range(6)] == [2, 2, 2, 0, 0, 0]
    assert facts["parameter.identical_example"] == {
        "0.weight": "1.weight",
        "1.weight": "0.weight",
        "2.weight": "0.weight",
    }
    assert "0.bias" not in facts["parameter.identical_count"]


@pytest.mark.parametrize(
    "modules, count",
    [(("lstm", "lstm_1"), 0), (("tower.lstm", "tower_1.lstm"), 0), (("lstm_1", "lstm_2"), 1), (("lstm", "gru_1"), 1)],
)
def test_calls_of_one_module_are_no_copies(modules: tuple[str, str], count: int) -> None:
    """torch's exporter computes an LSTM's weight once per call, in ONNX's order of gates, and numbers the calls."""
    weight = normal(1, 64, 16)
    graph = chain([(Op.LSTM, {Role.INPUT_WEIGHT: weight.copy()}, {"hidden_size": 16}) for _ in modules])
    names = [f"/{module.replace('.', '/')}/Concat_output_0" for module in modules]
    layers = tuple(
        replace(layer, source=Source(module=module), parameters={Role.INPUT_WEIGHT.value: name})
        for layer, module, name in zip(graph.layers, modules, names, strict=True)
    )
    parameters = {name: replace(known, name=name) for name, known in zip(names, graph.parameters.values(), strict=True)}
    facts = measure_weights(replace(graph, layers=layers, parameters=parameters), {})
    assert list(facts["parameter.identical_count"].values()) == [count, count]


def test_non_finite_values_are_counted_and_placed() -> None:
    weight = normal(32, 32)
    weight[3, 17], weight[30, 2] = np.nan, -np.inf
    facts = facts_of([linear(weight)])
    assert facts["parameter.non_finite_count"]["0.weight"] == 2
    assert facts["parameter.nan_count"]["0.weight"] == 1
    assert facts["parameter.first_non_finite"]["0.weight"] == "[3, 17]"
    assert number(facts["parameter.absmax"]["0.weight"]) < 1


def test_generated_and_quantized_weights_are_not_measured() -> None:
    graph = chain([linear(normal(64, 64))])
    own = graph.parameters["0.weight"]
    made = Parameter(
        own.name, own.shape, own.dtype, own.role, True, (0,), own.data, 0, 64, 64, generated="ConstantOfShape"
    )
    facts = measure_weights(with_parameter(graph, made), {})
    assert facts["model.weights_state"]["model"] == "generated"
    for fact in (
        "parameter.state",
        "parameter.std",
        "parameter.family",
        "parameter.duplicate_unit_share",
        "layer.gain",
    ):
        value = next(iter(facts[fact].values()))
        assert isinstance(value, Unmeasured)
        assert "ConstantOfShape" in value.reason
    small = Parameter(
        own.name, own.shape, "int8", own.role, True, (0,), ArrayData(np.zeros((64, 64), np.int8)), 0, quantized=True
    )
    facts = measure_weights(with_parameter(graph, small), {})
    assert facts["parameter.state"]["0.weight"] == facts["parameter.family"]["0.weight"] == "quantized"
    assert isinstance(facts["parameter.mean"]["0.weight"], Unmeasured)


def test_a_model_without_weights_is_unknown() -> None:
    assert facts_of([activation(Op.RELU)])["model.weights_state"]["model"] == "unknown"


def test_forget_gate_bias_adds_both_biases_of_onnx_order() -> None:
    bias = np.zeros((1, 2, 4, 16), np.float32)
    bias[0, 0, 2], bias[0, 1, 2] = 0.75, 0.5  # input, output, forget, cell
    tensors: dict[Role, Array] = {Role.INPUT_WEIGHT: normal(1, 64, 8), Role.RECURRENT_WEIGHT: normal(1, 64, 16)}
    facts = facts_of([(Op.LSTM, {**tensors, Role.BIAS: bias.reshape(1, 128)}, {"hidden_size": 16})])
    assert facts["layer.forget_gate_bias"]["0"] == pytest.approx(1.25)
    assert "layer.forget_gate_bias" not in facts_of([(Op.LSTM, tensors, {"hidden_size": 16})])


def test_recurrent_spectral_radius_is_the_worst_direction() -> None:
    both = np.stack([0.5 * np.eye(12), 2.0 * np.eye(12)]).astype(np.float32)
    tensors: dict[Role, Array] = {Role.INPUT_WEIGHT: normal(2, 12, 8), Role.RECURRENT_WEIGHT: both}
    facts = facts_of([(Op.RNN, tensors, {"hidden_size": 12, "bidirectional": True})])
    assert facts["layer.recurrent_spectral_radius"]["0"] == pytest.approx(2.0)


def test_running_statistics_and_collapsed_channels() -> None:
    size = 40
    scale, variance = np.ones(size, np.float32), np.ones(size, np.float32)
    scale[:6] = 1e-5
    scale[20:] = 1.2
    variance[4:10] = 1e-12
    variance[11] = 3.5
    mean = np.zeros(size, np.float32)
    mean[3] = -0.7
    norm = {Role.SCALE: scale, Role.SHIFT: mean, Role.RUNNING_MEAN: mean, Role.RUNNING_VARIANCE: variance}
    facts = facts_of([(Op.BATCH_NORM, norm, {})])
    assert facts["layer.collapsed_channel_share"]["0"] == pytest.approx(10 / size)
    assert facts["layer.running_mean_absmax"]["0"] == pytest.approx(0.7)
    assert facts["layer.running_variance_deviation"]["0"] == pytest.approx(2.5)
    zero_scaled = {**norm, Role.SCALE: 0 * scale, Role.RUNNING_VARIANCE: np.ones(size, np.float32)}
    assert facts_of([(Op.BATCH_NORM, zero_scaled, {})])["layer.collapsed_channel_share"]["0"] == 0.0


def test_each_tensor_is_read_once() -> None:
    class Counting(ArrayData):
        reads = 0

        def blocks(self, elements: int):  # type: ignore[no-untyped-def]
            Counting.reads += 1
            return super().blocks(elements)

        def read(self) -> Array:
            Counting.reads += 1
            return super().read()

    graph = chain([linear(torch_uniform(600, 400, bound=0.05)), activation(Op.RELU)])
    own = graph.parameters["0.weight"]
    counted = Parameter(own.name, own.shape, own.dtype, own.role, True, (0,), Counting(own.data.read()), 0, 400, 600)
    measure_weights(with_parameter(graph, counted), {})
    assert Counting.reads == 1


@given(
    op=st.sampled_from(
        [Op.LINEAR, Op.CONV, Op.EMBEDDING, Op.LSTM, Op.GRU, Op.RNN, Op.BATCH_NORM, Op.LAYER_NORM, Op.ADD]
    ),
    roles=st.dictionaries(st.sampled_from(sorted(Role)), st.lists(st.integers(0, 9), max_size=4), max_size=5),
    dtype=st.sampled_from(["float32", "float16", "float64", "int8"]),
    axis=st.integers(0, 3) | st.none(),
    fill=st.sampled_from([None, 0.0, 1.0, np.nan, np.inf, 1e30]),
    gates=st.sampled_from([1, 3, 4]),
)
@settings(max_examples=150, deadline=None)
def test_odd_shapes_and_values_break_nothing(
    op: Op, roles: dict[Role, list[int]], dtype: str, axis: int | None, fill: float | None, gates: int
) -> None:
    """A file may give any role any shape: facts are then absent or not measured."""
    with np.errstate(all="ignore"):
        tensors: dict[Role, Array] = {
            role: (np.full(shape, fill) if fill is not None else normal(*shape) * np.ones(shape)).astype(dtype)
            for role, shape in roles.items()
        }
    graph = chain([(op, tensors, {"hidden_size": 4}), activation(Op.RELU)])
    parameters = {
        name: replace(own, unit_axis=axis if axis is not None and axis < len(own.shape) else None, gates=gates)
        for name, own in graph.parameters.items()
    }
    for column in measure_weights(replace(graph, parameters=parameters), {}).values():
        for value in column.values():
            assert not isinstance(value, float) or math.isfinite(value)
