"""Augmented texts: what is written, what is dropped, and that nothing but the settings decides it."""

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from elusive.augmentation import copies
from elusive.augmentation.arms import ARMS
from elusive.augmentation.copies import AugmentedDocument, Augmenter, augment_documents
from elusive.augmentation.draws import copy_generator, kept_tokens
from elusive.augmentation.rankings import SETTINGS_KEY
from elusive.augmentation.rules import drop_probability
from elusive.augmentation.stage import write_augmented
from elusive.augmentation.summary import AugmentedCorpus
from elusive.augmentation.units import first_tokens_of_units
from elusive.clues.tokenizers import across_tokenizers
from elusive.config.augmentation import AugmentSettings
from elusive.config.scoring import Queries, ScoreSettings
from elusive.config.toml import to_table
from elusive.corpus.documents import Document, Span
from elusive.corpus.people.biographies import biography, people
from elusive.errors import ElusiveError
from elusive.models.special_tokens import special_token_ids
from elusive.runs.stage import FORMAT
from elusive.scoring.positions import query_positions
from elusive.scoring.sentence_rows import sentence_rows
from elusive.scoring.sets import ScoreSet, entropy_set, pair_sets
from elusive.scoring.shards import TokenScores

CUES = ScoreSettings()
ById = dict[str, TokenScores]
LARGE_CUES, SMALL_CUES = pair_sets("cues")
UNICODE = Document(
    "unicode",
    ' Zoë said "Añb\u2028c" 😀,\n\ttwice . No , really: e\u0301 — 東京. ',
    (Span("name", 1, 4), Span("city", 37, 39)),
)


def token_scores(document: Document, tokenizer: Any, queries: str, seed: int, each: bool = False) -> TokenScores:
    """Random scores behind the true tokens and queries of a document, with `each` those of its sentences too."""
    encoded = tokenizer(document.text, return_offsets_mapping=True)
    ids, offsets = (np.array(encoded[key], np.int32) for key in ("input_ids", "offset_mapping"))
    special = np.isin(ids, special_token_ids(tokenizer))
    positions = query_positions(document, offsets, special, queries, ("name",))  # type: ignore[arg-type]
    seeing = np.array([(positions >= token).sum() for token in range(len(ids))], np.int32)
    drawn = np.random.default_rng([seed, *document.id.encode()]).random(len(ids))
    scores = TokenScores(document.id, ids, offsets, np.where(seeing > 0, drawn, 0).astype(np.float32), seeing)
    found = sentence_rows(document.text, offsets, positions, queries)  # type: ignore[arg-type]
    of_rows = [np.flatnonzero(found.rows_T == row) for row in range(len(found.sentences))]
    counts = np.array([[(of_row >= token).sum() for token in range(len(ids))] for of_row in of_rows], np.int32)
    rows = np.where(counts > 0, np.random.default_rng(seed).random(counts.shape), 0).astype(np.float32)
    return replace(scores, sentences=found.sentences, rows=rows, row_queries=counts) if each else scores


def in_order(scores: Mapping[ScoreSet, ById], documents: Iterable[Document]) -> dict[ScoreSet, list[TokenScores]]:
    """The score sets as streams beside the documents."""
    identifiers = [document.id for document in documents]
    return {name: [held[identifier] for identifier in identifiers] for name, held in scores.items()}


def score_sets(documents: Sequence[Document], tokenizer: Any) -> dict[ScoreSet, ById]:
    kinds: tuple[Queries, ...] = ("cues", "spans", "all")
    pairs = itertools.product(("large", "small"), kinds)
    attention = {
        ScoreSet(model, queries, each=each): {
            item.id: token_scores(item, tokenizer, queries, seed, each) for item in documents
        }
        for seed, (model, queries) in enumerate(pairs)
        for each in (False, True)
    }
    entropies = {item.id: token_scores(item, tokenizer, "all", 9) for item in documents}
    return {**attention, entropy_set("large"): entropies, entropy_set("small"): entropies}


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    made = [biography(person, f"person-{number}") for number, person in enumerate(itertools.islice(people(5), 6), 1)]
    return [*made, UNICODE]


@pytest.fixture(scope="module")
def scores(documents: list[Document], tokenizer: Any) -> dict[ScoreSet, ById]:
    return score_sets(documents, tokenizer)


