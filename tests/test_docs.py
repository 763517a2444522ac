"""What the documents point to is there: links, anchors, files, make targets, names of the package.

Links into the web are not followed, so that a test run needs no network.
"""

import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "src/**/*.md")
    for path in REPOSITORY.glob(pattern)
)
# A word is taken for a path of this repository if it begins with one of these folders.
FOLDERS = ("src", "tests", "docs", "benchmarks", "examples", ".ci")
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*")
NAME = re.compile(r"(?<![\w./-])elusive(?:\.[A-Za-z_]\w*){2,}")
MAKE = re.compile(r"(?:^|[`\s;&])make ([a-z][a-z-]*)\b")


def link_targets(markdown: str) -> Iterator[str]:
    """Where the links and images of a Markdown text point to."""
    for block in MarkdownIt("commonmark").enable("table").parse(markdown):
        for part in block.children or ():
            target = part.attrGet("href") or part.attrGet("src")
            if target:
                yield str(target)


def code_parts(markdown: str) -> Iterator[str]:
    """The code of a Markdown text: between backticks, and in blocks that are no program's output."""
    for block in MarkdownIt("commonmark").enable("table").parse(markdown):
        if block.type == "fence":
            yield block.content
        for part in block.children or ():
            if part.type == "code_inline":
                yield part.content


def anchors(markdown: str) -> set[str]:
    """The anchors that GitHub gives the headings of a Markdown text."""
    blocks = MarkdownIt("commonmark").parse(markdown)
    found: set[str] = set()
    for opening, heading in itertools.pairwise(blocks):
        if opening.type == "heading_open":
            text = "".join(part.content for part in heading.children or () if part.type in ("text", "code_inline"))
            plain = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            number = sum(1 for other in found if re.fullmatch(rf"{re.escape(plain)}(-\d+)?", other))
            found.add(f"{plain}-{number}" if number else plain)
    return found


def broken_links(document: Path) -> list[str]:
    """The relative links of a document whose file or anchor is not there."""
    broken = []
    for target in link_targets(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = document.parent / path if path else document
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


def is_name(dotted: str) -> bool:
    """Whether a module, or what it holds, has this dotted name."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            held = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            held = getattr(held, part, None) or getattr(held, "__annotations__", {}).get(part)
        return held is not None
    return False


def test_the_documents_are_found():
    assert {"README.md", "CONTRIBUTING.md", "docs/method.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_anchors(name):
    assert not broken_links(REPOSITORY / name)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_and_folders(name):
    named = {
        path.rstrip("./")
        for code in code_parts((REPOSITORY / name).read_text(encoding="utf-8"))
        for path in PATH.findall(code)
        if not re.search(r"/[A-Z]+\b(?!\.)", path)  # tests/FOLDER stands for any
    }
    assert not {path for path in named if not list(REPOSITORY.glob(path))}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_names_of_the_package(name):
    named = {
        found for code in code_parts((REPOSITORY / name).read_text(encoding="utf-8")) for found in NAME.findall(code)
    }
    assert not {dotted for dotted in named if not is_name(dotted)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets(name):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        found for code in code_parts((REPOSITORY / name).read_text(encoding="utf-8")) for found in MAKE.findall(code)
    }
    assert named <= targets


def test_broken_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# One `heading`, two\n\n# Again\n\n## Again\n", encoding="utf-8")
    document = tmp_path / "document.md"
    document.write_text(
        "# Here\n[a](other.md) [b](other.md#one-heading-two) [c](#here) [d](https://nowhere.invalid)\n"
        "[e](other.md#again-1)\n\n"
        "| table |\n| --- |\n| [f](gone.md) |\n\n[g](other.md#gone) ![h](gone.png)\n",
        encoding="utf-8",
    )
    assert broken_links(document) == ["gone.md", "other.md#gone", "gone.png"]


def test_names_that_are_gone_are_found():
    assert is_name("elusive.clues.ranks.rank_tokens")
    assert is_name("elusive.errors.ElusiveError")
    assert not is_name("elusive.clues.ranks.gone")
    assert not is_name("elusive.gone")
