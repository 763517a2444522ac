"""Which score sets the arms and the report of a run need."""

from collections.abc import Iterable, Sequence

from elusive.augmentation.arms import arm_named
from elusive.config.run import Recipe
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.scoring.sets import ScoreSet, pair_sets


def needed_scores(recipe: Recipe, documents: Iterable[Document]) -> list[ScoreSet]:
    """Which scores the arms and the report of a run need.

    Raises:
        ElusiveError: if cues are asked for and no document has an answer span.
    """
    needed: list[ScoreSet] = [ScoreSet(recipe.models.trained, recipe.score.queries)]
    needed += [one for arm in recipe.arms for one in scores_of_arm(arm, recipe)]
    if field := cue_field(recipe, documents):
        needed += pair_sets("cues", field)
    return checked_scores(needed, recipe, documents)


def scores_of_arm(arm: str, recipe: Recipe) -> list[ScoreSet]:
    """Which scores an arm's texts are made with."""
    fusion = recipe.augment.cue_fusion
    return list(arm_named(arm, "arms").needs(recipe.models.trained, recipe.score.queries, fusion))


def checked_scores(needed: Sequence[ScoreSet], recipe: Recipe, documents: Iterable[Document]) -> list[ScoreSet]:
    """Each score set once, model by model.

    Raises:
        ElusiveError: if cues are asked for and no document has an answer span.
    """
    asks_cues = [one.queries for one in needed if one.queries != "all"]
    heads = set(recipe.score.head_fields)
    if asks_cues and not any(span.field not in heads for document in documents for span in document.spans):
        raise ElusiveError(
            f"Queries '{asks_cues[0]}' read attention before marked answers, but no document has any span. "
            'Mark spans in the corpus (JSONL `spans`, tagged CSV or SQuAD), or set score.queries = "all" and use the '
            "arm contrast-all instead of contrast-cues."
        )
    # One model after the other, so that each is loaded once.
    models = [one.model for one in needed]
    return sorted(dict.fromkeys(needed), key=lambda one: models.index(one.model))


def cue_field(recipe: Recipe, documents: Iterable[Document]) -> str:
    """The field whose cue the report's rank bars look from: the one farthest from the head entity ("" if none)."""
    if recipe.report.cue_field:
        return recipe.report.cue_field
    heads = set(recipe.score.head_fields)
    starts: dict[str, list[int]] = {}
    for document in documents:
        head = [span.start for span in document.spans if span.field in heads]
        for span in document.spans if head else ():
            if span.field not in heads:
                starts.setdefault(span.field, []).append(span.start - min(head))
    return max(starts, key=lambda field: sum(starts[field]) / len(starts[field])) if starts else ""
