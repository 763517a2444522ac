"""The corpus stage: any source becomes a corpus folder."""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from elusive.config.corpus import CorpusSettings
from elusive.config.toml import to_table
from elusive.corpus.people.biographies import biographies_of
from elusive.corpus.readers.files import Source, opened_source
from elusive.errors import ElusiveError
from elusive.runs.files import file_hash, read_json, read_jsonl, write_jsonl
from elusive.runs.stage import Stage
from elusive.runs.typed_json import from_json
from elusive.storage import Location, UrlPath, located

from .chunk_questions import BEYOND_LIMIT, follow_chunks
from .documents import Corpus, Document, Entry, StoredDocuments, load_corpus, write_corpus
from .quarantine import CorpusCounts, LeftOut, most_bad_rows, refuse_bad_rows
from .question_sets import CUE_QUESTIONS, question_sets_in_words, question_sets_of, split_questions
from .questions import QuestionItem, read_questions
from .readers import DEFAULT_TOKENIZER, read_corpus, read_entries
from .readers.read_state import ReadCounts
from .spans import MarkCounts, mark_entries, markers
from .wording import counted

REPLACED = LeftOut("question replaced by those of corpus.questions")


def make_corpus(settings: CorpusSettings, folder: str | Location, tokenizer: str = DEFAULT_TOKENIZER) -> Corpus:
    """`make_corpus_folder`, and what it holds.

    Returns:
        Documents in the order of the source, which stay on disk, and questions.

    Raises:
        ElusiveError: as `make_corpus_folder`.
    """
    return load_corpus(make_corpus_folder(settings, folder, tokenizer))


def make_corpus_folder(
    settings: CorpusSettings, folder: str | Location, tokenizer: str = DEFAULT_TOKENIZER
) -> Location:
    """Read or generate the corpus and write it to the run folder, unless it is there.

    Its figures are in done.json (`summary_lines` puts them in words), answers without a place in
    unplaced.jsonl.

    Args:
        settings: the source.
        folder: RUN/corpus.
        tokenizer: in whose tokens chunks of text are counted, where the settings name none.

    Returns:
        The folder.

    Raises:
        ElusiveError: if the source cannot be read, or more rows are bad than the settings allow; quarantine.jsonl then
            holds them, and the folder can be used again.
    """
    tokenizer = settings.tokenizer or tokenizer
    with _opened(settings.source) as source:
        hashes = {
            "source": source.hash() if source else "",
            "questions": file_hash(settings.questions) if settings.questions else "",
        }
        depends = {"corpus": _identity(settings), "tokenizer": tokenizer, "hashes": hashes}
        with Stage(folder, depends, anywhere=True) as stage:
            if not stage.done:
                _write(settings, stage, source, tokenizer)
    return stage.place


def open_corpus(path: str | Location) -> Corpus:
    """A corpus folder as `make_corpus` writes it, or anything else that can be read as a corpus.

    Raises:
        ElusiveError: if it cannot be read.
    """
    return load_corpus(path) if is_corpus(path) else read_corpus(path)


def documents_at(path: str | Location) -> tuple[Collection[Document], Sequence[str]]:
    """The documents of what `open_corpus` opens, without the questions of a corpus folder; and its notes.

    Raises:
        ElusiveError: if it cannot be read.
    """
    if is_corpus(path):
        return StoredDocuments(located(path) / "documents.jsonl"), ()
    read = read_corpus(path)
    return read.documents, read.notes


def is_corpus(path: str | Location) -> bool:
    """Whether a corpus folder is there, as `make_corpus` writes it."""
    place = located(path) / "documents.jsonl"
    return place.exists() if isinstance(place, UrlPath) else os.path.exists(place)


def _identity(settings: CorpusSettings) -> dict[str, Any]:
    """The settings; a later one is included only if it is set, so that earlier folders stay valid."""
    table, defaults = to_table(settings), to_table(CorpusSettings())
    later = (
        "filler_sentences",
        "people_per_document",
        "question_forms",
        "cue_questions",
        "asked_questions",
        "max_read_bytes",
        "max_expansion",
        "pattern_seconds",
        "encoding",
        "convert_seconds",
        "headings",
    )
    return {key: value for key, value in table.items() if key not in later or value != defaults[key]}


@contextlib.contextmanager
def _opened(name: str) -> Iterator[Source | None]:
    if name == "biographies":
        yield None
    else:
        with opened_source(name) as source:
            yield source


