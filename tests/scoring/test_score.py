"""Query positions, windows, batches and the resumable shards, on hand-worked cases and a tiny model."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    LlamaConfig,
    MambaConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from elusive.config.models import ModelRef
from elusive.config.scoring import Queries, ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.runs.files import silent
from elusive.scoring import score as scoring
from elusive.scoring import stage, windows
from elusive.scoring.positions import query_positions
from elusive.scoring.score import score_documents
from elusive.scoring.shards import TokenScores, read_scores
from elusive.scoring.stage import score_corpus

from ..tiny_models import tiny_config, tiny_documents, tiny_model, tiny_tokenizer

WORDS = ["<s>", "<unk>", "Ann", "was", "born", "in", "Rome", "and", "studied", "Law", "there", "."]
TEXT = "Ann was born in Rome and studied Law ."
SPANS = (Span("name", 0, 3), Span("city", 16, 20), Span("major", 33, 36))
DOCUMENT = Document("ann", TEXT, SPANS)
#    <s> Ann was born in Rome and studied Law .
#     0   1   2   3    4   5   6    7      8   9
OFFSETS = np.array([(0, 0), (0, 3), (4, 7), (8, 12), (13, 15), (16, 20), (21, 24), (25, 32), (33, 36), (37, 38)])
SPECIAL = np.array([1] + [0] * 9, dtype=bool)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def word_tokenizer(bos=True):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>", unk_token="<unk>")


def tiny_llama(vocabulary=len(WORDS), context=64):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=context,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=0,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="elusive").eval()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_llama().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return str(folder)


def corpus(count=5):
    words = " and studied Law there" * 2
    return [Document(f"ann-{i}", TEXT + words[: 23 * (i % 3)].rstrip(), SPANS) for i in range(count)]


# --- query positions


@pytest.mark.parametrize(
    ("queries", "fields", "expected"),
    [
        ("cues", (), [4, 7]),
        ("spans", (), [4, 7]),
        ("cues", ("major",), [7]),
        ("all", (), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_query_positions_by_hand(queries, fields, expected):
    got = query_positions(DOCUMENT, OFFSETS, SPECIAL, queries, ("name",), fields)
    assert got.tolist() == expected
    assert got.dtype == np.int64


def test_a_span_of_several_tokens_and_overlapping_spans():
    document = Document("x", TEXT, (Span("city", 13, 20), Span("place", 16, 24), Span("name", 0, 3)))
    assert query_positions(document, OFFSETS, SPECIAL, "cues", ()).tolist() == [0, 3, 4]
    assert query_positions(document, OFFSETS, SPECIAL, "spans", ()).tolist() == [0, 3, 4, 5], "each position once"
    assert query_positions(document, OFFSETS, SPECIAL, "spans", ("name", "city")).tolist() == [4, 5]


def test_without_bos_a_span_at_the_front_has_no_cue():
    assert query_positions(DOCUMENT, OFFSETS[1:], SPECIAL[1:], "cues", ()).tolist() == [3, 6]
    assert query_positions(DOCUMENT, OFFSETS[1:], SPECIAL[1:], "spans", ()).tolist() == [3, 6]


def test_the_space_before_a_word_belongs_to_no_span():
    spaced = OFFSETS.copy()
    spaced[2:, 0] -= 1  # " was", " born", ...: byte-level offsets that are not trimmed
    ends_with_space = Document("x", TEXT, (Span("city", 15, 21),))
    for offsets in (OFFSETS, spaced):
        assert query_positions(DOCUMENT, offsets, SPECIAL, "spans", ("name",)).tolist() == [4, 7]
        assert query_positions(ends_with_space, offsets, SPECIAL, "spans", ()).tolist() == [4]


def test_a_space_token_inside_a_span_is_one_of_its_tokens_with_width_or_without():
    document = Document("x", "a b  c", (Span("city", 2, 6),))
    for space in ((4, 5), (5, 5)):  # the second space stands alone: b, " ", " c"
        offsets = np.array([(0, 1), (2, 3), space, (5, 6)])
        assert query_positions(document, offsets, np.zeros(4, bool), "spans", ()).tolist() == [0, 1, 2]


def test_tokens_of_one_character_all_belong_to_its_span():
    document = Document("x", "a \u00e9", (Span("city", 2, 3),))  # two bytes, two tokens, the same characters
    offsets = np.array([(0, 1), (2, 3), (2, 3)])
    assert query_positions(document, offsets, np.zeros(3, bool), "spans", ()).tolist() == [0, 1]
    assert query_positions(document, offsets, np.zeros(3, bool), "cues", ()).tolist() == [0]


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_queries_are_refused():
    with pytest.raises(ElusiveError, match=r"'ann': no token overlaps its span 'city' \(16 to 20 of 38 .* 'Rome'"):
        query_positions(DOCUMENT, OFFSETS[:5], SPECIAL[:5], "cues", ("name",))
    with pytest.raises(ElusiveError, match="queries = all reads every token, but fields"):
        query_positions(DOCUMENT, OFFSETS, SPECIAL, "all", (), ("city",))
    with pytest.raises(ElusiveError, match="expected cues, spans or all, got 'cue'"):
        query_positions(DOCUMENT, OFFSETS, SPECIAL, "cue", ())  # type: ignore[arg-type]


# --- windows and batches


def text_of(tokens, front, queries):
    special_T = np.arange(tokens) < front
    zeros = np.zeros((tokens, 2), np.int32)
    positions = (windows.TextQueries(np.array(queries, dtype=int)),)
    return windows.TokenisedText(DOCUMENT, np.arange(tokens, dtype=np.int32), zeros, special_T, positions, front)


def as_lists(windows):
    return [(w.positions.tolist(), w.positions[w.is_query_SN[0]].tolist()) for w in windows]


def test_a_text_that_fits_is_one_window_up_to_its_last_query():
    assert as_lists(windows.windows_of(0, text_of(30, 1, [2, 6]), 8)) == [([0, 1, 2, 3, 4, 5, 6], [2, 6])]
    assert windows.windows_of(0, text_of(30, 1, []), 8) == []


def test_windows_by_hand():
    # Without bos, 4 tokens a window, half a window on: 0-3, 2-5, 4-7, 6-9.
    assert as_lists(windows.windows_of(0, text_of(10, 0, range(10)), 4)) == [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([2, 3, 4, 5], [4, 5]),
        ([4, 5, 6, 7], [6, 7]),
        ([6, 7, 8, 9], [8, 9]),
    ]
    # With bos, it stands in each window of 5; windows without a query are left out, the last is cut at its query.
    assert as_lists(windows.windows_of(0, text_of(12, 1, [0, 2, 7]), 5)) == [
        ([0, 1, 2], [0, 2]),
        ([0, 5, 6, 7], [7]),
    ]


@pytest.mark.parametrize("front", [0, 1, 2])
@pytest.mark.parametrize("max_length", [3, 4, 7, 10, 39])
def test_every_query_is_read_once_with_half_a_window_of_context(front, max_length):
    text = text_of(40, front, range(front, 40))
    cut = windows.windows_of(0, text, max_length)
    read = [q for w in cut for q in w.positions[w.is_query_SN[0]].tolist()]
    assert sorted(read) == list(range(front, 40))
    width = max_length - front
    stride = max(1, width // 2)
    for window in cut:
        positions = window.positions.tolist()
        assert len(positions) <= max_length
        assert positions[:front] == list(range(front))
        assert positions[front:] == list(range(positions[front], positions[-1] + 1))
        for q in window.positions[window.is_query_SN[0]].tolist():
            assert q - positions[front] >= min(width - stride, q - front)


def test_a_window_that_holds_no_text_is_refused():
    with pytest.raises(ElusiveError, match="max_length is 2, but 2 tokens begin every window"):
        windows.windows_of(0, text_of(40, 2, [30]), 2)


def testseeing_queries_by_hand():
    is_query = np.array([False, True, False, True, False])
    assert windows.seeing_queries(is_query, True).tolist() == [2, 2, 1, 1, 0]
    assert windows.seeing_queries(is_query, False).tolist() == [2, 1, 1, 0, 0]


# --- scoring


def test_arrays_cover_the_whole_text_and_are_zero_behind_the_last_query():
    document = Document("ann", TEXT, SPANS[:2])
    scores = score_documents([document], tiny_llama(), word_tokenizer(), ScoreSettings(queries="cues"))[0]
    assert scores.token_ids.tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 9, 11]
    assert scores.offsets.tolist() == OFFSETS.tolist()
    assert scores.queries.tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert (scores.scores[:5] > 0).all()
    assert not scores.scores[5:].any()
    assert float(scores.scores.sum()) == pytest.approx(1.0, abs=1e-6)  # one query: one row of probabilities
    alone = score_documents(
        [document], tiny_llama(), word_tokenizer(), ScoreSettings(queries="cues", include_self=False)
    )[0]
    assert alone.queries.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert not alone.scores[4:].any()


def test_text_behind_the_last_query_does_not_run(monkeypatch):
    lengths = []
    forward = scoring.forward
    monkeypatch.setattr(scoring, "check_independence", lambda *_: None)  # it runs texts of its own
    monkeypatch.setattr(scoring, "forward", lambda *a: lengths.extend(len(w.positions) for w in a[1]) or forward(*a))
    documents = [Document("none", TEXT, SPANS[:1]), Document("ann", TEXT, SPANS[:2]), DOCUMENT]
    seen = []
    got = score_documents(
        documents,
        tiny_llama(),
        word_tokenizer(),
        ScoreSettings(queries="cues"),
        progress=lambda *counts: seen.append(counts),
    )
    assert lengths == [8, 5], "longest first; the text without a query never runs"
    assert not got[0].queries.any()
    assert not got[0].scores.any()
    assert len(got[0].token_ids) == 10
    assert seen[0] == (1, 3)
    assert seen[-1] == (3, 3)


def test_the_language_model_head_does_not_run():
    model = tiny_llama()
    model.lm_head.register_forward_pre_hook(lambda *_: pytest.fail("the head ran"))
    assert len(score_documents([DOCUMENT], model, word_tokenizer(), ScoreSettings(queries="all"))) == 1


def test_longer_than_the_models_context_is_never_cut():
    document = Document("long", " ".join([TEXT] * 8), ())
    scores = score_documents([document], tiny_llama(context=16), word_tokenizer(), ScoreSettings(queries="all"))[0]
    assert len(scores.token_ids) == 73
    assert (scores.queries > 0).all()
    assert (scores.scores[1:] > 0).all()
    assert scores.queries[0] == 72, "bos stands in every window"
    assert scores.queries[1:].max() <= 15
    same = score_documents([document], tiny_llama(), word_tokenizer(), ScoreSettings(queries="all", max_length=16))[0]
    np.testing.assert_allclose(same.scores, scores.scores, rtol=0, atol=1e-6)


def test_unknown_words_are_words_and_control_tokens_are_not():
    document = Document("x", "Ann zzz <s> was", ())
    scores = score_documents([document], tiny_llama(), word_tokenizer(), ScoreSettings(queries="all"))[0]
    assert scores.token_ids.tolist() == [0, 2, 1, 0, 3]
    assert scores.queries.tolist() == [3, 3, 2, 1, 1], "the <s> in the text is no query"


def test_what_cannot_be_scored_is_refused():
    tokenizer = word_tokenizer()
    with pytest.raises(ElusiveError, match=r"Document 'blank' has no token: its text is '  '. Remove it"):
        score_documents([Document("blank", "  ")], tiny_llama(), tokenizer, ScoreSettings(queries="all"))
    with pytest.raises(ElusiveError, match="token id 11, but LlamaForCausalLM embeds only 10 ids"):
        score_documents([DOCUMENT], tiny_llama(vocabulary=10), tokenizer, ScoreSettings(queries="all"))


def test_running_out_of_memory_names_the_setting(monkeypatch):
    model = tiny_llama()

    def fail(module, inputs, keywords):
        if keywords["input_ids"].shape[1] == 10:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.model.register_forward_pre_hook(fail, with_kwargs=True)
    with pytest.raises(ElusiveError, match=r"batch of 1 x 10 tokens. Lower score.max_batch_tokens"):
        score_documents([DOCUMENT], model, word_tokenizer(), ScoreSettings(queries="all"))


def test_prompt_tuning_is_refused():
    from peft import PromptTuningConfig, TaskType, get_peft_model

    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2)
    tuned = get_peft_model(tiny_llama(), config).eval()
    with pytest.raises(ElusiveError, match="add tokens that are not in the text"):
        score_documents([DOCUMENT], tuned, word_tokenizer(), ScoreSettings(queries="all"))


# --- chosen heads, every head, and rows over the ranked tokens alone


def eager_attention(document=DOCUMENT):
    """The model's own attention probabilities, (layers, heads, queries, keys)."""
    model = tiny_llama()
    model.set_attn_implementation("eager")
    ids = torch.tensor([word_tokenizer()(document.text)["input_ids"]])
    with torch.inference_mode():
        return torch.cat(model(ids, output_attentions=True).attentions).numpy()