@pytest.fixture(scope="module")
def augmented(documents: list[Document], scores: dict[ScoreSet, ById], tokenizer: Any):
    """Augments under an arm; AugmentSettings' fields may be given, the others are as set here."""

    def run(arm: str, options: dict[str, Any] | None = None, **settings: Any) -> list[AugmentedDocument]:
        given = {"documents": documents, "trained": "large", "score": CUES} | (options or {})
        chosen = AugmentSettings(**{"alpha": 0.7, "beta": 0.05, "copies": 3} | settings)
        chosen_documents = list(given.pop("documents"))
        streams = in_order(scores, chosen_documents)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(copies, "BATCH_DOCUMENTS", given.pop("batch_documents", copies.BATCH_DOCUMENTS))
            made = augment_documents(chosen_documents, arm, streams, tokenizer=tokenizer, settings=chosen, **given)
            return list(made)

    return run


def write(folder: Path, results: Iterable[AugmentedDocument]) -> AugmentedCorpus:
    return write_augmented(folder, results, "contrast-cues", AugmentSettings(copies=3))


def texts(results: list[AugmentedDocument]) -> list[str]:
    return [text.text for document in results for text in document.texts]


class TestTexts:
    @pytest.mark.parametrize("arm", ARMS)
    def test_original_first_then_copies(self, augmented, documents: list[Document], arm: str) -> None:
        results = augmented(arm)
        assert [result.ranked.document_id for result in results] == [document.id for document in documents]
        originals = {document.id: document.text for document in documents}
        for result in results:
            # Copies by a language model come from that model's answers, another stage's.
            copies = [0, 1, 2, 3] if ARMS[arm].copies and not ARMS[arm].rewrites else [0]
            assert [text.copy for text in result.texts] == copies
            assert {(text.id, text.arm) for text in result.texts} == {(result.ranked.document_id, arm)}
            assert result.texts[0].text == originals[result.ranked.document_id]

    def test_dropping_nothing_decodes_to_the_original(self, augmented, documents: list[Document]) -> None:
        for result in augmented("contrast-cues", alpha=0.0):
            assert len({text.text for text in result.texts}) == 1
            assert result.dropped == 0

    def test_no_clean_up_of_spaces(self, augmented, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        decode = type(tokenizer).decode

        def tidy(self: Any, ids: Any, clean_up_tokenization_spaces: bool = True, **options: Any) -> str:
            text = decode(self, ids, **options)
            return text.replace(" .", ".").replace(" ,", ",") if clean_up_tokenization_spaces else text

        monkeypatch.setattr(type(tokenizer), "decode", tidy)
        for result in augmented("random", alpha=0.0):
            assert len({text.text for text in result.texts}) == 1

    def test_dropping_all_that_may_be_leaves_punctuation_and_space(self, augmented) -> None:
        results = augmented("contrast-cues", alpha=1.0, beta=1000.0, copies=1, unseen_tokens="last")
        for result in results:
            original, copy = (text.text for text in result.texts)
            assert re.sub(r"\s", "", copy) == re.sub(r"[^.,]", "", original)
            assert result.dropped == result.droppable > 10

    def test_copy_is_what_the_kept_ids_decode_to(self, augmented, tokenizer: Any) -> None:
        for result in augmented("contrast-cues"):
            original, *copies = result.texts
            assert tokenizer.bos_token_id not in original.token_ids
            assert tokenizer.decode(original.token_ids.tolist()) == original.text
            assert len({copy.text for copy in copies}) == 3
            for copy in copies:
                assert tokenizer.decode(copy.token_ids.tolist()) == copy.text
                left = iter(original.token_ids.tolist())
                assert all(token in left for token in copy.token_ids.tolist())  # in the original's order

    def test_random_arm_drops_with_alpha(self, augmented) -> None:
        results = augmented("random", alpha=0.2, copies=40, unseen_tokens="last")
        chances = sum(result.droppable for result in results) * 40
        assert chances > 10_000
        assert sum(result.dropped for result in results) / chances == pytest.approx(0.2, abs=0.016)  # 4 deviations

    def test_random_matched_drops_at_the_guided_rate(self, augmented) -> None:
        for matched, guided in zip(augmented("random-matched"), augmented("contrast-cues"), strict=True):
            assert matched.ranked.drop_probability.sum() == pytest.approx(
                guided.ranked.drop_probability.sum(), abs=1e-9
            )
            assert len(set(matched.ranked.drop_probability[matched.seen & (matched.ranked.drop_probability > 0)])) == 1

    def test_blank_overwrites_with_spaces(self, augmented) -> None:
        for deleted, blank in zip(augmented("random"), augmented("random", blank=True), strict=True):
            assert blank.texts[0].text == deleted.texts[0].text
            for other, text in zip(deleted.texts[1:], blank.texts[1:], strict=True):
                original = blank.texts[0].text
                assert len(text.text) == len(original)
                assert text.token_ids.tolist() == other.token_ids.tolist()
                changed = [new for new, old in zip(text.text, original, strict=True) if new != old]
                assert set(changed) == {" "}
                if original.isascii():  # elsewhere a character may have lost some of its bytes only
                    assert text.text.replace(" ", "") == other.text.replace(" ", "")


class TestSharedDraws:
    def test_smaller_chances_drop_a_part_of_the_same_tokens(self, augmented) -> None:
        pairs = [
            (augmented("contrast-cues", alpha=0.3), augmented("contrast-cues", alpha=0.6)),
            # The random arm's chance alpha is above every guided one.
            (augmented("attention", alpha=0.6), augmented("random", alpha=0.6)),
        ]
        for gentle, strong in pairs:
            for few, many in zip(gentle, strong, strict=True):
                assert few.dropped < many.dropped
                for copy in (1, 2, 3):
                    assert dropped_positions(few, copy) <= dropped_positions(many, copy)

    def test_a_copy_does_not_depend_on_how_many_there_are(self, augmented) -> None:
        for few, many in zip(augmented("distance", copies=1), augmented("distance", copies=4), strict=True):
            assert few.texts[1].text == many.texts[1].text


@pytest.mark.parametrize("arm", ["random", "random-matched", "attention", "contrast-cues"])
def test_no_arm_drops_or_ranks_a_sink(scores: Any, tokenizer: Any, documents: list[Document], arm: str) -> None:
    documents = documents[:2]
    ends = {one.id: int(scores[LARGE_CUES][one.id].offsets[1, 1]) for one in documents}  # behind bos
    sunk = {one: [replace(held[name], sink_end=end) for name, end in ends.items()] for one, held in scores.items()}
    options: dict[str, Any] = {"trained": "large", "tokenizer": tokenizer, "score": CUES}
    settings = AugmentSettings(alpha=1.0, beta=100.0)
    for made in augment_documents(documents, arm, sunk, settings=settings, **options):
        inside_T = made.ranked.offsets[:, 1] == ends[made.ranked.document_id]
        assert inside_T.tolist().index(True) == 1
        assert inside_T.sum() == 1
        assert not made.ranked.ranks[inside_T].any()
        assert not made.ranked.drop_probability[inside_T].any()
        assert made.ranked.drop_probability.max() == 1.0


def dropped_positions(result: AugmentedDocument, copy: int) -> set[int]:
    """Which tokens after <bos> a copy dropped; its ids must agree."""
    ranked = result.ranked
    units = first_tokens_of_units("token", ranked.text, ranked.offsets, ranked.token_ids == ranked.token_ids[0])
    kept = kept_tokens(ranked.drop_probability, copy_generator(0, ranked.document_id, copy), units)[1:]
    ids = result.texts[0].token_ids.tolist()
    assert result.texts[copy].token_ids.tolist() == [token for token, stays in zip(ids, kept, strict=True) if stays]
    return set(np.flatnonzero(~kept).tolist())


class TestSignals:
    def signals(
        self,
        scores: Any,
        tokenizer: Any,
        document: Document,
        arm: str = "contrast-cues",
        trained: str = "large",
        queries: Any = "cues",
        settings: AugmentSettings = AugmentSettings(),
    ) -> Any:
        augmenter = Augmenter(
            arm, trained=trained, tokenizer=tokenizer, score=ScoreSettings(queries=queries), settings=settings
        )
        of_document = {name: held[document.id] for name, held in scores.items() if document.id in held}
        return augmenter.tokens(document, of_document)

    def test_from_the_scores(self, scores: Any, tokenizer: Any, documents: list[Document]) -> None:
        document = documents[0]
        given = self.signals(scores, tokenizer, document)
        large, small = scores[LARGE_CUES][document.id], scores[SMALL_CUES][document.id]
        assert self.signals(scores, tokenizer, document, "attention").signal is large.scores
        assert self.signals(scores, tokenizer, document, "random").signal is None
        assert given.seen.tolist() == (large.queries > 0).tolist()
        assert not given.seen.all()  # the last answer
        assert given.signal[given.seen].tolist() == (large.scores - small.scores)[given.seen].tolist()
        # The first token is read from the token before each of the five answers.
        cues = query_positions(document, large.offsets, large.token_ids == 0, "cues", ("name",))
        assert len(cues) == 5
        signal = self.signals(scores, tokenizer, document, "query-distance").signal
        assert signal[1] == pytest.approx(np.mean(cues - 1))
        assert not given.rankable[0]
        assert self.signals(scores, tokenizer, document, "attention", trained="small").signal is small.scores
        everything = self.signals(scores, tokenizer, document, "contrast-all").signal
        large, small = scores[ScoreSet("large", "all")][document.id], scores[ScoreSet("small", "all")][document.id]
        assert everything[1:].tolist() == (large.scores - small.scores)[1:].tolist()

    def test_contrast_by_ratio(self, scores: Any, tokenizer: Any, documents: list[Document]) -> None:
        document, settings = documents[0], AugmentSettings(contrast_signal="ratio")
        large, small = scores[LARGE_CUES][document.id], scores[SMALL_CUES][document.id]
        given = self.signals(scores, tokenizer, document, settings=settings)
        ratio = np.log((large.scores + 1e-6) / (small.scores + 1e-6))
        np.testing.assert_allclose(given.signal[given.seen], ratio[given.seen], rtol=1e-5)
        assert np.isneginf(given.signal[~given.seen]).all()

    @pytest.mark.parametrize(("arm", "queries"), [("contrast-cues", "cues"), ("contrast-all", "all")])
    def test_fused_cues_are_those_of_single_sentences(
        self, scores: Any, tokenizer: Any, documents: list[Document], arm: str, queries: Queries
    ) -> None:
        document, settings = documents[0], AugmentSettings(cue_fusion="best-rank")
        large, small = (scores[one][document.id] for one in pair_sets(queries, each=True))
        given = self.signals(scores, tokenizer, document, arm, settings=settings)
        seen_ST = (large.row_queries > 0) & given.rankable
        # Rank 1 of each sentence leads, whatever the size of its contrast.
        first = set(np.where(seen_ST, large.rows - small.rows, -np.inf).argmax(axis=1).tolist())
        assert len(first) > 1
        assert set(np.argsort(-given.signal)[: len(first)].tolist()) == first
        assert np.isneginf(given.signal[~seen_ST.any(axis=0)]).all()

    def test_contrast_across_tokenizers_only_where_asked_for(
        self, scores: Any, tokenizer: Any, documents: list[Document]
    ) -> None:
        document = documents[0]
        small = scores[SMALL_CUES][document.id]
        # The small model's tokenizer makes one token of every two of the large one's after <s>.
        pairs = [
            (0, 0),
            *((int(a[0]), int(b[1])) for a, b in zip(small.offsets[1::2], small.offsets[2::2], strict=False)),
        ]
        merged = TokenScores(
            document.id,
            np.arange(len(pairs), dtype=np.int32),
            np.array(pairs, np.int32),
            np.append(0, small.scores[1::2][: len(pairs) - 1] + small.scores[2::2]).astype(np.float32),
            np.append(5, small.queries[1::2][: len(pairs) - 1]).astype(np.int32),
        )
        given = dict(scores) | {SMALL_CUES: {document.id: merged}}
        across = AugmentSettings(across_tokenizers=True)
        with pytest.raises(ElusiveError, match=r"into different tokens .* set augment.across_tokenizers = true"):
            self.signals(given, tokenizer, document)
        signals = self.signals(given, tokenizer, document, settings=across)
        large = scores[LARGE_CUES][document.id]
        carried = across_tokenizers(merged, large, document.text)
        assert signals.signal is not None
        expected = np.where(large.queries > 0, large.scores - carried.scores, -np.inf)
        np.testing.assert_allclose(signals.signal, expected, atol=1e-7)
        assert signals.seen.tolist() == (large.queries > 0).tolist()
        # The other way round, the large model's scores are carried over to the small one that is trained.
        given = dict(scores) | {LARGE_CUES: {document.id: merged}}
        signals = self.signals(given, tokenizer, document, trained="small", settings=across)
        assert signals.signal is not None
        assert np.isfinite(signals.signal).sum() > 10

    def test_where_the_tokenizers_agree_the_setting_changes_nothing(self, augmented) -> None:
        plain, across = augmented("contrast-cues"), augmented("contrast-cues", across_tokenizers=True)
        assert texts(plain) == texts(across)
        for one, other in zip(plain, across, strict=True):
            assert one.ranked.drop_probability.tolist() == other.ranked.drop_probability.tolist()

    def test_contrast_where_only_other_queries_see_a_token(
        self, augmented, scores: Any, tokenizer: Any, documents: list[Document]
    ) -> None:
        given = self.signals(scores, tokenizer, documents[0], queries="all")
        assert given.seen[1:].all()
        unseen_by_cues = scores[LARGE_CUES][documents[0].id].queries == 0
        assert np.isneginf(given.signal).tolist() == unseen_by_cues.tolist()
        [result] = augmented("contrast-cues", {"documents": documents[:1], "score": ScoreSettings(queries="all")})
        ranks = result.ranked.ranks
        assert ranks[unseen_by_cues & (ranks > 0)].min() == (~unseen_by_cues & (ranks > 0)).sum() + 1

    def test_missing_scores(self, scores: Any, tokenizer: Any, documents: list[Document]) -> None:
        with pytest.raises(ElusiveError, match=r"No large-spans scores of document 'person-1'\. Score the same corpus"):
            self.signals({LARGE_CUES: scores[LARGE_CUES]}, tokenizer, documents[0], queries="spans")

    def test_contrast_needs_both_models(self, scores: Any, tokenizer: Any, documents: list[Document]) -> None:
        own = in_order({LARGE_CUES: scores[LARGE_CUES]}, documents)
        options = {"trained": "large", "tokenizer": tokenizer, "score": CUES, "settings": AugmentSettings()}
        assert list(augment_documents(documents, "attention", own, **options))
        with pytest.raises(
            ElusiveError, match=r"contrast-cues is made with the scores large-cues, small-cues, got large-cues\. "
        ):
            list(augment_documents(documents, "contrast-cues", own, **options))

    def test_trained_model_of_another_family(self, scores: Any, tokenizer: Any, documents: list[Document]) -> None:
        own = scores[LARGE_CUES]["person-1"]
        other = replace(own, token_ids=own.token_ids[::-1].copy())
        with pytest.raises(ElusiveError, match="splits document 'person-1' into other tokens than the contrasted pair"):
            self.signals(
                {**scores, ScoreSet("trained", "cues"): {"person-1": other}}, tokenizer, documents[0], trained="trained"
            )


class TestStreams:
    OPTIONS: ClassVar = {"trained": "large", "score": CUES, "settings": AugmentSettings(copies=1)}

    def run(self, documents: Any, streams: Any, tokenizer: Any, **options: Any):
        return augment_documents(documents, "contrast-cues", streams, tokenizer=tokenizer, **self.OPTIONS, **options)

    def test_no_more_than_a_batch_is_read_ahead(
        self, scores: Any, documents: list[Document], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copies, "BATCH_DOCUMENTS", 2)
        read: list[object] = []

        def reading(name: object, items: Iterable[Any]) -> Iterator[Any]:
            for item in items:
                read.append(name)
                yield item

        streams = {one: reading(one, in_order(scores, documents)[one]) for one in (LARGE_CUES, SMALL_CUES)}
        progress: list[tuple[int, int]] = []

        class Stored:
            """Like a corpus on disk: it has a length, and is read as a stream."""

            def __len__(self) -> int:
                return len(documents)

            def __iter__(self) -> Iterator[Document]:
                return reading("documents", documents)

        results = self.run(Stored(), streams, tokenizer, progress=lambda *done: progress.append(done))
        assert read == []
        assert next(results).ranked.document_id == "person-1"
        assert Counter(read) == {"documents": 2, LARGE_CUES: 2, SMALL_CUES: 2}
        assert [item.ranked.document_id for item in results] == [document.id for document in documents[1:]]
        assert progress == [(2, 7), (4, 7), (6, 7), (7, 7)]

    def test_processes_read_no_more_than_they_can_work_on(
        self, scores: Any, documents: list[Document], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copies, "BATCH_DOCUMENTS", 1)
        read: list[int] = []
        many = [replace(documents[number % 6], id=f"{number:02}") for number in range(30)]
        held = [
            replace(scores[LARGE_CUES][documents[number % 6].id], document_id=f"{number:02}") for number in range(30)
        ]
        stream = (read.append(1) or document for document in many)
        results = augment_documents(
            stream, "attention", {LARGE_CUES: held}, tokenizer=tokenizer, workers=2, **self.OPTIONS
        )
        assert next(results).ranked.document_id == "00"
        assert len(read) == 4
        assert [item.ranked.document_id for item in results] == [f"{number:02}" for number in range(1, 30)]

    @pytest.mark.parametrize(
        ("pick", "message"),
        [
            ((0, 2, 1), r"expected document 'person-2' at place 2, got 'person-3'\. Score the same corpus first"),
            ((0, 1), r"expected document 'person-3' at place 3, got their end\."),
            ((0, 1, 2, 3), r"expected their end after 3 documents, got 'person-4'\."),
        ],
    )
    def test_scores_of_another_corpus(
        self, scores: Any, documents: list[Document], tokenizer: Any, pick: tuple[int, ...], message: str
    ) -> None:
        streams = in_order(scores, documents[:3])
        streams[SMALL_CUES] = [scores[SMALL_CUES][documents[number].id] for number in pick]
        with pytest.raises(ElusiveError, match=f"The small-cues scores are not of this corpus: {message}"):
            list(self.run(documents[:3], streams, tokenizer))


class TestReproducible:
    @pytest.fixture(scope="class")
    @classmethod
    def train_bytes(cls, augmented, tmp_path_factory: pytest.TempPathFactory):
        def run(options: dict[str, Any] | None = None, **settings: Any) -> bytes:
            folder = tmp_path_factory.mktemp("augmented")
            write(folder, augmented("contrast-cues", options, **settings))
            return (folder / "train.jsonl").read_bytes()

        return run

    def test_any_batch_or_order(self, train_bytes, documents: list[Document]) -> None:
        expected = train_bytes()
        assert len(expected.splitlines()) == 4 * 7
        assert train_bytes({"batch_documents": 1}) == expected
        assert train_bytes({"batch_documents": 3}) == expected
        backwards = train_bytes({"batch_documents": 3, "documents": documents[::-1]})
        assert sorted(backwards.splitlines()) == sorted(expected.splitlines()) != backwards.splitlines()
        alone = train_bytes({"documents": [UNICODE]})
        assert alone == b"".join(line for line in expected.splitlines(keepends=True) if b'"unicode"' in line)

    def test_any_number_of_workers(self, train_bytes, documents: list[Document]) -> None:
        progress: list[tuple[int, int]] = []
        options = {"workers": 2, "batch_documents": 2}
        assert train_bytes({**options, "progress": lambda *done: progress.append(done)}) == train_bytes()
        assert progress == [(2, 7), (4, 7), (6, 7), (7, 7)]

    def test_another_seed(self, train_bytes) -> None:
        first, second = train_bytes(), train_bytes(seed=1)
        assert first != second
        assert [line for line in first.splitlines() if b'"copy": 0' in line] == [
            line for line in second.splitlines() if b'"copy": 0' in line
        ]


class TestFiles:
    def test_rows_and_figures(self, augmented, documents: list[Document], tmp_path: Path) -> None:
        results = augmented("contrast-cues")
        figures = write(tmp_path, results)
        lines = (tmp_path / "train.jsonl").read_bytes().decode("utf-8").split("\n")
        assert lines.pop() == ""
        rows = [json.loads(line) for line in lines]
        assert [list(row) for row in rows] == [["text", "id", "copy", "arm"]] * 28
        assert [row["text"] for row in rows] == texts(results)
        assert {row["id"]: row["text"] for row in rows if row["copy"] == 0} == {
            item.id: item.text for item in documents
        }
        assert pq.read_table(tmp_path / "train.parquet").to_pylist() == rows
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ranking.parquet", "train.jsonl", "train.parquet"]
        assert (figures.documents, figures.texts) == (7, 28)

    def test_all_files_or_none(self, augmented, tmp_path: Path) -> None:
        results = augmented("contrast-cues")

        def broken() -> Iterator[AugmentedDocument]:
            yield from results
            raise ElusiveError("the stream broke")

        with pytest.raises(ElusiveError, match="the stream broke"):
            write(tmp_path, broken())
        assert list(tmp_path.iterdir()) == []

    def test_groups_make_the_same_files(self, augmented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        results = augmented("contrast-cues")
        figures = write(tmp_path / "one", results)
        monkeypatch.setattr("elusive.augmentation.stage.GROUP_DOCUMENTS", 2)
        assert write(tmp_path / "many", iter(results)) == figures
        assert pq.ParquetFile(tmp_path / "many" / "train.parquet").num_row_groups == 4
        assert (tmp_path / "one" / "train.jsonl").read_bytes() == (tmp_path / "many" / "train.jsonl").read_bytes()
        for name in ("train.parquet", "ranking.parquet"):
            assert pq.read_table(tmp_path / "one" / name).equals(pq.read_table(tmp_path / "many" / name))

    @pytest.mark.parametrize("arm", ["random", "contrast-cues"])
    def test_mean_drop_rate_by_hand(self, augmented, tmp_path: Path, arm: str) -> None:
        dropped = chances = 0
        results = augmented(arm)
        for result in results:
            text, offsets = result.texts[0].text, result.ranked.offsets.tolist()
            words = [text[start:end].strip() for start, end in offsets]
            chances += 3 * sum(word not in ("", ".", ",") for word in words)
            dropped += sum(len(words) - 1 - len(copy.token_ids) for copy in result.texts[1:])
        assert write(tmp_path, results).mean_drop_rate == dropped / chances

    def test_plain(self, augmented, tmp_path: Path) -> None:
        assert write(tmp_path, augmented("plain")) == AugmentedCorpus(7, 7, 0.0)

    def test_clues_are_counted_and_copies_that_are_their_original(self, augmented, tmp_path: Path) -> None:
        results = augmented("insert-head", insert_share=0.5)
        made = write(tmp_path, results)
        # Six people whose name stands in the first of five sentences, and one text whose city stands in the second.
        assert (made.clues, made.right_clues) == (25, 1.0)
        same = [text.text == result.ranked.text for result in results for text in result.texts[1:]]
        assert made.unchanged == sum(same) / 21
        assert 0 < made.unchanged < 0.5
        assert made.warning("insert-head") == ""
        assert made.clues_in_words() == "25 clues, 100.0% of them the head entity"

    def test_copies_that_hardly_differ_are_warned_of(self, augmented, tmp_path: Path) -> None:
        made = write(tmp_path, augmented("insert-head", insert_share=0.0))
        assert made.unchanged == 1.0
        assert made.warning("insert-head").startswith("warning: 100% of the copies of insert-head are their original")

    @pytest.mark.parametrize("arm", ["random", *(name for name, arm in ARMS.items() if arm.signal and arm.ranked)])
    def test_ranking_file(self, augmented, tmp_path: Path, arm: str) -> None:
        results = augmented(arm)
        write(tmp_path, results)
        table = pq.read_table(tmp_path / "ranking.parquet")
        settings = json.loads(table.schema.metadata[SETTINGS_KEY])
        assert settings == {"format": FORMAT, "arm": "contrast-cues", **to_table(AugmentSettings(copies=3))}
        rows = table.to_pylist()
        assert len(rows) == 7
        for row, result in zip(rows, results, strict=True):
            assert row["text"] == result.texts[0].text
            assert row["drop_probability"] == result.ranked.drop_probability.tolist()  # to the last bit
            ranks, chance = np.array(row["ranks"]), np.array(row["drop_probability"])
            assert len(ranks) == len(chance) == len(row["token_ids"]) == len(row["starts"]) == len(row["ends"])
            if arm == "random":  # it ranks nothing
                assert set(ranks) == {0}
                assert set(chance.round(6)) == {0.0, 0.7}
            else:
                assert sorted(ranks[ranks > 0]) == list(range(1, (ranks > 0).sum() + 1))
                # Tokens that share a character have the mean of their chances.
                shared = np.cumsum([True, *(np.array(row["starts"])[1:] >= np.array(row["ends"])[:-1])])
                expected = drop_probability(ranks, 0.7, 0.05)
                means = [expected[shared == unit].mean() for unit in shared]
                assert (len(set(shared)) < len(shared)) == (row["document_id"] == "unicode")
                assert chance == pytest.approx(means, abs=1e-6)


def test_workers_need_no_torch() -> None:
    """Each loads the libraries of this module before its first document: with torch four times as long."""
    code = "import sys, elusive.augmentation.copies; print({'torch', 'peft'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TestWhatIsNeverDropped:
    """Whole words and protected tokens, in the texts themselves."""

    OFF: ClassVar = {"alpha": 1.0, "beta": 9.0, "copies": 2, "unseen_tokens": "last"}  # drops all that may be dropped

    @pytest.mark.parametrize("arm", [name for name, arm in ARMS.items() if arm.deletes])
    def test_protected_spans_and_patterns(self, augmented, documents: list[Document], arm: str) -> None:
        settings = {"protected_spans": ("company", "heads"), "protected_patterns": ("numbers", "guidance and")}
        for document, result in zip(documents, augmented(arm, **self.OFF, **settings), strict=True):
            kept = [
                document.text[span.start : span.end] for span in document.spans if span.field in ("company", "name")
            ]
            kept += re.findall(r"\d+|guidance and", document.text)
            for copy in result.texts[1:]:
                assert [words for words in kept if words not in copy.text] == []
            intact = {field for field, counts in result.spans.items() if counts.intact == counts.copies}
            assert intact == {"name", "company"} & set(result.spans)

    @pytest.mark.parametrize("arm", [name for name, arm in ARMS.items() if arm.deletes])
    @pytest.mark.parametrize("unseen_tokens", ["last", "keep"])
    def test_words_are_dropped_or_kept_as_wholes(self, augmented, arm: str, unseen_tokens: str) -> None:
        dropped = 0
        for result in augmented(arm, unit="word", unseen_tokens=unseen_tokens)[:-1]:  # of people
            words = Counter(re.findall(r"\w+", result.texts[0].text))
            for copy in result.texts[1:]:
                left = Counter(re.findall(r"\w+", copy.text))
                dropped += sum((words - left).values())
                assert not left - words, copy.text
        assert dropped > 50

    def test_tokens_are_split_without_it(self, augmented) -> None:
        assert any(
            set(re.findall(r"\w+", copy.text)) - set(re.findall(r"\w+", result.texts[0].text))
            for result in augmented("random-matched")
            for copy in result.texts[1:]
        )

    @pytest.mark.parametrize(
        "settings",
        [
            {"unit": "word"},
            {"protected_spans": ("answers",)},
            {"protected_spans": ("heads",), "protected_patterns": ("numbers",), "rank_scale": "relative"},
            {"unit": "word", "protected_patterns": ("numbers",), "unseen_tokens": "last"},
        ],
    )
    def test_random_matched_stays_matched(self, augmented, settings: dict[str, Any]) -> None:
        matched = augmented("random-matched", **settings)
        for arm in (name for name, arm in ARMS.items() if arm.signal and arm.ranked):
            for one, guided in zip(matched, augmented(arm, **settings), strict=True):
                assert guided.ranked.drop_probability.sum() == pytest.approx(
                    one.ranked.drop_probability.sum(), abs=1e-9
                )
                assert guided.droppable == one.droppable

    def test_the_rate_is_over_all_rankable_tokens(self, augmented) -> None:
        free, protected = augmented("random"), augmented("random", protected_spans=("answers",))
        assert [one.droppable for one in free] == [one.droppable for one in protected]
        assert sum(one.dropped for one in protected) < 0.8 * sum(one.dropped for one in free)


class TestSurvival:
    def test_of_written_texts(self, augmented, documents: list[Document], tmp_path: Path) -> None:
        results = augmented("contrast-cues", copies=3)
        found = write(tmp_path, results)
        people = documents[:-1]
        held = {"company": 0, "both": 0}
        for document, result in zip(people, results[:-1], strict=True):
            spans = {span.field: document.text[span.start : span.end] for span in document.spans}
            for copy in result.texts[1:]:
                held["company"] += spans["company"] in copy.text
                held["both"] += spans["company"] in copy.text and spans["name"] in copy.text
        assert found.survival["company"].intact == pytest.approx(held["company"] / 3 / len(people))
        assert found.survival["company"].with_head == pytest.approx(held["both"] / 3 / len(people))
        assert found.survival["name"].with_head is None
        assert 0 < found.at_ceiling < 0.5
        assert found.warning("contrast-cues") == ""

    def test_a_warning_where_ranks_hardly_matter(self, augmented, tmp_path: Path) -> None:
        settings = AugmentSettings(alpha=0.7, beta=0.5)
        found = write_augmented(tmp_path, augmented("attention", beta=0.5), "attention", settings)
        # 1 - e^(-.5 r) is .99 at r = 9.2.
        ranks = np.concatenate([result.ranked.ranks for result in augmented("attention")])
        share = (ranks > 9).sum() / (ranks > 0).sum()
        assert found.at_ceiling == pytest.approx(share)
        assert found.warning("attention").startswith(f"warning: {share:.0%} of the tokens that attention ranks have a")
        assert (
            write_augmented(tmp_path / "2", augmented("random"), "random", AugmentSettings(alpha=0.7)).warning("r")
            == ""
        )
