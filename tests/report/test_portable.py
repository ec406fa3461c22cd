"""A report that is passed on names no path of the machine that made it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.report import samples
from trainaudit.report.formats import render
from trainaudit.report.portable import portable
from trainaudit.report.to_html import page
from trainaudit.result import Run, State


def private() -> Run:
    """A run with a private folder wherever a path may stand."""
    finding = samples.finding(
        "linear-stack", samples.occurrence("/encoder/fc1/Gemm", 3, file="/home/someone/secret/net/model.py")
    )
    row = replace(samples.row(0, "fc"), file="C:\\Users\\someone\\secret\\net\\model.py")
    audit = replace(
        samples.clean_audit("/home/someone/secret/m.onnx"),
        findings=(finding,),
        layers=(row,),
        outcomes=(
            samples.outcome("linear-stack", State.VIOLATED),
            samples.outcome(
                "double-softmax",
                State.NOT_MEASURED,
                "needs /encoder/fc1/Gemm",
                "trainaudit /home/someone/secret/m.onnx --loss NAME",
            ),
        ),
    )
    return replace(
        samples.run_of(audit, failures=[("/home/someone/secret/x.onnx", "/home/someone/secret/x.onnx is empty.")]),
        command="trainaudit /home/someone/secret/m.onnx --report=/home/someone/secret/r.html -o 'C:/Users/someone/secret/o.txt'",
        settings={
            "rules": ["/home/someone/secret/rules"],
            "select": ["ALL"],
            "nested": {"config": "/home/someone/secret/p.toml"},
        },
    )


@pytest.mark.parametrize("name", ["html", "markdown", "sarif", "gitlab", "github", "junit"])
def test_no_private_folder(name: str) -> None:
    text = render(private(), name)
    assert "someone" not in text
    assert "secret" not in text
    assert "m.onnx" in text


def test_no_private_folder_in_print() -> None:
    text = page(private(), is_print=True)
    assert "someone" not in text
    assert "…/model.py" in text


def test_what_is_kept() -> None:
    run = portable(private())
    assert run.command == "trainaudit m.onnx --report=r.html -o 'o.txt'"
    assert run.audits[0].findings[0].root.subject == "/encoder/fc1/Gemm"
    assert run.audits[0].outcomes[1].reason == "needs /encoder/fc1/Gemm"
    assert run.audits[0].outcomes[1].command == "trainaudit m.onnx --loss NAME"
    assert run.failures == (("x.onnx", "x.onnx is empty."),)
    assert run.settings == {"rules": ["rules"], "select": ["ALL"], "nested": {"config": "p.toml"}}


@pytest.mark.parametrize("name", ["faulty", "clean", "several", "large"])
def test_relative_paths_stay(name: str) -> None:
    run: Run = getattr(samples, name)()
    assert portable(run) == run
