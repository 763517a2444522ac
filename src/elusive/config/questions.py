"""Settings of questions that are written about documents: who writes them, how they are checked and split."""

import dataclasses
from typing import ClassVar, Literal

from .checks import check, check_each
from .server import WriterSettings


@dataclasses.dataclass(frozen=True)
class QuestionRules(WriterSettings):
    """How closed-book questions about a corpus are written, checked and split, whoever writes them."""

    section: ClassVar[str] = "questions"

    temperature: float = 0.7
    """Sampling temperature of the writing; questions are checked at 0 first."""
    max_new_tokens: int = 512
    """Longest answer in tokens."""
    questions_per_document: int = 3
    """Questions asked for about each document (or chunk)."""
    tries: int = 2
    """How often a document's questions are asked for, until enough have passed."""
    max_answer_words: int = 8
    """Longest answer to a question in words."""
    verify: bool = True
    """Let the model answer each question with its document, where it must be right, and without it, where it must be
    wrong (no cloze statement is verified: there is no model)."""
    closed_book_tries: int = 2
    """How often it may answer without the document, first at temperature 0; one right answer rejects the question."""
    max_similarity: float = 0.75
    """Two questions are one if they share more of their words than this (Jaccard), and all names and numbers."""
    max_questions: int = 0
    """Keep so many questions at most, evenly over the topics (the files, or their first headings; 0: all)."""
    test_share: float = 0.5
    """Share of the questions that is asked; the others give cues. No fact of a document is in both."""
    seed: int = 0
    """Seed of the writing, and of the split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("questions_per_document", "tries", "max_answer_words", "closed_book_tries")
        check_each(self.section, self, counts, 1)
        check_each(self.section, self, ("max_questions", "seed"), 0)
        check(0 < self.max_similarity <= 1, "questions.max_similarity", "a share in (0, 1]", self.max_similarity)
        check(0 < self.test_share < 1, "questions.test_share", "a share in (0, 1)", self.test_share)


@dataclasses.dataclass(frozen=True)
class QuestionSettings(QuestionRules):
    """Closed-book questions about a corpus, written by a language model or as cloze statements."""

    engine: Literal["server", "transformers", "cloze"] = "server"
    """Who writes: a model on a server; a model that runs here (transformers; `model` is its folder or hub name); or no
    model: cloze statements, a document's own sentences with a gap in the place of a fact."""
