"""The report: hand-worked numbers of a synthetic run, wording, escaping, and the files it leaves."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from elusive.augmentation.clue_spans import Clue
from elusive.augmentation.rankings import RankedDocument
from elusive.clues.recall import SignalRecall
from elusive.config.augmentation import AugmentSettings
from elusive.config.run import Recipe, ReportSettings
from elusive.config.training import TrainSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.reporting import browsing, page, plots, read_results, results_markdown, results_table, write_report
from elusive.reporting.browsing import browse, sample
from elusive.reporting.clues import cue_ranks, run_recall
from elusive.reporting.collecting import collect
from elusive.reporting.comparison import compare, write_comparison
from elusive.reporting.facts import run_facts
from elusive.reporting.formatting import remarked_text, score, signed
from elusive.reporting.losses import loss_curves
from elusive.reporting.page import PageContent
from elusive.reporting.results import (
    ArmDifference,
    ArmResults,
    CorpusSize,
    KnownScores,
    ModelNames,
    Results,
    Verdict,
    write_results,
)
from elusive.reporting.shown import GivenAnswer, questions_about, shown_documents
from elusive.reporting.standing import standing_of
from elusive.reporting.tokens import (
    Fate,
    field_distances,
    longest_rank,
    read_documents,
    scored_cue_field,
    token_pieces,
    with_clues,
)
from elusive.reporting.verdict import verdict
from elusive.runs.files import read_json, write_json, write_text
from elusive.runs.folder import RunFolder
from elusive.runs.typed_json import from_json, to_json
from elusive.stats.estimates import Difference, Estimate
from elusive.stats.intervals import interval, paired_differences
from tests.reporting.runs import (
    ARMS,
    FIELDS,
    PEOPLE,
    SCRIPT,
    SUMMARY,
    add_known,
    make_run,
    person,
    score_row,
    write_predictions,
    write_tokens,
)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of words and numbers alone: without figures, which take most of a report's time."""
    monkeypatch.setattr(plots, "draw", lambda results, longest, losses: {})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with its report, and what results.json holds."""
    run = make_run(tmp_path_factory.mktemp("run"))
    index = write_report(run, ReportSettings())
    assert index == run / "report" / "index.html"
    return run, json.loads((run / "report" / "results.json").read_text())


def results_of(run: Path) -> Results:
    return read_results(run / "report" / "results.json")


def pair(results: Mapping[str, Any], a: str, b: str, field: str = "all") -> dict[str, Any]:
    return next(row for row in results["pairs"] if (row["a"], row["b"], row["field"]) == (a, b, field))


def pair_of(results: Results, a: str, b: str) -> ArmDifference:
    return next(row for row in results.pairs if (row.a, row.b, row.field) == (a, b, "all"))


def renamed_in(results: Results, **texts: str) -> Results:
    """The results with other names of arms and fields, and the verdict on them."""
    text = json.dumps(to_json(results))
    for name, other in texts.items():
        text = text.replace(name, json.dumps(other)[1:-1])
    renamed = from_json(Results, json.loads(text))
    return dataclasses.replace(renamed, verdict=verdict(renamed))


def recipe_of(run: Path) -> Recipe:
    from elusive.config.toml import load_recipe

    return load_recipe(run / "recipe.toml", Recipe)


# ---- numbers


def test_scores_are_those_worked_by_hand(finished: tuple[Path, dict[str, Any]]) -> None:
    _, results = finished
    assert list(results["arms"]) == ["untrained", *ARMS]
    contrast = results["arms"]["contrast-cues"]
    assert contrast["fields"]["company"]["em"]["value"] == pytest.approx(7 / 12)
    assert contrast["fields"]["company"]["f1"]["value"] == pytest.approx((7 + 5 * 0.25) / 12)
    assert contrast["em"]["value"] == pytest.approx((9 + 6 + 7) / 36)
    assert contrast["em"]["low"] < contrast["em"]["value"] < contrast["em"]["high"]
    assert contrast["mean_drop_rate"] == 0.3
    assert contrast["steps"] == 100
    assert contrast["texts"] == 132
    assert results["arms"]["untrained"]["em"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert results["corpus"] == {"source": "biographies", "documents": 12, "questions": 36, "quarantined": 0}


def test_every_table_says_what_may_be_dropped_and_what_survives(finished: tuple[Path, dict[str, Any]]) -> None:
    run, results = finished
    assert results["arms"]["attention"]["survival"]["company"] == {"intact": 0.002, "with_head": 0.001}
    markdown = (run / "report" / "results.md").read_text(encoding="utf-8")
    assert "Dropout: alpha 0.6, beta 0.05, unseen tokens kept.\n" in markdown
    assert "| attention | .412 | .002 / .001 |" in markdown
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "<dt>Copies</dt><dd>10 beside each original</dd>" in page
    assert "<dt>Dropout</dt><dd>alpha 0.6, beta 0.05, unseen tokens kept</dd>" in page
    assert "<td>.412</td><td>.002 / .001</td>" in page


def test_answers_in_the_midst_of_training_are_averaged_over_seeds_and_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path, seeds=(0, 1))
    text = (run / "recipe.toml").read_text().replace("evaluate_at_epochs = []", "evaluate_at_epochs = [2.0, 0.5]")
    write_text(run / "recipe.toml", text)
    for number, arm in enumerate(ARMS):
        for seed in (0, 1):
            for epoch in ("0.5", "2"):
                em = 0.1 * number + 0.02 * seed + (epoch == "2") * 0.3
                measures = {"em": em, "f1": 0.5, "fields": {}, "questions": 36, "seconds": 1.0}
                write_json(run / "evaluation" / arm / f"seed-{seed}" / f"epoch-{epoch}" / "metrics.json", measures)
    page = write_report(run, ReportSettings()).read_text()
    results = json.loads((run / "report" / "results.json").read_text())
    found = results["arms"]["attention"]["by_epoch"]
    assert [one["epoch"] for one in found] == [0.5, 2.0]
    assert [one["em"] for one in found] == pytest.approx([0.21, 0.51])
    assert results["arms"]["untrained"]["by_epoch"] == []
    markdown = (run / "report" / "results.md").read_text()
    assert "| arm | 0.5 | 2 |" in markdown
    assert "| attention | .210 | .510 |" in markdown
    assert (run / "report" / "plots" / "em-by-epoch.svg").exists()
    assert "mean over 2 seeds" in page
    (run / "evaluation" / "plain" / "seed-1" / "epoch-2" / "metrics.json").unlink()
    with pytest.raises(ElusiveError, match="train"):
        write_report(run, ReportSettings())


def test_every_pair_comes_once_and_the_later_arm_first(finished: tuple[Path, dict[str, Any]]) -> None:
    _, results = finished
    assert len(results["pairs"]) == 2 * 10
    assert len({frozenset((row["a"], row["b"])) | {row["field"]} for row in results["pairs"]}) == 20
    assert pair(results, "contrast-cues", "random-matched")["difference"] == pytest.approx(1 / 36)
    farthest = pair(results, "contrast-cues", "plain", "company")
    assert farthest["difference"] == pytest.approx(7 / 12)
    assert farthest["low"] > 0
    assert farthest["trainings"] == 1
    assert not any(row["separated"] for row in results["pairs"])  # of one training each
    assert all(row["p_adjusted"] >= row["p_value"] for row in results["pairs"])
    assert farthest["p_adjusted"] > farthest["p_value"]


def test_intervals_are_over_people_and_seeds(tmp_path: Path) -> None:
    run = make_run(tmp_path, seeds=(0, 1))
    questions = [json.loads(line) for line in (run / "corpus" / "questions.jsonl").read_text().splitlines()]
    write_predictions(run, "plain", 1, questions, (3, 0, 0))
    results = collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {})
    plain = results.arms["plain"]
    assert plain.em is not None
    assert plain.em.value == pytest.approx((15 + 3) / 72)
    assert list(plain.em_per_seed) == pytest.approx([15 / 36, 3 / 36])
    assert plain.seconds == 15.0
    about = [question["document_id"] for question in questions]
    numbers = [int(one.split("-")[1]) for one in about]
    of_field = [FIELDS.index(question["field"]) for question in questions]
    em = {
        known: [float(number < known[field]) for number, field in zip(numbers, of_field, strict=True)]
        for known in ((9, 6, 0), (3, 0, 0), (9, 6, 5), (0, 0, 0))
    }
    of_plain = [em[9, 6, 0], em[3, 0, 0]]
    low, high, _ = interval(of_plain, about, 400)
    assert (plain.em.low, plain.em.high) == (max(low, 0.0), min(high, 1.0))
    # A second seed that knows much less widens the interval beyond that of people alone.
    assert (plain.em.low or 0.0) < interval(np.mean(of_plain, axis=0), about, 400)[0]
    found = pair_of(results, "attention", "plain")
    expected = interval(paired_differences([em[9, 6, 5]] * 2, of_plain), about, 400)
    assert (found.low, found.high, found.p_value) == expected
    assert found.trainings == 2
    # The model before training has one seed, which stands against both.
    found = pair_of(results, "plain", "untrained")
    assert (found.low, found.high, found.p_value) == interval(paired_differences(of_plain, em[0, 0, 0]), about, 400)


def test_notes_say_that_several_seeds_are_covered(tmp_path: Path) -> None:
    run = make_run(tmp_path, seeds=(0, 1))
    page = write_report(run, ReportSettings()).read_text()
    notes = read_json(run / "report" / "results.json")["verdict"]["notes"]
    assert any("of documents (people) and of training seeds (2 of each arm)" in note for note in notes)
    assert not any("one seed" in note for note in notes)
    assert "with its 95% interval over documents and 2 training seeds.</p>" in page
    assert "after training with the same seeds; the intervals cover the choice of both." in page
    assert page.count("95% intervals over documents and training seeds.") == 1
    assert not any("too narrow" in note for note in notes)


def test_what_was_known_before_is_worked_by_hand(tmp_path: Path) -> None:
    run = add_known(make_run(tmp_path))
    rows = collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {}).known
    assert list(rows) == ["untrained", *ARMS]
    assert {(row.questions, row.documents) for row in rows.values()} == {(24, 12)}
    assert [row.em.value for row in rows.values()] == pytest.approx([0.5, 0.0, 11 / 24, 0.5, 1.0])
    assert rows["plain"].f1 == Estimate(0.25, 0.25, 0.25)
    assert rows["untrained"].lost is None
    # As with one success in two of twelve people: binomial(12, 1/2) has its 2.5% and 97.5% quantiles at 3 and 9.
    lost = {arm: row.lost for arm, row in rows.items() if row.lost}
    assert (lost["plain"].value, lost["plain"].low, lost["plain"].high) == (-0.5, -0.75, -0.25)
    assert lost["random-matched"].value == pytest.approx(-1 / 24)
    assert (lost["attention"].value, lost["attention"].p_value) == (0.0, 1.0)
    assert (lost["contrast-cues"].low, lost["contrast-cues"].high) == (0.25, 0.75)
    assert [one.leaves_zero_out for one in lost.values()] == [True, False, False, True]
    assert not any(one.separated for one in lost.values())  # of one training each


def test_what_was_lost_is_over_people_and_seeds(tmp_path: Path) -> None:
    run = add_known(make_run(tmp_path, seeds=(0, 1)), seeds=(0, 1))
    add_known(run, seeds=(1,), still={"plain": (6, 6)})
    lost = collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {}).known["plain"].lost
    # One of two seeds lost everything, the other nothing: two trainings say little.
    assert lost is not None
    assert lost.value == -0.25
    assert (lost.high or 0.0) > 0.5
    assert not lost.separated
    assert (lost.low or 0.0) < -0.5


def test_what_was_lost_is_said_everywhere(tmp_path: Path, undrawn: None) -> None:
    run = add_known(make_run(tmp_path))
    text = write_report(run, ReportSettings()).read_text()
    results = read_results(run / "report" / "results.json")
    assert (
        "What was known before training (24 questions about 12 subjects): EM .500 before; lost: plain -.500 "
        "[-.750, -.250]; gained: contrast-cues +.500 [+.250, +.750]; not told apart: random-matched -.042 "
        "[-.125, .000], attention .000 [.000, .000]."
    ) in results.verdict.notes
    markdown = (run / "report" / "results.md").read_text()
    assert "## Known before training\n\n24 questions about 12 subjects." in markdown
    assert "| plain | .000 [.000, .000] | .250 [.250, .250] | -.500 | [-.750, -.250] | one training each |" in markdown
    assert "| attention | .500 [.250, .750] | .625 [.438, .812] | .000 | [.000, .000] | not separated |" in markdown
    assert "| untrained | .500 [.250, .750] | .625 [.438, .812] | - | - | - |" in markdown
    table = results_table(results).splitlines()
    assert table[0].split()[-3:] == ["known", "dropped", "steps"]
    assert next(line for line in table if line.startswith("contrast-cues")).split()[-3:] == ["1.000", ".300", "100"]
    assert next(line for line in table if line.startswith("untrained")).split()[-3:] == [".500", "-", "-"]
    assert table[table.index(next(line for line in table if line.startswith("plain"))) + 1].split()[-1] == ".250"
    assert "<h3>Known before training</h3>" in text
    assert "24 questions about 12 subjects known before training" in text
    assert "<td>\u2212.500<small>[\u2212.750, \u2212.250]</small></td>" in text


def test_tasks_of_the_harness_are_shown_once_every_model_did_them(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path, seeds=(0, 1))
    done = [folder / "harness" / "done.json" for folder in sorted(run.glob("evaluation/*/seed-*"))]
    assert len(done) == 9
    for number, path in enumerate(done):
        score = {"task": "births", "metric": "acc", "value": number / 10, "stderr": None, "examples": 4}
        write_json(path, {"scores": [score]})
    text = write_report(run, ReportSettings()).read_text()
    markdown = (run / "report" / "results.md").read_text()
    at = markdown.index("## Tasks of lm-evaluation-harness\n\n| arm | births, acc |")
    # attention is the first of the folders: the mean of 0 and .1; untrained the last, with one seed.
    assert "| attention | .050 |" in markdown[at:]
    assert "| untrained | .800 |" in markdown[at:]
    assert "<h3>Tasks of lm-evaluation-harness</h3>" in text
    done[0].unlink()
    write_report(run, ReportSettings())
    assert "lm-evaluation-harness" not in (run / "report" / "results.md").read_text()


@pytest.mark.parametrize("lost", ["untrained/seed-0", "attention/seed-1"])
def test_without_every_answer_on_what_was_known_all_is_as_before(tmp_path: Path, lost: str) -> None:
    run = make_run(tmp_path, seeds=(0, 1))
    before = collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {})
    assert before.known == {}
    add_known(run, seeds=(0, 1))
    assert "plain" in collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {}).known
    (run / "evaluation" / lost / "known" / "predictions.jsonl").unlink()
    assert collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {}) == before
    assert not any("known" in part for part in (results_table(before), results_markdown(before)))


def test_answers_about_other_known_people_are_refused(tmp_path: Path) -> None:
    run = add_known(make_run(tmp_path))
    path = run / "evaluation" / "plain" / "seed-0" / "known" / "predictions.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")
    with pytest.raises(ElusiveError, match=r"known.*expected answers to the same 24 questions.*got 23 answers"):
        collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {})


def test_distance_is_the_difference_of_mean_positions(finished: tuple[Path, dict[str, Any]]) -> None:
    run, results = finished
    # Tokens: special, Ada0, Quill, was, born, on, May, 1, ",", 1950, ".", She, spent, her, early, years, in,
    # Town0, ",", Norway, ".", She, had, a, professional, role, at, Firm0, Limited, "."; the name's mean is 1.5.
    expected = {"date": 7.5 - 1.5, "city": 18 - 1.5, "company": 27.5 - 1.5}
    assert results["distances"] == expected
    distances = field_distances(RunFolder(run), read_documents(RunFolder(run)), ("name",))
    assert list(distances) == ["date", "city", "company"]
    assert results["farthest_field"] == "company"
    assert field_distances(RunFolder(run), read_documents(RunFolder(run)), ("other",)) == {}


@pytest.mark.parametrize(
    ("value", "text", "with_sign"),
    [(0.25, ".250", "+.250"), (1.0, "1.000", "+1.000"), (0.0, ".000", ".000"), (0.0004, ".000", "+.000")],
)
def test_numbers_are_printed_without_the_zero(value: float, text: str, with_sign: str) -> None:
    assert score(value) == text
    assert signed(value) == with_sign


def test_negative_and_missing_numbers() -> None:
    assert signed(-0.01) == "-.010"
    assert signed(-0.0004) == "-.000"
    assert score(None) == "-"


# ---- wording


def said(
    differences: Sequence[tuple[float, float, float]], em: float = 0.3, trainings: int = 3, **more: Any
) -> Verdict:
    """The verdict on three trained arms with these differences (value, low, high), and untrained at .010.

    The last arm has this EM, and the others less by what it is ahead of them.
    """
    arms = ("plain", "random-matched", "contrast-cues")
    names = [("random-matched", "plain"), ("contrast-cues", "plain"), ("contrast-cues", "random-matched")]
    ahead = {b: one[0] for one, (a, b) in zip(differences, names, strict=False) if a == arms[-1]}
    ems = {arm: em - ahead.get(arm, 0.0) for arm in arms} | {"untrained": 0.01}
    results = Results(
        title="",
        corpus=CorpusSize("here", documents=100, questions=100, quarantined=0),
        models=ModelNames("big", "little", "large"),
        read={},
        train=TrainSettings(),
        augment=AugmentSettings(),
        seeds=(0,),
        arms={
            arm: ArmResults(
                mean_drop_rate=0.0 if arm in arms else None,
                steps=100 if arm in arms else None,
                seconds=60.0 if arm in arms else None,
                em=Estimate(ems[arm], None, None),
            )
            for arm in ("untrained", *arms)
        },
        pairs=tuple(
            ArmDifference(*one, a=a, b=b, field="all", trainings=trainings)
            for (a, b), one in zip(names, differences, strict=False)
        ),
    )
    return verdict(dataclasses.replace(results, **more))


APART, TOGETHER = (0.089, 0.04, 0.13), (0.031, -0.01, 0.071)


AFTER = "at 95% after correction for the number of comparisons."


def test_the_headline_says_what_the_best_arm_beats_and_what_it_does_not() -> None:
    texts = said([APART, APART, TOGETHER], seeds=(0, 1, 2))
    assert texts.headline == (
        "contrast-cues answers .300 of the questions and beats plain (+.089 [+.040, +.130]), not random-matched "
        "(+.031 [-.010, +.071], not separated)."
    )
    # ((0.031 + 0.01) / 0.031)^2 = 1.75 times as much evidence leaves zero out.
    assert texts.advice == (
        "Use it rather than plain training. Whether what it chooses matters is open, as random-matched may do as well: "
        "more seeds are needed, about 2 times as much in all if the difference is what it seems."
    )
    assert texts.cost == "It cost 1 min 0 s of training (plain 1 min 0 s), 100 steps."
    assert f"2 of 3 differences in EM between the trained arms are separated from zero {AFTER}" in texts.notes
    assert texts.differences["separated"][1] == "contrast-cues minus plain: +.089 [+.040, +.130]"
    assert texts.differences["not separated"] == ("contrast-cues minus random-matched: +.031 [-.010, +.071]",)
    assert list(texts.differences) == ["separated", "not separated"]
    assert any("training seeds (3 of each arm)" in note for note in texts.notes)
    assert "The p-values of the 3 differences in the table are corrected for their number (Holm)." in texts.notes


def test_verdict_with_one_none_and_all_separated() -> None:
    one = said([APART, TOGETHER, TOGETHER])
    assert f"1 of 3 differences in EM between the trained arms is separated from zero {AFTER}" in one.notes
    none = said([TOGETHER] * 3)
    assert f"No difference in EM between the trained arms is separated from zero {AFTER}" in none.notes
    assert list(none.differences) == ["not separated"]
    assert none.headline == (
        "contrast-cues answers .300 of the questions, more than any other arm, but does not beat plain "
        "(+.031 [-.010, +.071], not separated) and random-matched (+.031 [-.010, +.071], not separated)."
    )
    assert none.advice.startswith("No reason yet to prefer it to plain and random-matched: more seeds are needed")
    every = said([APART] * 3)
    assert f"All 3 differences in EM between the trained arms are separated from zero {AFTER}" in every.notes
    assert every.headline.endswith("beats plain (+.089 [+.040, +.130]) and random-matched (+.089 [+.040, +.130]).")
    assert every.advice == "Use it for texts and models like these."
    assert list(every.differences) == ["separated"]


def test_verdict_on_one_training_claims_no_difference_of_arms() -> None:
    texts = said([APART, APART, TOGETHER], trainings=1)
    assert texts.headline == (
        "contrast-cues answers .300 of the questions, plain .211 (+.089 [+.040, +.130]) and random-matched .269 "
        "(+.031 [-.010, +.071]). Each arm was trained once, so no arm is said to be better than another."
    )
    assert "beat" not in texts.headline
    assert texts.advice == (
        "No reason yet to prefer it to random-matched: repeat with seeds = [0, 1, 2] and more documents, about 2 times "
        "as much in all if the difference is what it seems."
    )
    assert said([APART] * 3, trainings=1).advice == (
        "Worth a closer look, not a choice yet: repeat with seeds = [0, 1, 2] to be sure."
    )
    assert list(texts.differences) == ["one training each", "not separated"]
    assert "separated" not in texts.headline
    assert any("one seed" in note and "not the training seed" in note for note in texts.notes)


def test_what_fails_correction_is_named() -> None:
    late = ArmDifference(*APART, a="contrast-cues", b="plain", field="all", p_value=0.04, p_adjusted=0.12, trainings=3)
    texts = said([APART] * 3, pairs=(late, late))
    assert texts.headline.endswith("but does not beat plain (+.089 [+.040, +.130], not after correction).")
    assert list(texts.differences) == ["not after correction"]
    assert remarked_text(late) == "+.089 [+.040, +.130], not after correction"


def test_plain_training_that_is_best_is_the_advice() -> None:
    worse = tuple(-end for end in APART)
    texts = said([TOGETHER, (worse[0], worse[2], worse[1]), TOGETHER], em=0.2)
    assert texts.headline == "plain answers .289 of the questions and beats contrast-cues (+.089 [+.040, +.130])."
    assert texts.advice == "No reason to use another arm than plain training here."


def test_the_cost_names_what_was_forgotten() -> None:
    known = {
        arm: KnownScores(24, 12, Estimate(em, None, None), Estimate(em, None, None), None)
        for arm, em in (("untrained", 0.9), ("plain", 0.6), ("contrast-cues", 0.7))
    }
    scored = {"contrast-cues": 7200.0}
    rows = {
        arm: ArmResults(em=Estimate(em, None, None), seconds=3.0, known=known[arm], scoring_seconds=scored.get(arm))
        for arm, em in (("untrained", 0.1), ("plain", 0.2), ("contrast-cues", 0.5))
    }
    assert said([TOGETHER] * 2, arms=rows).cost == (
        "It cost 3 s of training (plain 3 s), and 2 h 0 min to capture the attention that it chooses by. On what the "
        "model knew before training, EM was .900 before and is .700 after (plain .600)."
    )


def test_verdict_near_zero_and_near_one_claims_no_comparison() -> None:
    low = said([(0.0, 0.0, 0.0)] * 3, em=0.012)
    assert low.headline == "No arm can answer these questions: the highest EM is .012 (plain)."
    assert any("say nothing" in note for note in low.notes)
    assert low.advice.startswith("Use none of them yet")
    high = said([(0.0, 0.0, 0.0)] * 3, em=0.99)
    assert high.headline.startswith("Every trained arm answers nearly all questions")
    assert said([(0.0, -0.1, 0.1)] * 3, em=0.02).headline.startswith("plain answers .020 of the questions")


def test_verdict_names_other_reasons_for_a_difference(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_json(run / "augmented" / "random-matched" / "done.json", SUMMARY | {"mean_drop_rate": 0.6, "at_ceiling": 0.9})
    figures = {"steps": 900, "loss": 1.5, "seconds": 10.0, "texts": 132}
    write_json(run / "models" / "plain" / "seed-0" / "done.json", figures)
    notes = collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {}).verdict.notes
    assert any("different numbers of optimizer steps (plain 900, random-matched 100" in note for note in notes)
    assert any("how much is dropped" in note and "random-matched .600" in note for note in notes)
    assert any("random-matched is nearly random dropout: 90% of the tokens" in note for note in notes)
    assert not any("attention is nearly random" in note for note in notes)
    assert any("only 12 documents" in note for note in notes)
    above = "above it: plain, random-matched, attention, contrast-cues"
    assert f"The model before training has an EM of .000 ({above})." in notes


# ---- single tokens


def test_rank_bars_worked_by_hand(tmp_path: Path) -> None:
    text = "Ada, a poet in Rome"
    starts, ends = [0, 0, 3, 4, 6, 11, 14], [0, 3, 4, 6, 11, 14, 19]
    document = Document("one", text, (Span("name", 0, 3), Span("city", 15, 19)))
    common = {"document_id": "one", "token_ids": list(range(7)), "starts": starts, "ends": ends}
    queries = [1, 1, 1, 1, 1, 1, 0]
    large, small = [9.0, 0.3, 8.0, 0.1, 0.2, 0.3, 0.0], [9.0, 0.0, 8.0, 0.1, 0.3, 0.1, 7.0]
    for model, scores in (("large", large), ("small", small)):
        row = {**common, "scores": scores, "queries": queries}
        write_tokens(tmp_path / "scores" / f"{model}-cue-city" / "part-00000.parquet", [row])
    ranks = cue_ranks(RunFolder(tmp_path), [document], "city", Recipe())
    assert ranks is not None
    kinds = ranks.kinds
    assert kinds[0] == "(name)"
    assert set(kinds) == {"(name)", "a", "poet", "in"}

    def order(name: str) -> list[str]:
        return [kinds[row.index(1.0)] for row in ranks.rankings[name][:4]]

    # The special token, the comma and the unseen token never rank; ties go to the earlier token.
    assert order("large") == ["(name)", "in", "poet", "a"]
    assert order("small") == ["poet", "a", "in", "(name)"]
    assert order("contrast") == ["(name)", "in", "a", "poet"]
    assert sum(ranks.rankings["large"][4]) == 0
    found = run_recall(RunFolder(tmp_path), [document], Recipe(), "city")
    assert found is not None
    row = found.rows["city"]
    everything = (row.large, row.small, row.contrast, row.chance)
    assert [one.head_share for one in everything] == [0.25] * 4
    assert [one.value for one in everything] == [1.0] * 4, "all are shown"


def test_settings_are_said_where_an_arm_of_the_run_depends_on_them(finished: tuple[Path, dict[str, Any]]) -> None:
    results = read_results(finished[0] / "report" / "results.json")
    row = dataclasses.replace(results.arms["plain"], clues=120, right_clues=None)
    inserting = dataclasses.replace(results, arms={"plain": results.arms["plain"], "insert-contrast+reorder": row})
    assert inserting.dropout == ""
    assert "Dropout" not in results_markdown(inserting)
    rewriting = dataclasses.replace(results, arms={"rewrite-paraphrase": row})
    assert rewriting.clues.startswith("clues by ratio, of 5 words, no answers, reach 3, margin 0.5; rewrite-paraphrase")


def test_clues_are_said_where_an_arm_writes_any(finished: tuple[Path, dict[str, Any]]) -> None:
    results = results_of(finished[0])
    assert results.clues == ""
    assert "Clues:" not in results_markdown(results)
    row = dataclasses.replace(results.arms["contrast-cues"], clues=1200, right_clues=0.985)
    with_clues = dataclasses.replace(results, arms=results.arms | {"insert-contrast": row})
    words = "insert-contrast 1,200 clues, 98.5% of them the head entity"
    assert with_clues.clues.startswith(
        "clues by ratio, of 5 words, no answers, reach 3, margin 0.5, written with chance 0.8 as prefix"
    )
    assert with_clues.clues.endswith(f"; {words}")
    assert words in results_markdown(with_clues)


def test_one_model_twice_has_no_contrast(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    rows = [score_row(person(number), "company", "small") for number in range(PEOPLE)]
    write_tokens(run / "scores" / "large-cue-company" / "part-00000.parquet", rows)
    ranks = cue_ranks(RunFolder(run), read_documents(RunFolder(run)), "company", Recipe())
    assert ranks is not None
    # Ties by position would put the name first in every text, which would look like a finding.
    assert not any(map(any, ranks.rankings["contrast"]))
    found = run_recall(RunFolder(run), read_documents(RunFolder(run)), Recipe(), "company")
    assert found is not None
    row = found.rows["company"]
    assert (row.large.value, row.small.value) == (0.0, 0.0)
    assert row.contrast == SignalRecall(None, None, None, documents=0, head_share=None)
    assert row.differences["contrast-large"] == Difference(None, None, None)
    notes = said([TOGETHER] * 3, models=ModelNames("one", "one", "large")).notes
    assert any(note.startswith("Large and small are one model (one): there is no contrast") for note in notes)
    assert not any("one model" in note for note in said([TOGETHER] * 3).notes)


def test_rank_shares_of_the_run(finished: tuple[Path, dict[str, Any]]) -> None:
    _, results = finished
    ranks = results["cue_ranks"]
    assert ranks["field"] == "company"
    assert ranks["documents"] == 12
    name = ranks["kinds"].index("(name)")
    assert [row[name] for row in ranks["rankings"]["contrast"]] == [1.0, 1.0] + [0.0] * 8
    row = results["clue_recall"]["rows"]["company"]
    shares = [row[name]["head_share"] for name in ("large", "small", "contrast")]
    assert shares == pytest.approx([0.2, 0.0, 0.2])
    assert [row[name]["value"] for name in ("large", "small", "contrast")] == [1.0, 0.0, 1.0]
    # Before the company lie 26 tokens with characters, four of them commas or full stops; two are names.
    assert row["chance"] == {"value": pytest.approx(10 / 22), "head_share": pytest.approx(2 / 22)}
    assert row["documents"] == row["large"]["documents"] == 12
    of_models, of_contrast = (row["differences"][name] for name in ("large-small", "contrast-large"))
    assert (of_models["difference"], of_models["low"], of_models["high"], of_models["separated"]) == (1, 1, 1, True)
    assert of_models["p_adjusted"] == pytest.approx(4 * 2 / 401)  # four differences in the table, 400 resamples
    assert (of_contrast["difference"], of_contrast["p_value"], of_contrast["separated"]) == (0, 1, False)
    assert ranks["kinds"][-1] == "other words"
    assert len([kind for kind in ranks["kinds"] if kind[0] != "("]) == 9


def test_rank_bars_refuse_other_tokens(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path)
    rows = [score_row(person(number), "company", "small") for number in range(PEOPLE)]
    rows[3]["token_ids"][2] += 1
    write_tokens(run / "scores" / "small-cue-company" / "part-00000.parquet", rows)
    with pytest.raises(ElusiveError, match=r"split document 'person-3' into different tokens.*across_tokenizers"):
        write_report(run, ReportSettings())
    recipe = (run / "recipe.toml").read_text()
    assert "across_tokenizers = false" in recipe
    write_text(run / "recipe.toml", recipe.replace("across_tokenizers = false", "across_tokenizers = true"))
    write_report(run, ReportSettings())
    # The other ids stand on the same characters, so the scores are what they were.
    assert read_json(run / "report" / "results.json")["clue_recall"]["rows"]["company"]["contrast"]["value"] == 1.0


def ranked(text: str, offsets: Any, ranks: list[int], drops: list[float]) -> RankedDocument:
    return RankedDocument(
        "one", text, np.zeros(len(ranks), np.int32), np.array(offsets), np.array(ranks), np.array(drops)
    )


def test_pieces_join_to_the_text_and_carry_the_chance_to_stay() -> None:
    text = "Łódź  is far."
    offsets = [(0, 0), (0, 1), (0, 1), (1, 4), (4, 8), (8, 12), (12, 13)]
    drops = [0.0, 0.1, 0.2, 0.3, 0.4, 0.05, 0.0]
    pieces, cut = token_pieces(text, ranked(text, offsets, [0, 2, 3, 4, 5, 1, 0], drops))
    assert "".join(piece.text for piece in pieces) == text
    assert not cut
    assert [(piece.text, piece.keep) for piece in pieces if piece.title] == [
        ("Ł", 0.9), ("ódź", 0.7), ("is", 0.6), ("far", 0.95), (".", None)
    ]  # fmt: skip
    assert pieces[0].title == "stays with 0.90, rank 2"
    assert pieces[-1].title == "not ranked: always stays"


def test_what_is_done_to_a_token_has_its_own_word() -> None:
    pieces, _ = token_pieces(
        "It is far", ranked("It is far", [(0, 2), (2, 5)], [1, 0], [0.25, 0.0]), Fate("seen with", "always seen")
    )
    assert [piece.title for piece in pieces] == ["seen with 0.75, rank 1", "", "not ranked: always seen", ""]


def test_clues_stand_before_the_sentences_that_they_are_written_into() -> None:
    text = "Ada wrote. She ran. It rained."
    document = dataclasses.replace(
        ranked(text, [(0, 3), (3, 9), (10, 13)], [1, 2, 3], [0.5] * 3), clues=(Clue(11, 0, 3), Clue(20, 4, 9))
    )
    pieces = with_clues(token_pieces(text, document)[0], document)
    assert "".join(piece.text for piece in pieces if not piece.clue) == text
    places = [sum(len(one.text) for one in pieces[:n] if not one.clue) for n, one in enumerate(pieces) if one.clue]
    assert places == [11, 20]
    assert [piece.text for piece in pieces if piece.clue] == ["Ada", "wrote"]


def test_long_documents_are_cut() -> None:
    text = "a " * 500
    offsets = [(place, place + 1) for place in range(0, 1000, 2)]
    pieces, cut = token_pieces(text, ranked(text, offsets, [1] * 500, [0.5] * 500))
    assert cut
    assert sum(bool(piece.title) for piece in pieces) == 400


def test_shown_documents_bring_answers_of_every_arm(finished: tuple[Path, dict[str, Any]]) -> None:
    run, _ = finished
    folder = RunFolder(run)
    standing = standing_of(folder, recipe_of(run), asked=True)
    asked = questions_about(folder, standing, ["person-0", "person-1"])
    shown = shown_documents(folder, read_documents(folder)[:2], standing, asked)
    assert [document.id for document in shown] == ["person-0", "person-1"]
    assert list(shown[0].arms) == ["random-matched", "attention", "contrast-cues"]
    company = next(one for one in shown[0].questions if "company" in one.question)
    assert company.given["plain"] == GivenAnswer("no idea", right=False, f1=0.25)
    assert company.given["contrast-cues"] == GivenAnswer("Firm0 Limited", right=True, f1=1.0)


# ---- files


def test_every_plot_is_written_twice_and_the_same_again(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run, _ = finished
    folder = run / "report" / "plots"
    names = {"em-by-field", "em-by-distance", "ranks-at-cue", "drop-probability", "loss"}
    assert {path.name for path in folder.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for name in names:
        content = (folder / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5_000
    losses = loss_curves(RunFolder(run), recipe_of(run))
    plots.save(plots.draw(results_of(run), longest_rank(RunFolder(run), ARMS), losses), tmp_path)
    for name in names:
        assert (tmp_path / f"{name}.svg").read_bytes() == (folder / f"{name}.svg").read_bytes()


def test_page_loads_nothing_and_follows_the_theme(finished: tuple[Path, dict[str, Any]]) -> None:
    run, _ = finished
    text = (run / "report" / "index.html").read_text()
    without_recipe = re.sub(r"<pre.*?</pre>", "", text, flags=re.DOTALL)
    assert re.findall(r"https?://[^\s\"'<]+", without_recipe) == ["https://arxiv.org/abs/2409.17954"]
    assert not re.search(r"\bsrc=|@import|url\((?!#)|<link|<iframe|fetch\(|XMLHttp|innerHTML", text)
    assert re.findall(r"<script[^>]*>", text) == ['<script type="application/json" id="data">', "<script>"]
    targets = {target for target in re.findall(r'href="([^"]*)"', text) if not target.startswith("https://arxiv")}
    anchors = {target[1:] for target in targets if target.startswith("#")} - {""}
    assert {"summary", "documents", "answers", "files"} <= anchors
    ids_of_svgs = {one for one in anchors if "-wide-" in one or "-narrow-" in one}
    assert all(f'id="{one}"' in text for one in anchors - ids_of_svgs)
    files = {unquote(target) for target in targets if not target.startswith("#")}
    assert {"results.json", "plots/loss.png", "../evaluation/plain/seed-0/predictions.jsonl"} <= files
    assert all((run / "report" / file).exists() for file in files)
    assert "prefers-color-scheme: dark" in text
    assert "<title>Twelve people" in text
    svgs = re.findall(r"<svg viewBox.*?</svg>", text, flags=re.DOTALL)
    assert len(svgs) == 10
    for svg in svgs:
        assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= {"#ffffff", "#111111"}
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    assert used <= set(re.findall(r"(--[\w-]+):", text))


class _Styles(html.parser.HTMLParser):
    """Collects the style sheets, the script and the policy of a page, as a browser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.sheets: list[str] = []
        self.scripts: list[str] = []
        self._script = False
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            assert not self.sheets, "a policy holds only for what stands behind it"
            self.policy = given["content"] or ""
        if tag == "style":
            self.sheets.append("")
        self._script = tag == "script" and not given
        if self._script:
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.sheets[-1] += data
        if self.cdata_elem == "script" and self._script:
            self.scripts[-1] += data


