"""The corpus stage: any source becomes a corpus folder."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from .biographies import biography_corpus
from .config import CorpusSettings, to_table
from .documents import Corpus, CorpusCounts, Entry, load_corpus, write_corpus
from .questions import QuestionItem, read_questions
from .readers import read_corpus
from .runs import Stage, file_hash


def make_corpus(settings: CorpusSettings, folder: str | Path) -> Corpus:
    """Read or generate the corpus and write it to the run folder; read it back where that is done.

    Args:
        settings: the source.
        folder: RUN/corpus.

    Returns:
        Documents in the order of the source, and questions.
    """
    sources = {"source": _source_hash(settings.source), "questions": _source_hash(settings.questions)}
    stage = Stage(folder, {"corpus": to_table(settings), "hashes": sources})
    if not stage.done:
        counts = write_corpus(stage.folder, _with_questions(_entries(settings), settings.questions))
        stage.finish(_summary(counts))
    return load_corpus(stage.folder)


def _summary(counts: CorpusCounts) -> dict:
    return {
        "rows": counts.rows,
        "documents": counts.documents,
        "questions": counts.questions,
        "quarantined": dict(counts.bad),
        "left_out": dict(counts.left_out),
    }


def _source_hash(source: str) -> str:
    """Hash of a file, or of all files of a folder; empty where there is neither."""
    path = Path(source)
    if not source or not path.exists():
        return ""
    return file_hash(path) if path.is_file() else file_hash(*sorted(item for item in path.rglob("*") if item.is_file()))


def _with_questions(entries: Iterator[Entry], path: str) -> Iterator[Entry]:
    """The questions of a file in place of those that came with the documents."""
    if not path:
        return entries
    return itertools.chain((entry for entry in entries if not isinstance(entry, QuestionItem)), read_questions(path))


def _entries(settings: CorpusSettings) -> Iterator[Entry]:
    if settings.source == "biographies":
        count = min(settings.people, settings.limit or settings.people)
        documents, questions = biography_corpus(count, settings.seed, settings.name_position)
        return itertools.chain(documents, questions)
    if (Path(settings.source) / "documents.jsonl").exists():
        return load_corpus(Path(settings.source)).entries()
    return read_corpus(settings.source, settings.format, settings.limit, skip_bad=settings.skip_bad).entries()
