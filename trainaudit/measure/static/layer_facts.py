"""The plain facts of layers: name, kind, depth, width, rates and types. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

from trainaudit.ir.graph import TRAINABLE_ROLES, Graph, Layer, Parameter, Role
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, SHAPING, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.flow import REACHES
from trainaudit.measure.static.index import Index
from trainaudit.measure.static.naming import is_dotted_path, module_code

OP_WORDS: dict[Op, str] = {op: op.value for op in Op}

DTYPE_MAX = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
    "float64": 1.7976931348623157e308,
    "float8e4m3fn": 448.0,
    "float8e5m2": 57344.0,
}
"""Largest finite number of each floating-point type (IEEE 754; bfloat16: (2 − 2⁻⁷)·2¹²⁷; OCP 8-bit formats)."""

_COMPUTING = WEIGHTED | NORMALIZATIONS | ACTIVATIONS | {Op.ATTENTION, Op.LOSS, Op.LOG}
_MAIN_ROLES = (Role.WEIGHT.value, Role.INPUT_WEIGHT.value, Role.EMBEDDING.value)
_BIAS = Role.BIAS.value
_NO_TYPE = Unmeasured("the type of its result is not known")
_DROPPED_EPSILON = Unmeasured("it is written without one, and the exporter drops an ε below 1e-8 when it optimizes")
_STASHED = ("LayerNormalization", "RMSNormalization", "GroupNormalization", "Cast")
"""Spellings of a normalization that keep their statistics in float32 when the values are half precision (ONNX: stash_type 1)."""


def measure_layers(index: Index, flow: list[int], trainable: dict[str, int], codes: dict[str, str]) -> Columns:
    """layer.* facts that need no search. `trainable` maps trainable parameters to their sizes; `codes` gathers the expressions of modules
    by path."""
    graph, layers, depth = index.graph, index.layers, index.depth
    names = [layer.name for layer in layers]
    columns: Columns = {
        "layer.name": dict(zip(names, names, strict=True)),
        "layer.op": dict(zip(names, map(OP_WORDS.__getitem__, index.ops), strict=True)),
        "layer.code": layer_codes(graph, codes),
        "layer.depth": dict(zip(names, depth, strict=False)),
        "layer.reaches_output": {
            name: bits & REACHES != 0
            for name, op, bits, computes in zip(names, index.ops, flow, index.depends, strict=False)
            if computes and op not in SHAPING
        },
        "layer.dropout_rate": _rates(index),
    }
    frozen = [p for p in graph.parameters.values() if not p.trainable and p.role in TRAINABLE_ROLES]
    sizes = trainable | {parameter.name: parameter.size for parameter in frozen}
    total = sum(sizes.values())
    width: dict[str, FactValue] = {}
    fan_in: dict[str, FactValue] = {}
    has_bias: dict[str, FactValue] = {}
    share: dict[str, FactValue] = {}
    dtype: dict[str, FactValue] = {}
    largest: dict[str, FactValue] = {}
    epsilon: dict[str, FactValue] = {}
    values = graph.values
    for i in index.of(_COMPUTING):
        layer = layers[i]
        name = names[i]
        value = values.get(layer.outputs[0]) if layer.outputs else None
        computed = None if value is None else value.dtype
        if computed != "float32":
            computed = compute_dtype(index, layer)
        if computed is None:
            dtype[name] = largest[name] = _NO_TYPE
        else:
            dtype[name] = computed
            if computed in DTYPE_MAX:
                largest[name] = DTYPE_MAX[computed]
    for i in index.of(WEIGHTED):
        layer = layers[i]
        name, parameters = names[i], layer.parameters
        weight = main_parameter(graph, layer)
        units = layer_width(graph, layer, weight)
        width[name] = units if units is not None else _no_weight(weight)
        fan_in[name] = weight.fan_in if weight is not None and weight.fan_in is not None else _no_weight(weight)
        if layer.op is not Op.EMBEDDING:
            has_bias[name] = _BIAS in parameters
        if total:
            share[name] = sum([sizes.get(p, 0) for p in parameters.values()]) / total
    for i in index.of(NORMALIZATIONS):
        layer = layers[i]
        eps = layer.attributes.get("eps")
        if eps == 0.0 and _may_be_dropped(graph, layer):
            epsilon[layer.name] = _DROPPED_EPSILON
        elif isinstance(eps, (int, float)):
            epsilon[layer.name] = float(eps)
        elif layer.op is not Op.LOCAL_RESPONSE_NORM and layer.op is not Op.LP_NORM:
            epsilon[layer.name] = Unmeasured("the file does not store its epsilon")
    columns["layer.width"] = width
    columns["layer.fan_in"] = fan_in
    columns["layer.has_bias"] = has_bias
    columns["layer.parameter_share"] = share
    columns["layer.compute_dtype"] = dtype
    columns["layer.dtype_max"] = largest
    columns["layer.epsilon"] = epsilon
    return columns


def _rates(index: Index) -> dict[str, FactValue]:
    rates: dict[str, FactValue] = {}
    for i in index.of(DROPOUTS):
        layer = index.layers[i]
        p = layer.attributes.get("p")
        rates[layer.name] = float(p) if isinstance(p, (int, float)) else Unmeasured("the file does not store its rate")
    return rates


def _may_be_dropped(graph: Graph, layer: Layer) -> bool:
    """Whether ε = 0 may be the exporter's doing: the dynamo exporter (the one that notes classes of modules) takes an addition of less than 1e-8
    for one of zero, and removes it outside training. Normalizations of one operator keep theirs."""
    return graph.form != "training" and "+" in layer.raw_op and layer.source.module_class is not None


def layer_codes(graph: Graph, known: dict[str, str]) -> dict[str, FactValue]:
    """layer name → Python expression of its module: from the module path, else from the names of its parameters, else its name."""
    codes: dict[str, FactValue] = {}
    for layer in graph.layers:
        path = layer.source.module
        if path is None and layer.parameters:
            for parameter in layer.parameters.values():
                if is_dotted_path(parameter):
                    path = parameter.rpartition(".")[0]
                    break
        if path is None:
            codes[layer.name] = layer.name
        elif path in known:
            codes[layer.name] = known[path]
        else:
            codes[layer.name] = module_code(path, known)
    return codes


def main_parameter(graph: Graph, layer: Layer) -> Parameter | None:
    """The weight of a weighted layer, or None."""
    for role in _MAIN_ROLES:
        name = layer.parameters.get(role)
        if name is not None:
            return graph.parameters.get(name)
    return None


def unit_count(weight: Parameter | None) -> int | None:
    """Output units that a weight serves; a recurrent weight counts each gate's units once."""
    if weight is None or weight.unit_axis is None or weight.unit_axis >= len(weight.shape):
        return None
    return weight.shape[weight.unit_axis]


