"""The JSON Schemas that ship with the recipes: `python tests/config/test_schema.py` writes them anew after a change."""

import json
import tomllib
from typing import Any

import pytest

from elusive.config.schema import json_schema
from elusive.config.shipped import FOLDER, shipped_recipes
from elusive.config.verbs import PretrainSettings, SweepRecipe

SCHEMAS = {
    "recipe.schema.json": json_schema(SweepRecipe, "A recipe of Elusive"),
    "pretrain.schema.json": json_schema(PretrainSettings, "A recipe of elusive pretrain"),
}


def text_of(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def problems(schema: Any, value: Any, where: str = "") -> list[str]:
    """What a JSON value breaks of the parts of JSON Schema that ours use."""
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{where}: not in enum"]
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    if not isinstance(value, kinds[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return [f"{where}: not {schema['type']}"]
    inside: Any = value
    if schema["type"] == "array":
        return [found for item in inside for found in problems(schema["items"], item, where)]
    known: dict[str, Any] = schema.get("properties", {}) if schema["type"] == "object" else {}
    if not known:
        return []
    inner = [found for key in inside if key in known for found in problems(known[key], inside[key], f"{where}.{key}")]
    return [*inner, *(f"{where}.{key}: unknown" for key in inside if key not in known)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_that_ship_are_those_of_the_settings(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == text_of(SCHEMAS[name]), (
        "Settings changed. On purpose? Then run python tests/config/test_schema.py."
    )


@pytest.mark.parametrize(("name", "path"), shipped_recipes().items())
def test_a_shipped_recipe_names_its_schema_and_fits_it(name, path):
    text = path.read_text(encoding="utf-8")
    schema = text.splitlines()[0].removeprefix("#:schema ")
    assert schema == ("pretrain.schema.json" if name.startswith("embedded-") else "recipe.schema.json")
    assert problems(SCHEMAS[schema], tomllib.loads(text)) == []


def test_what_a_recipe_must_not_hold_breaks_the_schema():
    bad = {"train": {"method": "qlora", "seed": "1", "alhpa": 1}, "arms": "plain", "seeds": [0.5]}
    assert problems(SCHEMAS["recipe.schema.json"], bad) == [
        ".train.method: not in enum",
        ".train.seed: not integer",
        ".train.alhpa: unknown",
        ".arms: not array",
        ".seeds: not integer",
    ]


def test_a_setting_brings_its_meaning_and_default():
    train = SCHEMAS["recipe.schema.json"]["properties"]["train"]
    assert train["properties"]["learning_rate"] == {
        "type": "number",
        "default": 0.0005,
        "description": "Peak learning rate.",
    }
    assert train["additionalProperties"] is False


if __name__ == "__main__":
    for name, schema in SCHEMAS.items():
        (FOLDER / name).write_text(text_of(schema), encoding="utf-8")
