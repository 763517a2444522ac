"""The results as tables, for a terminal and in Markdown."""

import itertools

from elusive.experiments.trials import UNTRAINED

from .clue_tables import recall_markdown
from .formatting import (
    REMARKS,
    cell,
    estimate_text,
    markdown_table,
    range_text,
    remark,
    score,
    sentence,
    signed,
    survival_cell,
    whole,
)
from .results import ArmDifference, Results

TABLE_COLUMNS = 120
"""Widest table of the command line; a narrower terminal gets a narrower one."""


KNOWN_WIDTH = 8
"""Width of its column on what was known before training."""


_OTHER_COLUMNS = 44
"""Width of the columns that it always has, beside the arm's name."""


_SHORTEST_NAME = 12


def results_table(results: Results, columns: int = TABLE_COLUMNS) -> str:
    """The plain-text table that a command prints at its end: two lines an arm.

    Intervals stand beside the mean over all fields; those of each field are in results.md and on the page.

    Args:
        results: of a run.
        columns: its width; what does not fit is left out, far fields first, and long names are cut.
    """
    known = results.known
    left = max([len(arm) for arm in results.arms] + [3])
    left = max(_SHORTEST_NAME, min(left, columns - _OTHER_COLUMNS - (KNOWN_WIDTH if known else 0)))
    fields = _fields_that_fit(results, columns - left) if results.evaluated else ()
    widths = {field: max(len(field), 5) + 2 for field in fields}
    header = f"{'arm':<{left}}  " + (f"{'':<2}" if results.evaluated else "")
    header += "".join(f"{field:>{widths[field]}}" for field in fields)
    header += f"{'all':>7}  {'95% interval':<14}" if results.evaluated else ""
    header += (f"{'known':>{KNOWN_WIDTH}}" if known else "") + f"{'dropped':>9}{'steps':>8}"
    lines = [header.rstrip(), "-" * len(header)]
    for arm, row in results.arms.items():
        training = f"{score(row.mean_drop_rate):>9}{whole(row.steps):>8}"
        if not results.evaluated:
            lines.append(f"{shortened_name(arm, left):<{left}}  {training}")
            continue
        for metric, label in (("em", "EM"), ("f1", "F1")):
            cells = "".join(f"{score(row.field_score(field, metric).value):>{widths[field]}}" for field in fields)
            overall = row.score(metric)
            cells += f"{score(overall.value):>7}  {range_text(overall):<14}" if overall else f"{'-':>7}  {'':<14}"
            cells += f"{score(known[arm].score(metric).value):>{KNOWN_WIDTH}}" if known else ""
            name, tail = (shortened_name(arm, left), training) if metric == "em" else ("", "")
            lines.append(f"{name:<{left}}  {label}{cells}{tail}".rstrip())
    return "\n".join(lines)


def results_markdown(results: Results) -> str:
    """The tables of a run as Markdown, with every interval."""
    said = results.verdict
    lines = [f"# {cell(results.title)}", "", said.headline, ""]
    for name, texts in said.differences.items():
        lines += [f"{sentence(name)} ({REMARKS[name]}):", "", *[f"- {cell(text)}" for text in texts], ""]
    lines += [cell(note) + "\n" for note in said.notes]
    lines += [f"Question sets: {cell(results.question_sets)}.\n"] if results.question_sets else []
    lines += [f"Each prompt shows {cell(results.examples)}.\n"] if results.examples else []
    lines += [f"Exact match and F1: {cell(results.metric)}.\n"] if results.metric else []
    for metric, name in (("em", "EM"), ("f1", "F1")):
        lines += _markdown_scores(results, metric, name)
    lines += _markdown_known(results) + _markdown_tasks(results) + _markdown_by_epoch(results)
    if results.clue_recall:
        lines += recall_markdown(results.clue_recall)
    training = [
        [arm, score(row.mean_drop_rate), *map(whole, (row.texts, row.steps, row.seconds))]
        for arm, row in results.arms.items()
    ]
    lines += ["## Training", ""]
    lines += [f"Dropout: {cell(results.dropout)}.", ""] if results.dropout else []
    lines += [f"Clues: {cell(results.clues)}.", ""] if results.clues else []
    lines += markdown_table(["arm", "mean drop rate", "texts", "steps", "seconds"], training)
    lines += _markdown_survival(results)
    if results.pairs:
        head = ["a minus b", "field", "difference", "95% interval", "at 95%"]
        lines += ["", "## Paired differences in EM", "", *markdown_table(head, map(_pair_cells, results.pairs))]
    return "\n".join(lines) + "\n"


