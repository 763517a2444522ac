"""The stage that scores a corpus into folders of Parquet shards."""

import contextlib
import dataclasses
import functools
import itertools
import math
import platform
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig

from elusive.attention import ATTENTION, attention_to_load
from elusive.config.engine import LOCAL, EngineSettings
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings, Sink
from elusive.corpus.documents import Document, StoredDocuments, corpus_hash, stored
from elusive.corpus.readers.given import Given, documents_of
from elusive.errors import ElusiveError
from elusive.models import loading, processes
from elusive.models.ray_actors import ActorPool, Work
from elusive.runs.files import ProgressFunction, silent
from elusive.runs.lock import remove_temporaries
from elusive.runs.progress import shown_together
from elusive.runs.stage import Stage
from elusive.runs.terminal import note
from elusive.storage import Location, located

from .entropy import entropy_of_documents
from .positions import answer_spans
from .score import score_query_sets
from .sets import Measure, QuerySet, ScoreSet
from .shards import Kept, TokenScores, shard_path, shard_paths, write_shard
from .sinks import sink_in_words


def score_sets(
    documents: Collection[Document],
    folder: str | Path,
    needed: Sequence[ScoreSet],
    *,
    models: Mapping[str, ModelRef],
    settings: ScoreSettings,
    field_documents: int | None = None,
    keep: Collection[Kept] = (),
) -> dict[ScoreSet, Path]:
    """Score a corpus with each model in each way, doing only what the folder does not hold yet.

    Each model reads the corpus once for all its score sets of attention, whatever their number, and once for entropies.

    Args:
        documents: the corpus.
        folder: RUN/scores; each score set gets a folder of its own, by its name.
        needed: the score sets.
        models: the models by their roles in `needed`, each with the layers and heads that are averaged.
        settings: how attention is averaged and batched; the queries are those of `needed`.
        field_documents: how many documents are scored at a single field's cue (None: all).
        keep: what to keep in addition of attention, as in `score_documents`; a set with `each` keeps `sentences` too.

    Returns:
        The folder of each score set.
    """
    made = {score_set: Path(folder) / score_set.name for score_set in needed}
    of_field = documents if field_documents is None else list(itertools.islice(documents, field_documents))
    for model in dict.fromkeys(score_set.model for score_set in made):
        if words := sink_of(models[model], settings.sink):
            note(f"{models[model].name}: {words}.")
        with shown_together() as show:
            outputs = [
                _Output(
                    path,
                    of_field if score_set.field else documents,
                    score_set.measure,
                    score_set.query_set if score_set.measure == "entropy" else _keeping(score_set.query_set, keep),
                    functools.partial(show, f"score {score_set}"),
                )
                for score_set, path in made.items()
                if score_set.model == model
            ]
            _score_together(outputs, models[model], settings, per_head="heads" in keep)
    return made


def _keeping(query_set: QuerySet, keep: Collection[Kept]) -> QuerySet:
    """The query set, with what each sentence's queries give where that is kept."""
    return dataclasses.replace(query_set, each=query_set.each or "sentences" in keep)


def score_corpus(
    documents: Given,
    folder: str | Location,
    model: ModelRef,
    settings: ScoreSettings,
    *,
    measure: Measure = "attention",
    fields: Sequence[str] = (),
    keep: Collection[Kept] = (),
    engine: EngineSettings = LOCAL,
    progress: ProgressFunction = silent,
) -> None:
    """Score a corpus into a folder of Parquet shards; begun again, only what is missing is scored.

    Args:
        documents: the corpus; one shard of it is held at a time. See `documents_of` for what is taken.
        folder: `RUN/scores/<model>-<queries>`, or `<model>-entropy`.
        model: the model, and of attention the layers and heads that are averaged.
        settings: how texts are batched; of attention, the queries and how it is averaged.
        measure: what is scored: attention (`score_documents`) or entropy (`entropy_of_documents`).
        fields: only spans of these fields (empty: all but the head fields).
        keep: what to write in addition, in columns of their own, as in `score_documents`.
        engine: who scores the shards; they are the same.
        progress: called with (documents done, all documents).

    Raises:
        ElusiveError: if there are no documents or no spans to read from, the folder was begun with other settings,
            or as `score_documents`.
    """
    if measure == "entropy" and (fields or keep):
        raise ElusiveError(
            f"Entropies are taken at every token: expected no fields, and nothing kept in addition, got "
            f"{', '.join((*fields, *keep))}. Leave these out, or score attention."
        )
    query_set = QuerySet(settings.queries if measure == "attention" else "all", tuple(fields), "sentences" in keep)
    output = _Output(located(folder), documents_of(documents), measure, query_set, progress)
    _score_together([output], model, settings, per_head="heads" in keep, engine=engine)


