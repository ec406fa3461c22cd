"""Facts of a graph without edges, which a file of weights gives: what its layers and parameters tell by themselves; everything that
depends on what follows what is unmeasured. May import `ir`, `measure.catalog`, `measure.facts` and siblings.

One more layer, output, input, block and segment stand for those that the file does not tell of, with all facts unmeasured: a rule on softmax layers was
not run on such a file, though no layer in it is a softmax.
"""

from __future__ import annotations

from itertools import zip_longest

from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import RECURRENT, WEIGHTED, Op
from trainaudit.measure.catalog import CATALOG, PROBED, SETTINGS, SINGLE_KINDS, SUBJECT_KINDS
from trainaudit.measure.facts import NO_GRAPH, Columns, FactValue, Subject
from trainaudit.measure.static.flow import trace_uses
from trainaudit.measure.static.index import build_index
from trainaudit.measure.static.layer_facts import layer_width, main_parameter, measure_layers
from trainaudit.measure.static.model_facts import measure_model
from trainaudit.measure.static.parameters import measure_parameters, trainable_sizes
from trainaudit.measure.static.structure import Subjects, subjects_of
from trainaudit.measure.static.weights import measure_weights

UNTOLD = "(what the file does not tell)"

_KNOWN = frozenset(
    {
        "model.name", "model.form", "model.layer_count", "model.parameter_count", "model.recognition_coverage", "model.dtype",
        "model.leaked_path_count", "model.leaked_path_example", "layer.name", "layer.op", "layer.code", "layer.role",
        "layer.width", "layer.fan_in", "layer.has_bias", "layer.parameter_share", "parameter.name", "parameter.code", "parameter.role",
        "parameter.is_trainable", "parameter.size", "parameter.dtype", "parameter.unit_count",
    }
)  # fmt: skip
"""Facts of the graph that need no edges."""

_KNOWN_OF_WEIGHTS = frozenset(
    {
        "model.weights_state", "layer.gain", "layer.weight_scheme", "layer.forget_gate_bias", "layer.recurrent_spectral_radius",
        "layer.running_mean_absmax", "layer.running_variance_deviation", "layer.collapsed_channel_share", "parameter.state",
        "parameter.family", "parameter.scheme", "parameter.mean", "parameter.std", "parameter.absmax", "parameter.extremity",
        "parameter.zero_share", "parameter.denormal_share", "parameter.non_finite_count", "parameter.nan_count",
        "parameter.first_non_finite", "parameter.duplicate_unit_share", "parameter.identical_count", "parameter.identical_example",
        "parameter.stable_rank_ratio",
    }
)  # fmt: skip
"""Facts of the weights that need no edges."""

_OF_ANY_LAYER = (
    "layer.op", "layer.code", "layer.role", "layer.width", "layer.fan_in", "layer.has_bias", "layer.gain",
    "layer.weight_scheme",
)  # fmt: skip
"""Known facts that the layers which the file does not tell of may have too."""


def measure_unconnected(graph: Graph) -> tuple[Subjects, Columns]:
    """All subjects and facts of a graph whose `is_connected` is False, those of the weights among them, the loss left out."""
    index = build_index(graph)
    flow = trace_uses(index)
    trainable = trainable_sizes(graph)
    codes: dict[str, str] = {}
    columns: Columns = {"layer.role": _roles(graph)}
    for measured in (
        measure_model(index, flow, trainable),
        measure_layers(index, flow, trainable, codes),
        measure_parameters(index, flow, trainable, codes),
    ):
        columns.update({name: column for name, column in measured.items() if name in _KNOWN})
    weights = measure_weights(graph, {"layer.role": columns["layer.role"]})
    columns.update({name: column for name, column in weights.items() if name in _KNOWN_OF_WEIGHTS})
    subjects = _with_untold(subjects_of(graph, {}))
    for spec in CATALOG:
        if spec.source not in PROBED | {SETTINGS} and spec.name not in _KNOWN | _KNOWN_OF_WEIGHTS:
            columns[spec.name] = dict.fromkeys(subjects[spec.kind], NO_GRAPH)
    for name in _OF_ANY_LAYER:
        columns.setdefault(name, {})[UNTOLD] = NO_GRAPH
    columns["layer.name"][UNTOLD] = UNTOLD
    return subjects, columns


def _with_untold(subjects: Subjects) -> Subjects:
    last = max((subject.position for subject in subjects["layer"].values()), default=0) + 1
    for kind in SUBJECT_KINDS:
        if kind != "parameter" and kind not in SINGLE_KINDS:
            subjects[kind] = {**subjects.get(kind, {}), UNTOLD: Subject(kind, UNTOLD, UNTOLD, last)}
    return subjects


def _roles(graph: Graph) -> dict[str, FactValue]:
    """embedding and recurrent layers by their kind; hidden where the next layer takes as many features as this one gives, so that it is no
    output layer. A convolution's features may be flattened in between."""
    weighted = [layer for layer in graph.layers if layer.op in WEIGHTED]
    roles: dict[str, FactValue] = {}
    for layer, following in zip_longest(weighted, weighted[1:]):
        role: FactValue = NO_GRAPH
        if layer.op is Op.EMBEDDING:
            role = "embedding"
        elif layer.op in RECURRENT:
            role = "hidden"
        elif following is not None and following.op is not Op.EMBEDDING:
            width, taken = layer_width(graph, layer), main_parameter(graph, following)
            incoming = None if taken is None or taken.unit_axis is None else taken.shape[1 - taken.unit_axis]
            flattens = layer.op is Op.CONV and following.op is Op.LINEAR
            if width and incoming and (width == incoming or (flattens and incoming % width == 0)):
                role = "hidden"
        roles[layer.name] = role
    return roles
