"""The figures of a report: one function each, as files for papers and as SVG that follows the page's theme."""

import dataclasses
import html
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from elusive.augmentation.arm import OTHER
from elusive.augmentation.arms import ARMS
from elusive.experiments.trials import UNTRAINED
from elusive.runs.files import atomic_path
from elusive.stats.estimates import Estimate

from .losses import LossCurve
from .results import RankShares, Results
from .tokens import OTHER_WORDS, TOP

WIDE, NARROW = 10.6, 3.7
"""Widths in inches: for a screen and for paper, and for a telephone."""

# Each colour written here or in the table of arms stands once in the files and as a CSS variable of its name on the
# page, where dark mode changes it.
OTHER_ARM = OTHER
HEAD_COLOR = "#cc3311"
FIELD_COLORS = ("#0077ba", "#33bbee", "#009988", "#ee9933", "#aa4499", "#997700")
WORD_COLORS = ("#5f656c", "#747a81", "#888e94", "#9ca1a7", "#aeb3b8", "#bfc3c7", "#cfd2d5", "#dcdfe1", "#e8eaeb")
ON_STRONG_WORD, ON_WEAK_WORD = "#fffffe", "#111112"
INK, MUTED, RULE, PAPER = "#1b1d20", "#5c6268", "#dfe1e0", "#fdfdfc"

VARIABLES = {
    OTHER_ARM: "--arm-other",
    HEAD_COLOR: "--head",
    **{color: f"--field-{number}" for number, color in enumerate(FIELD_COLORS)},
    **{color: f"--word-{number}" for number, color in enumerate(WORD_COLORS)},
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    PAPER: "--paper",
    ON_STRONG_WORD: "--on-strong-word",
    ON_WEAK_WORD: "--on-weak-word",
}
_CHARACTER, _HANDLE, _LEGEND_ROW = 0.066, 0.38, 0.17
"""Inches that a legend takes for a character of a name, for what stands before it, and for a row."""

Figures = dict[str, dict[str, Figure]]
LossCurves = Mapping[str, Sequence[LossCurve]]


@dataclasses.dataclass(frozen=True)
class Look:
    """How an arm is drawn: its colour, the one on a dark page, and its marker."""

    colour: str
    on_dark: str
    marker: str = "o"


def arm_looks() -> dict[str, Look]:
    """How each arm is drawn, and the model before training."""
    arms = {name: Look(arm.colour, arm.on_dark or arm.colour, arm.marker) for name, arm in ARMS.items()}
    return {UNTRAINED: Look("#9aa0a5", "#767c82"), **arms}


def arm_color(arm: str) -> str:
    """An arm's colour, the same in every figure."""
    looks = arm_looks()
    return looks[arm].colour if arm in looks else OTHER_ARM


def arm_variable(arm: str) -> str:
    """The CSS variable of an arm's colour, without its dashes."""
    return f"arm-{arm.replace('+', '-and-')}"


def draw(results: Results, longest: int, losses: LossCurves | None = None) -> Figures:
    """Draw every figure that the results allow, each {"wide", "narrow"}.

    Args:
        results: the run's, cue_ranks included.
        longest: last rank of the p(r) curve; 0 leaves it out.
        losses: how the loss of each arm's trainings went down.
    """
    figures: Figures = {}
    with style():
        for layout, width in (("wide", WIDE), ("narrow", NARROW)):
            if results.evaluated:
                figures.setdefault("em-by-field", {})[layout] = em_bars(results, width)
            if len(results.distances) > 1:
                figures.setdefault("em-by-distance", {})[layout] = em_by_distance(results, width)
            if any(len(row.by_epoch) > 1 for row in results.arms.values()):
                figures.setdefault("em-by-epoch", {})[layout] = em_by_epoch(results, width)
            if losses:
                figures.setdefault("loss", {})[layout] = loss_by_step(losses, width)
            if results.cue_ranks:
                figures.setdefault("ranks-at-cue", {})[layout] = rank_bars(results.cue_ranks, width)
            if longest:
                figures.setdefault("drop-probability", {})[layout] = drop_curve(results, longest, width)
        for figure in (figure for layouts in figures.values() for figure in layouts.values()):
            # The layout is worked out once and kept: each save would do it again, and that takes most of its time.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
    return figures


