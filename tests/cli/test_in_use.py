"""Two commands in one folder: the second is told so by every verb that writes, and what the first wrote stays whole."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from elusive.cli.main import main
from elusive.cli.table import VERBS
from elusive.runs.files import write_json
from elusive.runs.lock import locked

RECIPE = """
output = "{output}"
[corpus]
people = 2
[augment]
copies = 1
"""
WITHOUT_A_FOLDER = {"settings", "completion", "init", "merge"}
"""They write nothing, a file, or a folder that is whole or not there."""
COMMANDS: Mapping[str, tuple[str, str]] = {
    # The folder that is in use, and the rest of the command.
    "generate": ("new", "--output new --people 2"),
    "score": ("new", "corpus --output new"),
    "augment": ("new", "corpus --output new --large scores --arm random"),
    "train": ("new", "texts/train.jsonl --output new"),
    "evaluate": ("new", "--questions corpus/questions.jsonl --output new --model elusive/small"),
    "recall": ("new", "corpus --output new"),
    "heads": ("new", "corpus --output new"),
    "export": ("new", "texts --output new"),
    "report": ("run/report", "run"),
    "run": ("run", "recipe.toml"),
    "demo": ("new", "--output new"),
    "questions": ("new", "corpus --output new --engine cloze"),
    "learn": ("new", "corpus --output new"),
    "sweep": ("new", "recipe.toml --output new"),
    "pretrain": ("new", "pretrain.toml --output new"),
    "reproduce": ("new", "figure2 --family embedded --output new"),
}
INSIDE_A_RUN = {
    "corpus": "generate --output run/corpus --people 2",
    "scores/large-cues": "score corpus --output run/scores/large-cues",
    "models/plain/seed-0": "train texts/train.jsonl --output run/models/plain/seed-0",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, its scores and texts, and recipes."""
    folder = tmp_path_factory.mktemp("in-use")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["generate", "--output", "corpus", "--people", "2"])
        main(["score", "corpus", "--output", "scores"])
        main(["augment", "corpus", "--output", "texts", "--large", "scores", "--arm", "random", "--copies", "1"])
        Path("recipe.toml").write_text(RECIPE.format(output="run"))
        Path("run").mkdir()
        Path("run/recipe.toml").write_text(RECIPE.format(output="run"))
        Path("pretrain.toml").write_text("layers = 1\n")
    return folder


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def refused(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_every_verb_is_tried() -> None:
    assert COMMANDS.keys() == VERBS.keys() - WITHOUT_A_FOLDER


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_verb_is_refused_a_folder_in_use(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    used, arguments = COMMANDS[verb]
    with locked(used):
        before = sorted(Path(used).rglob("*"))
        assert f"elusive: {used} is in use by process " in refused(f"{verb} {arguments}", capsys)
        assert sorted(Path(used).rglob("*")) == before


@pytest.mark.parametrize("place", INSIDE_A_RUN)
def test_a_stage_s_folder_within_a_run_is_in_use_too(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(Path("run") / place):
        assert f"elusive: run/{place} is in use by process " in refused(INSIDE_A_RUN[place], capsys)


def test_a_report_can_be_written_while_the_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with locked("run"):
        # It gets as far as the files that this run has not written.
        assert "documents.jsonl is missing" in refused("report run", capsys)


def test_a_done_folder_can_be_asked_for_by_two_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with locked("scores"):
        main(["score", "corpus", "--output", "scores"])
    assert "scores: scored" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["score", "augment", "train", "evaluate", "pretrain"])
def test_a_mark_without_settings_is_refused_by_every_stage(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_json("marked/done.json", {})
    arguments = COMMANDS[verb][1].replace("--output new", "--output marked")
    assert "marked is marked as done (done.json), but settings.json is missing" in refused(
        f"{verb} {arguments}", capsys
    )
