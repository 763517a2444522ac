"""A trained model, or its adapters, in a folder for others: with a card, and without paths of this machine."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

from elusive import __version__
from elusive.config.models import ModelRef
from elusive.config.run import Recipe
from elusive.config.toml import from_table, load_recipe, to_table
from elusive.config.training import TrainSettings
from elusive.config.verbs import ExportSettings
from elusive.errors import ElusiveError
from elusive.models.loading import adapter_config, model_hash
from elusive.models.names import EMBEDDED, on_hub
from elusive.models.weights import read_object
from elusive.runs.files import atomic_path, read_json, write_json, write_text
from elusive.runs.folder import METRICS, RunFolder
from elusive.runs.lock import locked
from elusive.runs.publishing import public_name
from elusive.runs.stage import stage_settings
from elusive.runs.typed_json import from_json
from elusive.training.card import EMBEDDED_COPY, CardResults, ModelCard
from elusive.training.origin import Origin, origin_of
from elusive.training.stage import Training, card_of

from .answers import results_of
from .card import source_of_run
from .earlier import MARK, earlier_files, remove_others

_ADAPTERS = "adapter_config.json"
_PUBLISHED = (
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", _ADAPTERS),
    *("tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt"),
    *("chat_template.jinja", METRICS),
)
"""Files of a model that are for others; anything else in its folder stays here."""
_OF_MODELS = ("title", "licence", "language", "source", "base_model", "base_revision")


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A model that was exported.

    Attributes:
        files: names of its files, sorted.
        adapters: whether they are adapters, for a model that lies elsewhere.
        licence: licence on the card.
        questions: questions whose answers stand on the card (0: it was not evaluated).
    """

    files: tuple[str, ...]
    adapters: bool
    licence: str
    questions: int


def is_trained(folder: str | Path) -> bool:
    """Whether a folder is one that `elusive train` wrote or began."""
    return {"model", "texts", "train"} <= (read_object(Path(folder) / "settings.json") or {}).keys()


def export_model(
    model: str | Path, output: str | Path, *, answers: str | Path = "", settings: ExportSettings | None = None
) -> ExportedModel:
    """Write a trained model into a folder for others: weights, tokenizer, loss curve, and a card with its results.

    Args:
        model: a folder that `elusive train` wrote, alone or within a run.
        output: the new folder; an earlier export of the same model is overwritten.
        answers: the folder of its answers, as `elusive evaluate` wrote it (empty: those of the run, if there are any).
        settings: of the card: title, licence, language, source, base model.

    Returns:
        What was written.

    Raises:
        ElusiveError: if the training is not finished or its weights were removed, the answers are those of another
            model, its adapters stand on a model that others cannot find, other settings are given, or `output` holds
            something else.
    """
    folder, target, settings = Path(model), Path(output), settings or ExportSettings()
    _refuse_settings(settings)
    done = _finished(folder)
    identity = {"model": model_hash(str(folder))}
    earlier_files(target, identity)  # refuses what is no folder for an export, before anything is written there
    card = _card(folder, done, answers, settings)
    with locked(target):
        earlier = earlier_files(target, identity)
        record = {"made_by": f"elusive export {__version__}", "input": identity, "settings": _public(settings)}
        write_json(target / MARK, record | {"files": sorted(earlier), "done": False})
        written = _write(folder, target, card)
        remove_others(target, earlier - written)
        count = card.results.rows[0].count if card.results else 0
        exported = ExportedModel(tuple(sorted(written)), bool(adapter_config(str(folder))), settings.licence, count)
        write_json(target / MARK, record | dataclasses.asdict(exported) | {"done": True})
    return exported


def _finished(folder: Path) -> Training:
    mark = folder / "done.json"
    if not mark.exists():
        raise ElusiveError(
            f"The training in {folder} is not finished: done.json is missing. Run the same `elusive train` (or "
            "`elusive run`) again, which completes it, then export."
        )
    if not any(folder.glob("*.safetensors")):
        raise ElusiveError(
            f'{folder} holds no weights any more: expected *.safetensors. A sweep with sweep.keep = "answers" removes '
            "them; train again with those settings."
        )
    return from_json(Training, read_json(mark), str(mark))


