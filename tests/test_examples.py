"""The scripts in examples/ run, and both give the package's numbers."""

import os
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elusive

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def method() -> dict[str, Any]:
    return runpy.run_path(os.fspath(EXAMPLES / "the_method.py"))


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return runpy.run_path(os.fspath(EXAMPLES / "the_api.py"))


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"the_method.py", "the_api.py"}


def test_both_read_the_same_document(method: dict[str, Any], api: dict[str, Any]) -> None:
    (document,) = api["documents"]
    assert (method["IDENTIFIER"], method["TEXT"]) == (document.id, document.text)
    answers = [document.text[span.start : span.end] for span in document.spans if span.field != "name"]
    assert list(method["ANSWERS"]) == answers


def test_the_method_gives_the_packages_numbers(method: dict[str, Any], api: dict[str, Any]) -> None:
    (clues,) = api["clues"]
    np.testing.assert_array_equal(method["ids"], clues.token_ids)
    np.testing.assert_allclose(method["scores"]["large"], clues.large.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(method["scores"]["small"], clues.small.scores, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(method["ranks"], clues.ranks)
    kept_unless_seen = np.where(clues.seen, elusive.drop_probability(clues.ranks, 0.6, 0.05), 0.0)
    np.testing.assert_array_equal(method["probability"], kept_unless_seen)
    assert [method["TEXT"], *method["copies"]] == [text.text for text in api["copies"]]


def test_the_method_needs_no_abstraction_of_the_package() -> None:
    code = (EXAMPLES / "the_method.py").read_text(encoding="utf-8")
    assert "import elusive" not in code
    assert "from elusive" not in code