@dataclasses.dataclass(frozen=True, eq=False)
class _Output:
    """One score set on its way into its folder."""

    folder: Location
    documents: Collection[Document]
    """Those of the corpus, or its first ones."""
    measure: Measure
    query_set: QuerySet
    progress: ProgressFunction

    def stage(self, scorer: "_Scorer") -> Stage:
        """The stage that fills its folder."""
        return Stage(self.folder, scorer.identity(self), writes=processes.is_main(), anywhere=True)

    def shard(self, number: int) -> Location:
        """The file of a shard."""
        return shard_path(self.folder, number)

    def shards(self, size: int) -> int:
        """Number of shards of so many documents."""
        return math.ceil(len(self.documents) / size)

    def lacking(self, size: int) -> list[int]:
        """Numbers of the shards that its folder does not hold."""
        there = {path.name for path in shard_paths(self.folder)}
        return [number for number in range(self.shards(size)) if self.shard(number).name not in there]

    def in_shard(self, number: int, size: int) -> int:
        """Number of documents of a shard."""
        return min(max(len(self.documents) - number * size, 0), size)


def _score_together(
    outputs: Sequence[_Output],
    model: ModelRef,
    settings: ScoreSettings,
    *,
    per_head: bool,
    engine: EngineSettings = LOCAL,
) -> None:
    """Score a corpus with one model into the folders of several score sets, with one forward pass for all of attention.

    Of each set, only the shards that its folder does not hold are scored.
    """
    for output in outputs:
        check_corpus(output.documents, settings, output.query_set)
    scorer = _Scorer(model, settings, per_head)
    with contextlib.ExitStack() as entered:
        stages = {output: entered.enter_context(output.stage(scorer)) for output in outputs}
        began = time.monotonic()
        unfinished = [output for output in outputs if not stages[output].done]
        for output in outputs:
            if output not in unfinished:
                output.progress(len(output.documents), len(output.documents))
        written = _written(unfinished, scorer) if engine.engine == "local" else _by_actors(unfinished, scorer, engine)
        for output in written:
            figures = {"documents": len(output.documents), "shards": output.shards(settings.shard_documents)}
            seconds = round(time.monotonic() - began, 3)
            stages[output].finish({**figures, "seconds": seconds, "score_sets": len(unfinished)})


def _written(outputs: Sequence[_Output], scorer: "_Scorer") -> Iterator[_Output]:
    """Write the shards that are missing; gives each output when all its shards are there."""
    size = scorer.settings.shard_documents
    lacking = {output: output.lacking(size) for output in outputs}
    yield from (output for output in outputs if not lacking[output])
    done = {
        output: len(output.documents) - sum(output.in_shard(number, size) for number in numbers)
        for output, numbers in lacking.items()
        if numbers
    }
    if not done:
        return
    longest = max(done, key=lambda output: len(output.documents))
    remaining = iter(longest.documents)
    for number in range(longest.shards(size)):
        part = list(itertools.islice(remaining, size))
        wanted = {output: output.in_shard(number, size) for output in done if number in lacking[output]}
        scores: dict[_Output, list[TokenScores]] = {output: [] for output in wanted}
        for start, end, together in _stretches(wanted):
            before = {output: done[output] + start for output in together}
            for output, found in zip(together, scorer.scores(part[start:end], before), strict=True):
                scores[output] += found
        for output in wanted:
            write_shard(output.shard(number), scores[output])
            done[output] += len(scores[output])
            if number == lacking[output][-1]:
                yield output


def _by_actors(outputs: Sequence[_Output], scorer: "_Scorer", engine: EngineSettings) -> Iterator[_Output]:
    """What `_written` does, by the actors of a Ray cluster: each takes the number of a shard, and writes it."""
    size = scorer.settings.shard_documents
    for output in outputs:
        documents = stored(output.documents)
        lacking = output.lacking(size)
        done = len(documents) - sum(output.in_shard(number, size) for number in lacking)
        place = dataclasses.replace(output, folder=output.folder.absolute(), documents=(), progress=silent)
        corpus = documents.path.absolute(), tuple(documents.places(size))
        task = _Task(scorer, place, scorer.made_with(output), *corpus)
        for number, _ in ActorPool(_shard_writer, task, engine, uses_gpu=True).done(lacking):
            done += output.in_shard(number, size)
            output.progress(done, len(documents))
        remove_temporaries(output.folder)  # of actors that were killed
        yield output


@dataclasses.dataclass(frozen=True)
class _Task:
    """What an actor needs to know to write any shard of a score set."""

    scorer: "_Scorer"
    output: _Output
    """Without its documents."""
    made_with: dict[str, Any]
    """What the command that started the actors has: models, settings and versions."""
    corpus: Location
    places: tuple[int, ...]
    """Where the documents of each shard begin."""

    def write(self, number: int) -> None:
        """Write one shard, unless another actor did."""
        path = self.output.shard(number)
        if not path.exists():
            part = StoredDocuments(self.corpus).part(self.places[number], self.scorer.settings.shard_documents)
            [scores] = self.scorer.scores(part, {self.output: 0})
            write_shard(path, scores)


