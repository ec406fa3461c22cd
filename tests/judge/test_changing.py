"""Recipes of rule files: what is refused when they are read, and what they come to on each subject of a finding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.judge.samples import make_rule, make_table, rule_text
from trainaudit.changes import KINDS, Change, shown
from trainaudit.errors import TrainauditError
from trainaudit.judge.changing import changes_of
from trainaudit.judge.judging import judge
from trainaudit.judge.rule import change_text
from trainaudit.judge.rulefile import parse_rule
from trainaudit.judge.view import View
from trainaudit.measure.facts import FactTable, Unmeasured


def rule_with(recipe: list[dict[str, Any]], **parts: Any) -> Any:
    """A rule whose fix has this recipe."""
    text = (
        "["
        + ", ".join(
            "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in entry.items()) + "}" for entry in recipe
        )
        + "]"
    )
    fix = parts.pop("fix", "nn.init.zeros_({layer.code}.bias)")
    content = rule_text(fix=fix, **parts).replace(
        'safety = "changes-training"', f'safety = "changes-training"\nrecipe = {text}'
    )
    return parse_rule(content, Path("rules/initialization/sample-state.toml"))


def filled(recipe: list[dict[str, Any]], table: FactTable, subject: str = "l0", **parts: Any) -> tuple[Change, ...]:
    return changes_of(rule_with(recipe, **parts), View("layer", table).columns, subject)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"change": "initialise", "where": "{layer.weight}", "to": "zeros"}, 'Did you mean "initialize"?'),
        ({"change": "initialize", "where": "{layer.weight}", "to": "kaming_normal"}, 'Did you mean "kaiming_normal"?'),
        ({"change": "initialize", "where": "{layer.wieght}", "to": "zeros"}, 'Did you mean "layer.weight"?'),
        ({"change": "initialize", "to": "zeros"}, "fix.recipe.where is not the name of a parameter"),
        ({"change": "initialize", "where": "{layer.weight}"}, "fix.recipe.to is not a word"),
        ({"change": "initialize", "where": "{layer.weight}", "too": "zeros"}, 'Did you mean "to"?'),
        ({"change": "set", "where": "{layer.bias}"}, "fix.recipe.amount is not a number"),
        ({"change": "set", "where": "{layer.bias}", "amount": True}, "fix.recipe.amount is not a finite number"),
        ({"change": "set", "where": "{layer.bias}", "amount": "layer.gian"}, 'Did you mean "layer.gain"?'),
        ({"change": "set", "where": "{layer.bias}", "amount": "layer.has_bias"}, "is a boolean, not a number"),
        (
            {"change": "set", "where": "{layer.bias}", "amount": "parameter.std"},
            "cannot be seen from a rule about one layer",
        ),
        ({"change": "drop-layer", "where": "{layer.name}", "amount": 1}, "fix.recipe.amount is not left out"),
        ({"change": "mean-loss", "where": "{layer.name}"}, "fix.recipe.where is not left out"),
        ({"change": "mean-loss", "to": "mse"}, "fix.recipe.to is not left out"),
    ],
)
def test_what_is_refused_when_a_recipe_is_read(entry: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TrainauditError) as caught:
        rule_with([entry])
    assert sentence in str(caught.value)


def test_advice_alone_has_no_recipe() -> None:
    content = rule_text().replace(
        'safety = "changes-training"', 'safety = "advice-only"\nrecipe = [{ change = "minimize" }]'
    )
    with pytest.raises(TrainauditError, match=r"fix\.safety"):
        parse_rule(content, Path("rules/initialization/sample-state.toml"))


def test_a_recipe_is_filled_in_with_the_subjects_facts() -> None:
    table = make_table(2, layer__weight={"l0": "a.weight", "l1": "b.weight"}, layer__wanted_gain={"l0": 1.5, "l1": 2.5})
    recipe = [
        {"change": "initialize", "where": "{layer.weight}", "to": "kaiming_normal", "amount": "layer.wanted_gain"},
        {"change": "scale", "where": "{layer.weight}", "amount": "limit / 4"},
    ]
    assert filled(recipe, table) == (
        Change("initialize", "a.weight", "kaiming_normal", 1.5),
        Change("scale", "a.weight", "", 0.5),
    )
    assert filled(recipe, table, "l1")[0] == Change("initialize", "b.weight", "kaiming_normal", 2.5)


def test_each_occurrence_of_a_finding_has_its_own_changes() -> None:
    table = make_table(
        3, layer__gain={"l0": 5.0, "l1": 5.0, "l2": 1.0}, layer__weight={"l0": "a", "l1": "b", "l2": "c"}
    )
    rule = rule_with([{"change": "scale", "where": "{layer.weight}", "amount": "1 / layer.gain"}])
    (finding,) = judge([rule], table, target="m.onnx", locations={}).findings
    assert [one.changes for one in finding.occurrences] == [
        (Change("scale", "a", "", 0.2),),
        (Change("scale", "b", "", 0.2),),
    ]


def test_a_change_whose_facts_do_not_apply_is_left_out_and_the_first_one_decides() -> None:
    table = make_table(
        2,
        layer__weight={"l0": "a.weight"},
        layer__bias={"l1": "b.bias"},
        layer__previous_activation_layer={"l0": "none"},
    )
    recipe = [
        {"change": "scale", "where": "{layer.weight}", "amount": 0.1},
        {"change": "set", "where": "{layer.bias}", "amount": 0.0},
    ]
    assert filled(recipe, table) == (Change("scale", "a.weight", "", 0.1),)
    assert filled(recipe, table, "l1") == ()
    assert filled([{"change": "drop-layer", "where": "{layer.previous_activation_layer}"}], table) == ()


def test_a_change_whose_facts_were_not_measured_is_left_out() -> None:
    table = make_table(1, layer__weight={"l0": "w"}, layer__wanted_gain={"l0": Unmeasured("the shape is not known")})
    recipe = [
        {"change": "scale", "where": "{layer.weight}", "amount": 0.1},
        {"change": "set", "where": "{layer.weight}", "amount": "layer.wanted_gain"},
    ]
    assert filled(recipe, table) == (Change("scale", "w", "", 0.1),)
    assert filled(recipe[1:], table) == ()


def test_of_two_rates_the_later_one_holds_where_it_has_a_value() -> None:
    recipe = [
        {"change": "learning-rate", "amount": "training.learning_rate / 10"},
        {"change": "learning-rate", "amount": "training.suggested_learning_rate"},
    ]
    table = make_table(1)
    known = {"training.learning_rate": {"training": 1.0}, "training.suggested_learning_rate": {"training": 0.25}}
    both = FactTable(table.subjects, {**table.columns, **known})
    assert filled(recipe, both) == (Change("learning-rate", amount=0.25),)
    none = {**known, "training.suggested_learning_rate": {"training": Unmeasured("it was not run")}}
    assert filled(recipe, FactTable(table.subjects, {**table.columns, **none})) == (
        Change("learning-rate", amount=0.1),
    )


def test_a_division_by_zero_leaves_no_recipe() -> None:
    table = make_table(1, layer__weight={"l0": "w"}, layer__gain={"l0": 0.0})
    assert filled([{"change": "scale", "where": "{layer.weight}", "amount": "1 / layer.gain"}], table) == ()


def test_an_amount_without_a_value_is_left_to_a_kind_that_has_a_default() -> None:
    recipe = [{"change": "initialize", "where": "{layer.weight}", "to": "kaiming_normal", "amount": "layer.gain"}]
    table = make_table(1, layer__weight={"l0": "w"}, layer__gain={"l0": Unmeasured("it is stored elsewhere")})
    assert filled(recipe, table) == (Change("initialize", "w", "kaiming_normal"),)


def test_a_word_that_the_kind_does_not_have_is_no_change() -> None:
    table = make_table(
        2, layer__name={"l0": "l0", "l1": "l1"}, layer__previous_activation={"l0": "softmax", "l1": "hard_sigmoid"}
    )
    recipe = [{"change": "swap-activation", "where": "{layer.name}", "to": "log_{layer.previous_activation}"}]
    assert filled(recipe, table) == (Change("swap-activation", "l0", "log_softmax"),)
    assert filled(recipe, table, "l1") == ()


def test_facts_of_several_lines_go_in_step() -> None:
    table = make_table(1)
    columns = {
        "model.unnormalized_layers": {"model": "a\nb\nc"},
        "model.fitting_normalizations": {"model": "layer_norm\nbatch_norm\nlayer_norm"},
    }
    table = FactTable(table.subjects, {**table.columns, **columns})
    recipe = [
        {
            "change": "insert-normalization",
            "where": "{model.unnormalized_layers}",
            "to": "{model.fitting_normalizations}",
        }
    ]
    assert filled(recipe, table) == tuple(
        Change("insert-normalization", name, word)
        for name, word in (("a", "layer_norm"), ("b", "batch_norm"), ("c", "layer_norm"))
    )
    recipe = [{"change": "insert-activation", "where": "{model.unnormalized_layers}", "to": "relu"}]
    assert [change.where for change in filled(recipe, table)] == ["a", "b", "c"]


def test_names_of_a_file_stay_as_they_are() -> None:
    table = make_table(1, layer__weight={"l0": "odd\t{layer.bias} name"})
    assert (
        filled([{"change": "set", "where": "{layer.weight}", "amount": 0.0}], table)[0].where
        == "odd\t{layer.bias} name"
    )


def test_in_one_line() -> None:
    recipe = rule_with(
        [{"change": "scale", "where": "{layer.weight}", "amount": "1 / layer.gain"}, {"change": "minimize"}]
    ).fix.recipe
    assert [change_text(advice) for advice in recipe] == ["scale {layer.weight}: 1 / layer.gain", "minimize"]
    assert (
        shown(Change("initialize", "fc.weight", "kaiming_normal", 1.41421))
        == "initialize fc.weight: kaiming_normal, gain 1.414"
    )
    assert shown(Change("initialize", "embed.weight", "normal", 0.02)) == "initialize embed.weight: normal, std 0.02"
    assert shown(Change("initialize", "fc.weight", "orthogonal")) == "initialize fc.weight: orthogonal"
    assert shown(Change("learning-rate", amount=0.001)) == "learning-rate: 0.001"
    assert make_rule().fix.recipe == ()


def test_every_kind_says_what_it_does() -> None:
    for kind in KINDS.values():
        assert kind.meaning
        assert not kind.meaning.endswith(".")
