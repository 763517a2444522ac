"""Where the sentences of a text end: one rule for chunks of long texts and for whatever treats sentences singly.

Points, question marks and exclamation marks end a sentence, those of all scripts that Unicode knows among them, and
blank lines do. The point of an abbreviation, of an initial or of a number in a list does not.
"""

import itertools
import re

import regex

# A closing quote or bracket belongs to its sentence. Marks that end sentences in other scripts than Latin (Unicode's
# property Sentence_Break=STerm, such as the danda, the Arabic question mark or the ideographic full stop) need no space
# behind them. Begun at the first of its points alone: at each, a long row of them would take time that grows with its
# square.
_END = regex.compile(
    r"""(?<![.!?…])[.!?…]+["'”’»)\]]*\s+|(?:(?![!?])\p{Sentence_Break=STerm})+["'”’»)\]」』）]*\s*|\n[^\S\n]*\n\s*"""  # noqa: RUF001
)


_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


_WORD_BEFORE = re.compile(r"""[^\s(\[{"'“‘«]*\Z""")  # noqa: RUF001


_LISTED = re.compile(r"(?:\A|\n)[^\S\n]*\d{1,3}\Z")
"""The number of an item at the start of a line."""


_NEVER_LAST = re.compile(
    r"Capt|Col|Drs?|Gen|Gov|Hon|Lt|Messrs|Mrs?|Ms|Mt|Mx|Pres|Prof|Rep|Rev|Sen|Sgt|St|approx|ca|cf|e\.g|i\.e|vs"
)
"""Abbreviations that something always follows in their sentence."""


_BEFORE_NUMBERS = re.compile(
    r"Apr|Aug|Ch|Dec|[Ee]qs?|Feb|[Ff]igs?|Jan|Jul|Jun|Mar|[Nn]os?|Nov|Oct|pp?|Sec|Sept?|[Vv]ol"
)
"""Abbreviations in front of a number; "No." elsewhere is a sentence of its own."""


_SOMETIMES_LAST = re.compile(r"Bros|Co|Corp|Inc|[JS]r|Ltd|Ph\.D|[ap]\.m|al|etc")
"""Abbreviations that end a sentence unless the next word begins with a small letter."""


_LONGEST_ABBREVIATION = 16


def sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of a text, each with the white space behind it.

    Args:
        text: any text; white space in front of its first sentence belongs to that one.

    Returns:
        First character of each sentence and the one after its last. They follow on each other and cover the text;
        none is white space alone, unless the text is.

    Example:
        >>> [text[slice(*one)] for text in ["Dr. J. Smith left. 你好。再见。"] for one in sentences(text)]
        ['Dr. J. Smith left. ', '你好。', '再见。']
    """
    first = len(text) - len(text.lstrip())
    ends = [match.end() for match in _END.finditer(text) if match.end() > first and not _goes_on(text, match)]
    borders = [0, *(end for end in ends if end < len(text)), len(text)]
    return [(start, end) for start, end in itertools.pairwise(borders) if start < end]


def _goes_on(text: str, end: regex.Match[str]) -> bool:
    """Whether a sentence goes on behind what looks like its end: the point of an abbreviation or of a number."""
    if end.group().rstrip() != "." or _BLANK_LINE.search(end.group()):
        return False
    reach = max(0, end.start() - _LONGEST_ABBREVIATION)
    found = _WORD_BEFORE.search(text, reach, end.start())
    word, following = found.group() if found else "", text[end.end() : end.end() + 1]
    return bool(
        all(len(part) == 1 and part.isupper() for part in word.split("."))  # initials
        or _NEVER_LAST.fullmatch(word)
        or (following.isdigit() and _BEFORE_NUMBERS.fullmatch(word))
        or (following.islower() and _SOMETIMES_LAST.fullmatch(word))
        or (word.isdigit() and _LISTED.search(text, reach, end.start()))
    )
