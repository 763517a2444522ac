"""Every setting of a run has one home: these frozen dataclasses, from which recipes (TOML) and flags derive."""

import dataclasses
import math
import re
from typing import Any, Literal

from .checks import check, check_each, is_text_encoding
from .models import ModelRef, Models
from .patterns import compiled_pattern
from .server import RewriteSettings

Queries = Literal["cues", "spans", "all"]


Unit = Literal["token", "word", "phrase"]


Sink = Literal["auto", "first-token", "none"]


UnseenTokens = Literal["last", "keep"]


ContrastSignal = Literal["difference", "ratio"]


CueFusion = Literal["mean", "rrf", "zscore", "max", "best-rank"]


INSERT_FORMS = ("prefix", "parenthesis", "pronoun")
"""Names of the forms in which a clue is written (augmentation.forms writes them)."""


RankScale = Literal["absolute", "relative"]


Precision = Literal["auto", "bf16", "fp32"]


Draw = Literal["question", "field"]


ExampleFields = Literal["same", "any"]


Metric = Literal["auto", "squad", "multilingual", "numeric"]


QuestionSet = Literal["all", "first", "second"]


Headings = Literal["path", "own", "none"]


CorpusFormat = Literal[
    "auto",
    "jsonl",
    "json",
    "csv",
    "tagged-csv",
    "tsv",
    "parquet",
    "text",
    "markdown",
    "squad",
    "dataset",
    "html",
    "pdf",
    "docx",
    "pptx",
    "xlsx",
    "odt",
    "epub",
    "notebook",
    "rst",
    "man",
    "asciidoc",
    "rtf",
    "org",
    "latex",
    "docbook",
    "mediawiki",
    "pod",
]


QUESTION_FORMS = {
    "date": "When was {name} born?",
    "city": "Where was {name} born?",
    "university": "Which university did {name} graduate from?",
    "major": "What did {name} study?",
    "company": "Where did {name} work?",
}
"""The five question forms of the paper."""


