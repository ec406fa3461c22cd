"""Python expressions that name modules and parameters, from their dotted paths. Stdlib only."""

from __future__ import annotations


def module_code(path: str, known: dict[str, str]) -> str:
    """`encoder.layers.0.fc1` → `model.encoder.layers[0].fc1`; "" → `model`. A part that is no identifier is looked up by
    `get_submodule`. `known` remembers what was asked before (it must hold nothing else)."""
    found = known.get(path)
    if found is not None:
        return found
    start = path.rfind(".")
    parent = path[:start]
    missing = [path]
    while start >= 0 and parent not in known:
        missing.append(parent)
        start = path.rfind(".", 0, start)
        parent = path[:start]
    code = known[parent] if start >= 0 else "model"
    for prefix in reversed(missing):
        leaf = prefix[prefix.rfind(".") + 1 :]
        if leaf.isdecimal():
            code = f"{code}[{leaf}]"
        elif not leaf:
            code = "model"
        elif leaf.isidentifier() and not code.endswith('")'):
            code = f"{code}.{leaf}"
        else:
            quoted = prefix.replace("\\", "\\\\").replace('"', '\\"')
            code = f'model.get_submodule("{quoted}")'
        known[prefix] = code
    return code


def is_dotted_path(name: str) -> bool:
    """Whether a parameter's name reads as an attribute path ("encoder.layers.0.fc1.weight"): identifiers and numbers, not one word
    that an exporter made up, such as "onnx::MatMul_120" or "val_3"."""
    parts = name.split(".")
    if len(parts) < 2 or not parts[-1].isidentifier():
        return False
    return all(part.isidentifier() or part.isdecimal() for part in parts)