def save(figures: Figures, folder: Path) -> None:
    """Write each wide figure as PNG (150 dots per inch) and SVG."""
    for name, layouts in figures.items():
        with atomic_path(folder / f"{name}.png") as path, style():
            layouts["wide"].savefig(path, format="png", dpi=150)
        with atomic_path(folder / f"{name}.svg") as path, style(name):
            layouts["wide"].savefig(path, format="svg", metadata={"Date": None})


def inline_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an SVG element for the page: its colours are CSS variables, its fonts the page's.

    Args:
        figure: one layout of a figure.
        name: unique on the page; every id inside starts with it.
        label: what screen readers say.
    """
    stream = io.StringIO()
    with style(name):
        figure.savefig(stream, format="svg", metadata={"Date": None}, facecolor="none")
    text = stream.getvalue()
    body = text[text.index("<defs>") : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # nothing refers to groups
    body = body.replace("; stroke-linejoin: miter", "")  # as it is without
    box = re.search(r'viewBox="([^"]+)"', text)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    body = re.sub(r"font-family: [^;\"]+", "font-family: inherit", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1; font-family: inherit", body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda match: _variable(match.group()), body)
    body = re.sub(r"(\d\.\d{2})\d+", r"\1", body)  # a hundredth of a point is less than a pixel
    body = re.sub(r"\s*\n\s*", "\n", body)
    view = box.group(1) if box else ""
    return f'<svg viewBox="{view}" role="img" aria-label="{html.escape(label)}">{body}</svg>'


def em_bars(results: Results, width: float) -> Figure:
    """EM of each arm in each field and over all, with 95% intervals."""
    arms = [arm for arm, row in results.arms.items() if row.em]
    fields = results.fields if len(results.fields) > 1 else ()
    narrow = width < 6
    groups = [*fields, "all"]
    height = 1.0 + 0.15 * len(groups) * (len(arms) + 1.2) if narrow else 3.5
    figure, axes = new_figure(width, height)
    size = 0.82 / len(arms)
    for number, arm in enumerate(arms):
        row = results.arms[arm]
        numbers = [*(row.fields[field].em for field in fields), *([row.em] if row.em else [])]
        middle = np.arange(len(groups)) + (number - (len(arms) - 1) / 2) * size
        _bars(axes, middle, numbers, size * 0.86, arm, across=narrow)
    if narrow:
        axes.set_yticks(range(len(groups)), groups)
        axes.invert_yaxis()
        axes.set_xlabel("exact match")
    else:
        axes.set_xticks(range(len(groups)), groups)
        axes.set_ylabel("exact match")
    if fields:
        line = axes.axhline if narrow else axes.axvline
        line(len(groups) - 1.5, color=RULE, linewidth=0.8)
    score_axis(axes.xaxis if narrow else axes.yaxis, axes)
    _legend(figure, axes, columns=2 if narrow else 8)
    return figure


def em_by_distance(results: Results, width: float) -> Figure:
    """EM against the mean distance between a field and the head entity in tokens (the paper's Figure 1)."""
    narrow = width < 6
    figure, axes = new_figure(width, 3.9 if narrow else 3.6)
    distances = results.distances
    for arm, row in ((arm, row) for arm, row in results.arms.items() if row.fields):
        values = [row.fields[field].em.value or 0.0 for field in distances]
        _arm_line(axes, arm, list(distances.values()), values)
    axes.set_xlabel("mean distance from the head entity, tokens")
    axes.set_ylabel("exact match")
    score_axis(axes.yaxis, axes)
    name_fields_on_top(axes, distances)
    _legend(figure, axes, columns=2 if narrow else 8)
    return figure


def em_by_epoch(results: Results, width: float) -> Figure:
    """EM over all questions during training, against epochs over each arm's texts."""
    narrow = width < 6
    figure, axes = new_figure(width, 3.6 if narrow else 3.3)
    for arm, row in results.arms.items():
        if row.by_epoch:
            _arm_line(axes, arm, [one.epoch for one in row.by_epoch], [one.em for one in row.by_epoch])
    axes.set_xlabel("epochs")
    axes.set_ylabel("exact match")
    score_axis(axes.yaxis, axes)
    _legend(figure, axes, columns=2 if narrow else 8)
    return figure


def loss_by_step(losses: LossCurves, width: float) -> Figure:
    """The training loss of each arm against optimizer steps; a line for each seed."""
    narrow = width < 6
    figure, axes = new_figure(width, 3.6 if narrow else 3.3)
    for arm, curves in losses.items():
        for number, curve in enumerate(curves):
            label = arm if number == 0 else None
            single = {"marker": "o", "markersize": 3} if len(curve.steps) == 1 else {}
            axes.plot(curve.steps, curve.losses, color=arm_color(arm), linewidth=1.3, label=label, **single)
    axes.set_xlabel("optimizer steps")
    axes.set_ylabel("training loss")
    axes.set_ylim(bottom=0)
    axes.grid(True, axis="y")
    axes.tick_params(length=0)
    _legend(figure, axes, columns=2 if narrow else 8)
    return figure


def rank_bars(ranks: RankShares, width: float) -> Figure:
    """Share of each kind of token at ranks 1 to 10: large, small, large minus small (Figures 2 and 3)."""
    titles = {"large": "large", "small": "small", "contrast": "large minus small"}
    rankings = {title: ranks.rankings[name] for name, title in titles.items()}
    return rank_panels(dataclasses.replace(ranks, rankings=rankings), width, differences=(titles["contrast"],))


def rank_panels(ranks: RankShares, width: float, *, columns: int = 0, differences: Collection[str] = ()) -> Figure:
    """Share of each kind of token at ranks 1 to 10, a panel for each ranking; kinds look alike in all of them.

    Args:
        ranks: from `clues.rank_shares`; the names of the rankings are the panels' titles.
        width: of the figure in inches.
        columns: panels side by side (0: three, or one where the figure is narrow).
        differences: titles of the panels whose tokens are ranked by a difference of two models.
    """
    narrow = width < 6
    columns = columns or (1 if narrow else min(3, len(ranks.rankings)))
    rows = -(-len(ranks.rankings) // columns)
    kinds, colors = ranks.kinds, kind_colors(ranks.kinds, ranks.head_kinds, ranks.fields)
    legend_rows = max(1, -(-len(kinds) // (3 if narrow else 9)))
    height = 0.35 + (2.75 if narrow else 2.95) * rows + 0.2 * legend_rows
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(hspace=0.06 if rows > 1 else 0.02, wspace=0.05)  # type: ignore[union-attr]
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    # So much of the axis does one character of a name take.
    character = 0.021 * columns if narrow else 0.026 * columns / 3 * WIDE / width
    for number, (axes, (title, shares)) in enumerate(zip(grid.flat, ranks.rankings.items(), strict=False)):
        _stacked_shares(axes, np.array(shares), kinds, colors, character)
        axes.set_title(title, loc="left", fontweight="bold", color=INK)
        if number % columns == 0:
            axes.set_ylabel("rank by difference" if title in differences else "rank by attention")
    for axes in grid.flat[len(ranks.rankings) :]:
        axes.set_visible(False)
    figure.legend(
        [Patch(color=colors[kind]) for kind in kinds], kinds, loc="outside lower left",
        ncols=max(1, -(-len(kinds) // legend_rows)), frameon=False, handlelength=0.9, handleheight=0.9,
        columnspacing=1.2, labelcolor=INK,
    )  # fmt: skip
    return figure


def drop_curve(results: Results, longest: int, width: float) -> Figure:
    """p(r) at the run's alpha and beta, with the mean drop rate of each arm (the paper's Figure 5)."""
    alpha, beta = results.augment.alpha, results.augment.beta
    figure, axes = new_figure(width, 3.0)
    ranks = np.linspace(0, longest, 200)
    curve = alpha * (1 - np.exp(-beta * ranks))
    axes.plot(ranks, curve, color=INK, linewidth=1.8)
    rates = {arm: row.mean_drop_rate for arm, row in results.arms.items() if row.mean_drop_rate}
    for arms in _near(rates):
        low, high = rates[arms[0]], rates[arms[-1]]
        for rate in sorted({low, high}):
            color = arm_color(arms[0]) if len(arms) == 1 else OTHER_ARM
            axes.axhline(rate, color=color, linewidth=1.1, linestyle=(0, (4, 3)))
        several = f"{arms[0]} and {len(arms) - 1} more" if width < 6 and arms[1:] else ", ".join(arms)
        ends = list(dict.fromkeys(f"{rate:.2f}".replace("0.", ".", 1) for rate in (low, high)))
        below = high < curve[-1] - 0.02  # where the curve runs above the line's right end
        axes.annotate(
            f"mean {' to '.join(ends)}: {several}", (1, low if below else high), xycoords=("axes fraction", "data"),
            xytext=(-2, -3 if below else 3), textcoords="offset points", ha="right", va="top" if below else "bottom",
            color=MUTED,
        )  # fmt: skip
    axes.set(xlim=(0, longest), ylim=(0, min(1.0, max([alpha, *rates.values(), 0.05]) * 1.18)))
    axes.set_xlabel("rank r")
    axes.set_ylabel("drop probability p(r)")
    plain_numbers(axes.yaxis)
    return figure


def name_fields_on_top(axes: Axes, distances: Mapping[str, float]) -> None:
    """Name each field above the plot and rule a line down from it, where x is the distance from the head entity."""
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(distances.values()), list(distances), rotation=45, ha="left", rotation_mode="anchor")
    top.tick_params(length=3, pad=3, color=RULE, labelcolor=MUTED)
    top.spines["top"].set_visible(False)
    for distance in distances.values():
        axes.axvline(distance, color=RULE, linewidth=0.7, zorder=0)


def kind_colors(kinds: Sequence[str], head_kinds: Sequence[str], fields: Sequence[str] = ()) -> dict[str, str]:
    """Red for the head entity as in the paper, a hue for each other field, greys for single words."""
    shown = [kind for kind in kinds if kind.startswith("(") and kind not in head_kinds]
    # A field keeps its colour in every figure of a corpus, whichever of its fields are ranked there.
    fields = list(dict.fromkeys([*(field for field in fields if field not in head_kinds), *shown]))
    words = [kind for kind in kinds if kind not in fields and kind not in head_kinds and kind != OTHER_WORDS]
    colors = dict.fromkeys(head_kinds, HEAD_COLOR) | {OTHER_WORDS: WORD_COLORS[-1]}
    colors |= {kind: FIELD_COLORS[number % len(FIELD_COLORS)] for number, kind in enumerate(fields)}
    return colors | {kind: WORD_COLORS[number % len(WORD_COLORS)] for number, kind in enumerate(words)}


@contextmanager
def style(salt: str = "elusive") -> Iterator[None]:
    """Matplotlib's settings while a figure is drawn or saved; the caller's come back afterwards."""
    settings: Any = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.edgecolor": RULE,
        "axes.labelcolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.7,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.color": INK,
        "text.parse_math": False,
        "figure.facecolor": PAPER,
        "axes.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one plot, laid out so that nothing is cut off."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _bars(axes: Axes, middle: np.ndarray, numbers: Sequence[Estimate], size: float, arm: str, *, across: bool) -> None:
    values = np.array([one.value for one in numbers])
    low = np.array([one.value if one.low is None else one.low for one in numbers])
    high = np.array([one.value if one.high is None else one.high for one in numbers])
    whiskers = np.maximum([values - low, high - values], 0)
    color = arm_color(arm)
    draw_bars = axes.barh if across else axes.bar
    draw_bars(middle, values, size, color=color, label=arm)
    # A wider line of the paper's colour underneath keeps whiskers readable on bars and beside them, in both themes.
    for line_color, line_width in ((PAPER, 2.6), (INK, 1.0)):
        if across:
            axes.errorbar(values, middle, xerr=whiskers, fmt="none", ecolor=line_color, elinewidth=line_width)
        else:
            axes.errorbar(middle, values, yerr=whiskers, fmt="none", ecolor=line_color, elinewidth=line_width)


def _arm_line(axes: Axes, arm: str, x: Sequence[float], em: Sequence[float]) -> None:
    axes.plot(
        x,
        em,
        color=arm_color(arm),
        marker=arm_looks().get(arm, Look(OTHER_ARM, OTHER_ARM)).marker,
        linestyle=":" if arm == UNTRAINED else "-",
        linewidth=1.6,
        markersize=5,
        label=arm,
    )


def score_axis(axis: Any, axes: Axes) -> None:
    """From 0 to a little above the data, never beyond 1; with a quiet grid."""
    low, high = axis.get_data_interval()
    limit = (min(0.0, float(low)), min(1.02, max(float(high) * 1.06, 0.05)))
    axes.set(**{"xlim" if axis.axis_name == "x" else "ylim": limit})
    axis.grid(True)
    plain_numbers(axis)


def plain_numbers(axis: Any) -> None:
    """Numbers as .25, without ticks."""
    axis.set_major_formatter(lambda value, _: f"{value:.2f}".replace("0.", ".", 1) if value > 1e-9 else "0")
    axis.set_tick_params(length=0)


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Above the plot, in at most so many columns; where long names leave room for fewer, the figure grows."""
    handles, labels = axes.get_legend_handles_labels()
    fitting = max(1, int(figure.get_figwidth() / (_CHARACTER * max(map(len, labels)) + _HANDLE)))
    rows, wanted = (-(-len(labels) // one) for one in (min(columns, fitting), columns))
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * (rows - wanted))
    columns = min(columns, fitting)
    figure.legend(
        handles, labels, loc="outside upper left", ncols=columns, frameon=False, handlelength=1.1,
        handleheight=0.8, columnspacing=1.4, labelcolor=INK,
    )  # fmt: skip


def _near(rates: Mapping[str, float]) -> list[list[str]]:
    """Arms grouped where their rates are too close for a label each, lowest first."""
    groups: list[list[str]] = []
    for arm in sorted(rates, key=lambda arm: rates[arm]):
        if groups and rates[arm] - rates[groups[-1][-1]] < 0.04:
            groups[-1].append(arm)
        else:
            groups.append([arm])
    return groups


def _stacked_shares(
    axes: Axes, shares: np.ndarray, kinds: Sequence[str], colors: Mapping[str, str], character: float
) -> None:
    """One bar a rank, made of the shares (ranks x kinds) of each kind."""
    left = np.zeros(len(shares))
    for number, kind in enumerate(kinds):
        rows_here = np.flatnonzero(shares[:, number])
        bars = axes.barh(
            rows_here + 1, shares[rows_here, number], left=left[rows_here], height=0.84, color=colors[kind],
            edgecolor=PAPER, linewidth=0.6,
        )  # fmt: skip
        _name_wide_segments(axes, bars, kind, colors[kind], character)
        left += shares[:, number]
    if not shares.any():
        axes.text(0.5, TOP / 2 + 0.5, "all tokens are tied", ha="center", color=MUTED)
    axes.set(xlim=(0, 1), ylim=(TOP + 0.6, 0.4))
    axes.set_yticks(range(1, TOP + 1))
    axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    axes.spines[:].set_visible(False)


def _name_wide_segments(axes: Axes, bars: Any, kind: str, color: str, character: float) -> None:
    """Write the kind into the segments that have room for it; `character` is its width as a share of the axis."""
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 150
    ink = (ON_WEAK_WORD if light else ON_STRONG_WORD) if color in WORD_COLORS else "#111111" if light else "#ffffff"
    for bar in bars:
        if bar.get_width() > character * len(kind) + 0.03:
            middle = bar.get_x() + bar.get_width() / 2
            text = axes.text(middle, bar.get_y() + bar.get_height() / 2, kind, ha="center", va="center_baseline")
            text.set(color=ink, fontsize=7.2, in_layout=False)


def _variable(color: str) -> str:
    of_arms = {look.colour: f"--{arm_variable(arm)}" for arm, look in arm_looks().items()}
    name = (VARIABLES | of_arms).get(color)
    return f"var({name})" if name else color
