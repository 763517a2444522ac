"""What each sentence's queries give: against transformers' eager attention, one text and one sentence at a time."""

import dataclasses
import random
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from elusive.attention import tiles
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.scoring.score import score_documents
from elusive.scoring.sentence_rows import sentence_rows
from elusive.scoring.sets import ScoreSet
from elusive.scoring.shards import TokenScores, read_scores, read_shard, schema_with, write_shard
from elusive.scoring.stage import score_corpus, score_sets

from ..tiny_models import eager_attention, model_pair, scores_by_hand, tiny_model, tiny_tokenizer
from .test_parity_with_eager import positions_by_hand, windows_by_hand

SENTENCES: Any = ("sentences",)
MODELS = ["llama", "gpt_neox", "gemma2", "gpt_oss", "bloom"]
"""Heads that share keys, plain ones, capped scores in windows, sinks, and a model that is read by hooks."""


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(tiles, "tile_queries", lambda shared, tokens, device: 16)


def documents_of_sentences(count: int, sentences: tuple[int, int] = (1, 5)) -> list[Document]:
    """Sentences of random words, each with an answer at its start, at its end, or none."""
    draw, lexicon = random.Random(0), ["was", "born", "in", "the", "city", "of", "Rome", "Oslo", "studied", "Art", "on"]
    documents = []
    for index in range(count):
        text, spans = "Ann Lee was here.", [Span("name", 0, 7)]
        for number in range(draw.randint(*sentences)):
            words = draw.choices(lexicon, k=draw.randint(3, 6))
            start = len(text) + 1
            text += " " + " ".join(words) + "."
            first, last = Span("city", start, start + len(words[0])), Span("major", text.rindex(" ") + 1, len(text) - 1)
            spans += [[first], [first, last], [last], []][number % 4]
        documents.append(Document(f"text-{index}", text, tuple(spans)))
    return documents


def sentences_of_queries(document: Document, scores: TokenScores, queries: str) -> dict[int, list[int]]:
    """The queries of each sentence, by the number of points before the token that decides."""
    found: dict[int, list[int]] = {}
    for q in positions_by_hand(document, True, queries):
        start, end = scores.offsets[q if queries == "all" else q + 1].tolist()
        inked = start + len(document.text[start:end]) - len(document.text[start:end].lstrip())
        found.setdefault(document.text[:inked].count("."), []).append(q)
    return found


