"""Scores of a text are its own: whatever shares its batch, wherever it is cut, whatever ran before."""

import copy
import itertools

import numpy as np
import pytest

from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.models.rotary import RotaryRule
from elusive.scoring.score import score_documents

from ..tiny_models import BOUNDARY, BY_LENGTH, eager_attention, model_pair, scores_by_hand, tiny_tokenizer


def document(name: str, words: int, answer: int) -> Document:
    """A text whose answer is one of its words."""
    drawn = np.random.default_rng(words).choice(["was", "born", "in", "Rome", "Oslo", "studied", "Law"], words).tolist()
    start = sum(len(word) + 1 for word in drawn[:answer])
    return Document(name, " ".join(drawn), (Span("city", start, start + len(drawn[answer])),))


DOCUMENTS = [
    document("a", 5, 3),
    document("b", 60, 1),
    document("c", 12, 9),
    document("d", 24, 22),
    document("e", 40, 1),
]
"""Texts on both sides of the boundary; two are cut far before it."""


def expected(attention_QK: np.ndarray, one: Document, queries: str) -> np.ndarray:
    """The scores of the whole text alone."""
    cue = tiny_tokenizer()(one.text).char_to_token(one.spans[0].start)
    return scores_by_hand(attention_QK, list(range(1, len(attention_QK))) if queries == "all" else [cue - 1], True)[0]


@pytest.mark.parametrize("kind", BY_LENGTH)
def test_scores_are_those_of_the_whole_text_alone(kind):
    model, eager = model_pair(kind)
    tokenizer = tiny_tokenizer()
    ids = [tokenizer(one.text)["input_ids"] for one in DOCUMENTS]
    assert sum(len(row) > BOUNDARY for row in ids) == 3
    assert min(map(len, ids)) < BOUNDARY / 2
    maps = {one.id: eager_attention(copy.deepcopy(eager), row) for one, row in zip(DOCUMENTS, ids, strict=True)}
    orders = (DOCUMENTS, DOCUMENTS[::-1])
    for queries, packed, order in itertools.product(("cues", "all"), (False, True), orders):
        settings = ScoreSettings(queries=queries, max_length=1024, max_batch_tokens=4096, packed=packed)
        for one, scores in zip(order, score_documents(order, model, tokenizer, settings), strict=True):
            wanted = expected(maps[one.id], one, queries)
            np.testing.assert_allclose(scores.scores, wanted, rtol=0, atol=2e-6, err_msg=f"{one.id} {queries} {packed}")


def test_the_texts_tell_the_frequencies_apart():
    # Else the test above would pass whatever the frequencies.
    for kind in BY_LENGTH:
        _, eager = model_pair(kind)
        ids = tiny_tokenizer()(DOCUMENTS[1].text)["input_ids"]
        whole = eager_attention(copy.deepcopy(eager), ids)[:8, :8]
        cut = eager_attention(copy.deepcopy(eager), ids[:8])
        assert np.abs(whole - cut).max() > 1e-2, kind


def test_a_window_keeps_the_frequencies_of_its_uncut_length():
    model, eager = model_pair("phi3_longrope")
    tokenizer = tiny_tokenizer()
    one = document("long", 60, 25)
    ids = tokenizer(one.text)["input_ids"]
    cue = tokenizer(one.text).char_to_token(one.spans[0].start) - 1
    # Windows of 81 tokens after bos: the cue is read in the second, which begins at token 41 and is cut after it.
    assert 82 < cue < 41 + BOUNDARY - 2
    assert len(ids) > 41 + 81
    [scores] = score_documents([one], model, tokenizer, ScoreSettings(queries="cues", max_length=81))
    window = [ids[0], *ids[41 : 41 + 80]]
    wanted, _ = scores_by_hand(eager_attention(eager, window), [cue - 40], True)
    np.testing.assert_allclose(scores.scores[41 : cue + 1], wanted[1 : cue - 39], rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["phi3_longrope", "llama_dynamic"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_model_that_depends_on_its_batch_is_noticed(monkeypatch, kind, packed):
    monkeypatch.setattr(RotaryRule, "of", classmethod(lambda cls, config: cls()))  # as of a kind that nobody knows
    model, _ = model_pair(kind)
    settings = ScoreSettings(max_length=1024, max_batch_tokens=4096, packed=packed)
    with pytest.raises(ElusiveError, match=r"alone and beside a text of \d+ tokens differ by .*another family"):
        score_documents(DOCUMENTS, model, tiny_tokenizer(), settings)


def test_a_model_that_looks_ahead_outside_its_attention_is_noticed():
    model, _ = model_pair("llama")

    def mix(module, args, output):
        return output + output.mean(1, keepdim=True)  # over all tokens, the later ones among them

    with model.model.layers[0].mlp.register_forward_hook(mix), pytest.raises(ElusiveError, match="differ by"):
        score_documents(DOCUMENTS, model, tiny_tokenizer(), ScoreSettings(max_length=1024, max_batch_tokens=1))
