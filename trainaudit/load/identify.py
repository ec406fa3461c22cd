"""One sentence about a file that turned out not to be the model its name says: what it looks like and what to do. Stdlib only."""

from __future__ import annotations

from trainaudit.errors import TrainauditError

_EXPORT = "Export the model to ONNX: torch.onnx.export(model, example_inputs, 'model.onnx')."


def what_it_is(head: bytes, name: str, wanted: str = "an ONNX model") -> TrainauditError | None:
    """The error for a file that starts with `head` (its first few kilobytes) and is not `wanted`, or None where nothing is recognised."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return TrainauditError(
            "git-lfs-pointer",
            f"{name} is a git-LFS pointer, not the model itself.",
            "Run `git lfs pull`, or set `lfs: true` in actions/checkout.",
        )
    for look, slug, what, hint in _LOOKS:
        if look(head):
            return TrainauditError(slug, f"{name} is not {wanted}: it looks like {what}.", hint)
    return None


def _text(head: bytes) -> bytes:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100 << 20


def _is_torch_zip(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") and any(
        word in head for word in (b"data.pkl", b"/byteorder", b"/version", b".data/")
    )


_LOOKS = (
    (_is_torch_zip, "pytorch-file", "a PyTorch file (.pt, .pth or .pt2)",
     "Load it in PyTorch and export it: torch.onnx.export(model, example_inputs, 'model.onnx')."),
    (lambda head: head.startswith(b"PK\x03\x04"), "zip-file", "a zip archive",
     "If the model is inside, unpack it; a .keras or .pt file must be exported to ONNX first."),
    (lambda head: head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and len(head) > 1, "pickle-file",
     "a Python pickle (an old torch.save, or scikit-learn), which is never opened here", _EXPORT),
    (lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"), "hdf5-file", "an HDF5 file (Keras .h5)",
     "Convert it: model.export('model.onnx', format='onnx') in Keras, or tf2onnx."),
    (_is_safetensors, "safetensors-file", "a safetensors file, which holds weights and no graph", _EXPORT),
    (lambda head: head[4:8] == b"TFL3", "tflite-file", "a TensorFlow Lite model",
     "Convert the original model with tf2onnx (python -m tf2onnx.convert)."),
    (lambda head: head[4:8] == b"ORTM", "ort-file", "an ONNX Runtime .ort file", "Audit the .onnx file that it was made from."),
    (lambda head: head.startswith(b"GGUF"), "gguf-file", "a GGUF file (llama.cpp)", _EXPORT),
    (lambda head: head.startswith(b"\x93NUMPY"), "numpy-file", "a NumPy array", _EXPORT),
    (lambda head: head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")), "compressed-file",
     "a compressed file", "Unpack it first."),
    (lambda head: head[257:262] == b"ustar", "tar-file", "a tar archive", "Unpack it first."),
    (lambda head: _text(head).startswith((b"<!doctype html", b"<html")), "html-file",
     "a web page, so the download probably failed", "Download the file itself (its raw or resolve address)."),
    (lambda head: _text(head).startswith(b"<?xml"), "xml-file", "an XML file (perhaps OpenVINO's)",
     "Audit the .onnx file that it was made from."),
    (lambda head: _text(head).startswith(b"<") and b"ir_version" in head[:200], "onnx-text-file", "ONNX in its text syntax",
     "Convert it: onnx.save(onnx.load('m.onnxtxt', format='onnxtxt'), 'model.onnx')."),
    (lambda head: _text(head).startswith((b"{", b"[")), "json-file", "a JSON file",
     "If it is an ONNX model in JSON, convert it with onnx.load(path, format='json') and onnx.save."),
    (lambda head: head.startswith(b"\n") and b"Placeholder" in head, "tensorflow-file", "a TensorFlow GraphDef (.pb)",
     "Convert it with tf2onnx (python -m tf2onnx.convert)."),
    (lambda head: (head.startswith(b"\x08\x01\x12") and b"serve" in head) or b"tensorflow" in head[:4096].lower(),
     "tensorflow-file", "a TensorFlow SavedModel", "Convert it with tf2onnx (python -m tf2onnx.convert)."),
    (lambda head: bool(head) and not any(head), "zeros", "nothing but zero bytes", "Copy or download the file again."),
)  # fmt: skip
