"""Questions about documents that were cut into chunks: each goes to the chunk that holds its answer."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .documents import Document, Entry, cut_document
from .quarantine import LeftOut
from .questions import QuestionItem
from .spans import find_answer

BEYOND_LIMIT = LeftOut("question of a document beyond corpus.limit")


@dataclass
class _Held:
    """A question, and the first chunk of its document in which an answer is marked or stands, and the first of all."""

    item: QuestionItem
    marked: str = ""
    standing: str = ""
    first: str = ""

    def look_in(self, chunk: Document) -> None:
        """Note what a chunk of the question's document holds."""
        self.first = self.first or chunk.id
        self.standing = self.standing or (chunk.id if _stands(self.item, chunk) else "")
        self.marked = chunk.id if _is_marked(self.item, chunk) else ""

    def placed(self, *, complete: bool) -> QuestionItem | LeftOut:
        """The question with its chunk in the place of its document."""
        chunk = self.marked or self.standing or (self.first if complete else "")
        if not self.first:
            return self.item
        return dataclasses.replace(self.item, document_id=chunk) if chunk else BEYOND_LIMIT


def placed_question(item: QuestionItem, chunks: Sequence[Document], *, complete: bool) -> QuestionItem | LeftOut:
    """A question about a document that was cut, with the chunk that holds its answer.

    Args:
        item: the question.
        chunks: of its document, in order.
        complete: whether these are all. If not, and none holds the answer, the question is left out.
    """
    held = _Held(item)
    for chunk in chunks:
        held.look_in(chunk)
        if held.marked:
            break
    return held.placed(complete=complete)


def follow_chunks(entries: Iterable[Entry], is_complete: Callable[[], bool] = lambda: True) -> Iterator[Entry]:
    """A stream in which questions name chunks where the document that they named was cut.

    That is the first chunk in which an answer is marked, or else the first in which one stands as whole words, or else
    the first. Questions leave the stream at its end, in their order.

    Args:
        entries: the stream; questions that come behind their document must name its chunk already.
        is_complete: asked at the end; if not, questions whose answer stands in no chunk are left out.
    """
    questions: list[_Held] = []
    waiting: dict[str, list[_Held]] = {}
    for entry in entries:
        if isinstance(entry, QuestionItem):
            questions.append(_Held(entry))
            waiting.setdefault(entry.document_id, []).append(questions[-1])
            continue
        if isinstance(entry, Document):
            waiting.pop(entry.id, None)
            whole = cut_document(entry.id)
            if whole in waiting:
                for held in waiting[whole]:
                    held.look_in(entry)
                waiting[whole] = [held for held in waiting[whole] if not held.marked]
        yield entry
    complete = is_complete()
    yield from (held.placed(complete=complete) for held in questions)


def _is_marked(item: QuestionItem, document: Document) -> bool:
    texts = {document.text[span.start : span.end] for span in document.spans if span.field == item.field}
    return bool({" ".join(text.split()) for text in texts} & {" ".join(answer.split()) for answer in item.answers})


def _stands(item: QuestionItem, document: Document) -> bool:
    return any(find_answer(document.text, answer) for answer in item.answers)
