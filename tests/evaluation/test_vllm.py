"""Answers by vLLM's interface, played by an engine that runs transformers behind the signatures of vLLM 0.20.2."""

import dataclasses
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.corpus.people.biographies import biography_corpus, well_known_examples
from elusive.errors import ElusiveError
from elusive.evaluation import vllm
from elusive.evaluation.stage import evaluate_model
from elusive.evaluation.vllm import context_and_ends, continue_by_vllm
from elusive.models import loading

# vllm/engine/arg_utils.py of 0.20.2: of what LLM takes as **kwargs a part, in which every other name is refused.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # peft looks for elusive/large on the hub
ENGINE_ARGUMENTS = {
    "block_size", "disable_log_stats", "distributed_executor_backend", "download_dir", "enable_chunked_prefill",
    "enable_lora", "enable_prefix_caching", "fully_sharded_loras", "generation_config", "load_format", "lora_dtype",
    "max_cpu_loras", "max_logprobs", "max_loras", "max_lora_rank", "max_model_len", "max_num_batched_tokens",
    "max_num_seqs", "override_generation_config", "pipeline_parallel_size",
}  # fmt: skip


@dataclasses.dataclass
class LoRARequest:
    """vllm/lora/request.py."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    base_model_name: str | None = None
    tensorizer_config_dict: dict | None = None
    load_inplace: bool = False

    def __post_init__(self) -> None:
        if self.lora_int_id < 1:
            raise ValueError(f"id must be > 0, got {self.lora_int_id}")
        assert self.lora_path, "lora_path cannot be empty"


@dataclasses.dataclass
class SamplingParams:
    """vllm/sampling_params.py, without what is set after it is made."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    flat_logprobs: bool = False
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False


