"""The paper's figures, drawn from plain numbers in the style of a run's report.

| figure | what it shows | drawn by |
| --- | --- | --- |
| 1 | EM against the distance from the head entity | `distance_lines` |
| 2, 6 | kinds of token that lead the attention at a cue | `rank_panels` of `clues.rank_shares` |
| 3, 7 | the same by large minus small, and by trained minus original | `rank_panels` of `clues.rank_shares` |
| 4 | a text, each token coloured by its chance to stay | `token_panels` |
| 5 | p(r) | `drop_curves` |
"""

import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from elusive.augmentation.rules import drop_probability
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.reporting import plots
from elusive.reporting.plots import FIELD_COLORS, HEAD_COLOR, INK, MUTED, PAPER, RULE, WIDE, arm_looks
from elusive.reporting.results import RankShares
from elusive.reporting.tokens import Piece

MARKERS = "osD^vP"
PUBLISHED = "#9aa0a5"
"""Grey of the lines that the paper printed."""
_PUBLISHED: dict[str, Any] = {
    "color": PUBLISHED, "linewidth": 0.9, "linestyle": (0, (5, 3)), "marker": ".", "markersize": 4
}  # fmt: skip
_EM: dict[str, Any] = {"linewidth": 1.8, "marker": "o", "markersize": 5.5}
_F1: dict[str, Any] = {"linewidth": 1.2, "linestyle": ":", "marker": ".", "markersize": 4}
ELLIPSIS = "\u2026"
POINTS = 72  # in an inch
TOKEN_SIZE, LINE_HEIGHT = 9.0, 17.0
"""Of coloured text, in points."""


class _Part(NamedTuple):
    """A token, or a part of one, within one word of a coloured text."""

    text: str
    keep: float | None
    is_head: bool = False


def distance_lines(
    models: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    distances: Mapping[str, float],
    width: float = WIDE,
    *,
    published: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """EM of each model in each field, against the field's distance from the head entity (Figure 1).

    Args:
        models: model: {field: {"em", "low", "high", "f1"}}; the interval of EM and F1 may be left out.
        distances: field: mean distance from the head entity in tokens.
        width: of the figure in inches.
        published: model: {field: EM} as the paper printed it. It prints no distances, so these stand at the
            distances of the same fields here.

    Example:
        >>> distance_lines({"large": {"date": {"em": 0.9}, "city": {"em": 0.4}}}, {"date": 8, "city": 20}).axes[0]
        <Axes: xlabel='mean distance from the head entity, tokens', ylabel='exact match'>
    """
    fields = sorted(distances, key=lambda field: distances[field])
    ends: list[tuple[float, float, str, str]] = []
    has = {key for rows in models.values() for row in rows.values() for key in row if row[key] is not None}
    with plots.style():
        figure, axes = plots.new_figure(width, 4.0)
        for name, of_fields in (published or {}).items():
            points = _points(fields, distances, of_fields)
            axes.plot(*points, **_PUBLISHED, zorder=1)
            ends += [(x, y, name, PUBLISHED) for x, y in zip(*points, strict=True)][-1:]
        for number, (name, rows) in enumerate(models.items()):
            color, marker = _color(name, number), MARKERS[number % len(MARKERS)]
            em, f1 = (
                _points(fields, distances, {field: row.get(metric) for field, row in rows.items()})
                for metric in ("em", "f1")
            )
            axes.plot(*em, **{**_EM, "marker": marker}, color=color)
            axes.plot(*f1, **_F1, color=color)
            _whiskers(axes, rows, distances, color)
            ends += [(x, y, name, color) for x, y in zip(*em, strict=True)][-1:]
        axes.set_xlabel("mean distance from the head entity, tokens")
        axes.set_ylabel("exact match, F1" if "f1" in has else "exact match")
        plots.score_axis(axes.yaxis, axes)
        plots.name_fields_on_top(axes, {field: distances[field] for field in fields})
        _explain_lines(figure, has | ({"published"} if published else set()), narrow=width < 6)
        _label_ends(figure, axes, ends)
    return figure


def rank_panels(
    ranks: RankShares, width: float = WIDE, *, columns: int = 0, differences: Collection[str] = ()
) -> Figure:
    """Kinds of token at ranks 1 to 10, a panel for each ranking (Figures 2, 3, 6 and 7).

    Args:
        ranks: what `clues.rank_shares` gives. Words have the same grey in several figures if these are drawn from one
            call of it, each with a part of its rankings.
        width: of the figure in inches.
        columns: panels side by side (0: three, or one where the figure is narrow).
        differences: titles of the panels that rank by a difference of two models.
    """
    with plots.style():
        return plots.rank_panels(ranks, width, columns=columns, differences=differences)


def token_panels(
    arms: Mapping[str, Sequence[Piece]],
    width: float = WIDE,
    *,
    cut: bool = False,
    lines: int = 12,
    heads: Sequence[tuple[int, int]] = (),
) -> Figure:
    """A text, each token coloured by its chance to stay, once for each arm (Figure 4).

    Args:
        arms: arm: pieces of the text, as `tokens.shown_documents` and `tokens.token_pieces` give them.
        width: of the figure in inches.
        cut: whether the text goes on after the last piece.
        lines: longest panel; what does not fit it is cut off, with an ellipsis.
        heads: characters [start, end) of the head entity, which is underlined in red.
    """
    keeps = [piece.keep for pieces in arms.values() for piece in pieces if piece.keep is not None]
    lowest = int(min(keeps, default=0.0) * 10) / 10
    lowest = lowest if lowest < 1 else 0.0
    room = width * POINTS - 16
    flowed = {arm: _flow(_words(pieces, heads), room, lines, cut) for arm, pieces in arms.items()}
    height = sum(30 + LINE_HEIGHT * len(rows) for rows in flowed.values()) + (44 if width >= 6 else 54)
    with plots.style():
        figure = Figure(figsize=(width, height / POINTS))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width * POINTS), ylim=(height, 0))
        axes.set_axis_off()
        top = 8.0
        for arm, rows in flowed.items():
            axes.text(8, top, arm, fontweight="bold", va="top")
            for number, row in enumerate(rows):
                _draw_line(axes, row, top + 16 + LINE_HEIGHT * number, lambda keep: keep_color(keep, lowest))
            top += 30 + LINE_HEIGHT * len(rows)
        _draw_scale(figure, axes, top, lowest, bool(heads))
    return figure


