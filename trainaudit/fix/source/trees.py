"""Parts of trees: elements of lists with their commas, arguments of calls, how a file imports torch, and what stands on a line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from trainaudit.fix.refusal import NotApplicableError
from trainaudit.fix.source.lookup import shortened, text_of, walk

if TYPE_CHECKING:
    import libcst as cst


def checked(tree: Any) -> cst.Module:
    """Nodes that are replaced by identity stand once; what comes out must be Python."""
    compile(tree.bytes, "<fixed>", "exec", dont_inherit=True)
    made: cst.Module = tree
    return made


def path_code(names: Sequence[str]) -> str:
    return "".join(f"[{name}]" if name.isdigit() else f".{name}" for name in names)


def prefix_of(tree: cst.Module, call: Any = None) -> str:
    """How the file calls torch.nn: "nn.", "torch.nn."."""
    written = "" if call is None else text_of(call.func).rpartition(".")[0]
    if written in ("nn", "torch.nn"):
        return f"{written}."
    if imports(tree, "nn"):
        return "nn."
    if imports(tree, "torch"):
        return "torch.nn."
    raise NotApplicableError("the file does not import torch.nn under its usual name")


def imports(tree: cst.Module, name: str) -> bool:
    import libcst as cst

    for node in walk(tree):
        if isinstance(node, cst.Import | cst.ImportFrom) and not isinstance(node.names, cst.ImportStar):
            for item in node.names:
                known = item.asname.name if item.asname is not None else item.name
                if text_of(known) == name or (
                    isinstance(node, cst.Import) and item.asname is None and text_of(known).split(".")[0] == name
                ):
                    return True
    return False


def with_argument(call: cst.Call, name: str, place: int, value: Any) -> cst.Call:
    import libcst as cst

    arguments = list(call.args)
    for index, argument in enumerate(arguments):
        if argument.star:
            raise NotApplicableError(f"the arguments of {shortened(call)} are not written out")
        if (argument.keyword is not None and argument.keyword.value == name) or (
            argument.keyword is None and index == place
        ):
            arguments[index] = argument.with_changes(value=value)
            return call.with_changes(args=arguments)
    tight = cst.AssignEqual(whitespace_before=cst.SimpleWhitespace(""), whitespace_after=cst.SimpleWhitespace(""))
    new = cst.Arg(keyword=cst.Name(name), value=value, equal=tight)
    return call.with_changes(args=with_new(arguments, len(arguments) - 1, new) if arguments else [new])


def with_new(nodes: Sequence[Any], place: int, new: Any) -> list[Any]:
    """A node behind the one at `place`; commas and the line breaks in them stay with the places, comments with the nodes."""
    import libcst as cst

    own, items = nodes[place], list(nodes)
    if place < len(nodes) - 1:
        return [*items[: place + 1], new.with_changes(comma=_plain(own.comma)), *items[place + 1 :]]
    before = nodes[place - 1].comma if place > 0 else cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    items[place] = own.with_changes(
        comma=_plain(before) if isinstance(own.comma, cst.MaybeSentinel) or place else before
    )
    return [*items, new.with_changes(comma=own.comma)]


def without(nodes: Sequence[Any], place: int) -> list[Any]:
    kept = [*nodes[:place], *nodes[place + 1 :]]
    if place == len(nodes) - 1 and kept:
        kept[-1] = kept[-1].with_changes(comma=nodes[place].comma)
    return kept


def _plain(comma: Any) -> Any:
    """A comma without the comment behind it."""
    import libcst as cst

    after = getattr(comma, "whitespace_after", None)
    if not isinstance(after, cst.ParenthesizedWhitespace):
        return comma
    first = after.first_line.with_changes(comment=None, whitespace=cst.SimpleWhitespace(""))
    return comma.with_changes(whitespace_after=after.with_changes(first_line=first, empty_lines=()))


def with_items(tree: cst.Module, old: Sequence[Any], new: Sequence[Any]) -> cst.Module:
    """The tree with other elements in the list, or arguments in the call, that held the old ones."""
    for node in walk(tree):
        for attribute in ("args", "elements"):
            held = getattr(node, attribute, None)
            if (
                held is not None
                and len(held) == len(old)
                and all(one is other for one, other in zip(held, old, strict=True))
            ):
                return checked(tree.deep_replace(node, node.with_changes(**{attribute: list(new)})))
    raise NotApplicableError("the elements do not stand in one list")


def is_method(call: Any) -> bool:
    """A call of a tensor's method: `x.relu()`."""
    import libcst as cst

    return isinstance(call.func, cst.Attribute) and text_of(call.func.value) not in (
        "F",
        "torch",
        "torch.nn.functional",
        "nn.functional",
    )


def operand_of(call: Any) -> Any:
    if is_method(call):
        return call.func.value
    if not call.args or call.args[0].star or call.args[0].keyword:
        raise NotApplicableError(f"what {shortened(call)} reads is not its first argument")
    return call.args[0].value


def call_at(tree: cst.Module, line: int, names: Collection[str]) -> Any:
    """The only call of one of these functions or methods on a line."""
    import libcst as cst
    from libcst.metadata import MetadataWrapper, PositionProvider

    wrapper = MetadataWrapper(tree, unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    found = [
        node
        for node in walk(tree)
        if isinstance(node, cst.Call)
        and text_of(node.func).rsplit(".", 1)[-1] in names
        and positions[node].start.line <= line <= positions[node].end.line
    ]
    if len(found) != 1:
        raise NotApplicableError(f"line {line} holds {len(found) or 'no'} calls of {', '.join(sorted(names))}")
    return found[0]
