"""The examples in docstrings are true."""

import doctest
import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elusive

SOURCE = Path(elusive.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if "    >>> " in path.read_text(encoding="utf-8")
)


class Finder(doctest.DocTestFinder):
    """Finds the examples of functions that conftest.py wraps to check their shapes, too."""

    def _from_module(self, module: Any, object: Any) -> bool:
        return super()._from_module(module, inspect.unwrap(object) if callable(object) else object)  # type: ignore[misc]


def test_there_are_examples():
    assert {"elusive.attention.received", "elusive.models.batching", "elusive.clues.ranks"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np, "torch": torch})
    assert result.attempted
    assert not result.failed
