"""Example inputs for a module: as given, as it carries them, or inferred from its first layer where that is safe. torch is imported inside
functions only.

All values are drawn with one seed, so that the same target gives the same graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.target import INPUT_EXAMPLE, InputSpec
from trainaudit.load.torch.importing import told
from trainaudit.load.torch.quiet import quiet
from trainaudit.load.torch.seeding import SEED

_BATCH = 2
_LENGTH = 16
_EXTENTS = {1: (64, 128, 256, 1024, 16_000), 2: (64, 224, 32, 28, 128, 256, 96, 299), 3: (16, 32, 64)}
"""Extents that are tried for each axis of an image, a signal or a volume: small ones first, then those of ImageNet, CIFAR and MNIST."""


@frozen
class Example:
    """`value` is what `load_module` takes: a tuple of positional arguments or a dict of keyword arguments. `note` says how it was had, as a
    sentence, where it was not given."""

    value: tuple[Any, ...] | dict[str, Any]
    note: str = ""


def example_for(module: Any, given: Sequence[InputSpec], known: Any, shown: str) -> Example:
    """The example input: from `given` specifications, else the `known` one of the module itself, else inferred.

    Raises `TrainauditError` that asks for `--input` where nothing is known or the inferred one does not fit. `shown` names the target.
    """
    if given:
        return Example(_bound(module, [(spec.name, tensor_of(spec, module)) for spec in given], shown))
    if known is not None:
        return Example(_arguments(module, known))
    return _inferred(module, shown)


def tensor_of(spec: InputSpec, module: Any = None, vocabulary: int | None = None) -> Any:
    """Values of a specification: standard normal for floats; indices below the first embedding's vocabulary for integers; masks are ones, positions count."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point or dtype.is_complex:
        drawn = torch.randn(
            spec.shape, generator=generator, dtype=torch.complex64 if dtype.is_complex else torch.float32
        )
        return drawn.to(dtype)
    if "mask" in spec.name or spec.dtype == "bool":
        return torch.ones(spec.shape, dtype=dtype)
    if "position" in spec.name and spec.shape:
        return torch.arange(spec.shape[-1]).expand(spec.shape).to(dtype)
    if "type" in spec.name or "segment" in spec.name:
        return torch.zeros(spec.shape, dtype=dtype)
    top = vocabulary or _vocabulary(module) or 2
    info = torch.iinfo(dtype)
    return torch.randint(0, max(1, min(top, info.max)), spec.shape, generator=generator).to(dtype)


def _vocabulary(module: Any) -> int | None:
    import torch

    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    parts = module.modules() if module is not None else ()
    return next((int(part.num_embeddings) for part in parts if isinstance(part, kinds)), None)


def _bound(module: Any, inputs: list[tuple[str, Any]], shown: str) -> tuple[Any, ...] | dict[str, Any]:
    """Positional values alone as a tuple; with named ones among them all by the names of forward's parameters."""
    values = tuple(value for name, value in inputs if not name)
    if len(values) == len(inputs) and not _takes_names_alone(module):
        return values
    names = [parameter.name for parameter in _parameters(module)]
    named = {name: value for name, value in inputs if name}
    unknown = [name for name in named if name not in names and not _takes_any(module)]
    if unknown:
        from trainaudit.suggestion import did_you_mean

        hint = did_you_mean(unknown[0], names) or f"It takes {', '.join(names) or 'none'}."
        raise TrainauditError("bad-input", f"forward of {shown} takes no input {unknown[0]}.", hint)
    free = [name for name in names if name not in named]
    return {**dict(zip(free, values, strict=False)), **named}


def _arguments(module: Any, known: Any) -> tuple[Any, ...] | dict[str, Any]:
    """An example input as its owner wrote it: a tuple is positional, a mapping whose keys are forward's parameters goes by name."""
    if isinstance(known, Mapping):
        names = {parameter.name for parameter in _parameters(module)}
        by_name = _takes_any(module) or set(known) <= names
        return {str(key): value for key, value in known.items()} if by_name else (known,)
    return known if isinstance(known, tuple) else (known,)


def _parameters(module: Any) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter for parameter in inspect.signature(module.forward).parameters.values() if parameter.kind in kinds]


def _takes_names_alone(module: Any) -> bool:
    return bool(parameters := _parameters(module)) and all(p.kind is p.KEYWORD_ONLY for p in parameters)


def _takes_any(module: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(module.forward).parameters.values())


# --- inferred ------------------------------------------------------------------------------------------------------------


