"""A graph of weights alone: the layers that own the tensors of a state dict, as their names and shapes tell. Imports stdlib, ir and load.

What follows what is not in such a file, so the graph has no edges, inputs or outputs (`Graph.is_connected` is False), and what owns no
tensors (activation functions, dropout, softmax) is missing. Kinds follow the conventions of torch.nn: the rank of a weight, the length of the
bias beside it, running statistics, the names of recurrent weights; where nothing tells the kind it is `Op.OTHER`. The classes of the
modules, where they are known, decide before that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import field, replace

from trainaudit.frozen import slotted
from trainaudit.ir.graph import TRAINABLE_ROLES, Attribute, Graph, Layer, Origin, Parameter, Role, Source, TensorData
from trainaudit.ir.ops import NORMALIZATIONS, Op
from trainaudit.load.known import FLOATING
from trainaudit.load.naming import layer_names
from trainaudit.load.recurrent_weights import recurrent_levels

_WRAPPERS = ("_orig_mod.", "module.", "_fsdp_wrapped_module.")
_PARAMETRIZED = "parametrizations.weight.original"
_WORDS = {
    "gamma": "weight", "beta": "bias", "kernel": "weight", "weight_orig": "weight", "weight_v": "weight", "in_proj_weight": "weight",
    "in_proj_bias": "bias", "qweight": "weight", _PARAMETRIZED: "weight", f"{_PARAMETRIZED}1": "weight",
}  # fmt: skip
"""What else a tensor's own name may be, and torch.nn's word for it: TensorFlow's names, weight and spectral normalization, attention, GPTQ."""
_NORMS = {
    "BatchNorm": Op.BATCH_NORM, "InstanceNorm": Op.INSTANCE_NORM, "GroupNorm": Op.GROUP_NORM, "RMSNorm": Op.RMS_NORM,
    "LayerNorm": Op.LAYER_NORM,
}  # fmt: skip
_EMBEDDING = re.compile(r"(wte|wpe|emb|.*embed(ding)?s?|embed_.*|.*_tokens|shared|relative_attention_bias)")

_POSITION = re.compile(r"wpe|.*pos(ition)?(al)?_.*")
_MATRICES = frozenset({Role.WEIGHT, Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT, Role.EMBEDDING, Role.POSITION})

_Members = dict[str, tuple[str, TensorData]]
"""A tensor's own name in its module → its whole name, and its values."""


@slotted
class _Draft:
    """A layer to be: its module, what it is, and its tensors, each with role, name and values."""

    module: str
    op: Op
    uses: list[tuple[Role, str, TensorData]]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    unit_axis: int | None = None
    fan_in: int | None = None
    fan_out: int | None = None
    gates: int = 1


def module_tree(tensors: Mapping[str, TensorData], origin: Origin, classes: Mapping[str, str] | None = None) -> Graph:
    """The graph of a state dict (name → tensor). `classes` maps module paths to class names, as far as they are known.

    Values that stand under several names (the same object) are one parameter with several owners. Integer tensors (indices, counters, masks)
    are left out, save for quantized weights.
    """
    modules: dict[str, _Members] = {}
    prefix = _common_prefix(tensors)
    for name, data in tensors.items():
        path, word = _split(name.removeprefix(prefix))
        modules.setdefault(path, {})[word] = (name.removeprefix(prefix), data)
    known = classes or {}
    return _assemble(
        [draft for path, members in modules.items() for draft in _drafts(path, members, known.get(path, ""))], origin
    )


def _common_prefix(tensors: Mapping[str, TensorData]) -> str:
    """What wrappers (data parallel, torch.compile) put before every name."""
    prefix = ""
    while tensors:
        longer = next((w for w in _WRAPPERS if all(name.startswith(prefix + w) for name in tensors)), None)
        if longer is None:
            break
        prefix += longer
    return prefix


def _split(name: str) -> tuple[str, str]:
    """Module path and the tensor's own name; a parametrized weight belongs to the module that has it."""
    at = name.find(_PARAMETRIZED)
    cut = at - 1 if at > 0 else -1 if at == 0 else name.rfind(".")
    return (name[:cut] if cut > 0 else ""), name[cut + 1 :]


def _drafts(path: str, members: _Members, kind: str) -> Iterator[_Draft]:
    """The layers of one module: one for each level of a recurrent layer, one for a weight and what goes with it, one for the rest."""
    left = dict(members)
    for level in recurrent_levels({word: data for word, (_, data) in members.items()}):
        uses = [(role, left[word][0], data) for role, word, data in level.uses]
        yield _Draft(path, level.op, uses, level.attributes, 0, level.fan_in, level.hidden, gates=level.gates)
        for word in level.words:
            del left[word]
    words = {_WORDS.get(word, word): word for word in left}
    if "weight" in words or "running_mean" in words:
        taken = {
            word: left.pop(words[word]) for word in ("weight", "bias", "running_mean", "running_var") if word in words
        }
        draft = _kind_of(path, {word: data for word, (_, data) in taken.items()}, kind)
        roles = _roles(draft)
        draft.uses = [(roles[word], name, data) for word, (name, data) in taken.items()]
        yield draft
    # a tensor that a module holds itself: a position, a token, a learnt factor
    if rest := [(Role.POSITION, name, data) for name, data in left.values() if data.dtype in FLOATING]:
        yield _Draft(path, Op.OTHER, rest)


