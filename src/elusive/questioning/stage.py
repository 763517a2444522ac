"""The stage of written questions: a corpus becomes a corpus folder with cues and questions, each with its checks."""

import collections
import dataclasses
import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from elusive.config.corpus import CorpusSettings
from elusive.config.questions import QuestionRules
from elusive.config.scoring import ScoreSettings
from elusive.config.toml import to_table
from elusive.corpus.documents import Corpus, Document, Span, corpus_hash, write_corpus
from elusive.corpus.languages import language_of
from elusive.corpus.llm.chat import AnswerLog, TokenUsage
from elusive.corpus.llm.model import LanguageModel
from elusive.corpus.question_sets import CUE_QUESTIONS, without_answers
from elusive.corpus.questions import QuestionItem
from elusive.corpus.readers import DEFAULT_TOKENIZER
from elusive.corpus.stage import make_corpus
from elusive.corpus.wording import listed
from elusive.errors import ElusiveError
from elusive.runs.files import ProgressFunction, silent, write_jsonl
from elusive.runs.lock import locked
from elusive.runs.stage import Stage
from elusive.runs.terminal import note
from elusive.runs.typed_json import from_json, to_json

from .checks import NOWHERE, Asking
from .cloze import cloze_statements
from .pairs import Pair, Rejected, Written
from .passages import Passage
from .prompts import prompts_hash
from .split import TwoSets, balanced, numbered, two_sets, without_repeats
from .summary import Coverage, QuestionsMade
from .writing import written_by_model

READ = "read"
"""The corpus as it was read, in the folder of its questions."""

ANSWERS_FILE, REJECTED_FILE = "llm_answers.jsonl", "rejected.jsonl"

_DOCUMENTS_AT_ONCE = 64

_SEEN_FOR_LANGUAGE = 200


def make_questions(
    corpus: CorpusSettings,
    settings: QuestionRules,
    folder: str | Path,
    *,
    tokenizer: str = DEFAULT_TOKENIZER,
    progress: ProgressFunction = silent,
) -> QuestionsMade:
    """Write questions about a corpus into a corpus folder, asking a model only for what the folder does not hold yet.

    documents.jsonl marks the answers of the questions that give cues (cue_questions.jsonl); those of questions.jsonl
    are about other facts. Besides, `read` holds the corpus as it was read, llm_answers.jsonl each request with its
    answer, and rejected.jsonl each question that did not pass, with the reason.

    Args:
        corpus: the source, and how it is read.
        settings: who writes the questions, and how they are checked and split.
        folder: the corpus folder.
        tokenizer: in whose tokens chunks are counted, where the corpus's settings name none.
        progress: called with (documents done, all).

    Returns:
        What was written and rejected, and what it took.

    Raises:
        ElusiveError: if no question passed, the source or the model cannot be used, or the folder holds results of
            other settings.
    """
    check_writer(settings)
    began = time.monotonic()
    with locked(folder):  # in use, it is refused before anything is read into it
        read = make_corpus(corpus, Path(folder) / READ, tokenizer)
    identity = {"questions": identity_of(settings), "corpus": corpus_hash(read.documents)}
    with Stage(folder, identity, beside=(READ,)) as stage:
        if stage.done:
            return from_json(QuestionsMade, stage.summary["made"], str(stage.folder))
        made = _made(read, settings, stage.folder, progress).timed(time.monotonic() - began)
        sets = (
            f"disjoint: cues at the answers to {made.cues:,} written questions, {made.asked:,} about other facts are "
        )
        stage.finish({"question_sets": f"{sets}asked", "made": to_json(made)})
    return made


def check_writer(settings: QuestionRules) -> None:
    """Refuse settings that name no model, before anything is read.

    Raises:
        ElusiveError: if none is named; says what else can write.
    """
    if settings.engine != "cloze" and not settings.model:
        raise ElusiveError(
            f"{settings.section}.model: expected the name of a language model that writes questions, got none. Give it "
            f"with {settings.given_by('model')}, on a server ({settings.given_by('base_url')}) or as a folder or hub "
            f"name with {settings.given_by('engine')} transformers; {settings.given_by('engine')} cloze needs none: it "
            "makes cloze statements of the documents' sentences."
        )


def identity_of(settings: QuestionRules) -> dict[str, Any]:
    """The settings that questions depend on; where the server is, and how patient we are with it, is not among them."""
    patience = ("base_url", "api_key_variable", "max_concurrent_requests", "timeout", "retries", "initial_backoff")
    patience += ("max_backoff", "max_answer_bytes", "input_price", "output_price")
    table = {key: value for key, value in to_table(settings).items() if key not in patience}
    return {**table, "prompts": prompts_hash()}


@dataclasses.dataclass
class _Found:
    """Questions that passed and that did not, and how much of the corpus was looked at."""

    kept: list[Written] = dataclasses.field(default_factory=list)
    rejected: list[Rejected] = dataclasses.field(default_factory=list)
    topics: set[str] = dataclasses.field(default_factory=set)
    sentences: int = 0

    def take(self, one: Written | Rejected) -> None:
        """Sort a question in."""
        if isinstance(one, Written):
            self.kept.append(one)
        else:
            self.rejected.append(one)

    def look_at(self, passage: Passage) -> None:
        """Count a document."""
        self.topics.add(passage.topic)
        self.sentences += len(passage.sentences)


