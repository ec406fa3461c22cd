"""`load_onnx`: an ONNX file as a canonical graph. Imports stdlib, load and ir only."""

from __future__ import annotations

import gc

from trainaudit.ir.graph import Graph
from trainaudit.load.canonical import canonicalize
from trainaudit.load.onnx_file import read_raw_graph
from trainaudit.load.shapes.inference import infer_shapes


def load_onnx(path: str) -> Graph:
    """The model at `path` as a canonical graph; its weights stay in the file until they are read.

    Raises `TrainauditError` with one sentence for everything that is not a readable ONNX model.
    """
    collecting = gc.isenabled()
    gc.disable()  # many small objects that live to the end: looking for cycles among them doubles the time
    try:
        raw = read_raw_graph(path)
        return canonicalize(raw, infer_shapes(raw))
    finally:
        if collecting:
            gc.enable()
