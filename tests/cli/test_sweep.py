"""`elusive sweep` on the embedded pair, small: what it leaves, stopped and gone on with, and what it refuses."""

import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from elusive.cli.main import main
from elusive.config.toml import inline, load_recipe
from elusive.config.verbs import SweepRecipe
from elusive.experiments.trials import grid_trials
from elusive.runs.files import read_json, read_jsonl
from elusive.runs.folder import RunFolder
from elusive.training import stage

from .. import loaded

RECIPE = """
arms = ["plain", "random", "contrast-cues"]
parallel = 1
[corpus]
people = 6
[augment]
copies = 2
[train]
method = "full"
learning_rate = 2e-3
max_steps = 3
batch_size = 6
evaluate_at_epochs = [1.0]
[evaluate]
known = "none"
shots = 1
max_new_tokens = 6
[sweep.grid]
"train.learning_rate" = [1e-3, 2e-3]
"augment.beta" = [0.02, 0.05]
"""
TRIALS = {
    "untrained": [""],
    "plain": ["learning_rate-0.001", "learning_rate-0.002"],
    "random": ["learning_rate-0.001", "learning_rate-0.002"],
    "contrast-cues": [
        f"learning_rate-{rate},beta-{beta}"
        for rate, beta in ((0.001, 0.02), (0.001, 0.05), (0.002, 0.02), (0.002, 0.05))
    ],
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "sweep.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory, recipe) -> Path:
    """A finished sweep, never stopped, one trial after the other."""
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    main(["sweep", str(recipe), "--output", str(folder)])
    return folder


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """The folders of models that are trained from here on, in order."""
    folders: list[str] = []

    def counted(learner: Any, steps: Any, settings: Any, folder: Path, **options: Any) -> Any:
        folders.append(str(folder))
        return fit(learner, steps, settings, folder, **options)

    fit = stage.fit
    monkeypatch.setattr(stage, "fit", counted)
    return folders


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of trials.jsonl but for the time that trainings took."""
    rows = list(read_jsonl(folder / "trials.jsonl"))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message that a command stops with."""
    with pytest.raises(SystemExit) as stop:
        main(["sweep", *arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


def copy_of(swept: Path, folder: Path) -> Path:
    return Path(shutil.copytree(swept, folder / "sweep"))


# ---- a whole sweep


def test_every_trial_is_kept_and_its_numbers_are_those_of_its_answers(swept):
    rows = rows_of(swept)
    assert {arm: list(dict.fromkeys(row["trial"] for row in rows if row["arm"] == arm)) for arm in TRIALS} == TRIALS
    assert len(rows) == 1 + 2 * 8
    for row in rows:
        folder = swept / "evaluation" / row["arm"] / row["trial"] / "seed-0"
        metrics = read_json(folder / ("epoch-1" if row["epoch"] else "") / "metrics.json")
        assert (row["em"], row["f1"]) == pytest.approx((metrics["em"], metrics["f1"]))
        assert {field: one["f1"] for field, one in row["fields"].items()} == pytest.approx(
            {field: one["f1"] for field, one in metrics["fields"].items()}
        )
    last = rows[-1]
    assert last["settings"] == {"train.learning_rate": 0.002, "augment.beta": 0.05}
    assert (last["seed"], last["steps"], last["epoch"]) == (0, 3, None)
    assert 0 < last["mean_drop_rate"] < 1
    assert rows[1]["epoch"] == 1.0, "passes that were asked after stand before the end"
    assert rows[0].keys().isdisjoint({"steps", "mean_drop_rate"})


def test_questions_are_asked_after_a_pass_of_one_training(swept):
    for trial in grid_trials(load_recipe(swept / "sweep.toml", SweepRecipe))[1:]:
        measures = list(read_jsonl(trial.model_folder(RunFolder(swept), 0) / "metrics.jsonl"))
        asked = read_json(trial.answers_folder(RunFolder(swept), 0) / "epoch-1" / "metrics.json")
        # A pass is 6 texts, or 18 with two copies: one step of the three, or all of them.
        step = 1 if trial.arm == "plain" else 3
        assert [(row["step"], row["em"]) for row in measures if "em" in row] == [(step, asked["em"])]


def test_texts_and_scores_are_shared_by_trials_that_differ_in_training(swept):
    def folders(name: str) -> set[str]:
        return {str(path.parent.relative_to(swept / name)) for path in (swept / name).rglob("done.json")}

    assert folders("augmented") == {"plain", "random", "contrast-cues/beta-0.02", "contrast-cues/beta-0.05"}
    assert folders("scores") == {"large-cues", "small-cues"}
    assert len(list((swept / "models").rglob("model.safetensors"))) == 8
    assert folders("models") == {
        f"{arm}/{name}/seed-0" for arm, names in TRIALS.items() for name in names if arm != "untrained"
    }


def test_the_tables_are_printed_and_kept(swept, recipe, capsys, trained):
    main(["sweep", str(recipe), "--output", str(swept)])
    printed, said = capsys.readouterr()
    text = (swept / "sweep.md").read_text()
    assert text in printed
    assert "train and evaluate: 8 models, 1 at a time, 8 of them trained before" in said
    assert f"Every trial: {swept / 'trials.jsonl'}" in printed
    assert "## All arms at equal settings: learning_rate 0.002, beta 0.05" in text, "the recipe's own"
    assert "both ways" in text
    assert "the paper's way" in text
    assert "| contrast-cues | learning_rate 0.002, beta 0.05, after 1 epoch |" in text
    assert not trained
    assert load_recipe(swept / "sweep.toml", SweepRecipe).sweep.grid["augment.beta"] == [0.02, 0.05]


# ---- gone on with


def test_a_sweep_gone_on_with_keeps_what_is_done(swept, recipe, tmp_path, trained):
    folder = copy_of(swept, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    grid = {"augment.beta": [0.02, 0.05, 0.1], "train.learning_rate": [1e-3]}
    flags = [f"sweep.grid={inline(grid)}", "arms=[random-matched, plain, contrast-cues]"]
    main(["sweep", str(recipe), "--output", str(folder), "--set", *flags])
    names = [str(Path(one).relative_to(folder / "models").parent) for one in trained]
    assert names == [
        *(f"random-matched/learning_rate-0.001,beta-{beta}" for beta in (0.02, 0.05, 0.1)),
        "contrast-cues/learning_rate-0.001,beta-0.1",
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows, old = rows_of(folder), rows_of(swept)
    assert [row for row in rows if row in old] == [row for row in old if "random" not in row["arm"] and row_at(row)]
    assert {row["arm"] for row in rows} == {"untrained", "random-matched", "plain", "contrast-cues"}


def row_at(row: dict[str, Any]) -> bool:
    """Whether a row is of the learning rate that is still tried, or of no training."""
    return row["settings"].get("train.learning_rate", 1e-3) == 1e-3


def test_other_settings_of_all_trials_are_refused_before_any_training(swept, recipe, tmp_path, capsys, trained):
    folder = copy_of(swept, tmp_path)
    kept = (folder / "sweep.toml").read_text()
    command = [str(recipe), "--output", str(folder), "--set"]
    # A new value stands first; nothing is trained with it before the others are refused.
    grid = 'sweep.grid={"train.learning_rate" = [5e-4, 1e-3]}'
    message = stopped(capsys, *command, "train.weight_decay=0.5", grid, "arms=[plain]")
    assert "models/plain/learning_rate-0.001/seed-0 was begun with other settings" in message
    assert "train.weight_decay: was 0.0, now 0.5" in message
    assert "augment.copies: was 2, now 3" in stopped(capsys, *command, "augment.copies=3")
    assert "corpus.people: was 6, now 7" in stopped(capsys, *command, "corpus.people=7")
    assert "settings.shots: was 1, now 2" in stopped(capsys, *command, "evaluate.shots=2")
    assert not trained
    assert (folder / "sweep.toml").read_text() == kept


def test_a_sweep_that_was_killed_goes_on_to_the_same_numbers(swept, recipe, tmp_path, trained):
    folder = tmp_path / "sweep"
    arguments = ["sweep", str(recipe), "--output", str(folder), "--set", "arms=[plain, random]"]
    process = loaded.start(arguments, {**os.environ, "OMP_NUM_THREADS": "1"}, tmp_path / "printed")
    # In the midst of the second trial: its folder is there, and not done.
    second = folder / "models" / "plain" / "learning_rate-0.002" / "seed-0"
    deadline = time.monotonic() + 300
    while not (second / "settings.json").exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (second / "settings.json").exists()
    assert not (folder / "trials.jsonl").exists()
    main(arguments)
    names = [str(Path(one).relative_to(folder / "models")) for one in trained]
    assert "plain/learning_rate-0.001/seed-0" not in names, "done before, so not trained again"
    assert names[-2:] == ["random/learning_rate-0.001/seed-0", "random/learning_rate-0.002/seed-0"]
    assert rows_of(folder) == [row for row in rows_of(swept) if row["arm"] != "contrast-cues"]


# ---- side by side, and without weights


@pytest.fixture(scope="module")
def answers_alone(tmp_path_factory, recipe) -> Path:
    """A part of the same sweep, two trials at a time, whose weights are not kept."""
    folder = tmp_path_factory.mktemp("answers") / "sweep"
    changed = ["parallel=2", "sweep.keep=answers", "arms=[plain, contrast-cues]"]
    changed += ["sweep.grid={}", 'sweep.grid."train.learning_rate"=[1e-3]', 'sweep.grid."augment.beta"=[0.05]']
    with pytest.MonkeyPatch.context() as patch:
        # Processes of their own as ever, but forked from one that has its libraries loaded.
        patch.setattr(multiprocessing, "get_context", lambda method: loaded.CONTEXT)
        main(["sweep", str(recipe), "--output", str(folder), "--set", *changed])
    return folder


def test_two_at_a_time_give_the_numbers_of_one_at_a_time(swept, answers_alone):
    rows, every = rows_of(answers_alone), rows_of(swept)
    assert [(row["arm"], row["trial"], row["epoch"]) for row in rows] == [
        ("untrained", "", None),
        ("plain", "learning_rate-0.001", 1.0),
        ("plain", "learning_rate-0.001", None),
        ("contrast-cues", "learning_rate-0.001,beta-0.05", 1.0),
        ("contrast-cues", "learning_rate-0.001,beta-0.05", None),
    ]
    assert all(row in every for row in rows)


def test_answers_alone_are_kept_where_that_is_asked_for(answers_alone, capsys, trained):
    assert not list(answers_alone.rglob("*.safetensors"))
    before = rows_of(answers_alone)
    recipe = str(answers_alone / "sweep.toml")
    main(["sweep", recipe])
    assert not trained
    assert rows_of(answers_alone) == before
    # More trials can be had, but nothing more can be asked of those that were.
    grid = 'sweep.grid={"train.learning_rate" = [1e-3, 2e-3]}'
    main(["sweep", recipe, "--set", "arms=[plain]", grid, "--set", "parallel=1"])
    assert [Path(one).parent.name for one in trained] == ["learning_rate-0.002"]
    assert not list(answers_alone.rglob("*.safetensors"))
    capsys.readouterr()
    assert "settings.shots: was 1, now 2" in stopped(capsys, recipe, "--set", "evaluate.shots=2")
    message = stopped(capsys, recipe, "--set", "evaluate.known=auto")
    assert "the weights of plain learning_rate-0.001 were not kept" in message
    assert "Leave evaluate.known as it was" in message
    assert len(trained) == 1


def test_averages_of_one_training(recipe, tmp_path, trained, capsys):
    flags = ["arms=[plain]", "train.evaluate_at_epochs=[]", "train.learning_rate=2e-2", "sweep.keep=answers"]
    flags = [str(recipe), "--output", str(tmp_path), *(word for flag in flags for word in ("--set", flag))]
    main(["sweep", *flags, "--set", 'sweep.grid={"train.average" = [0.5, 1.0]}'])
    assert [Path(one).parent.name for one in trained] == ["average-1.0"]
    assert "train and evaluate: 1 model, 1 at a time" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))
    rows = rows_of(tmp_path)
    assert [row["trial"] for row in rows] == ["", "average-0.5", "average-1.0"]
    assert rows[1]["f1"] != rows[2]["f1"]
    # Its weights are gone: another average is trained for, to the end.
    main(["sweep", *flags, "--set", 'sweep.grid={"train.average" = [0.5, 1.0, 0.7]}'])
    assert [Path(one).parent.name for one in trained[1:]] == ["average-0.7"]
    assert [row for row in rows_of(tmp_path) if row["trial"] != "average-0.7"] == rows


# ---- a search


def test_a_search_goes_on_to_the_trials_of_one_that_was_not_stopped(recipe, tmp_path, trained, capsys):
    flags = ["sweep.search=tpe", "sweep.grid={}", 'sweep.ranges={"train.learning_rate" = [1e-4, 1e-2]}']
    flags += ["arms=[plain, random]", 'sweep.settings.random."train.learning_rate"=0.001']

    def run(name: str, trials: int) -> Path:
        main(["sweep", str(recipe), "--output", str(tmp_path / name), "--set", *flags, f"sweep.trials={trials}"])
        return tmp_path / name

    whole = run("whole", 2)
    assert [Path(one).relative_to(whole / "models").parts[0] for one in trained] == ["random", "plain", "plain"]
    rows = rows_of(whole)
    rates = list(dict.fromkeys(row["settings"].get("train.learning_rate") for row in rows if row["arm"] == "plain"))
    assert len(rates) == 2
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert len([row for row in rows if row["arm"] == "random"]) == 2, "what is not searched has one trial"
    printed, said = capsys.readouterr()
    assert "round 2 of 2" in said
    assert "The search saw all questions" in printed
    run("parts", 1)
    del trained[:]
    assert rows_of(run("parts", 2)) == rows
    assert len(trained) == 1


# ---- refused at once


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (['sweep.grid={"evaluate.shots" = [1]}'], "got 'evaluate.shots'"),
        (['sweep.grid={"train.learning_rat" = [1]}'], "Did you mean 'learning_rate'"),
        (['sweep.grid={"augment.alpha" = [1.5]}'], "augment.alpha: expected a probability in [0, 1], got 1.5"),
        (['sweep.equal."augment.beta"=0.3'], "sweep.equal: expected values that are tried, got 0.3"),
        (
            ["sweep.search=tpe", 'sweep.ranges."train.epochs"=[3]'],
            "expected [low, high] for 'train.epochs'",
        ),
        (["train.training_arguments.learning_rate=1"], "learning_rate"),
    ],
)
def test_what_cannot_be_swept_stops_before_anything_is_written(recipe, tmp_path, capsys, flags, message):
    assert message in stopped(capsys, str(recipe), "--output", str(tmp_path / "sweep"), "--set", *flags)
    assert not (tmp_path / "sweep").exists()


def test_a_search_without_optuna_stops_before_anything_is_written(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    message = stopped(capsys, str(recipe), "--output", str(tmp_path / "sweep"), "--set", "sweep.search=tpe")
    assert 'pip install "elusive[sweep]"' in message
    assert not (tmp_path / "sweep").exists()


def test_a_corpus_without_questions_is_refused_before_anything_long(recipe, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("Ada Lovelace was born in 1815.")
    corpus = ["--set", f"corpus.source={tmp_path / 'text.txt'}", "arms=[plain]", "sweep.grid={}"]
    folder = tmp_path / "sweep"
    for evaluate_at in ([], ["train.evaluate_at_epochs=[]"]):
        message = stopped(capsys, str(recipe), "--output", str(folder), *corpus, *evaluate_at)
        assert "expected a corpus with questions" in message or "expects a corpus with questions" in message
        assert "corpus.questions" in message
    assert not (folder / "scores").exists()
    assert not (folder / "models").exists()
