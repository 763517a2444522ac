"""What a run will cost, before anything is loaded: floating-point operations, memory and hours, from sizes alone.

The formula is stated in docs/planning.md. FLOPs are those of matrix products, two for each multiplication and
addition; bytes are those of one device that holds everything.
"""

import copy
import dataclasses
import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from .config import AugmentSettings, Precision, Quantization, Recipe, TrainSettings
from .documents import Document, Span
from .dropout import ARMS, drop_probability
from .errors import ElusiveError
from .models import config_context
from .pipeline import NeededScores, needed_scores, scores_of_arm
from .training import default_row_length, draws_for, model_to_train

PEAK_FLOPS_A_SECOND = 989e12
"""Dense bf16 products of an NVIDIA H100 (SXM), from its data sheet."""
UTILISATION = 0.4
"""Share of them that large models reach in training; assumed, not measured."""
DEVICE_BYTES = 80 * 10**9

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
_QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""Of a weight of a linear layer: LLM.int8, and NF4 with a float32 scale for each 64."""
_LOGIT_BYTES = 12
"""Of a token and vocabulary entry: float32 logits, their log-softmax and their gradient."""
_MAP_BYTES = 8
"""Of a pair of tokens and a head where soft-capped attention keeps its maps: capped, softmax in float32, rounded."""
_GPU_BATCH_TOKENS = 16_384
_TILE_BYTES = 2**28
"""Scores of attention that a reading on a GPU holds at once (see tiles.py)."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a dense decoder, from which its costs follow.

    Attributes:
        name: for tables.
        hidden_size: width of the hidden state.
        layers: decoder layers.
        heads: query heads of a layer.
        key_value_heads: key-value heads of a layer.
        head_size: channels of a head.
        intermediate_size: width within the feed-forward part.
        vocabulary: entries of the embedding.
        gated: three feed-forward matrices (gate, up, down) instead of two.
        tied: the output head is the embedding.
        others: parameters outside the matrices: norms, biases, learned positions.
        norms: norms of the hidden state in a layer.
        capped: attention logits are soft-capped (Gemma 2), so that its maps are kept for the backward pass.
        adapter_sides: inputs plus outputs of all linear layers; 0: query, key, value and so on are layers of their own.
        context: longest text in tokens (0: not known).
    """

    name: str
    hidden_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    intermediate_size: int
    vocabulary: int
    gated: bool = True
    tied: bool = False
    others: int = 0
    norms: int = 2
    capped: bool = False
    adapter_sides: int = 0
    context: int = 0

    @property
    def query_width(self) -> int:
        """Channels of all query heads."""
        return self.heads * self.head_size

    @property
    def key_value_width(self) -> int:
        """Channels of all keys, and of all values."""
        return self.key_value_heads * self.head_size

    @property
    def entering_parameters(self) -> int:
        """Of the matrices that make one layer's queries, keys and values."""
        return self.hidden_size * (self.query_width + 2 * self.key_value_width)

    @property
    def leaving_parameters(self) -> int:
        """Of the matrices behind one layer's attention: its output and the feed-forward part."""
        return self.hidden_size * (self.query_width + (3 if self.gated else 2) * self.intermediate_size)

    @property
    def linear_parameters(self) -> int:
        """Of all linear layers but the output head: what adapters stand on."""
        return self.layers * (self.entering_parameters + self.leaving_parameters)

    @property
    def head_parameters(self) -> int:
        """Of the output head, and as many of the embedding."""
        return self.vocabulary * self.hidden_size

    @property
    def parameters(self) -> int:
        """All of them; a tied head counts once."""
        return self.linear_parameters + (1 if self.tied else 2) * self.head_parameters + self.others

    def lora_parameters(self, rank: int) -> int:
        """Of adapters of this rank on every linear layer but the output head.

        Reference:
            Hu et al. 2022: rank x (inputs + outputs) of each.
        """
        if self.adapter_sides:
            return rank * self.adapter_sides
        attention = 4 * self.hidden_size + 2 * self.query_width + 2 * self.key_value_width
        forward = (3 if self.gated else 2) * (self.hidden_size + self.intermediate_size)
        return rank * self.layers * (attention + forward)


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run.

    Attributes:
        name: what is done.
        times: how often: seeds x trials.
        tokens: of one time.
        flops: floating-point operations of one time.
        peak_bytes: memory at most, if one device holds everything.
        note: what the figures rest on, in words.
    """

    name: str
    times: int
    tokens: int
    flops: float
    peak_bytes: int
    note: str = ""


def shape_of(config: Any, name: str) -> ModelShape:
    """The shape of a model from its configuration; no weights are read.

    The architecture is laid out without memory, so that what is counted are its own matrices.

    Args:
        config: of transformers, see `models.load_configs`.
        name: of the model, for tables and messages.

    Raises:
        ElusiveError: if it is no plain decoder: with experts, latent attention and the like.
    """
    text = copy.deepcopy(config.get_text_config(decoder=True))
    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _not_planned(name, str(error).splitlines()[0]) from error
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    linear = [one for one in model.modules() if isinstance(one, torch.nn.Linear | Conv1D) and one is not head]
    hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
    shape = ModelShape(
        name,
        hidden,
        int(text.num_hidden_layers),
        heads,
        int(getattr(text, "num_key_value_heads", None) or heads),
        int(getattr(text, "head_dim", None) or hidden // heads),
        intermediate_size=0,
        vocabulary=embedding.weight.numel() // hidden,
        tied=head.weight is embedding.weight,
        norms=max(0, sum(_is_norm(one, hidden) for one in model.modules()) - 1) // int(text.num_hidden_layers),
        capped=bool(getattr(text, "attn_logit_softcapping", None)),
        adapter_sides=sum(sum(one.weight.shape) for one in linear),
        context=_context(text, name),
    )
    shape = _with_feed_forward(shape, text, sum(one.weight.numel() for one in linear))
    return dataclasses.replace(shape, others=sum(one.numel() for one in model.parameters()) - shape.parameters)


def _with_feed_forward(shape: ModelShape, text: Any, weights: int) -> ModelShape:
    """The shape whose linear layers have so many weights in all: architectures do not say whether they are gated."""
    widths = [getattr(text, key, None) for key in ("intermediate_size", "n_inner")] + [4 * shape.hidden_size]
    for width, gated in itertools.product(widths, (True, False)):
        if isinstance(width, int):
            found = dataclasses.replace(shape, intermediate_size=width, gated=gated)
            if found.linear_parameters == weights:
                return found
    raise _not_planned(shape.name, f"its linear layers have {weights:,} weights, which its sizes do not explain")


def _not_planned(name: str, reason: str) -> ElusiveError:
    return ElusiveError(
        f"The costs of {name} cannot be planned: {reason}. Expected a plain decoder (Llama, Gemma, Qwen, Mistral, "
        "GPT-NeoX ...), without experts or latent attention."
    )


def _is_norm(module: torch.nn.Module, width: int) -> bool:
    weight = getattr(module, "weight", None)
    return "norm" in type(module).__name__.lower() and weight is not None and tuple(weight.shape) == (width,)


def _context(text: Any, name: str) -> int:
    try:
        return config_context(text, name)
    except ElusiveError:
        return 0


def scoring_flops(shape: ModelShape, lengths: Sequence[float] | np.ndarray, *, layers: int = 0) -> float:
    """FLOPs of reading attention out: no output head, and in the last layer nothing behind its scores.

    Args:
        shape: the model.
        lengths: tokens of each text or window; texts are cut after their last query, so that whole ones are the most.
        layers: how many run, if heads were chosen (0: all).
    """
    layers = layers or shape.layers
    tokens, squares = _sums(lengths)
    matrices = layers * shape.entering_parameters + (layers - 1) * shape.leaving_parameters
    return 2.0 * matrices * tokens + (layers - 0.5) * _attention_flops(shape, squares)


def training_flops(
    shape: ModelShape,
    lengths: Sequence[float] | np.ndarray,
    *,
    passes: float = 1.0,
    method: Literal["lora", "full"] = "lora",
    lora_rank: int = 16,
    activation_checkpointing: bool = False,
) -> float:
    """FLOPs of training: forward, backward for activations, backward for weights, of what has them.

    Args:
        shape: the model.
        lengths: tokens of each row of one pass.
        passes: over these rows: rows trained on in all, divided by those of a pass.
        method: all weights are trained, or adapters on frozen ones, which get no gradients.
        lora_rank: rank of the adapters.
        activation_checkpointing: the layers run forward twice.
    """
    tokens, squares = _sums(lengths)
    layers, head = 2.0 * shape.linear_parameters * tokens, 2.0 * shape.head_parameters * tokens
    attention = shape.layers * _attention_flops(shape, squares)
    adapters = 2.0 * shape.lora_parameters(lora_rank) * tokens if method == "lora" else 0.0
    runs_of_weights = 2 if method == "lora" else 3
    flops = runs_of_weights * (layers + head) + 3 * (attention + adapters)
    again = layers + attention + adapters if activation_checkpointing else 0.0
    return passes * (flops + again)


def answering_flops(shape: ModelShape, prompt_tokens: float, answer_tokens: float) -> float:
    """FLOPs of one question: the prompt but its last token up to the last layer's keys, then token by token.

    Args:
        shape: the model.
        prompt_tokens: of the prompt, at least 1; what prompts begin with in common is read once, so this is the most.
        answer_tokens: of the answer, the token that ends it included.
    """
    read = prompt_tokens - 1
    matrices = shape.layers * shape.entering_parameters + (shape.layers - 1) * shape.leaving_parameters
    reading = 2.0 * matrices * read + (shape.layers - 1) * _attention_flops(shape, read**2)
    seen = answer_tokens * prompt_tokens + answer_tokens * (answer_tokens - 1) / 2
    writing = 2.0 * (shape.linear_parameters + shape.head_parameters) * answer_tokens
    return reading + writing + shape.layers * _attention_flops(shape, seen)


def _sums(lengths: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Tokens, and pairs of tokens of one text."""
    lengths_N = np.asarray(lengths, dtype=np.float64)
    return float(lengths_N.sum()), float((lengths_N**2).sum())


