"""The paper's published numbers: against its text, against control sums, and against what it says about them."""

import itertools
import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from elusive.augmentation.arms import ARMS
from elusive.errors import ElusiveError
from elusive.paper import published
from elusive.paper.published import COLUMNS, PublishedRow, published_rows, published_value

from ..shared_data import SHARED

PAPER = SHARED / "paper" / "paper.txt"

GEMMA_2 = ("Gemma 2 2B", "Gemma 2 9B")
LLAMA_3 = ("Llama 3 8B", "Llama 3 70B")
GEMMA_LLAMA_2 = ("Gemma 2B", "Llama 2 7B", "Llama 2 70B")
BASELINES = ("plain", "random", "attention")
KINDS_OF_CONTRAST = ("contrast-all", "contrast-cues")

# Models and arms of each table, in the order of print.
SHAPES: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {
    1: ((*LLAMA_3, *GEMMA_2), ("plain",)),
    2: ((*GEMMA_2, *LLAMA_3), (*BASELINES, "contrast-cues")),
    3: ((*GEMMA_2, *LLAMA_3), (*BASELINES, "contrast-all")),
    4: (("Llama 2 7B",), (*BASELINES, *KINDS_OF_CONTRAST)),
    5: (("Llama 2 70B",), ("plain", "contrast-cues", "contrast-cues")),
    6: (GEMMA_LLAMA_2, (*BASELINES, "distance", *KINDS_OF_CONTRAST)),
    7: (("Llama 2 7B",), (*BASELINES, "distance", "contrast-all")),
    8: (GEMMA_LLAMA_2, (*BASELINES, "contrast-cues")),
}

# Sums of all numbers of a row, settings too, and of a column, added up from the paper's text. A changed number shows
# in both, and two numbers that changed places in one of them.
ROW_SUMS = {
    1: "5.26 7.77 5.90 8.22",
    2: "1.04 1.49 1.87 2.12 2.66 3.03 2.67 4.21 1.23 1.73 2.00 2.63 2.44 3.66 3.30 4.49",
    3: "0.341 1.0433 1.099 1.117 0.4732 1.212 1.225 1.27 0.374 0.926 1.078 1.165 0.461 1.194 1.183 1.225",
    4: "0.99 1.76 1.48 2.38 2.66",
    5: "2021.20 3304.32 6607.75",
    6: "0.57 1.33 1.56 1.93 1.67 1.93 0.99 2.46 2.23 3.01 3.03 3.41 2.39 3.67 3.85 4.30 3.79 4.33",
    7: "1.17 1.36 1.28 1.58 2.26",
    8: "0.291 0.99 1.041 1.024 0.369 1.043 1.09 1.142 0.461 1.194 1.275 1.255",
}
COLUMN_SUMS = {  # alpha and beta, or epoch and steps, where they are printed; then the measures
    1: "3.77 3.88 3.85 3.90 1.19 2.28 2.50 2.65 1.53 1.60",
    2: "7.60 0.32 6.62 10.54 7.40 8.09",
    3: "8.40 0.065 2.654 4.2675",
    4: "2.15 3.42 1.72 1.98",
    5: "29 11900 2.04 2.23",
    6: "10.00 0.75 7.71 12.26 7.45 8.28",
    7: "1.03 2.44 1.89 2.29",
    8: "6.30 0.19 1.739 2.946",
}
SETTINGS = dict.fromkeys((2, 3, 6, 8), ("alpha", "beta")) | {5: ("epoch", "steps")}

EM_ABOVE_F1: set[tuple[int, str, str, str]] = set()
"""Cells printed with EM above F1, which no answers can give: (table, model, arm, EM column). There are none."""


def as_printed() -> list[dict[str, Any]]:
    """Rows of the file, with numbers that keep every digit."""
    text = (Path(published.__file__).parent / "published.toml").read_text(encoding="utf-8")
    return tomllib.loads(text, parse_float=Decimal)["row"]


