"""Which files are audited, and the auditing of many. May import `auditing` and `settings`."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from trainaudit.auditing import Audited, audit_file, chosen_rules, shown_target
from trainaudit.errors import TrainauditError
from trainaudit.judge.rule import Rule
from trainaudit.judge.selection import glob as name_pattern
from trainaudit.settings import Settings, target_names


def expand_targets(targets: Sequence[str], settings: Settings, *, named: bool, force_exclude: bool) -> list[str]:
    """Targets with globs resolved, `.onnx.data` files mapped to their model, duplicates and excluded files left out, in order.

    `named` says that the targets were typed rather than read from the settings: those are never excluded, unless
    `force_exclude`. Raises `TrainauditError` where nothing was named, or a pattern matches nothing.
    """
    if not targets:
        hint = "Give a path (`trainaudit model.onnx`) or set `targets` in [tool.trainaudit]."
        raise TrainauditError("nothing-to-audit", "No model was named.", hint)
    files: dict[str, None] = {}
    for target in targets:
        if not target.strip():
            raise TrainauditError("nothing-to-audit", "An empty path names no model.", "Give the path of a model file.")
        is_pattern = any(mark in target for mark in "*?[") and not Path(target).exists()
        found = _matches(target) if is_pattern else [target]
        if not found:
            raise TrainauditError("no-such-model", f"No file matches {target}.", "Check the pattern.")
        for path in found:
            model = _model_of(path)
            if not ((is_pattern or force_exclude or not named) and is_excluded(model, settings)):
                files[model] = None
    return list(files)


def is_excluded(target: str, settings: Settings) -> bool:
    """The target, or a folder it lies in, matches `exclude`."""
    patterns = [
        name_pattern(form) for pattern in settings.exclude for form in (pattern.rstrip("/"), pattern.rstrip("/") + "/*")
    ]
    return any(pattern.match(name) for pattern in patterns for name in target_names(target, settings))


def audit_all(
    files: Sequence[str], settings: Settings, rules: Sequence[Rule], *, detail: bool, jobs: int
) -> tuple[list[Audited], list[tuple[str, str]]]:
    """Audits in the order of the files, and (target, sentence) for those that could not be audited."""
    if jobs > 1 and len(files) > 1:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(min(jobs, len(files))) as pool:
            results = list(pool.map(_audit_apart, files, [settings] * len(files), [detail] * len(files)))
    else:
        results = [_audit_one(file, settings, rules, detail) for file in files]
    audited = [item for item in results if isinstance(item, Audited)]
    failures = [(shown_target(file), item) for file, item in zip(files, results, strict=True) if isinstance(item, str)]
    return audited, failures


def _audit_one(target: str, settings: Settings, rules: Sequence[Rule], detail: bool) -> Audited | str:
    """The audit, or why there is none: a sentence whose subject is the target."""
    try:
        return audit_file(target, settings, rules, detail=detail)
    except TrainauditError as error:
        return str(error).removeprefix(f"{target} ")
    except MemoryError:
        return "needs more memory than there is. Audit it on a larger machine."
    except Exception as error:
        if os.environ.get("TRAINAUDIT_DEBUG"):
            raise
        what = f"trainaudit itself broke down on it ({type(error).__name__}: {error})."
        return f"{what} Please report it; TRAINAUDIT_DEBUG=1 shows where."


def _audit_apart(target: str, settings: Settings, detail: bool) -> Audited | str:
    """The same in a process of its own, which reads the rules itself."""
    return _audit_one(target, settings, chosen_rules(settings), detail)


def _model_of(path: str) -> str:
    """The model that a file belongs to: external data (`m.onnx.data`) stands for `m.onnx`."""
    if not path.endswith(".onnx.data"):
        return path
    model = path.removesuffix(".data")
    if not Path(model).is_file():
        what = f"{path} is the external data of {model}, which is missing."
        raise TrainauditError("no-such-model", what, "Add the model file.")
    return model


def _matches(pattern: str) -> list[str]:
    return sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207  (keeps "./" and ".." as typed)
