"""The table of architectures in docs/architectures.md: each row is computed from tiny random models.

`python -m tests.architectures --write` writes it anew; test_architectures.py compares it with what is there.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from elusive.attention import architectures, capture
from elusive.attention.forward import check_layers
from elusive.attention.recorder import Recorder
from elusive.errors import ElusiveError

from .tiny_models import CONFIGS, REFUSED, model_pair, scores_by_hand, tiny_config

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
TOLERANCE = 1e-6
LENGTHS = (60, 33, 41)
"""Tokens of the texts, which are padded on the right, or packed into one sequence."""

HEAD = """# Architectures

`python -m tests.architectures --write` writes this page; `tests/attention/test_architectures.py` computes every row
again and compares. Each architecture is a tiny random model (two layers, width 32, transformers' class as named) in
fp32. It scores texts of 60, 33 and 41 tokens in one batch, padded on the right, with all tokens and with every 13th as
queries; the scores are compared with transformers' eager attention of each text alone, reduced by hand.

- Interface: `elusive.attention.interface.recorded_attention` replaces the model's attention and never holds a whole
  map.
- Hook: the model computes eager attention itself. A hook reduces each layer's map and lets go of it, so one layer's
  map (texts x heads x tokens x tokens) is held at a time, and the time is that of eager attention. Modules are
  recognised by what they return: a map (texts, heads, tokens, tokens) whose rows sum to 1 and see nothing later.
- Packed: several texts in one sequence, with positions that restart, score as each of them alone.

| architecture | class | way in | covered | error against eager | packed |
| --- | --- | --- | --- | --- | --- |
"""

REFUSALS = """
The attention of an unlisted architecture is captured in one of these ways, too: before a model is scored, three tokens
run through it, and it is refused unless each of its layers reports once. These are refused:

| architecture | reason |
| --- | --- |
"""


def row(name: str) -> str:
    """One architecture's line of the table."""
    torch.set_num_threads(1)
    model, eager = model_pair(name)
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(2, 256, (length,), generator=generator) for length in LENGTHS]
    maps = [attention_map(eager, row_T) for row_T in ids]
    # Near-uniform attention would let almost any reduction pass.
    assert max(map_QK[20:].max() for map_QK in maps) > 0.1, name
    errors = [padded_error(model, ids, maps, every, itself) for every in (1, 13) for itself in (True, False)]
    covered = ", ".join(features(model)) or "-"
    cells = [name, type(model).__name__, architectures.way_in(model), covered, power_of_ten(max(errors))]
    try:
        packed = "yes" if packed_error(model, ids, maps) <= TOLERANCE else "NOT EXACT"
    except ElusiveError as refusal:
        packed = f"no: {reason(refusal)}"
    return f"| {' | '.join([*cells, packed])} |"


def refused_row(name: str) -> str:
    """The line of an architecture that cannot be scored."""
    try:
        config = tiny_config(name)
        attention = architectures.attention_to_load(config)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
        check_layers(model)
    except ElusiveError as refusal:
        return f"| {name} | {reason(refusal)} |"
    return f"| {name} | NOT REFUSED |"


