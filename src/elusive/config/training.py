"""Settings of training."""

import dataclasses
import math
from typing import Any, Literal

from .checks import check, check_each

Precision = Literal["auto", "bf16", "fp32"]


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Continual pretraining on one arm's texts."""

    method: Literal["lora", "full"] = "lora"
    """Low-rank adapters, or all weights."""
    adapters: Literal["continue", "merge"] = "continue"
    """Of a model that is a folder of LoRA adapters: train these further, at their own rank and alpha, or merge them
    into their model before it is trained."""
    lora_rank: int = 16
    """Rank of the adapters, on every linear layer but embedding and head."""
    lora_alpha: int = 16
    """Scale of the adapters: their product is multiplied by lora_alpha / lora_rank."""
    learning_rate: float = 5e-4
    """Peak learning rate."""
    lr_scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """Shape of the learning rate after the warm-up."""
    warmup_ratio: float = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    l2_sp: float = 0.0
    """L2-SP against forgetting: AdamW's weight decay, but towards the weights before training (with method full)."""
    average: float = 1.0
    """WiSE-FT against forgetting: what training changed is kept in this share, the start in the rest (1: trained)."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are scaled down to it (0: none)."""
    epochs: float = 10.0
    """Epochs over the arm's texts, where max_steps is 0."""
    copies: Literal["static", "fresh"] = "static"
    """Copies as augmentation wrote them, or drawn anew in each epoch from ranking.parquet, at the same rates."""
    max_steps: int = 0
    """Optimizer steps, the same for every arm (0: by epochs)."""
    max_tokens: int = 0
    """Tokens of the arm's texts to train on, to within a step, the same for every arm (0: by max_steps or epochs)."""
    batch_size: int = 8
    """Texts of the arm in one step, over all processes; the last step may have fewer."""
    gradient_accumulation_steps: int = 1
    """Batches that a step is split into where it does not fit the memory at once; batch_size stays the whole step's."""
    chat: Literal["bare", "template"] = "bare"
    """Train on the texts as they are, or in the model's chat template as answers to chat_request, which has no loss."""
    chat_request: str = "Tell me about {subject}."
    """What a user says before each text in a chat; {subject} is the text's title, headings or first words."""
    packing: bool = True
    """Pack a step's texts into one sequence without padding, none seeing another, where the architecture allows it."""
    skip_bad: bool = False
    """Quarantine bad rows of the texts in quarantine.jsonl and train on the others."""
    replay: str = ""
    """Other text mixed in against forgetting: a corpus path, or `pretraining` for the embedded pair's text."""
    replay_column: str = "text"
    """Column or key of the replay corpus that holds the text, where it has columns."""
    replay_documents: int = 0
    """The first so many documents of the replay corpus (0: all, which are held in memory)."""
    replay_batch_size: int = 4
    """Texts of the replay corpus added to each step, where there is one."""
    max_length: int = 0
    """Longest sequence in tokens; longer texts become several (0: the model's context, at most 1,024)."""
    precision: Precision = "auto"
    """bf16 autocast, fp32, or auto: bf16 where the hardware computes in it."""
    seed: int = 0
    """Seed of the order of the sequences and of the adapters' first weights."""
    save_steps: int = 200
    """Steps between checkpoints (0: none)."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    mask_token: str = ""
    """Token at the inputs that masked arms mask (empty: the tokenizer's mask token, else unknown, padding, bos or eos,
    the first that it has)."""
    mask_steepness: float = 10.0
    """How steeply masking rises over the steps in the arm entrodrop: 1 / (1 + exp(-mask_steepness (t - 1/2))) of it at
    the share t of the training (0: one half throughout)."""
    selected_ratio: float = 0.6
    """Share of each sequence's labels that the arm selective trains on: those with the largest excess loss."""
    reference: str = ""
    """Model whose loss is taken off for the excess: a folder or hub name with the same tokens (empty: the trained model
    as it was before)."""
    evaluate_at_epochs: tuple[float, ...] = ()
    """Epochs after which the questions are evaluated during training, in addition to the end."""
    training_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Any other field of transformers' TrainingArguments, as a table."""

    def __post_init__(self) -> None:
        check(self.lora_rank > 0, "train.lora_rank", "at least 1", self.lora_rank)
        check(0 < self.learning_rate < math.inf, "train.learning_rate", "above 0", self.learning_rate)
        check(0 <= self.warmup_ratio <= 1, "train.warmup_ratio", "a share in [0, 1]", self.warmup_ratio)
        check(0 <= self.weight_decay < math.inf, "train.weight_decay", "0 or more", self.weight_decay)
        check(0 <= self.l2_sp * self.learning_rate <= 1, "train.l2_sp", "0 to 1 / train.learning_rate", self.l2_sp)
        check(
            not self.l2_sp or self.method == "full",
            "train.l2_sp",
            "0 with method = lora: adapters start as 0, so train.weight_decay draws them there",
            self.l2_sp,
        )
        check(0 < self.average <= 1, "train.average", "a share in (0, 1]", self.average)
        check(self.max_grad_norm >= 0, "train.max_grad_norm", "0 or more", self.max_grad_norm)
        check(0 < self.epochs < math.inf, "train.epochs", "above 0", self.epochs)
        check(self.max_steps >= 0, "train.max_steps", "0 or more", self.max_steps)
        check(self.max_tokens >= 0, "train.max_tokens", "0 or more", self.max_tokens)
        check(not (self.max_steps and self.max_tokens), "train.max_tokens", "0 with max_steps", self.max_tokens)
        check(self.batch_size > 0, "train.batch_size", "at least 1", self.batch_size)
        check_each("train", self, ("gradient_accumulation_steps",), 1)
        check(
            all(0 < epoch < math.inf for epoch in self.evaluate_at_epochs),
            "train.evaluate_at_epochs",
            "epochs above 0",
            self.evaluate_at_epochs,
        )
        check(self.replay_column != "", "train.replay_column", "the name of a column", self.replay_column)
        check(self.replay_documents >= 0, "train.replay_documents", "0 or more", self.replay_documents)
        check(self.replay_batch_size >= 0, "train.replay_batch_size", "0 or more", self.replay_batch_size)
        check(self.max_length == 0 or self.max_length > 1, "train.max_length", "0 or at least 2", self.max_length)
        check(0 <= self.mask_steepness < math.inf, "train.mask_steepness", "0 or more", self.mask_steepness)
        check(0 < self.selected_ratio <= 1, "train.selected_ratio", "a share in (0, 1]", self.selected_ratio)
        check("{subject}" in self.chat_request, "train.chat_request", "a text with {subject}", self.chat_request)
        static = self.chat == "bare" or self.copies == "static"
        check(static, "train.copies", 'static with train.chat = "template"', self.copies)
        check(self.seed >= 0, "train.seed", "0 or more", self.seed)
        check(self.save_steps >= 0, "train.save_steps", "0 or more", self.save_steps)
        if self.evaluate_at_epochs and not (self.max_steps or self.max_tokens):
            latest = max(self.evaluate_at_epochs)
            check(
                latest <= self.epochs,
                "train.evaluate_at_epochs",
                f"epochs up to train.epochs ({self.epochs:g})",
                latest,
            )
