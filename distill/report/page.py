"""One self-contained page out of a template, its style sheet and its script.

Everything a model or a user wrote passes through Jinja's autoescape. A Content-Security-Policy with the hashes of our
own style sheet and script forbids anything else to run or to load, so that a fault in the escaping stays harmless.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import store
from distill.report import words

if TYPE_CHECKING:
    from markupsafe import Markup

FOLDER = Path(__file__).parent / "templates"


def render(template: str, style: str, scripts: tuple[str, ...], *, connect: bool = False, **context: Any) -> str:
    """The page's HTML. `template`, `style` and `scripts` (joined) are file names in templates/.

    `connect` lets the script talk to the server that the page came from.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    css = (FOLDER / style).read_text(encoding="utf-8")
    js = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts)
    loader = FileSystemLoader(FOLDER)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("count", "compact", "usd", "duration", "measure", "signed", "cut", "clean"):
        environment.filters[name] = getattr(words, name)
    environment.filters["code"] = code
    environment.filters["label"] = words.system_label
    environment.filters["measure_label"] = words.measure_label
    environment.globals["percent"] = words.percent
    return environment.get_template(template).render(
        style=Markup(css), script=Markup(js), policy=policy(css, js, connect), **context
    )


def policy(css: str, js: str, connect: bool = False) -> str:
    """A Content-Security-Policy under which only this style sheet and this script run, and nothing else is loaded."""
    own = "; connect-src 'self'" if connect else ""
    return (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'{own}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(value: Any) -> str:
    """JSON that may be inside a <script> element: no text in it can close the element or end a line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text.encode("utf-8", "replace").decode("utf-8")


def code(text: str) -> Markup:
    """The text, escaped, with what is between back-ticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def write(path: Path, html: str) -> Path:
    """Replace the file, so that a reader sees the old page or the new one."""
    store.write_text(path, html.encode("utf-8", "replace").decode())
    return path


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
