"""Advice at the end of `elusive recall`: it follows from the counts and intervals, and says them."""

from dataclasses import replace

import pytest

from elusive.augmentation.clue_count import FoundClues
from elusive.clues.recall import Chance, ClueRecall, SignalRecall
from elusive.reporting.clue_advice import clue_count_table, dropout_advice, insertion_advice
from elusive.stats.estimates import Difference


def found(contrast: tuple[int, int], attention: tuple[int, int], distance: tuple[int, int]) -> dict[str, FoundClues]:
    counted = {"insert-contrast": contrast, "insert-attention": attention, "insert-distance": distance}
    return {arm: FoundClues(*counts) for arm, counts in counted.items()} | {"insert-head": FoundClues(100, 100)}


@pytest.mark.parametrize(
    ("counts", "advised"),
    [
        (found((100, 100), (80, 76), (100, 25)), "use insert-contrast+reorder (two models): 100% of its 100 clues"),
        (found((99, 99), (98, 98), (100, 25)), "use insert-attention+reorder (one model): 100% of its 98 clues"),
        (found((99, 99), (98, 98), (100, 100)), "use insert-distance+reorder (no model): 100% of its 100 clues"),
        (found((40, 40), (0, 0), (100, 25)), "use reorder: no arm has 90% of its clues right in at least 50% of"),
        (found((100, 89), (0, 0), (100, 25)), "best: insert-contrast, 89% of 100"),
    ],
)
def test_the_cheapest_of_the_good_finders_is_advised(counts: dict[str, FoundClues], advised: str) -> None:
    marked, unmarked = insertion_advice(counts)
    assert "insert-head+reorder" in marked
    assert advised in unmarked
    assert ("begin with theirs" in unmarked) == ("insert-distance+" in unmarked)


def test_no_clue_is_needed_where_every_sentence_has_its_subject() -> None:
    (only,) = insertion_advice(dict.fromkeys(found((0, 0), (0, 0), (0, 0)), FoundClues(0, 0)))
    assert "names its subject" in only


def test_counts_are_shown() -> None:
    assert clue_count_table(found((1200, 600), (0, 0), (1, 1))).splitlines()[4:6] == [
        "insert-contrast       1,200       600    .500",
        "insert-attention          0         0       -",
    ]


def test_dropout_follows_from_the_intervals() -> None:
    signal = SignalRecall(0.5, 0.4, 0.6, 100, 0.2)
    ahead = Difference(0.1, 0.05, 0.15, p_value=0.001)
    row = ClueRecall(100, signal, signal, signal, Chance(0.3, 0.1), {"contrast-large": ahead})
    assert dropout_advice(row)[0].endswith("(+.100 [+.050, +.150] separated): contrast-cues, two models.")
    behind = replace(row, differences={"contrast-large": Difference(-0.1, -0.15, -0.05, p_value=0.001)})
    assert dropout_advice(behind)[0].endswith("attention, one model.")
    blind = replace(row, chance=Chance(0.4, 0.1))
    assert dropout_advice(blind, " Try this.")[0].endswith("is not above that of a random order, .400. Try this.")
