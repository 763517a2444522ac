"""What a run will cost, before anything is loaded: operations, memory and hours of each of its stages."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elusive.augmentation.arms import ARMS, arm_named
from elusive.augmentation.rules import Tokens
from elusive.config.augmentation import AugmentSettings
from elusive.config.run import Recipe
from elusive.config.training import TrainSettings
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.experiments.needs import needed_scores, scores_of_arm
from elusive.scoring.sets import ScoreSet
from elusive.training.steps import default_row_length, draws_for, with_steps

from .costs import (
    Device,
    ModelShape,
    answering_bytes,
    answering_flops,
    pass_seconds,
    reading_flops,
    scoring_bytes,
    scoring_flops,
    step_seconds,
    training_bytes,
    training_flops,
)

_GPU_BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run.

    Attributes:
        name: the stage.
        times: how often it runs: seeds x trials.
        tokens: tokens of one time.
        flops: floating-point operations of one time.
        peak_bytes: peak memory, if one device holds everything.
        note: the assumptions behind the figures, in words.
        least_seconds: shortest time of one run, however fast the device is.
    """

    name: str
    times: int
    tokens: int
    flops: float
    peak_bytes: int
    note: str = ""
    least_seconds: float = 0.0


DropRate = Callable[[str], float] | Mapping[str, float]


@dataclass(frozen=True)
class CorpusSizes:
    """The sizes of a corpus and its questions.

    Attributes:
        documents: number of documents.
        document_tokens: tokens of each, special ones included, or of a sample that stands for all.
        questions: number of evaluated questions (0: none).
        prompt_tokens: mean tokens of a prompt with its shots.
        answer_tokens: mean tokens of an answer.
        ranked_share: share of a document's tokens that are ranked, neither special nor excluded.
        replay_tokens: mean tokens of a replay text (0: the mean of the documents).
        known: questions about what was known before, evaluated at the end alone (see evaluate.known).

    Raises:
        ElusiveError: if there are no documents.
    """

    documents: int
    document_tokens: Sequence[int]
    questions: int
    prompt_tokens: float
    answer_tokens: float
    ranked_share: float = 0.9
    replay_tokens: float = 0.0
    known: int = 0

    def __post_init__(self) -> None:
        if self.documents < 1 or not len(self.document_tokens) or min(self.document_tokens) < 1:
            raise ElusiveError(
                f"document_tokens: expected the tokens of {self.documents} documents or of a sample of them, got "
                f"{len(self.document_tokens)} numbers. Give at least one of 1 or more."
            )


@dataclass(frozen=True)
class _Sizes:
    """The sizes of models and corpus that the stages are planned from."""

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

    @classmethod
    def of(cls, corpus: CorpusSizes, shapes: Mapping[str, ModelShape], drop_rate: DropRate | None) -> "_Sizes":
        lengths_N = np.asarray(corpus.document_tokens, dtype=np.float64)
        return cls(
            shapes=shapes,
            documents=corpus.documents,
            lengths_N=lengths_N,
            questions=corpus.questions,
            known=corpus.known,
            prompt_tokens=corpus.prompt_tokens,
            answer_tokens=corpus.answer_tokens,
            drop_rate=drop_rate,
            ranked_share=corpus.ranked_share,
            replay_tokens=corpus.replay_tokens or float(lengths_N.mean()) + 1,
        )

    def shape(self, model: str) -> ModelShape:
        if model not in self.shapes:
            raise ElusiveError(
                f"shapes: expected the shape of the {model} model, got {', '.join(self.shapes) or 'none'}. Give "
                "shape_of(...) for each model that the recipe scores or trains."
            )
        return self.shapes[model]


