"""Attention scores: how much each token of a text receives from the positions that are read out, in one model."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from . import models
from .attention import ATTENTION, Recorder, recording
from .batching import length_batches
from .config import Queries, ScoreSettings
from .documents import Document
from .errors import ElusiveError
from .positions import answer_spans, query_positions
from .runs import ProgressFunction, Stage, silent
from .shards import TokenScores, write_shard


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
            write_shard(path, scores)
            done += len(part)
    stage.finish({"documents": len(documents), "shards": len(shards), "seconds": round(time.monotonic() - began, 3)})


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
    if queries != "all" and not any(answer_spans(document, head_fields, fields) for document in documents):
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
