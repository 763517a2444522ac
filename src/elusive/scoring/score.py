"""Attention scores: how much each token of a text receives from the query positions, in one model."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from elusive.attention.forward import check_layers
from elusive.attention.switching import capturable
from elusive.config.checks import layer_and_head
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.corpus.readers.given import Given, documents_of
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.runs.files import ProgressFunction, silent
from elusive.runs.frames import Joined

from .independence import Measured, check_independence
from .passes import Batching, CapturePlan, forward
from .sets import QuerySet
from .shards import Kept, TokenScores
from .sums import TextSums
from .windows import TokenisedText, Window, check_vocabulary, seeing_queries, tokenise, windows_of


def score_documents(
    documents: Given,
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    settings: ScoreSettings = ScoreSettings(),
    *,
    fields: Sequence[str] = (),
    layers: Sequence[int] = (),
    heads: Sequence[str] = (),
    keep: Collection[Kept] = (),
    progress: ProgressFunction = silent,
) -> Joined[TokenScores]:
    """Score each token by the mean attention that it receives from the queries that see it.

    Texts are batched by length and padded on the right (or packed in one row), and each is cut after its last query:
    attention is causal, so neither changes a score. Where a model chooses its rotary frequencies by the longest text
    of a pass (LongRoPE, dynamic NTK), only texts of the same frequencies share one, and a text that was cut keeps
    those of its whole length; `check_independence` sees that this holds.

    A text longer than `settings.max_length` is read in overlapping windows, each half a window on; every query is read
    in one window, with at least half a window of context before it, and a token's count holds only the queries that
    share a window with it. Nothing after the last layer's attention runs.

    Args:
        documents: the texts and their spans; see `documents_of` for what is taken in place of Documents.
        model: a causal language model, whatever attention it was loaded with, LoRA adapters on it or not. It is left
            as it was found: its attention and its mode, training or evaluation, are its own again.
        tokenizer: its fast tokenizer.
        settings: which positions are queries (see `query_positions`), and how their attention is averaged and batched.
        fields: only spans of these fields (empty: all but the head fields).
        layers: layers whose heads are averaged, from 0; layers behind the last chosen one do not run.
        heads: single heads "layer.head" to average, in addition to those of `layers` (both empty: all).
        keep: what to keep in addition: `heads`, the scores of every head, whatever `layers` and `heads` choose;
            `sentences`, what each sentence's queries give alone.
        progress: called with (documents done, all documents).

    Returns:
        The scores of each document, in the order given; the arrays cover all its tokens. As a list, and a table with
        a row for each token (`to_pandas`, `to_polars`, `to_datasets`).

    Raises:
        ElusiveError: if a text has no token, a span holds none, a layer does not report its attention, a chosen layer
            or head does not exist, scores depend on the batch or on later tokens, or memory is too small for a batch.

    Reference:
        s(k) in the reading notes; Gao et al. 2025, arXiv 2409.17954.
    """
    query_set = QuerySet(settings.queries, tuple(fields), "sentences" in keep)
    (scores,) = score_query_sets(
        documents_of(documents),
        model,
        tokenizer,
        settings,
        [query_set],
        layers=layers,
        heads=heads,
        per_head="heads" in keep,
        progress=progress,
    )
    return Joined(scores)


def score_query_sets(
    documents: Collection[Document],
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    settings: ScoreSettings,
    query_sets: Sequence[QuerySet],
    *,
    layers: Sequence[int] = (),
    heads: Sequence[str] = (),
    per_head: bool = False,
    progress: ProgressFunction = silent,
) -> list[list[TokenScores]]:
    """`score_documents` for several query sets at once: each text runs once, up to the last query of them all.

    A further query set costs some products of a few rows. That a text runs up to a later query of another set costs
    nothing more, because the other set would run it that far anyway.

    Args:
        documents: as there.
        model: as there.
        tokenizer: as there.
        settings: as there, but for the queries.
        query_sets: which positions are queries, for one list of scores after the other.
        layers: as there.
        heads: as there.
        per_head: keep the scores of every head.
        progress: as there.

    Returns:
        For each query set the scores of each document.

    Raises:
        ElusiveError: as `score_documents`.
    """
    with scorable(model) as base:
        plan = _capture_plan(base, settings.include_self, layers, heads, per_head)
        return _score(documents, base, tokenizer, settings, query_sets, plan, progress)


def _score(
    documents: Collection[Document],
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    settings: ScoreSettings,
    query_sets: Sequence[QuerySet],
    plan: CapturePlan,
    progress: ProgressFunction,
) -> list[list[TokenScores]]:
    """`score_query_sets` with a model whose attention can be captured."""
    name = base.config.name_or_path or type(base).__name__
    max_length = settings.max_length or loading.config_context(base.config, name)
    texts = tokenise(list(documents), tokenizer, settings, query_sets)
    check_vocabulary(texts, base)
    windows = [window for i, text in enumerate(texts) for window in windows_of(i, text, max_length)]
    heads_LH = (plan.layers, int(base.config.get_text_config(decoder=True).num_attention_heads))
    kept = heads_LH if plan.per_head else None
    sums = [[TextSums(text, number, kept) for number in range(len(query_sets))] for text in texts]
    left = np.bincount([window.text for window in windows], minlength=len(texts))
    progress(int((left == 0).sum()), len(texts))
    batching = Batching.of(base, settings)
    check_independence(base, batching, windows, max_length, _attention(base, batching))
    for numbers in batching.batches(windows):
        batch = [windows[number] for number in numbers]
        for window, of_sets in zip(batch, forward(texts, batch, base, plan, batching), strict=True):
            for one, received in zip(sums[window.text], of_sets, strict=True):
                one.add(window, received, settings.include_self)
            left[window.text] -= 1
        progress(int((left == 0).sum()), len(texts))
    return [[of_sets[number].scores() for of_sets in sums] for number in range(len(query_sets))]


def _attention(base: PreTrainedModel, batching: Batching) -> Measured:
    """The scores of all layers, to see that they depend on nothing else."""
    plan = CapturePlan(True, None, int(base.config.get_text_config(decoder=True).num_hidden_layers), False)

    def received(texts: Sequence[TokenisedText], batch: Sequence[Window]) -> np.ndarray:
        (first,), *_ = forward(texts, batch, base, plan, batching)
        return first.sums_MN[0] / np.maximum(seeing_queries(batch[0].is_query_SN[0], True), 1)

    return Measured("attention", received)


def _capture_plan(
    base: PreTrainedModel, include_self: bool, layers: Sequence[int], heads: Sequence[str], per_head: bool
) -> CapturePlan:
    """The chosen layers and heads as weights; raises ElusiveError where the model has no such layer or head."""
    config = base.config.get_text_config(decoder=True)
    shape = int(config.num_hidden_layers), int(config.num_attention_heads)
    if not layers and not heads:
        return CapturePlan(include_self, None, shape[0], per_head)
    weights_LH = torch.zeros(shape)
    for layer in layers:
        if not 0 <= layer < shape[0]:
            raise ElusiveError(f"Expected layers from 0 to {shape[0] - 1} of {type(base).__name__}, got {layer}.")
        weights_LH[layer] = 1
    for name in heads:
        layer, head = layer_and_head(name)
        if layer >= shape[0] or head >= shape[1]:
            raise ElusiveError(
                f"Expected heads of {type(base).__name__}, which has {shape[0]} layers of {shape[1]} query heads (0.0 "
                f"to {shape[0] - 1}.{shape[1] - 1}), got {name!r}."
            )
        weights_LH[layer, head] = 1
    last = int(weights_LH.any(1).nonzero().max()) + 1
    # Layers behind the last chosen one run only for their own sake.
    return CapturePlan(include_self, weights_LH[:last], shape[0] if per_head else last, per_head)


@contextlib.contextmanager
def scorable(model: Any) -> Iterator[PreTrainedModel]:
    """The transformers model without peft's wrapper (LoRA layers stay in it), so that its layers report attention.

    Its own attention and mode are back after the block.

    Raises:
        ElusiveError: if it adds tokens to a text, or its layers do not report their attention.
    """
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ElusiveError("Prompt and prefix tuning add tokens that are not in the text. Score a LoRA or plain model.")
    base = loading.innermost(model)
    if not isinstance(base, PreTrainedModel):
        raise ElusiveError(
            f"Expected a causal language model of transformers, got {type(model).__name__}. Load one with "
            "AutoModelForCausalLM.from_pretrained, or give its name to Pair.load."
        )
    with capturable(base):
        check_layers(base)
        yield base
