"""What writing questions gave: counts by reason, coverage of the corpus, and what it took."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from elusive.config.questions import QuestionRules
from elusive.corpus.llm.chat import TokenUsage
from elusive.corpus.wording import counted

from .pairs import Rejected, Written
from .split import TwoSets


@dataclass(frozen=True)
class Coverage:
    """How much of the corpus the questions are about.

    Attributes:
        documents: all documents.
        documents_asked: those with a question.
        topics: all topics: files, or their first headings.
        topics_asked: those with a question.
        fewest: questions of the topic that has fewest, 0 left out.
        most: questions of the topic that has most.
        sentences: sentences of prose.
        sentences_asked: those that hold an answer.
    """

    documents: int = 0
    documents_asked: int = 0
    topics: int = 0
    topics_asked: int = 0
    fewest: int = 0
    most: int = 0
    sentences: int = 0
    sentences_asked: int = 0

    @classmethod
    def of(cls, questions: Sequence[Written], documents: int, topics: int, sentences: int) -> "Coverage":
        """Count what questions are about.

        Args:
            questions: those that stay.
            documents: all documents.
            topics: all topics.
            sentences: all sentences of prose.
        """
        by_topic = collections.Counter(one.topic for one in questions)
        return cls(
            documents=documents,
            documents_asked=len({one.document_id for one in questions}),
            topics=topics,
            topics_asked=len(by_topic),
            fewest=min(by_topic.values(), default=0),
            most=max(by_topic.values(), default=0),
            sentences=sentences,
            sentences_asked=len({(one.document_id, one.fact) for one in questions}),
        )

    def in_words(self) -> str:
        """The coverage in a line."""
        sentences = f"{self.sentences_asked:,} of {counted(self.sentences, 'sentence')}"
        return (
            f"{self.documents_asked:,} of {counted(self.documents, 'document')}, {self.topics_asked:,} of "
            f"{counted(self.topics, 'topic')} ({self.fewest:,} to {self.most:,} questions each), {sentences}"
        )


@dataclass(frozen=True)
class QuestionsMade:
    """What `make_questions` did.

    Attributes:
        written: questions that were read in answers, or made of sentences, or came with the corpus.
        cues: questions that give cues.
        asked: questions that are asked.
        rejected: number of rejected questions by reason; answers without a question count as one.
        fields: kept questions by field.
        coverage: of the corpus.
        usage: tokens of all answers in the folder.
        seconds: of this call.
        verified: whether a model answered each with its document and not without.
    """

    written: int
    cues: int
    asked: int
    rejected: Mapping[str, int]
    fields: Mapping[str, int]
    coverage: Coverage
    usage: TokenUsage
    seconds: float
    verified: bool

    @classmethod
    def of(
        cls, sets: TwoSets, rejected: Iterable[Rejected], coverage: Coverage, usage: TokenUsage, *, verified: bool
    ) -> "QuestionsMade":
        """Count what was kept and rejected; the seconds are set by who measured them."""
        kept = (*sets.cues, *sets.asked)
        reasons = collections.Counter(one.reason for one in rejected)
        return cls(
            written=len(kept) + reasons.total(),
            cues=len(sets.cues),
            asked=len(sets.asked),
            rejected=dict(reasons.most_common()),
            fields=dict(collections.Counter(one.field for one in kept).most_common()),
            coverage=coverage,
            usage=usage,
            seconds=0.0,
            verified=verified,
        )

    def table(self) -> str:
        """The counts by reason, a line each."""
        rows = [
            ("written", self.written),
            ("kept", self.cues + self.asked),
            ("  give cues", self.cues),
            ("  are asked (test)", self.asked),
            ("rejected", sum(self.rejected.values())),
            *((f"  {reason}", number) for reason, number in self.rejected.items()),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {number:>6,}" for name, number in rows)

    def lines(self, settings: QuestionRules) -> list[str]:
        """The coverage, the checks, and what it took, in words."""
        kinds = ", ".join(f"{field} {number:,}" for field, number in self.fields.items())
        lines = [f"coverage: {self.coverage.in_words()}", f"answers: {kinds}"]
        if settings.engine == "cloze":
            lines.append("cloze statements, no questions: no language model wrote or checked them")
        elif not self.verified:
            lines.append("not verified: no model answered them with and without their documents")
        if self.usage.requests:
            lines.append(f"{self.usage.line(settings)}; {self.seconds:,.0f} s")
        return lines

    def timed(self, seconds: float) -> "QuestionsMade":
        """The same with the seconds that it took."""
        return dataclasses.replace(self, seconds=round(seconds, 1))
