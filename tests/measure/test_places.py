"""The names that fixes need: where a weight is, what feeds an activation function, which layer is the last, which have no normalization."""

from __future__ import annotations

from tests.measure.structure_graphs import IMAGE, Sketch, facts
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Columns, Unmeasured
from trainaudit.measure.static.places import loss_facts


def plain() -> Columns:
    g = Sketch({"x": IMAGE})
    h = g.layer(Op.RELU, "relu1", g.conv("conv1", "x", 8, bias=True))
    h = g.layer(Op.TANH, "tanh2", g.norm("bn", g.conv("conv2", h, 8)))
    h = g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", h, shape=("batch", 8, 1, 1))
    h = g.layer(Op.FLATTEN, "flat", h, shape=("batch", 8), start_dim=1)
    h = g.layer(Op.SIGMOID, "sigmoid", g.dense("hidden", h, 32))
    h = g.layer(Op.RELU, "late", g.dense("head", h, 4, bias=False))
    return facts(g.graph(g.layer(Op.SOFTMAX, "softmax", h, dim=1)))


def test_weights_and_biases_by_layer() -> None:
    found = plain()
    assert found["layer.weight"] == {name: f"{name}.weight" for name in ("conv1", "conv2", "hidden", "head")}
    assert found["layer.bias"] == {"conv1": "conv1.bias", "bn": "bn.shift", "hidden": "hidden.bias"}
    assert found["layer.fitting_normalization"] == {
        "conv1": "batch_norm", "conv2": "batch_norm", "hidden": "layer_norm", "head": "batch_norm",
    }  # fmt: skip


def test_what_feeds_an_activation_function() -> None:
    found = plain()
    assert found["layer.feeding_layer"] == {"relu1": "conv1", "sigmoid": "hidden", "late": "head"}
    assert found["layer.feeding_weight"]["sigmoid"] == "hidden.weight"
    assert found["layer.feeding_bias"] == {"relu1": "conv1.bias", "sigmoid": "hidden.bias"}
    assert found["layer.feeding_normalization"]["relu1"] == "batch_norm"
    assert found["layer.activation_layer"]["bn"] == "tanh2"


def test_the_last_layer() -> None:
    found = plain()
    assert found["model.output_layer"] == {"model": "head"}
    assert found["model.output_weight"] == {"model": "head.weight"}
    assert found["model.output_bias"] == {}
    assert found["model.output_activation_layer"] == {"model": "softmax"}
    assert list(found["output.earlier_activation_layer"].values()) == ["late"]
    assert list(found["output.logits_loss"].values()) == ["cross-entropy"]


def test_layers_without_normalization_go_in_step_with_what_fits_them() -> None:
    found = plain()
    assert found["model.unnormalized_layers"] == {"model": "conv1\nhidden"}
    assert found["model.fitting_normalizations"] == {"model": "batch_norm\nlayer_norm"}


def test_a_network_without_weights() -> None:
    g = Sketch({"x": ("batch", 3)})
    found = facts(g.graph(g.layer(Op.SIGMOID, "sigmoid", "x", shape=("batch", 1))))
    assert found["model.output_layer"] == {}
    assert found["model.unnormalized_layers"] == {}
    assert list(found["output.logits_loss"].values()) == ["bce-with-logits"]


def test_the_loss_on_logits() -> None:
    assert loss_facts("nll", "log-probabilities")["model.logits_loss"] == {"model": "cross-entropy"}
    assert loss_facts("nll", "log-probabilities")["model.loss_activation"] == {"model": "log_softmax"}
    assert loss_facts("mse", "values")["model.logits_loss"] == {}
    missing = loss_facts(None, None)
    assert missing["model.logits_loss"] == {}
    assert isinstance(missing["model.loss"]["model"], Unmeasured)