def assert_totals_agree(scores: TokenScores) -> None:
    assert scores.rows is not None
    assert scores.row_queries is not None
    np.testing.assert_array_equal(scores.row_queries.sum(0), scores.queries)
    sums_T = (scores.rows.astype(float) * scores.row_queries).sum(0)
    np.testing.assert_allclose(sums_T, scores.scores * scores.queries, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("queries", ["cues", "spans", "all"])
def test_each_row_is_the_mean_of_its_sentences_queries(name, queries):
    model, eager = model_pair(name)
    documents = [*documents_of_sentences(5), Document("no answer", "Ann Lee.", (Span("name", 0, 7),))]
    maps = [eager_attention(eager, tiny_tokenizer()(document.text)["input_ids"]) for document in documents]
    for include_self in (True, False):
        settings = ScoreSettings(queries=queries, include_self=include_self, max_length=256, max_batch_tokens=400)
        packed = dataclasses.replace(settings, packed=True)
        plain = score_documents(documents, model, tiny_tokenizer(), settings)
        for one in (settings,) if name == "bloom" else (settings, packed):
            got = score_documents(documents, model, tiny_tokenizer(), one, keep=SENTENCES)
            assert max(len(cast(Any, scores.rows)) for scores in got) >= 3
            for document, attention_QK, scores, without in zip(documents, maps, got, plain, strict=True):
                groups = sentences_of_queries(document, scores, queries)
                assert scores.sentences is not None
                assert [document.text[:start].count(".") for start, _ in scores.sentences] == list(groups)
                by_hand = [scores_by_hand(attention_QK, some, include_self) for some in groups.values()]
                shape = len(groups), len(scores.token_ids)
                assert cast(Any, scores.rows).shape == cast(Any, scores.row_queries).shape == shape
                for row, (expected, counts) in enumerate(by_hand):
                    np.testing.assert_array_equal(cast(Any, scores.row_queries)[row], counts)
                    np.testing.assert_allclose(cast(Any, scores.rows)[row], expected, rtol=0, atol=1e-6)
                assert_totals_agree(scores)
                np.testing.assert_array_equal(scores.queries, without.queries)
                np.testing.assert_allclose(scores.scores, without.scores, rtol=0, atol=1e-6)
                assert without.rows is without.row_queries is without.sentences is None


@pytest.mark.parametrize("queries", ["cues", "all"])
def test_windows_of_long_texts(queries):
    model, eager = model_pair("llama")
    documents = documents_of_sentences(2, sentences=(5, 7))
    for include_self in (True, False):
        settings = ScoreSettings(queries=queries, include_self=include_self, max_length=40)
        got = score_documents(documents, model, tiny_tokenizer(), settings, keep=SENTENCES)
        for document, scores in zip(documents, got, strict=True):
            assert len(scores.token_ids) > 60, "several windows"
            ids = scores.token_ids.tolist()
            for row, some in enumerate(sentences_of_queries(document, scores, queries).values()):
                expected, counts = windows_by_hand(eager, ids, some, 40, 1, include_self)
                np.testing.assert_array_equal(cast(Any, scores.row_queries)[row], counts)
                np.testing.assert_allclose(cast(Any, scores.rows)[row], expected, rtol=0, atol=1e-6)
            assert_totals_agree(scores)


@pytest.mark.parametrize("name", ["llama", "gemma2", "bloom"])
@pytest.mark.parametrize("include_self", [True, False])
def test_rows_over_ranked_tokens_and_chosen_heads(name, include_self):
    model, eager = model_pair(name)
    [document] = documents_of_sentences(1, sentences=(4, 4))
    settings = ScoreSettings(queries="spans", include_self=include_self, renormalise=True, max_length=256)
    keep: Any = ("sentences", "heads")
    [scores] = score_documents([document], model, tiny_tokenizer(), settings, heads=("0.1", "1.0", "1.3"), keep=keep)
    with torch.no_grad():
        layers = eager(torch.tensor([scores.token_ids.tolist()]), output_attentions=True, use_cache=False).attentions
    pieces = [document.text[start:end].strip() for start, end in scores.offsets]
    maps_HQK = torch.stack([layers[0][0, 1], layers[1][0, 0], layers[1][0, 3]]).double().numpy()
    maps_HQK = maps_HQK * np.array([piece not in ("", ".") for piece in pieces])
    if not include_self:
        maps_HQK *= 1 - np.eye(len(pieces))
    sums_HQ1 = maps_HQK.sum(-1, keepdims=True)
    attention_QK = np.divide(maps_HQK, sums_HQ1, out=np.zeros_like(maps_HQK), where=sums_HQ1 > 0).mean(0)
    groups = sentences_of_queries(document, scores, "spans")
    assert len(groups) == 3, "the last sentence has no answer"
    for row, some in enumerate(groups.values()):
        expected, _ = scores_by_hand(attention_QK, some, include_self)
        np.testing.assert_allclose(cast(Any, scores.rows)[row], expected, rtol=0, atol=1e-6)
    assert_totals_agree(scores)
    per_head = cast(Any, scores.per_head)
    np.testing.assert_allclose((per_head[0, 1] + per_head[1, 0] + per_head[1, 3]) / 3, scores.scores, rtol=0, atol=1e-6)


def test_the_sentence_of_a_query_is_that_of_the_token_it_predicts():
    text = "Ann left.\n\nRome was cold. \n"
    offsets = np.array([[0, 0], [0, 3], [3, 8], [8, 9], [9, 11], [11, 15], [15, 19], [19, 24], [24, 25], [25, 27]])
    made = sentence_rows(text, offsets, np.array([4, 6]), "cues")
    assert made.sentences.tolist() == [[11, 27]]
    assert made.rows_T.tolist() == [-1, -1, -1, -1, 0, -1, 0, -1, -1, -1]
    # Of its own, where every token is a query; white space alone belongs to the sentence before it.
    every = sentence_rows(text, offsets, np.arange(1, 10), "all")
    assert every.sentences.tolist() == [[0, 11], [11, 27]]
    assert every.rows_T.tolist() == [-1, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    none = sentence_rows(text, offsets, np.array([], dtype=np.int64), "cues")
    assert none.sentences.shape == (0, 2)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def equal(one: TokenScores, other: TokenScores) -> bool:
    names = [field.name for field in dataclasses.fields(TokenScores)]
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(
        a is b if a is None or b is None else np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype
        for a, b in pairs
    )


def test_shards_hold_the_rows(tmp_path, model_folder):
    documents = [*documents_of_sentences(3), Document("no answer", "Ann Lee.", (Span("name", 0, 7),))]
    model, settings = ModelRef(model_folder, device="cpu"), ScoreSettings(queries="spans", shard_documents=3)
    wanted = [ScoreSet("large", "cues"), ScoreSet("large", "cues", each=True)]
    folders = score_sets(documents, tmp_path, wanted, models={"large": model}, settings=settings)
    assert [path.name for path in folders.values()] == ["large-cues", "large-cues-each"]
    settings = ScoreSettings(shard_documents=3)
    expected = score_documents(documents, tiny_model("llama"), tiny_tokenizer(), settings, keep=SENTENCES)
    read = (read_scores(path) for path in folders.values())
    for plain, got, one in zip(*read, expected, strict=True):
        assert got.document_id == one.document_id == plain.document_id
        np.testing.assert_array_equal(cast(Any, got.sentences), cast(Any, one.sentences))
        np.testing.assert_array_equal(cast(Any, got.row_queries), cast(Any, one.row_queries))
        np.testing.assert_allclose(cast(Any, got.rows), cast(Any, one.rows), rtol=0, atol=1e-6)
        assert plain.rows is None
    row = pq.read_table(tmp_path / "large-cues-each" / "part-00000.parquet").to_pylist()[0]
    assert np.array(row["rows"]).shape == (len(row["sentence_starts"]), len(row["token_ids"]))
    # Old folders stay valid, and neither is taken for the other.
    score_corpus(documents, tmp_path / "large-cues", model, settings)
    with pytest.raises(ElusiveError, match="each: was"):
        score_corpus(documents, tmp_path / "large-cues", model, settings, keep=SENTENCES)


def test_a_shard_is_read_as_it_was_written(tmp_path):
    documents = [Document("no answer", "Ann Lee.", (Span("name", 0, 7),)), *documents_of_sentences(3)]
    choices: Any = ((), ("sentences",), ("heads",), ("heads", "sentences"))
    for kept in choices:
        scores = score_documents(documents, tiny_model("llama"), tiny_tokenizer(), ScoreSettings(), keep=kept)
        write_shard(tmp_path / "part.parquet", scores)
        assert all(map(equal, read_shard(tmp_path / "part.parquet"), scores))
        write_shard(tmp_path / "part.parquet", scores[:1])  # a text without a query
        assert equal(read_shard(tmp_path / "part.parquet")[0], scores[0])


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("sentence_starts", [0]),
        ("rows", [[0.5, 0.5]]),
        ("rows", [[0.5], [0.5, 0.5, 0.5]]),
        ("rows", [[0.5, 0.5], [0.5, float("nan")]]),
        ("row_queries", [[1, 1], [1]]),
        ("row_queries", None),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path, column, values):
    fitting = {
        "document_id": "one",
        **{"token_ids": [3, 4], "starts": [0, 1], "ends": [1, 2], "scores": [0.5, 0.5], "queries": [2, 2]},
        **{"sentence_starts": [0, 1], "sentence_ends": [1, 2], "rows": [[0.5, 0.5]] * 2, "row_queries": [[1, 1]] * 2},
    }
    path, schema = tmp_path / "part-00000.parquet", schema_with(("sentences",))
    pq.write_table(pa.Table.from_pylist([fitting], schema=schema), path)
    assert cast(Any, read_shard(path)[0].rows).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    pq.write_table(pa.Table.from_pylist([{**fitting, column: values}], schema=schema), path)
    with pytest.raises(ElusiveError, match=r"part-00000.parquet is damaged \(.*\)\. Delete it and done.json"):
        read_shard(path)
