"""The names of score sets: built and read back in one place."""

from pathlib import Path

import pytest

from elusive.config.scoring import Queries
from elusive.errors import ElusiveError
from elusive.scoring.sets import ScoreSet, pair_sets, sets_in

NAMES = {
    "large-cues": ScoreSet("large", "cues"),
    "small-all": ScoreSet("small", "all"),
    "other-spans": ScoreSet("other", "spans"),
    "large-cue-company": ScoreSet("large", "cues", "company"),
    "small-cue-birth-date": ScoreSet("small", "cues", "birth-date"),
    "large-cue-all": ScoreSet("large", "cues", "all"),
    "Llama 3 8B, trained-cue-city": ScoreSet("Llama 3 8B, trained", "cues", "city"),
    "gpt-2-cues": ScoreSet("gpt-2", "cues"),
    "large-cues-each": ScoreSet("large", "cues", each=True),
    "small-all-each": ScoreSet("small", "all", each=True),
    "gpt-2-all-spans-each": ScoreSet("gpt-2-all", "spans", each=True),
    "large-cue-all-each": ScoreSet("large", "cues", "all-each"),
    "large-entropy": ScoreSet("large", "all", measure="entropy"),
    "small-cues-entropy": ScoreSet("small-cues", "all", measure="entropy"),
    "large-cue-entropy": ScoreSet("large", "cues", "entropy"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_built_and_read_back(name: str) -> None:
    assert ScoreSet.parse(name) == NAMES[name]
    assert NAMES[name].name == str(NAMES[name]) == name


@pytest.mark.parametrize(
    "name",
    ["", "large", "entropy", "large-cue", "large-cue-", "-cues", "large-queries", "figures", "large-each", "all-each"],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ElusiveError) as caught:
        ScoreSet.parse(name)
    assert str(caught.value) == (
        f"Expected the name of a score set (e.g. large-cues, small-all, large-cue-company), got {name!r}."
    )


@pytest.mark.parametrize(
    ("model", "queries", "field", "message"),
    [
        ("large", "all", "city", r"expected queries = cues with the field 'city', got 'all'"),
        ("large-cue-city", "cues", "", "a model's role without '-cue', got 'cues' and 'large-cue-city'"),
        ("large-cue", "all", "", "got 'all' and 'large-cue'"),
        ("", "cues", "", "got 'cues' and ''"),
        ("large", "cue", "", "expected queries cues, spans or all .* got 'cue' and 'large'"),
    ],
)
def test_what_could_not_be_read_back_is_refused(model: str, queries: Queries, field: str, message: str) -> None:
    with pytest.raises(ElusiveError, match=message):
        ScoreSet(model, queries, field)


def test_entropies_have_no_queries_of_their_own() -> None:
    with pytest.raises(ElusiveError, match="expected queries = all, no field and no each with the measure entropy"):
        ScoreSet("large", "cues", measure="entropy")
    with pytest.raises(ElusiveError, match="expected the measure attention or entropy, got 'loss'"):
        ScoreSet("large", "cues", measure="loss")  # type: ignore[arg-type]


def test_sentences_of_a_single_field_are_refused() -> None:
    with pytest.raises(ElusiveError, match=r"expected no field with each, got 'city'\. Single sentences are kept"):
        ScoreSet("large", "cues", "city", each=True)


def test_score_sets_are_ordered_and_hashable() -> None:
    assert sorted(NAMES.values())[0] == ScoreSet("Llama 3 8B, trained", "cues", "city")
    assert len({*pair_sets("cues"), ScoreSet("large", "cues")}) == 2


def test_a_contrast_is_of_two_sets_at_the_same_queries() -> None:
    assert [one.name for one in pair_sets("all")] == ["large-all", "small-all"]
    assert [one.name for one in pair_sets("cues", "city")] == ["large-cue-city", "small-cue-city"]
    assert [one.name for one in pair_sets("all", each=True)] == ["large-all-each", "small-all-each"]


def test_the_sets_in_a_folder(tmp_path: Path) -> None:
    assert sets_in(tmp_path / "scores") == {}
    for name in ("small-cues", "large-cue-city", "large-cues", "large-cues-each", "figures", "queries-all"):
        (tmp_path / name).mkdir()
    (tmp_path / "large-all").write_text("a file")
    assert sets_in(tmp_path) == {ScoreSet.parse(name): tmp_path / name for name in ("large-cue-city", "large-cues")} | {
        ScoreSet("large", "cues", each=True): tmp_path / "large-cues-each",
        ScoreSet("queries", "all"): tmp_path / "queries-all",
        ScoreSet("small", "cues"): tmp_path / "small-cues",
    }
