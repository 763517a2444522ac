"""What a report says of a run, as types that tables, figures, sentences and the page read; results.json holds them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elusive.augmentation.arms import ARMS
from elusive.augmentation.survival import Survival
from elusive.augmentation.wording import clue_words, clues_in_words, dropout_words, insertion_words
from elusive.clues.recall import RecallTable
from elusive.config.augmentation import AugmentSettings
from elusive.config.training import TrainSettings
from elusive.corpus.wording import counted
from elusive.runs.files import read_json, write_json
from elusive.runs.folder import RunFolder
from elusive.runs.frames import Tabular
from elusive.runs.typed_json import from_json, to_json
from elusive.stats.estimates import Difference, Estimate, estimate_columns, of_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class CorpusSize:
    """A run's corpus: where it comes from, and how many documents, questions and quarantined rows it has."""

    source: str
    documents: int
    questions: int
    quarantined: int


@dataclass(frozen=True)
class ModelNames:
    """The pair, and which model was trained."""

    large: str
    small: str
    trained: str


@dataclass(frozen=True)
class FieldScores:
    """An arm's scores on one field's questions."""

    questions: int
    em: Estimate
    f1: Estimate


@dataclass(frozen=True)
class KnownScores:
    """What a model still answers of what was known before training.

    Attributes:
        questions: how many.
        documents: about how many people or other subjects; as many as questions where each stands for itself.
        em: exact match.
        f1: F1.
        lost: the arm's EM minus that before training, paired; None for the model before training itself.
    """

    questions: int
    documents: int
    em: Estimate
    f1: Estimate
    lost: Difference | None

    def score(self, metric: str) -> Estimate:
        """By one metric, em or f1."""
        return {"em": self.em, "f1": self.f1}[metric]

    @property
    def asked(self) -> str:
        """The questions, in words."""
        about = f" about {counted(self.documents, 'subject')}" if self.documents < self.questions else ""
        return f"{counted(self.questions, 'question')}{about}"


@dataclass(frozen=True)
class EpochScores:
    """Mean EM and F1 over seeds after a number of epochs, in training."""

    epoch: float
    em: float
    f1: float


@dataclass(frozen=True)
class ArmResults:
    """One arm; the model before training has no figures of training, and nothing was evaluated without questions.

    Attributes:
        mean_drop_rate: dropped tokens over rankable tokens of all copies, protected ones included.
        at_ceiling: share of the ranked tokens whose drop probability is within 1% of alpha.
        unchanged: share of the copies that are their original, word for word.
        clues: clues that were found; copies hold some of them.
        right_clues: share of the clues that are the head entity of their sentence; None where none is marked.
        survival: by field, the share of copies in which a span is intact, alone and together with its head entity.
        scoring_seconds: how long the attention that it chooses by took to capture; None where it needs none.
        steps: optimizer steps, a mean over seeds like the next three.
        texts: texts that were trained on.
        seconds: how long training took.
        loss: the last training loss.
        by_epoch: scores in training.
        em: exact match over all questions.
        f1: F1 over all questions.
        em_per_seed: exact match of each training seed.
        fields: scores of each field.
        known: what it still answers about what was known before training; None where that was not evaluated.
        tasks: scores of lm-evaluation-harness's tasks, a mean over seeds, by task and measure.
    """

    mean_drop_rate: float | None = None
    at_ceiling: float | None = None
    unchanged: float | None = None
    clues: int = 0
    right_clues: float | None = None
    survival: dict[str, Survival] = field(default_factory=dict)
    scoring_seconds: float | None = None
    steps: float | None = None
    texts: float | None = None
    seconds: float | None = None
    loss: float | None = None
    by_epoch: tuple[EpochScores, ...] = ()
    em: Estimate | None = None
    f1: Estimate | None = None
    em_per_seed: tuple[float, ...] = ()
    fields: dict[str, FieldScores] = field(default_factory=dict)
    known: KnownScores | None = None
    tasks: dict[str, float] = field(default_factory=dict)

    def score(self, metric: str) -> Estimate | None:
        """Over all questions, by one metric, em or f1."""
        return {"em": self.em, "f1": self.f1}[metric]

    def field_score(self, name: str, metric: str) -> Estimate:
        """Over one field's questions, by one metric, em or f1."""
        of_field = self.fields[name]
        return {"em": of_field.em, "f1": of_field.f1}[metric]


