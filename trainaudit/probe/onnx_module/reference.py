"""Asking onnxruntime, which a damaged or hostile file can crash: in a process of its own unless the file is one's own.

The child is `python -m trainaudit.probe.onnx_module.reference`; it never imports torch. It reads the inputs as .npz from its standard input, and
writes the outputs so to its standard output, or one line to its standard error.
"""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np

from trainaudit.probe.child import command_of, environment

_SECONDS = 120.0
"""For one run; a file can ask for endless loops."""


class CannotRunError(Exception):
    """Why onnxruntime does not give outputs, in one line."""


def ask(model: str | bytes, folder: str, feeds: dict[str, Any], *, isolated: bool) -> list[Any]:
    """The outputs of a model (its path, or its bytes with external data in `folder`). Raises `CannotRunError`."""
    if not isolated:
        return _run(model, folder, feeds)
    packed = {f"feed {name}": value for name, value in feeds.items()}
    packed["model"] = np.frombuffer(model, np.uint8) if isinstance(model, bytes) else np.array(model)
    sent = io.BytesIO()
    np.savez(sent, folder=np.array(folder), **packed)
    command = command_of("trainaudit.probe.onnx_module.reference")
    try:
        child = subprocess.run(
            command, env=environment(), input=sent.getvalue(), capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CannotRunError(f"it takes longer than {_SECONDS:.0f} seconds") from error
    if child.returncode < 0:
        raise CannotRunError(f"it crashes (signal {-child.returncode})")
    if child.returncode:
        raise CannotRunError(first_line(child.stderr.decode(errors="replace")))
    with np.load(io.BytesIO(child.stdout), allow_pickle=False) as found:
        return _unpacked(dict(found))


def first_line(text: object) -> str:
    """The first line of a message, shortened."""
    line = next(iter(str(text).strip().splitlines()), "") or type(text).__name__
    return line if len(line) <= 200 else line[:197] + "…"


def _run(model: str | bytes, folder: str, feeds: dict[str, Any]) -> list[Any]:
    try:
        import onnxruntime
    except ImportError:
        raise CannotRunError("it is not installed") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if isinstance(model, bytes):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))
    except Exception as error:  # its exceptions share no class of their own
        raise CannotRunError(first_line(error)) from error


def _packed(outputs: list[Any]) -> dict[str, Any]:
    """Outputs as named arrays: "3" for the fourth, "3.0" for the first element of a sequence, "3.length" for its length; absent ones are left out."""
    packed: dict[str, Any] = {"count": np.array(len(outputs))}
    for place, value in enumerate(outputs):
        if isinstance(value, list):
            packed[f"{place}.length"] = np.array(len(value))
            packed.update((f"{place}.{index}", item) for index, item in enumerate(value))
        elif value is not None:
            packed[str(place)] = value
    return packed


def _unpacked(packed: dict[str, Any]) -> list[Any]:
    outputs: list[Any] = []
    for place in range(int(packed["count"])):
        length = packed.get(f"{place}.length")
        if length is not None:
            outputs.append([packed[f"{place}.{index}"] for index in range(int(length))])
        else:
            outputs.append(packed.get(str(place)))
    return outputs


def main() -> None:
    """The child's part."""
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as sent:
        model = str(sent["model"]) if sent["model"].dtype.kind == "U" else sent["model"].tobytes()
        feeds = {name.removeprefix("feed "): sent[name] for name in sent.files if name.startswith("feed ")}
        folder = str(sent["folder"])
    try:
        outputs = _packed(_run(model, folder, feeds))
    except CannotRunError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    content = io.BytesIO()
    np.savez(content, **outputs)
    sys.stdout.buffer.write(content.getvalue())


if __name__ == "__main__":
    main()
