"""Exports on the Hugging Face hub: pushed only when asked for, and private unless told otherwise."""

import contextlib
import dataclasses
import functools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from elusive.errors import ElusiveError
from elusive.runs.terminal import is_quiet, is_terminal

_NAME = re.compile(r"([\w.-]+/)?[\w.-]+")


@dataclasses.dataclass(frozen=True)
class Destination:
    """A repository of the hub.

    Attributes:
        name: OWNER/NAME, or NAME of one of the user's own.
        kind: of models or of data sets.
        public: whether everybody may see it.
    """

    name: str
    kind: Literal["model", "dataset"]
    public: bool = False

    def check(self) -> None:
        """Ask the hub who is logged in, and whether the repository is as public as it is to be.

        Raises:
            ElusiveError: if the name is none of the hub's, nobody is logged in, the hub cannot be reached, or the
                repository is public without `public` being given.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        if not _NAME.fullmatch(self.name):
            raise ElusiveError(f"--push-to-hub: expected OWNER/NAME or NAME, got {self.name!r}.")
        with self._reasons():
            user = self._api.whoami()["name"]
            full = self.name if "/" in self.name else f"{user}/{self.name}"
            with contextlib.suppress(RepositoryNotFoundError):
                self._refuse_public(self._api.repo_info(full, repo_type=self.kind).private)

    def push(self, folder: Path, files: Sequence[str]) -> str:
        """Create the repository unless it is there, and commit files to it.

        Args:
            folder: where the files lie.
            files: their names, which they have on the hub too.

        Returns:
            The address of the repository.

        Raises:
            ElusiveError: if the hub refuses it or cannot be reached; nothing is committed then.
        """
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import HfHubHTTPError

        with self._reasons(), _own_progress():
            made = self._api.create_repo(self.name, repo_type=self.kind, private=not self.public, exist_ok=True)
            # Another may have made it public since the check; one that was there keeps its own visibility.
            self._refuse_public(self._api.repo_info(made.repo_id, repo_type=self.kind).private)
            adds: list[Any] = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files]
            try:
                self._api.create_commit(made.repo_id, adds, commit_message="Export by Elusive", repo_type=self.kind)
            except ValueError as error:  # of a card that the hub does not take
                if isinstance(error, HfHubHTTPError):
                    raise
                raise ElusiveError(f"--push-to-hub: {self.name} was not written: {error} {_LATER}") from error
        return str(made)

    def _refuse_public(self, private: bool | None) -> None:
        if not private and not self.public:
            raise ElusiveError(
                f"{self.name} is a public repository of the hub: expected a private one, as --public was not given. "
                "Add --public if everybody may see what is pushed, or name another repository."
            )

    @functools.cached_property
    def _api(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(library_name="elusive")

    @contextlib.contextmanager
    def _reasons(self) -> Iterator[None]:
        """Say what to do where the hub refuses something or cannot be reached."""
        from huggingface_hub import errors

        try:
            yield
        except errors.LocalTokenNotFoundError as error:
            raise ElusiveError(f"--push-to-hub: nobody is logged in to the hub. {_LOG_IN}") from error
        except errors.OfflineModeIsEnabled as error:
            raise ElusiveError(
                "--push-to-hub: HF_HUB_OFFLINE is set, so the hub is not asked for anything. Unset it, or leave "
                "--push-to-hub out."
            ) from error
        except errors.HFValidationError as error:
            raise ElusiveError(f"--push-to-hub: {_first_line(error)}") from error
        except errors.HfHubHTTPError as error:
            raise ElusiveError(self._refusal(error)) from error
        except (_transport_error(), ConnectionError, TimeoutError) as error:  # the latter of hf_xet, for large files
            raise ElusiveError(
                f"--push-to-hub: {self._api.endpoint} could not be reached ({_first_line(error)}). {_LATER}"
            ) from error

    def _refusal(self, error: Any) -> str:
        said = _first_line(getattr(error, "server_message", None) or error)
        status = error.response.status_code
        if status == 401:
            return f"--push-to-hub: the hub does not know the token (401: {said}). {_LOG_IN}"
        if status == 403:
            return (
                f"--push-to-hub: the token may not write {self.name} (403: {said}). Give one with the right to write "
                "there, or name a repository of your own."
            )
        return f"--push-to-hub: the hub refused {self.name} ({status}: {said}). {_LATER}"


_LOG_IN = "Run `hf auth login`, or set HF_TOKEN to a token that may write."
_LATER = "The export lies in its folder; run the same command again to push it."


def _transport_error() -> type[Exception]:
    """What httpx raises, or httpx2, by the version of huggingface_hub."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


def _first_line(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextlib.contextmanager
def _own_progress() -> Iterator[None]:
    """Show huggingface_hub's bars on a terminal alone."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = is_terminal(sys.stderr) and not is_quiet()
    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