def layer_width(graph: Graph, layer: Layer, weight: Parameter | None = None) -> int | None:
    """Output units of a weighted layer: features, channels, hidden units, or an embedding's width. `weight` saves looking it up."""
    attributes = layer.attributes
    value = attributes.get("out_features") or attributes.get("hidden_size") or attributes.get("width")
    if isinstance(value, int):
        return value
    weight = weight or main_parameter(graph, layer)
    if layer.op is Op.EMBEDDING and weight is not None and weight.shape:
        return weight.shape[-1]
    units = unit_count(weight)
    if units is None or weight is None:
        return None
    if layer.op is Op.CONV_TRANSPOSE and weight.groups > 1 and weight.unit_axis == 1:
        return units * weight.groups
    return units // weight.gates if weight.gates > 1 else units


def _no_weight(weight: Parameter | None) -> Unmeasured:
    return Unmeasured(
        "its weight is computed, not stored" if weight is None else "the layout of its weight is not known"
    )


def compute_dtype(index: Index, layer: Layer) -> str | None:
    """Type that the layer computes in: that of its result; float32 for a normalization that widens half precision inside."""
    value = index.graph.values.get(layer.outputs[0]) if layer.outputs else None
    dtype = None if value is None else value.dtype
    if dtype is None and layer.inputs:
        value = index.graph.values.get(layer.inputs[0])
        dtype = None if value is None else value.dtype
    if dtype in ("float16", "bfloat16") and layer.op in NORMALIZATIONS and any(s in layer.raw_op for s in _STASHED):
        return "float32"
    return dtype
