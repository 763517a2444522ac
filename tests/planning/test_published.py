"""The models of models.toml: their sizes are those that transformers builds, down to the last parameter."""

import dataclasses
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from elusive.planning.costs import ModelShape
from elusive.planning.published import presets, published_models, published_shape
from elusive.planning.shapes import shape_of


def built(name: str) -> ModelShape:
    """The shape of the architecture that transformers builds with a published model's sizes."""
    model, shape = published_models()[name], published_shape(name)
    assert shape is not None
    build: Any = CONFIG_MAPPING[model.architecture]
    config = build(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_size,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=shape.context,
    )
    return shape_of(config, shape.name)


@pytest.mark.parametrize("name", published_models())
def test_a_published_shape_is_that_of_its_architecture_and_has_the_published_parameters(name):
    shape, expected = published_shape(name), built(name)
    assert shape is not None
    assert shape.parameters == published_models()[name].parameters
    assert shape.lora_parameters(16) == expected.lora_parameters(16)
    assert dataclasses.replace(shape, adapter_sides=expected.adapter_sides) == expected


@pytest.mark.parametrize(("name", "preset"), presets().items())
def test_a_preset_pairs_a_large_model_with_a_smaller_one_that_is_described(name, preset):
    models = published_models()
    assert models[preset.large].parameters > 2 * models[preset.small].parameters, name


def test_a_model_that_is_not_published_here_has_no_shape():
    assert published_shape("someone/else") is None
