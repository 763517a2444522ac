"""The card of a trained model: README.md with the hub's YAML in front."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from elusive import __version__
from elusive.augmentation.arms import ARMS
from elusive.config.toml import to_table
from elusive.config.training import TrainSettings
from elusive.models.names import EMBEDDED, on_hub
from elusive.runs.licences import licence_fields
from elusive.runs.publishing import CITATION, PAPER, code, markdown, public_name
from elusive.stats.estimates import Estimate

from .origin import Origin
from .trainer import Fitted

EMBEDDED_COPY = "base_model"
"""Folder of an export in which a model lies that ships with the package: no other program knows its name."""
_IN_ROWS = {"method", "lora_rank", "lora_alpha", "learning_rate", "lr_scheduler", "warmup_ratio", "batch_size", "seed"}
_OF_LENGTH = {"epochs", "max_steps", "max_tokens", "save_steps", "evaluate_at_epochs"}


@dataclasses.dataclass(frozen=True)
class Answered:
    """What a model answers of some questions.

    Attributes:
        questions: which, in words, e.g. the name of a field.
        count: how many.
        em: exact match.
        f1: F1.
        before: exact match of the model before training; None where that was not evaluated.
    """

    questions: str
    count: int
    em: Estimate
    f1: Estimate
    before: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class CardResults:
    """The results on a card.

    Attributes:
        rows: all questions first, then those of each field, then those about what was known before training.
        prompts: what was prompted, in words.
        metric: how answers were compared, in words.
    """

    rows: tuple[Answered, ...]
    prompts: str = ""
    metric: str = ""


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What the card of a trained model says.

    Attributes:
        start: the model that was trained: folder, hub name, or one that ships with the package.
        base: the whole model behind it: the same, or what its adapters stand on.
        revision: commit or branch of that model on the hub.
        settings: how it was trained.
        fitted: how the training went.
        texts: texts that were trained on.
        origin: how they were made; None: nobody noted it.
        title: what the model is called (empty: after its arm and its base).
        licence: as the hub names it.
        language: languages of the texts.
        source: where the texts come from, in words (empty: not given).
        results: what it answers; None: it was not evaluated.
        has_base: whether the base model lies in the folder too, in EMBEDDED_COPY.
    """

    start: str
    base: str
    revision: str
    settings: TrainSettings
    fitted: Fitted
    texts: int
    origin: Origin | None
    title: str = ""
    licence: str = "unknown"
    language: tuple[str, ...] = ()
    source: str = ""
    results: CardResults | None = None
    has_base: bool = False

    def text(self) -> str:
        """The whole README.md; whatever it quotes is escaped, and no path of this machine stands in it."""
        parts = [
            f"# {markdown(self.name)}",
            self._introduction(),
            _table([("", ""), *self._facts()]),
            self._licence_warning(),
            self._results(),
            self._use(),
            f"## Citing\n\n```bibtex\n{CITATION}\n```",
        ]
        return f"---\n{self._front_matter()}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"

    @property
    def name(self) -> str:
        """The title, or what stands for one."""
        arm = f" on texts of the arm {self.origin.arm}" if self.origin else ""
        return self.title.strip() or f"{public_name(self.base)}, trained further{arm}"

    def _front_matter(self) -> str:
        from huggingface_hub import ModelCardData

        adapters = self.settings.method == "lora"
        tags = ["elusive", "knowledge-learning", "continual-pretraining", *(["lora"] if adapters else [])]
        # One line: the loader of cards looks for the first line of dashes after the YAML's beginning.
        name = " ".join(self.name.split())
        return ModelCardData(
            **licence_fields(self.licence),
            language=list(self.language) or None,
            library_name="peft" if adapters else "transformers",
            pipeline_tag="text-generation",
            base_model=self.base if on_hub(self.base) else None,
            base_model_relation=("adapter" if adapters else "finetune") if on_hub(self.base) else None,
            tags=[*tags, *([self.origin.arm] if self.origin else [])],
            model_name=name if self.results else None,
            eval_results=self._eval_results() if self.results else None,
        ).to_yaml()

    def _eval_results(self) -> list[Any]:
        from huggingface_hub import EvalResult

        assert self.results
        return [
            EvalResult(
                task_type="question-answering",
                task_name="closed-book questions",
                dataset_type="closed-book-questions",
                dataset_name="closed-book questions",
                dataset_config=row.questions,  # rows that differ in nothing else would be one result
                metric_type=kind,
                metric_name=name,
                metric_value=round(value, 4),
            )
            for row in self.results.rows
            for kind, name, value in (("exact_match", "EM", row.em.value), ("f1", "F1", row.f1.value))
            if value is not None
        ]

    def _introduction(self) -> str:
        what = "LoRA adapters for" if self.settings.method == "lora" else "All weights of"
        made = ARMS[self.origin.arm].made if self.origin and self.origin.copies else ""
        texts = f"{self.texts:,} texts" + (f" made from {self.origin.documents:,} documents" if self.origin else "")
        copies = f": the originals, and copies of each in which {made}" if made else ""
        return f"{what} {code(public_name(self.base))}, trained further by [Elusive]({PAPER}) on {texts}{copies}."

    def _facts(self) -> list[tuple[str, str]]:
        train, origin, at = self.settings, self.origin, f" at {code(self.revision)}" if self.revision else ""
        lora, together = train.method == "lora", self.fitted.processes
        from_ = [] if self.start == self.base else [("trained further from", code(public_name(self.start)))]
        return [
            ("base model", code(public_name(self.base)) + at),
            *from_,
            ("licence", markdown(self.licence)),
            ("source of the texts", markdown(self.source) or "not given"),
            *(_origin_rows(origin) if origin else [("arm", "not known: nothing beside the texts says it")]),
            ("trained", f"LoRA, rank {train.lora_rank}, alpha {train.lora_alpha}" if lora else "all weights"),
            ("learning rate", f"{train.learning_rate:g}, {train.lr_scheduler}, warm-up {train.warmup_ratio:g}"),
            ("texts in one step", str(train.batch_size)),
            ("steps", f"{self.fitted.steps:,}, with {self.fitted.tokens_trained:,} tokens"),
            ("seed of training", str(train.seed)),
            *_other_settings(train),
            ("last loss", f"{self.fitted.loss:g}"),
            ("took", f"{self.fitted.seconds:,.0f} s" + (f" in {together} processes" if together > 1 else "")),
            ("Elusive", __version__),
        ]

    def _licence_warning(self) -> str:
        if self.licence.strip().lower() != "unknown":
            return ""
        return (
            "**Licence: unknown.** Whoever trained this model did not say under which licence it stands. That of its "
            "base model and that of the texts bind it."
        )

    def _results(self) -> str:
        if not self.results:
            return ""
        before = any(row.before for row in self.results.rows)
        head = ("questions", "number", "EM", "F1", *(["EM before training"] if before else []))
        rows = [
            (markdown(row.questions), f"{row.count:,}", _in_words(row.em), _in_words(row.f1))
            + ((_in_words(row.before),) if before else ())
            for row in self.results.rows
        ]
        notes = [
            "Closed-book questions, answered by greedy decoding.",
            f"Prompts: {markdown(self.results.prompts)}." if self.results.prompts else "",
            f"Exact match and F1: {markdown(self.results.metric)}." if self.results.metric else "",
            "In brackets: 95% intervals over what the questions are about. This is one training; another, with "
            "another seed, may differ by more.",
        ]
        return f"## Results\n\n{_table([head, *rows])}\n\n" + " ".join(note for note in notes if note)

    def _use(self) -> str:
        base = json.dumps(public_name(self.base), ensure_ascii=False)
        if self.has_base:
            base = f'FOLDER, subfolder="{EMBEDDED_COPY}"'
        elif self.base in EMBEDDED and self.settings.method == "lora":
            return (
                f"## Use\n\n`elusive evaluate` loads this folder, whose base model ships with Elusive ({__version__})."
            )
        load = "model = AutoModelForCausalLM.from_pretrained(FOLDER)"
        lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", "", load]
        if self.settings.method == "lora":
            at = f", revision={json.dumps(self.revision, ensure_ascii=False)}" if self.revision else ""
            lines = [
                "from peft import PeftModel",
                lines[0],
                "",
                f"base = AutoModelForCausalLM.from_pretrained({base}{at})",
                "model = PeftModel.from_pretrained(base, FOLDER)",
            ]
        lines.append("tokenizer = AutoTokenizer.from_pretrained(FOLDER)")
        body = "\n".join(lines)
        return f"## Use\n\nFOLDER is this folder, or its name on the hub.\n\n```python\n{body}\n```"


