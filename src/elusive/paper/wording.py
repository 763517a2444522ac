"""The paper's tables beside ours as Markdown, which is also what a terminal shows."""

from collections.abc import Sequence

from elusive.augmentation.arms import ARMS
from elusive.corpus.wording import counted
from elusive.experiments.trials import UNTRAINED
from elusive.reporting.formatting import cell, estimate_text, markdown_table, remarked_text, score, signed, whole

from .comparison import Attempts, Block, Cell, DropRates, KnownEM, PaperTable, QuestionSets, RivalDifference

CELLS = (
    "A cell is the paper's number / ours with its 95% interval, and the difference. The intervals cover cohorts, their "
    "documents and their trainings (Student's t; with a single training an arm, documents alone). *Not separated*: the "
    "interval covers 0. *Not after correction*: it leaves 0 out, but not after correction for the number of "
    "comparisons in the table (Holm). Paired differences without a remark are separated."
)
"""How the tables are read."""


def arm_words(arm: str) -> str:
    """An arm as the tables name it, or the model before training."""
    return "before training" if arm == UNTRAINED else ARMS[arm].words


def table_markdown(numbers: PaperTable) -> str:
    """One table of the paper beside ours.

    Args:
        numbers: from `tables.table_numbers`.
    """
    lines = [f"## Table {numbers.table}. {numbers.title}", ""]
    for block in numbers.blocks:
        lines += _heading(block)
        lines += _by_epochs(block) if numbers.table == 5 else _scores(block)
        lines += [*_pairs(block.pairs), *_reading(block.pairs), ""]
    return "\n".join(lines)


def _heading(block: Block) -> list[str]:
    beside = f"beside the paper's {block.published}" if block.published else "the paper has no row for it"
    cohorts = f" in {block.cohorts} cohorts of their own" if block.cohorts > 1 else ""
    trainings = f"{block.seeds} training{'s' if block.seeds > 1 else ''} of each arm"
    return [
        f"### {cell(block.model)}, {cell(beside)}",
        "",
        f"Settings: {cell(block.way)}. {block.documents:,} documents{cohorts}, {trainings}, {block.budget}. "
        f"Dropout, where a row says nothing else: {cell(block.dropout)}.",
        "",
    ]


def _scores(block: Block) -> list[str]:
    rows = block.arm_rows
    columns = list(rows[0].cells)
    known, dropped = any(row.known for row in rows), any(row.dropped for row in rows)
    head = ["arm", *(name.replace("_", " ").replace("em", "EM").replace("f1", "F1") for name in columns)]
    head += ["all EM"] if columns[0] != "em" else []
    head += ["known EM"] if known else []
    head += ["dropped, of the name"] if dropped else []
    table = []
    for row in rows:
        cells = [arm_words(row.arm), *(_cell(row.cells[name]) for name in columns)]
        cells += [estimate_text(row.all)] if columns[0] != "em" else []
        cells += [known_words(row.known)] if known else []
        cells += [_dropped(row.dropped)] if dropped else []
        paper = f"; paper: {row.paper_settings}" if row.paper_settings else ""
        table.append([*cells, row.settings + paper])
    lines = markdown_table([*head, "settings"], table)
    if block.distances is not None:
        away = ", ".join(f"{field} {tokens:.1f}" for field, tokens in block.distances.items())
        lines += ["", f"Mean distance from the name in tokens: {cell(away)}."]
    return [*lines, ""]


def _cell(one: Cell) -> str:
    """Paper's number, ours, its interval, the difference: .61 / .12 [.10, .14], -.49."""
    if one.paper is None:
        return f"- / {estimate_text(one.ours)}"
    return f"{score(one.paper)} / {estimate_text(one.ours)}, {signed(one.minus)}"


def known_words(known: KnownEM | None) -> str:
    if known is None:
        return "-"
    return score(known.em) + (f", {remarked_text(known.lost)}" if known.lost else "")