def _attention_flops(shape: ModelShape, pairs: float) -> float:
    """Of one layer: scores, and their sums of values."""
    return 4.0 * shape.query_width * pairs


def training_bytes(
    shape: ModelShape,
    *,
    tokens: float,
    longest_row: float,
    method: Literal["lora", "full"] = "lora",
    quantization: Quantization = "none",
    dtype: str = "float32",
    precision: Precision = "auto",
    lora_rank: int = 16,
    activation_checkpointing: bool = False,
) -> dict[str, int]:
    """Memory of training by what takes it; the sum is the peak, or a little more.

    Args:
        shape: the model.
        tokens: that go through it at once: those of a step, over its accumulated parts.
        longest_row: tokens of the longest text among them.
        method: all weights are trained, or adapters.
        quantization: of the weights under adapters; all others are then held in float32, as peft has it.
        dtype: weights' type otherwise.
        precision: of training; auto counts as bf16.
        lora_rank: rank of the adapters, which are float32.
        activation_checkpointing: of each layer its input alone is kept.

    Returns:
        Bytes of weights (adapters among them), casts (weights in the type that products are taken in), gradients,
        optimizer (AdamW's two averages), activations and logits.
    """
    held = 4 if quantization != "none" else _BYTES[dtype]
    computed = held if precision == "fp32" else 2
    trained = shape.parameters * held if method == "full" else shape.lora_parameters(lora_rank) * 4
    weights = _weight_bytes(shape, quantization, held) + (trained if method == "lora" else 0)
    of_layer = tokens * _kept_bytes(shape, longest_row, held, computed, method)
    if activation_checkpointing:
        activations = of_layer + tokens * shape.layers * shape.hidden_size * held
    else:
        activations = of_layer * shape.layers
    return {
        "weights": weights,
        "casts": _cast_bytes(shape, quantization, held, computed, method == "lora" and activation_checkpointing),
        "gradients": trained,
        "optimizer": 2 * trained,
        "activations": round(activations),
        "logits": round(tokens * shape.vocabulary * _LOGIT_BYTES),
    }


