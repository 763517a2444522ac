"""What the tables of the paper say of a difference, and of the paper's claims."""

import pytest

from elusive.paper.comparison import RivalDifference
from elusive.paper.wording import _pairs, _reading


def rival(name: str, low: float, high: float, **more: float | int | None) -> RivalDifference:
    difference = RivalDifference((low + high) / 2, low, high, a="contrast-cues", b=name, over="all questions")
    return RivalDifference(**{**vars(difference), "trainings": 5, "p_value": 0.001, **more})


PAIRS = (
    rival("plain", 0.1, 0.3),
    rival("random", -0.1, 0.3),
    rival("random-matched", 0.01, 0.3, p_adjusted=0.08),
    rival("attention", -0.3, -0.1),
    rival("distance", 0.1, 0.3, trainings=1),
)


def test_a_claim_holds_only_where_the_difference_is_separated() -> None:
    said = " ".join(_reading(PAIRS)).strip()
    assert said == (
        "The claim that contrast (cues) is above the others, over all questions: holds against plain; is not shown "
        "against random, random at the guided rate, distance; is turned round against attention."
    )


@pytest.mark.parametrize(
    ("row", "text"),
    list(
        enumerate(
            [
                "+.200 [+.100, +.300] |",
                "+.100 [-.100, +.300], not separated |",
                "+.155 [+.010, +.300], not after correction |",
                "-.200 [-.300, -.100] |",
                "+.200 [+.100, +.300], one training each |",
            ]
        )
    ),
)
def test_only_what_is_separated_has_no_remark(row: int, text: str) -> None:
    assert _pairs(PAIRS)[2:][row].endswith(f"| {text}")
