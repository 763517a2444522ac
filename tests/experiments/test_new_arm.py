"""A new arm is one entry in the table of arms: everything from recipe to report then knows it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from elusive.augmentation.arm import Arm
from elusive.augmentation.arms import ARMS
from elusive.augmentation.signals import ScoredDocument
from elusive.cli.main import main
from elusive.config.toml import load_recipe
from elusive.config.verbs import SweepRecipe
from elusive.experiments.needs import scores_of_arm
from elusive.experiments.trials import depends_on, grid_trials, trials_of
from elusive.models.loading import load_configs
from elusive.paper.wording import arm_words
from elusive.planning.plan import CorpusSizes, plan_recipe
from elusive.planning.shapes import shape_of
from elusive.runs.files import read_json, read_jsonl
from elusive.scoring.sets import ScoreSet, sets_in

NAME = "reversed-attention"
RECIPE = f"""
arms = ["{NAME}", "attention"]
parallel = 1
[corpus]
people = 3
[augment]
copies = 2
[train]
max_steps = 1
batch_size = 2
[evaluate]
shots = 1
max_new_tokens = 2
known = "none"
resamples = 100
[report]
documents = 1
"""


def reversed_attention(scored: ScoredDocument) -> np.ndarray:
    return -scored.own.scores


@pytest.fixture(autouse=True)
def new_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = Arm(
        NAME,
        words="attention, reversed",
        made="tokens were dropped at random unless the model overlooks them",
        colour="#123456",
        on_dark="#fedcba",
        signal=reversed_attention,
        reads=lambda trained, queries: (ScoreSet(trained, queries),),
    )
    monkeypatch.setitem(ARMS.table, NAME, arm)


@pytest.fixture
def recipe(tmp_path: Path) -> SweepRecipe:
    path = tmp_path / "recipe.toml"
    path.write_text(f'output = "{tmp_path / "run"}"\n{RECIPE}')
    return load_recipe(path, SweepRecipe)


def test_what_it_needs_and_depends_on(recipe: SweepRecipe) -> None:
    assert [trial.arm for trial in trials_of(recipe)] == ["untrained", NAME, "attention"]
    assert scores_of_arm(NAME, recipe) == [ScoreSet("large", "cues")]
    for key in ("augment.beta", "score.renormalise", "augment.across_tokenizers", "train.epochs"):
        assert depends_on(recipe, NAME, key) == depends_on(recipe, "attention", key)
    assert {trial.arm for trial in grid_trials(recipe)} == {"untrained", NAME, "attention"}
    assert arm_words(NAME) == "attention, reversed"


def test_a_run_with_it(recipe: SweepRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", str(tmp_path / "recipe.toml")])
    run = tmp_path / "run"
    printed = capsys.readouterr().out
    assert NAME in printed
    assert {one.name for one in sets_in(run / "scores")} >= {"large-cues"}

    ranks = {}
    for arm in (NAME, "attention"):
        texts = list(read_jsonl(run / "augmented" / arm / "train.jsonl"))
        assert [(row["copy"], row["arm"]) for row in texts] == [(copy, arm) for _ in range(3) for copy in range(3)]
        ranks[arm] = pq.read_table(run / "augmented" / arm / "ranking.parquet").column("ranks").to_pylist()
    for first, second in zip(ranks[NAME], ranks["attention"], strict=True):
        assert first.index(1) != second.index(1)

    results = read_json(run / "report" / "results.json")
    assert {pair["a"] for pair in results["pairs"]} == {NAME, "attention"}
    assert NAME in (run / "report" / "results.md").read_text()
    page = (run / "report" / "index.html").read_text()
    assert f"--arm-{NAME}: #123456;" in page
    assert f"--arm-{NAME}: #fedcba;" in page
    assert f"var(--arm-{NAME})" in page, "bars of its colour"

    main(["export", str(run), "--arm", NAME, "--output", str(tmp_path / "export")])
    assert "dropped at random unless the model overlooks them" in (tmp_path / "export" / "README.md").read_text()


def test_a_plan_with_it(recipe: SweepRecipe) -> None:
    shapes = {name: shape_of(load_configs(f"elusive/{name}")[0], name) for name in ("large", "small")}
    sizes = CorpusSizes(documents=3, document_tokens=[90], questions=15, prompt_tokens=100, answer_tokens=5)
    stages = plan_recipe(recipe, sizes, shapes)
    notes = {stage.name: stage.note for stage in stages}
    assert notes[f"train large: {NAME}"] == notes["train large: attention"]
