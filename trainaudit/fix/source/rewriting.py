"""A change at a place that is known: the tree of the file as it is afterwards. Comments, quotes and line breaks stay what they are.

Each function takes the tree and gives another one, or raises `NotApplicableError` with the reason why the place is not certain.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trainaudit.changes import Change
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.fix.source.code import FUNCTIONS, MODULES, number
from trainaudit.fix.source.lookup import (
    body_of,
    call_of,
    elements,
    holder_of,
    is_call_of,
    returned_name,
    shortened,
    text_of,
    walk,
)
from trainaudit.fix.source.places import Home
from trainaudit.fix.source.trees import (
    call_at,
    checked,
    imports,
    is_method,
    operand_of,
    path_code,
    prefix_of,
    with_argument,
    with_items,
    with_new,
    without,
)

if TYPE_CHECKING:
    import libcst as cst

_ACTIVATIONS = frozenset(
    {text.partition("(")[0] for text in MODULES.values()}
    | {"PReLU", "ReLU6", "CELU", "Mish", "Hardtanh", "Hardsigmoid", "Hardswish", "Softsign"}
)
_KEEPING = _ACTIVATIONS | {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "Identity"}
_BIASED = {
    "Linear": 2,
    "Conv1d": 7,
    "Conv2d": 7,
    "Conv3d": 7,
    "ConvTranspose1d": 7,
    "ConvTranspose2d": 7,
    "ConvTranspose3d": 7,
}
"""Constructor → which of its positional arguments says whether there is a bias."""
_EPSILON = {
    "LayerNorm": 1,
    "BatchNorm1d": 1,
    "BatchNorm2d": 1,
    "BatchNorm3d": 1,
    "GroupNorm": 2,
    "InstanceNorm1d": 1,
    "InstanceNorm2d": 1,
    "RMSNorm": 1,
}
_FOLLOWING = re.compile(r"(Batch|Layer|Group|Instance|RMS)Norm|(Max|Avg|LP)Pool")


def swap_module(tree: cst.Module, home: Home, change: Change) -> cst.Module:
    """Another activation function constructed."""
    import libcst as cst

    call = call_of(body_of(tree, home), home)
    if not is_call_of(call, *_ACTIVATIONS):
        raise NotApplicableError(f"{shortened(call)} is no activation function")
    new = cst.parse_expression(f"{prefix_of(tree, call)}{MODULES[change.to]}")
    return checked(tree.deep_replace(call, new))


def drop_module(tree: cst.Module, home: Home, _change: Change) -> cst.Module:
    """The element taken out where that moves no other and nothing names it, else nn.Identity() in its place."""
    import libcst as cst

    function = body_of(tree, home)
    call = call_of(function, home)
    if not is_call_of(call, *_KEEPING) and not _FOLLOWING.search(text_of(call.func)):
        raise NotApplicableError(f"what {shortened(call)} gives may have another shape than what it reads")
    name = home.names[-1]
    if len(home.names) > 1 or home.is_function:
        holder = holder_of(function, home)
        nodes = [item.node for item in elements(function, holder).values()]
        place = next(index for index, item in enumerate(elements(function, holder).values()) if item.value is call)
        is_last = place == len(nodes) - 1
        mentioned = not name.isdigit() and re.search(rf"\.{name}\b", tree.code)
        if len(nodes) > 1 and not mentioned and (is_last or not name.isdigit()):
            return with_items(tree, nodes, without(nodes, place))
    return checked(tree.deep_replace(call, cst.parse_expression(f"{prefix_of(tree, call)}Identity()")))


def drop_bias(tree: cst.Module, home: Home, _change: Change) -> cst.Module:
    import libcst as cst

    call = call_of(body_of(tree, home), home)
    kind = text_of(call.func).rsplit(".", 1)[-1]
    if kind not in _BIASED:
        raise NotApplicableError(f"{shortened(call)} is neither a linear layer nor a convolution")
    if re.search(rf"{re.escape(path_code(home.names).lstrip('.'))}\.bias\b", tree.code):
        raise NotApplicableError("its bias is used elsewhere in the file")
    return checked(tree.deep_replace(call, with_argument(call, "bias", _BIASED[kind], cst.Name("False"))))


def set_argument(tree: cst.Module, home: Home, change: Change) -> cst.Module:
    """The rate of a dropout, the ε of a normalization, the axis of a softmax."""
    import libcst as cst

    call = call_of(body_of(tree, home), home)
    kind = text_of(call.func).rsplit(".", 1)[-1]
    if change.kind == "dropout-rate" and "Dropout" in kind:
        name, place = "p", 0
    elif change.kind == "epsilon" and kind in _EPSILON:
        name, place = "eps", _EPSILON[kind]
    elif change.kind == "softmax-axis" and kind in ("Softmax", "LogSoftmax"):
        name, place = "dim", 0
    else:
        raise NotApplicableError(f"{shortened(call)} takes no such argument")
    return checked(
        tree.deep_replace(call, with_argument(call, name, place, cst.parse_expression(number(change.amount or 0.0))))
    )


def insert_module(tree: cst.Module, home: Home, constructor: str) -> cst.Module:
    """A module behind an element of a Sequential. `constructor` is without the name of torch.nn."""
    import libcst as cst

    function = body_of(tree, home)
    call = call_of(function, home)
    if len(home.names) == 1 and not home.is_function:
        raise NotApplicableError("forward calls the layer by its name")
    holder = holder_of(function, home)
    if not is_call_of(holder, "Sequential"):
        raise NotApplicableError("the layer is no element of a Sequential")
    items = list(elements(function, holder).values())
    place = next(index for index, item in enumerate(items) if item.value is call)
    name = home.names[-1]
    code = f"{prefix_of(tree, call)}{constructor}"
    node = items[place].node
    if name.isdigit():
        shown = path_code(home.names[:-1]).lstrip(".") or returned_name(function)
        if re.search(rf"\b{re.escape(shown)}\[\s*-?\w", tree.code):
            raise NotApplicableError("the code counts on the places of the elements")
        new = node.with_changes(value=cst.parse_expression(code))
    else:
        new_name = f"{name}_{constructor.partition('(')[0].lower()}"
        text = text_of(node.value.elements[0].value)
        quote = text[-1]
        new = node.with_changes(value=cst.parse_expression(f"({quote}{new_name}{quote}, {code})"))
    return with_items(tree, [item.node for item in items], with_new([item.node for item in items], place, new))


def move_dropout(tree: cst.Module, home: Home, _change: Change) -> cst.Module:
    """Behind the normalization or pooling that follows it in the same Sequential."""
    function = body_of(tree, home)
    call = call_of(function, home)
    holder = holder_of(function, home)
    items = list(elements(function, holder).values())
    first = next(index for index, item in enumerate(items) if item.value is call)
    if "Dropout" not in text_of(call.func) or not is_call_of(holder, "Sequential"):
        raise NotApplicableError("the dropout is no element of a Sequential")
    for last in range(first + 1, len(items)):
        if _FOLLOWING.search(text_of(items[last].value)):
            break
        if not is_call_of(items[last].value, *_KEEPING):
            raise NotApplicableError(f"{shortened(items[last].value)} stands between it and what follows")
    else:
        raise NotApplicableError("no normalization or pooling follows in the same Sequential")
    nodes = [item.node for item in items]
    rest = without(nodes, first)
    return with_items(tree, nodes, with_new(rest, last - 1, nodes[first]))


def append(tree: cst.Module, home: Home, statement: str) -> cst.Module:
    """A statement where the model is whole: at the end of `__init__`, or before the factory returns. "{it}" stands for the module."""
    import libcst as cst

    function = body_of(tree, home)
    call_of(function, home)  # made here, once
    owner = returned_name(function) if home.is_function else "self"
    path = f"{owner}{path_code(home.names)}"
    new = cst.parse_statement(statement.replace("{it}", path), config=tree.config_for_parsing)
    if text_of(new).strip() in text_of(function):
        return tree
    lines = list(function.body.body)
    place = len(lines)
    if home.is_function:
        last: Any = lines[-1]
        if not isinstance(last, cst.SimpleStatementLine) or not isinstance(last.body[-1], cst.Return):
            raise NotApplicableError(f"{home.owner} does not end with its return")
        place = len(lines) - 1
        new = new.with_changes(leading_lines=last.leading_lines)
        lines[-1] = last.with_changes(leading_lines=())
    changed = function.with_changes(body=function.body.with_changes(body=[*lines[:place], new, *lines[place:]]))
    return checked(tree.deep_replace(function, changed))


def swap_call(tree: cst.Module, line: int, old: str, change: Change) -> cst.Module:
    """Another activation function called, or the call unwrapped, on a line of `forward`. `old` is the op that is called there."""
    import libcst as cst

    call = call_at(tree, line, {old, f"{old}_", FUNCTIONS.get(old, (old, ""))[0]})
    inner = operand_of(call)
    if change.kind == "drop-layer":
        new: Any = inner
        if not isinstance(inner, cst.Name | cst.Call | cst.Attribute | cst.Subscript) and not inner.lpar:
            new = inner.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return checked(tree.deep_replace(call, new))
    if change.kind == "softmax-axis":
        place = 0 if is_method(call) else 1
        new = with_argument(call, "dim", place, cst.parse_expression(number(change.amount or 0.0)))
        return checked(tree.deep_replace(call, new))
    name, more = FUNCTIONS[change.to]
    room = "F." if imports(tree, "F") else "torch.nn.functional."
    arguments = ", ".join(part for part in (text_of(inner), more) if part)
    return checked(tree.deep_replace(call, cst.parse_expression(f"{room}{name}({arguments})")))


def set_keyword(tree: cst.Module, function: str, keyword: str, value: float) -> cst.Module:
    """A number in the only call of a function of the file that names it, such as the learning rate in make_optimizer."""
    import libcst as cst

    found = [item for item in tree.body if isinstance(item, cst.FunctionDef) and item.name.value == function]
    arguments = [
        node
        for item in found
        for node in walk(item)
        if isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value == keyword
    ]
    if len(found) != 1 or len(arguments) != 1 or not isinstance(arguments[0].value, cst.Float | cst.Integer):
        raise NotApplicableError(f"{function} names no {keyword}, or not as one number")
    return checked(tree.deep_replace(arguments[0].value, cst.parse_expression(number(value))))
