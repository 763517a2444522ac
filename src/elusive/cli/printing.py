"""What verbs print when they are done."""

import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elusive.messages import visible
from elusive.runs.terminal import is_terminal, note, say

if TYPE_CHECKING:
    from elusive.corpus.documents import Document
    from elusive.evaluation.predictions import Metrics
    from elusive.storage import Location
    from elusive.training.stage import Training


def indented(line: str) -> None:
    """A line about what goes on, on standard error."""
    note(f"  {line}")


def documents_of(corpus: "Location") -> "Collection[Document]":
    """The documents of whatever can be read as a corpus; what reading made of them is noted."""
    from elusive.corpus.stage import documents_at

    documents, notes = documents_at(corpus)
    for line in notes:
        indented(line)
    return documents


def print_results(page: Path) -> dict[str, Any]:
    """Print the table of a run and its verdict; gives the page and the results next to it."""
    from elusive.reporting import read_results, results_table

    results = read_results(page.parent / "results.json")
    say("\n" + results_table(results, _columns()))
    settings = {"Dropout": results.dropout, "Clues": results.clues}
    if said := [f"{name}: {words}" for name, words in settings.items() if words]:
        say("\n" + "\n".join(said))
    verdict = results.verdict
    for line in (verdict.headline, verdict.advice, verdict.cost, *(f"Not done yet: {one}" for one in results.missing)):
        if line:
            say(f"\n{line}" if line == verdict.headline else line)
    for remark, pairs in results.verdict.differences.items():
        for pair in pairs:
            say(f"  {remark}: {pair}")
    say(f"\nPage: {page.resolve()}")
    return {"page": page.resolve(), "results": results}


def _columns() -> int:
    """The width of the terminal, or that of tables where there is none."""
    from elusive.reporting.tables import TABLE_COLUMNS

    return min(TABLE_COLUMNS, shutil.get_terminal_size().columns) if is_terminal(sys.stdout) else TABLE_COLUMNS


def print_markdown(text: str) -> None:
    """Markdown with its tables fitted to a terminal, or as it is in a file or a pipe."""
    if is_terminal(sys.stdout):
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(visible(text)))
    else:
        say(text)


def print_table(table: str, found: Any, output: Path | None, name: str) -> Any:
    """Print a table, and where the numbers behind it are kept, if they are; gives the numbers."""
    from elusive.runs.files import write_json
    from elusive.runs.typed_json import to_json

    say(table)
    if output:
        write_json(output / name, to_json(found))
        say(f"\n{output / name}")
    return found


def training_summary(trained: "Training") -> str:
    """What was trained on, in words: all of it, or it would say so."""
    together = f" in {trained.processes} processes" if trained.processes > 1 else ""
    return (
        f"{trained.texts:,} texts, {trained.tokens:,} tokens an epoch; {trained.tokens_trained:,} tokens trained on in "
        f"{trained.steps:,} steps{together}, {'packed' if trained.packed else 'padded'}; "
        f"loss {trained.loss}, {trained.seconds} s"
    )


def measures(metrics: "Metrics", known: "Metrics | None") -> str:
    """Exact match and F1 of each field, of all questions, and of those about what was known before training.

    Args:
        metrics: of the questions.
        known: of questions about what the model knew before, where they were evaluated.
    """
    rows = {**metrics.fields, "all": metrics} | ({"known": known} if known else {})
    return "\n".join(
        f"{field:12} EM {means.em:.3f}  F1 {means.f1:.3f}  {means.questions} questions" for field, means in rows.items()
    )