def one(**options) -> TokenScores:
    captured: dict[str, Any] = {
        name: options.pop(name) for name in ("fields", "layers", "heads", "keep") if name in options
    }
    return score_documents([DOCUMENT], tiny_llama(), word_tokenizer(), ScoreSettings(**options), **captured)[0]


def by_hand(rows_HQK, queries=(4, 7)):
    """Mean over heads, and for each token over the queries at it or after it."""
    mean_QK = rows_HQK.mean(0)[list(queries)]
    seeing_K = np.array([sum(q >= k for q in queries) for k in range(mean_QK.shape[1])])
    return mean_QK.sum(0) / np.maximum(seeing_K, 1)


@pytest.mark.parametrize(
    ("layers", "heads", "chosen"),
    [
        ((), (), [(0, 0), (0, 1), (1, 0), (1, 1)]),
        ((1,), (), [(1, 0), (1, 1)]),
        ((0,), (), [(0, 0), (0, 1)]),
        ((), ("1.0",), [(1, 0)]),
        ((), ("0.1", "1.0"), [(0, 1), (1, 0)]),
        ((0,), ("0.1", "1.1"), [(0, 0), (0, 1), (1, 1)]),  # a union, each head once
    ],
)
def test_chosen_layers_and_heads_are_averaged_alike(layers, heads, chosen):
    rows_HQK = np.array([eager_attention()[layer, head] for layer, head in chosen])
    got = one(layers=layers, heads=heads)
    np.testing.assert_allclose(got.scores, by_hand(rows_HQK), rtol=0, atol=1e-6)
    assert got.queries.tolist() == one().queries.tolist()
    assert got.per_head is None