def _roles(draft: _Draft) -> dict[str, Role]:
    """torch.nn's word for a tensor → its role in this kind of layer."""
    scales = draft.op in NORMALIZATIONS
    table = Role.POSITION if _POSITION.fullmatch(draft.module.rpartition(".")[2]) else Role.EMBEDDING
    return {
        "weight": Role.SCALE if scales else {Op.EMBEDDING: table, Op.PRELU: Role.SLOPE}.get(draft.op, Role.WEIGHT),
        "bias": Role.SHIFT if scales else Role.BIAS,
        "running_mean": Role.RUNNING_MEAN,
        "running_var": Role.RUNNING_VARIANCE,
    }


def _kind_of(path: str, tensors: Mapping[str, TensorData], kind: str) -> _Draft:
    """What a module with a weight is. Its tensors go by torch.nn's words."""
    weight, bias = tensors.get("weight"), tensors.get("bias")
    norm = next((op for word, op in _NORMS.items() if word in kind), None)
    if "running_mean" in tensors:
        count = math.prod(tensors["running_mean"].shape)
        return _Draft(path, norm or Op.BATCH_NORM, [], {"num_features": count})
    shape = () if weight is None else weight.shape
    if norm is not None or (bias is not None and bias.shape == shape):
        return _Draft(path, norm or Op.LAYER_NORM, [], {} if norm is Op.GROUP_NORM else {"normalized_shape": shape})
    if len(shape) < 2:
        is_slope = "PReLU" in kind or math.prod(shape) == 1
        return _Draft(path, Op.PRELU if is_slope else Op.RMS_NORM, [], {} if is_slope else {"normalized_shape": shape})
    if "Embedding" in kind or (
        not kind and len(shape) == 2 and bias is None and _EMBEDDING.fullmatch(path.rpartition(".")[2])
    ):
        return _Draft(
            path, Op.EMBEDDING, [], {"vocabulary_size": shape[0], "width": shape[-1]}, None, shape[-1], shape[0]
        )
    # a bias as long as the second axis alone: a transposed convolution, or a matrix stored (in, out) as GPT-2's
    units = 1 if "Transpose" in kind or (bias is not None and bias.shape == shape[1:2] != shape[:1]) else 0
    incoming, outgoing = shape[1 - units], shape[units]
    if len(shape) == 2:
        return _Draft(
            path, Op.LINEAR, [], {"in_features": incoming, "out_features": outgoing}, units, incoming, outgoing
        )
    if len(shape) > 5:
        return _Draft(path, Op.OTHER, [])
    field_size = math.prod(shape[2:])
    op = Op.CONV_TRANSPOSE if units else Op.CONV
    return _Draft(path, op, [], {"kernel_size": shape[2:]}, units, shape[1] * field_size, shape[0] * field_size)


def _assemble(drafts: list[_Draft], origin: Origin) -> Graph:
    modules = [draft.module or None for draft in drafts]
    ops = [draft.op for draft in drafts]
    names = layer_names(modules, ops, [draft.module or "model" for draft in drafts], [op is not Op.OTHER for op in ops])
    layers: list[Layer] = []
    parameters: dict[str, Parameter] = {}
    seen: dict[int, str] = {}
    for index, (draft, name) in enumerate(zip(drafts, names, strict=True)):
        mapping: dict[str, str] = {}
        for role, given, data in draft.uses:
            parameter = seen.setdefault(id(data), given)
            found = parameters.get(parameter)
            parameters[parameter] = _parameter(parameter, role, data, index, draft, found)
            mapping[role.value if role.value not in mapping else f"{role.value}_{len(mapping)}"] = parameter
        source = Source(module=draft.module or None)
        layers.append(Layer(index, name, draft.op, draft.op.value, (), (), mapping, draft.attributes, source))
    others = sum(op is Op.OTHER for op in ops)
    return Graph(
        layers=tuple(layers),
        values={},
        parameters=parameters,
        inputs=(),
        outputs=(),
        origin=origin,
        node_count=len(layers),
        unrecognized=(("module of unknown kind", others),) if others else (),
        is_connected=False,
    )


def _parameter(
    name: str, role: Role, data: TensorData, index: int, draft: _Draft, found: Parameter | None
) -> Parameter:
    """The parameter as the layer owns it. Of an embedding that is the output layer's weight too, the embedding's view counts."""
    if found is not None:
        return replace(found, owners=tuple(dict.fromkeys((*found.owners, index))))
    fans = (draft.unit_axis, draft.fan_in, draft.fan_out) if role in _MATRICES else (None, None, None)
    if role is Role.RECURRENT_WEIGHT:
        fans = (draft.unit_axis, data.shape[-1], draft.fan_out)
    return Parameter(
        name, data.shape, data.dtype, role, role in TRAINABLE_ROLES, (index,), data, *fans, gates=draft.gates,
        quantized=data.dtype not in FLOATING,
    )  # fmt: skip
