"""ONNX's own protobuf classes without the rest of the onnx package. Imports stdlib, and google.protobuf inside a function.

`import onnx` pulls in a compiled extension, ml_dtypes and a dozen helpers (50 ms and more, and code that a reader of files has
no use for). The generated classes are one file of it that needs google.protobuf alone, so that file is loaded by its path.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from trainaudit.errors import TrainauditError

_NAME = "_trainaudit_onnx_ml_pb2"


def onnx_classes() -> ModuleType:
    """The module that defines `ModelProto`, `GraphProto`, `TensorProto` …

    An onnx that is already imported is used as it is; the descriptors are the same either way, so a later `import onnx` and
    its messages work beside these. Raises `TrainauditError` where onnx is not installed.
    """
    for name in ("onnx.onnx_ml_pb2", _NAME):
        module = sys.modules.get(name)
        if module is not None:
            return module
    try:
        return _load_alone()
    except Exception:  # an onnx laid out otherwise: the public way is slower and always right
        try:
            return importlib.import_module("onnx.onnx_ml_pb2")
        except ImportError as error:
            raise TrainauditError(
                "onnx-not-installed", "The onnx package could not be imported.", "Install it: pip install onnx."
            ) from error


def _load_alone() -> ModuleType:
    package = importlib.util.find_spec("onnx")
    if package is None or not package.submodule_search_locations:
        raise ImportError("no onnx package")
    path = Path(package.submodule_search_locations[0]) / "onnx_ml_pb2.py"
    spec = importlib.util.spec_from_file_location(_NAME, path)
    if spec is None or spec.loader is None:
        raise ImportError("onnx_ml_pb2.py cannot be loaded alone")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "ModelProto"):
        raise ImportError("onnx_ml_pb2.py defines no ModelProto")
    sys.modules[_NAME] = module
    return module
