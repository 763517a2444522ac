import dataclasses
from typing import Any, Literal

import pytest

from elusive.errors import ElusiveError
from elusive.runs.typed_json import from_json, to_json


@dataclasses.dataclass(frozen=True)
class Inner:
    count: int
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    mean: float
    kind: Literal["a", "b"]
    ends: tuple[float, float]
    inner: Inner | None
    parts: dict[str, Inner]
    names: tuple[str, ...] = ()
    more: Any = None


GOOD = {
    "mean": 1,
    "kind": "a",
    "ends": [0.5, 1],
    "inner": {"count": 2, "note": None},
    "parts": {"x": {"count": 3}},
    "names": ["n"],
    "more": {"y": [1]},
    "of a later version": 7,
}


def test_there_and_back():
    outer = from_json(Outer, GOOD)
    assert outer == Outer(1, "a", (0.5, 1), Inner(2), {"x": Inner(3)}, ("n",), {"y": [1]})
    assert from_json(Outer, to_json(outer)) == outer


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", "1"),
        ("mean", None),
        ("mean", True),
        ("mean", 10**400),
        ("kind", "c"),
        ("ends", [1.0]),
        ("ends", 1.0),
        ("inner", {"count": 2.5}),
        ("inner", {}),
        ("inner", []),
        ("parts", {"x": None}),
        ("parts", []),
        ("names", [1]),
        ("names", "n"),
    ],
)
def test_another_type_is_said_with_the_file(key, value):
    with pytest.raises(ElusiveError, match=r"results\.json: expected what this version of Elusive writes"):
        from_json(Outer, {**GOOD, key: value}, "results.json")


@pytest.mark.parametrize("value", [[], None, "text", 1])
def test_no_object(value):
    with pytest.raises(ElusiveError, match="expected what this version"):
        from_json(Outer, value, "results.json")
