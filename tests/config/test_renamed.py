"""Recipes of Elusive 0.1 are refused with the lines to write instead; these lines are right."""

import tomllib
from typing import Any

import pytest

from elusive.config.models import ModelRef, Models
from elusive.config.renamed import RENAMED
from elusive.config.run import Recipe
from elusive.config.scoring import ScoreSettings
from elusive.config.toml import from_table
from elusive.config.training import TrainSettings
from elusive.config.verbs import LlmSettings, PretrainSettings
from elusive.errors import ElusiveError


def refusal(text: str, kind: type = Recipe) -> str:
    with pytest.raises(ElusiveError) as error:
        from_table(kind, tomllib.loads(text), "r.toml")
    return str(error.value)


def recipe_of(message: str) -> Recipe:
    """The recipe that the lines of a message make."""
    lines = [line.strip() for line in message.splitlines()[1:]]
    toml = [line for line in lines if line.startswith("[") or " = " in line]
    return from_table(Recipe, tomllib.loads("\n".join(toml)), "new")


def test_models_named_by_strings_get_tables_of_their_own() -> None:
    old = """
        [models]
        large = "org/large"
        small = 'a "quoted" path'
        large_revision = "abc"
        large_layers = [1, 2]
        small_heads = ["0.1"]
        dtype = "bfloat16"
        quantization = "8bit"
    """
    message = refusal(old)
    assert message.startswith("r.toml: models: settings have new names since Elusive 0.2:")
    loading: dict[str, Any] = {"dtype": "bfloat16", "quantization": "8bit"}
    assert recipe_of(message).models == Models(
        large=ModelRef("org/large", revision="abc", layers=(1, 2), **loading),
        small=ModelRef('a "quoted" path', heads=("0.1",), **loading),
    )


def test_how_both_were_loaded_is_said_of_each() -> None:
    models = recipe_of(refusal('[models]\ndevice = "cpu"')).models
    assert (models.large, models.small) == (
        ModelRef("elusive/large", device="cpu"),
        ModelRef("elusive/small", device="cpu"),
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('model = "small"', Models(trained="small")),
        ('model = "large"\nrevision = "x"', Models(large=ModelRef("elusive/large", revision="x"))),
        ('model = "org/a"', Models(other=ModelRef("org/a"), trained="other")),
        ('model = "org/a"\nrevision = "x"', Models(other=ModelRef("org/a", revision="x"), trained="other")),
    ],
)
def test_the_model_to_train_is_named_in_models(old: str, new: Models) -> None:
    assert recipe_of(refusal(f"[train]\n{old}")).models == new


@pytest.mark.parametrize(("old", "unit"), [("true", "word"), ("false", "token")])
def test_whole_words_are_a_unit(old: str, unit: str) -> None:
    assert recipe_of(refusal(f"[augment]\nwhole_words = {old}")).augment.unit == unit


def test_excluded_tokens_are_a_setting_of_score() -> None:
    assert recipe_of(refusal("[augment]\nexcluded_tokens = ['.', '\"']")).score == ScoreSettings(
        excluded_tokens=(".", '"')
    )


def test_every_other_old_name_gets_its_new_one() -> None:
    for kind in (TrainSettings, PretrainSettings, LlmSettings):
        for old, new in RENAMED[kind.__name__].items():
            assert hasattr(kind(), new)
            assert not hasattr(kind(), old)
            assert refusal(f"{old} = 1", kind).endswith(f"{old} is now {new}")
    several = refusal("[train]\naccumulation = 2\nclip_norm = 0.5")
    assert several.splitlines()[1:] == [
        "  accumulation is now gradient_accumulation_steps",
        "  clip_norm is now max_grad_norm",
    ]
