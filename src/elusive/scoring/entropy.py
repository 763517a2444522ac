"""How sure a model is of each token before it reads it: the entropy of what it predicts in the token's place.

Axes: B sequences, T tokens, Q positions that predict, D channels, V vocabulary.
"""

import contextlib
import dataclasses
import math
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from elusive.attention import Recorder, capture, decoder_of, recording
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.models import devices, loading
from elusive.runs.files import ProgressFunction, silent

from .independence import Measured, check_independence
from .passes import Batching, Layout, run
from .score import scorable
from .sets import QuerySet
from .shards import TokenScores
from .windows import TextQueries, TokenisedText, Window, check_vocabulary, tokenise, windows_of

_LOGITS_AT_ONCE = 1 << 22
"""Numbers that the output head writes at once, 16 MiB of float32: never tokens x vocabulary of a whole text."""

_HEADS_CHECKED: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
"""Models whose output head gave the same in parts as in a whole forward pass."""


def entropy_of_documents(
    documents: Sequence[Document],
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    settings: ScoreSettings = ScoreSettings(),
    *,
    progress: ProgressFunction = silent,
) -> list[TokenScores]:
    """Score each token by the entropy of the model's prediction in its place: H = -sum over v of p(v) ln p(v).

    The prediction is made from all that stands before the token; what the token is plays no part. Texts are batched,
    padded or packed, and cut into windows as for attention scores (see `score_documents`): every token is predicted in
    one window, with at least half a window before it. The output head runs on a part of the positions at a time.

    Args:
        documents: the texts; spans play no part.
        model: as in `score_documents`.
        tokenizer: its fast tokenizer.
        settings: max_length, max_batch_tokens and packed; all others are of attention.
        progress: called with (documents done, all documents).

    Returns:
        Of each document: `scores` are entropies in nats, 0 where `queries` is 0; `queries` is 1 for each token that is
        predicted, 0 for special tokens and for a first token without one before it.

    Raises:
        ElusiveError: if a text has no token, the model cannot be run as for attention scores, its entropies depend on
            the batch or on later tokens, its output head cannot be run in parts, or memory is too small for a batch.
    """
    with scorable(model) as base:
        return _entropies_of(documents, base, tokenizer, settings, progress)


def _entropies_of(
    documents: Sequence[Document],
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    settings: ScoreSettings,
    progress: ProgressFunction,
) -> list[TokenScores]:
    """`entropy_of_documents` with a model whose attention can be captured."""
    name = base.config.name_or_path or type(base).__name__
    max_length = settings.max_length or loading.config_context(base.config, name)
    plain = dataclasses.replace(settings, renormalise=False)
    texts = [_predicting(text) for text in tokenise(documents, tokenizer, plain, [QuerySet("all")])]
    check_vocabulary(texts, base)
    windows = [window for number, text in enumerate(texts) for window in windows_of(number, text, max_length)]
    batching = Batching.of(base, settings)
    _check_head(base)
    check_independence(base, batching, windows, max_length, _share_of_most(base, batching))
    scores = [_Entropies(text) for text in texts]
    left = np.bincount([window.text for window in windows], minlength=len(texts))
    for numbers in batching.batches(windows):
        batch = [windows[number] for number in numbers]
        for window, entropies_Q in zip(batch, _entropies(texts, batch, base, batching), strict=True):
            scores[window.text].add(window, entropies_Q)
            left[window.text] -= 1
        progress(int((left == 0).sum()), len(texts))
    return [one.scores() for one in scores]


def entropy(logits_QV: Float32[Tensor, "Q V"]) -> Float32[Tensor, " Q"]:
    """The entropy of each row's softmax, in nats; logits of -inf count for nothing.

    Example:
        >>> entropy(torch.tensor([[0.0, 0.0], [0.0, -torch.inf]]))
        tensor([0.6931, 0.0000])
    """
    return torch.special.entr(logits_QV.softmax(dim=-1)).sum(dim=-1)


def _predicting(text: TokenisedText) -> TokenisedText:
    """The text with the positions that predict its tokens as queries: each one before a token of its own."""
    predicted_Q = np.flatnonzero(~text.special)
    return dataclasses.replace(text, queries=(TextQueries(predicted_Q[predicted_Q > 0] - 1),))


class _Entropies:
    """One text's entropies, window by window."""

    def __init__(self, text: TokenisedText) -> None:
        self._text = text
        self._entropy_T = np.zeros(len(text.token_ids), dtype=np.float32)
        self._predicted_T = np.zeros(len(text.token_ids), dtype=np.int32)

    def add(self, window: Window, entropies_Q: np.ndarray) -> None:
        """Add what the queries of one window predict."""
        predicted_Q = window.positions[window.is_query_SN[0]] + 1
        self._entropy_T[predicted_Q] = entropies_Q
        self._predicted_T[predicted_Q] = 1

    def scores(self) -> TokenScores:
        """All of them."""
        text = self._text
        return TokenScores(text.document.id, text.token_ids, text.offsets, self._entropy_T, self._predicted_T)