def test_layers_behind_the_last_chosen_one_do_not_run():
    model = tiny_llama()
    score_documents(
        [DOCUMENT], model, word_tokenizer(), ScoreSettings(queries="cues")
    )  # all layers are seen to report, once
    model.model.layers[1].register_forward_pre_hook(lambda *_: pytest.fail("layer 1 ran"))
    score_documents([DOCUMENT], model, word_tokenizer(), ScoreSettings(queries="cues"), layers=(0,))
    score_documents([DOCUMENT], model, word_tokenizer(), ScoreSettings(queries="cues"), heads=("0.1",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (0, 2)}, "Expected layers from 0 to 1 of LlamaForCausalLM, got 2"),
        ({"layers": (-1,)}, "Expected layers from 0 to 1 of LlamaForCausalLM, got -1"),
        ({"heads": ("2.0",)}, r"2 layers of 2 query heads \(0.0 to 1.1\), got '2.0'"),
        ({"heads": ("1.2",)}, r"2 layers of 2 query heads \(0.0 to 1.1\), got '1.2'"),
        ({"heads": ("1",)}, r"""Expected a head as "layer.head" \(e.g. "3.1"\), both from 0, got '1'"""),
        ({"heads": ("1.-1",)}, "both from 0, got '1.-1'"),
    ],
)
def test_heads_that_the_model_does_not_have_are_refused(options, message):
    with pytest.raises(ElusiveError, match=message):
        one(**options)


