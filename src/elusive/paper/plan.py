"""What `elusive reproduce` would take, before any weights are loaded: `--plan`."""

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elusive.config.models import ModelRef
from elusive.config.toml import from_table
from elusive.config.verbs import PretrainSettings, ReproduceSettings, SweepRecipe
from elusive.corpus.people.biographies import FIELDS, pretraining_people
from elusive.corpus.readers import DEFAULT_TOKENIZER
from elusive.evaluation.known import PEOPLE_OF_EACH_KIND, known_questions
from elusive.evaluation.prompts import NOTHING_ASKED
from elusive.experiments.jobs import jobs_of
from elusive.experiments.trials import UNTRAINED, grid_trials
from elusive.planning.costs import Device, ModelShape, training_bytes, training_flops
from elusive.planning.plan import CorpusSizes, PlannedStage, hours, plan_recipe, together
from elusive.planning.recipes import (
    CHARACTERS_A_TOKEN,
    TokenCounter,
    device_for,
    documents_and_questions,
    replayed,
    shape_of_model,
)
from elusive.planning.table import COLUMNS, assumptions, plan_table
from elusive.training.pretraining_text import texts as pretraining_texts

from .experiments import cohort_recipes
from .families import ROLES, Family, Role, family
from .reproduce import left_out_lines, needed_arms, wanted


def plan(what: Sequence[str], settings: ReproduceSettings) -> str:
    """What it takes to reproduce tables and figures: the stages of each experiment, and their sum.

    Corpora are made or read and tokens counted, or estimated where a model's tokenizer is not at hand; no weights are
    loaded, and nothing is written. Models of the paper's families are not looked up.

    Args:
        what: table1 ... table8, figure1 ... figure7, question-sets, copies, beyond,
            beyond-entropy, beyond-wikipedia, forgetting, attempts, or all.
        settings: the pair, and how far.

    Returns:
        Text of at most 80 columns.

    Raises:
        ElusiveError: on bad input, or if something that was asked for by name cannot be run.
    """
    pair, names = family(settings.family), wanted(what)
    left_out = left_out_lines(pair, names, settings) if "all" in what else []
    names = [name for name in names if not any(line.startswith(f"{name}:") for line in left_out)]
    planned = [
        _experiment(pair, name, role, arms, settings)
        for (name, role), arms in needed_arms(pair, names, settings).items()
        if arms
    ]
    if not planned:
        return f"Nothing is trained for {', '.join(names)}: the original models read some documents, if that.\n"
    largest = max((shape.parameters for one in planned for shape in one.shapes), default=0)
    device = device_for(largest)
    parts = []
    for one in planned:
        key = (one.name, one.role)
        used = [name for name in names if key in needed_arms(pair, [name], settings)]
        title = textwrap.wrap(f"{one.title}, for {', '.join(used)}", COLUMNS, subsequent_indent="    ")
        parts.append("\n".join([*title, *_wrapped(one.corpus)]))
        parts.append(plan_table(one.stages, device))
    if len(planned) > 1:
        parts += [f"All of the family '{settings.family}'", plan_table([one.summed(device) for one in planned], device)]
    parts.append(assumptions(device))
    parts.append("\n".join(_closing(planned, settings.output)))
    parts += ["\n".join(f"left out: {line}" for line in left_out)] if left_out else []
    return "\n\n".join(parts) + "\n"


def _wrapped(words: str, indent: str = "    ") -> list[str]:
    return textwrap.wrap(words, COLUMNS, initial_indent=indent, subsequent_indent=indent)


def _closing(planned: Sequence["_Planned"], output: str) -> list[str]:
    words = ""
    if any(one.estimated for one in planned):
        words = f"Tokens marked ~ are estimated: {CHARACTERS_A_TOKEN:g} characters each. "
    words += f"Pictures are not counted. The plan is of everything; what {output} holds already is not done again."
    return _wrapped(words, "")


@dataclass(frozen=True)
class _Planned:
    """The plan of one experiment, its cohorts together."""

    name: str
    role: Role
    title: str
    corpus: str
    """In words."""
    shapes: tuple[ModelShape, ...]
    stages: list[PlannedStage]
    estimated: bool

    def summed(self, device: Device | None) -> PlannedStage:
        """All its stages as one."""
        seconds = 3600 * (hours(self.stages, device) or 0.0)
        return PlannedStage(f"{self.name}, {self.role} model", 1, *together(self.stages), least_seconds=seconds)


