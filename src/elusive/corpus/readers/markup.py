"""Markup in files whose names do not say it: reStructuredText in a `.txt`, HTML in a `.md`, roff without a suffix.

Taken for prose, it would be learned. Signs are counted by kind: one kind may stand in any text, several do not.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from elusive.config.corpus import CorpusFormat

_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)

_PAGE = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)

_TAG = re.compile(
    r"</?(?:p|div|br|table|t[rdh]|li|ul|ol|dl|d[td]|h[1-6]|a|span|body|font|img|center|pre|b|i|em|strong|section)\b[^<>]*>",
    re.IGNORECASE,
)

_CLOSED = re.compile(r"</(?:p|div|table|t[rdh]|li|ul|ol|h[1-6]|a|span|pre|section)\s*>", re.IGNORECASE)

_FEWEST_TAGS = 6

_TAG_SHARE = 0.1


class _Sign(NamedTuple):
    """What a form of markup is told by.

    Attributes:
        pattern: a regular expression.
        weight: a text has the form if the weights of its signs make `_ENOUGH`.
        times: how often the sign must stand there.
    """

    pattern: str
    weight: int = 1
    times: int = 1


_ENOUGH = 2

_SIGNS: Mapping[CorpusFormat, Sequence[_Sign]] = {
    "man": (
        _Sign(r"\A\s*[.'](?:\\\"|TH\b|Dd\b|so\b|de\b|ie?\b|if\b|nh\b)"),
        _Sign(r"\A\.so [^\s]+\s*\Z", weight=2),
        _Sign(r"^\.(?:TH|Dd)[ \t]+\S"),
        _Sign(r"^\.(?:SH|SS|Sh|Ss)\b"),
        _Sign(r"^\.(?:PP|LP|TP|IP|RS|RE|Pp|Bl|It|Nm|Fl|Op)\b", times=2),
        _Sign(r"\\f[BIRP]", times=2),
    ),
    "rst": (
        _Sign(r"^[ \t]*\.\. +[a-zA-Z][\w:+.-]*::(?:[ \t]|$)", weight=2),
        _Sign(r"^\.\. _[^\n:]+:", weight=2),
        _Sign(r"(?<![\w`:]):[a-z][\w:+.-]{0,40}:`[^`\n]+`", weight=2, times=2),
        _Sign(r"(?<!`)``[^`\n]+``(?!`)", times=2),
        _Sign(r"^[^\n=]+\n(?:={4,}|-{4,}|~{4,}|\^{4,}|\"{4,}|\*{4,})$"),
    ),
    "asciidoc": (
        _Sign(r"^= \S"),
        _Sign(r"^[^\n]+\n(?:={4,}|-{4,}|~{4,})$", times=2),
        _Sign(r"^={2,5} \S[^\n=]*$", times=2),
        _Sign(
            r"^\[(?:source|listing|verse|quote|horizontal|NOTE|TIP|WARNING|IMPORTANT|CAUTION|discrete|cols|options|\[|role"
            r"|abstract)[^\n]*\]$"
        ),
        _Sign(r"^(?:ifdef|ifndef|ifeval|include|endif)::", weight=2),
        _Sign(r"^:[a-zA-Z][\w-]*:(?: |$)"),
        _Sign(r"\b(?:link|linkgit|xref|footnote|image|kbd|btn)::?[^\s\[]{0,200}\[[^\]\n]{0,300}\]", times=2),
        _Sign(r"^\S[^\n]*[^:\n]::$", times=2),
        _Sign(r"^\n-{4,}$"),
        _Sign(r"^\+$", times=2),
        _Sign(r"^\|={3,}$", weight=2, times=2),
    ),
    "org": (
        _Sign(r"(?i)^#\+(?:title|author|begin_\w+|options|startup)"),
        _Sign(r"^\*+ \S"),
        _Sign(r"^[ \t]*:PROPERTIES:"),
    ),
    "latex": (
        _Sign(r"^[^%\n]*\\documentclass"),
        _Sign(r"\\begin\{document\}"),
        _Sign(r"\\(?:sub)*section\*?\{"),
        _Sign(r"\\begin\{\w+\}"),
    ),
    "mediawiki": (
        _Sign(r"^(={2,5}) ?[^=\n]+ ?\1[ \t]*$"),
        _Sign(r"\[\[[^\[\]\n]{1,200}\]\]", times=2),
        _Sign(r"^\{\|"),
        _Sign(r"\{\{[^{}\n]{1,200}\}\}"),
    ),
    "pod": (_Sign(r"^=head1 \S[^\n]*\n\n", weight=2),),
    "docbook": (
        _Sign(r"<(?:book|article|chapter|section|refentry)\b[^<>]{0,300}docbook", weight=2),
        _Sign(r"<!DOCTYPE (?:book|article|chapter|refentry)\b", weight=2),
    ),
}

_COMPILED: Mapping[CorpusFormat, Sequence[tuple[re.Pattern[str], _Sign]]] = {
    form: [(re.compile(sign.pattern, re.MULTILINE), sign) for sign in signs] for form, signs in _SIGNS.items()
}

_REFUSED: Mapping[str, re.Pattern[str]] = {
    "a Texinfo source, which is not converted: give its HTML (makeinfo --html)": re.compile(
        r"\A.{0,200}\\input texinfo", re.DOTALL
    ),
    "an Info file, which is not converted: give the HTML of the same manual": re.compile(
        r"\A.{0,2000}\x1f\nFile: ", re.DOTALL
    ),
    "XML of a form that is not known: convert it to HTML, Markdown or JSONL first": re.compile(r"\s*<\?xml\b"),
}


def markup_of(text: str, *, markdown: bool = False) -> CorpusFormat | None:
    """The form of a text that has the marks of one; None for prose and Markdown.

    Args:
        text: the text, or the first of it.
        markdown: whether its name says that it is Markdown, in which pieces of HTML may stand.

    Example:
        >>> markup_of("Title\\n=====\\n\\n.. note:: Read this.\\n")
        'rst'
        >>> markup_of("A line.. and :another: one.\\n") is None
        True
    """
    if _PAGE.match(text):
        return "html"
    prose = _FENCED.sub("", text)
    tags = _TAG.findall(prose)
    if len(tags) >= _FEWEST_TAGS and len(_CLOSED.findall(prose)) >= _FEWEST_TAGS // 2:
        share = sum(map(len, tags)) / max(1, len(prose))
        if share >= _TAG_SHARE * (3 if markdown else 1):
            return "html"
    weights: Mapping[CorpusFormat, int] = {
        form: sum(sign.weight for pattern, sign in signs if _stands(pattern, prose, sign.times))
        for form, signs in _COMPILED.items()
    }
    best, weight = max(weights.items(), key=lambda found: found[1])
    return best if weight >= _ENOUGH else None


def _stands(pattern: re.Pattern[str], text: str, times: int) -> bool:
    return sum(1 for _ in itertools.islice(pattern.finditer(text), times)) >= times


def refused_markup(text: str) -> str:
    """Why a text that has a form of markup is not read; empty if none is known."""
    return next((reason for reason, sign in _REFUSED.items() if sign.match(text)), "")
