"""The call that makes a module, in the tree of a file: in `__init__` or the function that builds the model, and in what is written out there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trainaudit.fix.refusal import NotApplicableError
from trainaudit.fix.source.places import Home
from trainaudit.frozen import frozen

if TYPE_CHECKING:
    import libcst as cst


def body_of(tree: cst.Module, home: Home) -> cst.FunctionDef:
    """The function in which the module is made: the class's `__init__`, or the factory."""
    import libcst as cst

    scope: Any = tree
    *outer, last = home.owner.split(".") if home.is_function else [*home.owner.split("."), "__init__"]
    for name in outer:
        found = [item for item in _statements(scope) if isinstance(item, cst.ClassDef) and item.name.value == name]
        if len(found) != 1:
            raise NotApplicableError(f"the class {name} is defined {len(found)} times")
        scope = found[0].body
    functions = [item for item in _statements(scope) if isinstance(item, cst.FunctionDef) and item.name.value == last]
    if len(functions) != 1:
        raise NotApplicableError(f"{home.owner} has {len(functions) or 'no'} {last} of its own")
    return functions[0]


def _statements(scope: Any) -> Sequence[Any]:
    return tuple(scope.body)


def call_of(function: cst.FunctionDef, home: Home) -> cst.Call:
    """The call that makes the module. Raises `NotApplicableError` where it is not certain which."""
    if home.is_function:
        return _inner(function, _returned(function), home.names)
    value = assigned(function, f"self.{home.names[0]}")
    return _inner(function, value, home.names[1:])


def holder_of(function: cst.FunctionDef, home: Home) -> Any:
    """The expression that makes what the module is an element of."""
    if home.is_function:
        value, names = _returned(function), home.names
    else:
        value, names = assigned(function, f"self.{home.names[0]}"), home.names[1:]
    return value if len(names) == 1 else _inner(function, value, names[:-1])


def assigned(function: cst.FunctionDef, target: str) -> Any:
    """The value of the only assignment to `target` in a function, in no loop and no branch."""
    import libcst as cst

    direct = [
        statement.value
        for line in _simple(function.body)
        for statement in line.body
        if isinstance(statement, cst.Assign | cst.AnnAssign)
        and target in _targets(statement)
        and statement.value is not None
    ]
    everywhere = sum(
        target in _targets(node)
        for node in walk(function)
        if isinstance(node, cst.Assign | cst.AnnAssign | cst.AugAssign)
    )
    if everywhere != 1 or len(direct) != 1:
        how = "in a loop or a branch" if not direct else "more than once"
        raise NotApplicableError(
            f"{target} is assigned {how}" if everywhere else f"{target} is not assigned by a plain statement"
        )
    return direct[0]


def _simple(body: Any) -> list[Any]:
    import libcst as cst

    return [line for line in body.body if isinstance(line, cst.SimpleStatementLine)]


def _targets(statement: Any) -> list[str]:
    targets = [item.target for item in statement.targets] if hasattr(statement, "targets") else [statement.target]
    return [text_of(target) for target in targets]


def text_of(node: Any) -> str:
    """A node as it is written."""
    import libcst as cst

    return cst.Module([]).code_for_node(node)


def walk(node: Any) -> Iterator[Any]:
    """The node and all below it, in order."""
    yield node
    for child in node.children:
        yield from walk(child)


def returned_name(function: cst.FunctionDef) -> str:
    """The name of what a function returns: `return model`, `return model.train()`."""
    import libcst as cst

    found = [node.value for node in walk(function) if isinstance(node, cst.Return)]
    if len(found) != 1 or found[0] is None:
        raise NotApplicableError(f"{function.name.value} returns in {len(found)} places")
    value = found[0]
    while (
        isinstance(value, cst.Call)
        and isinstance(value.func, cst.Attribute)
        and value.func.attr.value in ("train", "eval", "to", "double", "float")
    ):
        value = value.func.value
    if not isinstance(value, cst.Name):
        raise NotApplicableError(f"what {function.name.value} returns has no name")
    return str(value.value)


