"""Score sets: a corpus scored by one model in one way; each lies in a folder of its own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from elusive.config.scoring import Queries
from elusive.errors import ElusiveError

Measure = Literal["attention", "entropy"]
"""What a score is: the attention that a token receives, or the entropy of the model's prediction in its place."""

_NAME = re.compile(r"(.+?)-cue-(.+)|(.+)-(cues|spans|all)(-each)?|(.+)-(entropy)", re.DOTALL)


@dataclass(frozen=True)
class QuerySet:
    """The queries of one score set; a forward pass gives the scores of any number of them.

    Attributes:
        queries: which positions the attention is captured at.
        fields: only spans of these fields (empty: all but the head fields).
        each: keep what each sentence's queries give, in addition to the mean over all of them.
    """

    queries: Queries
    fields: tuple[str, ...] = ()
    each: bool = False


@dataclass(frozen=True, order=True)
class ScoreSet:
    """One model's scores of a corpus: attention at one kind of query, or entropies of all tokens.

    Attributes:
        model: the model's role: large, small, or another.
        queries: which positions the attention is captured at; all where entropies are taken.
        field: capture at the cues of this field alone (empty: of all fields); only with queries = cues.
        each: keep what each sentence's queries give, in addition to the mean over all of them; not with a field.
        measure: what is scored.

    Raises:
        ElusiveError: if these make no name that `parse` could read back.
    """

    model: str
    queries: Queries
    field: str = ""
    each: bool = False
    measure: Measure = "attention"

    def __post_init__(self) -> None:
        if self.measure not in get_args(Measure):
            known = " or ".join(get_args(Measure))
            raise ElusiveError(f"ScoreSet: expected the measure {known}, got {self.measure!r}.")
        if self.measure == "entropy" and (self.queries != "all" or self.field or self.each):
            raise ElusiveError(
                "ScoreSet: expected queries = all, no field and no each with the measure entropy, got "
                f"{self.queries!r}, {self.field!r} and {self.each!r}. Entropies are taken at every token."
            )
        if self.field and self.each:
            raise ElusiveError(
                f"ScoreSet: expected no field with each, got {self.field!r}. Single sentences are kept of a set at all "
                "fields."
            )
        if self.field and self.queries != "cues":
            raise ElusiveError(
                f"ScoreSet: expected queries = cues with the field {self.field!r}, got {self.queries!r}. Scores of a "
                "single field are taken at its cues."
            )
        match = _NAME.fullmatch(self.name)
        if not match or (match[1] or match[3] or match[6]) != self.model:
            raise ElusiveError(
                f"ScoreSet: expected queries cues, spans or all and a model's role without '-cue', got "
                f"{self.queries!r} and {self.model!r}."
            )

    @property
    def name(self) -> str:
        """The name of its folder.

        Example:
            >>> ScoreSet("large", "cues").name, ScoreSet("large", "cues", "company").name
            ('large-cues', 'large-cue-company')
            >>> ScoreSet("large", "cues", each=True).name
            'large-cues-each'
            >>> ScoreSet("large", "all", measure="entropy").name
            'large-entropy'
        """
        if self.measure != "attention":
            return f"{self.model}-{self.measure}"
        if self.field:
            return f"{self.model}-cue-{self.field}"
        return f"{self.model}-{self.queries}{'-each' if self.each else ''}"

    @property
    def query_set(self) -> QuerySet:
        """Its queries."""
        return QuerySet(self.queries, (self.field,) if self.field else (), self.each)

    @classmethod
    def parse(cls, name: str) -> "ScoreSet":
        """The score set of a name.

        Raises:
            ElusiveError: if it is no such name.

        Example:
            >>> ScoreSet.parse("small-cue-company")
            ScoreSet(model='small', queries='cues', field='company', each=False, measure='attention')
        """
        if not (match := _NAME.fullmatch(name)):
            raise ElusiveError(
                f"Expected the name of a score set (e.g. large-cues, small-all, large-cue-company), got {name!r}."
            )
        if match[1]:
            return cls(match[1], "cues", match[2])
        if match[6]:
            return entropy_set(match[6])
        return cls(match[3], cast(Queries, match[4]), each=bool(match[5]))

    def __str__(self) -> str:
        return self.name


def pair_sets(queries: Queries, field: str = "", each: bool = False) -> tuple[ScoreSet, ScoreSet]:
    """The score sets that a contrast is made of: the large model's, and the small one's at the same queries."""
    return ScoreSet("large", queries, field, each), ScoreSet("small", queries, field, each)


def entropy_set(model: str) -> ScoreSet:
    """The score set of a model's entropies."""
    return ScoreSet(model, "all", measure="entropy")


def sets_in(folder: str | Path) -> Mapping[ScoreSet, Path]:
    """The score sets that lie in a folder, in order; whatever else lies there is left out."""
    found = (path for path in Path(folder).glob("*") if path.is_dir() and _NAME.fullmatch(path.name))
    return dict(sorted((ScoreSet.parse(path.name), path) for path in found))
