"""The corpus and the augmented texts of a run's trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from elusive.augmentation.arms import ARMS
from elusive.augmentation.rewriting import check_rewrite
from elusive.augmentation.stage import augment_corpus, check_texts, rewrite_corpus
from elusive.augmentation.summary import AugmentedCorpus
from elusive.config.run import Recipe
from elusive.corpus.documents import Corpus
from elusive.corpus.stage import make_corpus
from elusive.errors import ElusiveError
from elusive.evaluation.chats import in_chat_of_model
from elusive.evaluation.harness import check_harness
from elusive.evaluation.known import known_questions
from elusive.evaluation.language import metric_in_words
from elusive.evaluation.prompts import (
    NOTHING_ASKED,
    few_shot_prompt,
    prompting_of,
    prompting_of_known,
    prompts_in_words,
)
from elusive.models.loading import load_tokenizer
from elusive.runs.folder import RunFolder
from elusive.runs.progress import shown
from elusive.scoring.sets import ScoreSet

from .needs import scores_of_arm
from .trials import UNTRAINED, Trial


def corpus_of(recipe: Recipe, trials: Sequence[Trial], run: RunFolder) -> Corpus:
    """The corpus of a run or sweep, made or read back.

    Raises:
        ElusiveError: if questions are to be asked in training and it brings none, or as `check_texts`.
    """
    corpus = make_corpus(recipe.corpus, run.corpus, tokenizer=recipe.trained.name)
    if any(trial.recipe.train.evaluate_at_epochs for trial in trials) and not corpus.questions:
        raise ElusiveError(
            "train.evaluate_at_epochs: expected a corpus with questions, got one without any. Give corpus.questions."
        )
    for trial in trials:
        if trial.arm != UNTRAINED:
            check_texts(corpus.documents, ARMS[trial.arm], trial.recipe.score, trial.recipe.augment)
            if ARMS[trial.arm].rewrites:
                check_rewrite(trial.recipe.rewrite)
    return corpus


def evaluation_in_words(corpus: Corpus, recipe: Recipe, run: RunFolder) -> list[str]:
    """What a run's models will be asked, for its log before anything is scored or trained.

    Args:
        corpus: with the questions.
        recipe: of the run.
        run: where the corpus lies.

    Raises:
        ElusiveError: if a question cannot be prompted.
    """
    if not corpus.questions:
        return [NOTHING_ASKED]
    check_harness(recipe.evaluate)
    chosen = in_chat_of_model(recipe.trained, recipe.evaluate)
    prompting = prompting_of(corpus.questions, chosen, run.questions)
    groups = [("", list(corpus.questions), prompting)]
    if known := known_questions(chosen.known, recipe.trained.name):
        of_known = prompting_of_known(known, prompting.examples, corpus.questions, chosen)
        groups.append((" about what was known", known, of_known))
    lines = []
    for of, items, (examples, settings) in groups:
        for item in items:
            few_shot_prompt(item, examples, settings)  # better refused now than after hours of training
        lines.append(f"prompts{of}: {prompts_in_words(items, examples, settings)}")
    return [*lines, f"exact match and F1: {metric_in_words(prompting.settings)}"]


def augment_for(
    trial: Trial, corpus: Corpus, score_folders: Mapping[ScoreSet, Path], run: RunFolder
) -> AugmentedCorpus:
    """Write a trial's training texts, unless they are there.

    Args:
        trial: the arm and its settings.
        corpus: the corpus that was scored.
        score_folders: the folder of each score set.
        run: where they go.

    Returns:
        How much is there.
    """
    recipe = trial.recipe
    scores = {one: score_folders[one] for one in scores_of_arm(trial.arm, recipe)}
    if ARMS[trial.arm].rewrites:
        return rewrite_corpus(
            corpus.documents,
            trial.texts_folder(run),
            trial.arm,
            scores,
            trained=recipe.models.trained,
            tokenizer=load_tokenizer(recipe.trained),
            score=recipe.score,
            settings=recipe.augment,
            rewrite=recipe.rewrite,
        )
    with shown(f"augment {trial.arm} {trial.texts}".rstrip()) as progress:
        return augment_corpus(
            corpus.documents,
            trial.texts_folder(run),
            trial.arm,
            scores,
            trained=recipe.models.trained,
            tokenizer=load_tokenizer(recipe.trained),
            score=recipe.score,
            settings=recipe.augment,
            progress=progress,
        )
