"""What a mutation is: one fault put into a healthy network, with the place it is put and the rules that name it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Mutation:
    """`rules`: any of them names the fault. `places`: network of the corpus → path of the module that is mutated, "" where the fault
    belongs to no single layer. `change` takes the module and the place, and returns the mutated module; `change_file` takes the exported
    ModelProto and the place, and changes it. `loss` is what the user would declare; `is_trained` asks for trained weights; `form` is that of the exported file."""

    name: str
    rules: tuple[str, ...]
    places: Mapping[str, str]
    change: Callable[[nn.Module, str], nn.Module] | None = None
    change_file: Callable[[Any, str], None] | None = None
    loss: str | None = None
    is_trained: bool = False
    form: str = "training"


def everywhere(*networks: str) -> dict[str, str]:
    """The fault belongs to the whole of these networks."""
    return dict.fromkeys(networks, "")


def module_at(model: nn.Module, path: str) -> nn.Module:
    return model.get_submodule(path)


def replaced(model: nn.Module, path: str, new: nn.Module) -> nn.Module:
    """The model with the module at `path` replaced."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, new)
    return model
