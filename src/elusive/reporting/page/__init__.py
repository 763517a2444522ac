"""The report as one self-contained HTML page: no network, no fonts or scripts of others, everything escaped.

The template, the style and the script are files of their own here; the page holds all three.
"""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from elusive.reporting import formatting, plots
from elusive.reporting.browsing import Browsed
from elusive.reporting.results import ArmDifference, Results
from elusive.reporting.shown import ShownDocument

from .links import Link
from .templates import json_block, page_text

PACKAGES = ("elusive", "torch", "transformers", "peft", "tokenizers", "numpy", "pyarrow")
FIGURE_LABELS = {
    "em-by-field": "Bars: exact match of each arm in each field, with 95% intervals",
    "em-by-distance": "Lines: exact match of each arm against the distance from the head entity in tokens",
    "em-by-epoch": "Lines: exact match of each arm after a number of epochs",
    "loss": "Lines: training loss of each arm against optimizer steps",
    "ranks-at-cue": "Stacked bars: kinds of token at ranks 1 to 10, by the large model, the small one, and both",
    "drop-probability": "Curve: drop probability against rank, with the mean drop rates",
}


@dataclass(frozen=True)
class PageContent:
    """What the page of a run shows.

    Attributes:
        results: the run's.
        figures: from `plots.draw`.
        recipe_text: the resolved recipe as TOML.
        shown: documents and questions that are there without the script.
        browsed: what the script shows; None leaves the script out.
        files: links to the files behind the page, by what they hold.
    """

    results: Results
    figures: plots.Figures
    recipe_text: str
    shown: Sequence[ShownDocument] = ()
    browsed: Browsed | None = None
    files: Mapping[str, Sequence[Link]] = field(default_factory=dict)


def render(content: PageContent) -> str:
    """The page's HTML."""
    results, shown = content.results, content.shown
    keeps = [piece.keep for one in shown for pieces in one.arms.values() for piece in pieces]
    lowest = min([keep for keep in keeps if keep is not None], default=0.0)
    return page_text(
        "report.html",
        results=results,
        remark=formatting.remark,
        remarks=formatting.REMARKS,
        evaluated=results.evaluated,
        figures=_svgs(content.figures),
        shown=shown,
        any_arms=any(one.arms for one in shown),
        lowest=int(lowest * 10) / 10,
        pair_scale=pair_scale(results.pairs),
        known=results.known,
        took=_took(results),
        browsed=content.browsed,
        data=json_block(content.browsed.data) if content.browsed else "",
        files=content.files,
        recipe_text=content.recipe_text,
        versions=versions(),
    )


def _svgs(figures: plots.Figures) -> dict[str, dict[str, Markup]]:
    return {
        name: {
            layout: Markup(plots.inline_svg(figure, f"{name}-{layout}", FIGURE_LABELS[name]))
            for layout, figure in layouts.items()
        }
        for name, layouts in figures.items()
    }


def _took(results: Results) -> str:
    """The computing time of each stage, in words."""
    names = {"score": "to capture attention", "train": "to train", "evaluate": "to evaluate"}
    seconds = {stage: spent for stage, spent in results.made.seconds.items() if spent}
    parts = [f"{formatting.duration(spent)} {names[stage]}" for stage, spent in seconds.items()]
    total = formatting.duration(sum(seconds.values()))
    return f"{total}: {', '.join(parts)}" if len(parts) > 1 else ", ".join(parts)


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
