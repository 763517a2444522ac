"""Every setting of a run has one home: these frozen dataclasses, from which recipes (TOML) and flags derive."""

import dataclasses

from .augmentation import AugmentSettings
from .checks import check, check_each
from .corpus import CorpusSettings
from .evaluation import EvaluateSettings
from .models import ModelRef, Models
from .scoring import ScoreSettings
from .server import RewriteSettings
from .training import TrainSettings


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """Tables, plots and the page."""

    documents: int = 3
    """Documents shown with each token coloured by its probability to stay, where the page's script does not run."""
    browsed: int = 100
    """Documents that the page's script can show, with their questions: the whole corpus, or so many at even steps
    through it. Fewer where they would make the page large."""
    cue_field: str = ""
    """Field whose cue the rank bars look from (empty: the field farthest from the head entity)."""
    cue_documents: int = 100
    """Documents behind the rank bars; these are scored once more, at that cue alone."""

    def __post_init__(self) -> None:
        check_each("report", self, ("documents", "browsed"), 0)
        check(self.cue_documents > 0, "report.cue_documents", "at least 1", self.cue_documents)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One run, from the corpus to the report."""

    output: str = "runs/run"
    """The run folder."""
    title: str = "Elusive run"
    """Heading of the report."""
    arms: tuple[str, ...] = ("plain", "random-matched", "attention", "contrast-cues", "insert-contrast+reorder")
    """What is compared: names in augmentation.arms.ARMS."""
    seeds: tuple[int, ...] = (0,)
    """Training seeds; each arm is trained once with each."""
    parallel: int = 0
    """Arms trained and evaluated in parallel (0: one on each GPU, or on each CPU core that there is memory for)."""
    threads: int = 1
    """torch threads of each of these on a CPU, however many run (0: torch's choice); it changes the last bits."""
    corpus: CorpusSettings = dataclasses.field(default_factory=CorpusSettings)
    models: Models = dataclasses.field(default_factory=Models)
    score: ScoreSettings = dataclasses.field(default_factory=ScoreSettings)
    augment: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)
    rewrite: RewriteSettings = dataclasses.field(default_factory=RewriteSettings)
    train: TrainSettings = dataclasses.field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = dataclasses.field(default_factory=EvaluateSettings)
    report: ReportSettings = dataclasses.field(default_factory=ReportSettings)

    def __post_init__(self) -> None:
        check(len(self.arms) > 0, "arms", "at least one arm", self.arms)
        check(len(set(self.arms)) == len(self.arms), "arms", "each arm once", self.arms)
        check(len(self.seeds) > 0, "seeds", "at least one seed", self.seeds)
        check(len(set(self.seeds)) == len(self.seeds), "seeds", "each seed once", self.seeds)
        check(min(self.seeds) >= 0, "seeds", "0 or more", self.seeds)
        check(self.parallel >= 0, "parallel", "0 or more", self.parallel)
        check(self.threads >= 0, "threads", "0 or more", self.threads)
        # Better now than after hours of scoring and training.
        trained, where = self.trained, f"models.{self.models.trained}"
        trainable = trained.quantization == "none" or self.train.method == "lora"
        check(trainable, f"{where}.quantization", 'none with train.method = "full"', trained.quantization)
        if self.evaluate.engine == "vllm":
            for name, expected in (("quantization", ("none",)), ("device", ("auto", "cuda"))):
                value = getattr(trained, name)
                words = f'{" or ".join(expected)} with evaluate.engine = "vllm"'
                check(value in expected, f"{where}.{name}", words, value)

    @property
    def trained(self) -> ModelRef:
        """The model that is trained."""
        return self.models[self.models.trained]
