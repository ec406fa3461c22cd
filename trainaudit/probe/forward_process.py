"""`run_apart`: a forward-only probe in a process of its own, since a damaged or hostile file can crash onnxruntime, or make it run for ever.

The child is `python -m trainaudit.probe.forward_process`. It reads one JSON line from its standard input (target and plan) and writes JSON lines to its
standard output: {"stage", "share"} as it goes on, and at the end {"trace"}, {"error"} or {"interrupted"}.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.load.opening import open_target
from trainaudit.load.target import Target, parse_inputs
from trainaudit.plain import decoded, encoded
from trainaudit.probe.child import command_of, environment
from trainaudit.probe.forward_only import run_forward
from trainaudit.probe.plan import ProbePlan
from trainaudit.trace.trace import Trace
from trainaudit.trace.trace_file import read_trace, write_trace

_GRACE = 120.0
"""Seconds beyond twice the time budget, for loading and for one last batch."""


def run_apart(target: Target, plan: ProbePlan, progress: Callable[[str, float], None]) -> Trace:
    """The trace of a forward-only probe. Ctrl-C ends it with what was measured so far, and raises where that is nothing."""
    shown = target.name or target.spec
    asked = {
        "spec": target.spec, "name": target.name, "inputs": [str(spec) for spec in target.inputs], "plan": encoded(plan)
    }  # fmt: skip
    child = subprocess.Popen(
        command_of("trainaudit.probe.forward_process"), env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, encoding="utf-8", start_new_session=True,
    )  # fmt: skip
    limit = 2 * plan.time_budget + _GRACE
    watch = threading.Timer(limit, child.kill)
    watch.start()
    try:
        last = _heard(child, json.dumps(asked), progress)
    finally:
        watch.cancel()
        child.kill()
        child.wait()
    if "trace" in last:
        return read_trace(last["trace"], shown)
    if "error" in last:
        raise TrainauditError(*last["error"])
    if "interrupted" in last:
        raise KeyboardInterrupt
    what = f"onnxruntime crashed on {shown}, or did not end within {limit:g} s."
    raise TrainauditError("forward-failed", what, "Check the file: `trainaudit` itself reads it without running it.")


def _heard(child: subprocess.Popen[str], asked: str, progress: Callable[[str, float], None]) -> dict[str, Any]:
    """The child's last message, {} where it ended without one. Ctrl-C is passed on once."""
    assert child.stdin is not None
    assert child.stdout is not None
    message: dict[str, Any] = {}
    is_passed_on = False
    with suppress(BrokenPipeError):
        child.stdin.write(asked + "\n")
        child.stdin.close()
    while True:
        try:
            line = child.stdout.readline()
            if not line:
                return message if "stage" not in message else {}
            message = json.loads(line)
            if "stage" in message:
                progress(message["stage"], message["share"])
        except KeyboardInterrupt:
            if is_passed_on:
                raise
            is_passed_on = True
            child.send_signal(signal.SIGINT)


def main() -> None:
    """The child's part. It listens to the signal that is passed on to it, also where its parent was started to ignore it (as shells start jobs in the background)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked = json.loads(sys.stdin.readline())
    target = Target(asked["spec"], asked["name"], parse_inputs(asked["inputs"]))

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    def progress(stage: str, share: float) -> None:
        say({"stage": stage, "share": share})

    try:
        plan = decoded(ProbePlan, asked["plan"])
        trace = run_forward(target, open_target(target), plan, progress)
        say({"trace": write_trace(trace, target.spec)})
    except TrainauditError as error:
        say({"error": [error.slug, error.what, error.hint]})
    except KeyboardInterrupt:
        say({"interrupted": True})


if __name__ == "__main__":
    main()
