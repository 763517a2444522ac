"""Tiny random models of many architectures, a tokenizer and documents, and attention scores reduced by hand."""

import copy
import functools
import random
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from elusive.attention import architectures
from elusive.corpus.documents import Document, Span

VOCABULARY = 275
# Weights this large make attention far from uniform; with the usual 0.02 every score would be near 1 / tokens. Larger
# ones magnify rounding.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "initializer_range": 0.35,
    "pad_token_id": None,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
GROUPED: dict[str, Any] = {**SIZES, "num_key_value_heads": 2}
HEADED: dict[str, Any] = {**GROUPED, "head_dim": 8}
PADDED: dict[str, Any] = {**SIZES, "pad_token_id": 1}
LATENT: dict[str, Any] = {
    **SIZES,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
}
MANY_EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
HYBRID = ["sliding_attention", "full_attention"]

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", GROUPED),
    "llama4": (
        "Llama4TextConfig",
        {
            **HEADED,
            "pad_token_id": 0,
            "attention_chunk_size": 13,
            "intermediate_size_mlp": 48,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "no_rope_layers": [1, 0],
        },
    ),
    "gemma": ("GemmaConfig", HEADED),
    "gemma2": (
        "Gemma2Config",
        {**HEADED, "query_pre_attn_scalar": 8, "sliding_window": 9, "attn_logit_softcapping": 4.0},
    ),
    "gemma3": ("Gemma3TextConfig", {**HEADED, "query_pre_attn_scalar": 8, "sliding_window": 9, "layer_types": HYBRID}),
    "gemma3n": (
        "Gemma3nTextConfig",
        {
            **HEADED,
            "sliding_window": 9,
            "layer_types": HYBRID,
            "num_kv_shared_layers": 0,
            "laurel_rank": 4,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCABULARY,
            "activation_sparsity_pattern": [0.0, 0.0],
        },
    ),
    "gemma4": (
        "Gemma4TextConfig",
        {
            **HEADED,
            "global_head_dim": 8,
            "sliding_window": 9,
            "layer_types": HYBRID,
            "hidden_size_per_layer_input": 8,  # its own tables would be 134 million weights
            "vocab_size_per_layer_input": VOCABULARY,
        },
    ),
    "qwen2": ("Qwen2Config", GROUPED),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {**GROUPED, **MANY_EXPERTS},
    ),
    "qwen3": ("Qwen3Config", {**GROUPED, "head_dim": 16}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {**HEADED, **MANY_EXPERTS},
    ),
    "mistral": ("MistralConfig", {**GROUPED, "sliding_window": 11}),
    "ministral": ("MinistralConfig", {**HEADED, "sliding_window": 11}),
    "mixtral": ("MixtralConfig", {**GROUPED, **EXPERTS, "sliding_window": 11}),
    "phi": ("PhiConfig", GROUPED),
    "phi3": ("Phi3Config", {**GROUPED, "sliding_window": 11}),
    "olmo": ("OlmoConfig", GROUPED),
    "olmo2": ("Olmo2Config", GROUPED),
    "olmo3": ("Olmo3Config", {**GROUPED, "sliding_window": 9, "layer_types": HYBRID}),
    "olmoe": ("OlmoeConfig", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "smollm3": ("SmolLM3Config", {**GROUPED, "no_rope_layers": [1, 0]}),
    "gpt_oss": ("GptOssConfig", {**HEADED, **EXPERTS, "sliding_window": 10}),
    "deepseek_v2": ("DeepseekV2Config", LATENT),
    "deepseek_v3": ("DeepseekV3Config", LATENT),
    "cohere": ("CohereConfig", GROUPED),
    "cohere2": ("Cohere2Config", {**HEADED, "sliding_window": 9, "layer_types": HYBRID}),
    "granite": ("GraniteConfig", {**GROUPED, "attention_multiplier": 0.3}),
    "glm4": ("Glm4Config", HEADED),
    "exaone4": ("Exaone4Config", {**HEADED, "sliding_window": 9, "layer_types": HYBRID}),
    "seed_oss": ("SeedOssConfig", HEADED),
    "apertus": ("ApertusConfig", GROUPED),
    "ernie4_5": ("Ernie4_5Config", GROUPED),
    "nemotron": ("NemotronConfig", HEADED),
    "starcoder2": ("Starcoder2Config", {**GROUPED, "sliding_window": 9}),
    "stablelm": ("StableLmConfig", GROUPED),
    "gpt_bigcode": ("GPTBigCodeConfig", {**SIZES, "n_inner": 48}),
    "gpt_neox": ("GPTNeoXConfig", SIZES),
    "gpt2": ("GPT2Config", {**SIZES, "n_inner": 48}),
    "opt": ("OPTConfig", {**PADDED, "ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.35, "dropout": 0.0}),
    "biogpt": ("BioGptConfig", PADDED),
    "ctrl": ("CTRLConfig", {**SIZES, "n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 256}),
    "modernbert": ("ModernBertDecoderConfig", {**PADDED, "local_attention": 9, "layer_types": HYBRID}),
    "bloom": ("BloomConfig", SIZES),
    "falcon": ("FalconConfig", SIZES),
    "falcon_alibi": ("FalconConfig", {**SIZES, "alibi": True, "multi_query": False}),
    "falcon_new": ("FalconConfig", {**SIZES, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "mpt": ("MptConfig", {**SIZES, "max_seq_len": 256}),
    "gptj": ("GPTJConfig", {**SIZES, "rotary_dim": 4}),
    "gpt_neo": (
        "GPTNeoConfig",
        {**SIZES, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 7},
    ),
    "codegen": ("CodeGenConfig", {**SIZES, "rotary_dim": 4}),
    "gpt_neox_japanese": ("GPTNeoXJapaneseConfig", SIZES),
    "xglm": (
        "XGLMConfig",
        {**PADDED, "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48, "init_std": 0.35},
    ),
    "openai_gpt": ("OpenAIGPTConfig", SIZES),
}
"""Configurations by the name of the model's kind, and in brackets what the tiny one of them has."""

BOUNDARY = 64
"""Tokens up to which the models of BY_LENGTH have the rotary frequencies of short texts."""

_LONGROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [4.0, 6.0, 9.0, 12.0],
    "original_max_position_embeddings": BOUNDARY,
}
_LONG: dict[str, Any] = {**GROUPED, "max_position_embeddings": 512, "original_max_position_embeddings": BOUNDARY}

BY_LENGTH: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3_longrope": ("Phi3Config", {**_LONG, "rope_parameters": _LONGROPE}),
    "phimoe_longrope": (
        "PhimoeConfig",
        {**_LONG, **EXPERTS, "rope_parameters": {**_LONGROPE, "short_mscale": 1.0, "long_mscale": 1.3}},
    ),
    "llama_longrope": ("LlamaConfig", {**_LONG, "rope_parameters": {**_LONGROPE, "factor": 8.0}}),
    "llama_dynamic": (
        "LlamaConfig",
        {
            **GROUPED,
            "max_position_embeddings": BOUNDARY,
            "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
        },
    ),
}
"""Models whose rotary frequencies depend on the longest text of a pass."""

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("MambaConfig", SIZES),
    "rwkv": ("RwkvConfig", SIZES),
    "recurrent_gemma": ("RecurrentGemmaConfig", {**GROUPED, "block_types": ["recurrent", "attention"]}),
    "jamba": (
        "JambaConfig",
        {**GROUPED, "num_experts": 2, "mamba_d_state": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    ),
    "qwen3_next": ("Qwen3NextConfig", HEADED),
    "lfm2": ("Lfm2Config", {**GROUPED, "layer_types": ["conv", "full_attention"]}),
    "minimax": ("MiniMaxConfig", {**GROUPED, "num_local_experts": 2}),
    "t5": ("T5Config", {}),
    "bart": ("BartConfig", {**PADDED, "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4}),
    "bert": ("BertConfig", SIZES),
    "roformer": ("RoFormerConfig", {**SIZES, "embedding_size": 32}),
    "diffllama": ("DiffLlamaConfig", HEADED),
    "hrm_text": ("HrmTextConfig", GROUPED),
}


def tiny_config(name: str) -> Any:
    kind, settings = (CONFIGS | BY_LENGTH | REFUSED)[name]
    return getattr(transformers, kind)(**copy.deepcopy(settings))


def tiny_model(name: str, seed: int = 0) -> PreTrainedModel:
    """Random weights under the attention with which the architecture is scored."""
    torch.manual_seed(seed)
    config = tiny_config(name)
    attention = architectures.attention_to_load(config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval().float()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("sinks"):
                parameter.normal_(0.0, 2.0)
            elif key.endswith("c_attn.weight"):
                parameter.normal_(0.0, 0.5)  # OpenAI GPT's has a size of its own
            elif key.endswith(("q_norm.weight", "qk_norm.weight")):
                parameter.normal_(0.0, 3.0)  # these normalise queries, whatever the size of their weights
    return model


def model_pair(name: str, seed: int = 0) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The same random weights as they are scored, and under transformers' own eager attention."""
    model = tiny_model(name, seed)
    eager = copy.deepcopy(model)
    if architectures.way_in(model) == "interface":
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
    assert len(attentions) == eager.config.get_text_config(decoder=True).num_hidden_layers
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
