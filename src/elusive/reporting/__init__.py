"""Tables, plots and the page of a run: reads every stage's files, writes `report/`."""

import dataclasses
from pathlib import Path

from elusive.config.run import Recipe, ReportSettings
from elusive.config.toml import dump_recipe, load_recipe
from elusive.runs.files import ProgressFunction, silent, write_text
from elusive.runs.folder import RunFolder
from elusive.runs.lock import locked

from .browsing import browse, sample
from .clues import cue_ranks, run_recall
from .collecting import collect
from .losses import loss_curves
from .results import Results, read_results, write_results
from .shown import questions_about, shown_documents
from .standing import standing_of
from .tables import results_markdown, results_table
from .tokens import field_distances, longest_rank, read_documents, scored_cue_field

__all__ = ["Results", "read_results", "results_markdown", "results_table", "write_report"]


def write_report(run_folder: str | Path, settings: ReportSettings, *, progress: ProgressFunction = silent) -> Path:
    """Write the report of a run, as far as that is done; an earlier report is replaced, file by file.

    Args:
        run_folder: a run whose corpus is written. What else is missing is named on the page and in results.json.
        settings: documents to show, and the field whose cue the rank bars look from.
        progress: called with (parts done, parts in all).

    Returns:
        `report/index.html`; results.json, results.md and plots/ are in the same folder.

    Raises:
        ElusiveError: if the folder is no run, files of a finished stage are missing (the message names the stage), or
            another command writes the report.
    """
    run = RunFolder.open(run_folder)
    # The run's own folder may be in use: a report can be written while models are still trained.
    with locked(run.report):
        return _write_report(run, settings, progress)


def _asks(run: RunFolder) -> bool:
    """Whether the corpus brings questions."""
    return run.questions.exists() and run.questions.stat().st_size > 0


def _write_report(run: RunFolder, settings: ReportSettings, progress: ProgressFunction) -> Path:
    # Plotting and templates load slowly; `results_table` needs neither.
    from . import page, plots
    from .page.links import links_of

    recipe = load_recipe(run.recipe, Recipe)
    documents = read_documents(run)
    progress(0, 4)
    standing = standing_of(run, recipe, asked=_asks(run))
    distances = field_distances(run, documents, recipe.score.head_fields)
    cue_field = settings.cue_field or scored_cue_field(run, distances)
    results = dataclasses.replace(
        collect(run, recipe, documents, distances),
        cue_ranks=cue_ranks(run, documents, cue_field, recipe),
        clue_recall=run_recall(run, documents, recipe, cue_field),
    )
    first, chosen = documents[: settings.documents], sample(documents, settings.browsed)
    asked = questions_about(run, standing, [document.id for document in (*first, *chosen)])
    content = page.PageContent(
        results=results,
        figures={},
        recipe_text=dump_recipe(recipe),
        shown=shown_documents(run, first, standing, asked),
        browsed=browse(run, chosen, recipe, standing, asked) if chosen else None,
        files=links_of(run, recipe),
    )
    progress(1, 4)
    figures = plots.draw(results, longest_rank(run, standing.texts), loss_curves(run, recipe))
    report = run.report
    plots.save(figures, report / "plots")
    progress(2, 4)
    text = page.render(dataclasses.replace(content, figures=figures))
    progress(3, 4)
    write_results(report / "results.json", results)
    write_text(report / "results.md", results_markdown(results))
    write_text(report / "index.html", text)
    progress(4, 4)
    return report / "index.html"
