"""What a run was made with."""

import platform
from importlib import metadata
from typing import Any

import torch

from elusive import __version__


def versions() -> dict[str, Any]:
    """What a run was made with."""
    packages = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "pyarrow")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "elusive": __version__,
        **{name: metadata.version(name) for name in packages},
    }
