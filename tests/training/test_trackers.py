"""Trackers: which are refused, what a training is called in them, and where its answers go."""

from pathlib import Path

import pytest

from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.runs.files import write_jsonl
from elusive.training import trackers
from elusive.training.stage import train
from elusive.training.tracked_answers import track_answers
from elusive.training.trackers import check_trackers, tensorboard_folder, tracked_name

from ..tiny_models import tiny_model, tiny_tokenizer


def test_a_tracker_that_is_missing_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    for name, package in (("trackio", "trackio"), ("wandb", "wandb"), ("azure_ml", "azureml-core")):
        with pytest.raises(ElusiveError, match=rf"report_to = '{name}' needs {name}, .* pip install {package}$"):
            check_trackers({"report_to": [name]})
    settings = TrainSettings(training_arguments={"report_to": "tensorboard"})
    with pytest.raises(ElusiveError, match=r"pip install tensorboard$"):  # no texts are looked for
        train(tmp_path / "none.jsonl", tmp_path / "out", model=ModelRef("elusive/small"), settings=settings)
    with pytest.raises(ElusiveError, match=r"that transformers knows, got 'tensorbord'. Did you mean 'tensorboard'"):
        check_trackers({"report_to": "tensorbord"})
    check_trackers({"report_to": "none"})
    check_trackers({})


def test_each_training_of_a_run_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "demo" / "models" / "plain" / "seed-1"
    assert tracked_name(model) == "seed-1"  # no run as yet
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "recipe.toml").touch()
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    assert tracked_name(model) == "demo plain seed-1"
    assert tracked_name(model, "mine") == "mine plain seed-1"
    assert tensorboard_folder(model) == tmp_path / "demo" / "tensorboard" / "plain" / "seed-1"
    assert tensorboard_folder(tmp_path / "alone") == tmp_path / "alone" / "tensorboard"
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    assert tensorboard_folder(model) == tmp_path / "board" / "plain" / "seed-1"
    assert tensorboard_folder(tmp_path / "alone") == tmp_path / "board"


def test_answers_stand_beside_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="event files need tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    write_jsonl(tmp_path / "train.jsonl", [{"text": f"Person {number} was born."} for number in range(4)])
    arguments = {"report_to": "tensorboard", "logging_steps": 1}
    settings = TrainSettings(max_steps=3, batch_size=2, lora_rank=2, training_arguments=arguments)
    out = tmp_path / "out"
    train(tmp_path / "train.jsonl", out, model=ModelRef(str(tmp_path / "base"), device="cpu"), settings=settings)
    track_answers(out, settings, {"em": 0.25, "known_em": 0.5})
    track_answers(out, settings, {})  # nothing to say
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3]
    found = {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in ("eval/em", "eval/known_em")}
    assert found == {"eval/em": [(3, 0.25)], "eval/known_em": [(3, 0.5)]}