@dataclasses.dataclass(frozen=True)
class CorpusSettings:
    """Where documents and questions come from."""

    source: str = "biographies"
    """File, folder, glob pattern, `-` (standard input), `hf:org/name`, or `biographies` for new fictional people."""
    format: CorpusFormat = "auto"
    """How to read `source`; auto sees it from each file's name, or else its content. tagged-csv means csv."""
    text_column: str = "text"
    """Column or key that holds the texts."""
    id_column: str = "id"
    """Column or key that holds their ids; a row without one is named after its file."""
    tags: bool = True
    """Take balanced tags such as <date>..</date> out of CSV and TSV texts and make them spans."""
    encoding: str = ""
    """Encoding of text files that are not UTF-8 and have no byte order mark, e.g. cp1252 (empty: they are refused, with
    a guess)."""
    convert_seconds: float = 120.0
    """How long the conversion of one document (HTML, Word, ...), or of one page of a PDF, may take."""
    chunk_tokens: int = 256
    """Cut longer texts of any source, but for fictional people, into documents of at most this many tokens, between
    paragraphs, sentences or words and never within a span (0: never)."""
    headings: Headings = "path"
    """Headings of a chunk of Markdown or of a converted document: path puts all those above it in front, so that it
    names its subject; own keeps those that stand in it; none leaves them out."""
    tokenizer: str = ""
    """Folder or hub name of the tokenizer that counts them (empty: the trained model's; elusive/large in generate)."""
    subset: str = ""
    """Configuration of a Hugging Face dataset."""
    split: str = ""
    """Split of a Hugging Face dataset that has several, or some: train+validation."""
    revision: str = ""
    """Commit or branch of a dataset on the hub (empty: its default)."""
    questions: str = ""
    """A JSONL file of questions (id, question, answers, field, document_id), if the corpus brings none."""
    question_forms: dict[str, str] = dataclasses.field(default_factory=lambda: dict(QUESTION_FORMS))
    """Without `questions`, rows with such marked fields are asked about by these forms, as a table by field; {name} is
    the text of the field `name` (empty: none are asked)."""
    cue_questions: QuestionSet = "all"
    """Questions whose answers are cues: all, or the first or second half of each document's, by a hash of their ids."""
    asked_questions: QuestionSet = "all"
    """Questions that are asked: all, or one half of each document's; with the other as cue_questions none is a cue."""
    people: int = 100
    """How many fictional people, with source = biographies."""
    seed: int = 0
    """Seed of the fictional people."""
    name_position: Literal["first", "random"] = "first"
    """Sentence that holds the name: the first (paper's main form) or a random one (Table 7)."""
    filler_sentences: int = 0
    """Sentences without facts before each fact but the first: more distance from the name (source = biographies)."""
    people_per_document: int = 1
    """Biographies one after the other in each document, so that a name is not the only one (source = biographies)."""
    limit: int = 0
    """Read only the first documents, chunks of long texts counted one by one, up to this number (0: all)."""
    skip_bad: bool = False
    """Quarantine bad rows in quarantine.jsonl and continue, however many there are."""
    max_bad_share: float = 0.0
    """Stop if more than this share of the rows is bad (0: stop at any)."""
    max_read_bytes: int = 1 << 28
    """Bytes of a source in memory at once: a line, a row of a table, or a file that is read whole (JSON, Markdown)."""
    max_expansion: int = 1000
    """How many times its size a compressed file may grow to, where that is more than max_read_bytes."""
    mark_answers: bool = True
    """Find the answers of `questions` in the documents they name, where these come without answer spans."""
    patterns: tuple[str, ...] = ()
    """Spans by regular expressions, each "field=regex"; a group named `span` marks that group alone."""
    pattern_seconds: float = 10.0
    """How long one pattern may search one document."""
    spacy: str = ""
    """Spans by a spaCy pipeline: a name or folder (needs `elusive[spacy]`); its labels are the fields."""

    def __post_init__(self) -> None:
        check(self.people > 0, "corpus.people", "at least 1", self.people)
        check(self.filler_sentences >= 0, "corpus.filler_sentences", "0 or more", self.filler_sentences)
        check(self.people_per_document > 0, "corpus.people_per_document", "at least 1", self.people_per_document)
        check(self.limit >= 0, "corpus.limit", "0 or more", self.limit)
        check(self.text_column != "", "corpus.text_column", "the name of a column", self.text_column)
        check(self.chunk_tokens >= 0, "corpus.chunk_tokens", "0 or more", self.chunk_tokens)
        for field, form in self.question_forms.items():
            words = "a question with a field in braces, e.g. When was {name} born?"
            check(_is_question_form(form), f"corpus.question_forms.{field}", words, form)
        check_each("corpus", self, ("max_read_bytes", "max_expansion"), 1)
        check(0 < self.convert_seconds < math.inf, "corpus.convert_seconds", "above 0", self.convert_seconds)
        check(
            not self.encoding or is_text_encoding(self.encoding),
            "corpus.encoding",
            "an encoding of text that Python knows, e.g. cp1252 or shift_jis",
            self.encoding,
        )
        check(0 < self.pattern_seconds < math.inf, "corpus.pattern_seconds", "above 0", self.pattern_seconds)
        check(0 <= self.max_bad_share < 1, "corpus.max_bad_share", "a share in [0, 1)", self.max_bad_share)


