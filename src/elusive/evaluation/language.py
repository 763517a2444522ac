"""How questions of a language are asked, and how answers in it are compared: what evaluate's settings leave open."""

import dataclasses
from collections.abc import Sequence

from elusive.config.evaluation import EvaluateSettings
from elusive.corpus.languages import LANGUAGES, language_of
from elusive.corpus.questions import QuestionItem

from .normal_forms import AnswerMetric

WELL_KNOWN, OF_CORPUS = "well-known", "corpus"
"""Values of evaluate.examples that are no files."""

EACH_OTHER = "each other"
"""What stands there for questions about what was known before, if they are each other's examples."""

GENERAL = "general"
"""The value of evaluate.known for the built-in questions of general knowledge."""

UNKNOWN = "unknown"
"""The value of evaluate.language for a language that could not be told."""


def in_language_of(items: Sequence[QuestionItem], settings: EvaluateSettings) -> EvaluateSettings:
    """The settings, with language, labels, metric and examples as these questions need them; none is left open.

    Questions whose language is not known count as English if all their letters are English ones.

    Args:
        items: all questions that are asked together: of a few of them the language may not be seen.
        settings: what is given stays.
    """
    texts = [text for item in items for text in (item.question, *item.answers)]
    language = settings.language if settings.language != "auto" else language_of(texts) or UNKNOWN
    english = language == "en" or (language == UNKNOWN and all(map(_has_english_letters, texts)))
    known = LANGUAGES.get(language, LANGUAGES["en"])
    return dataclasses.replace(
        settings,
        language=language,
        labels=settings.labels or known.labels,
        metric=("squad" if english else "multilingual") if settings.metric == "auto" else settings.metric,
        examples=settings.examples or (WELL_KNOWN if english else OF_CORPUS),
    )


def _has_english_letters(text: str) -> bool:
    return all(character.isascii() or not character.isalpha() for character in text)


def metric_of(settings: EvaluateSettings) -> AnswerMetric:
    """How answers are compared, by settings that leave nothing open."""
    if settings.metric == "squad":
        return AnswerMetric()
    return AnswerMetric(settings.metric, "" if settings.language == UNKNOWN else settings.language)


def metric_in_words(settings: EvaluateSettings) -> str:
    """How answers are compared, in words, by settings that leave nothing open.

    Example:
        >>> metric_in_words(EvaluateSettings(metric="numeric", language="de"))
        'numeric, for German: as multilingual, with numbers by their value'
    """
    rules = {
        "squad": "as in SQuAD v1.1",
        "multilingual": "by MLQA's rules",
        "numeric": "as multilingual, with numbers by their value",
    }[settings.metric]
    if settings.metric == "squad":
        return f"squad: {rules}"
    return f"{settings.metric}, for {language_in_words(settings.language)}: {rules}"


def language_in_words(code: str) -> str:
    """A language's name; its code where it has none here.

    Example:
        >>> language_in_words("de"), language_in_words("unknown")
        ('German', 'a language that is not known')
    """
    if code == UNKNOWN:
        return "a language that is not known"
    return LANGUAGES[code].name if code in LANGUAGES else f"the language {code}"