def _returned(function: cst.FunctionDef) -> Any:
    """The expression that a function returns, or that the name which it returns was assigned."""
    import libcst as cst

    found = [node.value for node in walk(function) if isinstance(node, cst.Return)]
    if len(found) == 1 and isinstance(found[0], cst.Call) and is_call_of(found[0], "Sequential"):
        return found[0]
    return assigned(function, returned_name(function))


def is_call_of(node: Any, *names: str) -> bool:
    """A call of one of these, however it was imported."""
    import libcst as cst

    return isinstance(node, cst.Call) and text_of(node.func).rsplit(".", 1)[-1] in names


def _inner(function: cst.FunctionDef, value: Any, names: Sequence[str]) -> cst.Call:
    """The call that makes what `names` lead to, from the expression of what holds it."""
    import libcst as cst

    for name in names:
        items = elements(function, value)
        if name not in items:
            raise NotApplicableError(f"no element {name} stands in {shortened(value)}")
        value = items[name].value
    if not isinstance(value, cst.Call):
        raise NotApplicableError(f"{shortened(value)} makes it")
    return value


@frozen(eq=False)
class Element:
    """An element of a Sequential or list: the node that stands in the list of arguments or elements, and the expression in it."""

    node: Any
    value: Any


def elements(function: cst.FunctionDef, value: Any) -> dict[str, Element]:
    """The elements of a Sequential, ModuleList or ModuleDict that is written out, by name; one list that is unpacked into it counts."""
    import libcst as cst

    if not is_call_of(value, "Sequential", "ModuleList", "ModuleDict"):
        raise NotApplicableError(f"{shortened(value)} makes it, and what is in that is not certain")
    arguments = list(value.args)
    if len(arguments) == 1 and arguments[0].star == "*" and isinstance(arguments[0].value, cst.Name):
        return _listed(_only_list(function, arguments[0].value.value))
    if len(arguments) == 1 and is_call_of(arguments[0].value, "OrderedDict") and len(arguments[0].value.args) == 1:
        return _paired(arguments[0].value.args[0].value)
    if len(arguments) == 1 and isinstance(arguments[0].value, cst.List):
        return _listed(arguments[0].value)
    if len(arguments) == 1 and isinstance(arguments[0].value, cst.Dict):
        pairs = [
            (item, item.key, item.value) for item in arguments[0].value.elements if isinstance(item, cst.DictElement)
        ]
        return {_string(key): Element(item, inner) for item, key, inner in pairs}
    if any(argument.star or argument.keyword for argument in arguments):
        raise NotApplicableError(f"the elements of {shortened(value)} are not written out")
    return {str(place): Element(argument, argument.value) for place, argument in enumerate(arguments)}


def _listed(value: Any) -> dict[str, Element]:
    import libcst as cst

    if any(not isinstance(item, cst.Element) for item in value.elements):
        raise NotApplicableError("the elements of a list are not written out")
    return {str(place): Element(item, item.value) for place, item in enumerate(value.elements)}


def _paired(value: Any) -> dict[str, Element]:
    import libcst as cst

    if not isinstance(value, cst.List):
        raise NotApplicableError("the elements of an OrderedDict are not written out")
    found: dict[str, Element] = {}
    for item in value.elements:
        pair = item.value
        if not isinstance(pair, cst.Tuple) or len(pair.elements) != 2:
            raise NotApplicableError("the elements of an OrderedDict are not written out")
        found[_string(pair.elements[0].value)] = Element(item, pair.elements[1].value)
    return found


def _string(node: Any) -> str:
    import libcst as cst

    if not isinstance(node, cst.SimpleString):
        raise NotApplicableError("a name is computed")
    return str(node.evaluated_value)


def _only_list(function: cst.FunctionDef, name: str) -> Any:
    """The list that a name stands for, where it is assigned once and only unpacked."""
    import libcst as cst

    value = assigned(function, name)
    uses = sum(isinstance(node, cst.Name) and node.value == name for node in walk(function))
    if not isinstance(value, cst.List) or uses != 2:
        raise NotApplicableError(f"the list {name} is put together step by step")
    return value


def shortened(node: Any) -> str:
    text = " ".join(text_of(node).split())
    return text if len(text) <= 40 else text[:37] + "…"
