"""Names of models: those that ship with the package, and those of the hub."""

import os
import re
from pathlib import Path

EMBEDDED = {
    "elusive/large": Path(__file__).parents[1] / "embedded" / "large",
    "elusive/small": Path(__file__).parents[1] / "embedded" / "small",
}


def resolve(name: str) -> str:
    """The folder of an embedded model; other names unchanged."""
    return str(EMBEDDED.get(name, name))


_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def on_hub(name: str) -> bool:
    """Whether a name is one of the hub's, rather than a folder or a model that ships with the package."""
    return bool(_HUB_NAME.fullmatch(name)) and name not in EMBEDDED and not os.path.exists(name)
