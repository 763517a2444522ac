"""Settings of the corpus: the source, and how it is read, cut into documents and marked."""

import dataclasses
import math
import re
from typing import Any, Literal

from .checks import check, check_each, is_text_encoding

QuestionSet = Literal["all", "first", "second"]


Headings = Literal["path", "own", "none"]


CorpusFormat = Literal[
    "auto",
    "jsonl",
    "json",
    "csv",
    "tagged-csv",
    "tsv",
    "parquet",
    "text",
    "markdown",
    "squad",
    "dataset",
    "html",
    "pdf",
    "docx",
    "pptx",
    "xlsx",
    "odt",
    "epub",
    "notebook",
    "rst",
    "man",
    "asciidoc",
    "rtf",
    "org",
    "latex",
    "docbook",
    "mediawiki",
    "pod",
]


QUESTION_FORMS = {
    "date": "When was {name} born?",
    "city": "Where was {name} born?",
    "university": "Which university did {name} graduate from?",
    "major": "What did {name} study?",
    "company": "Where did {name} work?",
}
"""The five question forms of the paper."""


@dataclasses.dataclass(frozen=True)
class CorpusSettings:
    """Where documents and questions come from."""

    source: str = "biographies"
    """File, folder, glob pattern, `-` (standard input), `hf:org/name`, or `biographies` for new fictional people."""
    format: CorpusFormat = "auto"
    """How to read `source`; auto sees it from each file's name, or else its content. tagged-csv means csv."""
    text_column: str = "text"
    """Column or key that holds the texts."""
    id_column: str = "id"
    """Column or key that holds their ids; a row without one is named after its file."""
    tags: bool = True
    """Take balanced tags such as <date>..</date> out of CSV and TSV texts and make them spans."""
    encoding: str = ""
    """Encoding of text files that are not UTF-8 and have no byte order mark, e.g. cp1252 (empty: they are refused, with
    a guess)."""
    convert_seconds: float = 120.0
    """How long the conversion of one document (HTML, Word, ...), or of one page of a PDF, may take."""
    chunk_tokens: int = 256
    """Cut longer texts of any source, but for fictional people, into documents of at most this many tokens, between
    paragraphs, sentences or words and never within a span (0: never)."""
    headings: Headings = "path"
    """Headings of a chunk of Markdown or of a converted document: path puts all those above it in front, so that it
    names its subject; own keeps those that stand in it; none leaves them out."""
    other_forms: bool = False
    """Read a text of a folder in each of its forms. Else a PDF, EPUB, office document or plain text is left out if
    HTML, Markdown or other pages of the folder hold the same."""
    tokenizer: str = ""
    """Folder or hub name of the tokenizer that counts them (empty: the trained model's; elusive/large in generate)."""
    subset: str = ""
    """Configuration of a Hugging Face dataset."""
    split: str = ""
    """Split of a Hugging Face dataset that has several, or some: train+validation."""
    revision: str = ""
    """Commit or branch of a dataset on the hub (empty: its default)."""
    questions: str = ""
    """A JSONL file of questions (id, question, answers, field, document_id), if the corpus brings none."""
    question_forms: dict[str, str] = dataclasses.field(default_factory=lambda: dict(QUESTION_FORMS))
    """Without `questions`, rows with such marked fields are asked about by these forms, as a table by field; {name} is
    the text of the field `name` (empty: none are asked)."""
    cue_questions: QuestionSet = "all"
    """Questions whose answers are cues: all, or the first or second half of each document's, by a hash of their ids."""
    asked_questions: QuestionSet = "all"
    """Questions that are asked: all, or one half of each document's; with the other as cue_questions none is a cue."""
    people: int = 100
    """How many fictional people, with source = biographies."""
    seed: int = 0
    """Seed of the fictional people."""
    name_position: Literal["first", "random"] = "first"
    """Sentence that holds the name: the first (paper's main form) or a random one (Table 7)."""
    filler_sentences: int = 0
    """Sentences without facts before each fact but the first: more distance from the name (source = biographies)."""
    people_per_document: int = 1
    """Biographies one after the other in each document, so that a name is not the only one (source = biographies)."""
    limit: int = 0
    """Read only the first documents, chunks of long texts counted one by one, up to this number (0: all)."""
    skip_bad: bool = False
    """Quarantine bad rows in quarantine.jsonl and continue, however many there are."""
    max_bad_share: float = 0.0
    """Stop if more than this share of the rows is bad (0: stop at any)."""
    max_read_bytes: int = 1 << 28
    """Bytes of a source in memory at once: a line, a row of a table, or a file that is read whole (JSON, Markdown)."""
    max_expansion: int = 1000
    """How many times its size a compressed file may grow to, where that is more than max_read_bytes."""
    mark_answers: bool = True
    """Find the answers of `questions` in the documents they name, where these come without answer spans."""
    patterns: tuple[str, ...] = ()
    """Spans by regular expressions, each "field=regex"; a group named `span` marks that group alone."""
    pattern_seconds: float = 10.0
    """How long one pattern may search one document."""
    spacy: str = ""
    """Spans by a spaCy pipeline: a name or folder (needs `elusive[spacy]`); its labels are the fields."""

    def __post_init__(self) -> None:
        check(self.people > 0, "corpus.people", "at least 1", self.people)
        check(self.filler_sentences >= 0, "corpus.filler_sentences", "0 or more", self.filler_sentences)
        check(self.people_per_document > 0, "corpus.people_per_document", "at least 1", self.people_per_document)
        check(self.limit >= 0, "corpus.limit", "0 or more", self.limit)
        check(self.text_column != "", "corpus.text_column", "the name of a column", self.text_column)
        check(self.chunk_tokens >= 0, "corpus.chunk_tokens", "0 or more", self.chunk_tokens)
        for field, form in self.question_forms.items():
            words = "a question with a field in braces, e.g. When was {name} born?"
            check(_is_question_form(form), f"corpus.question_forms.{field}", words, form)
        check_each("corpus", self, ("max_read_bytes", "max_expansion"), 1)
        check(0 < self.convert_seconds < math.inf, "corpus.convert_seconds", "above 0", self.convert_seconds)
        check(
            not self.encoding or is_text_encoding(self.encoding),
            "corpus.encoding",
            "an encoding of text that Python knows, e.g. cp1252 or shift_jis",
            self.encoding,
        )
        check(0 < self.pattern_seconds < math.inf, "corpus.pattern_seconds", "above 0", self.pattern_seconds)
        check(0 <= self.max_bad_share < 1, "corpus.max_bad_share", "a share in [0, 1)", self.max_bad_share)


def _is_question_form(form: Any) -> bool:
    return isinstance(form, str) and bool(re.fullmatch(r"[^{}]*(\{[^{}]+\}[^{}]*)+", form))
