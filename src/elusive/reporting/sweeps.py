"""The tables of a sweep as Markdown: every trial, and what each way of choosing settings gives."""

from typing import Any

from ..choosing import WAYS, difference, estimate, outcome_words, pooled
from .text import markdown_row, range_text, score, signed


def sweep_markdown(swept: Any, metric: str) -> str:
    """Every trial of a sweep, then each arm's settings and result by each way of choosing, with paired differences.

    Args:
        swept: what `sweep.sweep` returns.
        metric: what was chosen by, em or f1.
    """
    lines = ["# Sweep", "", "## Trials", ""]
    lines += [markdown_row(["arm", "settings", "EM", "F1"]), "| --- " * 4 + "|"]
    for outcome in sorted(swept.outcomes, key=lambda one: (one.arm, -pooled(one, metric))):
        numbers = [score(pooled(outcome, name)) for name in ("em", "f1")]
        lines.append(markdown_row([outcome.arm, outcome_words(outcome), *numbers]))
    for way, chosen in swept.choices(metric).items():
        lines += ["", f"## Settings: {WAYS[way.split(':')[0]]}", ""]
        lines += [markdown_row(["arm", "settings", "EM", "F1"]), "| --- " * 4 + "|"]
        for arm, choice in chosen.items():
            estimates = [estimate(choice, [swept.asked], name) for name in ("em", "f1")]
            cells = [f"{score(one['value'])} {range_text(one)}" for one in estimates]
            lines.append(markdown_row([arm, choice.settings, *cells]))
        lines += ["", markdown_row(["a minus b", f"difference in {metric.upper()}", ""]), "| --- " * 3 + "|"]
        arms = list(chosen)
        for place, a in enumerate(arms):
            for b in arms[:place]:
                pair = difference(chosen[a], chosen[b], [swept.asked], metric)
                text = f"{signed(pair['difference'])} {range_text(pair, signed)}"
                lines.append(markdown_row([f"{a} minus {b}", text, "" if pair["separated"] else "not separated"]))
    return "\n".join(lines) + "\n"
