"""Questions about what a model knew before it was trained: what it has forgotten since."""

import functools
import os
from collections.abc import Iterable
from pathlib import Path

from elusive.config.toml import load_recipe
from elusive.config.verbs import PretrainSettings
from elusive.corpus.people.biographies import Person, pretraining_people, questions_about
from elusive.corpus.questions import QuestionItem, read_questions
from elusive.models.loading import base_of
from elusive.runs.files import read_json
from elusive.runs.stage import check_format
from elusive.training.pretraining_text import RECIPE_NAME

from .language import GENERAL

GENERAL_QUESTIONS = Path(__file__).parent / "general_questions.jsonl"
"""Questions of general knowledge, of several fields, with all answers that count."""

PEOPLE_OF_EACH_KIND = 50
"""So many people who were asked about in the pretraining text, and so many who were only told about."""


def known_questions(setting: str, model: str) -> list[QuestionItem]:
    """The questions that evaluate.known stands for, with a model as it was before training.

    Nothing is loaded, and no hub name is looked up: of a model that is not in a local folder, auto knows nothing and
    asks about general knowledge.

    Args:
        setting: `none`, `auto`, `general`, or the path of a JSONL file of questions.
        model: folder or hub name of a model, elusive/large or elusive/small; of adapters, and of a folder that
            `elusive train` wrote, the model counts that was trained.

    Returns:
        No questions (none), those of general knowledge, those of the file, or five about each person of the model's
        pretraining text (auto, where that is known). Document ids are `known-asked-00001` ... for people whom that text
        also asked about, `known-told-00001` ... for those whom it only told about, and `general-001` ... for general
        knowledge.

    Raises:
        ElusiveError: if the file of questions or the pretraining recipe cannot be read.
    """
    if setting == "none":
        return []
    if setting not in ("auto", GENERAL):
        return read_questions(setting)
    recipe = Path(_before_training(model)) / RECIPE_NAME
    if setting == GENERAL or not os.path.exists(recipe):
        return list(_general_questions())
    text = load_recipe(recipe, PretrainSettings)
    told, asked = pretraining_people(text.seed, text.people, text.questioned_ratio)
    return [
        *_asked_about(asked[:PEOPLE_OF_EACH_KIND], "known-asked"),
        *_asked_about(told[:PEOPLE_OF_EACH_KIND], "known-told"),
    ]


def are_general(items: Iterable[QuestionItem]) -> bool:
    """Whether questions are those of general knowledge, or some of them."""
    return set(items) <= set(_general_questions())


@functools.cache
def _general_questions() -> tuple[QuestionItem, ...]:
    return tuple(read_questions(GENERAL_QUESTIONS))


def _before_training(model: str) -> str:
    """The model as it was before `elusive train`, or before adapters were merged: the folder says which that was."""
    folder = base_of(model)
    settings = Path(folder) / "settings.json"
    if os.path.exists(settings):
        stage = read_json(settings)
        if {"model", "texts", "train"} <= stage.keys():
            check_format(stage, folder)
            return _before_training(stage["model"])
        if {"model", "base"} <= stage.keys():
            return _before_training(stage["base"])
    return folder


def _asked_about(people: Iterable[Person], prefix: str) -> list[QuestionItem]:
    return [item for number, one in enumerate(people, 1) for item in questions_about(one, f"{prefix}-{number:05d}")]
