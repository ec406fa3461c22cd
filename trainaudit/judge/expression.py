"""The closed language of conditions: what it can say, and the check of every name and type against the catalog.

A Python-looking subset, parsed with `ast`, default-deny: and, or, not, comparisons (chained too), `in` and `not in` a literal list,
+ − × ÷ and unary minus, dotted fact names, threshold names, and literals: numbers, words in quotes, true and false (True and False
mean the same). There are no calls, subscripts, powers or formatting, and there will be none: what it cannot say becomes a
measurement. Nothing here executes anything. May import `judge.tree`, `measure.catalog` and `errors`.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Mapping

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.judge.tree import (
    BOOLEAN,
    NUMBER,
    WORD,
    And,
    Arithmetic,
    Comparison,
    Fact,
    Literal,
    Membership,
    Negative,
    Node,
    Not,
    Or,
    Threshold,
    facts_in,
)
from trainaudit.measure.catalog import BY_NAME, SINGLE_KINDS, SUBJECT_KINDS, FactSpec
from trainaudit.suggestion import did_you_mean

MAX_LENGTH = 2_000
"""Characters of one condition."""
MAX_DEPTH = 24
"""Nesting of one condition. Both bounds keep parsing and evaluation cheap, whoever wrote the file."""

_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_TRUTH = {"true": True, "false": False}


def parse(text: str, subject: str, thresholds: Mapping[str, float]) -> Node:
    """The condition as a checked tree.

    `subject` is the kind that the rule is about: it decides which facts can be seen. Raises `TrainauditError("bad-expression")`
    that quotes the part which is not in the language, not in the catalog or of the wrong type.
    """
    node = _parsed(text, subject, thresholds)
    if node.type != BOOLEAN:
        raise _error(f"{_quoted(text)} is a {node.type}, not a condition", "Compare it with a threshold.")
    if next(facts_in(node), None) is None:
        raise _error(f"{_quoted(text)} reads no fact", "`trainaudit fact list` prints all facts.")
    return node


def parse_amount(text: str, subject: str, thresholds: Mapping[str, float]) -> Node:
    """A computation of a number in the same language, or one fact that is a word and holds numbers, one on each line. Raises as `parse` does."""
    node = _parsed(text, subject, thresholds)
    if node.type != NUMBER and not (isinstance(node, Fact) and node.type == WORD):
        raise _error(
            f"{_quoted(text)} is a {node.type}, not a number",
            "Write a number, a fact that is one, or a computation with them.",
        )
    return node


def _parsed(text: str, subject: str, thresholds: Mapping[str, float]) -> Node:
    if len(text) > MAX_LENGTH:
        raise _error(
            f"A condition of {len(text):,} characters is too long",
            f"The limit is {MAX_LENGTH:,}; move work into a measurement.",
        )
    if "\\" in text or "\0" in text:
        raise _error("A condition cannot hold a backslash or a null character", "Write words plainly.")
    try:
        # The parentheses let a condition run over several lines.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # Python's remarks on style ("1or x") are not about rules
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(f"({text}\n)", mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        detail = error.msg if isinstance(error, SyntaxError) else "nested too deeply"
        raise _error(
            f"{_quoted(text)} cannot be read as a condition ({detail})",
            "Conditions look like: layer.gain > limit and layer.has_bias",
        ) from None
    return _Parser(text, subject, thresholds).node(tree.body, 1)


@frozen
class _Parser:
    text: str
    subject: str
    thresholds: Mapping[str, float]

    def node(self, tree: ast.expr, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _error(
                f"{_quoted(self.text)} is nested more than {MAX_DEPTH} deep",
                "Split the rule, or move work into a measurement.",
            )
        below = depth + 1
        match tree:
            case ast.BoolOp():
                operands = tuple(self.expect(item, BOOLEAN, below) for item in tree.values)
                return And(operands) if isinstance(tree.op, ast.And) else Or(operands)
            case ast.UnaryOp(op=ast.Not()):
                return Not(self.expect(tree.operand, BOOLEAN, below))
            case ast.UnaryOp(op=ast.USub()):
                operand = self.expect(tree.operand, NUMBER, below)
                return Literal(-operand.value, NUMBER) if isinstance(operand, Literal) else Negative(operand)  # type: ignore[operator]
            case ast.BinOp() if type(tree.op) in _ARITHMETIC:
                left, right = self.expect(tree.left, NUMBER, below), self.expect(tree.right, NUMBER, below)
                return Arithmetic(_ARITHMETIC[type(tree.op)], left, right)
            case ast.Compare():
                return self.comparison(tree, below)
            case ast.Attribute():
                return self.fact(tree)
            case ast.Name():
                return self.name(tree.id)
            case ast.Constant():
                return self.literal(tree)
        raise _error(f"{self.part(tree)} is not in the language of conditions", _HINTS.get(type(tree), _LANGUAGE))

    def expect(self, tree: ast.expr, wanted: str, depth: int) -> Node:
        node = self.node(tree, depth)
        if node.type != wanted:
            raise _error(
                f"{self.part(tree)} is a {node.type} where a {wanted} is needed", f"Found in {_quoted(self.text)}."
            )
        return node

    def comparison(self, tree: ast.Compare, depth: int) -> Node:
        parts: list[Node] = []
        left_tree = tree.left
        for operator, right_tree in zip(tree.ops, tree.comparators, strict=True):
            left = self.node(left_tree, depth)
            if isinstance(operator, ast.In | ast.NotIn):
                parts.append(self.membership(left, right_tree, isinstance(operator, ast.NotIn)))
            elif type(operator) in _COMPARISONS:
                parts.append(self.compared(_COMPARISONS[type(operator)], left, self.node(right_tree, depth), tree))
            else:
                raise _error(
                    f"{self.part(tree)} uses `is`, which is not in the language of conditions", "Write == or !=."
                )
            left_tree = right_tree
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def compared(self, operator: str, left: Node, right: Node, tree: ast.expr) -> Node:
        if left.type != right.type:
            raise _error(
                f"{self.part(tree)} compares a {left.type} with a {right.type}",
                "Both sides of a comparison are of one type.",
            )
        if operator not in ("==", "!=") and left.type != NUMBER:
            raise _error(f"{self.part(tree)} orders {left.type}s, which have no order", "Use == or !=.")
        for fact, word in ((left, right), (right, left)):
            if isinstance(fact, Fact) and isinstance(word, Literal):
                _check_word(fact.spec, word.value)
        return Comparison(operator, left, right)

    def membership(self, operand: Node, tree: ast.expr, negated: bool) -> Node:
        if not isinstance(tree, ast.List | ast.Tuple) or not tree.elts:
            raise _error(
                f"{self.part(tree)} is not a literal list", 'After `in` stands a list such as ["Relu", "Elu"].'
            )
        values = []
        for element in tree.elts:
            value = self.node(element, 1)
            if not isinstance(value, Literal) or value.type != operand.type:
                raise _error(
                    f"{self.part(element)} in a list is not a literal {operand.type}", f"Found in {_quoted(self.text)}."
                )
            if isinstance(operand, Fact):
                _check_word(operand.spec, value.value)
            values.append(value.value)
        return Membership(operand, tuple(values), negated)

    def fact(self, tree: ast.Attribute) -> Fact:
        name = f"{tree.value.id}.{tree.attr}" if isinstance(tree.value, ast.Name) else self.part(tree).strip('"')
        return Fact(visible_fact(name, self.subject))

    def name(self, name: str) -> Node:
        if name in self.thresholds:
            return Threshold(name)
        if name in _TRUTH:
            return Literal(_TRUTH[name], BOOLEAN)
        hint = (
            did_you_mean(name, [*self.thresholds, *BY_NAME])
            or "Declare it as [thresholds.NAME], or write a fact as subject.name."
        )
        raise _error(f'"{name}" is neither a threshold of this rule nor a fact', hint)

    def literal(self, tree: ast.Constant) -> Literal:
        value = tree.value
        if isinstance(value, bool):
            return Literal(value, BOOLEAN)
        if isinstance(value, str):
            return Literal(value, WORD)
        if isinstance(value, int | float):
            try:
                finite = math.isfinite(value)
            except OverflowError:
                finite = False
            if finite:
                return Literal(value, NUMBER)
            raise _error("A number in a condition is too large", "The limit is that of a float.")
        raise _error(f"{self.part(tree)} is not in the language of conditions", _LANGUAGE)

    def part(self, tree: ast.expr) -> str:
        return _quoted(ast.get_source_segment(f"({self.text}\n)", tree) or self.text)


def visible_fact(name: str, subject: str) -> FactSpec:
    """The fact of that name, if a rule about `subject` can see it; else `TrainauditError` with the nearest names."""
    spec = BY_NAME.get(name)
    if spec is None:
        hint = did_you_mean(name, BY_NAME) or "`trainaudit fact list` prints all facts."
        raise TrainauditError("unknown-fact", f'"{name}" is not a fact.', hint)
    if spec.kind not in visible_kinds(subject):
        kinds = ", ".join(visible_kinds(subject))
        raise TrainauditError(
            "unseen-fact",
            f'"{name}" cannot be seen from a rule about one {subject}.',
            f"Such a rule reads facts of: {kinds}.",
        )
    return spec


def visible_kinds(subject: str) -> tuple[str, ...]:
    """Kinds whose facts a rule about `subject` reads: its own, its layer's, those of the model, the run and the data."""
    if subject not in SUBJECT_KINDS:
        raise TrainauditError(
            "unknown-subject", f'"{subject}" is not a subject of rules.', f"Subjects are: {', '.join(SUBJECT_KINDS)}."
        )
    if subject in SINGLE_KINDS or subject == "layer":
        own: tuple[str, ...] = (subject,)
    else:
        own = (subject,) if subject == "input" else (subject, "layer")
    return (*own, *(kind for kind in SINGLE_KINDS if kind != subject))


def _check_word(spec: FactSpec, word: object) -> None:
    if spec.words and word not in spec.words:
        hint = did_you_mean(str(word), spec.words) or f"Its words are: {', '.join(spec.words)}."
        raise _error(f'{spec.name} is never "{word}"', hint)


_LANGUAGE = "It has: and, or, not, comparisons, `in` a list, + - * /, fact names, threshold names, numbers, words, true and false."
_HINTS: dict[type[ast.expr], str] = {
    ast.Call: "It has no calls: what needs one becomes a measurement.",
    ast.Subscript: "It has no subscripts: what needs one becomes a measurement.",
    ast.JoinedStr: "It has no formatting.",
    ast.NamedExpr: "It has no assignments.",
    ast.IfExp: "It has no if-else: write `and` and `or`.",
}


def _quoted(text: str) -> str:
    flat = " ".join(text.split())
    return f'"{flat}"' if len(flat) <= 100 else f'"{flat[:97]}..."'


def _error(what: str, hint: str) -> TrainauditError:
    return TrainauditError("bad-expression", f"{what}.", hint)