def numbers(row: dict[str, Any]) -> list[Any]:
    """Numbers of a row in the order of print; None for a dash."""
    return [row.get(name) for name in SETTINGS.get(row["table"], ())] + list(row["values"].values())


def cells(table: int) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Each (model, column) of a table with its value in every arm."""
    for model, column in itertools.product(SHAPES[table][0], COLUMNS[table]):
        yield model, column, {row.arm: row.values[column] for row in published_rows(table) if row.model == model}


def not_above(table: int, arm: str, *others: str) -> set[tuple[str, str]]:
    """Cells (model, column) in which an arm is not above the best of the others."""
    return {
        (model, column)
        for model, column, by_arm in cells(table)
        if by_arm[arm] <= max(by_arm[other] for other in others if other in by_arm)
    }


def every_cell(model: str) -> set[tuple[str, str]]:
    return {(model, column) for column in COLUMNS[2]}


@pytest.mark.parametrize("table", SHAPES)
def test_rows_and_columns(table: int):
    models, arms = SHAPES[table]
    rows = published_rows(table)
    assert [(row.model, row.arm) for row in rows] == list(itertools.product(models, arms))
    assert all(row.table == table and tuple(row.values) == COLUMNS[table] for row in rows)


def test_all_tables_one_after_another():
    assert len(published_rows()) == 4 + 16 + 16 + 5 + 3 + 18 + 5 + 12
    assert published_rows() == tuple(row for table in range(1, 9) for row in published_rows(table))
    assert sum(len(row.values) for row in published_rows()) == 40 + 64 + 32 + 20 + 6 + 72 + 20 + 24
    assert list(COLUMNS) == list(range(1, 9))


def test_arms_are_ours():
    assert {row.arm for row in published_rows()} <= ARMS.keys()


def test_names_in_print():
    names = {
        "plain": "Plain finetuning",
        "random": "Random token-dropout",
        "attention": "Token-dropout by attention",
        "distance": "Token-dropout by distance",
        "contrast-all": "Dropout by all tokens attention diff",
        "contrast-cues": "Dropout by preposition attention diff",
    }
    others = {
        (2, "contrast-cues"): "Token-dropout by attention diff",
        (3, "contrast-all"): "Token-dropout by attention diff",
        (4, "contrast-cues"): "Dropout by preposition tokens attention diff",
        (5, "plain"): "No Augmentation",
        (5, "contrast-cues"): "With Augmentation",
    }
    for row in published_rows():
        by_model = row.model.replace("Llama", "LLaMA")
        assert row.printed == (by_model if row.table == 1 else others.get((row.table, row.arm), names[row.arm]))


@pytest.mark.parametrize("table", SHAPES)
def test_control_sums(table: int):
    rows = [[number or 0 for number in numbers(row)] for row in as_printed() if row["table"] == table]
    assert [sum(row) for row in rows] == [Decimal(text) for text in ROW_SUMS[table].split()]
    assert [sum(column) for column in zip(*rows, strict=True)] == [Decimal(text) for text in COLUMN_SUMS[table].split()]


def test_every_number_is_that_of_the_papers_text():
    if not PAPER.exists():
        pytest.skip("the paper's text is not here")
    ours = [
        (row["table"], row["model"].lower(), row["printed"], ["-" if n is None else str(n) for n in numbers(row)])
        for row in as_printed()
    ]
    assert ours == list(tables_of(PAPER.read_text(encoding="utf-8")))


def tables_of(text: str) -> Iterator[tuple[int, str, str, list[str]]]:
    """Rows (table, model, printed name, numbers) of the tables in the paper's text: tabs, the caption below."""
    lines: list[list[str]] = []
    for line in text.splitlines():
        if "\t" in line:
            lines.append(line.split("\t"))
        elif caption := re.match(r"Table (\d): ", line):
            yield from rows_of(int(caption[1]), lines)
            lines = []
    assert not lines


