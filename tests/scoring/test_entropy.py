"""Entropies of predictions: by definition from whole logits, in windows, in parts of the head, and as a stage."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from elusive.cli.main import main
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.scoring import entropy as scoring
from elusive.scoring import stage
from elusive.scoring.entropy import entropy, entropy_of_documents
from elusive.scoring.shards import read_scores
from elusive.scoring.stage import score_corpus

from ..tiny_models import VOCABULARY, model_pair, tiny_documents, tiny_model, tiny_tokenizer

DOCUMENTS = tiny_documents(4)


def by_definition(eager: PreTrainedModel, ids: np.ndarray) -> np.ndarray:
    """-sum p ln p of what stands before each token but the first, float64 (tokens - 1,)."""
    with torch.no_grad():
        logits_TV = eager(input_ids=torch.tensor(ids[None].astype(np.int64)), use_cache=False).logits[0].double()
    log_TV = logits_TV.log_softmax(-1)
    return -(log_TV.exp() * log_TV).sum(-1).numpy()[:-1]


# Logits that are capped (gemma2), scaled (cohere, granite); another decoder than base_model (opt), none that
# transformers finds (llama4); attention by hooks (bloom); frequencies by length (phi3_longrope).
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "name", ["llama", "gemma2", "cohere", "granite", "opt", "llama4", "gpt2", "bloom", "phi3_longrope"]
)
def test_by_definition(name: str, packed: bool) -> None:
    model, eager = model_pair(name)
    settings = ScoreSettings(packed=packed, max_batch_tokens=120, max_length=200)
    if name == "bloom" and packed:
        with pytest.raises(ElusiveError, match="would see each other in BloomForCausalLM"):
            entropy_of_documents(DOCUMENTS, model, tiny_tokenizer(), settings)
        return
    for document, scores in zip(
        DOCUMENTS, entropy_of_documents(DOCUMENTS, model, tiny_tokenizer(), settings), strict=True
    ):
        assert scores.document_id == document.id
        assert scores.token_ids.tolist() == tiny_tokenizer()(document.text)["input_ids"]
        assert scores.queries.tolist() == [0] + [1] * (len(scores.token_ids) - 1)
        assert scores.scores[0] == 0
        np.testing.assert_allclose(scores.scores[1:], by_definition(eager, scores.token_ids), atol=2e-5)


def test_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(3), 0.0, -torch.inf], [90.0, 0.0, 0.0]])
    expected = [math.log(3), math.log(4) - 0.75 * math.log(3), 0.0]
    assert entropy(logits).tolist() == pytest.approx(expected, abs=1e-6)


def test_nothing_predicts_a_first_token_without_bos() -> None:
    [scores] = entropy_of_documents(DOCUMENTS[:1], tiny_model("llama"), tiny_tokenizer(bos=False))
    assert scores.queries.tolist() == [0] + [1] * (len(scores.token_ids) - 1)


def test_a_long_text_is_predicted_in_windows() -> None:
    model, eager = model_pair("llama")
    document = Document("long", " ".join(one.text for one in tiny_documents(3)), ())
    [scores] = entropy_of_documents([document], model, tiny_tokenizer(), ScoreSettings(max_length=21))
    tokens = len(scores.token_ids)
    assert tokens > 60
    assert scores.queries.tolist() == [0] + [1] * (tokens - 1)
    # Behind bos 20 tokens, and each next window begins 10 tokens on and gives what its last 10 positions predict.
    expected = by_definition(eager, scores.token_ids[:22])[:21].tolist()
    for start in range(11, tokens, 10):
        window = scores.token_ids[[0, *range(start, min(start + 20, tokens))]]
        expected += by_definition(eager, np.append(window, 0))[11:21].tolist()
    np.testing.assert_allclose(scores.scores[1:], expected[: tokens - 1], atol=2e-5)


def test_the_head_never_sees_a_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = entropy_of_documents(DOCUMENTS, tiny_model("llama"), tiny_tokenizer())
    monkeypatch.setattr(scoring, "_LOGITS_AT_ONCE", 3 * VOCABULARY + 1)
    model: Any = tiny_model("llama")
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[:-1].numel()))
    parts = entropy_of_documents(DOCUMENTS, model, tiny_tokenizer())
    check, *rest = rows  # of the head itself, on four tokens
    assert check == 4
    assert max(rest) == 3
    assert sum(rest) > sum(len(one.token_ids) - 1 for one in parts)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def test_a_head_that_looks_at_other_states_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny_model("llama")
    head = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda states: head(states.cumsum(1)))
    with pytest.raises(ElusiveError, match="LlamaForCausalLM cannot be scored by entropy: its output head gives other"):
        entropy_of_documents(DOCUMENTS, model, tiny_tokenizer())


def test_entropies_that_depend_on_the_batch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny_model("llama")
    norm = model.model.norm.forward
    monkeypatch.setattr(model.model.norm, "forward", lambda states: norm(states * states.shape[0]) * states.shape[0])
    with pytest.raises(ElusiveError, match="cannot be scored in batches: the scores of a text alone and beside"):
        entropy_of_documents(DOCUMENTS, model, tiny_tokenizer())


class TestStage:
    def test_begun_again_only_what_is_missing_is_scored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        score = stage.entropy_of_documents
        monkeypatch.setattr(
            stage, "entropy_of_documents", lambda part, *a, **k: calls.append(len(part)) or score(part, *a, **k)
        )
        settings, model = ScoreSettings(shard_documents=3), ModelRef("elusive/small")

        def run() -> None:
            score_corpus(DOCUMENTS, tmp_path, model, settings, measure="entropy")

        run()
        first = [one.scores.tolist() for one in read_scores(tmp_path)]
        (tmp_path / "part-00001.parquet").unlink()
        (tmp_path / "done.json").unlink()
        run()
        run()
        assert calls == [3, 1, 1]
        assert [one.scores.tolist() for one in read_scores(tmp_path)] == first
        made = json.loads((tmp_path / "settings.json").read_text())
        assert made["measure"] == "entropy"
        assert not {"queries", "layers", "renormalise"} & made.keys()

    def test_entropies_and_attention_do_not_share_a_folder(self, tmp_path: Path) -> None:
        score_corpus(DOCUMENTS, tmp_path, ModelRef("elusive/small"), ScoreSettings(), measure="entropy")
        with pytest.raises(ElusiveError, match="measure: was 'entropy', now None"):
            score_corpus(DOCUMENTS, tmp_path, ModelRef("elusive/small"), ScoreSettings())

    def test_what_only_attention_has_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ElusiveError, match="expected no fields, and nothing kept in addition, got city, heads"):
            score_corpus(
                DOCUMENTS,
                tmp_path,
                ModelRef("elusive/small"),
                ScoreSettings(),
                measure="entropy",
                fields=["city"],
                keep=["heads"],
            )
        corpus = tmp_path / "corpus.txt"
        corpus.write_text("Ada wrote notes.")
        with pytest.raises(SystemExit):
            main(["score", str(corpus), "--output", str(tmp_path / "s"), "--measure", "entropy", "--layers", "0"])
        assert "--measure entropy: expected no --layers or --heads" in " ".join(capsys.readouterr().err.split())
