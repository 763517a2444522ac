"""Builds the site: python site/build.py OUTPUT.

The pages lie in docs/ (and README.md, CHANGELOG.md, CONTRIBUTING.md), and are copied, never edited: a link to a
file that is no page becomes its name, and figures come along. The pages of the reference are generated from docstrings,
settings and parsers.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from reference import write_reference
from sphinx.cmd.build import main as sphinx

SITE, REPOSITORY = Path(__file__).parent, Path(__file__).resolve().parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def build(output: Path) -> int:
    """Build the site; every warning is an error.

    Returns:
        Sphinx's exit status.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        shutil.copytree(SITE, source, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(REPOSITORY / "docs" / "figures", source / "figures")
        for page in sorted((REPOSITORY / "docs").glob("*.md")):
            _copy(page, source / page.name)
        for name in PAGES:
            _copy(REPOSITORY / name, source / name.lower())
        write_reference(source / "reference")
        return sphinx(["-b", "html", "-W", "--keep-going", "-q", str(source), str(output)])


def _copy(page: Path, target: Path) -> None:
    def linked(match: re.Match[str]) -> str:
        image, text, path, anchor = match[1], match[2], match[3], match[4] or ""
        inside = (page.parent / path).resolve().relative_to(REPOSITORY)
        if inside.parts[0] == "docs":
            return f"{image}[{text}]({inside.relative_to('docs').as_posix()}{anchor})"
        if inside.as_posix() in PAGES:
            return f"[{text}]({inside.as_posix().lower()}{anchor})"
        if inside.as_posix() == "README.md":
            return f"[{text}](index.md)"
        return text if text.startswith("`") else f"{text} (`{inside.as_posix()}`)"

    target.write_text(_LINK.sub(linked, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]).resolve()))
