"""Streaming scores in padded batches against transformers' eager attention, one text at a time, reduced by hand."""

import numpy as np
import pytest
import torch

from elusive.attention import tiles
from elusive.attention.received import received_attention
from elusive.attention.recorder import Recorder, recording
from elusive.config.scoring import ScoreSettings
from elusive.scoring.positions import query_positions
from elusive.scoring.score import score_documents
from elusive.scoring.shards import TokenScores

from ..tiny_models import eager_attention, model_pair, scores_by_hand, tiny_documents, tiny_tokenizer

TOLERANCE = 1e-6
NAMES = [
    *("llama", "gemma2", "qwen2", "qwen3", "mistral", "phi3", "gpt_oss"),
    *("gpt_neox", "gpt2", "opt", "stablelm", "bloom"),
]
"""One of each kind; test_architectures.py has them all, in fewer settings."""


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Tiles of 16 queries, so that these short texts run through several, the last of them partly filled."""
    torch.set_num_threads(1)
    monkeypatch.setattr(tiles, "tile_queries", lambda shared, tokens, device: 16)


def positions_by_hand(document, bos, queries):
    """Query positions from the tokenizer's map of characters to tokens, another way than `query_positions` goes."""
    # With untrimmed offsets every character of the text, spaces too, is some token's.
    encoding = tiny_tokenizer(bos=bos, trim_offsets=False)(document.text)
    if queries == "all":
        return list(range(int(bos), len(encoding["input_ids"])))
    found = set()
    for span in document.spans[1:]:
        tokens = sorted({encoding.char_to_token(character) for character in range(span.start, span.end)})
        found.update(token - 1 for token in (tokens[:1] if queries == "cues" else tokens) if token > 0)
    return sorted(found)