def padded_error(
    model: PreTrainedModel, ids: list[torch.Tensor], maps: list[np.ndarray], every: int, include_self: bool
) -> float:
    """The largest difference of a score in a padded batch, with a query at every `every`-th token."""
    ids_BT = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    positions = torch.arange(ids_BT.shape[1])
    weights_BT = torch.stack([((positions < len(row_T)) & (positions % every == every // 2)).float() for row_T in ids])
    recorder = Recorder(weights_BT, include_self, layers=len(layers_of(model)))
    with torch.inference_mode():
        capture(model, recorder, ids_BT)
    received_BT = recorder.mean_over_layers(model).numpy()
    errors = []
    for map_QK, weights_T, received_T in zip(maps, weights_BT, received_BT, strict=True):
        expected, counts = scores_by_hand(map_QK, weights_T.nonzero().flatten().tolist(), include_self)
        assert not received_T[len(map_QK) :].any(), "padding receives nothing"
        errors.append(np.abs(received_T[: len(map_QK)] / np.maximum(counts, 1) - expected).max())
    return float(max(errors))


def packed_error(model: PreTrainedModel, ids: list[torch.Tensor], maps: list[np.ndarray]) -> float:
    """The largest difference of a score where the texts are packed into one sequence, all tokens as queries."""
    positions_BT = torch.cat([torch.arange(len(row_T)) for row_T in ids])[None]
    recorder = Recorder(torch.ones(positions_BT.shape), lengths=LENGTHS, layers=len(layers_of(model)))
    with torch.inference_mode():
        capture(model, recorder, torch.cat(ids)[None], position_ids=positions_BT)
    parts = recorder.mean_over_layers(model)[0].split(list(LENGTHS))
    errors = []
    for map_QK, received_T in zip(maps, parts, strict=True):
        expected, counts = scores_by_hand(map_QK, list(range(len(map_QK))), True)
        errors.append(np.abs(received_T.numpy() / counts - expected).max())
    return float(max(errors))


def attention_map(eager: PreTrainedModel, ids_T: torch.Tensor) -> np.ndarray:
    """Mean over layers and heads of one text's eager attention, float64 (queries, keys)."""
    with torch.inference_mode():
        layers = eager(ids_T[None], output_attentions=True, use_cache=False).attentions
    assert len(layers) == len(layers_of(eager))
    return np.mean([layer[0].double().numpy().mean(0) for layer in layers], axis=0)


def layers_of(model: PreTrainedModel) -> range:
    return range(model.config.get_text_config(decoder=True).num_hidden_layers)


def features(model: PreTrainedModel) -> list[str]:
    """What of an attention the tiny model has, read from its configuration and weights."""
    config = model.config.get_text_config(decoder=True)

    def get(key: str) -> Any:
        return getattr(config, key, None)

    one = get("multi_query") and not get("new_decoder_architecture")  # Falcon, GPT-BigCode
    shared = 1 if one else get("num_key_value_heads") or get("num_kv_heads") or config.num_attention_heads
    layer_types = get("layer_types") or ()
    names = [name.lower() for name, _ in model.named_modules()]
    found = {
        "multi-query": shared == 1,
        "grouped queries": 1 < shared < config.num_attention_heads,
        "latent keys": get("kv_lora_rank"),
        "window": "sliding_attention" in layer_types
        or "local" in (get("attention_layers") or ())
        or (not layer_types and get("sliding_window") and getattr(config, "use_sliding_window", True)),
        "chunks": "chunked_attention" in layer_types,
        "soft cap": get("attn_logit_softcapping"),
        "sinks": any(key.endswith("sinks") for key, _ in model.named_parameters()),
        "ALiBi": config.model_type in ("bloom", "mpt") or get("alibi"),
        "layers without positions": get("no_rope_layers") and 0 in config.no_rope_layers,
        "normalised queries": any(name.endswith(("q_norm", "qk_norm", "query_layernorm")) for name in names),
        "experts": any("experts" in name or "moe" in name for name in names),
    }
    return [feature for feature, there in found.items() if there]


def power_of_ten(error: float) -> str:
    """`<= 1e-6`, or the next power of ten: the same on every machine."""
    if error <= TOLERANCE:
        return "<= 1e-6"
    return f"<= 1e{int(np.ceil(np.log10(error)))}"


def reason(refusal: ElusiveError) -> str:
    """A refusal without its advice."""
    return str(refusal).split(". ")[0].replace("|", "/")


def page() -> str:
    """The whole page."""
    with torch.random.fork_rng():
        rows = [row(name) for name in CONFIGS]
        refused = [refused_row(name) for name in REFUSED]
    return HEAD + "\n".join(rows) + "\n" + REFUSALS + "\n".join(refused) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/architectures.md instead of showing it")
    transformers.logging.set_verbosity_error()
    text = page()
    if parser.parse_args().write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)
