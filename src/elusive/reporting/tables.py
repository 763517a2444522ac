"""The results as tables, for a terminal and in Markdown."""

import itertools

from elusive.experiments.trials import UNTRAINED

from .clue_tables import recall_markdown
from .formatting import cell, estimate_text, markdown_row, range_text, score, separated_text, signed
from .results import Results

TABLE_COLUMNS = 120
"""Width that the command line's table keeps to."""


KNOWN_WIDTH = 8
"""Width of its column on people known before training."""


def results_table(results: Results) -> str:
    """The plain-text table that a command prints at its end: two lines an arm, at most 120 columns.

    Intervals stand beside the mean over all fields; those of each field are in results.md and on the page.
    """
    fields = _fields_that_fit(results) if results.evaluated else ()
    known = results.known
    left = max([len(arm) for arm in results.arms] + [3])
    widths = {field: max(len(field), 5) + 2 for field in fields}
    header = f"{'arm':<{left}}  " + (f"{'':<2}" if results.evaluated else "")
    header += "".join(f"{field:>{widths[field]}}" for field in fields)
    header += f"{'all':>7}  {'95% interval':<14}" if results.evaluated else ""
    header += (f"{'known':>{KNOWN_WIDTH}}" if known else "") + f"{'dropped':>9}{'steps':>8}"
    lines = [header.rstrip(), "-" * len(header)]
    for arm, row in results.arms.items():
        training = f"{score(row.mean_drop_rate):>9}{_whole(row.steps):>8}"
        if not results.evaluated:
            lines.append(f"{arm:<{left}}  {training}")
            continue
        for metric, label in (("em", "EM"), ("f1", "F1")):
            cells = "".join(f"{score(row.field_score(field, metric).value):>{widths[field]}}" for field in fields)
            overall = row.score(metric)
            whole = f"{score(overall.value):>7}  {range_text(overall):<14}" if overall else f"{'-':>7}  {'':<14}"
            whole += f"{score(known[arm].score(metric).value):>{KNOWN_WIDTH}}" if known else ""
            name, tail = (arm, training) if metric == "em" else ("", "")
            lines.append(f"{name:<{left}}  {label}{cells}{whole}{tail}".rstrip())
    return "\n".join(lines)


def results_markdown(results: Results) -> str:
    """The tables of a run as Markdown, with every interval."""
    said = results.verdict
    lines = [f"# {cell(results.title)}", "", said.headline, ""]
    for name, texts in (("Separated from zero at 95%", said.separated), ("Not separated", said.not_separated)):
        if texts:
            lines += [f"{name}:", "", *[f"- {cell(text)}" for text in texts], ""]
    lines += [cell(note) + "\n" for note in said.notes]
    for metric, name in (("em", "EM"), ("f1", "F1")):
        lines += _markdown_scores(results, metric, name)
    lines += _markdown_known(results) + _markdown_by_epoch(results)
    if results.clue_recall:
        lines += recall_markdown(results.clue_recall)
    lines += ["## Training", "", "| arm | mean drop rate | texts | steps | seconds |", "| --- " * 5 + "|"]
    for arm, row in results.arms.items():
        cells = [arm, score(row.mean_drop_rate), _whole(row.texts), _whole(row.steps), _whole(row.seconds)]
        lines.append(markdown_row(cells))
    if results.pairs:
        lines += ["", "## Paired differences in EM", ""]
        lines.append("| a minus b | field | difference | 95% interval | separated |")
        lines.append("| --- " * 5 + "|")
    for pair in results.pairs:
        cells = [f"{pair.a} minus {pair.b}", pair.field, signed(pair.value), range_text(pair, signed)]
        lines.append(markdown_row([*cells, "yes" if pair.separated else "no"]))
    return "\n".join(lines) + "\n"


def _fields_that_fit(results: Results) -> list[str]:
    """Fields whose columns leave the table within its width; "all" alone where there is but one field."""
    fields = results.fields if len(results.fields) > 1 else ()
    room = TABLE_COLUMNS - max(len(arm) for arm in results.arms) - 44 - (KNOWN_WIDTH if results.known else 0)
    widths = itertools.accumulate(max(len(field), 5) + 2 for field in fields)
    return [field for field, width in zip(fields, widths, strict=True) if width <= room]


def _whole(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _markdown_by_epoch(results: Results) -> list[str]:
    rows = {arm: row.by_epoch for arm, row in results.arms.items() if row.by_epoch}
    if not rows:
        return []
    epochs = [f"{one.epoch:g}" for one in next(iter(rows.values()))]
    lines = ["## EM after a number of epochs, in training", "", markdown_row(["arm", *epochs])]
    lines.append("| --- " * (len(epochs) + 1) + "|")
    lines += [markdown_row([arm, *[score(one.em) for one in row]]) for arm, row in rows.items()]
    return [*lines, ""]


def _markdown_known(results: Results) -> list[str]:
    known = results.known
    if not known:
        return []
    before = known[UNTRAINED]
    lines = ["## Known before training", ""]
    lines.append(f"{before.questions:,} questions about {before.documents:,} people. Lost: EM minus that before.")
    lines += ["", markdown_row(["arm", "EM", "F1", "lost", "95% interval", "separated"]), "| --- " * 6 + "|"]
    for arm, row in known.items():
        lost = ["-", "-", "-"]
        if paired := row.lost:
            lost = [signed(paired.value), range_text(paired, signed), separated_text(paired)]
        lines.append(markdown_row([arm, estimate_text(row.em), estimate_text(row.f1), *lost]))
    return [*lines, ""]


def _markdown_scores(results: Results, metric: str, name: str) -> list[str]:
    rows = {arm: (row, overall) for arm, row in results.arms.items() if (overall := row.score(metric))}
    if not rows:
        return []
    fields = results.fields if len(results.fields) > 1 else ()
    lines = [f"## {name}, with 95% intervals", "", markdown_row(["arm", *fields, "all"])]
    lines.append("| --- " * (len(fields) + 2) + "|")
    for arm, (row, overall) in rows.items():
        numbers = [*(row.field_score(field, metric) for field in fields), overall]
        lines.append(markdown_row([arm, *map(estimate_text, numbers)]))
    return [*lines, ""]