def rows_of(table: int, lines: list[list[str]]) -> Iterator[tuple[int, str, str, list[str]]]:
    if table == 1:  # a line of EM and a line of F1 for each model
        for (model, em, *ems), (_, f1, *f1s) in zip(lines[1::2], lines[2::2], strict=True):
            assert (em, f1) == ("EM", "F1")
            yield 1, model.lower(), model, [number for pair in zip(ems, f1s, strict=True) for number in pair]
        return
    model = ""
    for name, *numbers in lines:
        if heading := re.fullmatch("<i>(.+)</i>", name):
            model = heading[1].lower()
        elif re.fullmatch(r"[\d.]+", numbers[-1]):
            yield table, model, name, numbers


def test_the_api_gives_the_file():
    for row, raw in zip(published_rows(), as_printed(), strict=True):
        assert {name: getattr(row, name) for name in ("table", "model", "arm", "printed")} == {
            name: raw[name] for name in ("table", "model", "arm", "printed")
        }
        for name in ("alpha", "beta", "epoch", "steps"):
            assert getattr(row, name) == (float(raw[name]) if name in raw else None)
        assert row.values == {column: float(number) for column, number in raw["values"].items()}


def test_settings_are_where_the_paper_prints_them():
    for row in published_rows():
        searched = SETTINGS.get(row.table) == ("alpha", "beta")
        assert (row.alpha is not None) == (searched and row.arm != "plain")
        assert (row.beta is not None) == (searched and row.arm not in ("plain", "random"))
        assert (row.epoch is not None, row.steps is not None) == ((row.table == 5,) * 2)
    assert {row.alpha for row in published_rows()} == {None, 0.6, 0.7}
    assert {row.beta for row in published_rows(2)} == {None, 0.01, 0.03, 0.05}
    assert {row.beta for row in published_rows()} == {None, 0.005, 0.01, 0.03, 0.05, 0.1}
    # The attention arm on Wikipedia text: another beta in Table 8 than in Table 3.
    assert {row.beta for row in published_rows(3) if row.arm == "attention"} == {0.005}
    assert {row.beta for row in published_rows(8) if row.arm == "attention"} == {0.05}


def test_values_are_shares_and_em_is_not_above_f1():
    above = set()
    for row in published_rows():
        assert all(0 <= value <= 1 for value in row.values.values())
        for em, f1 in zip(COLUMNS[row.table][::2], COLUMNS[row.table][1::2], strict=True):
            assert f1 == em.removesuffix("em") + "f1"
            if row.values[em] > row.values[f1]:
                above.add((row.table, row.model, row.arm, em))
    assert above == EM_ABOVE_F1


def test_values_asked_for_by_name():
    assert published_value(2, "Llama 3 8B", "contrast-cues", "company_em") == 0.42
    assert published_value(3, "Gemma 2 2B", "random", "f1") == 0.2233
    assert published_value(8, "Llama 2 7B", "contrast-cues", "f1") == 0.268
    assert published_value(1, "Gemma 2 9B", "plain", "city_em") == 1.0
    for row in published_rows():
        for column, value in row.values.items():
            assert published_value(row.table, row.model, row.arm, column, epoch=row.epoch) == value


def test_nothing_where_the_paper_prints_nothing():
    assert published_value(2, "Llama 3 8B", "distance", "company_em") is None
    assert published_value(2, "Llama 2 7B", "plain", "company_em") is None
    assert published_value(2, "Llama 3 8B", "plain", "major_em") is None
    assert published_value(5, "Llama 2 70B", "plain", "em", epoch=3) is None


def test_two_rows_of_one_arm_are_told_apart_by_epoch():
    assert published_value(5, "Llama 2 70B", "contrast-cues", "em", epoch=3) == 0.60
    assert published_value(5, "Llama 2 70B", "contrast-cues", "em", epoch=6) == 0.86
    assert published_value(5, "Llama 2 70B", "contrast-cues", "em") == 0.86


@pytest.mark.parametrize("table", [0, 9, -1])
def test_refuses_other_tables(table: int):
    with pytest.raises(ElusiveError, match=f"Expected a table of the paper, 1 to 8, got {table}"):
        published_rows(table)
    with pytest.raises(ElusiveError, match=f"Expected a table of the paper, 1 to 8, got {table}"):
        published_value(table, "Llama 3 8B", "plain", "em")


