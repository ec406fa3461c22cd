"""A folder with the config.json of a transformers model: the architecture that it names, with the weights that lie there or, without any, as it is
initialized. Nothing is downloaded, and no code of the folder's is run. torch and transformers are imported inside functions only."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.datafile import open_model
from trainaudit.load.safetensors import read_safetensors, shards_of
from trainaudit.load.target import INDEX, InputSpec
from trainaudit.load.torch.checkpoint import read_checkpoint
from trainaudit.load.torch.examples import tensor_of
from trainaudit.load.torch.importing import told
from trainaudit.load.torch.seeding import seeded

_MOST_CONFIG = 8 << 20
_LARGEST = 16 << 30
"""Bytes of weights above which a model without weights of its own is not initialized."""
_BATCH, _LENGTH = 2, 16
_SAFETENSORS, _PICKLED = "model.safetensors", "pytorch_model.bin"


@frozen
class FromConfig:
    """The model, its example input by name, and sentences for the report."""

    model: Any
    example: dict[str, Any]
    notes: tuple[str, ...]


def model_of(folder: str) -> FromConfig:
    """The model that `folder` describes. Raises `TrainauditError` with one sentence where transformers does not know it."""
    config_file = str(Path(folder) / "config.json")
    _check_config(config_file)
    has_weights = _check_weights(folder)
    with _offline():  # before the import, which reads the environment
        transformers = _transformers(folder)
    try:
        with _offline(), _no_bars(transformers), seeded():
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model = _made(transformers, config, folder, has_weights)
    except TrainauditError:
        raise
    except Exception as error:  # transformers raises whatever its parts raise
        what = f"transformers {transformers.__version__} cannot make a model of {config_file}{told(error)}."
        raise TrainauditError("bad-config", what, "Check model_type and architectures in it.") from error
    notes = (
        ()
        if has_weights
        else ("There are no weights in the folder: the model was initialized as its architecture does it.",)
    )
    return FromConfig(model, _example(model, config), notes)


def _check_config(path: str) -> None:
    """The file is JSON, and asks for no code of its own."""
    if not Path(path).is_file():
        hint = "Name a folder that holds config.json (and model.safetensors, if there are weights)."
        raise TrainauditError("no-config", f"There is no {path}.", hint)
    file = open_model(path)
    try:
        document = json.loads(file.read(0, min(file.size, _MOST_CONFIG)))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise TrainauditError("bad-config", f"{path} is not a JSON object.", "Check the file.")
    if "transformers_weights" in document:
        what = f"{path} names its weights (transformers_weights), which could lie anywhere."
        raise TrainauditError("bad-config", what, f"Call them {_SAFETENSORS} and leave the key out.")
    if "model_type" not in document:
        raise TrainauditError("bad-config", f"{path} has no model_type.", "It is no configuration of transformers.")


def _transformers(folder: str) -> Any:
    try:
        import transformers
    except ImportError:
        what = f"{folder} needs transformers, which is not installed."
        raise TrainauditError("no-transformers", what, "Install it: pip install transformers.") from None
    return transformers


@contextlib.contextmanager
def _no_bars(transformers: Any) -> Iterator[None]:
    """Without the progress bars that transformers draws while it loads weights."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_weights(folder: str) -> bool:
    """Whether weights lie in the folder. They are read by our own readers first, which refuse what is damaged or could run code."""
    home = Path(folder)
    if (home / _SAFETENSORS).is_file():
        read_safetensors(str(home / _SAFETENSORS))
    elif (home / f"model{INDEX}").is_file():
        for shard in shards_of(str(home / f"model{INDEX}")):
            read_safetensors(str(home / shard))
    elif (home / _PICKLED).is_file():
        read_checkpoint(str(home / _PICKLED))
    elif (home / f"{_PICKLED}.index.json").is_file():
        what = f"{folder} holds weights in several .bin files, which are not read."
        raise TrainauditError(
            "sharded-pickles", what, "Save the model again with save_pretrained, which writes safetensors."
        )
    else:
        return False
    return True


def _made(transformers: Any, config: Any, folder: str, has_weights: bool) -> Any:
    import torch

    names = [name for name in (getattr(config, "architectures", None) or ()) if isinstance(name, str)]
    kind = next(
        (k for k in (getattr(transformers, n, None) for n in names if n.isidentifier()) if _is_model(transformers, k)),
        None,
    )
    if has_weights:
        loader = kind or transformers.AutoModel
        return loader.from_pretrained(folder, config=config, local_files_only=True, dtype="auto")
    with torch.device("meta"):
        size = _bytes(_plain(transformers, config, kind))
    if size > _LARGEST:
        what = f"{folder} describes a model of {size / 1e9:.0f} GB and holds no weights."
        raise TrainauditError("too-large", what, "Put its weights there, or audit a smaller configuration of it.")
    return _plain(transformers, config, kind)


def _plain(transformers: Any, config: Any, kind: Any) -> Any:
    return kind(config) if kind is not None else transformers.AutoModel.from_config(config, trust_remote_code=False)


def _is_model(transformers: Any, kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)


def _bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _example(model: Any, config: Any) -> dict[str, Any]:
    """The model's main input, with the decoder's where it has one of its own, and both of a model of texts and images."""
    import inspect

    names = inspect.signature(model.forward).parameters
    main = getattr(model, "main_input_name", "input_ids")
    wanted = [main]
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        wanted.append("decoder_input_ids")
    if getattr(config, "vision_config", None) is not None and getattr(config, "text_config", None) is not None:
        wanted += [name for name in ("input_ids", "pixel_values") if name in names and name not in wanted]
    return {name: _value(name, model, config) for name in wanted}


def _value(name: str, model: Any, config: Any) -> Any:
    dtype = str(next((p.dtype for p in model.parameters() if p.is_floating_point()), "float32")).removeprefix("torch.")
    if name == "pixel_values":
        vision = getattr(config, "vision_config", None) or config
        size = getattr(vision, "image_size", None) or 224
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        return tensor_of(InputSpec(name, dtype, (_BATCH, getattr(vision, "num_channels", 3) or 3, height, width)))
    if name == "input_values" and getattr(config, "num_mel_bins", None) and getattr(config, "max_length", None):
        return tensor_of(InputSpec(name, dtype, (_BATCH, config.max_length, config.num_mel_bins)))
    if name == "input_values":
        return tensor_of(InputSpec(name, dtype, (_BATCH, 16_000)))
    if name == "input_features":
        bins = getattr(config, "num_mel_bins", None) or getattr(config, "feature_size", None) or 80
        frames = 2 * (getattr(config, "max_source_positions", None) or 1500)
        shape = (_BATCH, bins, frames) if getattr(config, "model_type", "") == "whisper" else (_BATCH, 128, bins)
        return tensor_of(InputSpec(name, dtype, shape))
    text = getattr(config, "text_config", None) or config
    return tensor_of(InputSpec(name, "int64", (_BATCH, _LENGTH)), vocabulary=getattr(text, "vocab_size", None))


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """The libraries of the hub stay off the network, and say nothing on standard output."""
    import sys

    names = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
