"""Words from anywhere on a page that others read: escaped for Markdown, and without paths of this machine."""

import html
import os
import re
from pathlib import Path

from elusive.messages import visible

CITATION = """\
@inproceedings{gao2025elusive,
  title = {Enhancing elusive clues in knowledge learning by contrasting attention of language models},
  author = {Gao, Jian and Zhang, Xiao and Wu, Ji and Li, Miao},
  booktitle = {AAAI},
  year = {2025},
  note = {arXiv 2409.17954}
}"""
"""The paper, in BibTeX."""

PAPER = "https://arxiv.org/abs/2409.17954"
"""Where the paper lies."""


def markdown(text: str) -> str:
    r"""Text escaped for Markdown, on one line.

    Example:
        >>> print(markdown("a_b <img>\n| $x$"))
        a\_b &lt;img&gt; \| \$x\$
    """
    escaped = html.escape(visible(" ".join(text.split())), quote=False)
    return re.sub(r"([\\`*_{}\[\]#|~!$])", r"\\\1", escaped)


def code(text: str) -> str:
    r"""Text as a Markdown code span within a table, on one line.

    Example:
        >>> print(code("a|b"), code("a`b"))
        `a\|b` `` a`b ``
    """
    text = visible(" ".join(text.split())).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def fence_of(text: str) -> str:
    """The fence of a code block that holds a text, whatever stands in it.

    Example:
        >>> fence_of("ls"), fence_of("a ``` b")
        ('```', '````')
    """
    return "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))


def public_name(name: str) -> str:
    """A name as it may be published: of a path, its last part alone.

    Example:
        >>> public_name("/home/me/models/gemma"), public_name("google/gemma-2-9b")
        ('gemma', 'google/gemma-2-9b')
    """
    path = Path(name)
    local = (
        path.is_absolute()
        or name.startswith((".", "~"))
        or (name.count("/") != 1 and "/" in name)
        or os.path.exists(path)
    )
    return path.name if local else name