def test_a_layer_that_reports_other_heads_than_the_configuration_is_refused():
    model = tiny_llama()
    model.config.num_attention_heads = 3
    with pytest.raises(ElusiveError, match=r"Expected 3 query heads in layer 0, as .* says, got 2"):
        score_documents([DOCUMENT], model, word_tokenizer(), ScoreSettings(queries="cues"), heads=("0.0",))


def test_every_heads_scores_beside_those_of_the_chosen_ones():
    got = one(keep=("heads",), heads=("0.1",))
    assert got.per_head is not None
    assert got.per_head.shape == (2, 2, 10)
    assert got.per_head.dtype == np.float32
    eager_LHQK = eager_attention()
    for layer in range(2):
        for head in range(2):
            expected = by_hand(eager_LHQK[layer, head][None])
            np.testing.assert_allclose(got.per_head[layer, head], expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.scores, got.per_head[0, 1], rtol=0, atol=1e-7)
    np.testing.assert_allclose(one().scores, got.per_head.mean((0, 1)), rtol=0, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"renormalise": True}, {"include_self": False}])
def test_heads_of_long_texts_read_in_windows_average_to_the_score(options):
    documents = [Document("long", " ".join([TEXT] * 4), ()), Document("short", TEXT, ())]
    settings = ScoreSettings(queries="all", max_length=12, **options)
    for got in score_documents(documents, tiny_llama(), word_tokenizer(), settings, keep=("heads",)):
        assert got.per_head is not None
        assert got.per_head.shape == (2, 2, len(got.token_ids))
        np.testing.assert_allclose(got.per_head.mean((0, 1)), got.scores, rtol=0, atol=1e-6)
        assert got.scores[1:].any()