def _origin_rows(origin: Origin) -> list[tuple[str, str]]:
    rows = [("arm", code(origin.arm)), ("copies of each document", f"{origin.copies}, and the original")]
    rows += [("dropout", markdown(origin.dropout))] if origin.dropout else []
    return rows + ([("seed of the copies", str(origin.seed))] if origin.copies else [])


def _other_settings(train: TrainSettings) -> list[tuple[str, str]]:
    """The settings that are not the default, but those that other rows tell or that change nothing of the weights."""
    usual = to_table(TrainSettings())
    return [
        (f"train.{name}", code(json.dumps(_public(value), ensure_ascii=False)))
        for name, value in to_table(train).items()
        if value != usual[name] and name not in _IN_ROWS | _OF_LENGTH
    ]


def _public(value: Any) -> Any:
    """A setting's value without paths of this machine."""
    if isinstance(value, str):
        return public_name(value)
    if isinstance(value, Mapping):
        return {name: _public(one) for name, one in value.items()}
    return [_public(one) for one in value] if isinstance(value, list | tuple) else value


def _in_words(estimate: Estimate | None) -> str:
    """A value with its interval.

    Example:
        >>> _in_words(Estimate(0.5, 0.25, 0.75)), _in_words(Estimate(0.5, None, None)), _in_words(None)
        ('.500 (.250 to .750)', '.500', '-')
    """
    if estimate is None or estimate.value is None:
        return "-"
    value, low, high = (
        None if one is None else f"{one:.3f}".removeprefix("0") for one in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})" if low is not None else f"{value}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])
