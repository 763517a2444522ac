"""The models that ship with the package, by name."""

from pathlib import Path

EMBEDDED = {
    "elusive/large": Path(__file__).parents[1] / "embedded" / "large",
    "elusive/small": Path(__file__).parents[1] / "embedded" / "small",
}


def resolve(name: str) -> str:
    """The folder of an embedded model; other names unchanged."""
    return str(EMBEDDED.get(name, name))