@pytest.mark.parametrize("name", NAMES)
def test_streaming_scores_equal_eager_attention(name):
    model, eager = model_pair(name)
    tokenizer = tiny_tokenizer()
    documents = tiny_documents(5)
    ids = [tokenizer(document.text)["input_ids"] for document in documents]
    maps = [eager_attention(eager, row) for row in ids]
    assert len({len(row) for row in ids}) > 3, "unequal lengths"
    assert max(map(len, ids)) > 48, "several tiles"
    # Near-uniform attention would let almost any reduction pass.
    assert max(attention_QK[20:].max() for attention_QK in maps) > 0.2
    for queries in ("cues", "spans", "all"):
        for include_self in (True, False):
            got = score_documents(
                documents, model, tokenizer, ScoreSettings(queries=queries, include_self=include_self)
            )
            for document, row, attention_QK, scores in zip(documents, ids, maps, got, strict=True):
                by_hand, counts = scores_by_hand(attention_QK, positions_by_hand(document, True, queries), include_self)
                assert scores.document_id == document.id
                np.testing.assert_array_equal(scores.token_ids, row)
                np.testing.assert_array_equal(scores.queries, counts)
                np.testing.assert_allclose(scores.scores, by_hand, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", NAMES[:-1])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_hidden_states_equal_eager(name, share):
    model, eager = model_pair(name)
    ids = [torch.randint(2, 256, (length,)) for length in (70, 33, 50)]
    ids_BT = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    weights_BT = torch.zeros(ids_BT.shape)
    weights_BT[:, : round(share * 33)] = 1.0
    with torch.no_grad(), recording(Recorder(weights_BT)):
        hidden_BTD = model.get_decoder()(input_ids=ids_BT, use_cache=False).last_hidden_state
    for row, hidden_TD in zip(ids, hidden_BTD, strict=True):
        with torch.no_grad():
            expected_TD = eager.get_decoder()(input_ids=row[None], use_cache=False).last_hidden_state[0]
        # Weights of 0.35 give states of size 1 to 50: the tolerance is taken at the size of the largest.
        error = (hidden_TD[: len(row)] - expected_TD).abs().max() / max(1.0, float(expected_TD.abs().max()))
        assert error < 1e-5


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "mistral"])
@pytest.mark.parametrize("queries", ["cues", "all"])
def test_left_padding_with_an_attention_mask(name, queries):
    model, eager = model_pair(name)
    ids = [torch.randint(2, 256, (length,)) for length in (70, 33)]
    padding = [70 - len(row) for row in ids]
    ids_BT = torch.stack(
        [torch.cat([torch.zeros(n, dtype=torch.long), row]) for n, row in zip(padding, ids, strict=True)]
    )
    mask_BT = torch.stack([(torch.arange(70) >= n).long() for n in padding])
    weights_BT = mask_BT.float() if queries == "all" else torch.zeros(mask_BT.shape)
    weights_BT[:, -1] = 1.0
    with torch.no_grad(), recording(Recorder(weights_BT)) as recorder:
        model.get_decoder()(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
    received_BT = recorder.mean_over_layers(model).numpy()
    for n, row, received_T in zip(padding, ids, received_BT, strict=True):
        attention_QK = eager_attention(eager, row.tolist())
        assert not received_T[:n].any()
        expected = attention_QK.sum(0) if queries == "all" else attention_QK[-1]
        np.testing.assert_allclose(received_T[n:], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("queries", ["cues", "spans", "all"])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_a_batch_scores_as_one_text_at_a_time(name, queries):
    model, _ = model_pair(name)
    tokenizer = tiny_tokenizer()
    documents = tiny_documents(7)
    batched = score_documents(documents, model, tokenizer, ScoreSettings(queries=queries))
    alone = [score_documents([document], model, tokenizer, ScoreSettings(queries=queries))[0] for document in documents]
    small = score_documents(documents, model, tokenizer, ScoreSettings(queries=queries, max_batch_tokens=130))
    packed = score_documents(
        documents, model, tokenizer, ScoreSettings(queries=queries, max_batch_tokens=130, packed=True)
    )
    for one, *others in zip(batched, alone, small, packed, strict=True):
        for other in others:
            assert one.document_id == other.document_id
            np.testing.assert_array_equal(one.queries, other.queries)
            np.testing.assert_array_equal(one.offsets, other.offsets)
            np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=TOLERANCE)


def windows_by_hand(eager, ids, queries, width, front, include_self):
    """Each query read from the eager attention of its own window, the definition in plain loops."""
    content, stride = width - front, (width - front) // 2
    sums, counts = np.zeros(len(ids)), np.zeros(len(ids), dtype=int)
    for q in queries:
        number = 0
        while q >= front + number * stride + content:
            number += 1
        start = front + number * stride
        assert q - start >= min(content - stride, q - front), "half a window of context, where there is as much"
        window = [*range(front), *range(start, min(start + content, len(ids)))]
        attention_QK = eager_attention(eager, [ids[k] for k in window])
        for slot, k in enumerate(window):
            if k < q or (k == q and include_self):
                sums[k] += attention_QK[window.index(q), slot]
                counts[k] += 1
    return sums / np.maximum(counts, 1), counts


@pytest.mark.parametrize(
    ("bos", "sink", "front"), [(True, "auto", 1), (False, "auto", 1), (False, "none", 0), (True, "first-token", 2)]
)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_windows_of_long_texts(name, bos, sink, front):
    model, eager = model_pair(name)
    tokenizer = tiny_tokenizer(bos=bos)
    documents = tiny_documents(3, seed=4, words=(10, 30))
    for queries in ("cues", "spans", "all"):
        for include_self in (True, False):
            settings = ScoreSettings(queries=queries, include_self=include_self, max_length=20, sink=sink)
            got = score_documents(documents, model, tokenizer, settings)
            for document, scores in zip(documents, got, strict=True):
                assert scores.sink_end == (scores.offsets[front - 1, 1] if front > bos else 0)
                positions = positions_by_hand(document, bos, queries)
                by_hand, counts = windows_by_hand(eager, scores.token_ids.tolist(), positions, 20, front, include_self)
                np.testing.assert_array_equal(scores.queries, counts)
                np.testing.assert_allclose(scores.scores, by_hand, rtol=0, atol=TOLERANCE)
                if queries == "all" and include_self:
                    assert scores.queries[int(bos) :].min() >= 1, "no token is cut off"


def test_rows_of_the_recorded_attention_sum_to_one():
    model, _ = model_pair("llama")
    tokenizer = tiny_tokenizer()
    documents = tiny_documents(3)
    for scores in score_documents(documents, model, tokenizer, ScoreSettings(queries="cues")):
        # sum over k of (score times seeing queries) = the sum of all selected rows = their number.
        assert abs(float((scores.scores * scores.queries).sum()) - scores.queries[0]) < 1e-5


def test_the_released_codes_score_is_one_over_the_position_and_ours_is_not():
    """The released code takes the mean over keys; rows of a softmax sum to 1, so the text plays no part in it."""
    _, eager = model_pair("llama")
    ids = tiny_tokenizer()(tiny_documents(1)[0].text)["input_ids"]
    with torch.no_grad():
        layers = eager(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    attention_LHQK = torch.cat(layers)
    tokens = len(ids)
    positions = torch.arange(1, tokens + 1)
    released = attention_LHQK.mean(dim=(0, 1)).sum(-1) / positions
    torch.testing.assert_close(released, 1.0 / positions, rtol=0, atol=1e-6)
    ours = received_attention(attention_LHQK)
    assert (ours - 1.0 / positions).abs().max() > 0.05
    by_hand, _ = scores_by_hand(attention_LHQK.double().mean(dim=(0, 1)).numpy(), list(range(tokens)), True)
    np.testing.assert_allclose(ours.numpy(), by_hand, rtol=0, atol=TOLERANCE)


def test_a_lora_wrapped_model_scores_as_its_merged_weights():
    from peft import LoraConfig, get_peft_model

    model, _ = model_pair("llama")
    tokenizer = tiny_tokenizer()
    documents = tiny_documents(3)
    before = score_documents(documents, model, tokenizer, ScoreSettings(queries="spans"))
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)).eval()
    got = score_documents(documents, adapted, tokenizer, ScoreSettings(queries="spans"))
    merged = score_documents(documents, adapted.merge_and_unload(), tokenizer, ScoreSettings(queries="spans"))
    assert max(np.abs(a.scores - b.scores).max() for a, b in zip(before, got, strict=True)) > 1e-2
    for one, two in zip(got, merged, strict=True):
        np.testing.assert_allclose(one.scores, two.scores, rtol=0, atol=1e-5)


