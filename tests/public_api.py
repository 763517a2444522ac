"""The public names with their signatures, read from the source: what `elusive` exports, and what it takes.

    python -m tests.public_api

writes them to public_api.txt. Run it if the public API is meant to change, and say so in CHANGELOG.md.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import elusive

SOURCE = Path(elusive.__file__).parent
PINNED = Path(__file__).with_name("public_api.txt")
SECTIONS = ("corpus", "scoring", "augmentation", "training", "evaluation", "run", "verbs")
SETTINGS = tuple(f"config.{name}" for name in SECTIONS)
"""Modules of settings; tests/cli/options.txt and the recipes' tests hold their fields."""


def typed_imports() -> dict[str, str]:
    """The imports for type checkers in elusive/__init__.py: each name, and its module within the package."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    found: dict[str, str] = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom)
        assert line.level == 1
        for name in line.names:
            assert name.asname == name.name, "a name is public to type checkers only as `X as X`"
            found[name.name] = line.module or ""
    return found


def definition(name: str, module: str) -> ast.stmt:
    """The statement that defines a public name in the module it is imported from, or in one that re-exports it."""
    path = SOURCE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return node
    raise AssertionError(f"{module} does not define {name}")


def is_public(function: ast.FunctionDef) -> bool:
    return not function.name.startswith("_") or function.name == "__init__"


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """The public methods of a class, its constructor among them."""
    return [item for item in node.body if isinstance(item, ast.FunctionDef) and is_public(item)]


def parameters(function: ast.FunctionDef) -> list[str]:
    """Names of a function's parameters, without self and cls."""
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [one.arg for one in (arguments.vararg, arguments.kwarg) if one]
    return [name for name in names if name not in ("self", "cls")]


def signature(function: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{function.name}({ast.unparse(function.args)}){returns}"


def described(name: str, module: str) -> Iterator[str]:
    """Lines about one public name."""
    node = definition(name, module)
    if isinstance(node, ast.FunctionDef):
        yield signature(node)
    elif isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, node.bases))
        yield f"class {name}({bases})" if bases else f"class {name}"
        if module not in SETTINGS:
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            yield from (f"    {ast.unparse(field)}" for field in fields)
            for method in methods(node):
                is_property = any(isinstance(one, ast.Name) and "property" in one.id for one in method.decorator_list)
                yield f"    {'property ' if is_property else ''}{signature(method)}"
    else:
        assert isinstance(node, ast.AnnAssign)
        yield f"{name}: {ast.unparse(node.annotation)}"


def public_api() -> str:
    """Every public name in the order of `__all__`, with its signature, one a line."""
    homes = typed_imports()
    lines = (line for name in elusive.__all__ if name in homes for line in described(name, homes[name]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PINNED.write_text(public_api(), encoding="utf-8")
