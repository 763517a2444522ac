"""The report as one self-contained HTML page: no network, no fonts or scripts of others, everything escaped."""

import base64
import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from . import formatting, plots
from .results import ArmDifference, Results
from .tokens import ShownDocument, ranks_tokens

PACKAGES = ("elusive", "torch", "transformers", "peft", "tokenizers", "numpy", "pyarrow")
_POLICY = "the policy of this page"  # its place in the page, until the page's style sheets are known
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)
FIGURE_LABELS = {
    "em-by-field": "Bars: exact match of each arm in each field, with 95% intervals",
    "em-by-distance": "Lines: exact match of each arm against the distance from the head entity in tokens",
    "em-by-epoch": "Lines: exact match of each arm after a number of epochs",
    "ranks-at-cue": "Stacked bars: kinds of token at ranks 1 to 10, by the large model, the small one, and both",
    "drop-probability": "Curve: drop probability against rank, with the mean drop rates",
}


def render(results: Results, figures: plots.Figures, shown: Sequence[ShownDocument], recipe_text: str) -> str:
    """The page's HTML.

    Args:
        results: the run's.
        figures: from `plots.draw`.
        shown: from `tokens.shown_documents`.
        recipe_text: the resolved recipe as TOML.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
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
        "sentence": formatting.sentence,
        "survival": formatting.survival_cell,
    }
    svgs = {
        name: {
            layout: Markup(plots.inline_svg(figure, f"{name}-{layout}", FIGURE_LABELS[name]))
            for layout, figure in layouts.items()
        }
        for name, layouts in figures.items()
    }
    keeps = [piece.keep for one in shown for pieces in one.arms.values() for piece in pieces]
    lowest = min([keep for keep in keeps if keep is not None], default=0.0)
    page = environment.get_template("template.html").render(
        results=results,
        remark=formatting.remark,
        remarks=formatting.REMARKS,
        looks=plots.arm_looks(),
        evaluated=results.evaluated,
        figures=svgs,
        shown=shown,
        any_arms=any(one.arms for one in shown),
        lowest=int(lowest * 10) / 10,
        guided=[arm for arm in results.arms if ranks_tokens(arm)],
        pair_scale=pair_scale(results.pairs),
        known=results.known,
        recipe_text=recipe_text,
        versions=versions(),
        policy=_POLICY,
    )
    return page.replace(_POLICY, content_security_policy(page), 1)


def content_security_policy(page: str) -> str:
    """What a browser may do with the page: apply its own style sheets, known by their hashes, and nothing else.

    Scripts, forms and whatever lies elsewhere are refused, so that a text which slipped through the escaping could do
    nothing. Style attributes hold colours of tokens and parts of figures, and are allowed.
    """
    hashes = (hashlib.sha256(sheet.encode()).digest() for sheet in _STYLE.findall(page))
    allowed = " ".join(dict.fromkeys(f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes))
    return (
        f"default-src 'none'; style-src-elem {allowed}; style-src-attr 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    )


def pair_scale(pairs: Sequence[ArmDifference]) -> float:
    """Largest absolute end of an interval: the half-width of the little axes next to the differences."""
    ends = [abs(end) for pair in pairs for end in (pair.value, pair.low, pair.high) if end is not None]
    return max([*ends, 0.01])


def versions() -> dict[str, str]:
    """Versions of Python and of the packages behind a run, as installed now."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _minus(text: str) -> str:
    """Typographic minus signs in numbers; hyphens inside names stay."""
    return text.replace("-.", "\u2212.").replace("-1.", "\u2212" + "1.")