def _shard_writer(task: _Task) -> Work:
    """Begin as an actor.

    Raises:
        ElusiveError: if this machine has other versions or weights than that of the command.
    """
    here = task.scorer.made_with(task.output)
    if other := [name for name, value in task.made_with.items() if here.get(name) != value]:
        differing = "; ".join(f"{name} {task.made_with[name]} there, {here.get(name)} here" for name in other)
        raise ElusiveError(
            f"{platform.node()} would score otherwise than the machine that started it ({differing}). Install the same "
            "versions on all machines of the cluster, and give them the same model."
        )
    return task.write


def _stretches(wanted: Mapping[_Output, int]) -> Iterator[tuple[int, int, list[_Output]]]:
    """Stretches of a shard's documents that are scored for the same outputs at once: start, end, these outputs.

    Args:
        wanted: how many of the shard's documents each output wants, from the first on.
    """
    for start, end in itertools.pairwise(sorted({0, *wanted.values()})):
        wanting = [output for output, count in wanted.items() if count >= end]
        for measure in dict.fromkeys(output.measure for output in wanting):
            yield start, end, [output for output in wanting if output.measure == measure]


@dataclasses.dataclass(frozen=True)
class _Scorer:
    """A model that is loaded when it is first needed, and what is captured of it."""

    model: ModelRef
    settings: ScoreSettings
    per_head: bool

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return load_for_scoring(self.model), loading.load_tokenizer(self.model)

    def scores(self, documents: Sequence[Document], outputs: Mapping[_Output, int]) -> list[list[TokenScores]]:
        """The scores of some documents for each output.

        Args:
            documents: the documents.
            outputs: of one measure; the number of documents that each had before.
        """
        loaded, tokenizer = self._loaded

        def progress(finished: int, _: int) -> None:
            for output, before in outputs.items():
                output.progress(before + finished, len(output.documents))

        if any(output.measure == "entropy" for output in outputs):
            found = entropy_of_documents(documents, loaded, tokenizer, self.settings, progress=progress)
            return [found for _ in outputs]
        return score_query_sets(
            documents,
            loaded,
            tokenizer,
            self.settings,
            [output.query_set for output in outputs],
            layers=self.model.layers,
            heads=self.model.heads,
            per_head=self.per_head,
            progress=progress,
        )

    def identity(self, output: _Output) -> dict[str, Any]:
        """All that the scores of a set depend on; JSON types only."""
        return {**self.made_with(output), "corpus": corpus_hash(output.documents)}

    def made_with(self, output: _Output) -> dict[str, Any]:
        """All but the corpus that the scores of a set depend on."""
        settings, queries = self.settings, output.query_set
        of_attention = {
            "queries": queries.queries,
            "fields": list(queries.fields),
            "head_fields": list(settings.head_fields),
            "include_self": settings.include_self,
            "layers": list(self.model.layers),
            "heads": list(self.model.heads),
            "per_head": self.per_head,
            **({"each": True} if queries.each else {}),
            "renormalise": settings.renormalise,
            **({"excluded_tokens": list(settings.excluded_tokens)} if settings.renormalise else {}),
        }
        return {
            **loading.model_identity(self.model),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            **(of_attention if output.measure == "attention" else {"measure": output.measure}),
            **({"sink": "first-token"} if sink_of(self.model, settings.sink) else {}),
            "max_length": settings.max_length,
            "shard_documents": settings.shard_documents,
        }


def check_corpus(documents: Collection[Document], settings: ScoreSettings, query_set: QuerySet) -> None:
    """Refuse to score nothing.

    Raises:
        ElusiveError: if there are no documents, or no spans where queries are taken from spans.
    """
    if len(documents) == 0:
        raise ElusiveError("Expected documents to score, got none.")
    queries, fields, head_fields = query_set.queries, query_set.fields, settings.head_fields
    if queries != "all" and not any(answer_spans(document, head_fields, fields) for document in documents):
        known = sorted({span.field for document in documents for span in document.spans})
        raise ElusiveError(
            f"queries = {queries} reads attention at answer spans, but no document has a span of "
            f"{', '.join(fields) or 'an answer field'} (fields: {', '.join(known) or 'none'}; "
            f"head fields: {', '.join(head_fields) or 'none'}). Use queries = all for text without spans."
        )


@functools.lru_cache(maxsize=8)
def sink_of(model: ModelRef, sink: Sink) -> str:
    """What is done about the attention sink of a model's texts, in words; empty where nothing is."""
    return sink_in_words(loading.load_tokenizer(model), sink)


def load_for_scoring(model: ModelRef | str) -> Any:
    """Load a model that can be scored; it also trains and generates, because scores only borrow its attention.

    Raises:
        ElusiveError: if it cannot be loaded, or its attention cannot be read, with the reason.
    """
    return loading.load_model(model, attention=_attention_between_scores)


def _attention_between_scores(config: PreTrainedConfig) -> str | None:
    """Its own; models that hooks read are built for the one attention that they can be read in."""
    needed = attention_to_load(config)
    return None if needed == ATTENTION else needed