@dataclass(frozen=True)
class ArmDifference(Difference):
    """EM of arm a minus EM of arm b over one field's questions, or over all."""

    a: str
    b: str
    field: str

    def as_dict(self) -> dict[str, Any]:
        """The arms and the field, then what `Difference.as_dict` says."""
        return {"a": self.a, "b": self.b, "field": self.field, **super().as_dict()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "ArmDifference":
        """The difference that `as_dict` wrote."""
        return cls(**of_row(row), a=row["a"], b=row["b"], field=row["field"])


@dataclass(frozen=True)
class Verdict:
    """What the paired intervals allow to be said.

    Attributes:
        headline: which arm did best, against what, by how much, and how sure that is.
        cost: what that arm took; empty where nothing is known of it.
        advice: whether to use it, or what would settle that.
        differences: those between trained arms as text, by what may be said of them (`formatting.REMARKS`).
        notes: sentences on the model before training, what was lost of what it knew, and what the intervals cover.
    """

    headline: str
    cost: str = ""
    advice: str = ""
    differences: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFacts:
    """When and where a run was made, and how long it took.

    Attributes:
        date: when it was finished, in UTC, as ISO 8601; empty while it goes on.
        hardware: GPU, processor and cores, in words; empty as the date is.
        seconds: of score, train and evaluate, added up over all processes.
    """

    date: str = ""
    hardware: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RankShares:
    """Which kinds of token lead some rankings.

    Attributes:
        field: whose cue the tokens are ranked at.
        documents: how many are counted.
        kinds: "(field)" for tokens of spans, single words, "other words".
        rankings: for each ranking the share of each kind at ranks 1 to 10, ranks x kinds.
        head_kinds: the kinds of the head entity.
        fields: the kinds of all spans.
    """

    field: str
    documents: int
    kinds: tuple[str, ...]
    rankings: dict[str, tuple[tuple[float, ...], ...]]
    head_kinds: tuple[str, ...]
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results(Tabular):
    """A run's results; as a table, a row for each arm.

    Attributes:
        title: the recipe's.
        corpus: its size.
        models: their names.
        read: for large and small which heads' attention is averaged, in words.
        train: settings of training.
        augment: settings of dropout.
        seeds: training seeds.
        arms: figures of each arm, the model before training first where questions were evaluated.
        excluded_tokens: strings that are never ranked.
        question_sets: which questions give cues and which are asked, in words; empty as `examples` is.
        examples: what the prompts of the questions show, in words; empty where nothing was evaluated.
        metric: how answers are compared, in words; empty as `examples` is.
        fields: fields of the questions, from near to far.
        distances: of each field the mean distance from the head entity in tokens.
        farthest_field: the last of these; None without distances.
        pairs: paired differences in EM.
        verdict: what they allow to be said.
        cue_ranks: which kinds of token lead the pair's rankings at a cue.
        clue_recall: clue recall of the pair.
        made: when and where, and how long it took.
        missing: what of the run is not done yet, in words; empty for a finished run.
    """

    title: str
    corpus: CorpusSize
    models: ModelNames
    read: dict[str, str]
    train: TrainSettings
    augment: AugmentSettings
    seeds: tuple[int, ...]
    arms: dict[str, ArmResults]
    excluded_tokens: tuple[str, ...] = ()
    examples: str = ""
    metric: str = ""
    question_sets: str = ""
    fields: tuple[str, ...] = ()
    distances: dict[str, float] = field(default_factory=dict)
    farthest_field: str | None = None
    pairs: tuple[ArmDifference, ...] = ()
    verdict: Verdict = Verdict("")
    cue_ranks: RankShares | None = None
    clue_recall: RecallTable | None = None
    made: RunFacts = RunFacts()
    missing: tuple[str, ...] = ()

    def columns(self) -> dict[str, list[Any]]:
        """One list a column: arm, EM, F1 and known EM with their intervals, EM of each field, drop rate and steps."""
        rows = list(self.arms.values())
        columns: dict[str, list[Any]] = {"arm": list(self.arms)}
        for metric in ("em", "f1") if self.evaluated else ():
            columns |= estimate_columns(metric, [row.score(metric) for row in rows])
        if self.known:
            columns |= estimate_columns("known_em", [row.known.em if row.known else None for row in rows])
        for name in self.fields:
            columns[f"em_{name}"] = [row.fields[name].em.value if name in row.fields else None for row in rows]
        return columns | {name: [getattr(row, name) for row in rows] for name in ("mean_drop_rate", "steps")}

    def figures(self, *, longest: int = 100) -> "dict[str, Figure]":
        """The figures of the report by name, e.g. `em-by-field`, as matplotlib draws them for a screen.

        Args:
            longest: last rank of the drop probability's curve (0: no such curve).
        """
        from .plots import draw

        return {name: layouts["wide"] for name, layouts in draw(self, longest if self.dropout else 0).items()}

    @property
    def dropout(self) -> str:
        """The settings of dropout in words; empty where no arm has drop probabilities."""
        dropping = any(arm in ARMS and ARMS[arm].drops for arm in self.arms)
        return dropout_words(self.augment) if dropping else ""

    @property
    def clues(self) -> str:
        """How clues were sought and written, and how many each arm found, in words; empty where no arm needs any."""
        found = {arm: row for arm, row in self.arms.items() if row.clues}
        if not found:
            return ""
        counts = ", ".join(f"{arm} {clues_in_words(row.clues, row.right_clues)}" for arm, row in found.items())
        rewritten = all(ARMS[arm].rewrites for arm in found)
        return f"{clue_words(self.augment) if rewritten else insertion_words(self.augment)}; {counts}"

    @property
    def survival(self) -> dict[str, dict[str, Survival]]:
        """Of each arm with copies of documents with spans, how often the spans of each field are intact in them."""
        return {name: arm.survival for name, arm in self.arms.items() if arm.survival}

    @property
    def evaluated(self) -> bool:
        """Whether the corpus brought questions."""
        return any(arm.em for arm in self.arms.values())

    @property
    def known(self) -> dict[str, KnownScores]:
        """What each arm still answers about what was known before training; empty where that was not evaluated."""
        return {name: arm.known for name, arm in self.arms.items() if arm.known}

    @property
    def tasks(self) -> list[str]:
        """The tasks of lm-evaluation-harness with their measures; none unless every model did them."""
        evaluated = [arm.tasks for arm in self.arms.values() if arm.em is not None]
        return list(evaluated[0]) if evaluated and all(evaluated) else []


def write_results(path: str | Path, results: Results) -> None:
    """Write results.json."""
    write_json(path, to_json(results))


def read_results(path: str | Path) -> Results:
    """Read results.json.

    Args:
        path: that file, or the run folder whose report it is part of.

    Raises:
        ElusiveError: if it is missing or holds something else.
    """
    path = Path(path)
    if path.is_dir():
        path = RunFolder(path).report / "results.json"
    return from_json(Results, read_json(path), str(path))
