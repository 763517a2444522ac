"""The stage that writes one arm's training texts."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq

from elusive.config.augmentation import AugmentSettings
from elusive.config.engine import LOCAL, EngineSettings
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.config.server import RewriteSettings
from elusive.config.toml import to_table
from elusive.corpus.documents import Document, StoredDocuments, corpus_hash, stored
from elusive.corpus.readers.given import Given, documents_of
from elusive.errors import ElusiveError
from elusive.models.ray_actors import ActorPool, Work
from elusive.models.tokenizers import tokenizer_alone
from elusive.runs.files import ProgressFunction, atomic_path, file_hash, silent
from elusive.runs.parquet import WRITE
from elusive.runs.progress import shown
from elusive.runs.stage import Stage, stage_settings
from elusive.runs.typed_json import from_json, to_json
from elusive.scoring.sets import Measure, ScoreSet, entropy_set
from elusive.scoring.shards import TokenScores, iterate_scores, scores_of_part, shard_paths
from elusive.storage import Location, located

from .arm import Arm
from .arms import arm_named
from .copies import AugmentedDocument, _batches, augment_documents, check_sets
from .groups import GROUP_DOCUMENTS, AugmentedCounts, TextGroup, text_group, train_schema
from .protection import ANSWERS, check_protected
from .rankings import RANKING, ranking_schema
from .rewriting import REWRITES, Rewriter, check_rewrite, identity_of
from .signals import no_head_entity
from .summary import AugmentedCorpus


def write_augmented(
    folder: str | Location, augmented: Iterable[AugmentedDocument], arm: str, settings: AugmentSettings
) -> AugmentedCorpus:
    """Write train.jsonl, train.parquet and ranking.parquet: all three, or none.

    Args:
        folder: where they go.
        augmented: the documents; they are written as they come, and not held.
        arm: how they were made; kept in ranking.parquet, as the settings are.
        settings: what they were made with.

    Returns:
        How much was written.
    """
    groups = (text_group(group, arm, settings) for group in _batches(augmented, GROUP_DOCUMENTS))
    return write_groups(folder, groups, arm, settings)


def write_groups(
    folder: str | Location, groups: Iterable[TextGroup], arm: str, settings: AugmentSettings
) -> AugmentedCorpus:
    """`write_augmented` of documents that were made into groups, here or elsewhere."""
    folder, counts = located(folder), AugmentedCounts()
    with contextlib.ExitStack() as stack:
        lines, train, ranking = (
            stack.enter_context(atomic_path(folder / name)) for name in ("train.jsonl", "train.parquet", RANKING)
        )
        stream = stack.enter_context(lines.open("w", encoding="utf-8", newline="\n"))
        columns, schema = train_schema(arm_named(arm)), ranking_schema(arm, settings)
        train_table = stack.enter_context(pq.ParquetWriter(train, columns, compression="zstd"))
        ranking_table = stack.enter_context(pq.ParquetWriter(ranking, schema, **WRITE))
        for group in groups:
            stream.write(group.lines)
            train_table.write_table(group.train)
            ranking_table.write_table(group.ranking)
            counts += group.counts
    return counts.summary()


def augment_corpus(
    documents: Given,
    folder: str | Location,
    arm: str,
    score_folders: Mapping[ScoreSet, Location],
    *,
    trained: str,
    tokenizer: Any,
    score: ScoreSettings,
    settings: AugmentSettings,
    progress: ProgressFunction = silent,
) -> AugmentedCorpus:
    """Write one arm's training texts, unless they are there; corpus and scores are read as streams.

    Args:
        documents: the corpus that was scored.
        folder: RUN/augmented/ARM.
        arm: its name, a key of arms.ARMS.
        score_folders: what `score_corpus` wrote, by score set.
        trained: the model to be trained among them.
        tokenizer: its tokenizer.
        score: queries and head fields.
        settings: dropout.
        progress: called with (documents, of how many).

    Returns:
        How much is there.

    Raises:
        ElusiveError: if there is no such arm, scores are missing, unfinished or of another corpus, the folder was begun
            with other settings, or as `check_texts`.
    """
    made = _Augmentation(arm, dict(score_folders), trained, tokenizer, score, settings)
    return _augmented(documents, folder, made, LOCAL, progress)


def _augmented(
    documents: Given,
    folder: str | Location,
    made: "_Augmentation",
    engine: EngineSettings,
    progress: ProgressFunction,
) -> AugmentedCorpus:
    if arm_named(made.arm).rewrites:
        raise ElusiveError(
            f"The copies of arm {made.arm} are a language model's, which a recipe names in [rewrite]. Use it in a "
            "recipe (elusive run), or call rewrite_corpus."
        )
    documents = documents_of(documents)
    with _stage(documents, folder, made.arm, made.score_folders, made.trained, made.score, made.settings) as stage:
        if not stage.done:
            local = engine.engine == "local"
            groups = made.groups(documents, progress) if local else made.by_actors(documents, engine, progress)
            stage.finish(to_json(write_groups(stage.place, groups, made.arm, made.settings)))
        return from_json(AugmentedCorpus, stage.summary, str(stage.place))


@dataclasses.dataclass(frozen=True)
class _Augmentation:
    """All that one arm's texts are made with, but the documents."""

    arm: str
    score_folders: dict[ScoreSet, Location]
    trained: str
    tokenizer: Any
    score: ScoreSettings
    settings: AugmentSettings

    def groups(self, documents: Collection[Document], progress: ProgressFunction) -> Iterator[TextGroup]:
        """The texts of a corpus, group by group; scores are read beside the documents."""
        return self._groups(
            documents, {one: iterate_scores(path) for one, path in self.score_folders.items()}, progress
        )

    def group(self, documents: Sequence[Document], first: int) -> TextGroup:
        """The texts of one group, whose first document has this place in the corpus, from 0."""
        scores = {one: scores_of_part(path, first, len(documents)) for one, path in self.score_folders.items()}
        [group] = self._groups(documents, scores, silent)
        return group

    def _groups(
        self,
        documents: Collection[Document],
        scores: Mapping[ScoreSet, Iterable[TokenScores]],
        progress: ProgressFunction,
    ) -> Iterator[TextGroup]:
        augmented = augment_documents(
            documents,
            self.arm,
            scores,
            trained=self.trained,
            tokenizer=self.tokenizer,
            score=self.score,
            settings=self.settings,
            progress=progress,
        )
        return (text_group(group, self.arm, self.settings) for group in _batches(augmented, GROUP_DOCUMENTS))

    def by_actors(
        self, documents: Collection[Document], engine: EngineSettings, progress: ProgressFunction
    ) -> Iterator[TextGroup]:
        """The groups in order, made by the actors of a Ray cluster: each takes the number of a group."""
        corpus = stored(documents)
        places = tuple(corpus.places(GROUP_DOCUMENTS))
        folders = {one: path.absolute() for one, path in self.score_folders.items()}
        task = _Task(dataclasses.replace(self, score_folders=folders), corpus.path.absolute(), places)
        pool = ActorPool(_group_maker, task, engine, in_order=True)
        done = 0
        for _, group in pool.done(range(len(places))):
            done += group.counts.documents
            progress(done, len(corpus))
            yield group


