"""Settings of a language model on an OpenAI-compatible server, whatever it is asked for."""

import dataclasses
import math
import re
from typing import ClassVar, Literal, get_args, get_type_hints

from elusive.errors import ElusiveError

from .checks import check, check_each


@dataclasses.dataclass(frozen=True)
class ServerSettings:
    """A language model on an OpenAI-compatible server, and how patient to be with it."""

    section: ClassVar[str] = "llm"
    """Where recipes and messages have these settings."""
    by_flags: ClassVar[bool] = True
    """Whether they are given by flags; otherwise by the recipe."""
    prefix: ClassVar[str] = ""
    """What stands before the names of the flags."""

    base_url: str = "http://localhost:8000/v1"
    """Where the server's /chat/completions is found."""
    model: str = ""
    """Name of the model on the server."""
    api_key_variable: str = ""
    """Name of the environment variable that holds the server's key (empty: no key is sent)."""
    temperature: float = 1.0
    """Sampling temperature."""
    extra_body: str = ""
    """JSON object merged into every request, e.g. {"max_completion_tokens": 4000, "seed": null}; null leaves out."""
    max_concurrent_requests: int = 4
    """Requests at the same time."""
    timeout: float = 300.0
    """Seconds until a request that is not answered is given up and sent again."""
    retries: int = 6
    """How often a request is sent again after a rate limit, a server error, a time-out or a lost connection."""
    initial_backoff: float = 1.0
    """Seconds before a request is sent again, doubled each time; a server's Retry-After comes first."""
    max_backoff: float = 120.0
    """Longest wait in seconds; a server that asks for more ends the run, which can be gone on with later."""
    max_answer_bytes: int = 1 << 24
    """Longest answer of the server in bytes; one without an end is given up there and sent again."""
    input_price: float = 0.0
    """Price of a million prompt tokens, in any currency (0: no cost is said)."""
    output_price: float = 0.0
    """Price of a million answered tokens."""

    def __post_init__(self) -> None:
        # A key given by mistake must not be printed.
        if self.api_key_variable and not re.fullmatch("[A-Z_][A-Z0-9_]*", self.api_key_variable):
            raise ElusiveError(
                f"{self.section}.api_key_variable: expected the NAME of an environment variable (capitals, digits and "
                "_), got something else. Put the key itself into that variable, never into settings."
            )
        at_least_0 = ("temperature", "retries", "initial_backoff", "input_price", "output_price")
        check_each(self.section, self, at_least_0, 0)
        check_each(self.section, self, ("max_concurrent_requests", "max_answer_bytes"), 1)
        check(0 < self.timeout < math.inf, f"{self.section}.timeout", "seconds above 0", self.timeout)
        check(
            self.initial_backoff <= self.max_backoff < math.inf,
            f"{self.section}.max_backoff",
            "at least initial_backoff",
            self.max_backoff,
        )

    def given_by(self, setting: str) -> str:
        """How a user gives a setting: by a flag or in the recipe."""
        return f"--{self.prefix}{setting.replace('_', '-')}" if self.by_flags else f"{self.section}.{setting}"


@dataclasses.dataclass(frozen=True)
class WriterSettings(ServerSettings):
    """A language model that writes, on a server or here."""

    engine: str = "server"
    """Where the model runs; each kind of writer names its own."""
    max_new_tokens: int = 1024
    """Longest answer in tokens; one that is cut off is rejected."""

    def __post_init__(self) -> None:
        super().__post_init__()
        engines = get_args(get_type_hints(type(self))["engine"])
        check(not engines or self.engine in engines, f"{self.section}.engine", " or ".join(engines), self.engine)
        check_each(self.section, self, ("max_new_tokens",), 1)


@dataclasses.dataclass(frozen=True)
class RewriteSettings(WriterSettings):
    """Copies that a language model writes (the arms rewrite-...): on a server, or here."""

    section: ClassVar[str] = "rewrite"
    by_flags: ClassVar[bool] = False

    engine: Literal["server", "transformers"] = "server"
    """Where the model runs: on a server, or here, by transformers (then `model` is its folder or hub name)."""
    facts: int = 5
    """Facts that a prompt names: the sentences whose queries contrast most, each with its clue (0: none)."""
    tries: int = 2
    """How often a copy is asked for, with another seed each time, until an answer passes the checks."""
    min_length_ratio: float = 0.2
    """Shortest answer, as a share of the document's characters."""
    max_length_ratio: float = 4.0
    """Longest answer, as a multiple of the document's characters."""
    min_facts_kept: float = 0.25
    """An answer is rejected if fewer of the document's marked spans stand in it word for word (without marks: of its
    clues)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each("rewrite", self, ("tries",), 1)
        check_each("rewrite", self, ("facts", "min_length_ratio"), 0)
        longest = self.max_length_ratio
        check(longest >= self.min_length_ratio, "rewrite.max_length_ratio", "at least min_length_ratio", longest)
        check(0 <= self.min_facts_kept <= 1, "rewrite.min_facts_kept", "a share in [0, 1]", self.min_facts_kept)