def test_a_model_under_another_attention_gives_the_same_and_is_left_under_it():
    ours, eager = model_pair("llama")
    documents, settings = tiny_documents(2), ScoreSettings(queries="all")
    got = score_documents(documents, eager, tiny_tokenizer(), settings)
    for one, two in zip(got, score_documents(documents, ours, tiny_tokenizer(), settings), strict=True):
        np.testing.assert_array_equal(one.scores, two.scores)
    assert eager.config._attn_implementation == "eager"


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("trim_offsets", [True, False])
def test_positions_agree_with_the_character_map(bos, trim_offsets):
    """Whether the tokenizer counts the space before a word among its characters makes no difference."""
    tokenizer = tiny_tokenizer(bos=bos, trim_offsets=trim_offsets)
    for document in tiny_documents(12):
        encoding = tokenizer(document.text, return_offsets_mapping=True, return_special_tokens_mask=True)
        offsets, special = np.array(encoding["offset_mapping"]), np.array(encoding["special_tokens_mask"], bool)
        for queries in ("cues", "spans", "all"):
            got = query_positions(document, offsets, special, queries, ("name",))
            assert got.tolist() == positions_by_hand(document, bos, queries)


def test_scores_hold_the_types_they_promise():
    model, _ = model_pair("llama")
    scores = score_documents(tiny_documents(1), model, tiny_tokenizer(), ScoreSettings(queries="cues"))[0]
    assert isinstance(scores, TokenScores)
    tokens = len(scores.token_ids)
    assert scores.token_ids.dtype == scores.offsets.dtype == scores.queries.dtype == np.int32
    assert scores.scores.dtype == np.float32
    assert scores.offsets.shape == (tokens, 2)
    assert scores.scores.shape == scores.queries.shape == (tokens,)