def _weight_bytes(shape: ModelShape, quantization: Quantization, held: int) -> int:
    linear = shape.linear_parameters
    return (shape.parameters - linear) * held + round(linear * _QUANTIZED_BYTES.get(quantization, held))


def _cast_bytes(shape: ModelShape, quantization: Quantization, held: int, computed: int, of_one_layer: bool) -> int:
    """Autocast keeps a copy of each float32 weight for the backward pass; quantised ones are unpacked one by one."""
    head = shape.head_parameters * computed if held != computed else 0
    if quantization != "none":
        return head + shape.hidden_size * shape.intermediate_size * computed
    linear = shape.linear_parameters // (shape.layers if of_one_layer else 1)
    return head + (linear * computed if held != computed else 0)


def _kept_bytes(shape: ModelShape, longest: float, held: int, computed: int, method: str) -> float:
    """What one layer keeps of a token for its backward pass, as transformers' Llama and Gemma 2 do (tested)."""
    # A cast input is a copy for each matrix that takes it: under autocast of float32, and under float32 adapters.
    cast = computed == 2 and (held == 4 or method == "lora")
    inputs = (5 if shape.gated else 4) if cast else 2
    # Gate, its activation, up and their product; or up and its activation.
    forward = 4 if shape.gated else 2
    products = forward * shape.intermediate_size + inputs * shape.hidden_size
    # Queries, keys, values, the output, and its copy that goes into the next matrix.
    products += 3 * shape.query_width + 2 * shape.key_value_width
    # A norm keeps its input in float32, and its result where its own weight is trained.
    norms = shape.norms * shape.hidden_size * (4 + (held if method == "full" else 0))
    maps = _MAP_BYTES * shape.heads * longest if shape.capped else 0
    return computed * products + norms + maps


