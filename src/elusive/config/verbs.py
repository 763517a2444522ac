"""Settings of verbs that are no part of a run: people by a language model, exports, a model from scratch."""

import dataclasses
import math
from typing import Any, Literal

from .checks import check, check_each
from .evaluation import Draw, ExampleFields
from .run import Recipe
from .server import ServerSettings
from .training import Precision


@dataclasses.dataclass(frozen=True)
class LlmSettings(ServerSettings):
    """People by a language model on an OpenAI-compatible server (generate --llm); the second question is at 0."""

    people_per_request: int = 10
    """People asked for, and people checked, in one request."""
    max_requested_ratio: float = 3.0
    """Give up once this many times the people wanted have been requested."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each("llm", self, ("people_per_request", "max_requested_ratio"), 1)


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What an export says of itself, and how others are to train on it."""

    title: str = ""
    """Name of the data set (empty: the run's title, or "Elusive texts", and the arm), or of the model."""
    licence: str = "unknown"
    """Licence of the texts or of the model, as the hub names it (e.g. cc-by-4.0); `unknown` is said plainly."""
    language: tuple[str, ...] = ()
    """Languages of the texts, e.g. en."""
    source: str = ""
    """Where the texts come from, for the card (empty: the run's corpus.source, of a path its last part)."""
    base_model: str = ""
    """Model to be trained: folder or hub name (empty: the run's; without a run elusive/large, if its tokens fit). Of
    adapters: what the model that they stand on is called on the hub."""
    base_revision: str = ""
    """Commit or branch of base_model."""
    method: Literal["lora", "full"] | None = None
    """As in train, like the next four (none: the run's, or train's default)."""
    learning_rate: float | None = None
    """Peak learning rate."""
    epochs: float | None = None
    """Epochs over the texts; takes the place of the run's max_steps too."""
    batch_size: int | None = None
    """Texts in one step."""
    max_length: int | None = None
    """Longest sequence in tokens; longer texts become several."""
    shots: int | None = None
    """Solved examples before each question (none: as in evaluate, like the next three)."""
    max_new_tokens: int | None = None
    """Longest answer in tokens."""
    question_seed: int | None = None
    """Which examples each question gets."""
    draw: Draw | None = None
    """Examples drawn for each question, or once for each field (none: as in evaluate, like the next)."""
    example_fields: ExampleFields | None = None
    """Examples of the question's own field, or of any."""
    examples: str = ""
    """A JSONL file of questions with answers to draw the shots from."""

    def __post_init__(self) -> None:
        check(bool(self.licence.strip()), "export.licence", "a licence, or unknown", self.licence)


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
    """A tokenizer and a Llama-architecture model from scratch, on text about fictional people."""

    output: str = "pretrained"
    """Folder of the new model."""
    seed: int = 0
    """Seed of the people, their text, the weights and the order."""
    people: int = 400
    """Fictional people in the text."""
    questioned_ratio: float = 0.5
    """Share of them about whom the text holds questions; the others appear in biographies only."""
    tokens: int = 8_000_000
    """Tokens of text to train on; the text never repeats word for word, the people do."""
    question_ratio: float = 0.3
    """Share of the text that is blocks of questions and answers."""
    named_ratio: float = 0.3
    """Share of the biographies that have the name in every sentence, at most half; of the others most have it once."""
    vocab_size: int = 2048
    """Byte-level BPE entries."""
    hidden_size: int = 128
    """Width of the model."""
    layers: int = 4
    """Decoder layers."""
    heads: int = 4
    """Attention heads."""
    intermediate_size: int = 384
    """Width of the feed-forward layers."""
    context: int = 512
    """Longest context in tokens."""
    sequence_length: int = 256
    """Tokens in one packed training sequence."""
    batch_size: int = 16
    """Sequences in one step."""
    learning_rate: float = 3e-3
    """Peak learning rate of a cosine schedule."""
    warmup_ratio: float = 0.03
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.05
    """AdamW's weight decay."""
    precision: Precision = "auto"
    """bf16 autocast, fp32, or auto: bf16 where the hardware computes in it."""
    save_steps: int = 500
    """Steps between checkpoints (0: none)."""

    def __post_init__(self) -> None:
        check_each("pretrain", self, ("seed", "save_steps"), 0)
        sizes = ("people", "hidden_size", "layers", "heads", "intermediate_size", "sequence_length", "batch_size")
        check_each("pretrain", self, sizes, 1)
        check_each("pretrain", self, ("vocab_size",), 256 + 3)  # every byte, <bos>, <eos>, <pad>
        check_each("pretrain", self, ("tokens",), self.sequence_length * self.batch_size)  # one step
        check(0 <= self.questioned_ratio <= 1, "pretrain.questioned_ratio", "a share in [0, 1]", self.questioned_ratio)
        check(0 <= self.question_ratio < 1, "pretrain.question_ratio", "a share in [0, 1)", self.question_ratio)
        check(0 <= self.named_ratio <= 0.5, "pretrain.named_ratio", "a share in [0, 0.5]", self.named_ratio)
        check(
            self.hidden_size % (2 * self.heads) == 0,  # rotary positions turn pairs of numbers
            "pretrain.hidden_size",
            f"a multiple of twice the heads ({2 * self.heads})",
            self.hidden_size,
        )
        check(0 < self.learning_rate < math.inf, "pretrain.learning_rate", "above 0", self.learning_rate)
        check(0 <= self.warmup_ratio <= 1, "pretrain.warmup_ratio", "a share in [0, 1]", self.warmup_ratio)
        check(self.sequence_length <= self.context, "pretrain.sequence_length", "at most context", self.sequence_length)


