"""What `import elusive` offers: lazy, typed, and the names and signatures that public_api.txt pins."""

import ast
import importlib
import subprocess
import sys

import pytest

import elusive

from . import public_api

HOMES = public_api.typed_imports()


def test_the_three_lists_agree() -> None:
    assert sorted(elusive.__all__) == sorted({*elusive._HOMES, "__version__"})
    assert len(set(elusive.__all__)) == len(elusive.__all__)
    assert HOMES == elusive._HOMES


@pytest.mark.parametrize("name", HOMES)
def test_a_name_is_what_its_module_defines(name: str) -> None:
    assert getattr(elusive, name) is getattr(importlib.import_module(f"elusive.{HOMES[name]}"), name)
    assert public_api.definition(name, HOMES[name])


def test_names_and_signatures_are_pinned() -> None:
    assert public_api.public_api() == public_api.PINNED.read_text(encoding="utf-8"), (
        "The public API changed. If it is meant to: python -m tests.public_api, and say so in CHANGELOG.md."
    )


def test_importing_the_package_loads_no_library() -> None:
    code = "import elusive, sys; dir(elusive); print({'numpy', 'torch', 'transformers', 'pyarrow'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'elusive' has no attribute 'augmnt'"):
        elusive.augmnt  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", HOMES)
def test_no_parameter_list_is_longer_than_nine(name: str) -> None:
    node = public_api.definition(name, HOMES[name])
    functions = public_api.methods(node) if isinstance(node, ast.ClassDef) else [node]
    for function in functions:
        if isinstance(function, ast.FunctionDef):
            assert len(public_api.parameters(function)) <= 9, function.name


@pytest.mark.parametrize("name", HOMES)
def test_every_parameter_and_result_has_a_type(name: str) -> None:
    node = public_api.definition(name, HOMES[name])
    functions = public_api.methods(node) if isinstance(node, ast.ClassDef) else [node]
    for function in functions:
        if isinstance(function, ast.FunctionDef):
            assert function.returns is not None, function.name
            given = {one.arg: one.annotation for one in (*function.args.args, *function.args.kwonlyargs)}
            assert all(kind is not None for one, kind in given.items() if one not in ("self", "cls")), function.name
