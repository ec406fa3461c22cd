"""The names of what a fix changes: weights and biases of layers, what feeds an activation function, the last layer, layers without normalization.

A fact of several names has one on each line. May import `ir`, `changes`, `measure.facts` and sibling modules.
"""

from __future__ import annotations

from trainaudit.changes import ENDINGS, ON_LOGITS
from trainaudit.ir.graph import Graph, Layer, Role
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, RECURRENT, SHAPING, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.index import Index, through
from trainaudit.measure.static.layer_facts import main_parameter

_FITTING = {Op.LINEAR: "layer_norm", Op.CONV: "batch_norm", Op.CONV_TRANSPOSE: "batch_norm"}
_FEW = 16
"""Features of one example of which mean and deviation say little: a layer normalization would take too much of what they tell."""
_FARTHEST = 64
_NO_LOSS = Unmeasured("the loss is not known")
_PASSED = SHAPING | DROPOUTS | ACTIVATIONS


def measure_places(graph: Graph, index: Index, columns: Columns) -> Columns:
    """layer.weight, layer.bias and the like, and those of the layer that gives the primary output. `columns` are the structure's."""
    weight: dict[str, FactValue] = {}
    bias: dict[str, FactValue] = {}
    recurrent: dict[str, FactValue] = {}
    fitting: dict[str, FactValue] = {}
    for i in index.of(WEIGHTED):
        layer = index.layers[i]
        name, main = layer.name, main_parameter(graph, layer)
        if main is not None:
            weight[name] = main.name
        if layer.op in _FITTING:
            fitting[name] = fitting_normalization(layer)
        elif layer.op in RECURRENT and Role.RECURRENT_WEIGHT in layer.parameters:
            recurrent[name] = layer.parameters[Role.RECURRENT_WEIGHT]
    for layer in index.layers:
        if layer.parameters:
            shift = layer.parameters.get(Role.BIAS) or layer.parameters.get(Role.SHIFT)
            if shift is not None:
                bias[layer.name] = shift
    found = {
        "layer.weight": weight,
        "layer.bias": bias,
        "layer.recurrent_weight": recurrent,
        "layer.fitting_normalization": fitting,
    }
    return found | _feeding(index, weight, bias) | _ends(graph, index, weight, bias, columns) | _bare(fitting, columns)


def fitting_normalization(layer: Layer) -> str:
    """The normalization for what such a layer gives, "" for other layers: by channel behind convolutions, and by unit behind narrow dense layers."""
    width = layer.attributes.get("out_features")
    is_narrow = layer.op is Op.LINEAR and isinstance(width, int) and width < _FEW
    return "batch_norm" if is_narrow else _FITTING.get(layer.op, "")


def _feeding(index: Index, weight: dict[str, FactValue], bias: dict[str, FactValue]) -> Columns:
    """Of activation functions: the weighted layer whose output they take directly."""
    layers: dict[str, FactValue] = {}
    fitting: dict[str, FactValue] = {}
    for i in index.of(ACTIVATIONS):
        above = through(index, i)
        if above >= 0 and index.ops[above] in WEIGHTED:
            name = index.layers[i].name
            layers[name] = index.layers[above].name
            if index.ops[above] in _FITTING:
                fitting[name] = fitting_normalization(index.layers[above])
    return {
        "layer.feeding_layer": layers,
        "layer.feeding_normalization": fitting,
        "layer.feeding_weight": {name: weight[str(fed)] for name, fed in layers.items() if fed in weight},
        "layer.feeding_bias": {name: bias[str(fed)] for name, fed in layers.items() if fed in bias},
    }


def _ends(
    graph: Graph, index: Index, weight: dict[str, FactValue], bias: dict[str, FactValue], columns: Columns
) -> Columns:
    primary = next((name for name, is_first in columns.get("output.is_primary", {}).items() if is_first), None)
    found: Columns = {f"model.output_{part}": {} for part in ("layer", "weight", "bias", "activation_layer")}
    before = columns.get("layer.previous_activation_layer", {})
    finals = columns.get("output.final_activation_layer", {})
    found["output.earlier_activation_layer"] = {
        name: before[str(final)] for name, final in finals.items() if final in before
    }
    found["output.logits_loss"] = {
        name: "bce-with-logits"
        if units == 1 or "sigmoid" in str(columns["output.final_activation"].get(name))
        else "cross-entropy"
        for name, units in columns.get("output.unit_count", {}).items()
        if not isinstance(units, Unmeasured)
    }
    if primary is None:
        return found
    layer = _last_weighted(graph, index, primary)
    if layer is not None:
        found["model.output_layer"]["model"] = layer.name
        for part, names in (("weight", weight), ("bias", bias)):
            if layer.name in names:
                found[f"model.output_{part}"]["model"] = names[layer.name]
    activation = finals.get(primary)
    if activation != "none" and activation is not None:
        found["model.output_activation_layer"]["model"] = activation
    return found


def _last_weighted(graph: Graph, index: Index, output: str) -> Layer | None:
    """The weighted layer that an output passes nothing but activation functions, dropouts and reshapes behind."""
    producer = graph.values[output].producer
    current = -1 if producer is None else producer
    for _ in range(_FARTHEST):
        if current < 0:
            return None
        if index.ops[current] in WEIGHTED:
            return index.layers[current]
        row = index.sources[current]
        current = row[0] if index.ops[current] in _PASSED and row and row[0] >= 0 else -1
    return None


def _bare(fitting: dict[str, FactValue], columns: Columns) -> Columns:
    """Hidden layers with an activation function behind them and no normalization."""
    roles, activations = columns.get("layer.role", {}), columns.get("layer.activation", {})
    names = [
        name for name in fitting if roles.get(name) == "hidden" and activations.get(name, "none") not in ("none", "softmax")
    ]  # fmt: skip
    lines: Columns = {"model.unnormalized_layers": {}, "model.fitting_normalizations": {}}
    if names:
        lines["model.unnormalized_layers"]["model"] = "\n".join(names)
        lines["model.fitting_normalizations"]["model"] = "\n".join(str(fitting[name]) for name in names)
    return lines


def loss_facts(loss: str | None, expects: str | None, missing: Unmeasured = _NO_LOSS) -> Columns:
    """What is known of the declared loss: its name, what it wants of the output, the activation function that goes with it, and
    the loss on logits that does without."""
    on_logits: dict[str, FactValue] = {"model": ON_LOGITS[loss]} if loss in ON_LOGITS else {}
    return {
        "model.loss": {"model": loss or missing},
        "model.loss_expects": {"model": expects or missing},
        "model.logits_loss": on_logits,
        "model.loss_activation": {"model": ENDINGS[loss]} if loss in ENDINGS else {},
    }