def drop_curves(settings: Sequence[tuple[float, float]], longest: int, width: float = WIDE) -> Figure:
    """p(r) = alpha * (1 - exp(-beta * r)) for several settings, each named at its end (Figure 5).

    Args:
        settings: (alpha, beta) of each curve.
        longest: last rank.
        width: of the figure in inches.
    """
    ranks = np.linspace(0, longest, 200)
    ends = []
    with plots.style():
        figure, axes = plots.new_figure(width, 3.4)
        for number, (alpha, beta) in enumerate(settings):
            curve, color = drop_probability(ranks, alpha, beta), _color("", number)
            axes.plot(ranks, curve, color=color, linewidth=1.8)
            ends.append((float(longest), float(curve[-1]), f"\u03b1 = {alpha:g}, \u03b2 = {beta:g}", color))
        axes.set(xlim=(0, longest), ylim=(0, min(1.02, max([0.05, *(y for _, y, _, _ in ends)]) * 1.12)))
        axes.set_xlabel("rank r")
        axes.set_ylabel("drop probability p(r)")
        axes.yaxis.grid(True)
        plots.plain_numbers(axes.yaxis)
        _label_ends(figure, axes, ends)
    return figure


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> None:
    """Write each figure as PNG (150 dots per inch) and SVG; a file is whole or not there."""
    plots.save({name: {"wide": figure} for name, figure in figures.items()}, Path(folder))


def score_at_cue(
    documents: Collection[Document],
    folder: str | Path,
    models: Mapping[str, ModelRef],
    field: str,
    *,
    settings: ScoreSettings,
    limit: int = 100,
) -> dict[str, Path]:
    """Read the first documents at the cue before a field with any models, doing only what is not there yet.

    Args:
        documents: the corpus.
        folder: gets a folder for each model, `<model>-cue-<field>`.
        models: the models by name, trained ones and adapters too; the paper averages all heads.
        field: whose cue to look from.
        settings: how attention is averaged.
        limit: how many documents.

    Returns:
        The folder of each model's scores, for `clues.rank_shares`.

    Raises:
        ElusiveError: as `scoring.score_corpus`.
    """
    from elusive.scoring.sets import ScoreSet
    from elusive.scoring.stage import score_sets

    made = score_sets(
        documents,
        folder,
        [ScoreSet(name, "cues", field) for name in models],
        models=models,
        settings=settings,
        field_documents=limit,
    )
    return {name: made[ScoreSet(name, "cues", field)] for name in models}


