"""What a person sees in a terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.report import samples
from trainaudit.report.to_markdown import render_markdown
from trainaudit.report.to_terminal import render_concise, render_full, render_statistics, wants_color
from trainaudit.result import Evidence, Run, Severity, State

RUNS = ["faulty", "clean", "several", "hostile", "large"]


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("verbose", [False, True])
def test_no_control_characters_without_color(name: str, verbose: bool) -> None:
    run: Run = getattr(samples, name)()
    for text in (render_full(run, verbose=verbose), render_concise(run), render_statistics(run)):
        assert all(char.isprintable() or char == "\n" for char in text)
        assert "::error::owned" not in text.splitlines()


@pytest.mark.parametrize("name", RUNS)
def test_color_changes_nothing_but_color(name: str) -> None:
    run: Run = getattr(samples, name)()
    colored = render_full(run, color=True, verbose=True)
    assert "\x1b[1;3" in colored or name == "clean"
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render_full(run, verbose=True)
    assert set(re.findall(r"\x1b.", colored)) <= {"\x1b["}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_unless_one_word_does_not(width: int) -> None:
    """Code, commands, paths and names are never broken; everything else wraps."""
    for line in render_full(samples.several(), width=width, verbose=True).splitlines():
        words = line.split()
        is_whole = line.startswith((" " * 12, "    trainaudit", "  trainaudit")) or " --> " in line or len(words) == 1
        assert len(line) <= width or is_whole, line


def test_a_finding_shows_its_numbers_its_place_and_its_fix() -> None:
    text = render_full(samples.faulty())
    assert "error[zero-init-hidden] A hidden layer starts with all weights   confidence high\n  at zero\n" in text
    assert " --> models/a.onnx : encoder.layers.0.fc1 (linear) : src/model.py:40\n" in text
    assert "  measured  zero share 100 %                    expected  ≤ 99 %\n" in text
    assert '            nn.init.kaiming_normal_(model.encoder.layers[0].fc1.weight, nonlinearity="relu")\n' in text
    assert "+36" in text


def test_what_may_follow_is_one_line_under_its_cause() -> None:
    text = render_full(samples.cascade())
    line = "\n  may cause error[predicted-vanishing-gradient] The gradient vanishes: layers.0\n"
    assert text.index("error[zero-init-hidden]") < text.index(line) < text.index("warning[linear-stack]")
    assert text.count("predicted-vanishing-gradient") == 1
    assert text.count(" --> ") == 2
    assert "Found 3 problems in 1 model (2 errors, 1 warning)." in text
    assert "one that may follow from another is named in one line; an audit with -v shows all of it" in " ".join(
        text.split()
    )


def test_verbose_shows_the_whole_of_what_may_follow_behind_its_cause() -> None:
    text = render_full(samples.cascade(), verbose=True)
    rules = re.findall(r"^(?:error|warning|note)\[(.*)\]", text, re.MULTILINE)
    assert rules == ["zero-init-hidden", "predicted-vanishing-gradient", "linear-stack"]
    assert text.count(" --> ") == 3
    assert "an audit with -v" not in text


def test_what_may_follow_counts_its_places_and_says_what_its_fix_did() -> None:
    run = samples.cascade()
    proof = next(finding.proof for finding in run.audits[0].findings if finding.proof)
    findings = tuple(
        replace(finding, occurrences=finding.occurrences * 4, proof=proof) if "vanishing" in finding.rule else finding
        for finding in run.audits[0].findings
    )
    text = render_full(replace(run, audits=(replace(run.audits[0], findings=findings),)))
    said = "The gradient vanishes: layers.0 (+3 more layers); its fix, proved: loss after 100 steps 2.3 → 0.41"
    assert said in " ".join(text.split())


def test_a_cause_that_weighs_less_is_named_beside_what_may_follow() -> None:
    """A warning does not stand over an error, and a fix may say "mend the cause that is named beside this finding"."""
    run = samples.cascade()
    (audit,) = run.audits
    findings = tuple(
        replace(finding, severity=Severity.WARNING) if finding.rule == "zero-init-hidden" else finding
        for finding in audit.findings
    )
    weak = replace(run, audits=(replace(audit, findings=findings),))
    assert "\n  cause     may be warning[zero-init-hidden]\n" in render_full(weak)
    assert "\nMay follow from `zero-init-hidden`.\n" in render_markdown(weak)
    assert "may cause" not in render_full(weak)


def test_concise_has_a_line_for_each() -> None:
    assert render_concise(samples.cascade()).count("error[predicted-vanishing-gradient]") == 1
    assert render_concise(samples.cascade()).count(" confidence)") == 3


def test_errors_come_first_and_the_model_is_always_described() -> None:
    text = render_full(samples.faulty())
    assert text.index("error[") < text.index("warning[") < text.index("note[")
    model = " ".join(text.split("\n\n")[0].split())
    assert "25.6 M parameters, 43 layers, opset 17, training form, fresh weights, 99.7 % of nodes recognized" in model
    assert "not recognized: MyCustomOp ×2" in model


def test_the_summary_names_the_denominator_and_the_next_command() -> None:
    lines = " ".join(render_full(samples.faulty()).split("\n"))
    lines = " ".join(lines.split())
    assert "Found 3 problems in 1 model (1 error, 1 warning, 1 note; 1 ignored)." in lines
    assert "7 rules: 3 violated, 1 ignored, 1 not applicable, 2 not run." in lines
    assert "Next: 1 rule needs to know the loss: trainaudit models/a.onnx --loss NAME" in lines


def test_a_clean_model_is_not_more_than_clean() -> None:
    text = " ".join(render_full(samples.clean()).split())
    assert "Found no problems in 1 model. 7 rules: 5 clean, 1 not applicable, 1 not run." in text
    assert "passed" not in text


def test_verbose_says_what_was_not_run_and_why() -> None:
    text = render_full(samples.faulty(), verbose=True)
    assert "Not run (2)\n  double-softmax: the loss is not declared\n    trainaudit models/a.onnx --loss NAME\n" in text
    assert "excessive-dropout at head.dropout: ignored: the teacher is frozen (until" in text
    assert "Clean (5)" in render_full(samples.clean(), verbose=True)


def test_quiet_is_findings_alone() -> None:
    text = render_full(samples.faulty(), quiet=True)
    assert text.startswith("error[zero-init-hidden]")
    assert "Found" not in text
    assert "Next:" not in text
    assert render_full(samples.clean(), quiet=True) == ""


def test_concise_is_one_line_per_finding() -> None:
    lines = render_concise(samples.several(), quiet=True).splitlines()
    assert lines[0] == "models/broken.onnx: error: The file is empty."
    assert lines[1] == (
        "models/a.onnx:encoder.layers.0.fc1: error[zero-init-hidden] encoder.layers.0.fc1 starts with every weight at zero. "
        "(high confidence, +39 more layers)  src/model.py:40"
    )
    assert len(lines) == 4
    assert len(render_concise(samples.hostile(), quiet=True).splitlines()) == 2
    rest = render_concise(samples.several()).splitlines()
    assert next(line for line in rest if line.startswith("Found ")).endswith(".")
    assert len([line for line in rest if line.startswith(" ")]) == 0


def test_a_limit_says_where_it_comes_from() -> None:
    evidence = (
        Evidence("layer.dropout_rate", 0.9, "share", ">", 0.8, "Srivastava et al. 2014. They say so. At length."),
        Evidence("layer.width", 32, "units"),
        Evidence("layer.activation", "relu", ""),
    )
    finding = samples.finding("linear-stack", samples.occurrence("fc2", evidence=evidence))
    run = samples.run_of(replace(samples.faulty_audit(), findings=(finding,)))
    short, long = render_full(run).splitlines(), render_full(run, verbose=True).splitlines()
    at = next(index for index, line in enumerate(short) if line.startswith("  measured  dropout rate 90 %"))
    assert short[at].endswith("≤ 80 %")
    assert short[at + 1] == "  limit     Srivastava et al. 2014. They say so."
    assert short[at + 2] == "  facts     width: 32 units; activation: relu"
    assert "  limit     Srivastava et al. 2014. They say so. At length." in long


def test_statistics_count_places() -> None:
    lines = render_statistics(samples.faulty()).splitlines()
    assert lines[0] == "40  error    zero-init-hidden       A hidden layer starts with all weights at zero"
    assert len(lines) == 3
    assert render_statistics(samples.clean()) == "Found no problems in 1 model.\n"


def test_baseline_findings_are_not_shown_as_problems() -> None:
    audit = samples.faulty_audit()
    known = replace(audit, findings=tuple(replace(finding, is_new=False) for finding in audit.findings[:2]))
    text = render_full(samples.run_of(known), verbose=True)
    assert "error[" not in text
    assert "2 in the baseline" in " ".join(text.split())
    assert "zero-init-hidden at encoder.layers.0.fc1: in the baseline" in text


def test_a_crashed_rule_is_not_counted_as_run() -> None:
    audit = replace(
        samples.clean_audit(), outcomes=(samples.outcome("linear-stack", State.FAILED, "it divided by zero"),)
    )
    text = render_full(samples.run_of(audit), verbose=True)
    assert "1 rule: 1 crashed." in text
    assert "linear-stack: it divided by zero" in text


@pytest.mark.parametrize(
    ("choice", "terminal", "environment", "expected"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", False, {"FORCE_COLOR": "1"}, True),
        ("auto", False, {"FORCE_COLOR": "0"}, False),
        ("auto", True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {"FORCE_COLOR": "1"}, False),
    ],
)
def test_color_choice(choice: str, terminal: bool, environment: dict[str, str], expected: bool) -> None:
    assert wants_color(choice, terminal, environment) is expected


def test_wide_characters_take_two_cells() -> None:
    audit = samples.faulty_audit()
    finding = replace(audit.findings[1], name="零零 " * 30, why="零零 " * 60)
    text = render_full(samples.run_of(replace(audit, findings=(finding,))), width=80, quiet=True)
    lines = [line for line in text.splitlines() if "零" in line]
    assert len(lines) >= 4
    assert all(len(line) + line.count("零") <= 80 for line in lines)


def test_nothing_heavy_is_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from tests.report import samples; from trainaudit.report.formats import render\n"
        "for name in ('full', 'concise', 'json'): render(samples.faulty(), name)\n"
        "print([name for name in ('rich', 'jinja2', 'numpy', 'onnx', 'weasyprint', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
