"""What a run was made with, when and on what."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from elusive import __version__


def versions() -> dict[str, Any]:
    """Date (UTC), hardware, and versions of the packages."""
    packages = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "pyarrow")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cpu": _processor(),
        "cores": os.cpu_count() or 1,
        "elusive": __version__,
        **{name: metadata.version(name) for name in packages},
    }


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    described = Path("/proc/cpuinfo")  # Linux alone has it; there, platform knows the kind of machine and no name
    lines = described.read_text(encoding="utf-8", errors="replace").splitlines() if described.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
