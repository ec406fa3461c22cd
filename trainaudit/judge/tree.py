"""The tree of a condition: its nodes, and questions that need no facts. May import `measure.catalog`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trainaudit.frozen import frozen
from trainaudit.measure.catalog import FactSpec

NUMBER, BOOLEAN, WORD = "number", "boolean", "word"


@frozen
class Literal:
    value: float | int | bool | str
    type: str


@frozen
class Fact:
    spec: FactSpec

    @property
    def type(self) -> str:
        return NUMBER if self.spec.type == "count" else self.spec.type


@frozen
class Threshold:
    name: str
    type: str = NUMBER


@frozen
class Negative:
    operand: Node
    type: str = NUMBER


@frozen
class Arithmetic:
    """`operator` is one of + - * /."""

    operator: str
    left: Node
    right: Node
    type: str = NUMBER


@frozen
class Comparison:
    """`operator` is one of < <= > >= == !=."""

    operator: str
    left: Node
    right: Node
    type: str = BOOLEAN


@frozen
class Membership:
    operand: Node
    values: tuple[float | int | bool | str, ...]
    negated: bool
    type: str = BOOLEAN


@frozen
class Not:
    operand: Node
    type: str = BOOLEAN


@frozen
class And:
    operands: tuple[Node, ...]
    type: str = BOOLEAN


@frozen
class Or:
    operands: tuple[Node, ...]
    type: str = BOOLEAN


Node = Literal | Fact | Threshold | Negative | Arithmetic | Comparison | Membership | Not | And | Or


def facts_in(node: Node) -> Iterator[FactSpec]:
    """Facts in the order of the text, with repetitions."""
    match node:
        case Fact():
            yield node.spec
        case Arithmetic() | Comparison():
            yield from facts_in(node.left)
            yield from facts_in(node.right)
        case Negative() | Membership() | Not():
            yield from facts_in(node.operand)
        case And() | Or():
            for operand in node.operands:
                yield from facts_in(operand)


def thresholds_in(node: Node) -> Iterator[str]:
    """Names of the thresholds that the condition reads, with repetitions."""
    match node:
        case Threshold():
            yield node.name
        case Arithmetic() | Comparison():
            yield from thresholds_in(node.left)
            yield from thresholds_in(node.right)
        case Negative() | Membership() | Not():
            yield from thresholds_in(node.operand)
        case And() | Or():
            for operand in node.operands:
                yield from thresholds_in(operand)


def conjuncts(node: Node | None) -> tuple[Node, ...]:
    """The conditions that must all hold: the operands of nested `and`s, flat."""
    if node is None:
        return ()
    if isinstance(node, And):
        return tuple(part for operand in node.operands for part in conjuncts(operand))
    return (node,)


def required_facts(node: Node | None, wanted: bool = True) -> frozenset[str]:
    """Facts without which the condition can never come out as `wanted`, whatever the others say."""
    match node:
        case None:
            return frozenset()
        case Not():
            return required_facts(node.operand, not wanted)
        case And() | Or():
            parts = [required_facts(operand, wanted) for operand in node.operands]
            join: Callable[..., frozenset[str]] = (
                frozenset.union if isinstance(node, And) == wanted else frozenset.intersection
            )
            return join(*parts)
        case _:
            return frozenset(spec.name for spec in facts_in(node))


def unparse(node: Node) -> str:
    """The condition as text again, fully parenthesized where operators mix."""
    match node:
        case Literal():
            return (
                str(node.value).lower()
                if isinstance(node.value, bool)
                else f'"{node.value}"'
                if isinstance(node.value, str)
                else f"{node.value:g}"
            )
        case Fact():
            return node.spec.name
        case Threshold():
            return node.name
        case Negative():
            return f"-{_inner(node.operand)}"
        case Not():
            return f"not {_inner(node.operand)}"
        case Arithmetic() | Comparison():
            return f"{_inner(node.left)} {node.operator} {_inner(node.right)}"
        case Membership():
            values = ", ".join(unparse(Literal(value, "")) for value in node.values)
            return f"{_inner(node.operand)} {'not in' if node.negated else 'in'} [{values}]"
        case And() | Or():
            return f" {'and' if isinstance(node, And) else 'or'} ".join(_inner(operand) for operand in node.operands)


def _inner(node: Node) -> str:
    text = unparse(node)
    return text if isinstance(node, Literal | Fact | Threshold) else f"({text})"
