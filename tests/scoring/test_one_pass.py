"""Any number of score sets from one forward pass: the same scores, folders that resume each, no pass too many."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elusive.config.models import ModelRef
from elusive.config.scoring import Queries, ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.scoring import score as scoring
from elusive.scoring import stage
from elusive.scoring.score import score_documents, score_query_sets
from elusive.scoring.sets import QuerySet, ScoreSet
from elusive.scoring.shards import TokenScores, read_scores
from elusive.scoring.stage import score_sets

from ..tiny_models import BOUNDARY, BY_LENGTH, model_pair, tiny_documents, tiny_model, tiny_tokenizer

MODELS = ["llama", "gpt_neox", "gemma2", "gpt_oss", "mistral", "bloom"]
"""Heads that share keys, plain ones, capped scores in windows, sinks, sliding windows, a model read by hooks."""
FIELDS = ("city", "major")
QUERIES: tuple[Queries, ...] = ("cues", "spans", "all")
SETS = [
    *(QuerySet(queries, each=each) for queries in QUERIES for each in (False, True)),
    *(QuerySet(queries, (field,)) for queries in QUERIES[:2] for field in FIELDS),
]
SAME = 2e-6
"""Alone, cues take their output from torch's fused kernel and with all queries from the tiles, which round otherwise;
two layers of weights this large magnify that. Scores are up to 1."""


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def documents_with_fields(count: int = 4) -> list[Document]:
    """Texts of unequal length, in which each field of `FIELDS` has an answer."""
    text = "Ann Lee was born in Rome and she studied Law there ."
    spans = (Span("name", 0, 7), Span("city", 20, 24), Span("major", 41, 44))
    more = ["", " Then she went on to Oslo .", " A city . A town . And so on and on and on ."]
    return [
        Document(f"ann-{i}", more[i % 3].strip() + " " * (i % 3 > 0) + text, moved(spans, i, more))
        for i in range(count)
    ]


def moved(spans: tuple[Span, ...], number: int, more: list[str]) -> tuple[Span, ...]:
    by = len(more[number % 3])
    return tuple(Span(span.field, span.start + by, span.end + by) for span in spans)


def assert_same(one: TokenScores, other: TokenScores, tolerance: float = SAME) -> None:
    assert one.document_id == other.document_id
    for name in ("token_ids", "offsets", "queries", "sentences", "row_queries"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
    for name in ("scores", "rows", "per_head"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance, err_msg=name)


def alone(
    documents: list[Document], model: Any, settings: dict[str, Any], one: QuerySet, keep: Any
) -> list[TokenScores]:
    kept = {*keep, "sentences"} if one.each else {*keep}
    made = ScoreSettings(queries=one.queries, **settings)
    return score_documents(documents, model, tiny_tokenizer(), made, fields=one.fields, keep=kept)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in MODELS),
        *((name, {"packed": True}) for name in ("llama", "gemma2", "gpt_oss")),
        *((name, {"max_length": 20}) for name in ("gpt_neox", "mistral")),
        *((name, {"renormalise": True}) for name in ("gpt_oss", "bloom")),
    ],
)
def test_many_score_sets_of_one_pass_equal_one_after_the_other(name, options):
    model, documents = tiny_model(name), documents_with_fields()
    keep: Any = ("heads",) if not options else ()
    settings = {"max_batch_tokens": 200, "max_length": 256, **options}
    found = score_query_sets(documents, model, tiny_tokenizer(), ScoreSettings(**settings), SETS, per_head=bool(keep))
    for query_set, got in zip(SETS, found, strict=True):
        for one, other in zip(got, alone(documents, model, settings, query_set, keep), strict=True):
            assert_same(one, other)
    assert any(one.queries.max() > 5 for one in found[4])


def test_a_query_set_of_one_is_the_same_bit_for_bit_among_sets_of_cues():
    model, documents = tiny_model("llama"), documents_with_fields()
    sets = [QuerySet("cues"), QuerySet("cues", ("major",))]
    found = score_query_sets(documents, model, tiny_tokenizer(), ScoreSettings(), sets)
    for query_set, got in zip(sets, found, strict=True):
        for one, other in zip(got, alone(documents, model, {}, query_set, ()), strict=True):
            assert_same(one, other, 1e-7)


@pytest.mark.parametrize("kind", BY_LENGTH)
def test_frequencies_are_those_of_a_texts_length_whatever_is_read_with_it(kind):
    model, _ = model_pair(kind)
    words = " and on" * BOUNDARY
    documents = [Document("long", f"Ann was in Rome{words}", (Span("city", 11, 15),)), *documents_with_fields(2)]
    sets = [QuerySet("cues"), QuerySet("all")]
    settings: dict[str, Any] = {"max_batch_tokens": 4096}
    for most in (40, 1024):  # the cue stands in the first window of the long text; or the text is read as a whole
        settings["max_length"] = most
        found = score_query_sets(documents, model, tiny_tokenizer(), ScoreSettings(**settings), sets)
        for query_set, got in zip(sets, found, strict=True):
            for one, other in zip(got, alone(documents, model, settings, query_set, ()), strict=True):
                assert_same(one, other)


# --- folders


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def passes(monkeypatch):
    """The lengths of the texts that ran, pass by pass."""
    seen: list[list[int]] = []
    forward = scoring.forward

    def counted(texts, batch, *rest):
        seen.append([len(window.positions) for window in batch])
        return forward(texts, batch, *rest)

    monkeypatch.setattr(scoring, "forward", counted)
    monkeypatch.setattr(scoring, "check_independence", lambda *_: None)  # two random texts, once for each model
    return seen


NEEDED = [
    ScoreSet("large", "cues"),
    ScoreSet("large", "all"),
    ScoreSet("large", "cues", each=True),
    *(ScoreSet("large", "cues", field) for field in FIELDS),
]


def scored(folder: Path, model: str, needed: list[ScoreSet] = NEEDED, **options: Any) -> dict[ScoreSet, Path]:
    settings = ScoreSettings(shard_documents=2, max_batch_tokens=4096)
    models = {role: ModelRef(model, device="cpu") for role in ("large", "small")}
    options = {"field_documents": 3, **options}
    return score_sets(documents_with_fields(5), folder, needed, models=models, settings=settings, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/part-*.parquet"))}


def assert_equal_folders(one: Path, other: Path) -> None:
    for score_set in NEEDED:
        for mine, theirs in zip(read_scores(one / score_set.name), read_scores(other / score_set.name), strict=True):
            assert_same(mine, theirs)


def test_one_pass_writes_every_folder(tmp_path, model_folder, passes):
    both = [*NEEDED, *(ScoreSet("small", one.queries, one.field, one.each) for one in NEEDED)]
    folders = scored(tmp_path / "together", model_folder, both)
    assert list(folders) == both
    assert all((path / "done.json").exists() for path in folders.values())
    # Of each model's three shards, the second holds a document that the fields' sets want and one that they do not.
    assert list(map(len, passes)) == [2, 1, 1, 1] * 2
    assert sum(map(len, passes)) == 5 * 2, "each text once in each model"
    for one in NEEDED:
        scored(tmp_path / "alone", model_folder, [one])
    assert len(read_scores(folders[ScoreSet("large", "cues", "city")])) == 3
    assert_equal_folders(tmp_path / "together", tmp_path / "alone")


def test_what_is_there_already_takes_no_part_in_the_pass(tmp_path, model_folder, passes):
    scored(tmp_path, model_folder, [ScoreSet("large", "all")])
    whole = sorted(itertools.chain(*passes))
    passes.clear()
    before = contents(tmp_path)
    scored(tmp_path, model_folder)
    assert sum(sorted(itertools.chain(*passes))) < sum(whole), "cut after the last cue again"
    assert before.items() <= contents(tmp_path).items()
    passes.clear()
    scored(tmp_path, model_folder)
    assert not passes


@pytest.mark.parametrize("written", [1, 6, 12])
def test_a_run_that_was_killed_resumes_each_folder(tmp_path, model_folder, passes, monkeypatch, written):
    scored(tmp_path / "whole", model_folder)
    left, write_shard = [written], stage.write_shard

    def dies(path, scores):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write_shard(path, scores)

    monkeypatch.setattr(stage, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path / "killed", model_folder)
    there = contents(tmp_path / "killed")
    assert len(there) == written
    monkeypatch.setattr(
        stage, "write_shard", lambda path, scores: (write_shard(path, scores), there.pop(str(path), None))
    )
    passes.clear()
    scored(tmp_path / "killed", model_folder)
    assert passes
    assert there.items() <= contents(tmp_path / "killed").items()
    assert_equal_folders(tmp_path / "whole", tmp_path / "killed")


def test_only_the_shards_that_a_folder_lacks_are_written(tmp_path, model_folder, passes):
    folders = scored(tmp_path, model_folder)
    cues, city = folders[NEEDED[0]], folders[NEEDED[3]]
    for path in (cues / "part-00002.parquet", city / "part-00000.parquet"):
        path.unlink()
    for path in (cues, city):
        (path / "done.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/part-*.parquet")}
    passes.clear()
    scored(tmp_path, model_folder)
    assert list(map(len, passes)) == [2, 1], "the first shard for the city, the last for all cues"
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/part-*.parquet")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2


def test_a_folder_of_other_settings_stops_all_before_any_is_scored(tmp_path, model_folder, passes):
    scored(tmp_path, model_folder, NEEDED[-1:])
    passes.clear()
    with pytest.raises(ElusiveError, match="corpus: was"):
        scored(tmp_path, model_folder, field_documents=4)
    assert not passes
    assert not list(tmp_path.glob("large-cues/part-*"))


def test_texts_without_a_query_of_one_set_run_for_another(tmp_path, model_folder, passes):
    documents = [*documents_with_fields(2), Document("none", "Ann Lee was here .", (Span("name", 0, 7),))]
    models = {"large": ModelRef(model_folder, device="cpu")}
    folders = score_sets(documents, tmp_path, NEEDED[:2], models=models, settings=ScoreSettings())
    cues, every = (read_scores(folders[one]) for one in NEEDED[:2])
    assert not cues[2].queries.any()
    assert not cues[2].scores.any()
    assert every[2].queries.any()
    assert sum(map(len, passes)) == 3


def test_more_weightings_than_are_summed_together(passes):
    # Each of 40 sentences has a row of its own, beside the mean over all cues.
    sentences = [f"He was in Rome{number} ." for number in range(40)]
    text, spans = "Ann Lee .", [Span("name", 0, 7)]
    for sentence in sentences:
        spans.append(Span("city", len(text) + 11, len(text) + 15))
        text += " " + sentence
    documents = [Document("long", text, tuple(spans)), *tiny_documents(2)]
    sets = [QuerySet("cues", each=True), QuerySet("all"), QuerySet("cues")]
    model = tiny_model("llama")
    settings: dict[str, Any] = {"max_length": 1024}
    found = score_query_sets(documents, model, tiny_tokenizer(), ScoreSettings(**settings), sets)
    assert found[0][0].rows is not None
    assert len(found[0][0].rows) == 40
    for query_set, got in zip(sets, found, strict=True):
        for one, other in zip(got, alone(documents, model, settings, query_set, ()), strict=True):
            assert_same(one, other)
