"""Trains a network of the corpus for some hundred steps on a small synthetic task, so that its weights are those of a trained network.

The task fits any signature: a few prototypes of the inputs, each with a target of its own; a sample is a noisy prototype. Tokens out of
tokens are learned as a fixed map of the vocabulary. Needs torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

PROTOTYPES = 8
BATCH = 8


def train(model: nn.Module, example: tuple[Tensor, ...], *, steps: int = 200, seed: int = 0) -> tuple[float, float]:
    """Changes the model's weights and running statistics in place; returns the mean loss of the first and of the last ten steps."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    prototypes = [_prototypes(value, generator) for value in example]
    with torch.no_grad():
        output = _first(model(*example))
    target = torch.rand((PROTOTYPES, *output.shape[1:]), generator=generator)
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    losses = []
    for _ in range(steps):
        kinds = torch.randint(0, PROTOTYPES, (BATCH,), generator=generator)
        inputs = tuple(_sample(rows, kinds, generator) for rows in prototypes)
        loss = _loss(_first(model(*inputs)), inputs, kinds, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[:10]) / 10, sum(losses[-10:]) / 10


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _prototypes(value: Tensor, generator: torch.Generator) -> Tensor:
    """One row per prototype, of the example's own scale."""
    if not value.is_floating_point():
        return torch.randint(
            int(value.min()), int(value.max()) + 1, (PROTOTYPES, *value.shape[1:]), generator=generator
        )
    drawn = torch.randn((PROTOTYPES, *value.shape[1:]), generator=generator)
    return (drawn * value.std() + value.mean()).clamp(value.min(), value.max())


def _sample(rows: Tensor, kinds: Tensor, generator: torch.Generator) -> Tensor:
    chosen = rows[kinds]
    if not chosen.is_floating_point():
        replaced = torch.rand(chosen.shape, generator=generator) < 0.1
        return torch.where(
            replaced,
            chosen.flatten()[torch.randperm(chosen.numel(), generator=generator)].reshape(chosen.shape),
            chosen,
        )
    return chosen + 0.1 * rows.std() * torch.randn(chosen.shape, generator=generator)


def _loss(output: Tensor, inputs: tuple[Tensor, ...], kinds: Tensor, target: Tensor) -> Tensor:
    tokens = inputs[-1]
    if not tokens.is_floating_point() and output.dim() == 3 and output.shape[1] == tokens.shape[1]:
        wanted = (7 * tokens + 3) % output.shape[2]
        return F.cross_entropy(output.flatten(0, 1), wanted.flatten())
    if output.dim() == 2 and output.shape[1] >= PROTOTYPES and output.shape not in ((BATCH, BATCH), inputs[0].shape):
        return F.cross_entropy(output, kinds)
    if output.shape == (BATCH, BATCH):  # two towers: every pair against every other
        return F.cross_entropy(output, torch.arange(BATCH))
    return F.mse_loss(output, target[kinds])
