"""A plan as a table for people, with what it assumes."""

import math
import textwrap
from collections.abc import Sequence

from .costs import H100, LAYER_SECONDS, Device
from .plan import PlannedStage, hours, together

COLUMNS = 80
"""The widest line of a plan."""

_NAME = 30


def plan_text(stages: Sequence[PlannedStage], device: Device | None = H100) -> str:
    """A plan as a table, with what it assumes, at most 80 columns wide.

    Args:
        stages: the stages of the run.
        device: the device that its hours are for (None: no hours).
    """
    return f"{plan_table(stages, device)}\n\n{assumptions(device)}\n"


def plan_table(stages: Sequence[PlannedStage], device: Device | None = H100) -> str:
    """The table alone; the last row is the sum of the others."""
    head = _row("stage", "times", "tokens", "compute", "peak GB", "device-hours" if device else "")
    lines = [*head, "-" * COLUMNS]
    for stage in stages:
        numbers = (stage.tokens, stage.flops, stage.peak_bytes)
        lines += _row(stage.name, f"{stage.times:,}", *_cells(*numbers, hours([stage], device)))
        lines += textwrap.wrap(stage.note, COLUMNS, initial_indent="    ", subsequent_indent="    ")
    tokens, flops, peak = together(stages)
    lines += ["-" * COLUMNS, *_row("together", "", *_cells(tokens, flops, peak, hours(stages, device)))]
    if device and peak > device.memory_bytes:
        lines += textwrap.wrap(_too_large(peak, device), COLUMNS)
    return "\n".join(line.rstrip() for line in lines)


def assumptions(device: Device | None = H100) -> str:
    """The meaning of a plan's numbers, and the assumptions behind them."""
    words = (
        "Tokens, compute and peak memory of one time (if trials differ, mean tokens and compute, largest memory); "
        "all are estimates, see docs/planning.md. "
    )
    if device:
        layer = {kind: f"{seconds * 1000:g}" for kind, seconds in LAYER_SECONDS.items()}
        words += (
            f"Hours are of all times on one device, as if it held everything: {device.name}, "
            f"{_short(device.flops_a_second)}FLOP/s, {device.memory_bytes / 1e9:g} GB. Assumed, not measured: "
            f"{device.utilisation:.0%} of its speed, and at least {layer['none']} ms for each pass through a layer "
            f"({layer['8bit']} with 8-bit weights, {layer['4bit']} with 4-bit ones). Loading is left out."
        )
    else:
        words += "Hours are left out: models this small leave a GPU idle most of the time."
    return "\n".join(textwrap.wrap(words, COLUMNS))


def _cells(tokens: float, flops: float, peak: int, taken: float | None) -> tuple[str, ...]:
    return _short(tokens), f"{_short(flops)}FLOP", gigabytes(peak), "" if taken is None else hours_text(taken)


def _row(name: str, times: str, tokens: str, compute: str, peak: str, hours: str) -> list[str]:
    """A line; a long name has one of its own before it, or several."""
    before = textwrap.wrap(name, COLUMNS, subsequent_indent="    ") if len(name) > _NAME else []
    numbers = f"{times:>7}{tokens:>9}{compute:>12}{peak:>9}{hours:>13}"
    return [*before, f"{'' if before else name:<{_NAME}}{numbers}"]


def _too_large(peak: int, device: Device) -> str:
    return (
        f"Peaks above {device.memory_bytes / 1e9:g} GB do not fit one {device.name}: up to "
        f"{math.ceil(peak / device.memory_bytes)} are needed, with the weights spread over them. Training takes less "
        "with train.gradient_checkpointing or train.gradient_accumulation_steps."
    )


def _short(value: float) -> str:
    """Three digits and a prefix, "1.2 E"; the unit follows."""
    power = 0
    while value >= 999.5 and power < len(_PREFIXES) - 1:
        value, power = value / 1000, power + 1
    digits = f"{value:.1f}" if 0 < value < 99.95 and power else f"{value:.0f}"
    return f"{digits} {_PREFIXES[power]}"


_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def gigabytes(count: int) -> str:
    """Bytes in gigabytes, in three digits."""
    if count < 0.995e9:
        return f"{count / 1e9:.2f}"
    return f"{count / 1e9:,.1f}" if count < 99.95e9 else f"{count / 1e9:,.0f}"


def hours_text(hours: float) -> str:
    """Hours in three digits."""
    return "<0.01" if hours < 0.005 else f"{hours:,.2f}" if hours < 10 else f"{hours:,.0f}"