@dataclasses.dataclass(frozen=True)
class _Task:
    """What an actor needs to know to make any group of an arm's texts."""

    augmentation: _Augmentation
    corpus: Location
    places: tuple[int, ...]
    """Where the documents of each group begin."""

    def group(self, number: int) -> TextGroup:
        """One group."""
        part = StoredDocuments(self.corpus).part(self.places[number], GROUP_DOCUMENTS)
        return self.augmentation.group(part, number * GROUP_DOCUMENTS)


def _group_maker(task: _Task) -> Work:
    return task.group


def rewrite_corpus(
    documents: Collection[Document],
    folder: str | Location,
    arm: str,
    score_folders: Mapping[ScoreSet, Location],
    *,
    trained: str,
    tokenizer: Any,
    score: ScoreSettings,
    settings: AugmentSettings,
    rewrite: RewriteSettings,
) -> AugmentedCorpus:
    """Write the training texts of an arm whose copies a language model writes, unless they are there.

    Args:
        documents: the corpus that was scored.
        folder: RUN/augmented/ARM; answers are kept in it as they come.
        arm: its name.
        score_folders: as for `augment_corpus`, like the next three.
        trained: the model to be trained among them.
        tokenizer: its tokenizer.
        score: queries and head fields.
        settings: copies, seed and how clues are found.
        rewrite: the language model, and what is asked of its answers.

    Returns:
        How much is there, and what it took.

    Raises:
        ElusiveError: as `augment_corpus`, if no model is named, or as `Rewriter.rewritten`.
    """
    check_rewrite(rewrite)
    more = {"rewrite": identity_of(rewrite)}
    with _stage(documents, folder, arm, score_folders, trained, score, settings, more) as stage:
        if not stage.done:
            scores = {one: iterate_scores(path) for one, path in score_folders.items()}
            originals = augment_documents(
                documents, arm, scores, trained=trained, tokenizer=tokenizer, score=score, settings=settings
            )
            rewriter = Rewriter(
                arm_named(arm),
                stage.folder,
                tokenizer=tokenizer,
                settings=settings,
                rewrite=rewrite,
                head_fields=score.head_fields,
            )
            with shown(f"rewrite {arm}") as progress:
                written = rewriter.rewritten(documents, originals, progress, len(documents))
                made = write_augmented(stage.place, written, arm, settings)
            stage.finish(to_json(dataclasses.replace(made, rewrites=rewriter.summary())))
        return from_json(AugmentedCorpus, stage.summary, str(stage.place))