def test_the_page_allows_its_own_style_sheets_and_nothing_else(finished: tuple[Path, dict[str, Any]]) -> None:
    run, _ = finished
    styles = _Styles()
    styles.feed((run / "report" / "index.html").read_text(encoding="utf-8"))
    parts = dict(part.strip().split(" ", 1) for part in styles.policy.split(";"))
    assert len(styles.sheets) > 1  # figures bring theirs

    def hashes(contents: Sequence[str]) -> set[str]:
        return {f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in contents}

    assert len(styles.scripts) == 1
    assert set(parts.pop("script-src").split()) == hashes(styles.scripts)
    assert set(parts.pop("style-src-elem").split()) == hashes(styles.sheets)
    assert parts == {
        "default-src": "'none'",
        "style-src-attr": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_markup_in_the_corpus_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda results, longest, losses: {})  # the next test draws with markup
    run = make_run(tmp_path, evil=True, title=f"Title {SCRIPT}")
    text = write_report(run, ReportSettings()).read_text()
    assert SCRIPT not in text
    assert text.count("<script") == 2
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    assert data is not None
    assert not re.search("[<>&]", data[1])
    assert json.loads(data[1])["documents"][0]["text"].endswith(SCRIPT)
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert text.count(f"Title {escaped}") >= 2
    assert f"What is the date of Ada0?{escaped}" in text
    # The document's own text is split into tokens, so its markup is looked for piece by piece.
    assert re.search(r">&lt;</span><span[^>]*>script</span><span[^>]*>&gt;</span>", text)
    assert "<script" not in (run / "report" / "results.md").read_text()


