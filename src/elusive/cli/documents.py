"""The verbs for documents that come without questions. Each imports its stage when it runs."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from elusive.config.corpus import CorpusSettings
from elusive.config.learn import LearnQuestionSettings, LearnSettings
from elusive.config.questions import QuestionSettings
from elusive.runs.terminal import say

from .flags import panel
from .printing import print_results

_OF_PEOPLE = ("source", "people", "seed", "name_position", "filler_sentences", "people_per_document")


def questions(
    corpus: tyro.conf.Positional[Path],
    output: Path,
    settings: Annotated[QuestionSettings, panel(QuestionSettings(), "questions")] = QuestionSettings(),
    reading: Annotated[
        CorpusSettings, panel(CorpusSettings(), "corpus", prefixed=True, left_out=_OF_PEOPLE)
    ] = CorpusSettings(),
) -> Any:
    """Write closed-book questions about a corpus, and check them.

    A language model writes them; --engine cloze needs none.

    The output is a corpus folder: of half of the questions, answers are cues.

    Args:
        corpus: A corpus folder, or any file or folder that can be read as one.
        output: Folder for documents.jsonl with marked cues, cue_questions.jsonl, questions.jsonl and rejected.jsonl.
        settings: Who writes the questions, and how they are checked and split.
        reading: How the corpus is read.
    """
    from elusive.corpus.stage import summary_lines
    from elusive.questioning.stage import READ, make_questions
    from elusive.runs.progress import shown

    source = dataclasses.replace(reading, source=str(corpus))
    writer = "cloze statements" if settings.engine == "cloze" else f"questions by {settings.model}"
    with shown(writer) as progress:
        made = make_questions(source, settings, output, progress=progress)
    say(f"{corpus}: " + "\n".join(summary_lines(output / READ)))
    say(f"{output}:\n{made.table()}")
    say("\n".join(made.lines(settings)))
    return {"output": output, "made": made}


_WRITTEN = LearnQuestionSettings()
_QUESTION_FLAGS = {field.name: f"questions.{field.name}" for field in dataclasses.fields(_WRITTEN)}


def learn(
    documents: tyro.conf.Positional[Path],
    output: Path,
    settings: Annotated[LearnSettings, panel(LearnSettings(), "learning")] = LearnSettings(),
    written: Annotated[LearnQuestionSettings, panel(_WRITTEN, "questions", names=_QUESTION_FLAGS)] = _WRITTEN,
    reading: Annotated[
        CorpusSettings, panel(CorpusSettings(), "corpus", prefixed=True, left_out=_OF_PEOPLE)
    ] = CorpusSettings(),
) -> Any:
    """Learn documents: write questions, train, measure the gain.

    It writes a recipe and runs it; `elusive run` runs the same recipe again.

    Args:
        documents: A folder or file of documents, or anything that can be read as a corpus.
        output: Folder for the questions, the recipe and its run.
        settings: What learns, and how long.
        written: Who writes the questions, and how they are checked and split.
        reading: How the documents are read.
    """
    from elusive.learning.learn import learn as learn_documents

    learned = learn_documents(dataclasses.replace(reading, source=str(documents)), settings, written, output)
    printed = print_results(learned.page)
    say(f"Recipe: {learned.recipe} (change it and run it again: elusive run {learned.recipe} --output ANOTHER)")
    say(f"\n{learned.gain}")
    return {**printed, "recipe": learned.recipe, "gain": learned.gain}
