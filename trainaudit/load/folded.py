"""What an exporter did to the graph: a BatchNorm multiplied into the layer before it, and the training or the inference form.

Stdlib, numpy, ir, load.wiring and load.known only.
"""

from __future__ import annotations

import math
import re

import numpy as np

from trainaudit.ir.graph import Role
from trainaudit.ir.ops import DROPOUTS, Op
from trainaudit.load.wiring import Draft, Use, Wiring

_RULE = "pkg.onnxscript.rewriter.rule_name"
_TORCHSCRIPT = re.compile(r"onnx::Conv_\d+")
_TELLING = DROPOUTS | {Op.ATTENTION, Op.BATCH_NORM}
_FOLDABLE = frozenset({Op.CONV, Op.CONV_TRANSPOSE, Op.LINEAR})


def folded_normalizations(wiring: Wiring, drafts: list[Draft]) -> tuple[list[int], str]:
    """The drafts whose weights absorbed a BatchNorm, and how that was seen: "metadata" (the rewriter's note in the node, or the names that
    onnxruntime's fusion gives), "weights" (names and values that only folding leaves), or "none"."""
    noted: list[int] = []
    nameless: list[int] = []
    candidates: list[int] = []
    has_batch_norm = False
    for index, draft in enumerate(drafts):
        if draft.op not in _FOLDABLE or not draft.uses:
            has_batch_norm = has_batch_norm or draft.op is Op.BATCH_NORM
            continue
        if "FuseBatchNorm" in wiring.nodes[draft.node].metadata.get(_RULE, ""):
            noted.append(index)
            continue
        weight = draft.uses[0]
        if weight.tensor.name.startswith(("ConvBnFusion_", "MatMulBnFusion_")):
            noted.append(index)
        elif draft.op is not Op.LINEAR and (bias := _bias(draft)) is not None:
            candidates.append(index)
            if _TORCHSCRIPT.fullmatch(weight.tensor.name) and _TORCHSCRIPT.fullmatch(bias.tensor.name):
                nameless.append(index)
    if noted:
        return noted, "metadata"
    if nameless:
        return nameless, "weights"
    if not has_batch_norm and len(candidates) >= _LEAST and _looks_folded([drafts[index] for index in candidates]):
        return candidates, "weights"
    return [], "none"


def _bias(draft: Draft) -> Use | None:
    return next((use for use in draft.uses if use.role is Role.BIAS), None)


_LEAST = 4
"""Convolutions that must be there before values alone say anything."""
_LOOKED_AT = 8
_LARGEST = 1 << 16
_SPREAD = 0.25
_OFFSET = 0.3


def _looks_folded(drafts: list[Draft]) -> bool:
    """Whether most of a network's small convolutions look like γ/σ·W and β − γμ/σ.

    Folding gives every output channel a factor of its own, so that the norms of the channels' kernels spread (for independent values of
    fan-in n they would by about √((κ−1)/4n), κ the kurtosis), and a bias of the size of the response itself, because γμ/σ is one. Both
    together do not come from initialization, nor from training without normalization, whose biases stay small beside the kernels.
    """
    ordered = sorted((draft.uses[0].tensor.size, at) for at, draft in enumerate(drafts))
    seen = agreeing = 0
    for size, at in ordered[:_LOOKED_AT]:
        use, bias = drafts[at].uses[0], _bias(drafts[at])
        if size > _LARGEST or bias is None or use.tensor.quantized or use.tensor.generated or use.unit_axis is None:
            continue
        array = np.asarray(use.tensor.data.read(), np.float64)
        kernels = np.moveaxis(array, use.unit_axis, 0).reshape(array.shape[use.unit_axis], -1)
        norms = np.sqrt(np.square(kernels).sum(axis=1))
        mean = float(norms.mean())
        offsets = np.asarray(bias.tensor.data.read(), np.float64)
        if len(norms) < 8 or not mean or not np.isfinite(mean) or not np.isfinite(offsets).all():
            continue
        seen += 1
        chance = math.sqrt(2.0 / (4.0 * kernels.shape[1]))
        if float(norms.std()) / mean > _SPREAD + chance and float(offsets.std()) / mean > _OFFSET:
            agreeing += 1
    return seen >= _LEAST and agreeing >= 0.75 * seen


def form(wiring: Wiring, drafts: list[Draft], has_folded: bool) -> str:
    """ "training" where dropout is there or batch statistics are computed, "inference" where the exporter froze them, else "unknown"."""
    frozen = has_folded
    for draft in [draft for draft in drafts if draft.op in _TELLING]:
        if draft.op in DROPOUTS:
            if draft.attributes.get("training") or draft.attributes.get("p") != 0:
                return "training"
        elif draft.op is Op.ATTENTION:
            if "dropout" in draft.attributes:
                return "training"
        else:
            call = wiring.nodes[draft.node].metadata.get("pkg.torch.onnx.fx_node", "")
            # torch.export calls the training form of BatchNorm "functional"; its exporter never writes training_mode=1.
            if draft.attributes.get("training") or "batch_norm_legit_functional" in call:
                return "training"
            # Older opsets, and torch's newer exporter without that note, write both forms alike.
            frozen = frozen or "no_training" in call or (wiring.raw.opset >= 14 and not call)
    if any(node.op == "Dropout" and len(node.inputs) > 2 and wiring.scalar(node.inputs[2]) for node in wiring.nodes):
        return "training"  # a chance of zero, which is no layer
    return "inference" if frozen else "unknown"
