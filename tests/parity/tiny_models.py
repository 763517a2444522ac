"""Tiny random models of many architectures, a tokenizer and documents, and attention scores reduced by hand."""

import copy
import functools
import random
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
)

from elusive.documents import Document, Span

VOCABULARY = 275
# Weights this large make attention far from uniform; with the usual 0.02 every score would be near 1 / tokens.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "initializer_range": 0.5,
    "pad_token_id": None,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
GROUPED: dict[str, Any] = {**SIZES, "num_key_value_heads": 2}
CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "gemma2": lambda: Gemma2Config(
        **GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=9, attn_logit_softcapping=4.0
    ),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=16),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=11),
    "gpt_neox": lambda: GPTNeoXConfig(**SIZES),
    "gpt2": lambda: GPT2Config(**{**SIZES, "n_inner": 48}),
    "opt": lambda: OPTConfig(
        **{**SIZES, "pad_token_id": 1}, ffn_dim=48, word_embed_proj_dim=32, init_std=0.5, dropout=0.0
    ),
    "phi3": lambda: Phi3Config(**GROUPED),
    "gpt_oss": lambda: GptOssConfig(
        **GROUPED, head_dim=8, sliding_window=10, num_local_experts=2, num_experts_per_tok=1
    ),
    "stablelm": lambda: StableLmConfig(**GROUPED),
}


def model_pair(name: str, seed: int = 0) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The same random weights under the attention `elusive` and under transformers' own eager attention."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[name](), attn_implementation="elusive").eval().float()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("sinks"):
                parameter.normal_(0.0, 2.0)
            elif key.endswith("q_norm.weight"):
                parameter.normal_(0.0, 3.0)  # Qwen 3 normalises queries, whatever the size of their weights
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    return model, eager


@functools.cache
def tiny_tokenizer(bos: bool = True, trim_offsets: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, with or without a bos token in front of each text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([document.text for document in tiny_documents(20, seed=1)], trainer)
    steps: list[Any] = [processors.ByteLevel(trim_offsets=trim_offsets)]
    if bos:
        steps.append(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]))
    tokenizer.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")


def tiny_documents(count: int, seed: int = 0, words: tuple[int, int] = (5, 30)) -> list[Document]:
    """Texts of random words and unequal lengths, with a name at the front and two answers behind it."""
    rng = random.Random(seed)
    lexicon = ["was", "born", "in", "the", "city", "of", "Rome", "Oslo", "studied", "Art", "Law", "zürich", "at", "on"]
    documents = []
    for index in range(count):
        length = rng.randint(*words)
        drawn = ["Ann", "Lee", *rng.choices(lexicon, k=length)]
        starts = np.cumsum([0] + [len(word) + 1 for word in drawn]).tolist()
        middle, late = 2 + length // 2, length
        spans = (
            Span("name", 0, len("Ann Lee")),
            Span("city", starts[middle], starts[middle] + len(drawn[middle])),
            Span("major", starts[late], starts[late + 1] + len(drawn[late + 1])),
        )
        documents.append(Document(f"text-{index}", " ".join(drawn), spans))
    return documents


def eager_attention(eager: PreTrainedModel, ids: list[int]) -> np.ndarray:
    """Mean attention over layers and heads of one text, float64 (queries, keys)."""
    with torch.no_grad():
        attentions = eager(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    assert len(attentions) == eager.config.num_hidden_layers
    return np.mean([layer[0].double().numpy().mean(0) for layer in attentions], axis=0)


def scores_by_hand(attention_QK: np.ndarray, queries: list[int], include_self: bool) -> tuple[np.ndarray, np.ndarray]:
    """s(k) and the number of queries that see k, straight from the definition."""
    tokens = len(attention_QK)
    scores, counts = np.zeros(tokens), np.zeros(tokens, dtype=int)
    for k in range(tokens):
        seeing = [q for q in queries if (q >= k if include_self else q > k)]
        counts[k] = len(seeing)
        scores[k] = sum(attention_QK[q, k] for q in seeing) / len(seeing) if seeing else 0.0
    return scores, counts
