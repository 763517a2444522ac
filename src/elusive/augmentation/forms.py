"""How a clue is written into a sentence: before it, behind it, or in place of the pronoun that stands for it."""

import re

from elusive.corpus.english import POSSESSIVES, SUBJECT_PRONOUNS

_TEMPLATES = {"prefix": "{clue}: {sentence}", "parenthesis": "{sentence} ({clue})"}

_FIRST_WORD = re.compile(r"\s*([A-Za-z]+)\b(?!['’])")  # noqa: RUF001
_END = re.compile(r"[.!?…。！？]*[\"'”’»)\]」』）]*\s*\Z")  # noqa: RUF001


def written(clue: str, sentence: str, form: str) -> str:
    """A sentence with its clue.

    Args:
        clue: words.
        sentence: without the white space around it.
        form: prefix, parenthesis, pronoun, or a template with {clue} and {sentence}.

    Returns:
        The sentence in this form; in the form `prefix` where it does not begin with a pronoun that the clue could
        replace. What ends a sentence stays at its end.

    Example:
        >>> written("Liam Thompson", "His employer was Uber.", "pronoun")
        "Liam Thompson's employer was Uber."
        >>> written("Liam Thompson", "He worked at Uber.", "parenthesis")
        'He worked at Uber (Liam Thompson).'
    """
    if form == "pronoun":
        replaced = in_place_of_pronoun(clue, sentence)
        if replaced:
            return replaced
        form = "prefix"
    end = _END.search(sentence)
    body, mark = (sentence[: end.start()], sentence[end.start() :]) if end else (sentence, "")
    template = _TEMPLATES.get(form, form)
    # Not str.format: clue and sentence may hold braces.
    parts = re.split(r"(\{clue\}|\{sentence\})", template)
    return "".join({"{clue}": clue, "{sentence}": body}.get(part, part) for part in parts) + mark


def in_place_of_pronoun(clue: str, sentence: str) -> str:
    """The sentence with the clue in place of the English pronoun that it begins with; empty where it begins otherwise.

    Example:
        >>> in_place_of_pronoun("Liam Thompson", "He worked at Uber.")
        'Liam Thompson worked at Uber.'
        >>> in_place_of_pronoun("Liam Thompson", "It was at Uber that he found work.")
        ''
    """
    first = _FIRST_WORD.match(sentence)
    word = first[1].lower() if first else ""
    if first is None or word not in SUBJECT_PRONOUNS | POSSESSIVES:
        return ""
    rest = sentence[first.end() :]
    if word == "it" and _IMPERSONAL.match(rest):
        return ""
    return clue + ("'s" if word in POSSESSIVES else "") + rest


# "It was at Uber that ...", "It is important to ...": this pronoun stands for nothing that was named.
_IMPERSONAL = re.compile(r"\s+(is|was|has been|had been|seems|seemed|rains?|rained|takes|took|depends)\b")
