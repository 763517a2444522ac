"""Numbers as text."""

from collections.abc import Callable, Iterable, Sequence

from elusive.augmentation.survival import Survival
from elusive.stats.estimates import Difference, Estimate


def score(value: float | None) -> str:
    """A share as three decimals without the zero, as tables in this field print it: .250."""
    if value is None:
        return "-"
    return f"{value:.3f}".replace("0.", ".", 1)


def signed(value: float | None) -> str:
    """A difference with its sign: +.031, -.010; .000 only where it is exactly zero."""
    if value is None:
        return "-"
    sign = "+" if value > 0 else "-" if value < 0 else ""
    return sign + score(abs(value))


def range_text(one: Estimate | Difference, number: Callable[[float | None], str] = score) -> str:
    """An interval as text, or what stands in its place."""
    return "[no interval]" if one.low is None else f"[{number(one.low)}, {number(one.high)}]"


def estimate_text(one: Estimate) -> str:
    """A mean with its interval: .250 [.200, .300]; a dash without a value."""
    return "-" if one.value is None else f"{score(one.value)} {range_text(one)}"


def difference_text(one: Difference) -> str:
    """A difference with its interval: +.031 [+.010, +.052]; a dash without a value."""
    return "-" if one.value is None else f"{signed(one.value)} {range_text(one, signed)}"


SEPARATED = "separated"
NOT_CORRECTED = "not after correction"
ONE_TRAINING = "one training each"
NOT_SEPARATED = "not separated"
REMARKS = {
    SEPARATED: "the interval covers how trainings differ, leaves zero out, and still does after correction for the "
    "number of comparisons in the table (Holm)",
    NOT_CORRECTED: "its interval leaves zero out, but among so many comparisons one may do so by chance",
    ONE_TRAINING: "the interval leaves zero out, but covers the choice of documents alone: each side was trained once, "
    "and another training may differ",
    NOT_SEPARATED: "the interval covers zero, which does not mean equal: it shows which differences remain possible",
}
"""What may be said of a difference, from most to least, and what that means."""


def remark(one: Difference) -> str:
    """What may be said of a difference: a key of `REMARKS`.

    Example:
        >>> remark(Difference(0.5, 0.25, 0.75, p_value=0.01, trainings=1))
        'one training each'
    """
    if one.separated:
        return SEPARATED
    if not one.leaves_zero_out:
        return NOT_SEPARATED
    return ONE_TRAINING if one.trained_once else NOT_CORRECTED


def change_text(one: Difference) -> str:
    """A difference with its interval and what may be said of it: +.031 [+.010, +.052] separated."""
    return "-" if one.value is None else f"{difference_text(one)} {remark(one)}"


def remarked_text(one: Difference) -> str:
    """A difference with its interval; only one that is not separated says so: -.010 [-.030, +.010], not separated."""
    return difference_text(one) + ("" if one.separated or one.value is None else f", {remark(one)}")


def sentence(text: str) -> str:
    """Words as the start of a sentence; the rest keeps its letters, unlike after `str.capitalize`."""
    return text[:1].upper() + text[1:]


def survival_cell(one: Survival | None) -> str:
    """How often a field's spans are intact, and with the head entity: .412 / .105; a dash where there are none."""
    if one is None:
        return "-"
    return score(one.intact) + (f" / {score(one.with_head)}" if one.with_head is not None else "")


def duration(seconds: float) -> str:
    """A time in its two largest units.

    Example:
        >>> duration(0.4), duration(47.6), duration(312), duration(7_500)
        ('0.4 s', '48 s', '5 min 12 s', '2 h 5 min')
    """
    if seconds < 1:
        return f"{seconds:.1f} s"
    total = round(seconds)
    hours, minutes, left = total // 3600, total // 60 % 60, total % 60
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def whole(number: float | None) -> str:
    """A count with commas: 1,234; a dash where there is none."""
    return "-" if number is None else f"{number:,.0f}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table.

    Example:
        >>> markdown_table(["arm", "EM"], [["a|b", ".250"]])
        ['| arm | EM |', '| --- | --- |', '| a\\\\|b | .250 |']
    """
    return [_markdown_row(head), "| --- " * len(head) + "|", *map(_markdown_row, rows)]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell(one) for one in cells) + " |"


def cell(text: str) -> str:
    """A text that is safe inside a Markdown table."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
