"""Which token is the attention sink, by the tokenizer and the setting; windows are in test_parity_with_eager.py."""

from pathlib import Path

import numpy as np
import pytest

from elusive.config.scoring import ScoreSettings
from elusive.scoring.score import score_documents
from elusive.scoring.shards import read_shard, write_shard
from elusive.scoring.sinks import adds_special_front, first_token_is_sink, front_tokens, sink_in_words

from ..tiny_models import model_pair, tiny_documents, tiny_tokenizer


@pytest.mark.parametrize(
    ("bos", "sink", "is_sink"),
    [
        (True, "auto", False),
        (False, "auto", True),
        (True, "first-token", True),
        (False, "first-token", True),
        (True, "none", False),
        (False, "none", False),
    ],
)
def test_by_tokenizer_and_setting(bos, sink, is_sink) -> None:
    tokenizer = tiny_tokenizer(bos=bos)
    assert adds_special_front(tokenizer) == bos
    assert first_token_is_sink(tokenizer, sink) == is_sink
    assert bool(sink_in_words(tokenizer, sink)) == is_sink


def test_a_special_token_that_is_added_behind_alone_is_no_front() -> None:
    assert front_tokens(np.array([False, False, True]), False) == 0
    assert front_tokens(np.array([False, False, True]), True) == 1


def test_words_say_what_the_tokenizer_does() -> None:
    done = "the first token of each text is taken as the attention sink and left out of ranks"
    assert sink_in_words(tiny_tokenizer(bos=False), "auto") == f"its tokenizer adds no bos: {done}"
    assert sink_in_words(tiny_tokenizer(bos=True), "first-token") == done


def test_rows_are_renormalised_over_the_tokens_without_the_sink() -> None:
    model, _ = model_pair("llama")
    tokenizer, (document,) = tiny_tokenizer(bos=False), tiny_documents(1, seed=2)
    settings = ScoreSettings(renormalise=True)
    (scores,) = score_documents([document], model, tokenizer, settings)
    (all_of_it,) = score_documents([document], model, tokenizer, ScoreSettings(renormalise=True, sink="none"))
    assert scores.scores[0] == 0
    assert all_of_it.scores[0] > 0
    # What is left of each head's rows sums to 1 over the others.
    assert float((scores.scores * scores.queries).sum()) == pytest.approx(scores.queries[0], abs=1e-4)


def test_shards_keep_where_a_sink_ends(tmp_path: Path) -> None:
    model, _ = model_pair("llama")
    for bos in (True, False):
        made = score_documents(tiny_documents(2), model, tiny_tokenizer(bos=bos))
        write_shard(tmp_path / "part.parquet", made)
        again = read_shard(tmp_path / "part.parquet")
        assert [one.sink_end for one in again] == [one.sink_end for one in made]
        assert bool(made[0].sink_end) != bos
