"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

import elusive

SOURCE = Path(elusive.__file__).parent
MODULES = sorted(path.stem for path in SOURCE.glob("*.py") if "\n        >>> " in path.read_text(encoding="utf-8"))


def test_there_are_examples():
    assert {"attention", "batching", "ranking"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"elusive.{name}"), extraglobs={"np": np, "torch": torch})
    assert result.attempted
    assert not result.failed