def _inferred(module: Any, shown: str) -> Example:
    if not inspect.signature(module.forward).parameters:
        return Example(())
    required = [p for p in _parameters(module) if p.default is p.empty]
    if len(required) > 1:
        names = ", ".join(p.name for p in required)
        each = " ".join(f"--input '{p.name}=float32[8,64]'" for p in required)
        raise _ask(shown, f"forward takes {len(required)} inputs ({names})", f"Give each: {each}.")
    first = _first_layer(module)
    if first is None:
        raise _ask(shown, "its first layer does not tell the shape")
    path, layer, candidates = first
    failure: Exception | None = None
    for spec in candidates:
        arguments = _bound(module, [("", tensor_of(spec, layer))], shown)
        error = _refuted(module, arguments)
        if error is None:
            kind = type(layer).__name__
            note = f"No example input was given: {spec} was inferred from {path or 'the model'} ({kind})."
            return Example(arguments, f"{note} Say --input to audit it with another.")
        failure = failure or error
    assert failure is not None
    raise _ask(
        shown,
        f"what {f'the layer {path}' if path else 'its first layer'} ({type(layer).__name__}) tells does not fit{told(failure)}",
    )


def _ask(shown: str, why: str, hint: str = f"Give one: {INPUT_EXAMPLE}.") -> TrainauditError:
    return TrainauditError("no-input", f"No example input is known for {shown}: {why}.", hint)


def _first_layer(module: Any) -> tuple[str, Any, list[InputSpec]] | None:
    """The first module that owns parameters and whose input's shape its kind tells: path, module and the shapes to try."""
    for path, part in module.named_modules():
        found = list(_shapes(part))
        if found:
            return path, part, [InputSpec("", dtype, shape) for dtype, shape in found]
        if any(True for _ in part.parameters(recurse=False)) and not any(True for _ in part.children()):
            return None  # a layer that is not known comes first
    return None


def _shapes(layer: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Element type and shapes of what a layer of torch.nn takes, the likeliest first; nothing for kinds that are not known."""
    from torch import nn

    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return
    dtype = next((str(p.dtype).removeprefix("torch.") for p in layer.parameters() if p.is_floating_point()), "float32")
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        yield "int64", (_BATCH, _LENGTH)
    elif isinstance(layer, nn.Linear):
        yield dtype, (_BATCH, layer.in_features)
        yield dtype, (_BATCH, _LENGTH, layer.in_features)
    elif isinstance(layer, nn.modules.conv._ConvNd):
        axes = len(layer.kernel_size)
        for extent in _EXTENTS[axes]:
            yield dtype, (_BATCH, layer.in_channels, *[extent] * axes)
    elif isinstance(layer, nn.RNNBase):
        yield dtype, (_BATCH, _LENGTH, layer.input_size) if layer.batch_first else (_LENGTH, _BATCH, layer.input_size)
    elif isinstance(layer, nn.RNNCellBase):
        yield dtype, (_BATCH, layer.input_size)
    elif isinstance(layer, (nn.TransformerEncoderLayer, nn.TransformerEncoder)):
        first = layer.layers[0] if isinstance(layer, nn.TransformerEncoder) else layer
        yield dtype, (_BATCH, _LENGTH, first.linear1.in_features)
    elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        axes = {nn.BatchNorm1d: 0, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}[type(layer)]
        for extent in _EXTENTS.get(axes, (1,)):
            yield dtype, (_BATCH, layer.num_features, *[extent] * axes)
    elif isinstance(layer, nn.LayerNorm):
        yield dtype, (_BATCH, *layer.normalized_shape)
        yield dtype, (_BATCH, _LENGTH, *layer.normalized_shape)


def _refuted(module: Any, arguments: tuple[Any, ...] | dict[str, Any]) -> Exception | None:
    """What the module raises on an input of that shape, computed with stand-ins for values on a copy; None where it raises nothing or this cannot
    be told."""
    import copy

    import torch
    from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeCopyMode, FakeTensorMode

    device = next((p.device for p in module.parameters()), "cpu")
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with FakeCopyMode(mode):
            stand_in = copy.deepcopy(module)
    except Exception:  # a module that cannot be copied cannot be tried
        return None
    try:
        with quiet(), mode, torch.no_grad():
            if isinstance(arguments, dict):
                stand_in(**{name: mode.from_tensor(tensor.to(device)) for name, tensor in arguments.items()})
            else:
                stand_in(*[mode.from_tensor(tensor.to(device)) for tensor in arguments])
    except (DynamicOutputShapeException, NotImplementedError):
        return None
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        return None if "data-dependent" in str(error).lower() or "DataDependent" in type(error).__name__ else error
    except Exception:
        return None
    return None