def scoring_bytes(
    shape: ModelShape,
    *,
    batch_tokens: float,
    longest: float,
    quantization: Quantization = "none",
    dtype: str = "float32",
) -> dict[str, int]:
    """Memory of reading attention out: bytes of weights, and of one layer at work on a batch.

    Args:
        shape: the model.
        batch_tokens: tokens in one forward pass.
        longest: tokens of the longest text among them.
        quantization: of the linear layers' weights.
        dtype: weights' type otherwise.
    """
    held = _BYTES[dtype]
    working = _working_bytes(dataclasses.replace(shape, capped=False), batch_tokens, longest, held)  # maps go by tiles
    return {"weights": _weight_bytes(shape, quantization, held), "activations": working + _TILE_BYTES}


def answering_bytes(
    shape: ModelShape,
    *,
    batch_tokens: float,
    longest: float,
    quantization: Quantization = "none",
    dtype: str = "float32",
) -> dict[str, int]:
    """Memory of answering questions: bytes of weights, of the batch's keys and values, and of one layer at work on it.

    Args:
        shape: the model.
        batch_tokens: tokens of prompts and answers in one batch.
        longest: tokens of the longest prompt with its answer.
        quantization: of the linear layers' weights.
        dtype: weights' type otherwise.
    """
    held = _BYTES[dtype]
    return {
        "weights": _weight_bytes(shape, quantization, held),
        "cache": round(batch_tokens * 2 * shape.layers * shape.key_value_width * held),
        "activations": _working_bytes(shape, batch_tokens, longest, held),
    }


def _working_bytes(shape: ModelShape, tokens: float, longest: float, held: int) -> int:
    """One layer without gradients: three of the feed-forward part's states, the hidden one, its norm in float32."""
    maps = _MAP_BYTES * shape.heads * longest if shape.capped else 0
    return round(tokens * (held * (3 * shape.intermediate_size + 2 * shape.hidden_size) + 8 * shape.hidden_size + maps))


DropRate = Callable[[str], float] | Mapping[str, float]


