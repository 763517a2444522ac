"""The words of a text that say what it is about, and those among them that name something."""

from collections.abc import Collection
from functools import cache

import regex

from elusive.corpus.english import FUNCTION_WORDS
from elusive.corpus.languages import LANGUAGES

_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that write words side by side: of these, each two characters count as a term."""

_TERM = regex.compile(
    rf"(?P<run>[{_SPACELESS}][{_SPACELESS}\p{{M}}]*)"
    rf"|(?:--?)?[^\W{_SPACELESS}](?:[\w\p{{M}}'’.+@/-]*[^\W{_SPACELESS}])?[+#]*"  # noqa: RUF001
)


def word_set(text: str) -> frozenset[str]:
    """The words of a text that lists them."""
    return frozenset(text.split())


QUESTION_WORDS = word_set("who whom whose when where why how many much")
"""Of English: questions with different ones ask for different things."""

_ASKING = QUESTION_WORDS | word_set("what which does did do name called complete give kind type mean means")

_SENTENCE_START = regex.compile(r"(?:\A|[.!?:;。？！…]\s*|\n\s*(?:[-*+•]\s+|\d+[.)]\s+)?|[\"“(«]\s*)\Z")  # noqa: RUF001


@cache
def function_words(language: str) -> frozenset[str]:
    """Words that name nothing, in small letters: of English, of a language and of questions."""
    own = LANGUAGES[language].words if language in LANGUAGES else frozenset()
    return FUNCTION_WORDS | _ASKING | own


def terms(text: str, language: str = "") -> list[str]:
    """The content words of a text in small letters, in order; of scripts without spaces, each two characters.

    Example:
        >>> terms("What does the P7 pump of Acme do?")
        ['p7', 'pump', 'acme']
        >>> terms("北京大学")
        ['北京', '京大', '大学']
    """
    return [term.lower() for _, _, term in places(text) if term.lower() not in function_words(language)]


def places(text: str) -> list[tuple[int, int, str]]:
    """Each word, or two characters of a script without spaces, with its first character and the one after its last."""
    found = []
    for match in _TERM.finditer(text):
        if match["run"]:
            start, run = match.start(), match["run"]
            found += [(start + n, start + n + 2, run[n : n + 2]) for n in range(max(1, len(run) - 1))]
        else:
            found.append((match.start(), match.end(), match.group()))
    return found


def names(text: str, language: str = "") -> frozenset[str]:
    """The terms that name something by how they are written, in small letters.

    These hold a digit, an inner capital or a sign of code, or begin with a capital where no sentence begins. In German,
    all nouns do; there, capitals say nothing.

    Example:
        >>> sorted(names("The pump P7 of Acme runs sshd_config. It starts."))
        ['acme', 'p7', 'sshd_config']
    """
    return frozenset(
        term.lower()
        for start, _, term in places(text)
        if term.lower() not in function_words(language) and _is_name(text, start, term, language)
    )


def _is_name(text: str, start: int, term: str, language: str) -> bool:
    if any(map(str.isdigit, term)) or looks_like_code(term) or any(map(str.isupper, term[1:])):
        return True
    return language != "de" and term[:1].isupper() and not _SENTENCE_START.search(text[max(0, start - 20) : start])


_CODE = regex.compile(r"--?\w|\S*[_/\\=<>{}$~]\S*|[a-z]+[A-Z]\w*|(?![\d.]+\Z)\w+(?:\.\w+)+|\w+\(\)")

MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
    "|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember"
)
"""English and German names of months, as alternatives of a pattern."""


def looks_like_code(text: str) -> bool:
    """Whether a word is one of a program: an option, a path, a name with an underscore or an inner point.

    Example:
        >>> [looks_like_code(word) for word in ("--force", "/etc/fstab", "sshd_config", "os.path", "1.7", "Vienna")]
        [True, True, True, True, False, False]
    """
    return " " not in text and _CODE.match(text) is not None


def shared_terms(question: str, of: Collection[str], language: str = "") -> list[str]:
    """The question's terms that are among some terms, each once."""
    return [term for term in dict.fromkeys(terms(question, language)) if term in of]
