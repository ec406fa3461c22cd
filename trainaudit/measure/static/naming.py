"""Python expressions that name modules and parameters, from their dotted paths. Stdlib only."""

from __future__ import annotations


def module_code(path: str, known: dict[str, str]) -> str:
    """`encoder.layers.0.fc1` → `model.encoder.layers[0].fc1`; "" → `model`. A part that is no identifier is looked up by
    `get_submodule`. `known` remembers what was asked before (it must hold nothing else)."""
    found = known.get(path)
    if found is not None:
        return found
    parent, dot, leaf = path.rpartition(".")
    code = known.get(parent) if dot else "model"
    if code is None:
        code = "model"
        parts = parent.split(".")
        for count in range(1, len(parts) + 1):
            prefix = ".".join(parts[:count])
            code = known[prefix] = known.get(prefix) or _code(code, parts[count - 1], prefix)
    code = known[path] = _code(code, leaf, path)
    return code


def _code(parent: str, leaf: str, path: str) -> str:
    """The expression of a part of the module that `parent` stands for."""
    if leaf.isdecimal():
        return f"{parent}[{leaf}]"
    if not leaf:
        return "model"
    if leaf.isidentifier() and not parent.endswith('")'):
        return f"{parent}.{leaf}"
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'model.get_submodule("{quoted}")'


def is_dotted_path(name: str) -> bool:
    """Whether a parameter's name reads as an attribute path ("encoder.layers.0.fc1.weight"): identifiers and numbers, not one word
    that an exporter made up, such as "onnx::MatMul_120" or "val_3"."""
    parts = name.split(".")
    if len(parts) < 2 or not parts[-1].isidentifier():
        return False
    return all(part.isidentifier() or part.isdecimal() for part in parts)