def test_a_text_without_a_query_has_heads_of_zeros():
    documents = [Document("none", TEXT, SPANS[:1]), DOCUMENT]
    none, other = score_documents(
        documents, tiny_llama(), word_tokenizer(), ScoreSettings(queries="cues"), keep=("heads",)
    )
    assert none.per_head is not None
    assert other.per_head is not None
    assert none.per_head.shape == other.per_head.shape == (2, 2, 10)
    assert not none.per_head.any()


def test_rows_over_the_ranked_tokens_alone_sum_to_one():
    ranked = np.array([False, True, True, True, True, True, True, True, True, False])  # <s> and the full stop are not
    rows_HQK = eager_attention().reshape(4, 10, 10) * ranked
    rows_HQK = rows_HQK / np.maximum(rows_HQK.sum(-1, keepdims=True), 1e-30)
    got = one(renormalise=True)
    np.testing.assert_allclose(got.scores, by_hand(rows_HQK), rtol=0, atol=1e-6)
    assert got.scores[0] == 0
    single = one(renormalise=True, fields=("city",))
    assert float(single.scores.sum()) == pytest.approx(1.0, abs=1e-6)
    assert one(fields=("city",)).scores[0] > 0.01, "else <s> takes a share of the row"


def test_excluded_tokens_are_left_out_of_the_rows():
    ranked = np.array([False] + [True] * 9)
    ranked[2] = False  # "was"
    rows_HQK = eager_attention().reshape(4, 10, 10) * ranked
    rows_HQK = rows_HQK / np.maximum(rows_HQK.sum(-1, keepdims=True), 1e-30)
    got = one(renormalise=True, excluded_tokens=("was",))
    np.testing.assert_allclose(got.scores, by_hand(rows_HQK), rtol=0, atol=1e-6)