def test_markup_in_an_arm_or_field_is_escaped(finished: tuple[Path, dict[str, Any]]) -> None:
    renamed = renamed_in(results_of(finished[0]), attention=SCRIPT, city=SCRIPT + "$x$")
    html = page.render(PageContent(renamed, plots.draw(renamed, 22), "title = '<script>'"))
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)") > 10
    assert "script-src 'none'" in html


def test_markup_in_the_table_of_known_people_is_escaped(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run = add_known(make_run(tmp_path))
    renamed = renamed_in(collect(RunFolder(run), recipe_of(run), read_documents(RunFolder(run)), {}), attention=SCRIPT)
    html = page.render(PageContent(renamed, {}, ""))
    assert "<script" not in html
    known = html[html.index("<h3>Known before training</h3>") : html.index("<h3>What each arm was trained on</h3>")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</th>" in known
    assert "<script" not in results_markdown(renamed)


def test_table_fits_the_terminal(finished: tuple[Path, dict[str, Any]]) -> None:
    results = results_of(finished[0])
    table = results_table(results)
    assert max(map(len, table.splitlines())) <= 120
    em = next(line for line in table.splitlines() if line.startswith("contrast-cues"))
    interval = results.arms["contrast-cues"].em
    assert interval is not None
    expected = f"contrast-cues EM .750 .500 .583 .611 [{score(interval.low)}, {score(interval.high)}] .300 100"
    assert em.split() == expected.split()
    assert table.splitlines()[0].split()[:5] == ["arm", "date", "city", "company", "all"]
    assert next(line for line in table.splitlines() if line.startswith("untrained")).split()[-2:] == ["-", "-"]


def with_fields(results: Results, fields: tuple[str, ...]) -> Results:
    """The results with other fields, the scores of each those of the city."""
    arms = {
        arm: dataclasses.replace(row, fields=dict.fromkeys(fields, row.fields["city"]))
        for arm, row in results.arms.items()
    }
    return dataclasses.replace(results, fields=fields, arms=arms)


def test_table_of_many_long_fields_still_fits(finished: tuple[Path, dict[str, Any]]) -> None:
    results = results_of(finished[0])
    fields = ("date", "city", "university", "major", "company")
    for known in (None, KnownScores(24, 12, Estimate(0.5, 0.4, 0.6), Estimate(0.5, 0.4, 0.6), None)):
        arms = {arm: dataclasses.replace(row, known=known) for arm, row in results.arms.items()}
        these = dataclasses.replace(results, arms=arms)
        wide = with_fields(these, tuple(f"a-rather-long-field-{number}" for number in range(8)))
        for columns in (120, 100, 80):
            assert max(map(len, results_table(wide, columns).splitlines())) <= columns
        assert tuple(results_table(with_fields(these, fields)).splitlines()[0].split()[1:6]) == fields


def test_markdown_has_every_interval(finished: tuple[Path, dict[str, Any]]) -> None:
    run, results = finished
    text = (run / "report" / "results.md").read_text()
    assert text == results_markdown(results_of(run))
    company = results["arms"]["plain"]["fields"]["date"]["em"]
    assert f"| plain | .750 [{score(company['low'])}, {score(company['high'])}] |" in text
    assert text.count(" minus ") >= 20


def test_results_are_read_back_as_they_were_written(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run, row = finished
    results = results_of(run)
    assert to_json(results) == row
    write_results(tmp_path / "results.json", results)
    assert (tmp_path / "results.json").read_bytes() == (run / "report" / "results.json").read_bytes()
    write_json(tmp_path / "results.json", {"title": "only this"})
    with pytest.raises(ElusiveError, match=r"results\.json: expected what this version of Elusive writes"):
        read_results(tmp_path / "results.json")


def test_results_are_a_table_and_draw_their_figures(finished: tuple[Path, dict[str, Any]]) -> None:
    run, row = finished
    results = read_results(run)
    columns = results.columns()
    assert columns["arm"] == list(row["arms"])
    assert columns["em"] == [arm["em"]["value"] for arm in row["arms"].values()]
    assert columns["em_low"] == [arm["em"]["low"] for arm in row["arms"].values()]
    field = row["fields"][0]
    assert columns[f"em_{field}"] == [arm["fields"][field]["em"]["value"] for arm in row["arms"].values()]
    figures = results.figures()
    assert {"em-by-field", "drop-probability"} <= set(figures)
    assert figures["em-by-field"].axes[0].get_lines() or figures["em-by-field"].axes[0].containers


# ---- what is missing


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("corpus/documents.jsonl", "corpus"),
        ("augmented/attention/ranking.parquet", "augment"),
        ("evaluation/contrast-cues/seed-0/predictions.jsonl", "evaluate"),
        ("evaluation/untrained/seed-0/predictions.jsonl", "evaluate"),
        ("scores/small-cue-company/part-00000.parquet", "score"),
    ],
)
def test_missing_pieces_name_their_stage(tmp_path: Path, path: str, stage: str) -> None:
    run = make_run(tmp_path)
    (run / path).unlink()
    with pytest.raises(ElusiveError, match=f"Run the stage '{stage}' of this run first"):
        write_report(run, ReportSettings())
    assert not (run / "report" / "index.html").exists()


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path, seeds=(0, 1))
    for folder in ("augmented/contrast-cues", "scores/small-cues", "models/attention/seed-1", "models/plain/seed-1"):
        (run / folder / "done.json").unlink()
    for arm, seed in (("contrast-cues", 0), ("contrast-cues", 1), ("attention", 1), ("random-matched", 1)):
        shutil.rmtree(run / "evaluation" / arm / f"seed-{seed}")
    text = write_report(run, ReportSettings()).read_text()
    results = results_of(run)
    assert results.missing == (
        "score: small-cues",
        "augment: contrast-cues",
        "train: plain (seed 1), attention (seed 1)",
        "evaluate: random-matched (seed 1), contrast-cues (seed 0, 1)",
    )
    # Seed 0 is what most arms were evaluated after, and the only one that they share.
    assert results.seeds == (0,)
    assert [arm for arm, row in results.arms.items() if row.em] == ["untrained", "plain", "random-matched", "attention"]
    assert results.verdict.headline.startswith("So far: random-matched answers .583 of the questions, plain .417 (")
    assert "<li>augment: contrast-cues</li>" in text


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (("corpus", "scores"), "No trained arm has answered the questions yet."),
        (("corpus", "scores", "augmented"), "No trained arm has answered the questions yet."),
        (("corpus", "scores", "augmented", "models"), "No trained arm has answered the questions yet."),
    ],
)
def test_a_run_without_answers_yet_says_so(tmp_path: Path, undrawn: None, left: Sequence[str], words: str) -> None:
    run = make_run(tmp_path)
    for folder in {"corpus", "scores", "augmented", "models", "evaluation"} - set(left):
        shutil.rmtree(run / folder)
    text = write_report(run, ReportSettings()).read_text()
    assert words in text
    assert "No model has answered the questions yet" in text
    assert results_table(results_of(run))


