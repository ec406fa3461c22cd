"""A module is found after its capture exactly as it was before, whatever happens meanwhile."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from trainaudit.load.torch.capture import ForwardError  # noqa: E402
from trainaudit.load.torch.from_torch import load_module  # noqa: E402


class Restless(nn.Module):
    """Draws, counts, writes into its buffers and parameters, changes its own mode and hooks, and may fail at the end."""

    def __init__(self, *, depends: bool, fails: bool) -> None:
        super().__init__()
        self.depends, self.fails = depends, fails
        self.conv, self.norm, self.drop = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.Dropout(0.3)
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.register_buffer("seen", torch.zeros(()))
        self.plain = torch.full((2,), -0.0)
        self.calls, self.history = 0, []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.history.append(self.calls)
        self.late = torch.zeros(1)
        random.random()
        np.random.rand()
        h = self.drop(self.norm(self.conv(x)))
        h, _ = self.lstm(h.transpose(1, 2))
        self.seen += 1
        with torch.no_grad():
            self.conv.bias.mul_(0.5)
        if self.depends and h.sum() > 100:
            h = h + 1
        self.norm.eval()
        self.conv.weight.requires_grad_(False)
        if self.fails:
            raise ValueError("no")
        return self.spectral(h) + torch.randn_like(h)


def _hook(module: nn.Module, args: Any) -> None:
    return None


def _made(**kinds: bool) -> Restless:
    torch.manual_seed(3)
    module = Restless(**kinds)
    module.norm.weight.requires_grad_(False)
    module.conv.weight.grad = torch.ones_like(module.conv.weight)
    module.drop.eval()
    module.conv.register_forward_pre_hook(_hook)
    return module


def _everything(module: nn.Module) -> dict[str, Any]:
    """All that can be seen of a module and of the generators."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers()), "plain": module.plain}
    found: dict[str, Any] = {f"bits of {name}": tensor.detach().numpy().tobytes() for name, tensor in tensors.items()}
    found |= {f"identity of {name}": id(tensor) for name, tensor in tensors.items()}
    found |= {f"grad of {name}": (id(tensor.grad), tensor.requires_grad) for name, tensor in tensors.items()}
    found["values of grad"] = module.conv.weight.grad.numpy().tobytes()
    for path, part in module.named_modules():
        found[f"mode of {path}"] = part.training
        found[f"attributes of {path}"] = sorted(vars(part))
        found[f"hooks of {path}"] = (list(part._forward_pre_hooks.values()), list(part._forward_hooks.values()))
        found[f"type of {path}"] = type(part)
    found["flat weights"] = [id(weight) for weight in module.lstm._flat_weights]
    found["python"] = (module.calls, list(module.history))
    found["generators"] = (
        random.getstate(),
        np.random.get_state()[1].tobytes(),
        torch.get_rng_state().numpy().tobytes(),
    )
    found["modes"] = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.backends.mha.get_fastpath_enabled())
    return found


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("depends", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_nothing_of_a_module_changes(depends: bool, fails: bool, training: bool) -> None:
    module = _made(depends=depends, fails=fails)
    before = _everything(module)

    if fails:
        with pytest.raises(ForwardError, match="no"):
            load_module(
                module,
                torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1)),
                name="model",
                training=training,
            )
    else:
        example = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
        graph = load_module(module, example, name="model", training=training)
        assert graph.is_connected

    after = _everything(module)
    assert {key for key in before if before[key] != after[key]} == set()
    assert before.keys() == after.keys()


def test_the_check_itself_sees_a_change() -> None:
    module = _made(depends=False, fails=False)
    before = _everything(module)
    module(torch.randn(2, 3, 8))
    after = _everything(module)

    changed = {key for key in before if before[key] != after.get(key)}
    assert {
        "bits of norm.running_mean",
        "bits of conv.bias",
        "bits of seen",
        "generators",
        "python",
        "mode of norm",
    } <= changed