def test_rows_are_renormalised_alike_in_a_padded_batch():
    documents = [DOCUMENT, Document("other", "Ann . was Rome", (Span("name", 0, 3), Span("city", 10, 14)))]
    settings = ScoreSettings(renormalise=True)
    together = score_documents(documents, tiny_llama(), word_tokenizer(), settings)
    for document, got in zip(documents, together, strict=True):
        (alone,) = score_documents([document], tiny_llama(), word_tokenizer(), settings)
        np.testing.assert_allclose(got.scores, alone.scores, rtol=0, atol=1e-6)


# --- shards


def score(documents, folder, model, queries: Queries = "cues", fields=(), shard=2, include_self=True, progress=silent):
    settings = ScoreSettings(queries=queries, shard_documents=shard, include_self=include_self)
    score_corpus(documents, folder, ModelRef(model, device="cpu"), settings, fields=fields, progress=progress)


def test_shards_hold_what_score_documents_gives(tmp_path, model_folder):
    documents = corpus()
    seen = []
    score(documents, tmp_path / "scores", model_folder, progress=lambda *counts: seen.append(counts))
    names = sorted(path.name for path in (tmp_path / "scores").iterdir())
    assert names == ["done.json", *(f"part-0000{i}.parquet" for i in range(3)), "settings.json"]
    assert seen[-1] == (5, 5)
    expected = score_documents(documents, tiny_llama(), word_tokenizer(), ScoreSettings(queries="cues"))
    got = read_scores(tmp_path / "scores")
    assert [row.document_id for row in got] == [document.id for document in documents]
    for one, two in zip(got, expected, strict=True):
        assert isinstance(one, TokenScores)
        for field in ("token_ids", "offsets", "queries"):
            assert getattr(one, field).dtype == np.int32
            np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
        assert one.scores.dtype == np.float32
        np.testing.assert_allclose(one.scores, two.scores, rtol=0, atol=1e-6)


def test_shards_hold_every_heads_scores_only_where_asked_for(tmp_path, model_folder):
    import pyarrow.parquet as pq

    documents = corpus()
    settings = ScoreSettings(shard_documents=2)
    model = ModelRef(model_folder, device="cpu")
    score_corpus(documents, tmp_path / "heads", model, settings, keep=("heads",))
    score_corpus(documents, tmp_path / "plain", dataclasses.replace(model, heads=("1.1",)), settings)
    expected = score_documents(
        documents, tiny_llama(), word_tokenizer(), ScoreSettings(queries="cues"), keep=("heads",)
    )
    for got, wanted in zip(read_scores(tmp_path / "heads"), expected, strict=True):
        assert got.per_head is not None
        assert wanted.per_head is not None
        assert got.per_head.dtype == np.float32
        np.testing.assert_allclose(got.per_head, wanted.per_head, rtol=0, atol=1e-6)
        np.testing.assert_allclose(got.scores, wanted.scores, rtol=0, atol=1e-6)
    for got, wanted in zip(read_scores(tmp_path / "plain"), expected, strict=True):
        assert got.per_head is None
        assert wanted.per_head is not None
        np.testing.assert_allclose(got.scores, wanted.per_head[1, 1], rtol=0, atol=1e-6)
    row = pq.read_table(tmp_path / "heads" / "part-00000.parquet").to_pylist()[0]
    assert np.array(row["per_head"]).shape == (2, 2, len(row["token_ids"])), "nested as [layer][head][token]"
    assert "per_head" not in pq.read_schema(tmp_path / "plain" / "part-00000.parquet").names