def _card(folder: Path, done: Training, answers: str | Path, settings: ExportSettings) -> ModelCard:
    stage = stage_settings(folder)
    train = from_table(TrainSettings, stage["train"], str(folder / "settings.json"))
    card = card_of(ModelRef(stage["model"], stage["revision"]), train, done)
    base = settings.base_model or card.base
    if train.method == "lora" and base not in EMBEDDED and not on_hub(base):
        raise ElusiveError(
            f"The adapters in {folder} stand on {base}, which lies on this machine alone. Say with --base-model what "
            "that model is called on the hub, or write a whole model with `elusive merge`, which needs no other."
        )
    found = RunFolder.around_model(folder)
    return dataclasses.replace(
        card,
        base=base,
        origin=card.origin or (_origin(*found) if found else None),
        start=base if card.start == card.base else card.start,
        revision=settings.base_revision if settings.base_model else card.revision,
        title=settings.title,
        licence=settings.licence,
        language=settings.language,
        source=settings.source or (source_of_run(found[0]) if found else ""),
        results=_results(folder, answers, found),
        has_base=base in EMBEDDED and train.method == "lora",
    )


def _origin(run: RunFolder, place: Path) -> Origin | None:
    """How a run's texts were made, of a training that did not note it."""
    return origin_of(run.augmented(place.parts[0]) / "train.jsonl") if len(place.parts) == 2 else None


def _results(folder: Path, answers: str | Path, found: tuple[RunFolder, Path] | None) -> CardResults | None:
    """What the model answered, by the folder that was given or by its run."""
    run = found[0] if found else None
    of_run = found[0].answers_of(found[1]) if found else None
    place = Path(answers) if answers else of_run
    if place is None or not (answers or (place / "done.json").exists()):
        return None
    recipe = load_recipe(run.recipe, Recipe) if run and run.recipe.exists() else Recipe()
    return results_of(place, model_hash(str(folder)), recipe.evaluate, run if place == of_run else None)


def _write(folder: Path, target: Path, card: ModelCard) -> set[str]:
    """Write the files, the card among them; returns their names."""
    names = {path.name for pattern in _PUBLISHED for path in folder.glob(pattern)} - {_ADAPTERS}
    for name in sorted(names):
        _copy(folder / name, target / name)
    if config := adapter_config(str(folder)):
        named = {"base_model_name_or_path": card.base, "revision": card.revision or None}
        write_text(target / _ADAPTERS, json.dumps(config | named, indent=2, sort_keys=True) + "\n")
        names.add(_ADAPTERS)
    if card.has_base:
        for path in sorted(EMBEDDED[card.base].iterdir()):
            if path.suffix in (".json", ".safetensors"):
                _copy(path, target / EMBEDDED_COPY / path.name)
                names.add(f"{EMBEDDED_COPY}/{path.name}")
    write_text(target / "README.md", card.text())
    return names | {"README.md"}


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _refuse_settings(settings: ExportSettings) -> None:
    """Refuse settings of a data set and of other trainers.

    Raises:
        ElusiveError: if there are any.
    """
    usual = ExportSettings()
    given = [
        name for name in vars(settings) if name not in _OF_MODELS and getattr(settings, name) != getattr(usual, name)
    ]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ElusiveError(f"{flags}: for the texts of an arm alone, but a trained model was given. Leave them out.")


def _public(settings: ExportSettings) -> dict[str, object]:
    """The settings as they may be published, without paths of this machine."""
    names = [name for name in _OF_MODELS if getattr(settings, name)]
    table = to_table(settings)
    return {name: public_name(table[name]) if os.path.exists(str(table[name])) else table[name] for name in names}
