"""A stand-in hub that huggingface_hub takes for the real one."""

from collections.abc import Iterator

import huggingface_hub.constants
import pytest

from .hub_server import TOKEN, Hub
from .hub_server import hub as served


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with served() as known:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", known.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield known