def _stage(
    documents: Collection[Document],
    folder: str | Location,
    arm: str,
    score_folders: Mapping[ScoreSet, Location],
    trained: str,
    score: ScoreSettings,
    settings: AugmentSettings,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Stage:
    """The stage of an arm's texts, which knows all that they depend on.

    Raises:
        ElusiveError: if scores are missing, unfinished or of another corpus, or as `check_texts`.
    """
    check_sets(arm_named(arm), score_folders, arm_named(arm).needs(trained, score.queries, settings.cue_fusion))
    check_texts(documents, arm_named(arm), score, settings)
    corpus = corpus_hash(documents)
    scored = {one: stage_settings(path) for one, path in score_folders.items()}
    for one, path in score_folders.items():
        if scored[one]["corpus"] != corpus:
            raise ElusiveError(f"{path} holds scores of another corpus. Score this one first.")
    depends = {
        "arm": arm,
        "augment": to_table(settings),
        "excluded_tokens": list(score.excluded_tokens),
        "queries": score.queries,
        "head_fields": list(score.head_fields),
        "trained": trained,
        "corpus": corpus,
        "models": {one.name: made["model"] for one, made in scored.items()},
        "scores": {one.name: file_hash(*shard_paths(path)) for one, path in score_folders.items()},
        **more,
    }
    # Answers that are paid for serve other settings too, as long as nothing was made of them.
    return Stage(folder, depends, beside=(REWRITES,), anywhere=not arm_named(arm).rewrites)


def check_texts(documents: Iterable[Document], arm: Arm, score: ScoreSettings, settings: AugmentSettings) -> None:
    """See what an arm's texts would stop at, before anything is scored.

    Raises:
        ElusiveError: if no document has a span of a protected field, none an answer for an arm that looks at answers,
            or one marks no head entity for an arm that looks at it.
    """
    check_protected(documents, settings, score.head_fields)
    if ANSWERS in arm.spares and not any(
        span.field not in score.head_fields for document in documents for span in document.spans
    ):
        raise ElusiveError(
            f"Arm {arm.name} looks at marked answers, but no document has any. Mark spans in the corpus, or leave the "
            "arm out."
        )
    for document in documents if arm.needs_head else ():
        if not any(span.field in score.head_fields for span in document.spans):
            raise no_head_entity(document.id, score.head_fields)


@dataclasses.dataclass(frozen=True)
class ScoreFolders:
    """The scores that an arm's texts are made from, by what they are scores of.

    Attributes:
        attention: folders of attention scores that `score_corpus` wrote, by the model's role (large, small).
        entropy: folder of the trained model's entropies (measure = entropy), where the arm reads them.
        trained: the role of the model that will be trained.
    """

    attention: Mapping[str, str | Location]
    entropy: str | Location | None = None
    trained: str = "large"


def augment_from_scores(
    documents: Collection[Document],
    folder: str | Location,
    arm: str,
    scores: ScoreFolders,
    *,
    excluded_tokens: tuple[str, ...] = ScoreSettings.excluded_tokens,
    settings: AugmentSettings = AugmentSettings(),
    engine: EngineSettings = LOCAL,
    progress: ProgressFunction = silent,
) -> AugmentedCorpus:
    """`augment_corpus`, with the tokenizer and the queries as the scores' own settings name them.

    Args:
        documents: the corpus that was scored; of a corpus folder, where actors make the texts.
        folder: where the texts go.
        arm: its name, a key of arms.ARMS.
        scores: the scores, which actors can read too.
        excluded_tokens: never ranked and never dropped.
        settings: dropout.
        engine: who makes the texts; they are the same.
        progress: called with (documents, of how many).

    Raises:
        ElusiveError: if the scores were captured in two ways, Ray is missing or its cluster cannot be used, or as for
            `augment_corpus`.
    """
    return _augmented(documents, folder, _from_scores(arm, scores, excluded_tokens, settings), engine, progress)


def _from_scores(
    arm: str, scores: ScoreFolders, excluded_tokens: tuple[str, ...], settings: AugmentSettings
) -> "_Augmentation":
    """How the texts are made, with the tokenizer and the queries that the scores' own settings name."""
    folders = {role: located(path) for role, path in scores.attention.items()}
    made = {role: stage_settings(path) for role, path in folders.items()}
    for role, one in made.items():
        _check_measure(folders[role], one, "attention")
    _check_one_way({folders[role]: one for role, one in made.items()}, excluded_tokens)
    each = arm_named(arm).by_sentence(settings.cue_fusion)
    _check_each({folders[role]: one for role, one in made.items() if each}, arm)
    own = made[scores.trained]
    sets = {ScoreSet(role, own["queries"], each=each): path for role, path in folders.items()}
    if scores.entropy:
        entropy = located(scores.entropy)
        _check_measure(entropy, stage_settings(entropy), "entropy")
        sets[entropy_set(scores.trained)] = entropy
    score = ScoreSettings(
        queries=own["queries"], head_fields=tuple(own["head_fields"]), excluded_tokens=excluded_tokens
    )
    tokenizer = tokenizer_alone(ModelRef(own["model"], own["revision"]))
    return _Augmentation(arm, sets, scores.trained, tokenizer, score, settings)


def _check_measure(folder: Location, made: Mapping[str, Any], expected: Measure) -> None:
    found = made.get("measure", "attention")
    if found != expected:
        raise ElusiveError(
            f"{folder}: expected scores of {expected}, got {found}. Give the folder that "
            f"`elusive score --measure {expected}` wrote."
        )


def _check_each(made: Mapping[Location, Mapping[str, Any]], arm: str) -> None:
    """Refuse scores of whole documents for an arm that looks sentence by sentence."""
    for folder, one in made.items():
        if not one.get("each"):
            raise ElusiveError(
                f"Arm {arm} looks for clues sentence by sentence (also with augment.cue_fusion), but {folder} holds "
                "scores of whole documents. Score the corpus into another folder with --each (score_corpus: each=True)."
            )


def _check_one_way(made: Mapping[Location, Mapping[str, Any]], excluded_tokens: tuple[str, ...]) -> None:
    """Refuse scores that were captured in two ways, or renormalised over other tokens than those to be ranked."""
    first, *others = made.items()
    for folder, other in others:
        for key in ("queries", "fields", "head_fields", "include_self", "max_length", "renormalise"):
            if other.get(key) != first[1].get(key):
                ways = f"{key}: {first[1].get(key)!r} and {other.get(key)!r}"
                raise ElusiveError(
                    f"{first[0]} and {folder} were scored in two ways ({ways}). "
                    "Score the corpus with both models in the same way."
                )
    for folder, one in made.items():
        if one.get("renormalise") and tuple(one["excluded_tokens"]) != excluded_tokens:
            raise ElusiveError(
                f"{folder} was renormalised without {one['excluded_tokens']}, but score.excluded_tokens is "
                f"{list(excluded_tokens)}. Give the same --excluded-tokens, or score again."
            )
