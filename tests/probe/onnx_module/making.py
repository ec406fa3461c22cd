"""Small ONNX files for these tests, from ONNX's own textual syntax."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import parser

from trainaudit.probe.onnx_module import Converted, convert


def written(folder: Path, text: str, *, opset: int = 18, ir_version: int = 10) -> str:
    """The path of a model of one graph, in ONNX's textual syntax; functions may follow it."""
    model = parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "local" : 1]>\n{text}')
    path = folder / "model.onnx"
    onnx.save(model, path)
    return str(path)


def converted(folder: Path, text: str, *, opset: int = 18, ir_version: int = 10) -> Converted:
    """The same as a module that onnxruntime agrees with."""
    result = convert(written(folder, text, opset=opset, ir_version=ir_version), training=False, is_own=True)
    assert result.unchecked == ""
    assert result.error is not None
    assert result.error <= 1e-5
    return result