def keep_color(keep: float, lowest: float) -> tuple[float, float, float]:
    """The colour behind a token: the stronger, the likelier it stays, and never so dark that text is lost on it."""
    share = 0.05 + 0.65 * min(max((keep - lowest) / (1 - lowest), 0.0), 1.0)
    red, green, blue = share * np.array(to_rgb(FIELD_COLORS[0])) + (1 - share) * np.array(to_rgb(PAPER))
    return float(red), float(green), float(blue)


def _points(
    fields: Sequence[str], distances: Mapping[str, float], values: Mapping[str, float | None]
) -> tuple[list[float], list[float]]:
    """A line's x and y, at the fields that have a value."""
    known = [(distances[field], value) for field in fields if (value := values.get(field)) is not None]
    return [x for x, _ in known], [y for _, y in known]


def _color(name: str, number: int) -> str:
    """An arm keeps its colour; models take the others one after the other."""
    order = (0, 3, 2, 4, 1, 5)  # neighbours apart: the first two colours are both blue
    looks = arm_looks()
    return looks[name].colour if name in looks else FIELD_COLORS[order[number % len(order)]]


def _whiskers(
    axes: Axes, rows: Mapping[str, Mapping[str, float | None]], distances: Mapping[str, float], color: str
) -> None:
    for field, row in rows.items():
        low, high = row.get("low"), row.get("high")
        if field in distances and low is not None and high is not None:
            axes.plot([distances[field]] * 2, [low, high], color=color, linewidth=1.0, alpha=0.8, zorder=1.5)