def test_the_seeds_that_all_evaluated_arms_share_are_compared(tmp_path: Path) -> None:
    run = make_run(tmp_path, seeds=(0, 1, 2))
    for arm, seed in (("plain", 0), ("attention", 1), ("random-matched", 1), ("contrast-cues", 1)):
        shutil.rmtree(run / "evaluation" / arm / f"seed-{seed}")
    found = standing_of(RunFolder(run), recipe_of(run), asked=True)
    assert found.seeds == (2,)
    assert found.evaluated == ("untrained", *ARMS)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ElusiveError, match=r"is not a run folder: it has no recipe\.toml"):
        write_report(tmp_path, ReportSettings())


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = run / "evaluation" / "plain" / "seed-0" / "predictions.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")
    with pytest.raises(ElusiveError, match=r"expected answers to the same 36 questions.*got 35 answers"):
        write_report(run, ReportSettings())


def test_a_cue_field_asked_for_must_have_scores(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(ElusiveError, match=r"the cue before 'city'.*another report.cue_field"):
        write_report(run, ReportSettings(cue_field="city"))


def test_without_questions_the_page_says_why(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path, questions=False)
    text = write_report(run, ReportSettings()).read_text()
    assert "Nothing was evaluated: the corpus brings no questions." in text
    results = json.loads((run / "report" / "results.json").read_text())
    assert results["pairs"] == []
    assert list(results["arms"]) == list(ARMS)
    assert "Documents and their clues</h2>" in text
    assert "stays with 0.70" in text
    assert ".300" in results_table(results_of(run))


def test_without_spans_the_page_leaves_out_distance_and_cues(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path, spans=False)
    text = write_report(run, ReportSettings(documents=0)).read_text()
    assert "Left out: it needs documents with spans" in text
    assert "Left out: it needs questions about at least two fields, marked as spans" in text
    assert "Left out: no documents were asked for" in text
    results = json.loads((run / "report" / "results.json").read_text())
    assert results["farthest_field"] is None
    assert results["cue_ranks"] is None
    assert {row["field"] for row in results["pairs"]} == {"all"}


def test_the_cue_field_with_scores_is_taken(tmp_path: Path) -> None:
    assert scored_cue_field(RunFolder(tmp_path), {}) == ""
    for folder in ("large-cue-city", "small-cue-city", "large-cue-date", "large-cues", "small-all"):
        write_json(tmp_path / "scores" / folder / "done.json", {})
    assert scored_cue_field(RunFolder(tmp_path), {"date": 7.0, "city": 18.0, "company": 30.0}) == "city"


def test_importing_the_report_loads_nothing_heavy() -> None:
    code = (
        "import sys, elusive.reporting; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_second_report_replaces_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda results, longest, losses: {})  # drawing takes most of the time
    run = make_run(tmp_path)
    seen: list[tuple[int, int]] = []
    write_report(run, ReportSettings(), progress=lambda done, total: seen.append((done, total)))
    text = write_report(run, ReportSettings(documents=1)).read_text()
    assert text.count('class="document"') == 1
    assert seen == [(done, 4) for done in range(5)]


def test_the_page_says_which_heads_were_read(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path)
    recipe = (run / "recipe.toml").read_text()
    assert "read at" not in (write_report(run, ReportSettings()).read_text())
    for name, value in (("layers = []", "layers = [3]"), ("heads = []", 'heads = ["2.1"]')):
        assert name in recipe
        recipe = recipe.replace(name, value, 1)  # the large model's, which comes first
    write_text(run / "recipe.toml", recipe.replace("renormalise = false", "renormalise = true"))
    text = write_report(run, ReportSettings()).read_text()
    assert ", read at layers 3 and heads 2.1, rows over the ranked tokens alone</dd>" in text
    assert ", read at all heads, rows over the ranked tokens alone</dd>" in text


def test_when_where_and_how_long_a_run_took(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path, seeds=(0, 1))
    made = {"date": "2026-11-28T10:20:30+00:00", "device": "NVIDIA H100", "cpu": "Xeon", "cores": 16}
    write_json(run / "run.json", made)
    write_json(run / "scores" / "large-cues" / "done.json", {"seconds": 3600.0})
    write_json(run / "evaluation" / "plain" / "seed-0" / "done.json", {"seconds": 30.0})
    facts = run_facts(RunFolder(run), recipe_of(run), standing_of(RunFolder(run), recipe_of(run), asked=True))
    # Four arms, of 10 and of 20 seconds each.
    assert facts.seconds == {"score": 3600.0, "train": 120.0, "evaluate": 30.0}
    text = write_report(run, ReportSettings()).read_text()
    assert "2026-11-28 10:20 UTC</time>" in text
    assert "<dd>NVIDIA H100, Xeon, 16 cores</dd>" in text
    assert "1 h 2 min: 1 h 0 min to capture attention, 2 min 0 s to train, 30 s to evaluate" in text
    assert results_of(run).arms["attention"].scoring_seconds == 3600.0
    assert results_of(run).arms["random-matched"].scoring_seconds is None


def test_a_loss_curve_ends_where_its_training_is(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).metrics("plain", 0)
    rows = [{"step": step, "loss": 1.0} for step in range(1, 601)] + [
        {"step": 601, "em": 0.5},
        {"step": 602, "loss": math.nan},
    ]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 603, "lo')
    (curve,) = loss_curves(RunFolder(tmp_path), Recipe(arms=("plain",)))["plain"]
    assert len(curve.steps) == 200
    assert curve.steps[-1] == 600


def test_runs_side_by_side(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a" / "run"), make_run(tmp_path / "b" / "run", title=f"B {SCRIPT}", arms=ARMS[:2])
    recipe = (other / "recipe.toml").read_text().replace("learning_rate = 0.0005", "learning_rate = 0.002")
    write_text(other / "recipe.toml", recipe)
    (other / "models" / "plain" / "seed-0" / "done.json").unlink()
    shutil.rmtree(other / "evaluation" / "plain")
    page = write_comparison([one, other], tmp_path / "pages" / "both.html").read_text()
    found = compare([one, other])
    assert [run.name for run in found.runs] == ["a/run", "b/run"]
    assert found.settings["arms"] == ("plain, random-matched, attention, contrast-cues", "plain, random-matched")
    assert "output" not in found.settings
    assert "title" not in found.settings
    assert set(found.settings) == {"arms", "train.learning_rate"}
    assert found.same_questions
    rows = dict(re.findall(r"</span>([\w-]+)</th>(.*?)</tr>", page))  # of the last table, F1: (22 + 14 / 4) / 36
    assert re.findall(r"<td>([.\d-]+)", rows["contrast-cues"]) == [".708", "-"]
    assert "train: plain (seed 0)" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    with pytest.raises(ElusiveError, match="two or more different run folders"):
        compare([one, one])
    with pytest.raises(ElusiveError, match="expected the name of an HTML file"):
        write_comparison([one, other], tmp_path / "both.txt")


def test_what_the_script_shows_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, documents = RunFolder(make_run(tmp_path, each=True)), read_documents(RunFolder(tmp_path))
    recipe = recipe_of(tmp_path)
    standing = standing_of(run, recipe, asked=True)
    assert [one.id for one in sample(documents, 5)] == [f"person-{n}" for n in (0, 2, 4, 7, 9)]
    assert sample(documents, 12) == documents
    asked = questions_about(run, standing, [one.id for one in documents])
    whole = browse(run, documents, recipe, standing, asked)
    assert (whole.documents, whole.questions) == (12, 36)
    monkeypatch.setattr(browsing, "MOST_BYTES", browsing._size(whole.data) // 2)
    less = browse(run, documents, recipe, standing, asked)
    assert [one["id"] for one in less.data["documents"]] == [f"person-{n}" for n in range(0, 12, 2)]
    assert {one["document"] for one in less.data["questions"]} == {one["id"] for one in less.data["documents"]}


def test_the_script_gets_what_the_files_hold(tmp_path: Path) -> None:
    run = RunFolder(make_run(tmp_path, each=True, arms=(*ARMS, "insert-contrast+reorder")))
    standing = standing_of(run, recipe_of(tmp_path), asked=True)
    documents = read_documents(run)[:1]
    row = browse(run, documents, recipe_of(tmp_path), standing, {}).data["documents"][0]
    ends = np.cumsum(np.add(row["gaps"], row["lengths"]))
    words = [row["text"][end - length : end] for end, length in zip(ends, row["lengths"], strict=True)]
    assert words[:4] == ["Ada0", "Quill", "was", "born"]
    assert [cue["name"] for cue in row["cues"]] == [
        "", "Ada0 Quill was born on May 1, 1950", "She spent her early years in Town0, Norway",
        "She had a professional role at Firm0 Limited",
    ]  # fmt: skip
    city = row["cues"][2]
    # The special token in front takes place 0; the city's cue sees the tokens before it, 17 of 1 to 17.
    assert city["small"] == [100 * place for place in range(1, 17)]
    assert city["large"][:3] == [5100, 5200, 300]
    attention = row["arms"]["attention"]
    assert attention["ranks"][:3] == [1, 2, 3]
    assert attention["keep"][:2] == [round(1000 * (1 - 0.6 * (1 - math.exp(-0.05 * rank)))) for rank in (1, 2)]
    assert attention["keep"][words.index(",")] == -1
    clues = row["arms"]["insert-contrast+reorder"]["clues"]
    assert [(row["text"][at : at + 3], row["text"][start:end]) for at, start, end in clues] == [
        ("She", "Ada0 Quill")
    ] * 2
