"""Reading an .onnx file into a `RawGraph`: safely, lazily, and without the onnx package around its protobuf classes.

Imports stdlib, google.protobuf (inside `protobuf`) and the rest of load. The steps: open the file and see that it is one; walk it
and cut the weights out (`wire`); let the official classes parse what is left (`bodies`); inline and sort (`flatten`).
"""

from __future__ import annotations

import gc
import os
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Origin
from trainaudit.load.bodies import Body, BodyReader, not_text, text
from trainaudit.load.cutting import Marker, pieces
from trainaudit.load.datafile import DataFile, open_model
from trainaudit.load.external import ExternalFiles
from trainaudit.load.flatten import flatten
from trainaudit.load.identify import what_it_is
from trainaudit.load.inlining import FunctionKey
from trainaudit.load.leaks import leaked_paths
from trainaudit.load.protobuf import onnx_classes
from trainaudit.load.raw import RawGraph
from trainaudit.load.tensors import TensorReader
from trainaudit.load.wire import FUNCTION, GRAPH, TooDeepError, TooLargeError, WireError, survey

OLDEST_OPSET = 6
_HEAD = 8192


def read_raw_graph(path: str) -> RawGraph:
    """The model at `path`, flattened; its tensors stay in the file (and in external data files beside it) until they are read.

    Raises `TrainauditError` with one sentence for everything that is not a readable ONNX model: see the slugs in this package.
    """
    file = open_model(path)
    collecting = gc.isenabled()
    gc.disable()  # a million small objects and no cycles: half of the time would go into looking for some
    try:
        return _read(path, file)
    finally:
        if collecting:
            gc.enable()


def _read(path: str, file: DataFile) -> RawGraph:
    onnx = onnx_classes()
    marker = Marker()
    tensors = TensorReader(file, marker, ExternalFiles(os.path.dirname(path)))  # noqa: PTH120 -- "" must stay ""
    reader = BodyReader(tensors)
    main = Body()
    functions: dict[FunctionKey, Body] = {}
    model: Any = None
    has_graph = False
    kind, content = GRAPH, b""
    try:
        for kind, content in pieces(file, marker):
            if kind == GRAPH:
                has_graph = True
                reader.feed(main, onnx.GraphProto.FromString(content))
            elif kind == FUNCTION:
                _add_function(functions, reader, onnx.FunctionProto.FromString(content))
            else:
                model = onnx.ModelProto.FromString(content)
    except UnicodeDecodeError as error:
        raise not_text() from error
    except (WireError, _decode_error()) as error:
        raise _not_a_model(path, file, error, kind, content) from error
    if not has_graph or not (main.nodes or main.tensors or main.outputs):
        raise _not_a_model(path, file, None, GRAPH, b"")
    opset = _opset(path, model, main)
    metadata = {text(entry.key): text(entry.value) for entry in model.metadata_props}
    origin = Origin(
        path=path,
        format="onnx",
        size=file.size,
        opset=opset or None,
        producer=f"{text(model.producer_name)} {text(model.producer_version)}".strip(),
        leaked_paths=leaked_paths([*metadata.values(), text(model.doc_string), *reader.strings]),
    )
    inputs = [name for name in main.inputs if name not in main.tensors]
    flat = flatten(main, functions)
    return RawGraph(
        nodes=flat.nodes, tensors=flat.tensors, constants=flat.constants, inputs=inputs, outputs=main.outputs,
        shapes=flat.shapes, dtypes=flat.dtypes, origin=origin, opset=opset, metadata={**main.metadata, **metadata}, node_count=flat.node_count,
    )  # fmt: skip


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    error: type[Exception] = DecodeError
    return error


def _add_function(functions: dict[FunctionKey, Body], reader: BodyReader, function: Any) -> None:
    domain = "" if function.domain == "ai.onnx" else text(function.domain)
    functions.setdefault((domain, text(function.name), text(function.overload)), reader.function(function))


def _opset(path: str, model: Any, main: Body) -> int:
    """The version of the ai.onnx operators; 0 where the model neither imports nor uses them."""
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    version = versions.get("ai.onnx")
    if version is None:
        if versions and all(node.domain for node in main.nodes):
            return 0
        raise TrainauditError(
            "missing-opset",
            f"{path} does not say which version of the ONNX operators it uses.",
            "Export the model again, or set opset_import with onnx.helper.make_opsetid.",
        )
    if version < OLDEST_OPSET:
        raise TrainauditError(
            "opset-too-old",
            f"{path} uses opset {version}; trainaudit reads opset 7 and later.",
            "Convert it: onnx.version_converter.convert_version(onnx.load(path), 17).",
        )
    return int(version)


def _not_a_model(path: str, file: DataFile, error: Exception | None, kind: int, content: bytes) -> TrainauditError:
    """The best sentence for bytes that could not be read as a model."""
    if isinstance(error, TooDeepError) or (not isinstance(error, WireError) and survey(content, kind)[0] > 99):
        return TrainauditError(
            "too-deep",
            f"{path} nests bodies of If, Loop or Scan deeper than ONNX readers accept (protobuf allows 100 messages).",
            "Export the model without such nesting.",
        )
    if isinstance(error, TooLargeError):
        return TrainauditError("too-large", f"{path} is too large: {error}.", "Audit its parts.")
    head = file.read(0, min(_HEAD, file.size))
    known = what_it_is(head, path)
    if known is not None:
        return known
    starts_like_a_model = head[:1] == b"\x08" and head[1:2] != b"\0" and head[1:2] <= b"\x20"
    if isinstance(error, WireError) and error.needed is not None and starts_like_a_model:
        return TrainauditError(
            "truncated-file",
            f"{path} is cut off: it has {file.size:,} bytes and needs at least {error.needed:,}.",
            "Copy, download or export it again; in a git checkout, run `git lfs pull`.",
        )
    if error is None and starts_like_a_model:
        return TrainauditError("empty-model", f"{path} holds no graph.", "Export the model again.")
    if starts_like_a_model:
        return TrainauditError(
            "damaged-file", f"{path} starts like an ONNX model but is damaged.", "Copy, download or export it again."
        )
    return TrainauditError(
        "not-an-onnx-model",
        f"{path} is not an ONNX model.",
        "Export the model: torch.onnx.export(model, inputs, 'model.onnx').",
    )