def _write(settings: CorpusSettings, stage: Stage, source: Source | None, tokenizer: str) -> None:
    sets = _question_sets(settings)
    questions = read_questions(settings.questions) if settings.questions else []
    chosen, marked = markers(settings, questions)
    read = ReadCounts()
    entries = _with_questions(_entries(settings, source, tokenizer, read), questions)
    quarantine = stage.place / "quarantine.jsonl"
    check = functools.partial(refuse_bad_rows, settings=settings, quarantine=quarantine)
    marked_entries = follow_chunks(mark_entries(entries, chosen))
    counts = write_corpus(stage.place, marked_entries, check, most_bad=most_bad_rows(settings))
    if marked.unplaced:
        write_jsonl(stage.place / "unplaced.jsonl", map(vars, marked.unplaced))
    summary = _summary(counts, read, marked)
    if counts.questions:
        summary["question_sets"] = sets
    if (given := located(settings.source) / CUE_QUESTIONS).exists():
        write_jsonl(stage.place / CUE_QUESTIONS, read_jsonl(given))
    if _is_split(settings):
        found = split_questions(stage.place, settings)
        hidden = f"{counted(found.hidden_spans, 'span')} of other answers hidden"
        summary["marked"].append(f"{found.cues:,} of the questions give cues, {found.asked:,} are asked; {hidden}")
    stage.finish(summary)


def _is_split(settings: CorpusSettings) -> bool:
    return (settings.cue_questions, settings.asked_questions) != ("all", "all")


def _question_sets(settings: CorpusSettings) -> str:
    """The question sets in words: those of the settings, or of the corpus folder that is the source.

    Raises:
        ElusiveError: if the source is split already.
    """
    if not (located(settings.source) / CUE_QUESTIONS).exists():
        return question_sets_in_words(settings)
    before = question_sets_of(settings.source)
    if _is_split(settings):
        raise ElusiveError(
            f"corpus.cue_questions and asked_questions: {settings.source} is split already ({before}). Leave them at "
            '"all", or split the source that it was made of.'
        )
    return before


@dataclasses.dataclass(frozen=True)
class _Summary:
    """A corpus's done.json: counts, and what is said of them."""

    rows: int
    documents: int
    questions: int
    quarantined: dict[str, int]
    left_out: dict[str, int]
    marked: tuple[str, ...]
    unplaced: int
    made: int = 0
    question_sets: str = ""
    bad_files: dict[str, int] = dataclasses.field(default_factory=dict)


def _summary(counts: CorpusCounts, read: ReadCounts, marked: MarkCounts) -> dict[str, Any]:
    return {
        "rows": counts.rows - read.made,
        "made": read.made,
        "documents": counts.documents,
        "questions": counts.questions,
        "quarantined": dict(counts.bad),
        "bad_files": dict(counts.bad_files),
        "left_out": dict(counts.left_out),
        "marked": read.lines() + marked.lines(),
        "unplaced": len(marked.unplaced),
    }


def summary_lines(folder: str | Location) -> list[str]:
    """What a corpus folder holds and what became of every row of its source, in words.

    Args:
        folder: a folder that `make_corpus` wrote.
    """
    folder = located(folder)
    found = from_json(_Summary, read_json(folder / "done.json"), str(folder / "done.json"))
    quarantined, left_out = found.quarantined, found.left_out
    documents, questions = counted(found.documents, "document"), counted(found.questions, "question")
    lines = [f"{documents}, {questions}"]
    if quarantined or left_out:
        # A row of SQuAD's flat form holds a paragraph and a question, and counts as both.
        rest = f"{sum(quarantined.values()):,} bad + {sum(left_out.values()):,} left out{_reasons(left_out)}"
        made = f" + {found.made:,} made of them" if found.made else ""
        lines.append(f"{found.rows:,} in{made} = {documents} + {questions} + {rest}")
    if quarantined:
        bad = ", ".join(counted(number, of) for of, number in quarantined.items())
        lines.append(f"bad rows quarantined in {folder / 'quarantine.jsonl'}: {bad}")
    if len(found.bad_files) > 1:
        by_kind = sorted(found.bad_files.items(), key=lambda one: (-one[1], one[0]))
        lines.append(f"bad rows by kind of file: {', '.join(f'{name} {number:,}' for name, number in by_kind)}")
    lines += found.marked
    if (sets := found.question_sets) and not sets.startswith("the same:"):
        lines.append(f"question sets: {sets}")
    if found.unplaced:
        lines.append(f"answers without a place: {folder / 'unplaced.jsonl'}")
    return lines


def _reasons(left_out: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in left_out.items())
    return f" ({reasons})" if reasons else ""


def _with_questions(entries: Iterator[Entry], questions: list[QuestionItem]) -> Iterator[Entry]:
    """The questions of a file in place of those that came with the documents."""
    if not questions:
        return entries
    rest = (REPLACED if isinstance(entry, QuestionItem) else entry for entry in entries)
    return itertools.chain(questions, rest)


def _entries(settings: CorpusSettings, source: Source | None, tokenizer: str, counts: ReadCounts) -> Iterator[Entry]:
    if source is None:
        return itertools.chain(*biographies_of(settings))
    if is_corpus(source.name):
        return _first_documents(load_corpus(source.name), settings.limit)
    return read_entries(settings, tokenizer, source, counts)


def _first_documents(corpus: Corpus, limit: int) -> Iterator[Entry]:
    """A corpus folder's documents and questions; its quarantined rows stay there."""
    ids: set[str] = set()
    for document in itertools.islice(corpus.documents, limit or None):
        ids.update([document.id] if limit else [])
        yield document
    for item in corpus.questions:
        yield item if not limit or item.document_id in ids else BEYOND_LIMIT
