"""A figure of two scores against each other: points of several arms, and the Pareto front of all."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from elusive.reporting import plots
from elusive.reporting.plots import INK, MUTED, PAPER, WIDE, arm_color

MARKERS = "osD^vP"
_PLACES = [
    (distance * x, distance * y) for distance in (9, 18, 30, 45, 62, 80, 100) for x, y in
    ((1, 0), (-1, 0), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8), (0, 1), (0, -1))
]  # fmt: skip
"""Where a label may stand, from its point, in points of 1/72 inch: near ones first."""


@dataclass(frozen=True)
class Scored:
    """A point of the figure.

    Attributes:
        title: the arm's name in words.
        arm: the arm, for its colour.
        setting: in words; empty where there is none.
        known: EM on what was known before.
        new: EM on what was learned.
        on_front: whether it is on the Pareto front.
    """

    title: str
    arm: str
    setting: str
    known: float
    new: float
    on_front: bool


def front(points: Sequence[Scored], width: float = WIDE, *, default: str) -> Figure:
    """What was learned against what is still known: all points, the front as a line, and names of the points on it.

    Arms differ in their markers too, so that the figure can be read without colours.

    Args:
        points: arm by arm.
        width: of the figure in inches.
        default: the setting whose points are drawn larger and named, on the front or not.
    """
    with plots.style():
        figure, axes = plots.new_figure(width, 0.56 * width)
        line = sorted(((one.known, one.new) for one in points if one.on_front), reverse=True)
        axes.plot(*zip(*line, strict=True), color=INK, linewidth=1, linestyle=(0, (5, 3)), zorder=1)
        for number, title in enumerate(dict.fromkeys(one.title for one in points)):
            own = [one for one in points if one.title == title]
            marker = MARKERS[number % len(MARKERS)]
            looks = {"marker": marker, "linestyle": "none", "color": arm_color(own[0].arm), "markeredgecolor": PAPER}
            axes.plot([one.known for one in own], [one.new for one in own], **looks, markersize=7, label=title)
            large = [one for one in own if one.setting == default]
            looks |= {"markeredgecolor": INK, "markeredgewidth": 1.2}
            axes.plot([one.known for one in large], [one.new for one in large], **looks, markersize=10)
        axes.set_xlabel("EM on people known before training")
        axes.set_ylabel("EM on new people")
        axes.margins(0.08, 0.1)
        axes.grid(True)
        plots.plain_numbers(axes.xaxis)
        plots.plain_numbers(axes.yaxis)
        figure.legend(loc="outside upper left", ncols=5, frameon=False, labelcolor=INK, columnspacing=1.4)
        named = [one for one in points if one.setting and (one.on_front or one.setting == default)]
        _name_points(figure, axes, points, named)
    return figure


def _name_points(figure: Figure, axes: Axes, points: Sequence[Scored], named: Sequence[Scored]) -> None:
    """Settings beside their points, where they cover neither a point nor each other."""
    figure.draw_without_rendering()  # what stands around the plot decides where points are
    places = axes.transData.transform([(one.known, one.new) for one in points])
    half = 5 * figure.dpi / 72
    taken = [Bbox([[x - half, y - half], [x + half, y + half]]) for x, y in places]
    for one in named:
        label = None
        for x, y in _PLACES:
            if label:
                label.remove()
            label = axes.annotate(
                one.setting, (one.known, one.new), xytext=(x, y), textcoords="offset points",
                ha="left" if x > 0 else "right" if x < 0 else "center", va="center", fontsize=8, color=INK,
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4},
            )  # fmt: skip
            box = Text.get_window_extent(label).padded(1.5)  # without its line
            inside = axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