def plan_recipe(
    recipe: Recipe,
    corpus: CorpusSizes,
    shapes: Mapping[str, ModelShape],
    *,
    trials: Sequence[tuple[str, Recipe]] | None = None,
    drop_rate: DropRate | None = None,
) -> list[PlannedStage]:
    """What each stage of a run costs, in their order: scores, trainings, answers.

    Args:
        recipe: the run.
        corpus: its sizes.
        shapes: the models' shapes by role: large, small, and other where that one is trained.
        trials: arms and their recipes, each trained with all its seeds (None: the recipe's arms).
        drop_rate: of an arm, the mean share of ranked tokens that its copies drop (mean_drop_rate of an augmented
            folder), where it is known; else Equation 1 gives it.

    Raises:
        ElusiveError: if a shape is missing.
    """
    sizes = _Sizes.of(corpus, shapes, drop_rate)
    if trials is None:
        times_scored = dict.fromkeys(needed_scores(recipe, [_marked_document(recipe)]), 1)
        trials = [(arm_named(arm, "arms").name, recipe) for arm in recipe.arms]
    else:
        # Trials of a sweep may name the untrained model in an arm's place.
        trials = [(arm, one) for arm, one in trials if arm in ARMS]
        times_scored = _times_scored(trials)
    return [
        *_scoring_stages(recipe, times_scored, sizes),
        *_training_stages(trials, sizes),
        *_answering_stages(recipe, trials, sizes),
    ]


def _times_scored(trials: Sequence[tuple[str, Recipe]]) -> dict[ScoreSet, int]:
    """The scores that the trials need, model by model, and how often: once for each way to capture attention."""
    ways: dict[ScoreSet, set[Any]] = {}
    for arm, recipe in trials:
        for needed in scores_of_arm(arm, recipe):
            score = dataclasses.replace(recipe.score, queries="all")  # `needed` says which
            ways.setdefault(needed, set()).add((score, _chosen_heads(recipe, needed.model)))
    models = [one.model for one in ways]
    return {needed: len(ways[needed]) for needed in sorted(ways, key=lambda one: models.index(one.model))}


def _marked_document(recipe: Recipe) -> Document:
    """A document that tells `needed_scores` whether the corpus marks answers, as cues need."""
    pair = [Span(field, place, place + 1) for place, field in enumerate((*recipe.score.head_fields[:1], "answer"))]
    at_cues = any(one.queries != "all" for arm in recipe.arms for one in scores_of_arm(arm, recipe))
    marked = at_cues or recipe.corpus.source == "biographies"
    return Document("example", "ab", tuple(pair) if marked else ())