def _entropies(
    texts: Sequence[TokenisedText], batch: Sequence[Window], base: PreTrainedModel, batching: Batching
) -> list[np.ndarray]:
    """Of each window, the entropies at its queries, float32 (queries,)."""
    layout = Layout.of(batch, batching)
    queries_BT = layout.spread([window.is_query_SN[0] for window in batch], False)
    rows_Q, places_Q = queries_BT.nonzero(as_tuple=True)
    with layout.enough_memory(), torch.inference_mode():
        # Without queries the layers capture nothing, but keep the masks of packed texts.
        recorder = Recorder(
            torch.zeros(layout.shape, device=devices.decoder_device(base)), lengths=layout.packed_lengths
        )
        output = run(texts, batch, base, recorder, layout, batching)
        states_BTD = output.last_hidden_state
        states_QD = states_BTD[rows_Q.to(states_BTD.device), places_Q.to(states_BTD.device)]
        parts = [entropy(logits_QV).cpu().numpy() for logits_QV in _logits(base, output, states_QD)]
    ends = np.cumsum([np.count_nonzero(window.is_query_SN[0]) for window in batch])
    return np.split(np.concatenate(parts), ends[:-1])


def _logits(base: PreTrainedModel, output: Any, states_QD: Tensor) -> Iterator[Tensor]:
    """The logits of some states of the decoder, float32 (positions, vocabulary), a part of the positions at a time.

    Architectures scale and cap their logits, each in its own forward method, so that method runs: on states that the
    decoder gave before.
    """
    at_once = max(1, _LOGITS_AT_ONCE // base.config.get_text_config(decoder=True).vocab_size)
    for part_QD in states_QD.split(at_once):
        with _decoder_gives(base, type(output)(**{**output, "last_hidden_state": part_QD[None]})):
            ids_1Q = torch.zeros(1, len(part_QD), dtype=torch.long, device=part_QD.device)
            yield base(input_ids=ids_1Q, use_cache=False).logits[0].float()


@contextlib.contextmanager
def _decoder_gives(base: PreTrainedModel, output: Any) -> Iterator[None]:
    """Run the block with a decoder that gives this output, whatever it is called with."""
    decoder = decoder_of(base)
    own = vars(decoder).get("forward")  # accelerate puts one there
    decoder.forward = lambda *_, **__: output
    try:
        yield
    finally:
        del decoder.forward
        if own is not None:
            decoder.forward = own


def _check_head(base: PreTrainedModel) -> None:
    """See once that the output head gives for single states what it gives in a whole forward pass.

    Raises:
        ElusiveError: if it does not.
    """
    if base in _HEADS_CHECKED:
        return
    generator = np.random.default_rng(0)
    vocabulary, device = base.config.get_text_config(decoder=True).vocab_size, devices.decoder_device(base)
    ids_1T = torch.from_numpy(generator.integers(0, vocabulary, (1, 4)))
    with torch.inference_mode(), recording(Recorder(torch.zeros(1, 4, device=device))):
        whole_TV = base(input_ids=ids_1T.to(device), use_cache=False).logits[0].float()
    with torch.inference_mode():
        output = capture(base, Recorder(torch.zeros(1, 4, device=device)), ids_1T.to(device))
        states_TD = output.last_hidden_state[0]
        parts_TV = torch.cat([one for state in states_TD for one in _logits(base, output, state[None])])
    error = float((entropy(whole_TV) - entropy(parts_TV.to(whole_TV.device))).abs().max())
    if not error <= (1e-3 if base.dtype == torch.float32 else 0.1):
        raise ElusiveError(
            f"{type(base).__name__} cannot be scored by entropy: its output head gives other predictions on single "
            f"states than in a forward pass (entropies differ by {error:.1e} nats). Choose a model of another family."
        )
    _HEADS_CHECKED.add(base)


def _share_of_most(base: PreTrainedModel, batching: Batching) -> Measured:
    """Entropies as shares of the largest that there can be, to see that they depend on nothing else."""
    most = math.log(base.config.get_text_config(decoder=True).vocab_size)

    def shares(texts: Sequence[TokenisedText], batch: Sequence[Window]) -> np.ndarray:
        return _entropies(texts, batch, base, batching)[0] / most

    return Measured("entropy", shares)
