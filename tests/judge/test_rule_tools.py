"""`rule list | explain | new | test | lint` and `fact list`, by what they return."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.judge.samples import rule_text
from trainaudit.auditing import audit_file
from trainaudit.errors import TrainauditError
from trainaudit.judge.rule import Rule
from trainaudit.judge.rule_lint import lint
from trainaudit.judge.rule_new import new_rule
from trainaudit.judge.rule_testing import check_examples, check_models, summary
from trainaudit.judge.rule_text import explain, find_rule, list_facts, list_rules
from trainaudit.judge.rulefile import load_rule, load_rules
from trainaudit.measure.catalog import CATALOG
from trainaudit.resources import rules_folder
from trainaudit.settings import Settings

GOOD = """
[[examples.bad]]
"layer.gain" = 3.0
[[examples.good]]
"layer.gain" = 1
[[examples.not_applicable]]
"layer.op" = "relu"
[[examples.not_measured]]
layer.gain = { unmeasured = "the shape is not known" }
"""


def write(folder: Path, text: str, name: str = "sample-state") -> Rule:
    path = folder / "initialization" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return load_rule(path)


def failures(rule: Rule) -> list[str]:
    return [f"{check.what}: {check.detail}" for check in check_examples(rule) if not check.passed]


def test_examples_that_say_what_the_rule_says(tmp_path: Path) -> None:
    rule = write(tmp_path, rule_text(examples=GOOD))
    assert failures(rule) == []
    assert summary(check_examples(rule)) == "4 checks of 1 rule: 4 passed, 0 failed."


@pytest.mark.parametrize(
    ("example", "failure"),
    [
        ('[[examples.bad]]\n"layer.gain" = 1', "bad example 1: expected violated, came out clean"),
        ('[[examples.good]]\n"layer.gain" = 3', "good example 1: expected clean, came out violated"),
        (
            '[[examples.not_applicable]]\n"layer.gain" = 3',
            "not-applicable example 1: expected not-applicable, came out violated",
        ),
        (
            '[[examples.good]]\n"layer.op" = "relu"',
            "good example 1: expected clean, came out not-applicable (no layer here has layer.gain)",
        ),
        (
            '[[examples.good]]\n"layer.gian" = 3',
            'good example 1: "layer.gian" is not a fact. Did you mean "layer.gain"?',
        ),
        ('[[examples.good]]\n"layer.gain" = "3"', "good example 1: layer.gain is a number, and '3' is none."),
        ('[[examples.good]]\n"layer.gain" = true', "good example 1: layer.gain is a number, and True is none."),
        ('[[examples.good]]\n"layer.width" = 1.5', "good example 1: layer.width is a count, and 1.5 is none."),
        (
            '[[examples.good]]\n"layer.role" = "hiden"',
            'good example 1: layer.role is never "hiden". Did you mean "hidden"?',
        ),
        ('[[examples.good]]\n"output.rank" = 1', "cannot be seen from a rule about one layer"),
    ],
)
def test_examples_that_do_not(example: str, failure: str, tmp_path: Path) -> None:
    (found,) = failures(write(tmp_path, rule_text(examples=example)))
    assert failure in found


def test_a_parameter_example_sees_layer_and_model(tmp_path: Path) -> None:
    text = rule_text(
        subject="parameter", when="parameter.mean > limit and layer.role == 'hidden' and model.depth > 3", fix="",
        message="{parameter.name} has a mean of {parameter.mean}, far off.",
        examples='[[examples.bad]]\n"parameter.mean" = 3\n"layer.role" = "hidden"\n"model.depth" = 9\n',
    )  # fmt: skip
    assert failures(write(tmp_path, text)) == []


def test_model_pairs(tmp_path: Path) -> None:
    names = ("right", "mute", "broken", "elsewhere", "empty", "unpaired")
    rules = [write(tmp_path, rule_text(f"{name}-state"), f"{name}-state") for name in names]
    tests = tmp_path / "tests"
    save = "from pathlib import Path\ndef build(path):\n    Path(path).write_text({!r})\n"
    scripts = {
        "right-state": (save.format("right") + "VIOLATES = ['fc']\nLOSS = 'mse'\n", save.format("silent")),
        "mute-state": (save.format("silent"), save.format("silent")),
        "broken-state": ("def build(path):\n    raise OSError('no disk')\n", "import nothing_of_the_kind\n"),
        "elsewhere-state": (save.format("elsewhere") + "VIOLATES = ['head']\n", save.format("elsewhere")),
        "empty-state": ("", ""),
    }
    for name, texts in scripts.items():
        (tests / name).mkdir(parents=True)
        for kind, text in zip(("bad", "good"), texts, strict=True):
            (tests / name / f"{kind}.py").write_text(text)
    losses = []

    def audit(model: Path, loss: str | None) -> dict[str, set[str]]:
        losses.append(loss)
        text = model.read_text()
        return {} if text == "silent" else {f"{text}-state": {"fc"}, "loud-state": {"x"}}

    checks = check_models(rules, tests, audit)
    assert [(check.rule.removesuffix("-state"), check.what, check.detail) for check in checks] == [
        ("right", "bad.py", ""),
        ("right", "good.py", ""),
        ("mute", "bad.py", "the rule does not fire (fired: none)"),
        ("mute", "good.py", ""),
        ("broken", "bad.py", "the model could not be built (OSError: no disk)"),
        (
            "broken",
            "good.py",
            "the model could not be built (ModuleNotFoundError: No module named 'nothing_of_the_kind')",
        ),
        ("elsewhere", "bad.py", "the rule fires on fc, not on head"),
        ("elsewhere", "good.py", "the rule fires on fc"),
        ("empty", "bad.py", "it has no function build(path)"),
        ("empty", "good.py", "it has no function build(path)"),
    ]
    assert losses[:2] == ["mse", None]


def fired_by(rules: list[Rule], model: Path, loss: str | None) -> dict[str, list[str]]:
    """The real audit of a model with these rules."""
    audit = audit_file(str(model), Settings(loss=loss), rules, detail=False).audit
    return {finding.rule: [occurrence.subject for occurrence in finding.occurrences] for finding in audit.findings}


def test_a_new_rule_is_valid_tested_and_full_of_todos(tmp_path: Path) -> None:
    files = new_rule("output/hot-logits", tmp_path / "rules", tmp_path / "tests", "0.1")
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        "rules/output/hot-logits.toml",
        "tests/hot-logits/bad.py",
        "tests/hot-logits/good.py",
    ]
    (rule,) = load_rules([tmp_path / "rules"])
    assert failures(rule) == []
    assert [check.detail for check in check_models([rule], tmp_path / "tests", partial(fired_by, [rule]))] == ["", ""]
    assert any("still says TODO" in problem.what for problem in lint([tmp_path / "rules"], tests=tmp_path / "tests"))
    with pytest.raises(TrainauditError, match="is there already"):
        new_rule("output/hot-logits", tmp_path / "rules", tmp_path / "tests", "0.1")


@pytest.mark.parametrize("name", ["hot-logits", "output/Hot", "../x/y", "a/b/c", "output/", "output/a b", ""])
def test_a_new_rule_needs_a_proper_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainauditError, match="does not name a rule"):
        new_rule(name, tmp_path, tmp_path, "0.1")


def problems(folder: Path, text: str, name: str = "sample-state", **options: Any) -> list[str]:
    path = folder / "rules" / "initialization" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return [problem.what for problem in lint([folder / "rules"], **options)]


def test_a_sound_rule_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, rule_text(examples=GOOD)) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("The sample is in a bad state", "Bad", "the name has 3 characters"),
        ("The sample is in a bad state", "The sample is in a bad state.", "the name ends in a full stop"),
        ("The sample is in a bad state", "the sample is in a bad state", "does not start with a capital"),
        ("The sample is in a bad state", "The sample should be in a good state", 'the name says "should"'),
        ("above {limit}.", "above {limit}!", "the message does not end in a full stop"),
        ("above {limit}.", "which is bad! And {limit}.", 'the message says "!"'),
        (
            "{layer.name} has a gain of {layer.gain}, above {limit}.",
            "Some layer here has a gain above {limit}.",
            "the message names no fact",
        ),
        ("A source that says so, 2017.", "Because.", "the source of threshold limit has 8 characters"),
        ("https://example.org/source", "http://example.org/source", "has no https address"),
        ("https://example.org/source", "https://", "has no https address"),
        ("[[examples.good]]", "[[examples.bad]]", "there is no [[examples.good]]"),
        ("[[examples.not_applicable]]", "[[examples.bad]]", "there is no [[examples.not_applicable]]"),
        ("layer.gain > limit", "layer.gain > 2", 'no condition uses the threshold "limit"'),
        ("torch =", "recipe = [] #", "the fix has no PyTorch code"),
        ("Repair {layer.name}.", "TODO", "the fix still says TODO"),
        ('severity = "warning"', 'severity = "warn"', 'severity is "warn"'),
    ],
)
def test_problems_are_named(old: str, new: str, problem: str, tmp_path: Path) -> None:
    text = rule_text(examples=GOOD)
    assert old in text
    found = problems(tmp_path, text.replace(old, new))
    assert any(problem in what for what in found), found


@pytest.mark.parametrize("name", ["no-normalization", "avoid-this", "Bad_Name", "check-gain"])
def test_an_id_is_the_noun_of_the_bad_state(name: str, tmp_path: Path) -> None:
    assert any("the id" in what for what in problems(tmp_path, rule_text(name, examples=GOOD), name))


def test_a_rule_without_fix_or_references_is_named(tmp_path: Path) -> None:
    text = rule_text(examples=GOOD, fix="").replace(
        '[[references]]\ntitle = "A source"\nurl = "https://example.org/source"', ""
    )
    found = problems(tmp_path, text)
    assert "there are no [[references]]" in found
    assert any("there is no [fix]" in what for what in found)


def test_pairs_and_orphan_facts(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    (tests / "gone-state").mkdir(parents=True)
    (tests / "gone-state" / "bad.py").write_text("")
    found = problems(tmp_path, rule_text(examples=GOOD), tests=tests)
    assert found == ["there is no bad.py", "there is no good.py", "there is no rule of that name"]
    others = [
        spec.name for spec in CATALOG if spec.name not in ("layer.gain", "layer.name", "layer.code", "layer.depth")
    ]
    assert problems(tmp_path, rule_text(examples=GOOD), report_facts=others) == [
        "layer.depth is read by no rule and no report"
    ]


def test_listing_and_explaining(tmp_path: Path) -> None:
    rule = write(tmp_path, rule_text(examples=GOOD, applies_to="layer.role == 'hidden'"))
    text = str(list_rules([rule]))
    assert text.splitlines()[1].split()[:5] == ["sample-state", "initialization", "warning", "static", "stable"]
    assert str(list_rules([rule], "markdown")).splitlines()[1] == "| --- | --- | --- | --- | --- | --- |"
    data = list_rules([rule], "json")
    assert isinstance(data, list)
    assert data[0]["when"] == "layer.gain > limit"
    told = str(explain(rule))
    for part in (
        "applies to: layer.role == 'hidden'", "when: layer.gain > limit", "limit = 2 ratio: A source that says so, 2017.",
        "nn.init.zeros_({layer.code}.bias)", "https://example.org/source", "bad: layer.gain = 3.0", "stage 2",
        "layer.gain: standard deviation of the weight times √fan_in",
    ):  # fmt: skip
        assert part in told
    markdown = str(explain(rule, "markdown"))
    assert "```python\nnn.init.zeros_({layer.code}.bias)\n```" in markdown
    record = explain(rule, "json")
    assert isinstance(record, dict)
    assert record["examples"]["bad"] == [{"layer.gain": 3.0}]
    with pytest.raises(TrainauditError, match='Did you mean "sample-state"'):
        find_rule([rule], "sample_state")
    assert find_rule([rule], "sample-state") is rule


def test_the_list_of_facts_has_every_fact_once() -> None:
    lines = str(list_facts()).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [spec.name for spec in CATALOG]
    data = list_facts("json", load_rules([rules_folder()]))
    assert isinstance(data, list)
    assert any(entry["rules"] for entry in data)
    assert len(str(list_facts("markdown")).splitlines()) == len(CATALOG) + 2
