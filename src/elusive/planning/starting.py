"""Recipes to begin with: a pair that people use, with its sizes, its licences and what a run will take."""

import textwrap
import tomllib
from collections.abc import Iterator, Sequence

from elusive.config.run import Recipe
from elusive.config.toml import from_table

from .costs import H100, Device
from .plan import CorpusSizes, PlannedStage, hours, plan_recipe
from .published import Preset, PublishedModel, published_models, published_shape
from .table import gigabytes, hours_text

PLANNED = CorpusSizes(documents=1000, document_tokens=(300,), questions=1000, prompt_tokens=400.0, answer_tokens=8.0)
"""The corpus that the figures in a new recipe are for; each document stands for all."""


_HALVED_FROM = 2_000_000_000
"""Parameters from which a new recipe holds the weights in bfloat16."""


_WIDTH = 78


def recipe_text(name: str, preset: Preset) -> str:
    """A commented recipe for a pair, as TOML.

    Args:
        name: of the preset.
        preset: the pair.
    """
    settings = _SETTINGS.format(
        name=name,
        models="\n".join(_model_table(role, getattr(preset, role)) for role in ("large", "small")),
        across="" if _alike(preset) else "across_tokenizers = true  # the two models have different tokenizers\n",
    )
    return "\n".join([*_head(name, preset, settings), "", settings])


def _head(name: str, preset: Preset, settings: str) -> Iterator[str]:
    models = published_models()
    yield f"# A recipe to begin with, by `elusive init {name}`. `elusive settings` explains every"
    yield "# setting, and says the defaults of those that are left out."
    yield "#"
    for role in ("large", "small"):
        yield _model_line(role, getattr(preset, role), models[getattr(preset, role)])
    gated = [model for model in (preset.large, preset.small) if models[model].gated]
    if gated:
        pages = " and ".join(f"huggingface.co/{model}" for model in gated)
        yield from _comment(f"Gated: accept the licence at {pages}, then run `hf auth login`.")
    if preset.note:
        yield from _comment(preset.note)
    yield from _comment("Sizes and licences are not looked up on the hub: see there.")
    yield "#"
    yield from _comment(
        f"What it takes on one {H100.name} ({H100.memory_bytes / 1e9:g} GB), if that holds everything: estimated by "
        f"the formulas of docs/planning.md, not measured, for {PLANNED.documents:,} documents of "
        f"{PLANNED.document_tokens[0]} tokens and {PLANNED.questions:,} questions of {PLANNED.prompt_tokens:g} with "
        "their examples. `elusive run FILE --plan` says it for your corpus."
    )
    recipe = from_table(Recipe, tomllib.loads(settings), f"the preset {name}")
    shapes = {role: published_shape(getattr(preset, role)) for role in ("large", "small")}
    stages = plan_recipe(recipe, PLANNED, {role: shape for role, shape in shapes.items() if shape})
    for verb in ("score", "train", "evaluate"):
        yield _cost_line(verb, [stage for stage in stages if stage.name.startswith(verb)], H100)


def _model_line(role: str, name: str, model: PublishedModel) -> str:
    size = f"{model.parameters / 1e9:.2g}B" if model.parameters >= 1e9 else f"{model.parameters / 1e6:.0f}M"
    return f"#   {role:6} {name:32} {size:>5} parameters  licence {model.licence}"


def _cost_line(verb: str, stages: Sequence[PlannedStage], device: Device) -> str:
    peak, taken = max(stage.peak_bytes for stage in stages), hours(stages, device)
    return f"#   {verb:9} {gigabytes(peak):>6} GB  {hours_text(taken or 0.0):>6} hours"


def _comment(words: str) -> list[str]:
    return textwrap.wrap(words, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _model_table(role: str, name: str) -> str:
    halved = published_models()[name].parameters >= _HALVED_FROM
    dtype = 'dtype = "bfloat16"  # float32 is exact and takes twice the memory\n' if halved else ""
    return f'[models.{role}]\nname = "{name}"\n{dtype}'


def _alike(preset: Preset) -> bool:
    """Whether the two models have one vocabulary, as far as their sizes tell."""
    large, small = (published_models()[name] for name in (preset.large, preset.small))
    vocabularies = [large.shape["vocabulary"], small.shape["vocabulary"]]
    # Qwen 2.5 pads the same vocabulary to different lengths.
    return max(vocabularies) - min(vocabularies) < 1024


_SETTINGS = """\
output = "runs/{name}"
title = "{name}: continued pretraining"
# What is compared; docs/choosing.md says which arm is for which texts.
arms = ["plain", "random-matched", "attention", "contrast-cues", "insert-contrast+reorder"]

[corpus]
# A line for each document: {{"text": "...", "spans": [["answer", 41, 57]]}}. Spans
# mark the facts, in characters. Other formats: docs/corpora.md.
source = "my_corpus.jsonl"
# What was learned is measured with questions; a line for each, with "id",
# "question", "answers" and "document_id". Without them nothing is evaluated.
# questions = "my_questions.jsonl"

{models}
[score]
queries = "cues"  # before each marked fact; "all" for a corpus without spans

[augment]
copies = 10
alpha = 0.6       # a token is dropped with probability alpha (1 - exp(-beta rank))
beta = 0.05       # smaller for long texts: 0.005 for paragraphs
# The paper ranks by the mean difference of the models' attention. `elusive recall`
# says what finds most with your pair; on a real one it was the ratio, each cue for
# itself (docs/real-models.md):
# contrast_signal = "ratio"
# cue_fusion = "max"
{across}
[train]
method = "lora"   # "full" trains all weights, and takes much more memory
lora_rank = 16
learning_rate = 2e-4
epochs = 10.0
batch_size = 8
# Less memory for more time: activations computed again, one text at a time.
# gradient_checkpointing = true
# gradient_accumulation_steps = 8
"""
