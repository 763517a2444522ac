"""Learn a folder of documents: questions about it, a recipe that follows from it, the run, and what it gave."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elusive.config.corpus import CorpusSettings
from elusive.config.learn import LearnQuestionSettings, LearnSettings
from elusive.config.run import Recipe
from elusive.config.toml import dump_recipe, load_recipe, to_table
from elusive.corpus.documents import load_corpus
from elusive.corpus.question_sets import CUE_QUESTIONS
from elusive.corpus.questions import read_questions
from elusive.corpus.stage import summary_lines
from elusive.pipeline import run
from elusive.questioning.stage import READ, check_writer, identity_of, make_questions
from elusive.questioning.summary import QuestionsMade
from elusive.reporting.results import read_results
from elusive.runs.files import write_text
from elusive.runs.progress import shown
from elusive.runs.stage import Stage
from elusive.runs.terminal import note

from .choices import chosen_recipe, writer_of
from .gain import gain_in_words

QUESTIONS, RECIPE, RUN = "questions", "recipe.toml", "run"
"""What the folder holds: the questions, the recipe that was written, and the run of it."""


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        page: the report.
        recipe: what can be run again, with changes, by `elusive run`.
        gain: what was gained and what it cost, in words.
    """

    page: Path
    recipe: Path
    gain: str


def learn(
    documents: CorpusSettings,
    settings: LearnSettings,
    questions: LearnQuestionSettings,
    folder: str | Path,
    *,
    announce: Callable[[str], None] = note,
) -> Learned:
    """Learn documents, and measure it; what the folder holds is not done again.

    Args:
        documents: the source, and how it is read.
        settings: the model, and how long.
        questions: who writes them, and how they are checked.
        folder: for the questions, the recipe and the run.
        announce: told of each step, in words.

    Returns:
        The report, the recipe, and the gain in words.

    Raises:
        ElusiveError: if the documents or a model cannot be used, no question passes, or the folder holds results of
            other settings.
    """
    folder = Path(folder)
    writer = writer_of(settings, questions)
    check_writer(writer)
    identity = {"learn": to_table(settings), "questions": identity_of(writer), "source": documents.source}
    with Stage(folder, identity, beside=(QUESTIONS, RUN)) as stage:
        made = _questions(documents, settings, writer, folder / QUESTIONS, announce)
        if not (folder / RECIPE).exists():
            _write_recipe(settings, documents, folder, announce)
        page = run(load_recipe(folder / RECIPE, Recipe), announce=announce)
        gain = gain_in_words(read_results(page.parent / "results.json"), made, documents.source)
        if not stage.done:
            stage.finish({"gain": gain})
    return Learned(page, folder / RECIPE, gain)


def _questions(
    documents: CorpusSettings,
    settings: LearnSettings,
    writer: LearnQuestionSettings,
    folder: Path,
    announce: Callable[[str], None],
) -> QuestionsMade:
    name = "as cloze statements" if writer.engine == "cloze" else f"by {writer.model}"
    announce(f"questions about {documents.source}, written {name}")
    with shown(f"questions {name}") as progress:
        made = make_questions(documents, writer, folder, tokenizer=settings.model, progress=progress)
    for line in (*summary_lines(folder / READ), *made.table().splitlines(), *made.lines(writer)):
        announce(f"    {line}")
    return made


def _write_recipe(
    settings: LearnSettings, documents: CorpusSettings, folder: Path, announce: Callable[[str], None]
) -> None:
    source = folder / QUESTIONS
    choice = chosen_recipe(
        settings,
        str(source),
        load_corpus(source),
        read_questions(source / CUE_QUESTIONS),
        output=str(folder / RUN),
        title=f"{settings.model} learns {documents.source}",
    )
    announce(f"recipe: {folder / RECIPE}")
    for reason in choice.reasons:
        announce(f"    {reason}")
    write_text(folder / RECIPE, dump_recipe(choice.recipe))