def test_scores_of_other_heads_or_rows_are_refused(tmp_path, model_folder):
    model = ModelRef(model_folder, device="cpu")
    plain, over_ranked = ScoreSettings(), ScoreSettings(renormalise=True)
    score_corpus(corpus(), tmp_path / "plain", model, plain)
    for name, heads in (("layers", {"layers": (1,)}), ("heads", {"heads": ("0.1",)})):
        with pytest.raises(ElusiveError, match=f"{name}: was"):
            score_corpus(corpus(), tmp_path / "plain", dataclasses.replace(model, **heads), plain)
    with pytest.raises(ElusiveError, match="per_head: was"):
        score_corpus(corpus(), tmp_path / "plain", model, plain, keep=("heads",))
    with pytest.raises(ElusiveError, match="renormalise: was False, now True"):
        score_corpus(corpus(), tmp_path / "plain", model, over_ranked)
    # Which tokens are excluded matters where rows are renormalised, and nowhere else.
    score_corpus(corpus(), tmp_path / "plain", model, dataclasses.replace(plain, excluded_tokens=()))
    score_corpus(corpus(), tmp_path / "over", model, over_ranked)
    with pytest.raises(ElusiveError, match=r"excluded_tokens: was .*, now .'was'"):
        score_corpus(corpus(), tmp_path / "over", model, dataclasses.replace(over_ranked, excluded_tokens=("was",)))