def _made(read: Corpus, settings: QuestionRules, folder: Path, progress: ProgressFunction) -> QuestionsMade:
    log = AnswerLog(folder / ANSWERS_FILE)
    try:
        found = _gathered(read, settings, log, progress)
    except BaseException:
        if (usage := TokenUsage.of(log)).requests:
            note(f"  kept in {log.path}: {usage.line(settings)}")
        raise
    kept, repeated = without_repeats(found.kept, settings.max_similarity)
    kept, beyond = balanced(kept, settings.max_questions)
    rejected = [*found.rejected, *repeated, *beyond]
    write_jsonl(folder / REJECTED_FILE, map(vars, rejected))
    sets = two_sets(numbered(kept), settings.test_share, settings.seed)
    if not (sets.asked and sets.cues):
        raise _nothing_to_ask(rejected, len(kept), settings, folder)
    _write(read, sets, folder)
    coverage = Coverage.of(kept, len(read.documents), len(found.topics), found.sentences)
    verified = settings.verify and settings.engine != "cloze"
    return QuestionsMade.of(sets, rejected, coverage, TokenUsage.of(log), verified=verified)


def _gathered(read: Corpus, settings: QuestionRules, log: AnswerLog, progress: ProgressFunction) -> _Found:
    language = language_of(document.text for document in itertools.islice(read.documents, _SEEN_FOR_LANGUAGE))
    own: dict[str, list[QuestionItem]] = collections.defaultdict(list)
    for item in read.questions if settings.engine == "cloze" else ():
        own[item.document_id].append(item)
    model = None if settings.engine == "cloze" else LanguageModel(settings, log, note)
    found, done, total = _Found(), 0, len(read.documents)
    documents = iter(read.documents)
    while batch := list(itertools.islice(documents, _DOCUMENTS_AT_ONCE)):
        asking = [Asking(Passage.of(document), language, settings) for document in batch]
        for one in asking:
            found.look_at(one.passage)
        for one in _by_model(asking, model) if model else _by_rule(asking, own):
            found.take(one)
        done += len(batch)
        progress(done, total)
    return found


def _by_model(asking: Sequence[Asking], model: LanguageModel) -> Iterator[Written | Rejected]:
    # A title or a line of code is nothing to ask about.
    for work in written_by_model([one for one in asking if one.passage.sentences], model):
        yield from work.kept
        yield from work.rejected


def _by_rule(asking: Sequence[Asking], own: dict[str, list[QuestionItem]]) -> Iterator[Written | Rejected]:
    """The questions that documents came with; of the others, cloze statements."""
    for one in asking:
        if items := own.get(one.passage.document.id):
            yield from (_placed(item, one) for item in items)
            continue
        passed = 0
        for statement in cloze_statements(one, ScoreSettings.head_fields):
            if passed < one.settings.questions_per_document:
                yield statement
            passed += isinstance(statement, Written)


def _placed(item: QuestionItem, asking: Asking) -> Written | Rejected:
    """A question that came with the corpus, with the place of the first of its answers that stands in the document."""
    for answer in item.answers:
        found = asking.place(answer)
        if found:
            one = asking.written(Pair(item.question, answer), found, field=item.field)
            return dataclasses.replace(one, id=item.id, aliases=item.answers)
    return Rejected(item.document_id, NOWHERE, item.question, item.answers[0])


def _nothing_to_ask(rejected: Collection[Rejected], kept: int, settings: QuestionRules, folder: Path) -> ElusiveError:
    if kept:
        return ElusiveError(
            f"Expected questions about two facts at least, to give cues at one and ask about the other, got {kept:,} "
            f"that cannot be split (questions.test_share {settings.test_share:g}). Give more documents, or raise "
            f"{settings.given_by('questions_per_document')}."
        )
    reasons = collections.Counter(one.reason for one in rejected)
    lines = [f"{number:,} x {reason}" for reason, number in reasons.most_common()]
    what = "cloze statements" if settings.engine == "cloze" else "questions"
    advice = (
        "The documents have no sentences with dates, numbers, names or marked spans to leave out."
        if settings.engine == "cloze"
        else "Take a model that follows instructions better, or raise "
        f"{settings.given_by('tries')}, or leave the check out with --no-verify."
    )
    said = f"Rejected (each in {folder / REJECTED_FILE}):\n{listed(lines)}\n" if lines else ""
    return ElusiveError(f"None of the {len(rejected):,} {what} that were written passed. {said}{advice}")


def _write(read: Corpus, sets: TwoSets, folder: Path) -> None:
    cues: dict[str, list[Written]] = collections.defaultdict(list)
    asked: dict[str, list[Written]] = collections.defaultdict(list)
    for of_document, questions in ((cues, sets.cues), (asked, sets.asked)):
        for one in questions:
            of_document[one.document_id].append(one)
    marked = (_marked(document, cues[document.id], asked[document.id]) for document in read.documents)
    write_corpus(folder, itertools.chain(marked, map(_item, sets.asked)))
    write_jsonl(folder / CUE_QUESTIONS, (vars(_item(one)) for one in sets.cues))


def _item(one: Written) -> QuestionItem:
    return QuestionItem(one.id, one.question, one.aliases or (one.answer,), one.field, one.document_id)


def _marked(document: Document, cues: Iterable[Written], asked: Iterable[Written]) -> Document:
    """A document whose spans are the answers of its cue questions, and those that it had, but for answers asked for."""
    asked = list(asked)
    bare = without_answers(document, map(_item, asked), ScoreSettings.head_fields)
    spans = {span for span in bare.spans if not any(one.start < span.end and span.start < one.end for one in asked)}
    spans |= {span for span in bare.spans if span.field in ScoreSettings.head_fields}
    spans |= {Span(one.field, one.start, one.end) for one in cues}
    ordered = sorted(spans, key=lambda span: (span.start, span.end, span.field))
    return Document(document.id, document.text, tuple(ordered))