def _dropped(rates: DropRates | None) -> str:
    """Share of tokens dropped, of all and of the head entity."""
    return "-" if rates is None else f"{score(rates.all)}, {score(rates.head)}"


def _by_epochs(block: Block) -> list[str]:
    head = ["arm", "epochs", "steps", "tokens", "seconds", "company EM", "company F1", "all EM"]
    table = []
    for row in block.epoch_rows:
        name = ("paper: " if row.paper else "") + arm_words(row.arm)
        cells = [name, f"{row.epoch:.3g}", *map(whole, (row.steps, row.tokens, row.seconds))]
        cells += [estimate_text(one) if one.low is not None else score(one.value) for one in row.cells.values()]
        table.append([*cells, estimate_text(row.all) if row.all else "-"])
    return [*markdown_table(head, table), ""]


def _pairs(pairs: Sequence[RivalDifference]) -> list[str]:
    if not pairs:
        return []
    groups = list(dict.fromkeys(pair.over for pair in pairs))
    head = ["EM, paired differences", *groups]
    table = []
    for names in dict.fromkeys((pair.a, pair.b) for pair in pairs):
        found = {pair.over: pair for pair in pairs if (pair.a, pair.b) == names}
        label = f"{arm_words(names[0])} minus {arm_words(names[1])}"
        table.append([label, *(remarked_text(found[over]) for over in groups)])
    return markdown_table(head, table)


def _reading(pairs: Sequence[RivalDifference]) -> list[str]:
    """For each of the paper's arms where its claim, that it is above the others, holds here and where it does not."""
    lines = []
    for ours in dict.fromkeys(pair.a for pair in pairs):
        groups: dict[str, list[str]] = {"holds against": [], "is not shown against": [], "is turned round against": []}
        for pair in pairs:
            if pair.a == ours and pair.over == "all questions":
                verdict = 1 if not pair.separated else 0 if (pair.value or 0.0) > 0 else 2
                groups[list(groups)[verdict]].append(arm_words(pair.b))
        said = "; ".join(f"{words} {', '.join(arms)}" for words, arms in groups.items() if arms)
        lines += ["", f"The claim that {arm_words(ours)} is above the others, over all questions: {said}."]
    return lines


def attempts_markdown(numbers: Attempts) -> str:
    """What was tried in addition to the tables.

    Args:
        numbers: from `tables.attempts_numbers`.
    """
    arms = ("plain", "random-matched", "attention", "contrast-cues")
    head = ["attempt", *(arm_words(arm) for arm in arms), "contrast minus random", "contrast minus attention"]
    head += ["known EM after contrast, lost"]
    table = []
    borrowed = False
    for row in numbers.rows:
        cells = [row.attempt]
        for arm in arms:
            one = row.em.get(arm)
            borrowed = borrowed or bool(one and not one.own)
            cells.append("-" if one is None else estimate_text(one) + ("" if one.own else " *"))
        cells += [remarked_text(row.pairs[rival]) for rival in ("random-matched", "attention")]
        table.append([*cells, known_words(row.known)])
    lines = [f"## {numbers.title}", "", *markdown_table(head, table)]
    if borrowed:
        lines += ["", "\\* the same training as in the first row, which the attempt does not change."]
    return "\n".join([*lines, ""])


def question_sets_markdown(numbers: QuestionSets) -> str:
    """Whether it matters that cues stand at the questions that are asked.

    Args:
        numbers: from `question_sets.question_sets_numbers`.
    """
    head = ["arm, EM", "cues at the questions that are asked", "cues at the other half", "difference"]
    table = [
        [arm_words(row.arm), estimate_text(row.same), estimate_text(row.disjoint), remarked_text(row.difference)]
        for row in numbers.rows
    ]
    about = (
        f"{numbers.questions:,} questions of {counted(numbers.cohorts, 'cohort')}, in two halves. Each half is asked "
        "of a model with cues at that half, and of one with cues at the other."
    )
    return "\n".join(["## Cues at the questions that are asked", "", about, "", *markdown_table(head, table), ""])