@dataclass(frozen=True)
class _Sizes:
    """What `plan_recipe` is told of models and corpus."""

    shapes: Mapping[str, ModelShape]
    documents: int
    lengths_N: np.ndarray
    questions: int
    known: int
    prompt_tokens: float
    answer_tokens: float
    drop_rate: DropRate | None
    ranked_share: float
    replay_tokens: float

    def shape(self, model: str) -> ModelShape:
        if model not in self.shapes:
            raise ElusiveError(
                f"shapes: expected the shape of the {model} model, got {', '.join(self.shapes) or 'none'}. Give "
                "shape_of(...) for each model that the recipe scores or trains."
            )
        return self.shapes[model]


def plan_recipe(
    recipe: Recipe,
    *,
    shapes: Mapping[str, ModelShape],
    documents: int,
    document_tokens: Sequence[int],
    questions: int,
    prompt_tokens: float,
    answer_tokens: float,
    trials: Sequence[tuple[str, Recipe]] | None = None,
    drop_rate: DropRate | None = None,
    ranked_share: float = 0.9,
    replay_tokens: float = 0.0,
    known: int = 0,
) -> list[PlannedStage]:
    """What each stage of a run costs, in their order: scores, trainings, answers.

    Args:
        recipe: the run.
        shapes: of the models by their names in it: large, small, and trained where that is neither of the two.
        documents: how many there are.
        document_tokens: tokens of each, special ones included, or of a sample that stands for all.
        questions: how many are asked (0: none).
        prompt_tokens: of a prompt with its shots, on average.
        answer_tokens: of an answer, on average.
        trials: arms and their recipes, each trained with all its seeds (None: the recipe's arms).
        drop_rate: of an arm, the mean share of ranked tokens that its copies drop (mean_drop_rate of an augmented
            folder), where it is known; else Equation 1 gives it.
        ranked_share: share of a document's tokens that are ranked, neither special nor excluded.
        replay_tokens: of a replay text, on average (0: as many as a document has).
        known: questions about people known before, asked at the end alone (see evaluate.known).

    Raises:
        ElusiveError: if there are no documents, or a shape is missing.
    """
    lengths_N = np.asarray(document_tokens, dtype=np.float64)
    if documents < 1 or not len(lengths_N) or lengths_N.min() < 1:
        raise ElusiveError(
            f"document_tokens: expected the tokens of {documents} documents or of a sample of them, got "
            f"{len(lengths_N)} numbers. Give at least one of 1 or more."
        )
    sizes = _Sizes(
        shapes=shapes,
        documents=documents,
        lengths_N=lengths_N,
        questions=questions,
        known=known,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        drop_rate=drop_rate,
        ranked_share=ranked_share,
        replay_tokens=replay_tokens or float(lengths_N.mean()) + 1,
    )
    if trials is None:
        readings = dict.fromkeys(needed_scores(recipe, [_marked_document(recipe)]), 1)
        trials = [(arm, recipe) for arm in recipe.arms]
    else:
        # Trials of a sweep may name the untrained model in an arm's place.
        trials = [(arm, one) for arm, one in trials if arm in ARMS]
        readings = _readings(trials)
    return [
        *(_scoring_stage(recipe, needed, times, sizes) for needed, times in readings.items()),
        *_training_stages(trials, sizes),
        *_answering_stages(recipe, trials, sizes),
    ]


def _readings(trials: Sequence[tuple[str, Recipe]]) -> dict[NeededScores, int]:
    """Which scores the trials need, model by model, and in how many ways these are read out."""
    ways: dict[NeededScores, set[Any]] = {}
    for arm, recipe in trials:
        for needed in scores_of_arm(arm, recipe):
            score = dataclasses.replace(recipe.score, queries="all")  # `needed` says which
            ways.setdefault(needed, set()).add((score, _chosen_heads(recipe, needed[0])))
    models = [model for model, *_ in ways]
    return {needed: len(ways[needed]) for needed in sorted(ways, key=lambda one: models.index(one[0]))}


def _marked_document(recipe: Recipe) -> Document:
    """What tells `needed_scores` whether the corpus marks answers: it does where cues are read."""
    pair = [Span(field, place, place + 1) for place, field in enumerate((*recipe.score.head_fields[:1], "answer"))]
    marked = recipe.score.queries != "all" or "contrast-cues" in recipe.arms or recipe.corpus.source == "biographies"
    return Document("example", "ab", tuple(pair) if marked else ())


