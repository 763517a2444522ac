"""Pairs of models and the paper's experiments on them, as families.toml describes them."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from elusive.config.toml import from_table
from elusive.errors import ElusiveError

Role = Literal["large", "small"]
ROLES: tuple[Role, ...] = ("large", "small")


@dataclass(frozen=True)
class Member:
    """One model of a pair."""

    model: str
    """Folder or hub name."""
    title: str
    """Its name in tables."""
    published: dict[str, Any] = field(default_factory=dict)
    """Whose rows of the paper stand beside its own, by the table's number."""


@dataclass(frozen=True)
class Experiment:
    """A corpus, the model that learns it, and the settings that are tried."""

    tables: tuple[int, ...] = ()
    """Tables of the paper that are read off it."""
    attempt: str = ""
    """What is tried, where it is no table of the paper's."""
    question_sets: bool = False
    """One of four that tell whether it matters that cues stand at the questions that are asked."""
    study: str = ""
    """The study that an attempt is a part of, where it is not the table of attempts: copies, beyond."""
    first_seed: int = 100
    """Cohort n holds the people of seed first_seed + n: neither the demo's nor those that settings were found on."""
    people: int = 0
    """New people of each cohort."""
    cohorts: int = 0
    """How many cohorts (0: the family's)."""
    seeds: tuple[int, ...] = ()
    """Training seeds, with one cohort; of several, each has a seed of its own."""
    arms: tuple[str, ...] = ()
    """Arms of an attempt, or of the question sets; those of tables are known."""
    borrows: tuple[str, ...] = ()
    """Arms that an attempt leaves as they are on the biographies, where they are read."""
    grid: dict[str, Any] = field(default_factory=dict)
    """See SweepSettings.grid."""
    published_grid: bool = False
    """Try each arm's alpha and beta of the paper too."""
    equal: tuple[dict[str, Any], ...] = ()
    """Settings at which all arms are compared."""
    evaluate_at_epochs: dict[str, Any] = field(default_factory=dict)
    """Passes after which questions are asked: plain = [...], augmented = [...]."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Settings of its runs beside the family's."""


@dataclass(frozen=True)
class Family:
    """A pair of models and its experiments."""

    title: str
    large: Member
    small: Member
    cohorts: int = 1
    seeds: tuple[int, ...] = (0,)
    recipe: dict[str, Any] = field(default_factory=dict)
    experiments: dict[str, Any] = field(default_factory=dict)
    pretrain: dict[str, Any] = field(default_factory=dict)
    """Models of the family's own that attempts use, by name: PretrainSettings."""

    def member(self, role: Role) -> Member:
        """Its large or small model."""
        return self.large if role == "large" else self.small

    def experiment(self, name: str, role: Role) -> Experiment:
        """An experiment by name and the model that is trained.

        Raises:
            ElusiveError: if there is none.
        """
        found = self.experiments.get(name, {}).get(role)
        if found is None:
            raise ElusiveError(f"No experiment {name} that trains the {role} model in the family '{self.title}'.")
        return from_table(Experiment, found, f"families.toml: {name}.{role}")


def families() -> tuple[str, ...]:
    """The families' names."""
    return tuple(_tables())


def family(name: str) -> Family:
    """A family by name.

    Raises:
        ElusiveError: if there is none.
    """
    if name not in _tables():
        raise ElusiveError(f"Expected a family ({', '.join(_tables())}), got {name!r}.")
    return from_table(Family, _tables()[name], f"families.toml: {name}")


@functools.cache
def _tables() -> Mapping[str, Any]:
    return tomllib.loads((Path(__file__).parent / "families.toml").read_text(encoding="utf-8"))