def _chosen_heads(recipe: Recipe, model: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    one = recipe.models[model]
    return one.layers, one.heads


def _scoring_stages(recipe: Recipe, times_scored: Mapping[ScoreSet, int], sizes: _Sizes) -> list[PlannedStage]:
    """One for each score set; the largest of a model's sets of attention pays for the forward pass of them all."""
    stages = {needed: _scoring_stage(recipe, needed, times, sizes) for needed, times in times_scored.items()}
    paying: dict[tuple[str, str], PlannedStage] = {}
    for needed, stage in stages.items():
        largest = paying.setdefault((needed.model, needed.measure), stage)
        if (stage.times * stage.tokens, stage.flops) > (largest.times * largest.tokens, largest.flops):
            paying[needed.model, needed.measure] = stage
    return [_in_one_pass(stage, paying[needed.model, needed.measure]) for needed, stage in stages.items()]


def _in_one_pass(stage: PlannedStage, paying: PlannedStage) -> PlannedStage:
    if stage is paying:
        return stage
    note = f"{stage.note}; in one pass with {paying.name.removeprefix('score ')}"
    return dataclasses.replace(stage, flops=0.0, least_seconds=0.0, note=note)


def _scoring_stage(recipe: Recipe, needed: ScoreSet, times: int, sizes: _Sizes) -> PlannedStage:
    shape, loaded = sizes.shape(needed.model), recipe.models[needed.model]
    documents = min(sizes.documents, recipe.report.cue_documents) if needed.field else sizes.documents
    windows = _windows(sizes.lengths_N, recipe.score.max_length or shape.context)
    share, longest = documents / len(sizes.lengths_N), float(windows.max())
    layers, heads = _chosen_heads(recipe, needed.model)
    chosen = [*layers, *(int(head.split(".")[0]) for head in heads)]
    chosen_layers = max(chosen) + 1 if chosen else shape.layers
    rows_again = needed.each and needed.queries == "all"
    flops = scoring_flops(shape, windows, layers=chosen_layers, rows_again=rows_again)
    if needed.measure == "entropy":
        chosen_layers, flops = shape.layers, reading_flops(shape, windows)
    tokens = windows.sum() * share
    in_a_batch = min(tokens, max(recipe.score.max_batch_tokens or _GPU_BATCH_TOKENS, longest))
    peak = scoring_bytes(
        shape,
        batch_tokens=in_a_batch,
        longest=longest,
        quantization=loaded.quantization,
        dtype=loaded.dtype,
    )
    return PlannedStage(
        name=f"score {needed.model}, {_way_in_words(needed)}",
        times=times,
        tokens=round(tokens),
        flops=share * flops,
        peak_bytes=sum(peak.values()),
        note=f"{shape.name}" + (f"; for the report, {documents:,} documents" if needed.field else ""),
        least_seconds=math.ceil(tokens / in_a_batch) * pass_seconds(chosen_layers, loaded.quantization),
    )


def _way_in_words(needed: ScoreSet) -> str:
    if needed.measure == "entropy":
        return "entropy"
    return ("one cue" if needed.field else needed.queries) + (", each sentence" if needed.each else "")


def _windows(lengths_N: np.ndarray, longest: int) -> np.ndarray:
    """Tokens of each window of the texts: whole, or overlapping by half."""
    if not longest or lengths_N.max() <= longest:
        return lengths_N
    stride, windows = max(1, longest // 2), list(lengths_N[lengths_N <= longest])
    for length in lengths_N[lengths_N > longest]:
        starts = np.arange(1 + math.ceil((length - longest) / stride)) * stride
        windows.extend(np.minimum(longest, length - starts))
    return np.array(windows)


def _training_stages(trials: Sequence[tuple[str, Recipe]], sizes: _Sizes) -> list[PlannedStage]:
    """One for each arm and model to train."""
    trained: dict[str, Counter[_Training]] = {}
    for arm, recipe in trials:
        if _shares_training(arm, recipe, trials):
            continue
        model = recipe.models.trained
        one = _training(arm, model, recipe, sizes)
        trained.setdefault(f"train {model}: {arm}", Counter())[one] += len(recipe.seeds)
    return [_joined(name, kinds) for name, kinds in trained.items()]


def _shares_training(arm: str, recipe: Recipe, trials: Sequence[tuple[str, Recipe]]) -> bool:
    """Whether its weights are an average of those of another trial, and nothing is trained for it."""
    train = recipe.train
    if train.average == 1 or train.evaluate_at_epochs:
        return False
    return (arm, dataclasses.replace(recipe, train=dataclasses.replace(train, average=1.0))) in trials


@dataclass(frozen=True)
class _Training:
    """The costs of one training, and the figures in its note."""

    tokens: float
    flops: float
    peak_bytes: int
    least_seconds: float
    method: str
    passes: float
    rows: int
    row_length: int
    steps: int
    rate: float


def _joined(name: str, kinds: Counter[_Training]) -> PlannedStage:
    """Trainings of one arm: mean costs where they differ, and the most memory."""

    def span(key: str, form: str) -> str:
        found = [getattr(one, key) for one in kinds]
        return " to ".join(dict.fromkeys(format(value, form) for value in (min(found), max(found))))

    def mean(key: str) -> float:
        return sum(getattr(one, key) * count for one, count in kinds.items()) / kinds.total()

    rates = [one.rate for one in kinds]
    dropped = f", copies without {span('rate', '.0%')} of their ranked tokens" if max(rates) else ""
    return PlannedStage(
        name=name,
        times=kinds.total(),
        tokens=round(mean("tokens")),
        flops=mean("flops"),
        peak_bytes=max(one.peak_bytes for one in kinds),
        note=f"{' or '.join(dict.fromkeys(one.method for one in kinds))}; {span('passes', '.4g')} epochs of "
        f"{span('rows', ',')} sequences of at most {span('row_length', ',')} tokens, {span('steps', ',')} steps"
        + dropped,
        least_seconds=mean("least_seconds"),
    )


def _training(arm: str, model: str, recipe: Recipe, sizes: _Sizes) -> _Training:
    shape, settings = sizes.shape(model), recipe.train
    rate = _drop_rate(arm, recipe.augment, sizes)
    rows = _rows(arm, recipe, rate, shape, sizes)
    in_a_pass = round(len(rows) * sizes.documents / len(sizes.lengths_N))
    settings = with_steps(settings, len(rows), round(float(rows.sum())))
    draws = draws_for(in_a_pass, settings)
    steps = math.ceil(draws / settings.batch_size)
    replayed = steps * settings.replay_batch_size if settings.replay else 0
    replay = np.array([sizes.replay_tokens])
    costs: dict[str, Any] = {
        "method": settings.method,
        "lora_rank": settings.lora_rank,
        "gradient_checkpointing": settings.gradient_checkpointing,
    }
    flops = training_flops(shape, rows, passes=draws / len(rows), **costs)
    flops += training_flops(shape, replay, passes=replayed, **costs)
    if ARMS[arm].marks == "select_loss":  # the reference model reads the originals once
        flops += sizes.documents / len(sizes.lengths_N) * reading_flops(shape, rows)
    return _Training(
        tokens=draws * rows.sum() / len(rows) + replayed * sizes.replay_tokens,
        flops=flops,
        peak_bytes=sum(_training_peak(recipe, shape, rows, sizes).values()),
        least_seconds=steps
        * settings.gradient_accumulation_steps
        * step_seconds(shape.layers, recipe.trained.quantization, again=settings.gradient_checkpointing),
        method=settings.method,
        passes=draws / in_a_pass,
        rows=in_a_pass,
        row_length=_row_length(shape, settings),
        steps=steps,
        rate=rate,
    )


def _training_peak(recipe: Recipe, shape: ModelShape, rows: np.ndarray, sizes: _Sizes) -> dict[str, int]:
    """Peak memory, with the longest sequences in one step."""
    settings = recipe.train
    # Each document of a sample stands for several.
    some = math.ceil(settings.batch_size * len(sizes.lengths_N) / sizes.documents)
    longest = np.sort(rows)[-some:]
    tokens = float(longest.mean()) * settings.batch_size
    tokens += sizes.replay_tokens * settings.replay_batch_size if settings.replay else 0
    return training_bytes(
        shape,
        tokens=tokens / settings.gradient_accumulation_steps,
        longest_row=float(longest[-1]),
        method=settings.method,
        quantization=recipe.trained.quantization,
        dtype=recipe.trained.dtype,
        precision=settings.precision,
        lora_rank=settings.lora_rank,
        gradient_checkpointing=settings.gradient_checkpointing,
        l2_sp=settings.l2_sp > 0,
    )


def _drop_rate(arm: str, settings: AugmentSettings, sizes: _Sizes) -> float:
    """Mean share of ranked tokens that an arm's copies drop; in the guided arms by Equation 1 over all ranks."""
    if not (ARMS[arm].copies and ARMS[arm].deletes):
        return 0.0
    given = sizes.drop_rate
    if callable(given):
        return given(arm)
    if given is not None and arm in given:
        return given[arm]
    counts = Counter(np.maximum(1, np.rint(sizes.ranked_share * (sizes.lengths_N - 1))).astype(int).tolist())
    dropped = sum(
        times * ARMS[arm].drop_probability(np.arange(1, ranked + 1), _all_seen(ranked), settings).sum()
        for ranked, times in counts.items()
    )
    return float(dropped / sum(ranked * times for ranked, times in counts.items()))


def _all_seen(tokens: int) -> Tokens:
    return Tokens(rankable=np.ones(tokens, dtype=bool), seen=np.ones(tokens, dtype=bool))


def _rows(arm: str, recipe: Recipe, rate: float, shape: ModelShape, sizes: _Sizes) -> np.ndarray:
    """Tokens of each sequence of an epoch: originals and copies with an end of text, cut at the longest sequence."""
    originals_N = sizes.lengths_N + 1
    # With blank = true, spaces replace dropped tokens: at most as many tokens.
    dropped = 0.0 if recipe.augment.blank else sizes.ranked_share * rate
    copies_N = originals_N - dropped * (sizes.lengths_N - 1)
    copies = recipe.augment.copies if ARMS[arm].copies else 0
    texts_N = np.concatenate([originals_N, np.repeat(copies_N, copies)])
    pieces_N = np.ceil(texts_N / _row_length(shape, recipe.train)).astype(int)
    return np.repeat(texts_N / pieces_N, pieces_N)


def _row_length(shape: ModelShape, settings: TrainSettings) -> int:
    """As in training: it keeps rows within the lengths that share their rotary frequencies."""
    return default_row_length(shape.context or max(settings.max_length, 1024), settings, shape.shared)


def _answering_stages(recipe: Recipe, trials: Sequence[tuple[str, Recipe]], sizes: _Sizes) -> Iterator[PlannedStage]:
    """Evaluations of all questions during training, and at the end, of the untrained model too."""
    trained, during = Counter[str](), Counter[str]()
    for _, one in trials if sizes.questions else ():
        model = one.models.trained
        trained[model] += len(one.seeds)
        during[model] += len(one.seeds) * len(one.train.evaluate_at_epochs)
    for model, times in trained.items():
        if during[model]:
            optimizer = _training_peak(recipe, sizes.shape(model), sizes.lengths_N, sizes)["optimizer"]
            stage = _answering_stage(f"evaluate {model} in training", recipe, model, sizes.questions, sizes)
            yield dataclasses.replace(stage, times=during[model], peak_bytes=stage.peak_bytes + optimizer)
        stage = _answering_stage(f"evaluate {model}", recipe, model, sizes.questions + sizes.known, sizes)
        yield dataclasses.replace(
            stage, times=times + 1, note=f"{stage.note}, of {times} trained and the untrained model"
        )


def _answering_stage(name: str, recipe: Recipe, model: str, questions: int, sizes: _Sizes) -> PlannedStage:
    shape, longest = sizes.shape(model), sizes.prompt_tokens + recipe.evaluate.max_new_tokens
    shared = recipe.evaluate.draw == "field" and recipe.evaluate.shots > 0
    in_a_batch = min(max(recipe.evaluate.max_batch_tokens, longest), questions * longest)
    passes = math.ceil(questions * longest / in_a_batch) * (1 + sizes.answer_tokens)
    peak = answering_bytes(
        shape,
        batch_tokens=in_a_batch,
        longest=longest,
        quantization=recipe.models[model].quantization,
        dtype=recipe.models[model].dtype,
    )
    return PlannedStage(
        name=name,
        times=1,
        tokens=round(questions * (sizes.prompt_tokens + sizes.answer_tokens)),
        flops=questions * answering_flops(shape, sizes.prompt_tokens, sizes.answer_tokens),
        peak_bytes=sum(peak.values()),
        note=f"{questions:,} questions" + (", at most (shots of a field are prefilled once)" if shared else ""),
        least_seconds=passes * pass_seconds(shape.layers, recipe.models[model].quantization),
    )


def hours(stages: Iterable[PlannedStage], device: Device | None) -> float | None:
    """Of all stages, all times, on one device (None: on none)."""
    return sum(device.hours(one.flops, one.least_seconds) * one.times for one in stages) if device else None


def together(stages: Iterable[PlannedStage]) -> tuple[int, float, int]:
    """Tokens and operations of all stages, all times, and their largest peak in bytes."""
    stages = list(stages)
    tokens = sum(stage.tokens * stage.times for stage in stages)
    flops = sum(stage.flops * stage.times for stage in stages)
    return tokens, flops, max((stage.peak_bytes for stage in stages), default=0)
