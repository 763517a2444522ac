"""A loaded pair's clues: the ranks of the arms, as a table, as a picture, and as training texts."""

import html
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import elusive
from elusive import CorpusClues, Document, DocumentClues, ElusiveError, Pair, ScoreSettings, Span
from elusive.augmentation.copies import augment_documents
from elusive.augmentation.stage import augment_corpus
from elusive.clues import heatmap
from elusive.clues.corpus_clues import clues_of
from elusive.config.augmentation import AugmentSettings
from elusive.config.scoring import Queries
from elusive.scoring.sets import pair_sets
from elusive.scoring.stage import score_sets

from ..golden.make_golden import PATH

DOCUMENTS = elusive.biography_corpus(2, seed=1)[0]  # those of golden.json


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair.load("elusive/large", "elusive/small", device="cpu")


@pytest.fixture(scope="module")
def by_queries(pair: Pair) -> Mapping[Queries, CorpusClues]:
    kinds: tuple[Queries, ...] = ("cues", "spans", "all")
    return {queries: pair.clues(DOCUMENTS, ScoreSettings(queries=queries)) for queries in kinds}


@pytest.fixture(scope="module")
def clues(by_queries: Mapping[Queries, CorpusClues]) -> CorpusClues:
    return by_queries["cues"]


class TestClues:
    def test_a_loaded_model_brings_its_reference(self) -> None:
        reference = elusive.ModelRef("elusive/small", device="cpu", layers=(0,))
        pair = Pair.load(reference, "elusive/small", device="cpu")
        assert pair.large.reference == reference
        (one,) = pair.clues(DOCUMENTS[:1])
        assert np.abs(one.contrast).max() > 0  # one layer against all layers of the same model

    @pytest.mark.parametrize("queries", ["cues", "all"])
    def test_ranks_are_the_arms(self, by_queries: Mapping[Queries, CorpusClues], queries: Queries) -> None:
        clues, (large, small) = by_queries[queries], pair_sets(queries)
        augmented = augment_documents(
            DOCUMENTS,
            f"contrast-{queries}",
            {large: [one.large for one in clues], small: [one.small for one in clues]},
            trained="large",
            tokenizer=clues.tokenizer,
            score=ScoreSettings(queries=queries),
            settings=AugmentSettings(copies=1, unseen_tokens="last"),
        )
        for one, made in zip(clues, augmented, strict=True):
            np.testing.assert_array_equal(one.ranks, made.ranked.ranks)
            np.testing.assert_array_equal(one.seen, made.seen)
            assert one.ranks.dtype == np.int32
            assert one.contrast.dtype == np.float32

    def test_ranks_and_scores_are_the_golden_ones(self, clues: CorpusClues) -> None:
        golden = json.loads(PATH.read_text(encoding="utf-8"))
        for one in clues:
            assert one.ranks.tolist() == golden["arms"]["contrast-cues"][one.document.id]["ranks"]
            np.testing.assert_allclose(one.large.scores, golden["scores"]["large-cues"][one.document.id], atol=2e-6)
            np.testing.assert_allclose(one.small.scores, golden["scores"]["small-cues"][one.document.id], atol=2e-6)

    def test_tokens_are_the_text(self, clues: CorpusClues) -> None:
        for one in clues:
            assert "".join(one.tokens) == one.document.text
            assert one.tokens[0] == ""  # bos
            assert not one.rankable[0]
            assert len(one) == len(one.tokens) == len(one.token_ids) == len(one.offsets)

    def test_best(self, clues: CorpusClues) -> None:
        best = clues[0].best(3)
        assert [token.rank for token in best] == [1, 2, 3]
        for token in best:
            assert token.text == DOCUMENTS[0].text[token.start : token.end]
            assert token.contrast == clues[0].contrast[clues[0].ranks == token.rank]
        assert [token.contrast for token in best] == sorted((token.contrast for token in best), reverse=True)
        assert clues.best(3) == best + clues[1].best(3)

    def test_best_leaves_out_what_no_query_sees(self, clues: CorpusClues) -> None:
        one = clues[0]
        ranked = int(np.count_nonzero(one.ranks))
        best = one.best(len(one))
        assert 0 < len(best) < ranked
        assert len(best) == np.count_nonzero(one.rankable & one.seen)

    def test_a_sequence(self, clues: CorpusClues) -> None:
        assert len(clues) == 2
        assert isinstance(clues[1:], CorpusClues)
        assert list(clues[1:]) == [clues[1]]
        assert repr(clues).startswith("CorpusClues(2 documents, ")
        assert repr(clues[0]).startswith(f"DocumentClues({clues[0].document.id!r}, ")

    def test_progress(self, pair: Pair) -> None:
        told: list[tuple[int, int]] = []
        pair.clues(DOCUMENTS, progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (4, 4)
        assert told == sorted(told)

    @pytest.mark.parametrize(
        ("documents", "message"),
        [([], "Expected documents to score, got none"), ([Document("x", "No span.")], "Use queries = all for text")],
    )
    def test_nothing_to_read_is_refused(self, pair: Pair, documents: list[Document], message: str) -> None:
        with pytest.raises(ElusiveError, match=message):
            pair.clues(documents)

    def test_other_tokens_are_carried_over(self, clues: CorpusClues) -> None:
        """The small model's tokens here are those of the large one, but the last one is cut in two."""
        one = clues[0]
        (start, end), small = one.offsets[-1], one.small
        cut = replace(
            small,
            token_ids=np.append(small.token_ids, small.token_ids[-1]),
            offsets=np.concatenate([small.offsets[:-1], np.array([[start, end - 1], [end - 1, end]], np.int32)]),
            scores=np.append(small.scores, np.float32(0)),
            queries=np.append(small.queries, np.int32(0)),
        )
        with pytest.raises(ElusiveError, match="different tokens"):
            clues_of(one.document, one.large, cut, clues.tokenizer)
        carried = clues_of(one.document, one.large, cut, clues.tokenizer, across_tokenizers=True)
        np.testing.assert_array_equal(carried.ranks, one.ranks)


LAST, BLANK = AugmentSettings(unseen_tokens="last"), AugmentSettings(blank=True)


class TestAugment:
    @pytest.mark.parametrize("queries", ["cues", "all"])
    def test_texts_are_those_of_the_stage(
        self, by_queries: Mapping[Queries, CorpusClues], queries: Queries, tmp_path: Any
    ) -> None:
        arm, settings = f"contrast-{queries}", AugmentSettings(alpha=0.5, beta=0.1, copies=3, seed=4)
        models = {role: elusive.ModelRef(f"elusive/{role}", device="cpu") for role in ("large", "small")}
        score = ScoreSettings(queries=queries)
        folders = score_sets(DOCUMENTS, tmp_path / "scores", pair_sets(queries), models=models, settings=score)
        augment_corpus(
            DOCUMENTS,
            tmp_path / arm,
            arm,
            folders,
            trained="large",
            tokenizer=by_queries[queries].tokenizer,
            score=score,
            settings=settings,
        )
        texts = elusive.augment(by_queries[queries], alpha=0.5, beta=0.1, copies=3, seed=4)
        lines = [
            json.dumps({"text": text.text, "id": text.id, "copy": text.copy, "arm": text.arm}, ensure_ascii=False)
            for text in texts
        ]
        assert (tmp_path / arm / "train.jsonl").read_bytes() == "".join(line + "\n" for line in lines).encode()

    def test_texts_are_the_golden_ones(self, clues: CorpusClues) -> None:
        golden = json.loads(PATH.read_text(encoding="utf-8"))["arms"]["contrast-cues"]
        texts = [text.text for text in elusive.augment(clues, copies=2, settings=LAST)]
        assert texts == [text for document in DOCUMENTS for text in golden[document.id]["texts"]]

    def test_kept_and_blank(self, clues: CorpusClues) -> None:
        original, *copies = elusive.augment(clues[:1], alpha=1.0, beta=9.0, copies=2, settings=BLANK)
        assert original.text == DOCUMENTS[0].text
        last = DOCUMENTS[0].text.split()[-1]
        assert all(len(copy.text) == len(original.text) and copy.text.endswith(last) for copy in copies)

    def test_numbers_stand_in_the_place_of_the_settings(self, clues: CorpusClues) -> None:
        settings = AugmentSettings(alpha=0.0, beta=9.0, copies=3, unit="word")
        assert len({text.text for text in elusive.augment(clues[:1], settings=settings)}) == 1
        original, copy = elusive.augment(clues[:1], alpha=1.0, copies=1, settings=settings)
        assert set(re.findall(r"\w+", copy.text)) < set(re.findall(r"\w+", original.text))  # no halves of words

    def test_a_protected_field_that_no_document_has(self, clues: CorpusClues) -> None:
        with pytest.raises(ElusiveError, match=r"no document has a span of 'nmae'.*Did you mean 'name'\?"):
            elusive.augment(clues, settings=AugmentSettings(protected_spans=("nmae",)))

    def test_no_arm_drops_at_spans(self, by_queries: Mapping[Queries, CorpusClues]) -> None:
        with pytest.raises(ElusiveError, match="expected clues at queries = cues or all, got spans"):
            elusive.augment(by_queries["spans"])

    def test_settings_are_checked(self, clues: CorpusClues) -> None:
        with pytest.raises(ElusiveError, match="alpha: expected a probability"):
            elusive.augment(clues, alpha=2.0)


class TestTables:
    def test_pandas_has_a_row_a_token(self, clues: CorpusClues) -> None:
        frame = clues.to_pandas()
        assert len(frame) == sum(map(len, clues))
        assert list(frame.columns) == list(clues[0].columns())
        np.testing.assert_array_equal(frame["rank"], np.concatenate([one.ranks for one in clues]))
        assert frame["token"].str.cat() == "".join(document.text for document in DOCUMENTS)
        assert len(clues[:0].to_pandas()) == 0

    def test_polars_gets_the_columns(self, clues: CorpusClues, monkeypatch: pytest.MonkeyPatch) -> None:
        frames = SimpleNamespace(DataFrame=lambda columns, strict: columns)
        monkeypatch.setitem(sys.modules, "polars", frames)
        assert clues.to_polars() == clues.columns()  # pyright: ignore[reportUnknownMemberType]

    def test_datasets_has_a_row_a_document(self, clues: CorpusClues) -> None:
        rows: Any = clues.to_datasets()
        assert rows["text"][:] == [document.text for document in DOCUMENTS]
        assert rows[1]["rank"] == clues[1].ranks.tolist()
        np.testing.assert_array_equal(np.float32(rows[0]["contrast"]), clues[0].contrast)

    @pytest.mark.parametrize("library", ["pandas", "polars", "datasets"])
    def test_a_missing_library_is_named(
        self, clues: CorpusClues, library: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ElusiveError, match=rf"to_{library} needs {library}, which is missing. Run: pip install"):
            getattr(clues, f"to_{library}")()


class TestHeatmap:
    @pytest.fixture
    def odd(self, pair: Pair) -> DocumentClues:
        text = "<b>Ada & 'Bo'</b>\n\tmet Zoë 😀 at \"Zeiss\" <script>alert(1)</script> ."
        start = text.index("Zeiss")
        (clues,) = pair.clues([Document("<id>", text, (Span("<firm>", start, start + 5),))])
        return clues

    def test_the_text_is_whole_and_escaped(self, odd: DocumentClues) -> None:
        page = odd._repr_html_()
        shown = page.split("white-space:pre-wrap'>", 1)[1]
        assert html.unescape(re.sub(r"<[^>]*>", "", shown)) == odd.document.text
        assert "<script" not in page
        assert "<firm>" not in page
        assert "&lt;id&gt;" in page
        assert set(re.findall(r"<(\w+)", page)) == {"div", "span"}

    def test_nothing_is_loaded_from_elsewhere(self, clues: CorpusClues) -> None:
        assert not re.search(r"https?:|src=|url\(|@import", clues._repr_html_())

    def test_tooltips_hold_rank_and_scores(self, clues: CorpusClues) -> None:
        one = clues[0]
        at = int(np.flatnonzero(one.ranks == 1)[0])
        assert heatmap._tooltip(one, at, "name") == (
            f"rank 1\ncontrast {one.contrast[at]:+.4f} = large {one.large.scores[at]:.4f} - small "
            f"{one.small.scores[at]:.4f}\nspan: name"
        )
        assert heatmap._tooltip(one, 0, "").startswith("never ranked\n")
        unseen = int(np.flatnonzero(one.rankable & ~one.seen)[0])
        assert ", seen by no query\n" in heatmap._tooltip(one, unseen, "")

    def test_the_best_clue_has_the_strongest_colour(self, clues: CorpusClues) -> None:
        page = heatmap.heatmap(clues[0])
        (opacity,) = re.findall(r"rgba\(230,110,20,([\d.]+)\)[^']*' title='rank 1\n", page)
        assert opacity == max(re.findall(r"rgba\(230,110,20,([\d.]+)\)", page))

    def test_long_texts_and_corpora_are_cut(self, clues: CorpusClues, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(heatmap, "SHOWN_TOKENS", 5)
        monkeypatch.setattr(heatmap, "SHOWN_DOCUMENTS", 1)
        page = clues._repr_html_()
        assert page.count("title=") < 5
        assert " …" in page
        assert page.endswith("documents not shown: 1</div>")