def test_a_run_begun_again_scores_only_the_missing_shard(tmp_path, model_folder):
    documents, folder = corpus(), tmp_path / "scores"
    score(documents, folder, model_folder)
    shards = sorted(folder.glob("*.parquet"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in shards}
    shards[1].unlink()
    (folder / "done.json").unlink()
    with pytest.raises(ElusiveError, match=r"are not finished. Run the score stage first"):
        read_scores(folder)
    seen = []
    score(documents, folder, model_folder, progress=lambda *counts: seen.append(counts))
    assert seen[0][0] >= 3, "three documents were done already"
    assert seen[-1] == (5, 5)
    for path in shards:
        content, modified, inode = before[path]
        assert path.read_bytes() == content
        unchanged = path.stat().st_mtime_ns == modified and path.stat().st_ino == inode
        assert unchanged == (path != shards[1])
    assert len(read_scores(folder)) == 5


def test_a_finished_run_loads_no_model(tmp_path, model_folder, monkeypatch):
    score(corpus(), tmp_path / "scores", model_folder)
    monkeypatch.setattr(stage, "load_for_scoring", lambda *_: pytest.fail("the model was loaded"))
    score(corpus(), tmp_path / "scores", model_folder)
    (tmp_path / "scores" / "done.json").unlink()
    score(corpus(), tmp_path / "scores", model_folder)
    assert json.loads((tmp_path / "scores" / "done.json").read_text())["documents"] == 5


def test_other_settings_or_another_corpus_are_refused(tmp_path, model_folder):
    folder = tmp_path / "scores"
    score(corpus(), folder, model_folder)
    with pytest.raises(ElusiveError, match="begun with other settings:\n  queries: was 'cues', now 'spans'"):
        score(corpus(), folder, model_folder, queries="spans")
    with pytest.raises(ElusiveError, match=r"fields: was .., now .'major'"):
        score(corpus(), folder, model_folder, fields=("major",))
    with pytest.raises(ElusiveError, match="include_self: was True, now False"):
        score(corpus(), folder, model_folder, include_self=False)
    with pytest.raises(ElusiveError, match="shard_documents: was 2, now 3"):
        score(corpus(), folder, model_folder, shard=3)
    with pytest.raises(ElusiveError, match="corpus: was"):
        score(corpus(4), folder, model_folder)


def test_an_empty_corpus_and_one_without_spans_are_refused(tmp_path, model_folder):
    with pytest.raises(ElusiveError, match="Expected documents to score, got none"):
        score([], tmp_path / "scores", model_folder)
    with pytest.raises(
        ElusiveError, match=r"no document has a span of an answer field .fields: name; head fields: name"
    ):
        score([Document("x", TEXT, SPANS[:1])], tmp_path / "scores", model_folder)
    with pytest.raises(ElusiveError, match=r"no document has a span of town .fields: city, major, name"):
        score(corpus(), tmp_path / "scores", model_folder, fields=("town",))
    assert not (tmp_path / "scores").exists()


def test_a_damaged_shard_is_named(tmp_path, model_folder):
    score(corpus(), tmp_path / "scores", model_folder)
    (tmp_path / "scores" / "part-00001.parquet").write_bytes(b"half")
    with pytest.raises(ElusiveError, match=r"part-00001.parquet is damaged .* Delete it and done.json"):
        read_scores(tmp_path / "scores")


@pytest.mark.parametrize("kind", ["falcon", "bloom"])
def test_a_saved_model_without_the_interface_is_scored_through_hooks(tmp_path, kind):
    sizes: dict[str, Any] = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "bos_token_id": 0, "eos_token_id": 0, "seq_length": 64}
    config = (FalconConfig if kind == "falcon" else BloomConfig)(**sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    word_tokenizer().save_pretrained(tmp_path / "model")
    score(corpus(), tmp_path / "scores", str(tmp_path / "model"))
    for scores in read_scores(tmp_path / "scores"):
        # Every selected row hands out exactly one.
        assert (scores.scores * scores.queries).sum() == pytest.approx(scores.queries[0], abs=1e-5)


@pytest.mark.parametrize("kind", ["mamba", "t5"])
def test_a_saved_model_that_cannot_be_read_is_refused_before_its_weights_are_loaded(tmp_path, kind):
    (MambaConfig() if kind == "mamba" else T5Config()).save_pretrained(tmp_path / "model")
    reason = "MambaForCausalLM has no attention layers" if kind == "mamba" else "'t5' is an encoder-decoder"
    with pytest.raises(ElusiveError, match=reason):
        score(corpus(), tmp_path / "scores", str(tmp_path / "model"))
    assert not list((tmp_path / "scores").glob("*.parquet"))


AS_A_WHOLE = ScoreSettings(queries="all", max_length=256)


class TestModelsOfTheUser:
    """A model is scored whatever its attention and mode, and is afterwards as it was."""

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    @pytest.mark.parametrize("name", ["llama", "gemma2", "falcon", "bloom", "gpt_neo"])
    def test_scores_are_those_of_a_model_loaded_for_them(self, name: str, attention: str) -> None:
        expected = score_documents(tiny_documents(2), tiny_model(name), tiny_tokenizer(), AS_A_WHOLE)
        torch.manual_seed(0)
        config = tiny_config(name)
        try:
            own: Any = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        except ValueError:
            pytest.skip(f"{name} has no {attention}")
        own = own.float().train()
        found = score_documents(tiny_documents(2), own, tiny_tokenizer(), AS_A_WHOLE)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-6)
        assert own.config._attn_implementation == attention
        assert all(module.training for module in own.modules())
        ids_BT = torch.ones(1, 3, dtype=torch.long)
        assert own(input_ids=ids_BT, labels=ids_BT).loss.requires_grad
        assert own.eval().generate(ids_BT, max_new_tokens=2, do_sample=False, pad_token_id=0).shape == (1, 5)

    def test_a_part_in_evaluation_mode_stays_in_it(self) -> None:
        own = tiny_llama().train()
        own.lm_head.eval()
        score_documents([DOCUMENT], own, word_tokenizer(), ScoreSettings(queries="all"))
        assert own.training
        assert not own.lm_head.training

    def test_attention_is_back_after_an_error(self) -> None:
        own = tiny_llama()
        own.set_attn_implementation("sdpa")
        with pytest.raises(ElusiveError, match="has no token"):
            score_documents([Document("blank", "  ")], own, word_tokenizer(), ScoreSettings(queries="all"))
        assert own.config._attn_implementation == "sdpa"

    def test_something_else_is_refused(self) -> None:
        with pytest.raises(ElusiveError, match="Expected a causal language model of transformers, got Linear"):
            score_documents([DOCUMENT], torch.nn.Linear(1, 1), word_tokenizer(), ScoreSettings(queries="all"))
