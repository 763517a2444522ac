"""Clue recall, and the choice of layers and heads by it, as text."""

import json
from typing import TYPE_CHECKING

from elusive.clues.heads import ChosenHeads, HeadSearch
from elusive.clues.recall import ALL_CUES, RANKED, RecallTable

from .formatting import change_text, estimate_text, markdown_table, score, whole

if TYPE_CHECKING:  # it needs torch, and reports do not
    from elusive.clues.pairs import PairRecall

NAMES = {"large": "large", "small": "small", "contrast": "large minus small"}
"""What tokens are ranked by, in words."""


def pair_recall_table(found: "PairRecall") -> str:
    """What `elusive recall` prints: the table, and what else its figures depend on."""
    lines = [f"{one.model}: {one.sink}." for one in found.models.values() if one.sink]
    if found.contrast_signal == "ratio":
        lines.append(f"{NAMES['contrast']}: the difference of the logarithms.")
    if found.cue_fusion != "mean":
        lines.append(f"{ALL_CUES}: rankings of single sentences, fused by {found.cue_fusion}; chance is fused alike.")
    return "\n".join([recall_table(found), *([""] if lines else []), *lines])


def recall_table(found: RecallTable) -> str:
    """Clue recall, the share of the best ranked that are head tokens, and paired differences."""
    rows = found.rows
    width = max(len(name) for name in ("cue", *rows))
    lines = [
        f"Share of the {', '.join(found.head_fields)} tokens among the {found.k} best ranked, 95% interval",
        "",
    ]
    lines.append(
        f"{'cue':<{width}}  {'documents':>9}" + "".join(f"  {NAMES[name]:<17}" for name in RANKED) + f"  {'chance':>6}"
    )
    lines.append("-" * len(lines[-1]))
    for name, row in rows.items():
        cells = "".join(f"  {estimate_text(row.by(one)):<17}" for one in RANKED)
        lines.append(f"{name:<{width}}  {row.documents:>9,}{cells}  {score(row.chance.value):>6}")
    lines += ["", f"Share of the {found.k} best ranked that are {', '.join(found.head_fields)} tokens"]
    for name, row in rows.items():
        cells = "".join(f"  {score(row.by(one).head_share):<17}" for one in RANKED)
        lines.append(f"{name:<{width}}  {'':>9}{cells}  {score(row.chance.head_share):>6}")
    lines += ["", "Paired differences of the first table, 95% interval"]
    for name, row in rows.items():
        for pair, one in row.differences.items():
            lines.append(f"{name:<{width}}  {pair.replace('-', ' minus '):<20}  {change_text(one)}")
    return "\n".join(lines)


def recall_markdown(found: RecallTable) -> list[str]:
    """The same as lines of Markdown."""
    lines = [f"## Clue recall@{found.k}, with 95% intervals", ""]
    lines.append(f"Share of the {', '.join(found.head_fields)} tokens among the {found.k} best ranked at a cue.")
    recalls = [
        [name, whole(row.documents), *(estimate_text(row.by(one)) for one in RANKED), score(row.chance.value)]
        for name, row in found.rows.items()
    ]
    differences = [
        [name, pair.replace("-", " minus "), change_text(one)]
        for name, row in found.rows.items()
        for pair, one in row.differences.items()
    ]
    lines += ["", *markdown_table(["cue", "documents", *NAMES.values(), "chance"], recalls)]
    lines += ["", *markdown_table(["cue", "a minus b", "difference, 95% interval"], differences)]
    return [*lines, ""]


def heads_table(found: HeadSearch, ranked: int = 6) -> str:
    """What `elusive heads` prints: what was chosen on one half, what it gives on the other, and lines for a recipe."""
    chosen_on, shown_on = found.documents
    lines = [f"Clue recall@{found.k} at cues: chosen on {chosen_on:,} documents, shown on {shown_on:,} others"]
    parts = ((found.own, "own attention of the large model"), (found.contrast, "contrast, large minus small"))
    for one, name in parts:
        sides = [f"{choice.name} of the {side} model" for side, choice in one.models.items()]
        lines += ["", name, f"  chosen: {', '.join(sides)}"]
        lines.append(f"  {'':<10}  {'first half':>10}  second half")
        for label, row in (("chosen", one), ("all heads", one.all_heads)):
            lines.append(f"  {label:<10}  {score(row.first_half):>10}  {estimate_text(row.second_half)}")
        lines.append(f"  chosen minus all heads, second half: {change_text(one.difference)}")
        for side, alone in (("large", one.ranked), ("small", one.ranked_small)):
            best = ", ".join(f"{row.name} {score(row.first_half)}" for row in alone[:ranked])
            lines += [f"  best alone of the {side} model, first half: {best}"] if alone else []
        lines += ["  for a recipe:", *(f"    {line}" for line in _stanza(one).splitlines())]
    return "\n".join(lines)


def _stanza(one: ChosenHeads) -> str:
    lines = []
    for side, choice in one.models.items():
        chosen = {"layers": choice.layers, "heads": choice.heads}
        settings = [f"{key} = {json.dumps(list(values))}" for key, values in chosen.items() if values]
        lines += [f"[models.{side}]", *settings] if settings else []
    return "\n".join(lines) or "# nothing to set: all heads are best"
