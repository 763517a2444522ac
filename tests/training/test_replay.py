"""Replay from any corpus: which of its texts are mixed in, and a file that has changed."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError
from elusive.runs.files import write_jsonl
from elusive.training import stage
from elusive.training.stage import train


@pytest.fixture
def model(tokenizer: Any, tmp_path: Path) -> ModelRef:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, intermediate_size=32, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return ModelRef(str(tmp_path / "model"), device="cpu")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "train.jsonl", ({"text": f"Person {n} was born in {1900 + n}."} for n in range(4)))
    return tmp_path / "train.jsonl"


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """A table whose text stands in a column of another name."""
    with (tmp_path / "other.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "body"])
        table.writerows([n, f"River {n} flows to the sea."] for n in range(5))
    return tmp_path / "other.csv"


def mixed_in(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that replay rows are made of, as soon as they are."""
    found: list[str] = []
    own = stage.tokenize_rows

    def seen(texts: Any, *arguments: Any) -> Any:
        found.extend(texts)
        return own(found, *arguments)

    monkeypatch.setattr(stage, "tokenize_rows", seen)
    return found


def test_the_first_texts_of_a_column(model, texts, replay, tmp_path, monkeypatch):
    found = mixed_in(monkeypatch)
    settings = TrainSettings(
        replay=str(replay), replay_column="body", replay_documents=3, max_steps=2, batch_size=2, save_steps=0
    )
    train(texts, tmp_path / "out", model=model, settings=settings)
    assert found == [f"River {n} flows to the sea." for n in range(3)]
    replay.write_text(replay.read_text().replace("River", "Brook"))
    with pytest.raises(ElusiveError, match="begun with other settings:\n  replay: was"):
        train(texts, tmp_path / "out", model=model, settings=settings)


def test_a_column_that_is_not_there(model, texts, replay, tmp_path):
    settings = TrainSettings(replay=str(replay), replay_column="content", max_steps=1, save_steps=0)
    with pytest.raises(ElusiveError, match="content"):
        train(texts, tmp_path / "out", model=model, settings=settings)
