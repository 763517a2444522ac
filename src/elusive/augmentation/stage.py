"""The stage that writes one arm's training texts."""

import contextlib
import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elusive.config.augmentation import AugmentSettings
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.config.server import RewriteSettings
from elusive.config.toml import to_table
from elusive.corpus.documents import Document, corpus_hash
from elusive.corpus.readers.given import Given, documents_of
from elusive.errors import ElusiveError
from elusive.models.tokenizers import tokenizer_alone
from elusive.runs.files import ProgressFunction, atomic_path, file_hash, silent
from elusive.runs.parquet import WRITE
from elusive.runs.progress import shown
from elusive.runs.stage import Stage, stage_settings
from elusive.runs.typed_json import from_json, to_json
from elusive.scoring.sets import Measure, ScoreSet, entropy_set
from elusive.scoring.shards import iterate_scores

from .arm import Arm, count_at_ceiling
from .arms import arm_named
from .copies import AugmentedDocument, AugmentedText, _batches, augment_documents, check_sets
from .marks import COLUMN, COLUMN_TYPE
from .protection import ANSWERS, check_protected
from .rankings import RANKING, ranking_rows, ranking_schema
from .rewriting import REWRITES, Rewriter, check_rewrite, identity_of
from .signals import no_head_entity
from .summary import AugmentedCorpus
from .survival import SpanCounts, added, survival

TRAIN_SCHEMA = pa.schema([("text", pa.string()), ("id", pa.string()), ("copy", pa.int32()), ("arm", pa.string())])


_GROUP_DOCUMENTS = 256


def train_schema(arm: Arm) -> pa.Schema:
    """Columns of train.parquet: TRAIN_SCHEMA, and marks where the arm makes any."""
    return TRAIN_SCHEMA.append(pa.field(COLUMN, COLUMN_TYPE)) if arm.marks else TRAIN_SCHEMA


