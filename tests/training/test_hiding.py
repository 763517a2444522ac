"""Hidden keys: packed and padded rows give what transformers' eager attention gives under the mask written out."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask, sdpa_mask

from elusive.errors import ElusiveError
from elusive.training.hiding import check_hides, hiding
from elusive.training.marked_rows import MarkedRow, Row, RowCollator
from elusive.training.packing import PACKED, attention_of, packs

from ..tiny_models import CONFIGS, VOCABULARY, tiny_config

LENGTHS = (31, 7, 19, 30, 2, 12)
WINDOWED = {"gemma2": 9, "gpt_oss": 10, "mistral": 11, "olmo3": 9, "gemma3": 9}
SEVERAL_MASKS = ("gemma2", "gpt_oss", "olmo3", "gemma3")
"""Models that take a mask for each kind of layer."""


def random_model(name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config(name)).float().eval()


def marked_rows(share: float = 0.4) -> list[Row]:
    """Rows of random tokens, some of them hidden; the last row has no marks."""
    generator = np.random.default_rng(1)
    rows: list[Row] = []
    for length in LENGTHS:
        ids = generator.integers(2, VOCABULARY, length).astype(np.int32)
        rows.append(MarkedRow(ids, "hide_keys", (generator.random(length) < share).astype(np.float32)))
    return [*rows[:-1], rows[-1].token_ids]  # type: ignore[union-attr]


def mask_by_definition(rows: list[Row], window: int = 0) -> torch.Tensor:
    """Row i of a text attends to j if j <= i, within the window, and j is i or not hidden; float (rows, 1, T, T)."""
    longest = max(map(len, rows))
    mask = torch.full((len(rows), 1, longest, longest), torch.finfo(torch.float32).min)
    for number, row in enumerate(rows):
        for i in range(longest):
            for j in range(i + 1):
                hidden = isinstance(row, MarkedRow) and j < len(row) and row.values[j] == 1
                if (j == i or not hidden) and (not window or i - j < window):
                    mask[number, 0, i, j] = 0.0
    return mask


def gradients_of(model: Any, batch: dict[str, Any], hidden: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    model.zero_grad()
    with hiding(hidden):
        loss = model(**{"use_cache": False, **batch}).loss
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return found | {"loss": loss.detach()}


def by_definition(name: str, model: Any, rows: list[Row]) -> dict[str, torch.Tensor]:
    """Loss and gradients under transformers' eager attention with an explicit 4-D mask."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    rows = sorted(rows, key=lambda row: -len(row))
    batch = RowCollator(packed=False)(rows)
    full, windowed = mask_by_definition(rows), mask_by_definition(rows, WINDOWED.get(name, 0))
    several = {"full_attention": full, "sliding_attention": windowed}
    mask = several if name in SEVERAL_MASKS else windowed
    inputs = {"input_ids": batch["input_ids"], "labels": batch["labels"], "attention_mask": mask}
    return gradients_of(eager, inputs)


def check_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max(float(one.abs().max()) for one in expected.values())
    for name, one in expected.items():
        assert float((found[name] - one).abs().max()) <= 1e-5 * max(1.0, largest), name


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "mistral", "olmo3", "gemma3", "qwen2", "gpt2"])
def test_packed_and_padded_rows_are_those_of_the_mask_written_out(name: str) -> None:
    model, rows = random_model(name), marked_rows()
    expected = by_definition(name, model, rows)
    padded = RowCollator(packed=False)(rows)
    hidden = padded.pop("hidden_keys")
    check_equal(gradients_of(model, padded, hidden), expected)
    assert packs(model, max(LENGTHS))
    with attention_of(model, PACKED):
        check_equal(gradients_of(model, RowCollator(packed=True)(rows)), expected)
    seen = gradients_of(model, padded)
    assert float((seen["loss"] - expected["loss"]).abs()) > 1e-4, "the marks are seen"


def test_also_with_checkpointed_activations() -> None:
    model, rows = random_model("llama"), marked_rows()
    expected = by_definition("llama", model, rows)
    model.train()
    model.activation_checkpointing_enable()
    padded = RowCollator(packed=False)(rows)
    check_equal(gradients_of(model, padded, padded.pop("hidden_keys")), expected)
    with attention_of(model, PACKED):
        check_equal(gradients_of(model, RowCollator(packed=True)(rows)), expected)


@pytest.mark.parametrize("name", ["stablelm", "nemotron", "gptj", "mpt", "falcon"])
def test_models_that_do_not_pack(name: str) -> None:
    model, rows = random_model(name), marked_rows()
    assert not packs(model, max(LENGTHS))
    check_hides(model, packed=False)
    padded = RowCollator(packed=False)(rows)
    hidden = padded.pop("hidden_keys")
    if name in ("stablelm", "nemotron", "gptj"):  # the others make their biases from the shape of the mask
        check_equal(gradients_of(model, padded, hidden), by_definition(name, model, rows))


def test_rows_without_hidden_tokens_are_collated_as_before() -> None:
    plain = [row.token_ids if isinstance(row, MarkedRow) else row for row in marked_rows()]
    for packed in (False, True):
        batch = RowCollator(packed)(plain)
        assert batch.keys() == RowCollator(packed)(marked_rows(share=0.0)).keys()
        assert "hidden_keys" not in batch
    assert [group.hidden_BM for group in batch["borders"].groups] == [None] * len(batch["borders"].groups)


def test_transformers_own_masks_come_back() -> None:
    with pytest.raises(RuntimeError, match="stopped"), hiding(torch.ones(1, 3, dtype=torch.bool)):
        raise RuntimeError("stopped")
    assert ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] is sdpa_mask
    assert ALL_MASK_ATTENTION_FUNCTIONS["eager"] is eager_mask


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_check_passes_and_leaves_the_model_as_it_was(name: str, packed: bool) -> None:
    model = random_model(name).train()
    before = model.config._attn_implementation
    check_hides(model, packed)
    assert model.training
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("name", ["mamba", "jamba", "openai_gpt"])
def test_models_that_show_a_hidden_token_are_refused(name: str) -> None:
    assert name == "openai_gpt" or name not in CONFIGS
    with pytest.raises(ElusiveError, match=r"cannot be trained with hidden keys \(arms key-dropout-"):
        check_hides(random_model(name), packed=False)
