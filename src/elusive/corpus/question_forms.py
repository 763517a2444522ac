"""Questions about a document's marked fields, by a known form for each."""

import re
from collections.abc import Mapping

from .documents import Document
from .questions import QuestionItem

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


def questions_of_fields(document: Document, forms: Mapping[str, str]) -> tuple[list[QuestionItem], list[str]]:
    """The questions that a document's marked fields allow, in the order of the forms.

    A field is asked about if it and every field that its form names are marked with one text each. Where one of them
    is marked with several, the question would not say which, or would have a wrong answer.

    Args:
        document: with spans.
        forms: questions by field, e.g. {"date": "When was {name} born?"}.

    Returns:
        The questions, with ids `<document id>-<field>`, and the fields that are left out for their several texts.

    Example:
        >>> from elusive.corpus.tags import parse_tags
        >>> ada = Document("d1", *parse_tags("<name>Ada</name> was born on <date>10 May</date>."))
        >>> [item] = questions_of_fields(ada, {"date": "When was {name} born?"})[0]
        >>> item.question, item.answers
        ('When was Ada born?', ('10 May',))
    """
    texts: dict[str, set[str]] = {}
    for field, start, end in document.spans:
        texts.setdefault(field, set()).add(" ".join(document.text[start:end].split()))
    questions, ambiguous = [], []
    for field, form in forms.items():
        used = {field, *_PLACEHOLDER.findall(form)}
        if not used <= texts.keys():
            continue
        if any(len(texts[name]) > 1 for name in used):
            ambiguous.append(field)
            continue
        (answer,) = texts[field]
        asked = _PLACEHOLDER.sub(lambda match: next(iter(texts[match[1]])), form)
        questions.append(QuestionItem(f"{document.id}-{field}", asked, (answer,), field, document.id))
    return questions, ambiguous
