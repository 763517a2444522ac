"""What the documents name is there: dotted names of the package, down to fields of settings, and verbs."""

import ast
import re

import pytest
from markdown_it import MarkdownIt

from elusive.augmentation.arms import ARMS
from elusive.cli.table import VERBS

from .test_docs import DOCUMENTS, REPOSITORY, code_parts, is_name

NAME = re.compile(r"(?<![\w./-])elusive(?:\.[A-Za-z_]\w*)+")
COMMAND = re.compile(r"(?:^|\n)(?:\$ )?elusive ([\w-]+)(.*)")
INDEX = "docs/paper.md"


def codes(name: str) -> list[str]:
    return list(code_parts((REPOSITORY / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["README.md", *(document for document in DOCUMENTS if document.startswith("docs/"))])
def test_names_and_verbs_are_there(name):
    names = {found for code in codes(name) for found in NAME.findall(code)}
    verbs = {found[0] for code in codes(name) for found in COMMAND.findall(code)}
    assert not {dotted for dotted in names if not is_name(dotted)}
    assert verbs <= {verb for verb in VERBS if not verb.startswith("-")}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_imports_of_python_examples(name):
    blocks = MarkdownIt("commonmark").parse((REPOSITORY / name).read_text(encoding="utf-8"))
    parts = [part for block in blocks if block.info == "python" for part in ast.walk(ast.parse(block.content))]
    found = {
        f"{part.module}.{one.name}"
        for part in parts
        if isinstance(part, ast.ImportFrom) and part.module
        for one in part.names
    }
    assert not {dotted for dotted in found if dotted.startswith("elusive") and not is_name(dotted)}


def test_the_index_has_every_equation_arm_table_and_figure():
    text = (REPOSITORY / INDEX).read_text(encoding="utf-8")
    commands = [found for code in codes(INDEX) for found in COMMAND.findall(code)]
    targets = {target for verb, rest in commands if verb == "reproduce" for target in re.findall(r"[a-z]+\d", rest)}
    assert targets == {*(f"table{number}" for number in range(1, 9)), *(f"figure{number}" for number in range(1, 8))}
    assert all(f"`{arm}`" in text for arm in ARMS)
    assert "Equation 1" in text


def test_every_row_of_the_index_names_what_makes_it():
    rows = [line for line in (REPOSITORY / INDEX).read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    data = [row for row, after in zip(rows, [*rows[1:], ""], strict=True) if "---" not in row and "---" not in after]
    assert len(data) > 60
    assert not [row for row in data if not re.search(r"`(?:elusive[. ]|src/)", row)]
