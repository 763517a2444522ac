"""The notebooks in examples/ run from their first cell to the last, are stored without outputs, and show themselves."""

import json
from pathlib import Path
from typing import Any

import pytest

import elusive

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def cells(name: str, **changed: object) -> list[str]:
    """The code of a notebook; the first cell, of settings, is followed by other values for some."""
    notebook = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))
    first, *others = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    settings = "".join(f"\n{key} = {value!r}" for key, value in changed.items())
    return [first + settings, *others]


def run(code: list[str]) -> dict[str, Any]:
    """What the cells leave behind."""
    names: dict[str, Any] = {}
    for cell in code:
        exec(compile(cell, "cell", "exec"), names)
    return names


def test_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    left = run(cells("the_paper.ipynb", PEOPLE=2, STEPS=1))
    assert len(left["clues"]) == 2
    assert len(left["copies"]) == 22
    assert len(left["after"]) == len(left["questions"])
    assert "after: EM" in capsys.readouterr().out
    assert "<td>" in left["after"]._repr_html_()


def test_your_corpus_with_a_local_pair() -> None:
    from elusive.models.names import resolve

    left = run(cells("your_corpus.ipynb", LARGE=resolve("elusive/large"), SMALL="elusive/small"))
    assert [one.document.id for one in left["clues"]] == ["text-000001", "pump-2"]
    assert len(left["copies"].to_datasets()) == 10
    assert left["large"].model.config._attn_implementation == "sdpa"
    assert isinstance(left["pair"], elusive.Pair)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_every_notebook_is_tested() -> None:
    assert {path.name for path in NOTEBOOKS} == {"the_paper.ipynb", "your_corpus.ipynb"}
