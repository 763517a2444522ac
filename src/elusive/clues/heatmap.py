"""Documents as HTML for notebooks: each token coloured by its contrast rank, with both scores in its tooltip.

The HTML brings its own styles, asks for no scripts and no files, and suits light and dark pages: colours are
translucent, and the text keeps the page's own colour.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from elusive.scoring.positions import token_fields

if TYPE_CHECKING:
    from .corpus_clues import DocumentClues

SHOWN_TOKENS = 1_000
"""Longest part of a document that is shown."""
SHOWN_DOCUMENTS = 3
"""Documents of a corpus that are shown."""
_STRONGEST = 0.75
"""Opacity of rank 1."""
_FADING = 0.05
"""How fast the colour fades with the rank; Equation 1 has the same curve at its default beta."""
_FRAME = "font-family:system-ui,sans-serif;line-height:1.7;max-width:60em;margin:.5em 0"
_SMALL = "font-size:.8em;opacity:.75"
_UNDERLINE = "border-bottom:2px solid rgba(60,140,210,.9)"


def heatmap(clues: "DocumentClues") -> str:
    """One document as HTML."""
    legend = (
        f"<div style='{_SMALL}'>{escape(clues.document.id)}: "
        f"<span style='{_background(1)}'>&nbsp;rank 1&nbsp;</span> is the best clue, "
        f"<span style='{_background(20)}'>&nbsp;rank 20&nbsp;</span> a weaker one; "
        f"<span style='{_UNDERLINE}'>marked spans</span> are underlined. Hover over a token for its scores.</div>"
    )
    return f"<div style='{_FRAME}'>{legend}<div style='white-space:pre-wrap'>{''.join(_pieces(clues))}</div></div>"


def heatmaps(documents: "Sequence[DocumentClues]") -> str:
    """The first documents of several as HTML, and how many more there are."""
    shown = "".join(map(heatmap, documents[:SHOWN_DOCUMENTS]))
    more = len(documents) - SHOWN_DOCUMENTS
    return shown + (f"<div style='{_FRAME};{_SMALL}'>documents not shown: {more:,}</div>" if more > 0 else "")


def _pieces(clues: "DocumentClues") -> Iterator[str]:
    """The text in order: tokens as spans of their own, and what stands between them as it is."""
    text, place = clues.document.text, 0
    fields = token_fields(text, clues.document.spans, clues.offsets)
    for at, (start, end) in enumerate(clues.offsets[:SHOWN_TOKENS].tolist()):
        if end <= place:  # it has no characters, or shares them with the token before, as bytes of one character do
            continue
        start = max(start, place)
        # White space before a word stays uncoloured: at a line's end it would be a stripe of its own.
        start += len(text[start:end]) - len(text[start:end].lstrip()) if text[start:end].strip() else 0
        yield escape(text[place:start])
        styles = [_background(int(clues.ranks[at]))] if clues.ranks[at] and clues.seen[at] else []
        styles += [_UNDERLINE] if fields[at] else []
        style = f" style='{';'.join(styles)}'" if styles else ""
        yield f"<span{style} title='{escape(_tooltip(clues, at, fields[at]))}'>{escape(text[start:end])}</span>"
        place = end
    yield " …" if len(clues) > SHOWN_TOKENS else escape(text[place:])


def _tooltip(clues: "DocumentClues", at: int, field: str) -> str:
    if not clues.ranks[at]:
        rank = "never ranked"
    else:
        rank = f"rank {clues.ranks[at]:,}" + ("" if clues.seen[at] else ", seen by no query")
    scores = (
        f"contrast {clues.contrast[at]:+.4f} = large {clues.large.scores[at]:.4f} - small {clues.small.scores[at]:.4f}"
    )
    return "\n".join([rank, scores, *([f"span: {field}"] if field else [])])


def _background(rank: int) -> str:
    return f"border-radius:3px;background:rgba(230,110,20,{_STRONGEST * math.exp(-_FADING * (rank - 1)):.3f})"