def _experiment(pair: Family, name: str, role: Role, arms: Sequence[str], settings: ReproduceSettings) -> _Planned:
    recipes = cohort_recipes(pair, name, role, arms, settings)
    recipe = recipes[0]
    to_make = _to_make(pair, recipe, settings)
    titles = {side: _title(pair, side, recipe, to_make) for side in ROLES}
    trained, model = recipe.models.trained, recipe.trained
    tokens = TokenCounter.of(ModelRef(DEFAULT_TOKENIZER) if model.name in to_make else model)
    corpora = [documents_and_questions(one.corpus, model.name) for one in recipes]
    lengths = [count for documents, _ in corpora for count in tokens.of_texts([one.text for one in documents])]
    questions = [item for _, asked in corpora for item in asked]
    prompts, answers = tokens.of_questions(questions, recipe)
    shapes = {
        "large": _shape(recipe.models.large, titles["large"], to_make),
        "small": _shape(recipe.models.small, titles["small"], to_make),
    }
    if trained not in shapes:
        shapes[trained] = _shape(model, model.name, to_make)
    trials = grid_trials(recipe)
    sizes = CorpusSizes(
        documents=round(len(lengths) / len(recipes)),
        document_tokens=lengths,
        questions=round(len(questions) / len(recipes)),
        prompt_tokens=prompts,
        answer_tokens=answers,
        replay_tokens=tokens.of_rows(_replay(recipe, model.name, to_make), recipe.train),
        known=_known(recipe, model.name, to_make),
    )
    stages = plan_recipe(recipe, sizes, shapes, trials=[(trial.arm, trial.recipe) for trial in trials])
    many = len(recipes)
    made = [_pretraining_stage(model, own) for model, own in to_make.items()]
    trainings = len(jobs_of((trial, seed) for trial in trials if trial.arm != UNTRAINED for seed in trial.seeds)) * many
    about = "~" if tokens.estimated else ""
    asked = f"{len(questions) // many:,} questions of {about}{prompts:.0f} with their shots"
    asked = asked if questions else NOTHING_ASKED
    return _Planned(
        name=name,
        role=role,
        title=f"{name}: {titles.get(trained, model)} learns",
        corpus=f"{many} {'cohorts of' if many > 1 else 'cohort:'} {len(lengths) // many:,} documents of "
        f"{about}{np.mean(lengths):.0f} tokens, {asked}; {trainings:,} trainings",
        shapes=tuple(shapes.values()),
        stages=[*made, *(dataclasses.replace(stage, times=stage.times * many) for stage in stages)],
        estimated=tokens.estimated,
    )


# Models.


def _title(pair: Family, side: Role, recipe: SweepRecipe, to_make: Mapping[str, PretrainSettings]) -> str:
    model, member = recipe.models[side].name, pair.member(side)
    return member.title if model == member.model else Path(model).name if model in to_make else model


def _to_make(pair: Family, recipe: SweepRecipe, settings: ReproduceSettings) -> dict[str, PretrainSettings]:
    """Models of the family's own, by folder, that the experiment makes first."""
    places = {f"{settings.output}/pretrained/{name}": own for name, own in pair.pretrain.items()}
    used = [model for model in (recipe.models.large.name, recipe.models.small.name) if model in places]
    return {model: from_table(PretrainSettings, places[model], f"families.toml: {Path(model).name}") for model in used}


def _shape(model: ModelRef, title: str, to_make: Mapping[str, PretrainSettings]) -> ModelShape:
    """From the settings that it is made with, or as `shape_of_model` finds it."""
    if model.name in to_make:
        return shape_to_make(title, to_make[model.name])
    return shape_of_model(model, title)


def shape_to_make(title: str, own: PretrainSettings) -> ModelShape:
    """Of the Llama model that `pretraining.new_model` makes."""
    return ModelShape(
        title,
        own.hidden_size,
        own.layers,
        own.heads,
        own.heads,
        own.hidden_size // own.heads,
        own.intermediate_size,
        own.vocab_size,
        tied=True,
        others=(2 * own.layers + 1) * own.hidden_size,
        context=own.context,
    )


def _pretraining_stage(model: str, own: PretrainSettings) -> PlannedStage:
    shape = shape_to_make(Path(model).name, own)
    rows = own.tokens // (own.sequence_length * own.batch_size) * own.batch_size
    peak = training_bytes(
        shape,
        tokens=own.sequence_length * own.batch_size,
        longest_row=own.sequence_length,
        method="full",
        precision=own.precision,
    )
    return PlannedStage(
        name=f"pretrain {Path(model).name}",
        times=1,
        tokens=rows * own.sequence_length,
        flops=training_flops(shape, [own.sequence_length], passes=rows, method="full"),
        peak_bytes=sum(peak.values()),
        note=f"from scratch, {rows // own.batch_size:,} steps",
    )


# Texts.


def _known(recipe: SweepRecipe, model: str, to_make: Mapping[str, PretrainSettings]) -> int:
    """How many questions are asked about what was known before."""
    if recipe.evaluate.known == "auto" and model in to_make:
        own = to_make[model]
        groups = pretraining_people(own.seed, own.people, own.questioned_ratio)
        return len(FIELDS) * sum(min(len(people), PEOPLE_OF_EACH_KIND) for people in groups)
    return len(known_questions(recipe.evaluate.known, model))


def _replay(recipe: SweepRecipe, model: str, to_make: Mapping[str, PretrainSettings]) -> Iterator[str]:
    replay = recipe.train.replay
    if replay == "pretraining" and model in to_make:
        yield from pretraining_texts(to_make[model], "replay")
    else:
        yield from replayed(replay, model)
