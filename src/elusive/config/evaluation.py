"""Settings of evaluation: prompts, answers and how they are judged."""

import dataclasses
import re
from typing import Any, Literal

from .checks import check

Draw = Literal["question", "field"]


ExampleFields = Literal["same", "any"]


ChatForm = Literal["auto", "bare", "turns", "message"]


Metric = Literal["auto", "squad", "multilingual", "numeric"]


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """Closed-book questions, few-shot, greedy."""

    shots: int = 5
    """Question-answer pairs about well-known people before each question."""
    max_new_tokens: int = 32
    """Longest answer in tokens; answers end earlier at a newline, eos or bos (in a chat: at the end of the turn)."""
    max_batch_tokens: int = 16384
    """Tokens of prompts and answers in one batch, padding included."""
    seed: int = 0
    """Which examples each question gets, together with the question's id (or its field, see draw)."""
    chat: ChatForm = "bare"
    """How questions are put to a model: bare, a text that it continues; turns, by its chat template, with each example
    a question and its answer; message, by the template, with the bare prompt as one message; auto: turns where the
    tokenizer has a template, else bare."""
    instruction: str = ""
    """Text in front of the first message of a chat, such as: Answer with the answer alone."""
    draw: Draw = "question"
    """Draw examples for each question (as in the paper), or once for each field: a prefix that is prefilled once."""
    example_fields: ExampleFields = "same"
    """Show examples of the question's own field (as the authors' code does), filled up from other fields where it has
    too few, or of any field."""
    examples: str = ""
    """What the shots are drawn from: a JSONL file of questions with answers; well-known (people, in English); corpus
    (its own questions, those that give cues, about other documents); empty: well-known, or corpus where the questions
    are not English."""
    language: str = "auto"
    """Language of the questions, by a code such as de, or unknown; auto sees it from their letters and words. It
    decides the labels in prompts, and which articles and decimal marks the metric knows."""
    labels: tuple[str, ...] = ()
    """What stands before a question and before an answer in prompts (empty: Question and Answer in the language)."""
    metric: Metric = "auto"
    """How answers are compared: squad (v1.1, for English), multilingual (MLQA's rules, for any script), numeric (the
    same with numbers by their value, for manuals); auto: squad, or multilingual if the questions are not English."""
    known: str = "auto"
    """Questions that measure forgetting: a JSONL file; none; general (144 built-in questions of eleven fields, in
    English); or auto: people of the model's own pretraining text where `elusive pretrain` made it (as it made the
    embedded pair), else general."""
    harness: tuple[str, ...] = ()
    """Tasks of lm-evaluation-harness that every final model does too, by name or as a YAML file, whatever it forgets
    there (needs `elusive[harness]`); with evaluate.chat they are put by the chat template."""
    harness_limit: int = 0
    """The first so many examples of each of these tasks (0: all)."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What generates the answers: transformers, or vLLM on its GPUs (needs `elusive[vllm]`)."""
    vllm: dict[str, Any] = dataclasses.field(default_factory=dict)
    """More arguments of vLLM's engine, e.g. tensor_parallel_size, as a table."""
    resamples: int = 10_000
    """Bootstrap resamples of documents behind each 95% interval of a single training."""

    def __post_init__(self) -> None:
        check(self.shots >= 0, "evaluate.shots", "0 or more", self.shots)
        check(self.max_new_tokens > 0, "evaluate.max_new_tokens", "at least 1", self.max_new_tokens)
        check(self.max_batch_tokens > 0, "evaluate.max_batch_tokens", "at least 1", self.max_batch_tokens)
        check(self.known != "", "evaluate.known", "auto, general, none or a file of questions", self.known)
        check(self.harness_limit >= 0, "evaluate.harness_limit", "0 or more", self.harness_limit)
        check(self.resamples > 0, "evaluate.resamples", "at least 1", self.resamples)
        check(len(self.labels) in (0, 2), "evaluate.labels", "two texts, such as Frage and Antwort", self.labels)
        check(all(map(_is_label, self.labels)), "evaluate.labels", "texts of one line each", self.labels)
        free = self.chat != "bare" or not self.instruction
        check(free, "evaluate.instruction", 'nothing with evaluate.chat = "bare"', self.instruction)
        code = bool(re.fullmatch(r"auto|unknown|[a-z]{2,3}", self.language))
        check(code, "evaluate.language", "auto, unknown or the code of a language, such as de", self.language)
        unused = self.vllm and self.engine != "vllm"
        check(not unused, "evaluate.vllm", 'nothing, unless evaluate.engine = "vllm"', self.vllm)


def _is_label(text: str) -> bool:
    return bool(text.strip()) and len(text.splitlines()) == 1