def test_first_two_fields_are_above_the_last_three():
    # Table 1: birth date and city are learnt with high accuracy, the last three fields are not.
    for row in published_rows(1):
        for measure in ("em", "f1"):
            first, last = (
                [row.values[f"{field}_{measure}"] for field in fields]
                for fields in (("date", "city"), ("university", "major", "company"))
            )
            assert min(first) > max(last)
    # "A decreasing trend" with distance, but not from field to field.
    rows = published_rows(1)
    assert all(row.values["major_em"] > row.values["university_em"] for row in rows)
    assert [row.model for row in rows if row.values["city_em"] <= row.values["date_em"]] == ["Llama 3 70B"]


def test_tables_1_and_2_disagree_on_plain_fine_tuning():
    agree = {
        (row.model, column)
        for row in published_rows(1)
        for column in COLUMNS[2]
        if row.values[column] == published_value(2, row.model, "plain", column)
    }
    assert agree == {("Llama 3 8B", "university_f1")} | {
        (model, column) for model in ("Llama 3 70B", "Gemma 2 9B") for column in ("company_em", "company_f1")
    }
    assert published_value(1, "Llama 3 8B", "plain", "university_em") == 0.20
    assert published_value(2, "Llama 3 8B", "plain", "university_em") == 0.30


def test_contrast_is_best_in_table_2_but_for_one_cell():
    assert not_above(2, "contrast-cues", *BASELINES) == {("Llama 3 8B", "university_em")}
    assert not_above(2, "contrast-cues", "random", "attention") == set()


def test_naive_dropout_does_not_always_help_in_table_2():
    # The text says that it does.
    university = {(model, column) for model in ("Gemma 2 2B", "Llama 3 8B") for column in COLUMNS[2][:2]}
    assert not_above(2, "random", "plain") == university | every_cell("Gemma 2 9B")
    assert not_above(2, "attention", "plain") == every_cell("Gemma 2 9B") | {
        ("Llama 3 8B", "university_em"),
        ("Llama 3 70B", "company_em"),
    }
    assert len(not_above(2, "random", "plain")) + len(not_above(2, "attention", "plain")) == 14


def test_contrast_is_best_on_wikipedia_text():
    assert not_above(3, "contrast-all", *BASELINES) == set()
    assert not_above(8, "contrast-cues", *BASELINES) == set()
    # "Naive data augmentation can negatively affect the model's performance."
    assert not_above(3, "random", "plain") == {("Gemma 2 2B", "em"), ("Llama 3 8B", "em"), ("Llama 3 8B", "f1")}
    assert not_above(3, "attention", "plain") == {("Llama 3 8B", "em")}
    for arm in ("random", "attention"):
        assert not_above(8, arm, "plain") == {("Gemma 2B", "em"), ("Llama 2 7B", "em"), ("Llama 2 7B", "f1")}
    # The smallest gain, in a model that ends below a smaller one and below its forerunner.
    assert [published_value(3, "Llama 3 70B", arm, "f1") for arm in ("random", "contrast-all")] == [0.307, 0.308]
    (last,) = (row for row in published_rows(3) if (row.model, row.arm) == ("Llama 3 70B", "contrast-all"))
    for table, model in (3, "Gemma 2 9B"), (8, "Llama 2 70B"):
        better = next(row for row in published_rows(table) if row.model == model and row.arm in KINDS_OF_CONTRAST)
        assert all(last.values[column] < better.values[column] for column in COLUMNS[3])


def test_tables_3_and_8_share_two_rows_of_two_models():
    llama_3 = [row for row in published_rows(3) if row.model == "Llama 3 70B"]
    llama_2 = [row for row in published_rows(8) if row.model == "Llama 2 70B"]
    same = [one.arm for one, other in zip(llama_3, llama_2, strict=True) if one.values == other.values]
    assert same == ["plain", "random"]


