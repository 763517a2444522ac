"""Exports are pushed where the hub is asked to, and nowhere else; what it refuses is said with what to do."""

from pathlib import Path

import huggingface_hub.constants
import pytest

from elusive.errors import ElusiveError
from elusive.exporting.hub import Destination

from .hub_server import READER, TOKEN, Hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base_model").mkdir()
    (tmp_path / "README.md").write_text("# A card")
    (tmp_path / "base_model" / "model.safetensors").write_bytes(b"weights" * 1000)
    (tmp_path / "secret.txt").write_text("not for others")
    return tmp_path


FILES = ("README.md", "base_model/model.safetensors")


def test_the_named_files_are_committed_to_a_new_private_repository(hub: Hub, folder: Path) -> None:
    to = Destination("ada/bio", "model")
    to.check()
    assert not hub.repositories  # nothing is created by asking
    assert to.push(folder, FILES) == f"{hub.url}/ada/bio"
    found = hub.repositories["models", "ada/bio"]
    assert found["private"] is True
    assert found["files"] == {name: (folder / name).read_bytes() for name in FILES}


def test_a_name_without_owner_is_the_users_own_and_may_be_public(hub: Hub, folder: Path) -> None:
    to = Destination("bio", "dataset", public=True)
    to.check()
    assert to.push(folder, FILES[:1]).startswith(f"{hub.url}/datasets/ada/bio")
    assert hub.repositories["datasets", "ada/bio"]["private"] is False
    Destination("bio", "dataset", public=True).push(folder, FILES)  # into one that is there
    assert set(hub.repositories["datasets", "ada/bio"]["files"]) == set(FILES)


def test_nothing_goes_into_a_public_repository_unasked(hub: Hub, folder: Path) -> None:
    hub.repositories["models", "ada/bio"] = {"private": False, "files": {}}
    for step in (Destination("ada/bio", "model").check, lambda: Destination("bio", "model").push(folder, FILES)):
        with pytest.raises(ElusiveError, match="is a public repository of the hub: expected a private one"):
            step()
    assert hub.repositories["models", "ada/bio"]["files"] == {}


def test_refusals_say_what_to_do(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ElusiveError, match=r"expected OWNER/NAME or NAME, got 'a/b/c'"):
        Destination("a/b/c", "model").check()
    with pytest.raises(ElusiveError, match=r"--push-to-hub: .*--"):
        Destination("ada/a--b", "model").check()
    with pytest.raises(ElusiveError, match=r"may not write others/bio \(403: You don't have the rights"):
        Destination("others/bio", "model").push(folder, FILES)
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(ElusiveError, match=r"may not write ada/bio \(403"):
        Destination("ada/bio", "model").push(folder, FILES)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ElusiveError, match=r"does not know the token \(401: .*Run `hf auth login`"):
        Destination("ada/bio", "model").check()
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ElusiveError, match=r"nobody is logged in to the hub. Run `hf auth login`"):
        Destination("ada/bio", "model").check()
    assert not hub.repositories


def test_an_upload_that_fails(hub: Hub, folder: Path) -> None:
    hub.stores_apart = True
    with pytest.raises(ElusiveError, match=r"could not be reached \(.*run the same command again"):
        Destination("ada/bio", "model").push(folder, FILES)
    assert hub.repositories["models", "ada/bio"]["files"] == {}


def test_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ElusiveError, match=r"http://127.0.0.1:9 could not be reached \(.*run the same command again"):
        Destination("ada/bio", "model").check()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ElusiveError, match="HF_HUB_OFFLINE is set"):
        Destination("ada/bio", "model").check()