def _label_ends(figure: Figure, axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Name lines (x, y, name, color) right of the plot, where they end, moved apart where names would overlap."""
    low, high = axes.get_ylim()
    figure.draw_without_rendering()  # what stands around the plot decides how high it is
    height = axes.bbox.height / figure.dpi * POINTS
    apart = _apart([y for _, y, _, _ in ends], gap=12.5 / height * (high - low))
    for (x, y, name, color), place in zip(ends, apart, strict=True):
        is_grey = color == PUBLISHED
        axes.annotate(
            name, (x, y), xytext=(1.025, place), textcoords=axes.get_yaxis_transform(), va="center",
            color=MUTED if is_grey else INK, fontweight="normal" if is_grey else "bold", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6 if is_grey else 1.2, "shrinkA": 2,
                        "shrinkB": 4},
        )  # fmt: skip


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """The values moved as little as leaves `gap` between each two, their order kept."""
    order = np.argsort(values, kind="stable")
    # Less the gaps below each, the places need only not fall: pool neighbours that do, at their mean.
    pools: list[list[float]] = []
    for number, place in enumerate(order):
        pools.append([values[place] - number * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = np.concatenate([[np.mean(pool)] * len(pool) for pool in pools]) if pools else np.zeros(0)
    moved = np.empty(len(values))
    moved[order] = level + gap * np.arange(len(values))
    return moved.tolist()


def _explain_lines(figure: Figure, has: Collection[str], *, narrow: bool) -> None:
    """What the styles of line mean; which model a line is of stands at its end."""
    name = "exact match, with its 95% interval" if "low" in has else "exact match"
    styles: dict[str, dict[str, Any]] = {name: {**_EM, "color": INK}}
    if "f1" in has:
        styles["F1"] = {**_F1, "color": INK}
    if "published" in has:
        styles["published exact match, set at the same fields:\nthe paper prints no distances"] = _PUBLISHED
    if len(styles) == 1 and "low" not in has:
        return  # the axis says it already
    figure.legend(
        [Line2D([], [], **style) for style in styles.values()], list(styles), loc="outside upper left",
        ncols=1 if narrow else 3, frameon=False, handlelength=2.6, columnspacing=1.8, labelcolor=INK,
    )  # fmt: skip


def _words(pieces: Sequence[Piece], heads: Sequence[tuple[int, int]]) -> list[list[_Part]]:
    """The text's words, each in the parts that its tokens make of it."""
    words: list[list[_Part]] = [[]]
    end = 0
    for piece in pieces:
        start, end = end, end + len(piece.text)
        is_head = any(start < last and first < end for first, last in heads)
        for part in re.findall(r"\s+|\S+", piece.text):
            if not part.isspace():
                words[-1].append(_Part(part, piece.keep, is_head))
            elif words[-1]:
                words.append([])
    return [word for word in words if word]


def _flow(words: Sequence[Sequence[_Part]], room: float, lines: int, cut: bool) -> list[list[Sequence[_Part]]]:
    """Words over lines of so many points; an ellipsis ends what was cut."""
    flowed: list[list[Sequence[_Part]]] = [[]]
    taken = 0.0
    for word in itertools.chain.from_iterable(_fitting(one, room) for one in words):
        size = _advance(word)
        if flowed[-1] and taken + size > room:
            flowed.append([])
            taken = 0.0
        flowed[-1].append(word)
        taken += size + _space()
    if len(flowed) > lines or cut:
        last = flowed[:lines][-1]
        end = [_Part(ELLIPSIS, None)]
        while last and sum(_advance(word) + _space() for word in last) + _advance(end) > room:
            last.pop()
        last.append(end)
    return flowed[:lines]


def _fitting(word: Sequence[_Part], room: float) -> list[Sequence[_Part]]:
    """The word, or its tokens one by one where it is wider than a line, as text without spaces is."""
    return [word] if _advance(word) <= room else [[part] for part in word]


def _advance(word: Sequence[_Part]) -> float:
    return sum(_text_width(part.text) for part in word)


def _space() -> float:
    return _text_width(" ")


def _text_width(text: str) -> float:
    """Width in points that a text takes up in a line, its outer spaces included."""
    font = FontProperties(family=["DejaVu Sans"], size=TOKEN_SIZE)
    # What is measured is the ink alone, so letters on both sides stand in for the rim.
    inked, rim = (text_to_path.get_text_width_height_descent(one, font, False)[0] for one in (f"x{text}x", "xx"))
    return inked - rim


def _draw_line(
    axes: Axes, words: Sequence[Sequence[_Part]], top: float, color: Callable[[float], tuple[float, float, float]]
) -> None:
    """One line of coloured words, its upper rim at `top` points."""
    left = 8.0
    for word in words:
        for part in word:
            size = _text_width(part.text)
            if part.keep is not None:
                box = Rectangle((left, top), size, LINE_HEIGHT - 3, facecolor=color(part.keep))
                box.set(edgecolor=PAPER, linewidth=0.5)
                axes.add_patch(box)
            if part.is_head:
                axes.plot([left, left + size], [top + LINE_HEIGHT - 3] * 2, color=HEAD_COLOR, linewidth=1.6)
            # In the middle of its box, so that a viewer's other font stays inside.
            axes.text(left + size / 2, top + 10.5, part.text, fontsize=TOKEN_SIZE, ha="center", va="baseline")
            left += size
        left += _space()


def _draw_scale(figure: Figure, axes: Axes, top: float, lowest: float, has_heads: bool) -> None:
    """The colour bar below the panels, and what is not coloured."""
    width, height = figure.get_size_inches() * POINTS
    bar = figure.add_axes((8 / width, 1 - (top + 14) / height, 140 / width, 9 / height))
    colors = LinearSegmentedColormap.from_list("stay", [keep_color(lowest, lowest), keep_color(1, lowest)])
    bar.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=colors, extent=(lowest, 1, 0, 1))
    bar.set_yticks([])
    bar.spines[:].set(visible=True, color=RULE)
    bar.tick_params(length=0, pad=2, labelsize=8)
    bar.set_xticks([lowest, 1], [f"{lowest:.1f}".replace("0.0", "0").replace("0.", "."), "1"])
    said = ["chance to stay", "without colour: never dropped", *(["underlined: head entity"] if has_heads else [])]
    # The rest stands below the bar where it does not fit beside it.
    beside = 1 if width < 432 else len(said)
    axes.text(156, top + 9.5, "; ".join(said[:beside]), color=MUTED, va="center")
    axes.text(8, top + 36, "; ".join(said[beside:]), color=MUTED, va="center")