def _pair_cells(pair: ArmDifference) -> list[str]:
    cells = [f"{pair.a} minus {pair.b}", pair.field, signed(pair.value), range_text(pair, signed)]
    return [*cells, remark(pair)]


def shortened_name(name: str, width: int) -> str:
    """A name that is not wider than its column."""
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _fields_that_fit(results: Results, columns: int) -> list[str]:
    """Fields whose columns fit beside the others, without the arm's; "all" alone where there is but one field."""
    fields = results.fields if len(results.fields) > 1 else ()
    room = columns - _OTHER_COLUMNS - (KNOWN_WIDTH if results.known else 0)
    widths = itertools.accumulate(max(len(field), 5) + 2 for field in fields)
    return [field for field, width in zip(fields, widths, strict=True) if width <= room]


def _markdown_by_epoch(results: Results) -> list[str]:
    rows = {arm: row.by_epoch for arm, row in results.arms.items() if row.by_epoch}
    if not rows:
        return []
    epochs = [f"{one.epoch:g}" for one in next(iter(rows.values()))]
    cells = [[arm, *(score(one.em) for one in row)] for arm, row in rows.items()]
    return ["## EM after a number of epochs, in training", "", *markdown_table(["arm", *epochs], cells), ""]


def _markdown_survival(results: Results) -> list[str]:
    found = results.survival
    if not found:
        return []
    lines = ["", "## What the copies still state", ""]
    lines += [
        "Share of the copies in which a span keeps all its tokens / and a mention of the head entity too.",
        "",
    ]
    fields = list(dict.fromkeys(field for of_arm in found.values() for field in of_arm))
    cells = [[arm, *(survival_cell(of_arm.get(field)) for field in fields)] for arm, of_arm in found.items()]
    return [*lines, *markdown_table(["arm", *fields], cells)]


def _markdown_known(results: Results) -> list[str]:
    known = results.known
    if not known:
        return []
    before = known[UNTRAINED]
    lines = ["## Known before training", ""]
    lines.append(f"{before.asked}. Lost: EM minus that before.")
    cells = []
    for arm, row in known.items():
        lost = ["-", "-", "-"]
        if paired := row.lost:
            lost = [signed(paired.value), range_text(paired, signed), remark(paired)]
        cells.append([arm, estimate_text(row.em), estimate_text(row.f1), *lost])
    head = ["arm", "EM", "F1", "lost", "95% interval", "at 95%"]
    return [*lines, "", *markdown_table(head, cells), ""]


def _markdown_tasks(results: Results) -> list[str]:
    if not (tasks := results.tasks):
        return []
    cells = [[arm, *(score(row.tasks[task]) for task in tasks)] for arm, row in results.arms.items() if row.tasks]
    return ["## Tasks of lm-evaluation-harness", "", *markdown_table(["arm", *map(cell, tasks)], cells), ""]


def _markdown_scores(results: Results, metric: str, name: str) -> list[str]:
    rows = {arm: (row, overall) for arm, row in results.arms.items() if (overall := row.score(metric))}
    if not rows:
        return []
    fields = results.fields if len(results.fields) > 1 else ()
    cells = [
        [arm, *(estimate_text(row.field_score(field, metric)) for field in fields), estimate_text(overall)]
        for arm, (row, overall) in rows.items()
    ]
    return [f"## {name}, with 95% intervals", "", *markdown_table(["arm", *fields, "all"], cells), ""]