def _chosen_heads(recipe: Recipe, model: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    models = recipe.models
    pair = {"large": (models.large_layers, models.large_heads), "small": (models.small_layers, models.small_heads)}
    return pair.get(model, ((), ()))


def _scoring_stage(recipe: Recipe, needed: NeededScores, times: int, sizes: _Sizes) -> PlannedStage:
    model, queries, field = needed
    shape = sizes.shape(model)
    documents = min(sizes.documents, recipe.report.cue_documents) if field else sizes.documents
    windows = _windows(sizes.lengths_N, recipe.score.max_length or shape.context)
    share, longest = documents / len(sizes.lengths_N), float(windows.max())
    layers, heads = _chosen_heads(recipe, model)
    chosen = [*layers, *(int(head.split(".")[0]) for head in heads)]
    tokens = windows.sum() * share
    peak = scoring_bytes(
        shape,
        batch_tokens=min(tokens, max(recipe.score.max_batch_tokens or _GPU_BATCH_TOKENS, longest)),
        longest=longest,
        quantization=recipe.models.quantization,
        dtype=recipe.models.dtype,
    )
    return PlannedStage(
        name=f"score {model}, {'one cue' if field else queries}",
        times=times,
        tokens=round(tokens),
        flops=share * scoring_flops(shape, windows, layers=max(chosen) + 1 if chosen else 0),
        peak_bytes=sum(peak.values()),
        note=f"{shape.name}" + (f"; for the report, {documents:,} documents" if field else ""),
    )


def _windows(lengths_N: np.ndarray, longest: int) -> np.ndarray:
    """Tokens of each window that texts are read in: whole, or overlapping by half."""
    if not longest or lengths_N.max() <= longest:
        return lengths_N
    stride, windows = max(1, longest // 2), list(lengths_N[lengths_N <= longest])
    for length in lengths_N[lengths_N > longest]:
        starts = np.arange(1 + math.ceil((length - longest) / stride)) * stride
        windows.extend(np.minimum(longest, length - starts))
    return np.array(windows)


def _training_stages(trials: Sequence[tuple[str, Recipe]], sizes: _Sizes) -> list[PlannedStage]:
    """One for each arm, and for each choice of settings that costs something else."""
    times: dict[PlannedStage, int] = {}
    for arm, recipe in trials:
        stage = _training_stage(arm, recipe, sizes)
        times[stage] = times.get(stage, 0) + len(recipe.seeds)
    return [dataclasses.replace(stage, times=count) for stage, count in times.items()]


def _training_stage(arm: str, recipe: Recipe, sizes: _Sizes) -> PlannedStage:
    model, *_ = model_to_train(recipe.models, recipe.train)
    shape, settings = sizes.shape(model), recipe.train
    rate = _drop_rate(arm, recipe.augment, sizes)
    rows = _rows(arm, recipe, rate, shape, sizes)
    in_a_pass = round(len(rows) * sizes.documents / len(sizes.lengths_N))
    draws = draws_for(in_a_pass, settings)
    steps = math.ceil(draws / settings.batch_size)
    replayed = steps * settings.replay_batch_size if settings.replay else 0
    replay = np.array([sizes.replay_tokens])
    costs: dict[str, Any] = {
        "method": settings.method,
        "lora_rank": settings.lora_rank,
        "activation_checkpointing": settings.activation_checkpointing,
    }
    flops = training_flops(shape, rows, passes=draws / len(rows), **costs)
    flops += training_flops(shape, replay, passes=replayed, **costs)
    dropped = f", copies without {rate:.0%} of their ranked tokens" if rate else ""
    return PlannedStage(
        name=f"train {model}: {arm}",
        times=1,
        tokens=round(draws * rows.sum() / len(rows) + replayed * sizes.replay_tokens),
        flops=flops,
        peak_bytes=sum(_training_peak(recipe, shape, rows, sizes).values()),
        note=f"{settings.method}; {draws / in_a_pass:g} passes of {in_a_pass:,} rows, {steps:,} steps{dropped}",
    )


def _training_peak(recipe: Recipe, shape: ModelShape, rows: np.ndarray, sizes: _Sizes) -> dict[str, int]:
    """The longest rows share a step, as rows of like lengths do."""
    settings = recipe.train
    # Each document of a sample stands for several.
    some = math.ceil(settings.batch_size * len(sizes.lengths_N) / sizes.documents)
    longest = np.sort(rows)[-some:]
    tokens = float(longest.mean()) * settings.batch_size
    tokens += sizes.replay_tokens * settings.replay_batch_size if settings.replay else 0
    return training_bytes(
        shape,
        tokens=tokens / settings.accumulation,
        longest_row=float(longest[-1]),
        method=settings.method,
        quantization=recipe.models.quantization,
        dtype=recipe.models.dtype,
        precision=settings.precision,
        lora_rank=settings.lora_rank,
        activation_checkpointing=settings.activation_checkpointing,
    )


def _drop_rate(arm: str, settings: AugmentSettings, sizes: _Sizes) -> float:
    """Mean share of ranked tokens that an arm's copies drop; in the guided arms by Equation 1 over all ranks."""
    if arm == "plain":
        return 0.0
    given = sizes.drop_rate
    if callable(given):
        return given(arm)
    if given is not None and arm in given:
        return given[arm]
    if arm == "random":
        return settings.alpha
    counts = Counter(np.maximum(1, np.rint(sizes.ranked_share * (sizes.lengths_N - 1))).astype(int).tolist())
    dropped = sum(
        times * drop_probability(np.arange(1, ranked + 1), settings.alpha, settings.beta).sum()
        for ranked, times in counts.items()
    )
    return float(dropped / sum(ranked * times for ranked, times in counts.items()))


def _rows(arm: str, recipe: Recipe, rate: float, shape: ModelShape, sizes: _Sizes) -> np.ndarray:
    """Tokens of each row of one pass: of originals and copies, each with an end of text, cut at the longest row."""
    originals_N = sizes.lengths_N + 1
    # Overwritten by spaces, dropped tokens leave tokens behind: at most as many.
    dropped = 0.0 if recipe.augment.blank else sizes.ranked_share * rate
    copies_N = originals_N - dropped * (sizes.lengths_N - 1)
    copies = 0 if arm == "plain" else recipe.augment.copies
    texts_N = np.concatenate([originals_N, np.repeat(copies_N, copies)])
    pieces_N = np.ceil(texts_N / _row_length(shape, recipe.train)).astype(int)
    return np.repeat(texts_N / pieces_N, pieces_N)


def _row_length(shape: ModelShape, settings: TrainSettings) -> int:
    return default_row_length(shape.context or max(settings.max_length, 1024), settings)


def _answering_stages(recipe: Recipe, trials: Sequence[tuple[str, Recipe]], sizes: _Sizes) -> Iterator[PlannedStage]:
    """All questions in the midst of training, and at the end, to the untrained model too."""
    trained, asked = Counter[str](), Counter[str]()
    for _, one in trials if sizes.questions else ():
        model, *_ = model_to_train(one.models, one.train)
        trained[model] += len(one.seeds)
        asked[model] += len(one.seeds) * len(one.train.evaluate_at)
    for model, times in trained.items():
        if asked[model]:
            beside = _training_peak(recipe, sizes.shape(model), sizes.lengths_N, sizes)["optimizer"]
            stage = _answering_stage(f"ask {model} in training", recipe, model, sizes.questions, sizes)
            yield dataclasses.replace(stage, times=asked[model], peak_bytes=stage.peak_bytes + beside)
        stage = _answering_stage(f"evaluate {model}", recipe, model, sizes.questions + sizes.known, sizes)
        yield dataclasses.replace(
            stage, times=times + 1, note=f"{stage.note}, of {times} trained and the untrained model"
        )


def _answering_stage(name: str, recipe: Recipe, model: str, questions: int, sizes: _Sizes) -> PlannedStage:
    shape, longest = sizes.shape(model), sizes.prompt_tokens + recipe.evaluate.max_new_tokens
    shared = recipe.evaluate.draw == "field" and recipe.evaluate.shots > 0
    peak = answering_bytes(
        shape,
        batch_tokens=min(max(recipe.evaluate.max_batch_tokens, longest), questions * longest),
        longest=longest,
        quantization=recipe.models.quantization,
        dtype=recipe.models.dtype,
    )
    return PlannedStage(
        name=name,
        times=1,
        tokens=round(questions * (sizes.prompt_tokens + sizes.answer_tokens)),
        flops=questions * answering_flops(shape, sizes.prompt_tokens, sizes.answer_tokens),
        peak_bytes=sum(peak.values()),
        note=f"{questions:,} questions" + (", at most (shots of a field are read once)" if shared else ""),
    )


def plan_text(
    stages: Sequence[PlannedStage],
    *,
    peak_flops_a_second: float = PEAK_FLOPS_A_SECOND,
    utilisation: float = UTILISATION,
    device: str = "H100",
    device_bytes: int = DEVICE_BYTES,
) -> str:
    """The table of a plan, at most 110 columns wide.

    Args:
        stages: of the run.
        peak_flops_a_second: that the device can do.
        utilisation: share of them that it is assumed to do.
        device: its name.
        device_bytes: its memory.

    Raises:
        ElusiveError: if the device does nothing.
    """
    done = peak_flops_a_second * utilisation
    if done <= 0 or device_bytes <= 0:
        raise ElusiveError(
            f"Expected a device that computes and holds something, got {peak_flops_a_second:g} FLOP/s at a "
            f"utilisation of {utilisation:g} and {device_bytes:,} bytes."
        )
    lines = [_row("stage", "times", "tokens", "compute", "peak GB", "device-hours"), "-" * _WIDTH]
    for stage in stages:
        hours = stage.flops * stage.times / done / 3600
        cells = (f"{stage.times:,}", _short(stage.tokens), f"{_short(stage.flops)}FLOP", _gigabytes(stage.peak_bytes))
        lines.append(_row(stage.name, *cells, _hours(hours)))
        lines += _indented(stage.note)
        if stage.peak_bytes > device_bytes:
            lines += _indented(_too_large(stage.peak_bytes, device_bytes))
    tokens, flops = (sum(getattr(one, key) * one.times for one in stages) for key in ("tokens", "flops"))
    most = _gigabytes(max((stage.peak_bytes for stage in stages), default=0))
    lines += ["-" * _WIDTH]
    lines += [_row("together", "", _short(tokens), f"{_short(flops)}FLOP", most, _hours(flops / done / 3600)), ""]
    assumed = (
        f"Tokens, compute and peak memory of one time; hours of all times on one device. Assumed: {device}, "
        f"{_short(peak_flops_a_second)}FLOP/s, {utilisation:.0%} of it used, {device_bytes / 1e9:g} GB. Estimates; "
        "answers, token by token, and small models use less of a device, and loading is left out."
    )
    return "\n".join(lines + textwrap.wrap(assumed, _WIDTH)) + "\n"


_WIDTH = 103


def _row(name: str, times: str, tokens: str, compute: str, peak: str, hours: str) -> str:
    name = textwrap.shorten(name, 42, placeholder=" ...")
    return f"{name:<42}{times:>8}{tokens:>12}{compute:>15}{peak:>11}{hours:>15}"


def _indented(note: str) -> list[str]:
    return textwrap.wrap(note, _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _too_large(peak: int, device: int) -> str:
    size = f"{device / 1e9:g}"
    article = "an" if size.startswith("8") else "a"
    return f"does not fit {article} {size} GB device: needs {math.ceil(peak / device)}, weights spread over them"


def _short(value: float) -> str:
    """Three digits and a prefix, "1.2 E"; the unit follows."""
    power = 0
    while value >= 999.5 and power < len(_PREFIXES) - 1:
        value, power = value / 1000, power + 1
    digits = f"{value:.1f}" if 0 < value < 99.95 and power else f"{value:.0f}"
    return f"{digits} {_PREFIXES[power]}"


_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f}" if count < 99.95e9 else f"{count / 1e9:,.0f}"


def _hours(hours: float) -> str:
    return "<0.01" if hours < 0.005 else f"{hours:,.2f}" if hours < 10 else f"{hours:,.0f}"
