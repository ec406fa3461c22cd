"""Attention and what goes with it: rotary embedding, and attention as a recurrence over a matrix of state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from trainaudit.probe.onnx_module.values import Tensor, UnsupportedError, type_of


def _heads(x: Tensor, count: int | None) -> Tensor:
    """(batch, time, heads·size) as (batch, heads, time, size); what has four axes is so already."""
    if x.dim() == 4:
        return x
    if not count:
        raise UnsupportedError("does not say how many heads there are")
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


def _allowed(rows: int, columns: int, offset: Tensor, causal: bool, left: int, right: int) -> Tensor:
    """Which key each query may see, True where it may. `offset`, () or (batch, 1, 1, 1): keys that come before the first query."""
    query = torch.arange(rows, device=offset.device)[:, None] + offset
    key = torch.arange(columns, device=offset.device)[None]
    seen = torch.ones_like(query + key, dtype=torch.bool)
    if causal:
        seen = seen & (key <= query)
    if left >= 0:
        seen = seen & (query - key <= left)
    return seen & (key - query <= right) if right >= 0 else seen


def _bias(
    q: Tensor, columns: int, mask: Tensor | None, past: int, lengths: Tensor | None, causal: bool, left: int, right: int
) -> Tensor | None:
    """What is added to the scores: the file's mask, −inf where a key is out of sight; None where there is neither."""
    rows = q.shape[2]
    none = torch.zeros((), dtype=q.dtype, device=q.device)
    bias = None
    if mask is not None:
        missing = columns - mask.shape[-1]
        if mask.dtype is torch.bool:
            mask = torch.where(mask, none, -math.inf)
        bias = F.pad(mask, (0, missing), value=-math.inf) if missing > 0 else mask
    if causal or left >= 0 or right >= 0:
        offset = torch.tensor(past, device=q.device)
        if lengths is not None and not past:
            offset = lengths.reshape(-1, 1, 1, 1) - rows
        seen = torch.where(_allowed(rows, columns, offset, causal, left, right), none, -math.inf)
        bias = seen if bias is None else bias + seen
    if lengths is not None:
        real = torch.arange(columns, device=q.device) < lengths.reshape(-1, 1, 1, 1)
        padding = torch.where(real, none, -math.inf)
        bias = padding if bias is None else bias + padding
    return bias


def _attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, past_key: Tensor | None = None, past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None, *, is_causal: int = 0, kv_num_heads: int | None = None, left_window_size: int = -1,
    q_num_heads: int | None = None, qk_matmul_output_mode: int = 0, right_window_size: int = -1, scale: float | None = None,
    softcap: float = 0.0, softmax_precision: int | None = None,
) -> Any:  # fmt: skip
    """Scores, cap, bias, softmax, sum; a query that may see nothing gives zeros."""
    flat = q.dim() == 3
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    past = 0
    if past_key is not None and past_value is not None:
        past = past_key.shape[2]
        k, v = torch.cat((past_key, k), 2), torch.cat((past_value, v), 2)
    present_k, present_v = k, v
    if q.shape[1] != k.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    root = math.sqrt(1 / math.sqrt(q.shape[3]) if scale is None else scale)
    scores = torch.matmul(q * root, (k * root).transpose(2, 3))
    shown = scores
    if softcap > 0:
        scores = torch.tanh(scores / softcap) * softcap
        shown = scores if qk_matmul_output_mode else shown
    bias = _bias(q, k.shape[2], attn_mask, past, nonpad_kv_seqlen, bool(is_causal), left_window_size, right_window_size)
    if bias is not None:
        scores = scores + bias
    if qk_matmul_output_mode == 2:
        shown = scores
    kind = type_of(softmax_precision) if softmax_precision is not None else scores.dtype
    weights = torch.softmax(scores.to(kind), -1)
    if bias is not None:
        blind = (bias == -math.inf).all(-1, keepdim=True)
        weights = torch.where(blind, torch.zeros((), dtype=kind, device=q.device), weights)
    weights = weights.to(q.dtype)
    if qk_matmul_output_mode == 3:
        shown = weights
    y = torch.matmul(weights, v)
    return (y.transpose(1, 2).flatten(2) if flat else y), present_k, present_v, shown


def _rotary(
    x: Tensor, cos_cache: Tensor, sin_cache: Tensor, position_ids: Tensor | None = None, *, interleaved: int = 0,
    num_heads: int | None = None, rotary_embedding_dim: int = 0,
) -> Tensor:  # fmt: skip
    """Rotates pairs of features by the angles of their positions (Su et al. 2021, arXiv:2104.09864)."""
    flat = x.dim() == 3
    heads = _heads(x, num_heads)
    size = rotary_embedding_dim or heads.shape[3]
    turned, rest = heads[..., :size], heads[..., size:]
    cos, sin = (cache[position_ids] if position_ids is not None else cache for cache in (cos_cache, sin_cache))
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    first, second = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    real, imaginary = cos * first - sin * second, sin * first + cos * second
    turned = torch.stack((real, imaginary), -1).flatten(-2) if interleaved else torch.cat((real, imaginary), -1)
    result = torch.cat((turned, rest), -1) if rest.shape[3] else turned
    return result.transpose(1, 2).flatten(2) if flat else result


def _linear_attention(
    query: Tensor, key: Tensor, value: Tensor, past_state: Tensor | None = None, decay: Tensor | None = None,
    beta: Tensor | None = None, *, kv_num_heads: int, q_num_heads: int, chunk_size: int = 64, scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """state ← e^decay · state + k ⊗ β(v − stateᵀk), output ← scale · q · state (Yang et al. 2024, arXiv:2412.06464)."""
    del chunk_size  # changes how it is computed, not what
    if update_rule not in ("linear", "gated", "delta", "gated_delta"):
        raise UnsupportedError(f"has the update rule {update_rule!r}")
    q, k, v = (
        _heads(x, count).float() for x, count in ((query, q_num_heads), (key, kv_num_heads), (value, kv_num_heads))
    )
    batch, _, time, size = k.shape
    fade = None
    if decay is not None:
        fade = _heads(decay, kv_num_heads).float().exp()
    rate = beta.transpose(1, 2).unsqueeze(-1).float() if beta is not None else None
    state = k.new_zeros(batch, kv_num_heads, size, v.shape[3]) if past_state is None else past_state.float()
    outputs = []
    for step in range(time):
        if fade is not None:
            state = state * fade[:, :, step, :, None]
        new = v[:, :, step]
        if rate is not None:
            new = rate[:, :, step] * (new - torch.einsum("bhdm,bhd->bhm", state, k[:, :, step]))
        state = state + k[:, :, step, :, None] * new[:, :, None]
        read = state.repeat_interleave(q_num_heads // kv_num_heads, 1)
        outputs.append(torch.einsum("bhd,bhdm->bhm", q[:, :, step], read))
    result = torch.stack(outputs, 2) * (scale or 1 / math.sqrt(size))
    result = result.transpose(1, 2).flatten(2).to(query.dtype)
    return result, state.to(query.dtype if past_state is None else past_state.dtype)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Attention": _attention, "RotaryEmbedding": _rotary, "LinearAttention": _linear_attention,
}  # fmt: skip
