"""Templates filled in: with the house's numbers and colours, the style and script inside, and a policy for both."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from elusive.reporting import formatting, plots

HERE = Path(__file__).parent
_POLICY = "the policy of this page"  # its place in the page, until what the page holds is known
_NONE = "'none'"
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True)
class Colours:
    """An arm's colour on a light and a dark page, and the CSS variable that holds it."""

    colour: str
    on_dark: str
    variable: str


def page_text(template: str, **values: Any) -> str:
    """A page of one of the templates.

    Args:
        template: the name of its file.
        values: what it shows; everything that is no Markup is escaped.
    """
    looks = {
        name: Colours(look.colour, look.on_dark, plots.arm_variable(name)) for name, look in plots.arm_looks().items()
    }
    page = (
        _environment()
        .get_template(template)
        .render(
            looks=looks,
            style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
            script=Markup((HERE / "script.js").read_text(encoding="utf-8")),
            policy=_POLICY,
            **values,
        )
    )
    return page.replace(_POLICY, content_security_policy(page), 1)


def json_block(data: Any) -> Markup:
    """Data as JSON that is safe inside a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def content_security_policy(page: str) -> str:
    """What a browser may do with the page: apply its own style sheets and script, known by their hashes; nothing else.

    Other scripts, forms and whatever lies elsewhere are refused, so that a text which slipped through the escaping
    could do nothing. Style attributes hold colours of tokens and parts of figures, and are allowed.
    """
    styles, scripts = _hashes(_STYLE.findall(page)), _hashes(_SCRIPT.findall(page))
    return (
        f"default-src 'none'; script-src {scripts or _NONE}; style-src-elem {styles}; "
        "style-src-attr 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )


def _hashes(contents: list[str]) -> str:
    hashes = (hashlib.sha256(one.encode()).digest() for one in contents)
    return " ".join(dict.fromkeys(f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": formatting.score,
        "signed": lambda value: _minus(formatting.signed(value)),
        "range": formatting.range_text,
        "signed_range": lambda pair: _minus(formatting.range_text(pair, formatting.signed)),
        "minus": _minus,
        "whole": formatting.whole,
        "duration": lambda seconds: "-" if seconds is None else formatting.duration(seconds),
        "remark": formatting.remark,
        "sentence": formatting.sentence,
        "survival": formatting.survival_cell,
    }
    return environment


def _minus(text: str) -> str:
    """Typographic minus signs in numbers; hyphens inside names stay."""
    return re.sub(r"(?<![\w-])-(?=\d?\.\d)", "\u2212", text)