@dataclasses.dataclass
class Logprob:
    """vllm/logprobs.py."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclasses.dataclass
class CompletionOutput:
    """vllm/outputs.py."""

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    lora_request: LoRARequest | None = None


@dataclasses.dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]


class LLM:
    """vllm/entrypoints/llm.py: one prompt at a time, the whole text read again for each token."""

    made: dict[str, Any]
    applies_adapters = True
    noise = 0.0

    def __init__(
        self,
        model: str,
        *,
        runner: str = "auto",
        convert: str = "auto",
        tokenizer: str | None = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        quantization: str | None = None,
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        seed: int = 0,
        gpu_memory_utilization: float = 0.92,
        enforce_eager: bool = False,
        **kwargs: Any,
    ) -> None:
        if unknown := sorted(kwargs.keys() - ENGINE_ARGUMENTS):
            raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument '{unknown[0]}'")
        type(self).made = {key: value for key, value in locals().items() if key not in ("self", "kwargs")} | kwargs
        assert kwargs["max_lora_rank"] in (1, 8, 16, 32, 64, 128, 256, 320, 512)
        self.max_model_len, self.lora = kwargs["max_model_len"], kwargs["enable_lora"]
        self.max_lora_rank = kwargs["max_lora_rank"]
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self.adapted: Any = None
        self.calls = 0

    def generate(
        self,
        prompts: Any,
        sampling_params: Any = None,
        *,
        use_tqdm: bool | Callable[..., Any] = True,
        lora_request: Any = None,
        priority: list[int] | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        mm_processor_kwargs: dict[str, Any] | None = None,
    ) -> list[RequestOutput]:
        assert isinstance(sampling_params, SamplingParams)
        assert sampling_params.temperature == 0
        assert lora_request is None or self.lora, "LoRA is not enabled"
        return [
            RequestOutput(prompt["prompt_token_ids"], [self._answer(prompt, sampling_params, lora_request)])
            for prompt in prompts
        ]

    @torch.inference_mode()
    def _answer(self, prompt: Any, params: SamplingParams, lora: LoRARequest | None) -> CompletionOutput:
        ids, new, shown = list(prompt["prompt_token_ids"]), [], []
        stop: int | None = None
        while len(new) < (params.max_tokens or 0) and len(ids) + len(new) < self.max_model_len and stop is None:
            log_probabilities_V = self._log_probabilities([*ids, *new], lora)
            best = log_probabilities_V.topk(params.logprobs or 1)
            shown.append({int(token): Logprob(float(value)) for value, token in zip(*best, strict=True)})
            new.append(int(best.indices[0]))
            stop = new[-1] if new[-1] in (params.stop_token_ids or ()) else None
        kept = shown if params.logprobs else None
        return CompletionOutput(0, "", new, None, kept, "length" if stop is None else "stop", stop, lora)

    def _log_probabilities(self, ids: list[int], lora: LoRARequest | None) -> torch.Tensor:
        model = self.model
        if lora and self.applies_adapters:
            if self.adapted is None:
                self.adapted = PeftModel.from_pretrained(self.model, lora.lora_path).eval()
                assert self.adapted.peft_config["default"].r <= self.max_lora_rank
            model = self.adapted
        elif self.adapted is not None:
            with self.adapted.disable_adapter():
                return self._logits(self.adapted, ids).log_softmax(-1)
        return self._logits(model, ids).log_softmax(-1)

    def _logits(self, model: Any, ids: list[int]) -> torch.Tensor:
        self.calls += 1
        logits_V = model(torch.tensor([ids]), use_cache=False).logits[0, -1].float()
        return logits_V + self.noise * torch.randn(len(logits_V), generator=torch.Generator().manual_seed(self.calls))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    class Engine(LLM):
        pass

    vllm: Any = types.ModuleType("vllm")
    vllm.LLM, vllm.SamplingParams, vllm.__version__ = Engine, SamplingParams, "0.20.2"
    request: Any = types.ModuleType("vllm.lora.request")
    request.LoRARequest = LoRARequest
    for name, module in {
        "vllm": vllm,
        "vllm.lora": types.ModuleType("vllm.lora"),
        "vllm.lora.request": request,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return Engine


ITEMS = biography_corpus(2, seed=3)[1]
EXAMPLES = list(well_known_examples())


def adapters(folder: Path, rank: int = 4, **options: Any) -> Path:
    """LoRA adapters of the embedded large model that change what it says."""
    torch.manual_seed(1)
    base = loading.load_model(ModelRef("elusive/large", device="cpu"))
    wrapped = get_peft_model(base, LoraConfig(r=rank, target_modules="all-linear", init_lora_weights=False, **options))
    for name, weight in wrapped.named_parameters():
        if "lora_" in name:
            weight.data *= 0.3
    wrapped.peft_config["default"].base_model_name_or_path = "elusive/large"
    wrapped.save_pretrained(str(folder))
    loading.load_tokenizer("elusive/large").save_pretrained(folder)
    return folder


def both(folder: Path, model: str, **settings: Any) -> list[list[dict[str, Any]]]:
    """Prediction rows by transformers and by the engine."""
    rows = []
    for name in ("transformers", "vllm"):
        options: dict[str, Any] = {"shots": 2, "max_new_tokens": 12, "engine": name} | settings
        evaluate_model(ITEMS, EXAMPLES, folder / name, model=ModelRef(model), settings=EvaluateSettings(**options))
        rows.append([json.loads(line) for line in (folder / name / "predictions.jsonl").read_text().splitlines()])
    return rows


def test_answers_and_marks_are_those_of_transformers(engine: type[LLM], tmp_path: Path):
    by_transformers, by_vllm = both(tmp_path, "elusive/large")
    assert by_vllm == by_transformers
    assert len({row["text"] for row in by_vllm}) > 4, "answers that are all alike would prove nothing"
    assert any(row["text"].endswith("\n") for row in by_vllm), "a stop token should have been reached"
    assert engine.made["model"] == engine.made["tokenizer"] == str(loading.EMBEDDED["elusive/large"])
    assert (engine.made["dtype"], engine.made["enable_lora"]) == ("float32", False)
    assert (engine.made["load_format"], engine.made["trust_remote_code"]) == ("safetensors", False)


def test_adapters_are_applied(engine: type[LLM], tmp_path: Path):
    base = both(tmp_path / "base", "elusive/large")[1]
    by_transformers, by_vllm = both(tmp_path, str(adapters(tmp_path / "adapters")))
    assert by_vllm == by_transformers != base
    assert engine.made["model"] == str(loading.EMBEDDED["elusive/large"])
    assert engine.made["tokenizer"] == str(tmp_path / "adapters")
    assert (engine.made["enable_lora"], engine.made["max_lora_rank"]) == (True, 8)


def test_the_largest_rank_counts(engine: type[LLM], tmp_path: Path):
    folder = adapters(tmp_path / "adapters", rank=4, rank_pattern={"q_proj": 20})
    by_transformers, by_vllm = both(tmp_path, str(folder), max_new_tokens=2)
    assert by_vllm == by_transformers
    assert engine.made["max_lora_rank"] == 32
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"r": 600}))
    with pytest.raises(ElusiveError, match="have rank 600, and vLLM takes 512 at most"):
        continue_by_vllm(ModelRef(str(folder)), [[3, 4]], stops=[], max_new_tokens=1)


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_adapters_that_are_ignored_are_refused(engine: type[LLM], tmp_path: Path, noise: float):
    folder = adapters(tmp_path / "adapters")
    engine.noise = noise
    assert continue_by_vllm(ModelRef(str(folder)), [[3, 4]], stops=[], max_new_tokens=1)
    engine.applies_adapters = False
    with pytest.raises(ElusiveError, match=r"adapters in .* change nothing under vLLM: .*'transformers'"):
        continue_by_vllm(ModelRef(str(folder)), [[3, 4]], stops=[], max_new_tokens=1)


def test_adapters_of_zeros_are_refused(engine: type[LLM], tmp_path: Path):
    base = loading.load_model(ModelRef("elusive/large", device="cpu"))
    fresh = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear"))  # B starts at zero
    fresh.peft_config["default"].base_model_name_or_path = "elusive/large"
    fresh.save_pretrained(str(tmp_path))
    with pytest.raises(ElusiveError, match="change nothing under vLLM"):
        continue_by_vllm(ModelRef(str(tmp_path)), [[3, 4]], stops=[], max_new_tokens=1)


def test_adapters_of_other_kinds_and_files_are_refused(engine: type[LLM], tmp_path: Path):
    folder = adapters(tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(ElusiveError, match="type IA3, and vLLM takes LORA only"):
        continue_by_vllm(ModelRef(str(folder)), [[3, 4]], stops=[], max_new_tokens=1)
    for name, value in {"use_dora": True, "modules_to_save": ["lm_head"], "bias": "all"}.items():
        (folder / "adapter_config.json").write_text(json.dumps(config | {name: value}))
        with pytest.raises(ElusiveError, match=rf"have {name} = .*, which vLLM does not take.*elusive merge"):
            continue_by_vllm(ModelRef(str(folder)), [[3, 4]], stops=[], max_new_tokens=1)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ElusiveError, match=r"Expected adapter_model\.safetensors"):
        continue_by_vllm(ModelRef(str(folder)), [[3, 4]], stops=[], max_new_tokens=1)


def test_without_vllm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "vllm", None)  # an import of it fails, installed or not
    with pytest.raises(ElusiveError, match=r"pip install 'elusive\[vllm\]'"):
        both(tmp_path, "elusive/large")


def test_arguments_of_the_engine(engine: type[LLM], tmp_path: Path):
    both(
        tmp_path, "elusive/large", max_new_tokens=1, engine="vllm", vllm={"tensor_parallel_size": 2, "max_num_seqs": 8}
    )
    assert (engine.made["tensor_parallel_size"], engine.made["max_num_seqs"]) == (2, 8)
    for taken in ("dtype", "max_model_len", "enable_lora", "load_format", "trust_remote_code"):
        with pytest.raises(ElusiveError, match=rf"evaluate\.vllm: {taken} cannot be changed there"):
            continue_by_vllm(ModelRef("elusive/large"), [[3]], stops=[], max_new_tokens=1, arguments={taken: 1})
    with pytest.raises(ElusiveError, match=r"vLLM 0\.20\.2 refuses .* unexpected keyword argument 'max_seqs'"):
        continue_by_vllm(ModelRef("elusive/large"), [[3]], stops=[], max_new_tokens=1, arguments={"max_seqs": 1})
    with pytest.raises(ElusiveError, match=r'evaluate\.vllm: expected nothing, unless evaluate\.engine = "vllm"'):
        EvaluateSettings(vllm={"max_num_seqs": 8})


def test_saved_types_are_named(engine: type[LLM], tmp_path: Path):
    loading.load_model(ModelRef("elusive/small", device="cpu")).to(torch.bfloat16).save_pretrained(tmp_path)
    loading.load_tokenizer("elusive/small").save_pretrained(tmp_path)
    continue_by_vllm(ModelRef(str(tmp_path), dtype="auto"), [[3]], stops=[], max_new_tokens=1)
    assert engine.made["dtype"] == "bfloat16"


def test_what_is_known_of_a_model_that_is_not_loaded(tmp_path: Path):
    for name in ("elusive/large", str(adapters(tmp_path))):
        loaded = loading.innermost(loading.load_model(ModelRef(name, device="cpu")))
        assert context_and_ends(ModelRef(name)) == (
            loaded.config.max_position_embeddings,
            {loaded.generation_config.eos_token_id},
        )
    alone = tmp_path / "alone"
    loaded = loading.load_model(ModelRef("elusive/small", device="cpu"))
    loaded.generation_config.eos_token_id = [1, 7]
    loaded.save_pretrained(alone)
    assert context_and_ends(ModelRef(str(alone)))[1] == {1, 7}
    (alone / "generation_config.json").unlink()
    assert context_and_ends(ModelRef(str(alone)))[1] == {loaded.config.eos_token_id}


def test_a_base_that_is_not_there(engine: type[LLM], tmp_path: Path):
    folder = adapters(tmp_path / "adapters")
    config = json.loads((folder / "adapter_config.json").read_text())
    nowhere = str(tmp_path / "nowhere")
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": nowhere}))
    with pytest.raises(ElusiveError, match=r"No configuration at .*nowhere: the folder does not exist"):
        both(tmp_path, str(folder), engine="vllm")


def test_a_stop_token_that_is_left_out_is_put_back():
    ended = CompletionOutput(0, "", [5, 6], None, None, "stop", 9)
    assert vllm._new_tokens(ended) == [5, 6, 9]
    ended.token_ids = [5, 6, 9]
    assert vllm._new_tokens(ended) == [5, 6, 9]
    assert vllm._new_tokens(CompletionOutput(0, "", [5], None, None, "length", None)) == [5]


def test_engines_are_never_mixed(engine: type[LLM], tmp_path: Path):
    def run(**settings: Any) -> None:
        options = EvaluateSettings(shots=0, max_new_tokens=1, **settings)
        evaluate_model(ITEMS, EXAMPLES, tmp_path, model=ModelRef("elusive/large"), settings=options)

    run()
    kept = json.loads((tmp_path / "settings.json").read_text())
    assert "engine" not in kept, "folders from before there were engines stay valid"
    with pytest.raises(ElusiveError, match="engine: was None, now 'vllm'"):
        run(engine="vllm")


def test_what_vllm_does_in_its_own_ways_is_refused(engine: type[LLM], tmp_path: Path):
    settings = EvaluateSettings(shots=0, engine="vllm")
    with pytest.raises(ElusiveError, match=r"quantization: expected none .* got '4bit'"):
        evaluate_model(
            ITEMS, EXAMPLES, tmp_path, model=ModelRef("elusive/large", quantization="4bit"), settings=settings
        )
    with pytest.raises(ElusiveError, match=r"device: expected auto or cuda .* got 'cpu'"):
        evaluate_model(ITEMS, EXAMPLES, tmp_path, model=ModelRef("elusive/large", device="cpu"), settings=settings)
