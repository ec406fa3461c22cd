"""The language of conditions: what it accepts, what it refuses, and how it says so."""

from __future__ import annotations

import pytest

from trainaudit.errors import TrainauditError
from trainaudit.judge.expression import MAX_LENGTH, parse
from trainaudit.judge.tree import conjuncts, facts_in, required_facts, thresholds_in, unparse

LIMITS = {"limit": 2.0, "floor": 1e-4}


def refusal(text: str, subject: str = "layer") -> str:
    with pytest.raises(TrainauditError) as caught:
        parse(text, subject, LIMITS)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "layer.gain > limit",
        "limit < layer.gain",
        "floor < layer.gain <= limit",
        "layer.gain / layer.wanted_gain > 1.3 or layer.gain / layer.wanted_gain < 1 / 1.3",
        "layer.op in ['linear', 'conv']",
        "layer.op not in ('linear', 'conv')",
        "not layer.has_bias",
        "layer.has_bias == true and layer.reaches_output != false",
        "layer.has_bias == True",
        "layer.role == 'hidden' and model.depth >= 4",
        "-layer.gain < -1e-4 - (2 * layer.gain + 3)",
        "layer.gain > limit  # a remark\n and layer.has_bias",
        "(layer.gain > limit\n or layer.has_bias)",
        "layer.depth in [1, 2, -3]",
    ],
)
def test_accepted_and_unchanged_by_a_round_trip(text: str) -> None:
    node = parse(text, "layer", LIMITS)
    assert parse(unparse(node), "layer", LIMITS) == node


HOSTILE = [
    "__import__('os').system('true')",
    "layer.gain.__class__ > 1",
    "layer.__class__ == 'x'",
    "().__class__.__bases__[0] == layer.name",
    "open('/etc/passwd') == layer.name",
    "layer.gain ** 9 ** 9 ** 9 > 1",
    "layer.gain // 2 > 1",
    "layer.gain % 2 > 1",
    "layer.depth << 99 > 1",
    "layer.depth & 1 == 1",
    "layer.depth ^ 1 > 1",
    "~layer.depth > 1",
    "+layer.depth > 1",
    "layer.gain @ layer.gain > 1",
    "layer.name[0] == 'a'",
    "layer.name[:2] == 'a'",
    "f'{layer.name}' == 'a'",
    "'%s' % layer.name == 'a'",
    "b'a' == layer.name",
    "layer.gain > 1j",
    "layer.gain > ...",
    "layer.gain is None",
    "layer.gain is not 1",
    "(x := layer.gain) > 1",
    "lambda: layer.gain > 1",
    "[x for x in layer.name] == 'a'",
    "{layer.gain} == 1",
    "{'a': layer.gain} == 1",
    "layer.gain if layer.has_bias else 1",
    "(yield layer.has_bias)",
    "await layer.has_bias",
    "*layer.name",
    "layer.gain > 1, layer.has_bias",
    "layer.op in {'linear'}",
    "layer.op in 'linear'",
    "layer.op in layer.name",
    "layer.op in []",
    "layer.op in [layer.name]",
    "layer.op in ['linear', *layer.name]",
    "layer.op in [['linear']]",
    "import os",
    "layer.gain = 2",
    "layer.gain > 1; layer.has_bias",
    "layer.gain >",
    "",
    "   ",
    "layer.name == '\\x41'",
    "layer.name == 'a\0'",
    "layer.gain > 1e999",
    "layer.gain > " + "9" * 1000,
    "layer.gain > 0x" + "f" * 1500,
    "(" * 900 + "layer.has_bias" + ")" * 900,
    "not " * 450 + "layer.has_bias",
    "-" * 1900 + "layer.gain > 1",
    "layer.gain" + " + 1" * 400 + " > 1",
    "layer.has_bias and " * 200 + "layer.has_bias",
    "layer.gain > " + "1" * MAX_LENGTH,
    "1 < 2",
    "true",
    "layer.gain",
    "layer.name",
    "layer",
    "limit",
    "limit > floor",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_everything_else_is_refused_with_a_sentence(text: str) -> None:
    message = refusal(text)
    assert message
    assert len(message) < 500
    assert "\0" not in message


def test_python_has_no_say_about_style(recwarn: pytest.WarningsRecorder) -> None:
    parse("layer.gain > 1or layer.has_bias", "layer", {})
    assert [str(warning.message) for warning in recwarn] == []


def test_a_long_flat_condition_is_fine_up_to_the_limit() -> None:
    text = " and ".join(["layer.has_bias"] * 100)
    assert len(conjuncts(parse(text, "layer", {}))) == 100


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("layer.gian > 1", 'Did you mean "layer.gain"?'),
        ("gain > 1", 'Did you mean "layer.gain"?'),
        ("layer.gain > limt", 'Did you mean "limit"?'),
        ("layer.role == 'hiden'", 'Did you mean "hidden"?'),
        ("layer.role in ['hidden', 'output_head']", 'Did you mean "output-head"?'),
        ("'hiden' != layer.role", 'Did you mean "hidden"?'),
        ("layer.op == 'leaky-relu'", 'Did you mean "leaky_relu"?'),
        ("layer.activation in ['none', 'sigmod']", 'Did you mean "sigmoid"?'),
        ("parameter.mean > 1", "Such a rule reads facts of: layer, model, training, data."),
        ("max(layer.gain, 1) > 1", "It has no calls: what needs one becomes a measurement."),
    ],
)
def test_a_misspelt_name_gets_the_nearest_one(text: str, hint: str) -> None:
    assert refusal(text).endswith(hint)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("layer.gain > 'a'", "compares a number with a word"),
        ("layer.has_bias == 1", "compares a boolean with a number"),
        ("layer.has_bias > false", "orders booleans"),
        ("layer.name < layer.op", "orders words"),
        ("layer.name + 'a' == layer.op", "is a word where a number is needed"),
        ("layer.has_bias + 1 > 0", "is a boolean where a number is needed"),
        ("layer.gain and layer.has_bias", "is a number where a boolean is needed"),
        ("not layer.name", "is a word where a boolean is needed"),
        ("layer.op in ['linear', 1]", "is not a literal word"),
        ("layer.depth in ['linear']", "is not a literal number"),
    ],
)
def test_types_are_checked(text: str, what: str) -> None:
    assert what in refusal(text)


def test_which_facts_a_subject_sees() -> None:
    assert parse("parameter.mean > 1 and layer.has_bias and model.depth > 1", "parameter", {})
    assert "facts of: input, model" in refusal("layer.has_bias", "input")
    assert "facts of: model" in refusal("layer.has_bias", "model")


def test_what_a_condition_reads() -> None:
    node = parse(
        "layer.gain > limit and (layer.has_bias or not layer.reaches_output) and layer.gain < 9", "layer", LIMITS
    )
    assert [spec.name for spec in facts_in(node)] == [
        "layer.gain",
        "layer.has_bias",
        "layer.reaches_output",
        "layer.gain",
    ]
    assert list(thresholds_in(node)) == ["limit"]
    assert required_facts(node) == {"layer.gain"}


def test_required_facts_of_alternatives_are_those_in_all_of_them() -> None:
    node = parse("layer.gain > 1 or (layer.gain < 0.1 and layer.has_bias)", "layer", {})
    assert required_facts(node) == {"layer.gain"}
    negated = parse("not (layer.gain > 1 or layer.has_bias)", "layer", {})
    assert required_facts(negated) == {"layer.gain", "layer.has_bias"}
    assert required_facts(parse("not (layer.gain > 1 and layer.has_bias)", "layer", {})) == frozenset()
