"""Which targets are audited, and the auditing of many. May import `auditing`, `settings` and `load.target`."""

from __future__ import annotations

import glob
import os
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from trainaudit.auditing import Audited, audit_file, chosen_rules
from trainaudit.errors import TrainauditError
from trainaudit.judge.rule import Rule
from trainaudit.judge.selection import glob as name_pattern
from trainaudit.load.target import Kind, Target
from trainaudit.model_info import shown_target
from trainaudit.settings import Settings, target_names
from trainaudit.suggestion import did_you_mean

if TYPE_CHECKING:
    from concurrent.futures import Future

COMMANDS = ("check", "demo", "diff", "fact", "fix", "judge", "measure", "probe", "report", "rule")
"""What the first word may be instead of a target."""


def expand_targets(words: Sequence[str], settings: Settings, *, named: bool, force_exclude: bool) -> list[Target]:
    """Targets in order, duplicates and excluded files left out: the settings' own by their names, globs resolved, `.onnx.data` files mapped to
    their model. Nothing is imported, and a glob matches files alone, so no Python code runs unless it is named.

    `named` says that the words were typed rather than read from the settings: those are never excluded, unless `force_exclude`. Without
    words the settings' own targets are meant. Raises `TrainauditError` where nothing was named, or a pattern matches nothing.
    """
    if not words and not settings.named:
        hint = "Give a path (`trainaudit model.onnx`) or set `targets` in [tool.trainaudit]."
        raise TrainauditError("nothing-to-audit", "No model was named.", hint)
    found: dict[tuple[str, str], Target] = {}
    for word in words or settings.named:
        if not word.strip():
            raise TrainauditError("nothing-to-audit", "An empty path names no model.", "Give the path of a model file.")
        general = settings.named.get(word) or Target(word, root="" if named else str(settings.root or ""))
        general = replace(
            general,
            inputs=settings.inputs or general.inputs,
            ranges={**general.ranges, **settings.ranges},
            arguments={**general.arguments, **settings.arguments},
        )
        if _holds_build_model(general.spec):
            general = replace(general, spec=f"{general.spec}:build_model")
        is_pattern = any(mark in general.spec for mark in "*?[") and not Path(general.spec).exists()
        paths = _matches(general.spec) if is_pattern else [general.spec]
        if not paths:
            raise TrainauditError("no-such-model", f"No file matches {general.spec}.", "Check the pattern.")
        if not is_pattern:
            _check_named(general, settings)
        for path in paths:
            target = replace(general, spec=_model_of(path), name="" if is_pattern else general.name)
            if not ((is_pattern or force_exclude or not named) and is_excluded(target.spec, settings)):
                found[target.spec, target.name] = target
    return list(found.values())


def _holds_build_model(spec: str) -> bool:
    """A Python file that says how a model is built (and maybe trained) is read as text, so that no code runs which defines no such thing."""
    file = Path(spec)
    if file.suffix.lower() != ".py" or not file.is_file():
        return False
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"^(?:async )?(?:def|class) build_model\b|^build_model\s*[:=]", text, re.MULTILINE) is not None


def _check_named(target: Target, settings: Settings) -> None:
    """Refuses what is neither a file nor another kind of target, with the name that may have been meant."""
    spec = target.spec
    if target.kind is Kind.ONNX and not os.path.lexists(spec):  # the loader tells all else about files
        if spec.lower().endswith(".py"):
            raise TrainauditError("missing-file", f"{spec} does not exist.", "Check the path.")
        near = did_you_mean(spec, settings.named)
        if not near and spec.isalpha() and (command := did_you_mean(spec, COMMANDS)):
            raise TrainauditError("no-such-target", f"{spec} is neither a file nor a command.", command)
        if near or (settings.named and PurePath(spec).name == spec and not PurePath(spec).suffix):
            hint = near or f"Known targets: {', '.join(settings.named)}."
            raise TrainauditError("no-such-target", f"{spec} is neither a file nor a target of the settings.", hint)
    elif target.kind is Kind.ONNX and spec.lower().endswith(".py"):
        hint = f"Name a module or a function in it: {spec}:NAME; or define build_model in it."
        raise TrainauditError("no-attribute", f"{spec} is Python code and names no model.", hint)


def is_excluded(target: str, settings: Settings) -> bool:
    """The target, or a folder it lies in, matches `exclude`."""
    patterns = [
        name_pattern(form) for pattern in settings.exclude for form in (pattern.rstrip("/"), pattern.rstrip("/") + "/*")
    ]
    return any(pattern.match(name) for pattern in patterns for name in target_names(target, settings))


def audit_all(
    targets: Sequence[Target], settings: Settings, rules: Sequence[Rule], *, detail: bool, jobs: int
) -> tuple[list[Audited], list[tuple[str, str]]]:
    """Audits in the order of the targets, and (target, sentence) for those that could not be audited."""
    if jobs > 1 and len(targets) > 1:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(min(jobs, len(targets))) as pool:
            futures = [pool.submit(_audit_apart, target, settings, detail) for target in targets]
            results = [_result_of(future) for future in futures]
    else:
        results = [_audit_one(target, settings, rules, detail) for target in targets]
    return sorted_out(targets, results)


def sorted_out(
    targets: Sequence[Target], results: Sequence[Audited | str]
) -> tuple[list[Audited], list[tuple[str, str]]]:
    """The audits, and (target, sentence) for the targets that could not be audited."""
    audited = [item for item in results if isinstance(item, Audited)]
    failures = [
        (target.name or shown_target(target.spec), item)
        for target, item in zip(targets, results, strict=True)
        if isinstance(item, str)
    ]
    return audited, failures


def _audit_one(target: Target, settings: Settings, rules: Sequence[Rule], detail: bool) -> Audited | str:
    return attempt(target, lambda: audit_file(target, settings, rules, detail=detail))


def attempt(target: Target, audit: Callable[[], Audited]) -> Audited | str:
    """The audit, or why there is none: a sentence whose subject is the target."""
    try:
        return audit()
    except TrainauditError as error:
        if error.__cause__ is not None and os.environ.get("TRAINAUDIT_DEBUG"):
            traceback.print_exception(error.__cause__)
        return (
            str(error).removeprefix(f"{target.spec} ").replace(target.path, shown_target(target.path))
        )  # no absolute path
    except MemoryError:
        return "needs more memory than there is. Audit it on a larger machine."
    except Exception as error:
        if os.environ.get("TRAINAUDIT_DEBUG"):
            raise
        what = f"trainaudit itself broke down on it ({type(error).__name__}: {error})."
        return f"{what} Please report it; TRAINAUDIT_DEBUG=1 shows where."


def _audit_apart(target: Target, settings: Settings, detail: bool) -> Audited | str:
    """The same in a process of its own, which reads the rules itself."""
    return _audit_one(target, settings, chosen_rules(settings, probed=detail), detail)


def _result_of(future: Future[Audited | str]) -> Audited | str:
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool:
        return "was not audited, since a process that audited beside it was ended. Try --jobs 1."


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
