"""The verbs for documents without questions: these are written first. Each imports its stage when it runs."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from elusive.config.corpus import CorpusSettings
from elusive.config.questions import QuestionSettings
from elusive.runs.terminal import say

from .flags import panel

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
    import dataclasses

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