def _is_question_form(form: Any) -> bool:
    return isinstance(form, str) and bool(re.fullmatch(r"[^{}]*(\{[^{}]+\}[^{}]*)+", form))


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
    """Whose attention is captured, and how it is averaged."""

    queries: Queries = "cues"
    """Query positions of the attention and distance arms: before each answer span, all that predict it, or all."""
    head_fields: tuple[str, ...] = ("name",)
    """Span fields that are head entities: clues, not answers, so never queries."""
    include_self: bool = True
    """Count a token's attention to itself (q >= k); false leaves it out (q > k)."""
    excluded_tokens: tuple[str, ...] = (".", ",")
    """Never ranked and never dropped, in addition to special tokens and white space."""
    renormalise: bool = False
    """Leave attention to tokens that are never ranked out, and scale the rest of each row to sum to 1."""
    sink: Sink = "auto"
    """The first token of each text takes up surplus attention where no bos stands before it: never ranked and never
    dropped then (auto), or always (first-token), or treated like any other (none)."""
    max_length: int = 0
    """Longest window in tokens (0: the model's own context)."""
    max_batch_tokens: int = 0
    """Tokens in one forward pass, padding included (0: what suits the device, from 1,024 on a CPU to 16,384)."""
    packed: bool = False
    """Pack the texts of a batch into one sequence without padding; slower on sorted texts."""
    shard_documents: int = 256
    """Documents in one Parquet file; an interrupted run loses at most one."""

    def __post_init__(self) -> None:
        check(self.max_length >= 0, "score.max_length", "0 or more", self.max_length)
        check(self.max_batch_tokens >= 0, "score.max_batch_tokens", "0 or more", self.max_batch_tokens)
        check(self.shard_documents > 0, "score.shard_documents", "at least 1", self.shard_documents)


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """How copies are made: token dropout guided by ranks, p(r) = alpha * (1 - exp(-beta * r)) (Equation 1); and clues
    written into sentences."""

    alpha: float = 0.6
    """Largest drop probability."""
    beta: float = 0.05
    """How fast the drop probability grows with the rank."""
    rank_scale: RankScale = "absolute"
    """Ranks in Equation 1: as they are (the paper's), or times 80 / ranked tokens of the document, for long texts."""
    copies: int = 10
    """Augmented copies of each document, in addition to the original."""
    seed: int = 0
    """A copy's draws derive from (seed, document id, copy number) alone."""
    unseen_tokens: UnseenTokens = "keep"
    """Tokens that no query can see, the same in every guided arm and in random-matched: ranked last, or kept."""
    unit: Unit = "token"
    """What is dropped or kept as a whole, in every arm: single tokens, words, or phrases (runs of words in a sentence);
    a word or phrase stands in the ranking where its best token does, and so do tokens that share a character."""
    protected_spans: tuple[str, ...] = ()
    """Fields whose spans no arm drops; `heads` are all of score.head_fields, `answers` all others."""
    protected_patterns: tuple[str, ...] = ("code", "tables")
    """What no arm drops: `code` and `tables` of Markdown, `numbers`, `negations` (English), or regular expressions; any
    token that a match touches."""
    pattern_seconds: float = 10.0
    """Most seconds that one protected pattern may take on one document."""
    contrast_signal: ContrastSignal = "difference"
    """What arms that drop by contrast rank by: the difference of the two models' attention (the paper's), or its
    ratio."""
    cue_fusion: CueFusion = "mean"
    """How they make one ranking of all queries: from the mean attention (the paper's); or from the contrast of each
    sentence's queries: by reciprocal ranks, z-scores, the largest z-score or the best rank."""
    clue_signal: ContrastSignal = "ratio"
    """What insert-contrast looks for clues by: the ratio of the two models' attention, or their difference."""
    clue_words: int = 5
    """A clue is made of the best words, at most so many; those of them that stand side by side."""
    clue_reach: float = 3.0
    """How far sentences share what they know of clues: that of a sentence weighs exp(-n / clue_reach) in the n-th one
    before and after it, of those with queries (0: each has its own alone; inf: all count alike)."""
    clue_margin: float = 0.5
    """A clue is written only where it is clear: all others weigh less than 1 - clue_margin of it."""
    clue_answers: bool = True
    """Whether marked answers may be clues to other sentences; without them, far more clues are the head entity."""
    insert_share: float = 0.8
    """Share of the sentences with a clue that get it, drawn anew in each copy."""
    insert_forms: tuple[str, ...] = ("prefix", "parenthesis", "pronoun")
    """How it is written, drawn anew each time: before the sentence, behind it, in place of the English pronoun that the
    sentence begins with (else before it), or by a template, e.g. "{sentence} This is about {clue}."."""
    low_entropy_share: float = 0.5
    """Share of each document's ranked tokens, those of the lowest entropy, that the arm entrodrop masks at alpha."""
    across_tokenizers: bool = False
    """Contrast models whose tokens differ: scores are spread over characters and gathered on the trained one's."""
    blank: bool = False
    """Overwrite dropped characters with spaces (the released code) instead of deleting tokens."""

    def __post_init__(self) -> None:
        check(0 <= self.alpha <= 1, "augment.alpha", "a probability in [0, 1]", self.alpha)
        check(self.beta >= 0 and math.isfinite(self.beta), "augment.beta", "0 or more", self.beta)
        check(self.copies >= 0, "augment.copies", "0 or more", self.copies)
        check(self.clue_words > 0, "augment.clue_words", "at least 1", self.clue_words)
        check(self.clue_reach >= 0, "augment.clue_reach", "0 or more", self.clue_reach)
        check(0 <= self.clue_margin <= 1, "augment.clue_margin", "a share in [0, 1]", self.clue_margin)
        lowest = self.low_entropy_share
        check(0 <= lowest <= 1, "augment.low_entropy_share", "a share in [0, 1]", lowest)
        check(0 <= self.insert_share <= 1, "augment.insert_share", "a share in [0, 1]", self.insert_share)
        check(len(self.insert_forms) > 0, "augment.insert_forms", "at least one form", self.insert_forms)
        for form in self.insert_forms:
            known = form in INSERT_FORMS or ("{clue}" in form and "{sentence}" in form)
            words = f"one of {', '.join(INSERT_FORMS)}, or a template with {{clue}} and {{sentence}}"
            check(known, "augment.insert_forms", words, form)
        check(0 < self.pattern_seconds < math.inf, "augment.pattern_seconds", "above 0", self.pattern_seconds)
        for pattern in self.protected_patterns:
            compiled_pattern(pattern, "augment.protected_patterns")


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Continual pretraining on one arm's texts."""

    method: Literal["lora", "full"] = "lora"
    """Low-rank adapters, or all weights."""
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
    packing: bool = True
    """Pack a step's texts into one sequence without padding, none seeing another, where the architecture allows it."""
    skip_bad: bool = False
    """Quarantine bad rows of the texts in quarantine.jsonl and train on the others."""
    replay: str = ""
    """Other text mixed in against forgetting: a corpus path, or `pretraining` for the embedded pair's text."""
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
        check(self.replay_batch_size >= 0, "train.replay_batch_size", "0 or more", self.replay_batch_size)
        check(self.max_length == 0 or self.max_length > 1, "train.max_length", "0 or at least 2", self.max_length)
        check(0 <= self.mask_steepness < math.inf, "train.mask_steepness", "0 or more", self.mask_steepness)
        check(0 < self.selected_ratio <= 1, "train.selected_ratio", "a share in (0, 1]", self.selected_ratio)
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


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """Closed-book questions, few-shot, greedy."""

    shots: int = 5
    """Question-answer pairs about well-known people before each question."""
    max_new_tokens: int = 32
    """Longest answer in tokens; answers end earlier at a newline, eos or bos."""
    max_batch_tokens: int = 16384
    """Tokens of prompts and answers in one batch, padding included."""
    seed: int = 0
    """Which examples each question gets, together with the question's id (or its field, see draw)."""
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
    """Questions that measure forgetting: a JSONL file; none; or auto: people of the model's own pretraining text where
    `elusive pretrain` made it (as it made the embedded pair), else well-known people."""
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
        check(self.known != "", "evaluate.known", "auto, none or a file of questions", self.known)
        check(self.resamples > 0, "evaluate.resamples", "at least 1", self.resamples)
        check(len(self.labels) in (0, 2), "evaluate.labels", "two texts, such as Frage and Antwort", self.labels)
        check(all(map(_is_label, self.labels)), "evaluate.labels", "texts of one line each", self.labels)
        code = bool(re.fullmatch(r"auto|unknown|[a-z]{2,3}", self.language))
        check(code, "evaluate.language", "auto, unknown or the code of a language, such as de", self.language)
        unused = self.vllm and self.engine != "vllm"
        check(not unused, "evaluate.vllm", 'nothing, unless evaluate.engine = "vllm"', self.vllm)


def _is_label(text: str) -> bool:
    return bool(text.strip()) and len(text.splitlines()) == 1


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