@dataclasses.dataclass(frozen=True)
class SweepSettings:
    """Which settings are tried (sweep)."""

    grid: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Values of settings by dotted name, e.g. "train.learning_rate" = [5e-4, 1e-3]; every combination is tried."""
    grids: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The same of single arms, e.g. [sweep.grids.random] "augment.alpha" = [0.2, 0.6], in the place of grid's."""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of single arms that are not tried, e.g. [sweep.settings.plain] "train.epochs" = 40."""
    equal: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Values of the grid at which all arms are compared too, by dotted name (else the recipe's own)."""
    search: Literal["grid", "tpe"] = "grid"
    """Try the whole grid, or let Optuna's TPE choose from it and from ranges (needs `elusive[sweep]`)."""
    ranges: dict[str, Any] = dataclasses.field(default_factory=dict)
    """For tpe: [low, high] of a number by dotted name, e.g. "train.learning_rate" = [5e-5, 1e-3]."""
    trials: int = 20
    """For tpe: trials of each arm."""
    seed: int = 0
    """For tpe: seed of the search."""
    metric: Literal["em", "f1"] = "em"
    """What settings are chosen by, as a mean over all questions."""
    keep: Literal["all", "answers"] = "all"
    """What is kept of a trial in addition to its settings, measures and answers: its weights, or nothing."""

    def __post_init__(self) -> None:
        check(self.trials > 0, "sweep.trials", "at least 1", self.trials)
        check(self.seed >= 0, "sweep.seed", "0 or more", self.seed)
        for name in ("grids", "settings"):
            for arm, one in getattr(self, name).items():
                check(isinstance(one, dict), f"sweep.{name}.{arm}", "a table of settings by dotted name", one)
        tpe = self.search == "tpe"
        check(tpe or not self.ranges, "sweep.ranges", 'nothing, unless sweep.search = "tpe"', self.ranges)
        check(not tpe or not self.equal, "sweep.equal", 'nothing with sweep.search = "tpe"', self.equal)


@dataclasses.dataclass(frozen=True)
class SweepRecipe(Recipe):
    """A run's recipe, and which of its settings are tried."""

    sweep: SweepSettings = dataclasses.field(default_factory=SweepSettings)


@dataclasses.dataclass(frozen=True)
class ReproduceSettings:
    """Which pair the paper's experiments are run on, and how far (reproduce)."""

    family: Literal["embedded", "gemma-2", "llama-3", "llama-2", "gemma"] = "embedded"
    """The pair: the one that ships with Elusive, or one of the paper's."""
    output: str = "runs/reproduce"
    """Folder of the experiments, tables and figures."""
    large: str = ""
    """Folder or hub name of a model in the place of the family's large one."""
    small: str = ""
    """The same of the small one."""
    wikipedia: str = ""
    """Paragraphs with questions in SQuAD's form, for Tables 3 and 8."""
    people: int = 0
    """New people of each cohort (0: as the family says, like the next three)."""
    cohorts: int = 0
    """Cohorts: so many times new people, each with a training seed of its own."""
    seeds: int = 0
    """Training seeds, with one cohort."""
    grid: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Values of settings by dotted name that are tried, in the place of the family's."""
    set: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Any other settings of the runs, by dotted name, e.g. train.batch_size=2 train.epochs=3."""
    cue_field: str = "company"
    """Field whose cue the rank bars of Figures 2, 3, 6 and 7 look from."""
    plan: bool = False
    """Print what it would take, and do nothing."""

    def __post_init__(self) -> None:
        check_each("reproduce", self, ("people", "cohorts", "seeds"), 0)
