"""Rule files: what is read, what is refused and how, threshold overrides, and the examples that no audit parses."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.judge.samples import rule_text
from trainaudit.errors import TrainauditError
from trainaudit.judge.rule import rule_info
from trainaudit.judge.rulefile import load_rule, load_rules, parse_rule, read_examples, with_thresholds
from trainaudit.resources import rules_folder
from trainaudit.result import Reference, Severity, ThresholdInfo

EXAMPLES = '[[examples.bad]]\n"layer.gain" = 3.0\n[[examples.good]]\n"layer.gain" = 1\n'


def write(folder: Path, text: str, name: str = "sample-state", category: str = "initialization") -> Path:
    path = folder / category / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(TrainauditError) as caught:
        load_rule(path)
    message = str(caught.value)
    assert str(path) in message
    return message


def test_a_whole_file(tmp_path: Path) -> None:
    rule = load_rule(
        write(tmp_path, rule_text(applies_to="layer.role == 'hidden' and model.depth > 3", examples=EXAMPLES))
    )
    assert (rule.id, rule.category, rule.severity, rule.subject) == (
        "sample-state",
        "initialization",
        Severity.WARNING,
        "layer",
    )
    assert rule.needs == ("layer.role", "model.depth", "layer.gain")
    assert rule.evidence_level == "static"
    assert rule.thresholds == {"limit": ThresholdInfo("limit", 2.0, "ratio", "A source that says so, 2017.")}
    assert rule.references == (Reference("A source", "https://example.org/source"),)
    info = rule_info(rule)
    assert info.fix_summary == "Repair {layer.name}."
    assert info.needs == rule.needs


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('severity = "warning"', 'severty = "warning"', '"severty" is not a key of a rule. Did you mean "severity"?'),
        ('severity = "warning"', "", "A rule has no severity. Add it."),
        (
            'severity = "warning"',
            'severity = "warn"',
            'severity is "warn", which is not known. Did you mean "warning"?',
        ),
        ('confidence = "high"', 'confidence = "sure"', "confidence is"),
        ('status = "stable"', 'status = "stabel"', 'Did you mean "stable"?'),
        ('recipe = "2.init-well"', 'recipe = "2.init_well"', 'Did you mean "2.init-well"?'),
        ('subject = "layer"', 'subject = "layers"', '"layers" is not a subject of rules.'),
        ('id = "sample-state"', 'id = "other-state"', 'id is not the file\'s name, "sample-state".'),
        ('name = "The sample is in a bad state"', 'name = ""', "name is not a text that is not empty."),
        ('name = "The sample is in a bad state"', "name = 3", "name is not a text that is not empty."),
        ("layer.gain > limit", "layer.gian > limit", 'Did you mean "layer.gain"?'),
        ("layer.gain > limit", "layer.gain > limti", 'Did you mean "limit"?'),
        ("{layer.gain}", "{layer.gian}", 'Did you mean "layer.gain"?'),
        ("value = 2.0", 'value = "2"', "thresholds.limit.value is not a finite number."),
        ("value = 2.0", "value = true", "thresholds.limit.value is not a finite number."),
        ("value = 2.0", "value = inf", "thresholds.limit.value is not a finite number."),
        ("value = 2.0", f"value = {'9' * 400}", "thresholds.limit.value is not a finite number."),
        ("[thresholds.limit]", "[thresholds.Limit]", "is not a lower-case name"),
        ('unit = "ratio"', "", "Thresholds.limit has no unit."),
        ('safety = "changes-training"', 'safety = "safe"', "fix.safety is"),
        (
            'safety = "changes-training"',
            'safety = "changes-training"\nrecipe = [{ chagne = "x" }]',
            'Did you mean "change"?',
        ),
        (
            'safety = "changes-training"',
            'safety = "changes-training"\nrecipe = [{ change = 3 }]',
            "fix.recipe.change is not a text",
        ),
        ('safety = "changes-training"', 'safety = "changes-training"\nrecipe = 3', "fix.recipe is not a list"),
        ("[[references]]", "[references]", "references is not tables"),
        ("url =", "link =", '"link" is not a key of references.'),
        ('title = "A source"', 'title = "A source', "is not valid TOML"),
        ('id = "sample-state"', 'id = "sample-state"\nid = "sample-state"', "is not valid TOML"),
        ('id = "sample-state"', f"id = {'[' * 3000}", "is not valid TOML"),
        ('id = "sample-state"', f'id = "sample-state"\n#{"x" * 140_000}', "is larger than 128 KB"),
    ],
)
def test_refusals(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    text = rule_text()
    assert old in text
    assert sentence in refusal(tmp_path, text.replace(old, new))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainauditError, match="is not UTF-8"):
        load_rule(path)
    with pytest.raises(TrainauditError, match="cannot be read"):
        load_rule(tmp_path / "none.toml")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3), st.text(max_size=6))
def test_a_mutated_file_is_a_rule_or_one_sentence(place: int, cut: int, new: str) -> None:
    text = rule_text(applies_to="layer.role == 'hidden'", examples=EXAMPLES)
    at = place % len(text)
    path = Path("rules/initialization/sample-state.toml")
    with suppress(TrainauditError):
        assert parse_rule(text[:at] + new + text[at + cut :], path).id == path.stem


def test_examples_are_read_only_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, rule_text(examples=EXAMPLES))
    assert read_examples(path) == {"bad": [{"layer.gain": 3.0}], "good": [{"layer.gain": 1}]}
    broken = write(tmp_path, rule_text(examples='[[examples.bad]]\n"layer.gain" = \n'))
    load_rule(broken)
    with pytest.raises(TrainauditError, match="is not valid TOML"):
        read_examples(broken)
    odd = write(tmp_path, rule_text(examples='[[examples.awful]]\n"layer.gain" = 1\n'))
    with pytest.raises(TrainauditError, match='"awful" is not a key of examples'):
        read_examples(odd)
    flat = write(tmp_path, rule_text(examples="[examples.bad]\nx = 1\n"))
    with pytest.raises(TrainauditError, match=r"examples\.bad"):
        read_examples(flat)


def test_nothing_is_lost_where_examples_do_not_stand_last() -> None:
    path = Path("rules/initialization/sample-state.toml")
    last = rule_text(examples=EXAMPLES)
    head, tail = last.split("[[references]]")
    between = head + EXAMPLES + "[[references]]" + tail.replace(EXAMPLES, "")
    assert parse_rule(between, path) == parse_rule(last, path)
    in_a_text = last.replace("A source that says so, 2017.", "x").replace(
        'because = "x"', 'because = """\n[[examples.bad]]\n"""'
    )
    assert parse_rule(in_a_text, path).thresholds["limit"].because == "[[examples.bad]]"


def test_folders_of_rules(tmp_path: Path) -> None:
    write(tmp_path, rule_text("b-state"), "b-state")
    write(tmp_path, rule_text("a-state"), "a-state", "output")
    write(tmp_path, rule_text("c-state"), "c-state", ".")
    categories = {rule.id: rule.category for rule in load_rules([tmp_path])}
    assert categories == {"a-state": "output", "b-state": "initialization", "c-state": tmp_path.name}
    assert [rule.id for rule in load_rules([tmp_path / "output" / "a-state.toml"])] == ["a-state"]


def test_an_id_given_twice_names_both_files(tmp_path: Path) -> None:
    one, two = write(tmp_path, rule_text(), category="a"), write(tmp_path, rule_text(), category="b")
    with pytest.raises(TrainauditError) as caught:
        load_rules([tmp_path])
    assert str(one) in str(caught.value)
    assert str(two) in str(caught.value)


def test_folders_without_rules(tmp_path: Path) -> None:
    with pytest.raises(TrainauditError, match="holds no rule files"):
        load_rules([tmp_path])
    with pytest.raises(TrainauditError, match="There is no folder"):
        load_rules([tmp_path / "none"])


def test_thresholds_are_overridden_by_rule_and_name(tmp_path: Path) -> None:
    rules = load_rules([write(tmp_path, rule_text())], {"sample-state.limit": 5})
    assert rules[0].thresholds["limit"] == ThresholdInfo("limit", 5, "ratio", "set in the settings", True)
    assert rules[0].limits == {"limit": 5}
    with pytest.raises(TrainauditError, match=r'Did you mean "sample-state.limit"\?'):
        with_thresholds(rules, {"sample-state.limt": 5})


def test_the_built_in_rules_load_and_are_named_after_their_files() -> None:
    rules = load_rules([rules_folder()])
    assert rules
    for rule in rules:
        assert rule.path == rules_folder() / rule.category / f"{rule.id}.toml"
