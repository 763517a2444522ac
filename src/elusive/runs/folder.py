"""The layout of a run folder: where each stage of a run writes. No other module spells it."""

import dataclasses
from pathlib import Path
from typing import Protocol

from elusive.errors import ElusiveError
from elusive.storage import local

from .lock import is_passing
from .stage import refuse_old_folder

_RECIPE, _SWEEP, _VERSIONS, _TRIALS = "recipe.toml", "sweep.toml", "run.json", "trials.jsonl"
_CORPUS, _SCORES, _AUGMENTED, _MODELS, _ANSWERS, _REPORT = (
    "corpus",
    "scores",
    "augmented",
    "models",
    "evaluation",
    "report",
)
_TENSORBOARD = "tensorboard"
METRICS = "metrics.jsonl"
"""What a training notes as it goes, in the folder of its model."""

_KNOWN, _EPOCH, _HARNESS, _SEED, _FIGURES = "known", "epoch-", "harness", "seed-", "figures"


class Named(Protocol):
    """Anything with a name, such as a score set."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        ...


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The folder of a run or of a sweep; its properties and methods are places, whether anything lies there or not.

    Attributes:
        path: the folder.

    Example:
        >>> RunFolder(Path("runs/demo")).model("plain", 0).as_posix()
        'runs/demo/models/plain/seed-0'
    """

    path: Path

    def __post_init__(self) -> None:
        local(self.path, "a run")

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """The folder of a run that this version can read.

        Raises:
            ElusiveError: if it is no run folder, or was written by a version whose folders this one does not read.
        """
        run = cls(Path(path))
        if not run.recipe.exists() and not run.sweep_recipe.exists():
            raise ElusiveError(f"{path} is not a run folder: it has no {_RECIPE}. Give the output folder of a run.")
        run.refuse_old()
        return run

    def refuse_old(self) -> None:
        """Refuse a folder that was begun by a version whose folders this one does not read.

        Raises:
            ElusiveError: if it was; says what to do.
        """
        # The corpus is the first stage of every run.
        refuse_old_folder(self.corpus, shown=self.path)

    @property
    def recipe(self) -> Path:
        """The run's recipe, every setting resolved."""
        return self.path / _RECIPE

    @property
    def sweep_recipe(self) -> Path:
        """A sweep's recipe, every setting resolved."""
        return self.path / _SWEEP

    @property
    def versions(self) -> Path:
        """Versions of the packages that the run was made with."""
        return self.path / _VERSIONS

    @property
    def trials(self) -> Path:
        """A row for each trial, seed and epoch of a sweep."""
        return self.path / _TRIALS

    @property
    def corpus(self) -> Path:
        """The folder of documents, questions and bad rows."""
        return self.path / _CORPUS

    @property
    def documents(self) -> Path:
        """The corpus's documents."""
        return self.corpus / "documents.jsonl"

    @property
    def questions(self) -> Path:
        """The corpus's questions."""
        return self.corpus / "questions.jsonl"

    @property
    def quarantine(self) -> Path:
        """Rows of the corpus's source that could not be read."""
        return self.corpus / "quarantine.jsonl"

    def scores_folder(self, settings_name: str = "") -> Path:
        """Where score sets lie.

        Args:
            settings_name: of a sweep, the name of the settings that its scores depend on.
        """
        return self.path / _SCORES / settings_name

    def scores(self, score_set: Named, settings_name: str = "") -> Path:
        """The folder of one score set."""
        return self.scores_folder(settings_name) / score_set.name

    @property
    def figure_scores(self) -> Path:
        """Score sets that only the paper's figures are drawn from."""
        return self.scores_folder(_FIGURES)

    def augmented(self, arm: str, texts: str = "") -> Path:
        """The folder of an arm's training texts.

        Args:
            arm: its name.
            texts: of a sweep, the name of the settings that the texts depend on.
        """
        return self.path / _AUGMENTED / arm / texts

    @property
    def augmented_arms(self) -> list[str]:
        """The arms that training texts were written for, by name."""
        return sorted(path.name for path in (self.path / _AUGMENTED).glob("*") if path.is_dir())

    @classmethod
    def around(cls, augmented: str | Path) -> "RunFolder | None":
        """The run that a folder of training texts lies in; None if it lies in none."""
        folder = Path(augmented).resolve()
        run = cls(folder.parents[1])
        return run if folder.parent.name == _AUGMENTED and run.recipe.exists() else None

    @classmethod
    def around_model(cls, model: str | Path) -> "tuple[RunFolder, Path] | None":
        """The run or sweep that the folder of a trained model lies in, and its place among the models: ARM/seed-S."""
        folder = Path(model).resolve()
        models = next((parent for parent in folder.parents[:3] if parent.name == _MODELS), None)
        if models is None:
            return None
        run = cls(models.parent)
        is_run = run.recipe.exists() or run.sweep_recipe.exists()
        return (run, folder.relative_to(models)) if is_run else None

    def answers_of(self, place: Path) -> Path:
        """The folder of a model's answers, by the model's place as `around_model` gives it."""
        return self.path / _ANSWERS / place

    def model(self, arm: str, seed: int, trial: str = "") -> Path:
        """The folder of a trained model.

        Args:
            arm: what it was trained on.
            seed: its training seed.
            trial: of a sweep, the name of the trial.
        """
        return self.path / _MODELS / arm / trial / f"{_SEED}{seed}"

    def answers(self, arm: str, seed: int, trial: str = "") -> Path:
        """The folder of a model's answers; `known_answers` and `epoch_answers` lie in it."""
        return self.path / _ANSWERS / arm / trial / f"{_SEED}{seed}"

    def metrics(self, arm: str, seed: int, trial: str = "") -> Path:
        """The loss of a training, and its answers in between, step by step."""
        return self.model(arm, seed, trial) / METRICS

    @property
    def tensorboard(self) -> Path:
        """Event files of TensorBoard, in a folder for each training; of a training alone, in its own folder."""
        return self.path / _TENSORBOARD

    @property
    def report(self) -> Path:
        """The folder of tables, plots and the page."""
        return self.path / _REPORT

    def report_sources(self) -> list[Path]:
        """The files that a run's report is made from, in order."""
        patterns = [_RECIPE, f"{_CORPUS}/*.jsonl", f"{_SCORES}/*/*.parquet", f"{_AUGMENTED}/*/*.*"]
        patterns += [
            f"{_MODELS}/*/*/done.json",
            f"{_MODELS}/*/*/{METRICS}",
            f"{_ANSWERS}/*/*/*.*",
            f"{_ANSWERS}/*/*/{_HARNESS}/done.json",
        ]
        found = (path for pattern in patterns for path in sorted(self.path.glob(pattern)))
        return [path for path in found if path.is_file() and not is_passing(path.name)]


def beside_answers() -> tuple[str, ...]:
    """Patterns of the names that other stages write in a folder of answers."""
    return _KNOWN, f"{_EPOCH}*", _HARNESS


def known_answers(answers: str | Path) -> Path:
    """Answers about what was known before training, in a folder of answers."""
    return Path(answers) / _KNOWN


def harness_scores(answers: str | Path) -> Path:
    """Scores of lm-evaluation-harness, in a folder of answers."""
    return Path(answers) / _HARNESS


def epoch_answers(answers: str | Path, epoch: float) -> Path:
    """Answers in the midst of training, after so many epochs, in a folder of answers."""
    return Path(answers) / f"{_EPOCH}{epoch:g}"
