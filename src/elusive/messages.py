"""Words that may come from anywhere, made fit for a message: every character visible, and never more than a screen."""

import re

LINE_CHARACTERS = 600
"""Characters of a line in a message; a longer one loses its middle."""

MESSAGE_CHARACTERS = 3000
"""Characters of a message."""

MESSAGE_LINES = 40
"""Lines of a message."""

# Control characters but tab and newline; marks that reorder text or have no width, but the joiners that scripts need;
# line ends of Unicode; tags; halves of surrogate pairs, which no terminal can be sent.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """A text with its control characters, and those that reorder it, written as escapes; applied twice, no different.

    Example:
        >>> print(visible("\\x1b[31mred\\u202e"))
        \\x1b[31mred\\u202e
    """
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def shortened(text: str, characters: int, around: str = " ") -> str:
    """A text with its middle left out where it is longer, and its length in the middle's place.

    Args:
        text: the text.
        characters: the most that the result may have; at least 60.
        around: what stands around the length.

    Example:
        >>> shortened("a" * 1000 + "z" * 1000, 60)
        'aaaaaaaaaaaaaaaa ... [2,000 characters] ... zzzzzzzzzzzzzzzz'
    """
    if len(text) <= characters:
        return text
    middle = f"{around}... [{len(text):,} characters] ...{around}"
    room = characters - len(middle)
    return text[: room - room // 2] + middle + text[len(text) - room // 2 :]


def of_a_screen(text: str) -> str:
    """A message that fits on a screen and shows every character, whatever it quotes; applied twice, no different."""
    lines = text.split("\n")
    if len(lines) > MESSAGE_LINES:
        half = MESSAGE_LINES // 2
        lines = [*lines[:half], f"... [{len(lines):,} lines] ...", *lines[1 - half :]]
    # Cut before and after: escapes are longer than what they stand for, and a quoted file may be huge.
    lines = (shortened(visible(shortened(line, LINE_CHARACTERS)), LINE_CHARACTERS) for line in lines)
    return shortened("\n".join(lines), MESSAGE_CHARACTERS, around="\n")
