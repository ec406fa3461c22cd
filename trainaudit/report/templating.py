"""Templates into pages that stand alone: style and script inside, nothing fetched, everything that is not markup escaped. No report lives here."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

from trainaudit.report import charts, numbers, view
from trainaudit.report.drawing import short
from trainaudit.report.escaping import visible, visible_lines
from trainaudit.report.ladder import WORDS
from trainaudit.report.prose import code_spans
from trainaudit.resources import templates_folder
from trainaudit.result import Location


def standing_alone(
    template: str, *, styles: Sequence[str], script: str = "", is_print: bool = False, **context: Any
) -> str:
    """A page of a template. `styles` and `script` are files beside it: they are put into the page, and its policy allows these texts and nothing
    else. A page that is printed has no script."""
    folder = templates_folder()
    css = "\n".join((folder / "html" / name).read_text("utf-8") for name in styles)
    print_css = (folder / "print.css").read_text("utf-8")
    code = "" if is_print or not script else (folder / "html" / script).read_text("utf-8")
    text: str = (
        environment()
        .get_template(template)
        .render(
            is_print=is_print,
            css=markup(css),
            print_css=markup(print_css),
            script=markup(code),
            policy=_policy([css, print_css], [code]),
            chart_style=markup(f"<style>{_drawn_style(css)}</style>" if is_print else ""),
            **context,
        )
    )
    return text


@cache
def environment() -> Any:
    """Jinja over the templates of `templates/html`, which are compiled once."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_folder() / "html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _finalized(value: object) -> object:
    """Every expression of every template passes here: text that is not markup loses what acts on the reader."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def markup(text: str) -> Any:
    """A text that templates take as it is."""
    from markupsafe import Markup

    return Markup(text)


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Nothing but this very style and script; no network, no frames, no forms."""

    def hashes(texts: Sequence[str]) -> str:
        return (
            " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts if text)
            or "'none'"
        )

    return (
        f"default-src 'none'; style-src {hashes(styles)}; script-src {hashes(scripts)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _drawn_style(css: str) -> str:
    """The rules of `.chart`, with the light palette put in: the PDF renderer applies no style sheet inside a drawing but the drawing's own, and knows
    no variables there."""
    plain = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", css)
    palette = dict(re.findall(r"--([\w-]+):\s*([^;}]+)", plain))
    rules = re.findall(r"^\.chart [^{}]*\{[^{}]*\}", plain, flags=re.MULTILINE)
    return re.sub(r"var\(--([\w-]+)\)", lambda found: palette[found[1]].replace('"', "'"), "".join(rules))


def _prose(text: str) -> Any:
    from markupsafe import Markup, escape

    pieces = [(is_code, escape(visible(piece))) for is_code, piece in code_spans(" ".join(str(text).split()))]
    return Markup("").join(Markup(f"<code>{piece}</code>") if is_code else piece for is_code, piece in pieces)


def _lines(text: str) -> Any:
    from markupsafe import Markup, escape

    return Markup("\n").join(escape(line) for line in visible_lines(text))


def _breakable(name: str) -> Any:
    """A layer's name that may wrap after its dots and slashes."""
    from markupsafe import Markup, escape

    text = str(escape(visible(name)))
    return Markup(text.replace(".", ".<wbr>").replace("/", "/<wbr>"))


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{numbers.number(size / scale)} {unit}"
    return numbers.count(size, "byte")


def _source(location: Location) -> str:
    return view.source(location)


_FILTERS: dict[str, Callable[..., Any]] = {
    "prose": _prose,
    "lines": _lines,
    "breakable": _breakable,
    "paragraphs": lambda text: [part for part in text.strip().split("\n\n") if part.strip()],
    "number": numbers.number,
    "figure": lambda value: "" if value is None else numbers.number(value),
    "large": numbers.large,
    "lowered": view.lowered,
    "gain_bar": charts.gain_bar,
    "share": numbers.share,
    "counted": numbers.count,
    "coordinate": short,
    "bytes": _bytes,
    "source": _source,
    "limit": lambda limit: numbers.scalar(limit.value, limit.unit),
    "compact": lambda value: json.dumps(value, ensure_ascii=False, default=str),
    "tip_word": WORDS.__getitem__,
    "web": lambda url: url.startswith(("https://", "http://")),
    "nth": lambda shown, left_out: f"{-(-(shown + left_out) // shown)}th",
}
