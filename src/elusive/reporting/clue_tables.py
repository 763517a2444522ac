"""Clue recall, and the choice of layers and heads by it, as text."""

import json
from collections.abc import Mapping
from typing import Any

from elusive.clues.recall import RANKED

from .formatting import markdown_row, range_text, score, signed

NAMES = {"large": "large", "small": "small", "contrast": "large minus small"}
"""What tokens are ranked by, in words."""


def recall_table(found: Mapping[str, Any]) -> str:
    """The table that `elusive recall` prints."""
    rows = found["rows"]
    width = max(len(name) for name in ("cue", *rows))
    lines = [
        f"Share of the {', '.join(found['head_fields'])} tokens among the {found['k']} best ranked, 95% interval",
        "",
    ]
    lines.append(
        f"{'cue':<{width}}  {'documents':>9}" + "".join(f"  {NAMES[name]:<17}" for name in RANKED) + f"  {'chance':>6}"
    )
    lines.append("-" * len(lines[-1]))
    for name, row in rows.items():
        cells = "".join(f"  {_estimate(row[one]):<17}" for one in RANKED)
        lines.append(f"{name:<{width}}  {row['documents']:>9,}{cells}  {score(row['chance']['value']):>6}")
    lines += ["", f"Share of the {found['k']} best ranked that are {', '.join(found['head_fields'])} tokens"]
    for name, row in rows.items():
        cells = "".join(f"  {score(row[one]['head_share']):<17}" for one in RANKED)
        lines.append(f"{name:<{width}}  {'':>9}{cells}  {score(row['chance']['head_share']):>6}")
    lines += ["", "Paired differences of the first table, 95% interval"]
    for name, row in rows.items():
        for pair, one in row["differences"].items():
            lines.append(f"{name:<{width}}  {pair.replace('-', ' minus '):<20}  {_difference(one)}")
    return "\n".join(lines)


def recall_markdown(found: Mapping[str, Any]) -> list[str]:
    """The same as lines of Markdown."""
    lines = [f"## Clue recall@{found['k']}, with 95% intervals", ""]
    lines.append(f"Share of the {', '.join(found['head_fields'])} tokens among the {found['k']} best ranked at a cue.")
    lines += ["", markdown_row(["cue", "documents", *NAMES.values(), "chance"]), "| --- " * 6 + "|"]
    for name, row in found["rows"].items():
        cells = [_estimate(row[one]) for one in RANKED]
        lines.append(markdown_row([name, f"{row['documents']:,}", *cells, score(row["chance"]["value"])]))
    lines += ["", "| cue | a minus b | difference, 95% interval |", "| --- " * 3 + "|"]
    for name, row in found["rows"].items():
        for pair, one in row["differences"].items():
            lines.append(markdown_row([name, pair.replace("-", " minus "), _difference(one)]))
    return [*lines, ""]


def heads_table(found: Mapping[str, Any], ranked: int = 6) -> str:
    """What `elusive heads` prints: what was chosen on one half, what it gives on the other, and lines for a recipe."""
    chosen_on, shown_on = found["documents"]
    lines = [f"Clue recall@{found['k']} at cues: chosen on {chosen_on:,} documents, shown on {shown_on:,} others"]
    for part, name in (("own", "own attention of the large model"), ("contrast", "contrast, large minus small")):
        one = found[part]
        sides = [f"{one[side]['name']} of the {side} model" for side in ("large", "small") if side in one]
        lines += ["", name, f"  chosen: {', '.join(sides)}"]
        lines.append(f"  {'':<10}  {'first half':>10}  second half")
        for label, row in (("chosen", one), ("all heads", one["all_heads"])):
            lines.append(f"  {label:<10}  {score(row['first_half']):>10}  {_estimate(row['second_half'])}")
        lines.append(f"  chosen minus all heads, second half: {_difference(one['difference'])}")
        for key, side in (("ranked", "large"), ("ranked_small", "small")):
            best = (f"{row['name']} {score(row['first_half'])}" for row in one.get(key, ())[:ranked])
            lines += [f"  best alone of the {side} model, first half: {', '.join(best)}"] if key in one else []
        lines += ["  for a recipe:", *(f"    {line}" for line in _stanza(one).splitlines())]
    return "\n".join(lines)


def _stanza(one: Mapping[str, Any]) -> str:
    settings = {
        f"{side}_{kind}": one[side][kind]
        for side in ("large", "small")
        for kind in ("layers", "heads")
        if side in one and one[side][kind]
    }
    if not settings:
        return "# nothing to set: all heads are best"
    return "\n".join(["[models]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())])


def _estimate(numbers: Mapping[str, Any]) -> str:
    return "-" if numbers["value"] is None else f"{score(numbers['value'])} {range_text(numbers)}"


def _difference(pair: Mapping[str, Any]) -> str:
    if pair["difference"] is None:
        return "-"
    separated = "separated" if pair["separated"] else "not separated"
    return f"{signed(pair['difference'])} {range_text(pair, signed)} {separated}"
