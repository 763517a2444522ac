"""The source of an export: a folder that `augment` wrote, alone or within a run."""

import dataclasses
from pathlib import Path
from typing import Any

from elusive.augmentation.arms import arm_named
from elusive.augmentation.marks import MARK_WORDS
from elusive.config.run import Recipe
from elusive.config.toml import load_recipe
from elusive.config.training import TrainSettings
from elusive.config.verbs import ExportSettings
from elusive.errors import ElusiveError
from elusive.runs.files import file_hash, read_json
from elusive.runs.folder import RunFolder
from elusive.runs.stage import stage_settings


@dataclasses.dataclass(frozen=True)
class Source:
    """A finished folder of augmented texts, and how it was made.

    Attributes:
        folder: holds train.jsonl, ranking.parquet, settings.json, done.json.
        settings: its settings.json: arm, augment, queries, trained, ...
        figures: its done.json: documents, texts, mean_drop_rate.
        run: the run that it lies in, or None.
        recipe: that run's recipe; the defaults where there is no run.
        texts_hash: SHA-256 of train.jsonl.
    """

    folder: Path
    settings: dict[str, Any]
    figures: dict[str, Any]
    run: RunFolder | None
    recipe: Recipe
    texts_hash: str

    @property
    def arm(self) -> str:
        """How the copies were made."""
        return self.settings["arm"]

    @property
    def identity(self) -> dict[str, str]:
        """Identifies this input."""
        return {"arm": self.arm, "texts": self.texts_hash}

    @property
    def questions(self) -> Path | None:
        """The run's own questions, where it has any."""
        path = self.run.questions if self.run else None
        return path if path and path.exists() and path.stat().st_size else None


def find_source(folder: str | Path, arm: str = "") -> Source:
    """Find the augmented texts in a folder that `augment` wrote, or in a run folder.

    Args:
        folder: either of them.
        arm: which arm of a run.

    Raises:
        ElusiveError: if it is neither, there is no such arm, the arm is not there or acts in training, or the texts are
            not finished.
    """
    folder = Path(folder)
    if arm:
        arm_named(arm, "--arm")
    if _is_augmented(folder):
        found = folder
    elif RunFolder(folder).augmented_arms:
        found = _arm_of_run(folder, arm)
    else:
        raise ElusiveError(
            f"Expected {folder} to be a folder that `elusive augment` wrote (train.jsonl, settings.json, done.json) or "
            "a run folder, found neither. Run `elusive augment` or `elusive run` first."
        )
    if not (found / "done.json").exists():
        raise ElusiveError(
            f"The texts in {found} are not finished: done.json is missing. Run the same `elusive augment` (or "
            "`elusive run`) again, which completes them, then export."
        )
    recorded = stage_settings(found)
    if "arm" not in recorded:
        raise ElusiveError(f"{found / 'settings.json'} names no arm, so `elusive augment` did not write this folder.")
    if marks := arm_named(recorded["arm"], str(found)).marks:
        raise ElusiveError(
            f"{found} holds the arm {recorded['arm']}, which acts in training ({MARK_WORDS[marks]}): no other trainer "
            "does that, and would train on the texts as they are. Train with `elusive train`, or export another arm."
        )
    if arm and arm != recorded["arm"]:
        raise ElusiveError(
            f"--arm {arm}: {found} holds the arm {recorded['arm']}. Leave --arm out, or name its folder."
        )
    run = RunFolder.around(found)
    return Source(
        folder=found,
        settings=recorded,
        figures=read_json(found / "done.json"),
        run=run,
        recipe=load_recipe(run.recipe, Recipe) if run else Recipe(),
        texts_hash=file_hash(found / "train.jsonl"),
    )


def training_settings(source: Source, settings: ExportSettings) -> TrainSettings:
    """The run's settings of training (the defaults without a run), overridden by the export's."""
    names = ("method", "learning_rate", "epochs", "batch_size", "max_length")
    given = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    # Epochs given to the export replace the run's number of steps or tokens.
    steps = {"max_steps": 0, "max_tokens": 0} if "epochs" in given else {}
    # Other trainers keep no weights near their start; the card says so.
    return dataclasses.replace(source.recipe.train, l2_sp=0.0, average=1.0, **given, **steps)


def base_model_of(source: Source, settings: ExportSettings) -> tuple[str, str]:
    """Name and revision of the model to be trained."""
    if settings.base_model:
        return settings.base_model, settings.base_revision
    trained = source.recipe.models[source.settings.get("trained", "large")] if not source.run else source.recipe.trained
    return trained.name, trained.revision


def _is_augmented(folder: Path) -> bool:
    return (folder / "train.jsonl").exists() or (folder / "ranking.parquet").exists()


def _arm_of_run(run: Path, arm: str) -> Path:
    arms = RunFolder(run).augmented_arms
    if arm not in arms:
        got = f"'{arm}'" if arm else "none"
        raise ElusiveError(
            f"{run} is a run with the arms {', '.join(arms) or '(none)'}: expected one as --arm, got {got}."
        )
    return RunFolder(run).augmented(arm)
