"""The corpus as files, written once and shared by the benchmarks.

They lie in TRAINAUDIT_CORPUS, or else in the system's temporary folder, in a folder that is named after the corpus' own source and the
versions of torch, transformers, onnx and onnxscript: a change of any of them makes them anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import tests.corpus
from tests.corpus.architectures import ARCHITECTURES
from tests.corpus.configs import CONFIGS
from tests.corpus.exporting import export
from tests.corpus.training import train

MODELS: dict[str, Callable[[], Any]] = {**ARCHITECTURES, **CONFIGS}
TRAINED = (
    *ARCHITECTURES, "bert", "gpt2", "llama", "hf_vit", "hf_convnext", "t5_pair", "swin", "mamba", "distilbert", "bart",
)  # fmt: skip
"""Networks that are also tried with weights trained here."""


def folder() -> Path:
    base = Path(os.environ.get("TRAINAUDIT_CORPUS") or tempfile.gettempdir())
    path = base / f"trainaudit-corpus-{_digest()}"
    path.mkdir(parents=True, exist_ok=True)
    return path


@cache
def _digest() -> str:
    """Twelve letters that stand for the sources of the corpus, its tests aside, and the versions of what makes files of it."""
    sources = [
        path
        for path in sorted(Path(next(iter(tests.corpus.__path__))).glob("*.py"))
        if not path.name.startswith("test_")
    ]
    versions = [f"{name} {version(name)}" for name in ("torch", "transformers", "onnx", "onnxscript")]
    content = b"".join(path.read_bytes() for path in sources) + "\n".join(versions).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def network(name: str, *, is_trained: bool = False) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A network of the corpus, seeded; the weights of a trained one are kept as a file."""
    torch.manual_seed(0)
    model, example = MODELS[name]()
    if is_trained:
        path = folder() / f"{name}-trained.pt"
        if not path.exists():
            train(model, example)
            torch.save(model.state_dict(), path)
        model.load_state_dict(torch.load(path, weights_only=True))
    return model, example


def exported(name: str, exporter: str, form: str, *, is_trained: bool = False) -> Path:
    """The file of one network, written where it is not there yet. Raises what the exporter raises."""
    path = folder() / f"{name}{'-trained' * is_trained}-{exporter}-{form}.onnx"
    if not path.exists():
        partial = path.with_suffix(".partial")
        model, example = network(name, is_trained=is_trained)
        export(model, example, partial, exporter=exporter, form=form)
        partial.rename(path)
    return path
