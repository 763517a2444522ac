"""Attention scores: how much each token of a text receives from the positions that are read out, in one model."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from . import models
from .attention import ATTENTION, Recorder, recording
from .batching import length_batches
from .config import Queries, ScoreSettings
from .documents import Document, Span
from .errors import ElusiveError
from .runs import ProgressFunction, Stage, atomic_path, silent

SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("starts", pa.list_(pa.int32())),
        ("ends", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float32())),
        ("queries", pa.list_(pa.int32())),
    ]
)
"""Columns of a shard; starts and ends are characters of the text."""


@dataclasses.dataclass(frozen=True, eq=False)
class TokenScores:
    """One text's scores in one model.

    Attributes:
        document_id: the document.
        token_ids: int32 (tokens,), special tokens included.
        offsets: int32 (tokens, 2), each token's first character and the one after its last.
        scores: float32 (tokens,), s(k): the mean attention that token k receives from the queries that see it, over
            all layers and heads; 0 where no query sees it.
        queries: int32 (tokens,), how many queries see the token.
    """

    document_id: str
    token_ids: np.ndarray
    offsets: np.ndarray
    scores: np.ndarray
    queries: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Text:
    """One tokenised document; arrays have its length in tokens, but for `queries`."""

    document: Document
    token_ids: np.ndarray
    offsets: np.ndarray
    special: np.ndarray
    queries: np.ndarray
    """Sorted positions that are read out."""


@dataclasses.dataclass(frozen=True)
class _Window:
    """Tokens that go through the model together: a whole text up to its last query, or a part of a long one."""

    text: int
    """Index of the document."""
    positions: np.ndarray
    """Which tokens of the document stand in the window."""
    is_query: np.ndarray
    """Whether each of them is read out in this window."""


def query_positions(
    document: Document,
    offsets_T2: np.ndarray,
    special_T: np.ndarray,
    queries: Queries,
    head_fields: Iterable[str],
    fields: Iterable[str] = (),
) -> np.ndarray:
    """Positions whose attention is read out.

    `cues`: the token just before the first token of each answer span. `spans`: the positions that predict the tokens
    of an answer span, i.e. the span shifted left by one. `all`: every token of the text; special tokens (bos, eos)
    are none of its tokens and are left out. A token belongs to a span if their characters overlap, the white space
    around either set aside. A token at position 0 has no token before it, so nothing predicts it.

    Args:
        document: the text and its spans.
        offsets_T2: characters of each token, (tokens, 2).
        special_T: whether each token is special, boolean (tokens,).
        queries: cues, spans or all.
        head_fields: span fields that are head entities, never queries.
        fields: only spans of these fields (empty: all but the head fields).

    Returns:
        Sorted positions without duplicates, int64.

    Raises:
        ElusiveError: if a span holds no token, or `fields` is given with `all`.

    Reference:
        The set Q in the reading notes; "preposition tokens" in Gao et al. 2025, arXiv 2409.17954.
    """
    if queries == "all":
        if tuple(fields):
            raise ElusiveError(f"queries = all reads every token, but fields = {tuple(fields)} restricts it to spans.")
        return np.flatnonzero(~np.asarray(special_T, dtype=bool))
    if queries not in ("cues", "spans"):
        raise ElusiveError(f"queries: expected cues, spans or all, got {queries!r}.")
    # Byte-level tokens may or may not count the space before a word among their characters, and that space belongs
    # to no span; so white space at the rim of tokens and spans is set aside.
    trimmed = [_trimmed(document.text, start, end) for start, end in np.asarray(offsets_T2).tolist()]
    trimmed_T2 = np.array(trimmed).reshape(-1, 2)
    found: set[int] = set()
    for span in _answer_spans(document, head_fields, fields):
        positions = _span_tokens(document, span, trimmed_T2, special_T)
        found.update(int(k) - 1 for k in (positions[:1] if queries == "cues" else positions) if k > 0)
    return np.array(sorted(found), dtype=np.int64)


def score_documents(
    documents: Sequence[Document],
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    *,
    queries: Queries,
    head_fields: Sequence[str] = ("name",),
    fields: Sequence[str] = (),
    include_self: bool = True,
    max_length: int = 0,
    max_batch_tokens: int = 4096,
    progress: ProgressFunction = silent,
) -> list[TokenScores]:
    """Score each token by the mean attention that it receives from the queries that see it.

    Texts are batched by length and padded on the right, and each is cut after its last query: attention is causal,
    so neither changes a score. A text longer than `max_length` is read in overlapping windows, each half a window on;
    every query is read in one window, with at least half a window of context before it, and a token's count holds
    only the queries that share a window with it. The language-model head does not run.

    Args:
        documents: the texts and their spans.
        model: a causal language model with attention `elusive`, in evaluation mode; LoRA adapters may be on it.
        tokenizer: its fast tokenizer.
        queries: which positions are read: cues, spans or all (see `query_positions`).
        head_fields: span fields that are head entities, never queries.
        fields: only spans of these fields (empty: all but the head fields).
        include_self: count a token's attention to itself (q >= k); False leaves it out (q > k).
        max_length: longest window in tokens (0: the model's own context).
        max_batch_tokens: tokens in one forward pass, padding included; a longer text runs alone.
        progress: called with (documents done, all documents).

    Returns:
        The scores of each document, in the order given; the arrays cover all its tokens.

    Raises:
        ElusiveError: if a text has no token, a span holds none, a layer does not report its attention, the model is
            in training mode, or memory is too small for a batch.

    Reference:
        s(k) in the reading notes; Gao et al. 2025, arXiv 2409.17954.
    """
    base = _base_model(model)
    max_length = max_length or models.config_context(base.config, base.config.name_or_path or type(base).__name__)
    texts = _tokenise(documents, tokenizer, queries, head_fields, fields)
    _check_vocabulary(texts, base)
    windows = [window for i, text in enumerate(texts) for window in _windows(i, text, max_length)]
    sums = [np.zeros(len(text.token_ids)) for text in texts]
    counts = [np.zeros(len(text.token_ids), dtype=np.int32) for text in texts]
    left = np.bincount([window.text for window in windows], minlength=len(texts))
    progress(int((left == 0).sum()), len(texts))
    for batch in _batches(windows, max_batch_tokens):
        received_BT = _forward(texts, batch, base, include_self)
        for window, received_T in zip(batch, received_BT, strict=True):
            sums[window.text][window.positions] += received_T[: len(window.positions)]
            counts[window.text][window.positions] += _seeing_queries(window.is_query, include_self)
            left[window.text] -= 1
        progress(int((left == 0).sum()), len(texts))
    return [
        TokenScores(
            document_id=text.document.id,
            token_ids=text.token_ids,
            offsets=text.offsets,
            scores=(sums_T / np.maximum(counts_T, 1)).astype(np.float32),
            queries=counts_T,
        )
        for text, sums_T, counts_T in zip(texts, sums, counts, strict=True)
    ]


def score_corpus(
    documents: Sequence[Document],
    folder: str | Path,
    *,
    model: str,
    revision: str = "",
    dtype: str = "float32",
    device: str = "auto",
    queries: Queries,
    fields: Sequence[str] = (),
    settings: ScoreSettings,
    load: Callable[..., Any] | None = None,
    progress: ProgressFunction = silent,
) -> None:
    """Score a corpus into a folder of Parquet shards; begun again, only what is missing is scored.

    Args:
        documents: the corpus.
        folder: `RUN/scores/<model>-<queries>`.
        model: folder or hub name of the model.
        revision: commit or branch of a hub model.
        dtype: the weights' type.
        device: see `models.load_model`.
        queries: which positions are read; stands in for `settings.queries`, as some arms need another set.
        fields: only spans of these fields (empty: all but the head fields).
        settings: how attention is read out.
        load: stands in for `load_for_scoring`, to keep a model that is read out more than once.
        progress: called with (documents done, all documents).

    Raises:
        ElusiveError: if there are no documents or no spans to read from, the folder was begun with other settings,
            or as `score_documents`.
    """
    _check_corpus(documents, queries, settings.head_fields, fields)
    stage = Stage(
        folder,
        {
            "model": model,
            "model_hash": models.model_hash(model),
            "revision": revision,
            "dtype": dtype,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "queries": queries,
            "fields": list(fields),
            "head_fields": list(settings.head_fields),
            "include_self": settings.include_self,
            "max_length": settings.max_length,
            "shard_documents": settings.shard_documents,
            "corpus": corpus_hash(documents),
        },
    )
    if stage.done:
        return progress(len(documents), len(documents))
    began = time.monotonic()
    size = settings.shard_documents
    starts = range(0, len(documents), size)
    shards = {start: stage.folder / f"part-{number:05d}.parquet" for number, start in enumerate(starts)}
    missing = {start: path for start, path in shards.items() if not path.exists()}
    if missing:
        loaded = (load or load_for_scoring)(model, revision, dtype, device)
        tokenizer = models.load_tokenizer(model, revision)
        done = len(documents) - sum(len(documents[start : start + size]) for start in missing)
        for start, path in missing.items():
            part = documents[start : start + size]
            scores = score_documents(
                part,
                loaded,
                tokenizer,
                queries=queries,
                head_fields=settings.head_fields,
                fields=fields,
                include_self=settings.include_self,
                max_length=settings.max_length,
                max_batch_tokens=settings.max_batch_tokens,
                progress=lambda finished, _, before=done: progress(before + finished, len(documents)),
            )
            _write_shard(path, scores)
            done += len(part)
    stage.finish({"documents": len(documents), "shards": len(shards), "seconds": round(time.monotonic() - began, 3)})


def read_scores(folder: str | Path) -> list[TokenScores]:
    """The scores of a finished `score_corpus`, in the corpus's order.

    Raises:
        ElusiveError: if the folder is missing, not done, or a shard cannot be read.
    """
    folder = Path(folder)
    if not (folder / "done.json").exists():
        raise ElusiveError(f"The scores in {folder} are not finished. Run the score stage first (again, to resume it).")
    scores: list[TokenScores] = []
    for path in sorted(folder.glob("part-*.parquet")):
        try:
            rows = pq.read_table(path, schema=SCHEMA).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise ElusiveError(
                f"{path} cannot be read ({error}). Delete it and done.json beside it, and run the score stage again."
            ) from error
        scores.extend(_from_row(row) for row in rows)
    return scores


def _answer_spans(document: Document, head_fields: Iterable[str], fields: Iterable[str]) -> list[Span]:
    heads, wanted = set(head_fields), set(fields)
    return [span for span in document.spans if span.field not in heads and (not wanted or span.field in wanted)]


def _span_tokens(document: Document, span: Span, trimmed_T2: np.ndarray, special_T: np.ndarray) -> np.ndarray:
    """Positions of the tokens whose characters overlap the span's."""
    text = document.text
    start, end = _trimmed(text, span.start, span.end)
    # A space of its own within the span is one of its tokens; where the tokenizer gives it no width, so does this.
    inside_T = (trimmed_T2[:, 0] < end) & (trimmed_T2[:, 1] > start)
    positions = np.flatnonzero(inside_T & ~np.asarray(special_T, dtype=bool))
    if not len(positions):
        raise ElusiveError(
            f"Document '{document.id}': no token overlaps its span '{span.field}' ({span.start} to {span.end} of "
            f"{len(text)} characters, {text[span.start : span.end]!r}). Correct the span's characters."
        )
    return positions


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The range without white space at its rim; a range of nothing else stays as it is."""
    part = text[start:end]
    if not part.strip():
        return start, end
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def _tokenise(
    documents: Sequence[Document],
    tokenizer: PreTrainedTokenizerFast,
    queries: Queries,
    head_fields: Sequence[str],
    fields: Sequence[str],
) -> list[_Text]:
    if not documents:
        return []
    rows = tokenizer(
        [document.text for document in documents],
        add_special_tokens=True,
        padding=False,
        truncation=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        verbose=False,  # longer than the model's context is fine: windows take care of it
    )
    special_ids = models.special_token_ids(tokenizer)
    texts = []
    for document, ids, offsets, added in zip(
        documents, rows["input_ids"], rows["offset_mapping"], rows["special_tokens_mask"], strict=True
    ):
        ids_T = np.array(ids, dtype=np.int32)
        offsets_T2 = np.array(offsets, dtype=np.int32).reshape(-1, 2)
        special_T = np.array(added, dtype=bool) | np.isin(ids_T, special_ids)
        if special_T.all():
            raise ElusiveError(f"Document '{document.id}' has no token: its text is {document.text[:60]!r}. Remove it.")
        queries_Q = query_positions(document, offsets_T2, special_T, queries, head_fields, fields)
        texts.append(_Text(document, ids_T, offsets_T2, special_T, queries_Q))
    return texts


def _check_vocabulary(texts: Sequence[_Text], base: PreTrainedModel) -> None:
    entries = int(base.get_input_embeddings().weight.shape[0])  # type: ignore[union-attr]
    largest = max((int(text.token_ids.max()) for text in texts), default=0)
    if largest >= entries:
        raise ElusiveError(
            f"The tokenizer gives token id {largest}, but {type(base).__name__} embeds only {entries} ids. "
            "Give the tokenizer that belongs to the model."
        )


def _windows(index: int, text: _Text, max_length: int) -> list[_Window]:
    """The windows that hold a query, each cut after its last one: causal attention sees nothing behind it."""
    if not len(text.queries):
        return []
    reach = int(text.queries[-1]) + 1
    is_query_T = np.zeros(reach, dtype=bool)
    is_query_T[text.queries] = True
    if reach <= max_length:
        return [_Window(index, np.arange(reach), is_query_T)]
    # Special tokens at the front (bos) begin every window: models expect one, and it takes up surplus attention.
    front = int(np.argmin(text.special))
    width = max_length - front
    if width < 1:
        raise ElusiveError(
            f"max_length is {max_length}, but the tokenizer puts {front} special tokens before a text. "
            f"Give at least {front + 2}."
        )
    stride = max(1, width // 2)
    windows = []
    for number in range(1 + max(0, -(-(reach - front - width) // stride))):
        start = front + number * stride
        # Window 0 reads all its queries, each later one those of its last stride: width - stride tokens precede them.
        fresh = 0 if number == 0 else start + width - stride
        read = np.arange(fresh, min(start + width, reach))
        read = read[is_query_T[read]]
        if len(read):
            positions_N = np.concatenate([np.arange(front), np.arange(start, read[-1] + 1)])
            windows.append(_Window(index, positions_N[positions_N <= read[-1]], np.isin(positions_N, read)))
    return windows


def _seeing_queries(is_query_N: np.ndarray, include_self: bool) -> np.ndarray:
    """For each token the number of queries at it or after it (only after it, without include_self)."""
    seeing_N = np.cumsum(is_query_N[::-1], dtype=np.int32)[::-1]
    return seeing_N if include_self else seeing_N - is_query_N


def _batches(windows: Sequence[_Window], max_batch_tokens: int) -> list[list[_Window]]:
    lengths = [len(window.positions) for window in windows]
    return [[windows[index] for index in batch] for batch in length_batches(lengths, max_batch_tokens)]


def _base_model(model: Any) -> PreTrainedModel:
    """The transformers model, without peft's wrapper; LoRA layers stay in it."""
    if model.training:
        raise ElusiveError(
            "The model is in training mode, where dropout changes its attention. Call model.eval() first."
        )
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ElusiveError("Prompt and prefix tuning add tokens that are not in the text. Score a LoRA or plain model.")
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if (getattr(base, "tp_size", None) or 1) > 1:
        raise ElusiveError(
            "Tensor parallelism splits a layer's heads over processes, and their mean would be partial. "
            "Load the model with a device map instead (e.g. device = 'balanced')."
        )
    return base


def _forward(texts: Sequence[_Text], batch: Sequence[_Window], base: PreTrainedModel, include_self: bool) -> np.ndarray:
    """Attention received from the queries, summed over them and averaged over layers and heads, (batch, tokens)."""
    shape = len(batch), max(len(window.positions) for window in batch)
    ids_BT, weights_BT = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
    for row, window in enumerate(batch):
        ids_BT[row, : len(window.positions)] = texts[window.text].token_ids[window.positions]
        weights_BT[row, : len(window.positions)] = window.is_query
    # With weights offloaded to disk the model has no device of its own; accelerate's hooks move the inputs.
    device = torch.device("cpu") if base.device.type == "meta" else base.device
    try:
        layers = int(base.config.get_text_config(decoder=True).num_hidden_layers)
        recorder = Recorder(torch.from_numpy(weights_BT).to(device), include_self, layers=layers)
        with torch.inference_mode(), recording(recorder):
            # No attention mask: padding stands on the right, behind every query (see attention.recorded_attention).
            base.get_decoder()(input_ids=torch.from_numpy(ids_BT).to(device), use_cache=False)
        return recorder.mean_over_layers(base).cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise ElusiveError(
            f"Out of memory on a batch of {shape[0]} x {shape[1]} tokens. Lower score.max_batch_tokens "
            "(or score.max_length, if it is one text) and run again; finished shards are kept."
        ) from error


def _check_corpus(
    documents: Sequence[Document], queries: Queries, head_fields: Sequence[str], fields: Sequence[str]
) -> None:
    if not documents:
        raise ElusiveError("Expected documents to score, got none.")
    if queries != "all" and not any(_answer_spans(document, head_fields, fields) for document in documents):
        known = sorted({span.field for document in documents for span in document.spans})
        raise ElusiveError(
            f"queries = {queries} reads attention at answer spans, but no document has a span of "
            f"{', '.join(fields) or 'an answer field'} (fields: {', '.join(known) or 'none'}; "
            f"head fields: {', '.join(head_fields) or 'none'}). Use queries = all for text without spans."
        )


def corpus_hash(documents: Sequence[Document]) -> str:
    """SHA-256 of ids, texts and spans: what scores were made of, as their settings.json remembers it."""
    digest = hashlib.sha256()
    for document in documents:
        row = [document.id, document.text, [list(span) for span in document.spans]]
        digest.update(json.dumps(row, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def load_for_scoring(name: str, revision: str, dtype: str, device: str) -> Any:
    """Load a model whose layers report their attention.

    Raises:
        ElusiveError: if it cannot be loaded, or its architecture has no way to report.
    """
    try:
        return models.load_model(name, revision=revision, dtype=dtype, device=device, attention=ATTENTION)
    except ElusiveError as error:
        # Falcon and its like look the attention up in a table of their own.
        if isinstance(error.__cause__, KeyError) and error.__cause__.args == (ATTENTION,):
            raise ElusiveError(
                f"'{name}' records nothing: its attention does not go through transformers' attention interface. "
                "Choose a pair of another family (e.g. Llama, Gemma, Qwen, Mistral, GPT-NeoX)."
            ) from error
        raise


def _write_shard(path: Path, scores: Sequence[TokenScores]) -> None:
    columns = {
        "document_id": [row.document_id for row in scores],
        "token_ids": [row.token_ids for row in scores],
        "starts": [row.offsets[:, 0] for row in scores],
        "ends": [row.offsets[:, 1] for row in scores],
        "scores": [row.scores for row in scores],
        "queries": [row.queries for row in scores],
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns, schema=SCHEMA), temporary, compression="zstd")


def _from_row(row: dict[str, Any]) -> TokenScores:
    return TokenScores(
        document_id=row["document_id"],
        token_ids=np.array(row["token_ids"], dtype=np.int32),
        offsets=np.array([row["starts"], row["ends"]], dtype=np.int32).T.copy(),
        scores=np.array(row["scores"], dtype=np.float32),
        queries=np.array(row["queries"], dtype=np.int32),
    )