def write_augmented(
    folder: str | Path, augmented: Iterable[AugmentedDocument], arm: str, settings: AugmentSettings
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
    folder = Path(folder)
    documents = texts = dropped = chances = at_ceiling = ranked = unchanged = clues = headed = right = 0
    marked, markable = 0.0, 0
    columns, by_rank = train_schema(arm_named(arm)), arm_named(arm).ranked
    intact: dict[str, SpanCounts] = {}
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with contextlib.ExitStack() as stack:
        lines, train, ranking = (
            stack.enter_context(atomic_path(folder / name)) for name in ("train.jsonl", "train.parquet", RANKING)
        )
        stream = stack.enter_context(lines.open("w", encoding="utf-8", newline="\n"))
        train_table = stack.enter_context(pq.ParquetWriter(train, columns, compression="zstd"))
        schema = ranking_schema(arm, settings)
        ranking_table = stack.enter_context(pq.ParquetWriter(ranking, schema, **WRITE))
        for group in _batches(augmented, _GROUP_DOCUMENTS):
            rows = [text for item in group for text in item.texts]
            written = [_train_row(text, columns) for text in rows]
            stream.writelines(encode(row) + "\n" for row in written)
            train_table.write_table(pa.table({name: [row[name] for row in written] for name in columns.names}, columns))
            ranking_table.write_table(ranking_rows([item.ranked for item in group], schema))
            documents, texts = documents + len(group), texts + len(rows)
            dropped += sum(item.dropped for item in group)
            chances += sum(item.droppable * (len(item.texts) - 1) for item in group)
            for item in group:
                ranks = item.ranked.ranks if by_rank else np.zeros_like(item.ranked.ranks)
                counted = count_at_ceiling(ranks, item.ranked.drop_probability, settings.alpha)
                at_ceiling, ranked = at_ceiling + counted[0], ranked + counted[1]
            unchanged += sum(_unchanged(text, item) for item in group for text in item.texts[1:])
            marked += sum(item.marked for item in group)
            markable += sum(item.droppable for item in group for text in item.texts if text.marks)
            clues += sum(len(item.ranked.clues) for item in group)
            headed += sum(len(item.ranked.clues) for item in group if item.right_clues is not None)
            right += sum(item.right_clues or 0 for item in group)
            intact = added([intact, *(item.spans for item in group)])
    return AugmentedCorpus(
        documents,
        texts,
        mean_drop_rate=dropped / chances if chances else 0.0,
        mean_mark_rate=marked / markable if markable else 0.0,
        at_ceiling=at_ceiling / ranked if ranked else 0.0,
        unchanged=unchanged / (texts - documents) if texts > documents else 0.0,
        clues=clues,
        right_clues=right / headed if headed else None,
        survival=survival(intact),
    )


def _train_row(text: AugmentedText, columns: pa.Schema) -> dict[str, Any]:
    row = {name: getattr(text, name) for name in TRAIN_SCHEMA.names}
    return row | ({COLUMN: text.marks and text.marks.row} if COLUMN in columns.names else {})


def _unchanged(copy: AugmentedText, document: AugmentedDocument) -> bool:
    return copy.text == document.ranked.text and not (copy.marks and copy.marks.acts)


def augment_corpus(
    documents: Given,
    folder: str | Path,
    arm: str,
    score_folders: Mapping[ScoreSet, Path],
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
    if arm_named(arm).rewrites:
        raise ElusiveError(
            f"The copies of arm {arm} are a language model's, which a recipe names in [rewrite]. Use it in a recipe "
            "(elusive run), or call rewrite_corpus."
        )
    documents = documents_of(documents)
    with _stage(documents, folder, arm, score_folders, trained, score, settings) as stage:
        if not stage.done:
            scores = {one: iterate_scores(path) for one, path in score_folders.items()}
            augmented = augment_documents(
                documents,
                arm,
                scores,
                trained=trained,
                tokenizer=tokenizer,
                score=score,
                settings=settings,
                progress=progress,
            )
            stage.finish(to_json(write_augmented(stage.folder, augmented, arm, settings)))
        return from_json(AugmentedCorpus, stage.summary, str(stage.folder))


def rewrite_corpus(
    documents: Collection[Document],
    folder: str | Path,
    arm: str,
    score_folders: Mapping[ScoreSet, Path],
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
                made = write_augmented(stage.folder, written, arm, settings)
            stage.finish(to_json(dataclasses.replace(made, rewrites=rewriter.summary())))
        return from_json(AugmentedCorpus, stage.summary, str(stage.folder))


def _stage(
    documents: Collection[Document],
    folder: str | Path,
    arm: str,
    score_folders: Mapping[ScoreSet, Path],
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
        "scores": {one.name: file_hash(*sorted(path.glob("part-*.parquet"))) for one, path in score_folders.items()},
        **more,
    }
    # Answers that are paid for serve other settings too, as long as nothing was made of them.
    return Stage(folder, depends, beside=(REWRITES,))


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


def augment_from_scores(
    documents: Collection[Document],
    folder: str | Path,
    arm: str,
    scores: Mapping[str, Path],
    *,
    entropy: Path | None = None,
    trained: str = "large",
    excluded_tokens: tuple[str, ...] = ScoreSettings.excluded_tokens,
    settings: AugmentSettings | None = None,
    progress: ProgressFunction = silent,
) -> AugmentedCorpus:
    """`augment_corpus`, with the tokenizer and the queries as the scores' own settings name them.

    Args:
        documents: the corpus that was scored.
        folder: where the texts go.
        arm: its name, a key of arms.ARMS.
        scores: folders of attention scores that `score_corpus` wrote, by the model's role (large, small).
        entropy: folder of the trained model's entropies (measure = entropy), where the arm reads them.
        trained: the role of the model that will be trained.
        excluded_tokens: never ranked and never dropped.
        settings: dropout.
        progress: called with (documents, of how many).

    Raises:
        ElusiveError: if the scores were captured in two ways, or as for `augment_corpus`.
    """
    made = {role: stage_settings(path) for role, path in scores.items()}
    for role, one in made.items():
        _check_measure(scores[role], one, "attention")
    _check_one_way({scores[role]: one for role, one in made.items()}, excluded_tokens)
    settings = settings or AugmentSettings()
    each = arm_named(arm).by_sentence(settings.cue_fusion)
    _check_each({scores[role]: one for role, one in made.items() if each}, arm)
    own = made[trained]
    sets = {ScoreSet(role, own["queries"], each=each): path for role, path in scores.items()}
    if entropy:
        _check_measure(entropy, stage_settings(entropy), "entropy")
        sets[entropy_set(trained)] = entropy
    return augment_corpus(
        documents,
        folder,
        arm,
        sets,
        trained=trained,
        tokenizer=tokenizer_alone(ModelRef(own["model"], own["revision"])),
        score=ScoreSettings(
            queries=own["queries"], head_fields=tuple(own["head_fields"]), excluded_tokens=excluded_tokens
        ),
        settings=settings,
        progress=progress,
    )


def _check_measure(folder: Path, made: Mapping[str, Any], expected: Measure) -> None:
    found = made.get("measure", "attention")
    if found != expected:
        raise ElusiveError(
            f"{folder}: expected scores of {expected}, got {found}. Give the folder that "
            f"`elusive score --measure {expected}` wrote."
        )


def _check_each(made: Mapping[Path, Mapping[str, Any]], arm: str) -> None:
    """Refuse scores of whole documents for an arm that looks sentence by sentence."""
    for folder, one in made.items():
        if not one.get("each"):
            raise ElusiveError(
                f"Arm {arm} looks for clues sentence by sentence (also with augment.cue_fusion), but {folder} holds "
                "scores of whole documents. Score the corpus into another folder with --each (score_corpus: each=True)."
            )


def _check_one_way(made: Mapping[Path, Mapping[str, Any]], excluded_tokens: tuple[str, ...]) -> None:
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
