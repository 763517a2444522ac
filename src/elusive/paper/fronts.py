"""A figure of two scores against each other: points of several arms, and the Pareto front of all."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from elusive.reporting import plots
from elusive.reporting.plots import INK, MUTED, PAPER, WIDE, arm_color
from elusive.stats.pareto import on_front

MARKERS = "osD^vP"
LINES = ("-", "-.", "--", ":", (0, (1, 1)), (0, (5, 1)))
_FRONT: dict[str, Any] = {"color": INK, "linewidth": 1.0, "linestyle": (0, (5, 3))}
_OUTLINED: dict[str, Any] = {"markeredgecolor": INK, "markeredgewidth": 1.4, "markersize": 10}
_POINTS = 72  # in an inch


@dataclass(frozen=True)
class Scored:
    """A point of the figure.

    Attributes:
        arm: the arm, for its colour.
        title: its name in words.
        setting: in words; empty where there is none.
        known: EM on what was known before.
        new: EM on what was learned.
        on_front: whether it is on the Pareto front.
    """

    arm: str
    title: str
    setting: str
    known: float
    new: float
    on_front: bool


def front_figure(points: Sequence[Scored], width: float = WIDE, *, default: str) -> Figure:
    """What was learned against what is still known: the points and the front of each arm, and the front of all.

    Arms differ in their markers and lines too, so that the figure can be read without colours. Points on the front of
    all are named.

    Args:
        points: arm by arm.
        width: of the figure in inches.
        default: the setting whose points are drawn larger.
    """
    with plots.style():
        figure, axes = plots.new_figure(width, 0.58 * width)
        axes.plot(*_line([one for one in points if one.on_front]), **_FRONT, zorder=1)
        titles = list(dict.fromkeys(one.title for one in points))
        for number, title in enumerate(titles):
            _draw_arm(axes, [one for one in points if one.title == title], number, default)
        axes.set_xlabel("EM on what was known before training")
        axes.set_ylabel("EM on new people")
        _leave_room(axes, points)
        for axis in (axes.xaxis, axes.yaxis):
            axis.grid(True)
            plots.plain_numbers(axis)
        _explain(figure, axes, default)
        _name_front(figure, axes, points)
    return figure


def _line(points: Sequence[Scored]) -> tuple[list[float], list[float]]:
    """The x and y of the points that no other has more of, from left to right."""
    scores = [(one.known, one.new) for one in points]
    line = sorted({one for one, here in zip(scores, on_front(scores), strict=True) if here})
    return [x for x, _ in line], [y for _, y in line]


def _draw_arm(axes: Axes, points: Sequence[Scored], number: int, default: str) -> None:
    color, marker, line = arm_color(points[0].arm), MARKERS[number % len(MARKERS)], LINES[number % len(LINES)]
    looks: dict[str, Any] = {"marker": marker, "color": color, "linestyle": "none", "markeredgecolor": PAPER}
    if len(points) > 1:
        axes.plot(*_line(points), color=color, linestyle=line, linewidth=1.0, zorder=1.5)
    axes.plot([one.known for one in points], [one.new for one in points], **looks, markersize=6.5)
    large = [one for one in points if one.setting == default]
    axes.plot([one.known for one in large], [one.new for one in large], **{**looks, **_OUTLINED})
    # For the legend alone.
    kind: dict[str, Any] = {"linestyle": line if len(points) > 1 else "none", "linewidth": 1.0}
    axes.plot([], [], **{**looks, **kind}, markersize=6.5, label=points[0].title)


def _leave_room(axes: Axes, points: Sequence[Scored]) -> None:
    """Names stand right of the front and above it, where no point can be."""
    for values, set_limits, above in (
        ([one.known for one in points], axes.set_xlim, 0.24),
        ([one.new for one in points], axes.set_ylim, 0.12),
    ):
        low, high = min(values), max(values)
        size = high - low or 0.1
        set_limits(low - 0.05 * size, high + above * size)
    axes.set_xticks([tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= 1])


def _explain(figure: Figure, axes: Axes, default: str) -> None:
    handles, labels = axes.get_legend_handles_labels()
    handles += [Line2D([], [], marker="o", color=PAPER, linestyle="none", **_OUTLINED), Line2D([], [], **_FRONT)]
    labels += [default, "front of all arms"]
    figure.legend(
        handles, labels, loc="outside upper left", ncols=4, frameon=False, handlelength=3, columnspacing=1.6,
        labelcolor=INK,
    )  # fmt: skip


def _name_front(figure: Figure, axes: Axes, points: Sequence[Scored]) -> None:
    """Settings of the points on the front, right of it, from top to bottom, each at the next place that is free."""
    figure.draw_without_rendering()  # what stands around the plot decides where points are
    named: dict[tuple[float, float], list[str]] = {}
    for one in points:
        if one.on_front and one.setting:
            named.setdefault((one.known, one.new), []).append(one.setting)
    half = 5 * figure.dpi / _POINTS
    spots = axes.transData.transform([(one.known, one.new) for one in points])
    taken = [_around(x, y, half) for x, y in spots]
    line = axes.transData.transform(list(zip(*_line([one for one in points if one.on_front]), strict=True)))
    for start, end in itertools.pairwise(line):
        steps = np.linspace(start, end, 2 + int(np.abs(end - start).max() / half))
        taken += [_around(x, y, half / 4) for x, y in steps]
    for (x, y), settings in sorted(named.items(), key=lambda one: (-one[0][1], one[0][0])):
        words = "\n".join(dict.fromkeys(settings))
        size = _size(axes, words)
        at = axes.transData.transform((x, y))
        place, box = next(_free(at, size, figure.dpi / _POINTS, taken))
        taken.append(box)
        label = axes.annotate(
            words, (x, y), xytext=place, textcoords="offset points", va="center", color=INK, fontsize=8,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4},
        )  # fmt: skip
        label.set_in_layout(False)


def _around(x: float, y: float, half: float) -> Bbox:
    return Bbox([[x - half, y - half], [x + half, y + half]])


def _size(axes: Axes, words: str) -> tuple[float, float]:
    """Width and height of a name in pixels."""
    text: Text = axes.text(0, 0, words, fontsize=8)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _free(
    at: np.ndarray, size: tuple[float, float], scale: float, taken: Sequence[Bbox]
) -> Iterator[tuple[tuple[float, float], Bbox]]:
    """Places right of a point, near ones first, that nothing stands at: in points from it, and in pixels."""
    for distance in range(9, 400, 6):
        for rise in (0, 0.5, 1, -0.3):
            right, up = 9 + 0.6 * (distance - 9), rise * distance
            left, middle = at[0] + right * scale, at[1] + up * scale
            box = Bbox([[left, middle - size[1] / 2], [left + size[0], middle + size[1] / 2]])
            if not any(box.overlaps(other) for other in taken):
                yield (right, up), box