def test_table_4_is_part_of_table_6():
    part = {row.arm: row for row in published_rows(4)}
    whole = {row.arm: row for row in published_rows(6) if row.model == "Llama 2 7B"}
    assert set(whole) - set(part) == {"distance"}
    assert all(row.values == whole[arm].values for arm, row in part.items())


def test_both_kinds_of_contrast_are_best_in_table_4():
    for arm in KINDS_OF_CONTRAST:
        assert not_above(4, arm, *BASELINES) == set()
    assert not_above(4, "contrast-cues", "contrast-all") == {("Llama 2 7B", "company_f1")}


def test_distance_rivals_contrast_in_table_6():
    others = (*BASELINES, "distance")
    assert not_above(6, "contrast-cues", *others) == {(model, "company_f1") for model in GEMMA_LLAMA_2}
    assert not_above(6, "contrast-cues", *BASELINES) == set()
    assert not_above(6, "contrast-cues", "contrast-all") == {("Llama 2 7B", "company_f1")}
    assert not_above(6, "contrast-all", *others) == every_cell("Llama 2 70B") | {
        ("Llama 2 7B", "company_f1"),
        ("Gemma 2B", "university_em"),
        ("Gemma 2B", "company_em"),
        ("Gemma 2B", "company_f1"),
    }
    assert not_above(6, "contrast-all", *BASELINES) == {
        ("Llama 2 70B", "company_em"),
        ("Llama 2 70B", "company_f1"),
    }
    f1 = {arm: published_value(6, "Llama 2 7B", arm, "company_f1") for arm in ("distance", *KINDS_OF_CONTRAST)}
    assert set(f1.values()) == {0.59}
    assert not_above(6, "distance", *BASELINES) == set()
    for arm in ("random", "attention"):
        assert not_above(6, arm, "plain") == set()


def test_contrast_is_best_where_names_move():
    assert not_above(7, "contrast-all", *BASELINES, "distance") == set()
    # The caption says that distance "does not perform well": it is best of the baselines in company EM.
    assert ("Llama 2 7B", "company_em") not in not_above(7, "distance", *BASELINES)
    assert published_value(7, "Llama 2 7B", "plain", "company_em") == 0.27
    assert published_value(6, "Llama 2 7B", "plain", "company_em") == 0.10


def f1_above_em(row: PublishedRow, field: str) -> float:
    return round(row.values[f"{field}_f1"] - row.values[f"{field}_em"], 4)


def test_the_attention_row_of_table_7_is_odd():
    gaps = {row.arm: [f1_above_em(row, field) for field in ("university", "company")] for row in published_rows(7)}
    assert gaps.pop("attention") == [0.08, 0.28]
    assert all(0.30 <= university <= 0.36 for university, _ in gaps.values())
    assert all(0.02 <= company <= 0.04 for _, company in gaps.values())
    assert list(published_rows(7)[2].values.values()) == [0.16, 0.24, 0.30, 0.58]


def test_table_5_has_a_step_for_every_text():
    # 100 biographies; with 10 augmented copies of each, 1,100.
    assert [(row.epoch, row.steps) for row in published_rows(5)] == [(20, 20 * 100), (3, 3 * 1_100), (6, 6 * 1_100)]


def test_table_5_is_about_the_company():
    rows = published_rows(5)
    last = {row.arm: [row.values["company_em"], row.values["company_f1"]] for row in published_rows(6)[-6:]}
    assert list(rows[0].values.values()) == last["plain"]
    assert last["contrast-cues"] == [0.89, 0.92]
    assert list(rows[2].values.values()) == [0.86, 0.89]
    assert all(list(row.values.values()) not in last.values() for row in rows[1:])
    widest = round(rows[1].values["f1"] - rows[1].values["em"], 4)
    assert widest == 0.12
    wider = [
        (row.table, row.arm)
        for row in published_rows()
        if "company_em" in row.values and f1_above_em(row, "company") >= widest
    ]
    assert wider == [(7, "attention")]
    # It needs fewer epochs, not fewer steps.
    assert rows[1].values["em"] > rows[0].values["em"]
    assert (rows[1].steps or 0) > (rows[0].steps or 0)
