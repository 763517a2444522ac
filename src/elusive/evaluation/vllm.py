"""Greedy answers by vLLM, in place of transformers: the same prompts, stops and marks, on machines with its GPUs.

Written against the interface of vLLM 0.20.2 and tested by its signatures, with an engine of that interface that runs
transformers. It has not been run with vLLM itself yet.
"""

import gc
import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.models.gguf_files import refuse_gguf

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `max_lora_rank`."""


_PLAIN_LORA = {"modules_to_save": (None, []), "use_dora": (False,), "bias": ("none",)}
"""What vLLM takes of a LoraConfig's fields that change its form."""


_LOG_PROBABILITIES = 20
"""The most likely next tokens by which the adapter is seen: as many as vLLM gives unless it is told otherwise."""


def continue_by_vllm(
    model: ModelRef,
    token_ids: Sequence[Sequence[int]],
    *,
    stops: Sequence[int],
    max_new_tokens: int,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> list[list[int]]:
    """The most likely next token, again and again, until a stop token or the limit.

    A folder of LoRA adapters is loaded as its base model and a LoRARequest, and its effect on the first prompt is seen
    before any is answered. Weights are read from safetensors only. vLLM chooses the devices, the batches, and kernels
    of its own, so a token that is as likely as another within rounding may differ from what transformers says.

    Args:
        model: a model or LoRA adapters, whose revision is that of their base model; its dtype may be auto (as saved).
        token_ids: prompts, of at least one token.
        stops: tokens that end an answer; vLLM's own ends of text are not looked at.
        max_new_tokens: longest answer in tokens.
        arguments: more arguments of vLLM's engine, e.g. {"tensor_parallel_size": 2}.

    Returns:
        New token ids of each prompt, the stop token included, in the order given.

    Raises:
        ElusiveError: if vLLM is not installed, `arguments` name what is set here or what the engine does not know, the
            adapters cannot be loaded, or they change nothing.
    """
    try:
        vllm = importlib.import_module("vllm")
        lora_request = importlib.import_module("vllm.lora.request").LoRARequest
    except ImportError as error:
        raise ElusiveError(
            f"evaluate.engine = 'vllm' needs vLLM, which cannot be imported ({error}). "
            "Run: pip install 'elusive[vllm]', or leave evaluate.engine at 'transformers'."
        ) from error
    path = loading.resolve(model.name)
    refuse_gguf(loading.base_of(path), "evaluate.engine = 'vllm'")
    adapter = _lora_config(path)
    longest = max(len(ids) for ids in token_ids) + max_new_tokens
    options = _options(model, path, adapter, longest)
    if taken := sorted(options.keys() & arguments.keys()):
        raise ElusiveError(
            f"evaluate.vllm: {', '.join(taken)} cannot be changed there; elusive sets what the answers and the safety "
            "of loading depend on. Leave it out."
        )
    # What training left in this process would count as taken.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        engine = vllm.LLM(**options, **arguments)
    except TypeError as error:  # an argument that this version does not know
        raise ElusiveError(f"vLLM {vllm.__version__} refuses its engine's arguments: {error}.") from error
    request = lora_request("elusive", 1, path) if adapter else None
    prompts = [{"prompt_token_ids": list(ids)} for ids in token_ids]
    if request:
        _check_adapter(vllm, engine, prompts[0], request, path)
    params = vllm.SamplingParams(
        temperature=0.0,
        max_tokens=max_new_tokens,
        stop_token_ids=sorted(stops),
        ignore_eos=True,  # the ends that count are among the stops
        detokenize=False,
    )
    outputs = engine.generate(prompts, params, use_tqdm=False, lora_request=request)
    return [_new_tokens(output.outputs[0]) for output in outputs]


def _options(model: ModelRef, path: str, adapter: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """The arguments of vLLM's engine that are set here."""
    return {
        "model": loading.base_of(path),
        "tokenizer": path,  # vLLM wants one, although prompts and answers are token ids
        "revision": model.revision or None,
        "tokenizer_revision": None if adapter else model.revision or None,
        "dtype": _saved_dtype(model) if model.dtype == "auto" else model.dtype,
        "max_model_len": longest,
        "generation_config": "vllm",  # not the model's own settings of sampling
        "load_format": "safetensors",
        "trust_remote_code": False,
        "enable_lora": bool(adapter),
        "max_lora_rank": _rank(adapter, path) if adapter else 16,
    }


def context_and_ends(model: ModelRef) -> tuple[int, set[int]]:
    """The context in tokens of a model that is not loaded, and the ends of text that it names itself.

    The same as a loaded transformers model knows: from generation_config.json, or else from config.json.
    """
    config, generation = loading.load_configs(model)
    ends = generation.eos_token_id
    return loading.config_context(config, model.name), set(ends if isinstance(ends, list) else [ends]) - {None}


def _lora_config(path: str) -> Mapping[str, Any]:
    """The configuration of the LoRA adapters that a folder holds (empty: it holds none)."""
    adapter = loading.adapter_config(path)
    if adapter and (kind := adapter.get("peft_type")) != "LORA":
        raise ElusiveError(
            f"{path} holds adapters of type {kind}, and vLLM takes LORA only. Use evaluate.engine = 'transformers'."
        )
    for name, taken in _PLAIN_LORA.items():
        if adapter and adapter.get(name, taken[0]) not in taken:
            raise ElusiveError(
                f"The adapters in {path} have {name} = {adapter[name]!r}, which vLLM does not take. Use "
                "evaluate.engine = 'transformers', or merge them: elusive merge."
            )
    if adapter:
        loading.check_base(path, loading.base_of(path))
    return adapter


def _rank(adapter: Mapping[str, Any], path: str) -> int:
    """The least `max_lora_rank` of vLLM that the adapters fit into."""
    rank = max(adapter["r"], *(adapter.get("rank_pattern") or {}).values(), 0)
    if rank > _RANKS[-1]:
        raise ElusiveError(
            f"The adapters in {path} have rank {rank}, and vLLM takes {_RANKS[-1]} at most. "
            "Use evaluate.engine = 'transformers'."
        )
    return next(known for known in _RANKS if known >= rank)


def _saved_dtype(model: ModelRef) -> str:
    """The type that weights are saved in: vLLM's own `auto` would halve float32."""
    kept = loading.load_configs(model)[0].dtype
    return "auto" if kept is None else str(kept).removeprefix("torch.")


def _check_adapter(vllm: Any, engine: Any, prompt: Mapping[str, Any], request: Any, path: str) -> None:
    """Refuse adapters that change the next token's probabilities no more than asking once more does."""
    params = vllm.SamplingParams(temperature=0.0, max_tokens=1, logprobs=_LOG_PROBABILITIES, detokenize=False)

    def asked(lora: Any) -> dict[int, float]:
        output = engine.generate([prompt], params, use_tqdm=False, lora_request=lora)[0].outputs[0]
        return {token: one.logprob for token, one in output.logprobs[0].items()}

    without, again, adapted = asked(None), asked(None), asked(request)
    noise, change = _apart(without, again), _apart(without, adapted)
    if change <= 2 * noise:
        raise ElusiveError(
            f"The adapters in {path} change nothing under vLLM: the log-probabilities of the next token are "
            f"{change:.1e} apart with and without them, and {noise:.1e} from one call to the next. Expected adapters "
            "that were trained, of a kind that vLLM applies. Check them with evaluate.engine = 'transformers'."
        )


def _apart(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The largest difference over the tokens that both name; without end if these are none."""
    return max((abs(one[token] - other[token]) for token in one.keys() & other.keys()), default=float("inf"))


def _new_tokens(output: Any) -> list[int]:
    """Token ids of an answer, with the token that ended it, which vLLM names apart as well."""
    ids, stop = list(output.token_ids), output.stop_reason
    return [*ids, stop] if isinstance(stop, int) and ids[-1:] != [stop] else ids
