"""Weighted and selective losses, by hand."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import send_to_device
from transformers import AutoModelForCausalLM

from elusive.training.losses import LossWeights, chosen, losses_of_labels, reference_losses, selected_labels
from elusive.training.marked_rows import MarkedRow, Row, RowCollator

from ..tiny_models import tiny_config

# The probabilities of three tokens after each of three positions; what follows is token 1, then 2, then nothing.
PROBABILITIES = torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]])
LABELS = torch.tensor([[0, 1, 2]])
LOSSES = [0.0, -math.log(0.25), -math.log(0.5)]


def outputs() -> dict[str, torch.Tensor]:
    return {"logits": PROBABILITIES.log()}


def weights(values: list[float], reference: list[float] | None = None, text: int = -1, ratio: float = 1.0) -> Any:
    labels = torch.tensor([[False, True, True]])
    return LossWeights(
        torch.tensor([values]) * labels,
        torch.where(labels, text, -1),
        None if reference is None else torch.tensor([reference]),
        ratio,
        float(sum(values[1:])),
    )


def test_losses_of_labels_by_hand() -> None:
    assert losses_of_labels(outputs()["logits"], LABELS)[0].tolist() == pytest.approx(LOSSES)
    ignored = torch.tensor([[0, -100, 2]])
    assert losses_of_labels(outputs()["logits"], ignored)[0].tolist() == pytest.approx([0, 0, LOSSES[2]])


def test_a_weighted_loss_by_hand() -> None:
    # (.25 x 1.386 + 1 x .693) / 1.25 = .8318
    weighted = weights([9.0, 0.25, 1.0])
    assert weighted.loss(outputs(), LABELS).item() == pytest.approx((0.25 * 1.386294 + 0.693147) / 1.25, abs=1e-6)
    # One part of a step in which all labels weigh 5.
    assert weighted.loss(outputs(), LABELS, torch.tensor(5.0)).item() == pytest.approx(1.039721 / 5, abs=1e-6)
    assert not weighted.plain


def test_smoothed_labels_by_hand() -> None:
    found = losses_of_labels(outputs()["logits"], LABELS, 0.3)[0, 1].item()
    spread = -np.log([0.5, 0.25, 0.25]).mean()
    assert found == pytest.approx(0.7 * LOSSES[1] + 0.3 * spread, abs=1e-6)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ([0.0, 1.0, 0.5], LOSSES[1]),  # excess .386 against .193
        ([0.0, 1.3, 0.1], LOSSES[2]),  # .086 against .593
        ([0.0, LOSSES[1] + 1e-6, LOSSES[2]], LOSSES[1]),  # none exceeds: the larger loss
    ],
)
def test_the_label_with_the_largest_excess_loss_is_chosen(reference: list[float], expected: float) -> None:
    selective = weights([0.0, 1.0, 1.0], reference, text=0, ratio=0.5)
    assert selective.loss(outputs(), LABELS, torch.tensor(1.0)).item() == pytest.approx(expected, abs=1e-6)
    assert not selective.plain


def test_rows_choose_among_their_own_labels() -> None:
    losses = torch.tensor([[9.0, 5.0, 1.0, 3.0, 2.0], [9.0, 0.3, 0.1, 0.2, 0.4]])
    text = torch.tensor([[-1, 0, 0, 0, 0], [-1, 1, 1, 1, -1]])
    none = torch.zeros(2, 5)
    assert chosen(losses, none, text, 0.5).tolist() == [
        [True, True, False, True, False],
        [True, True, False, True, True],
    ]
    assert [selected_labels(*given) for given in ((4, 0.5), (3, 0.5), (0, 0.5), (5, 0.6))] == [2, 2, 0, 3]


def test_reference_losses_are_those_of_each_row_alone() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("gemma2")).float().train()
    rows = [np.random.default_rng(n).integers(0, 200, n).astype(np.int32) for n in (7, 300, 2, 12, 1, 200)]
    found = reference_losses(model, rows, torch.device("cpu"))
    assert model.training
    model.eval()
    for row, losses in zip(rows, found, strict=True):
        assert losses.shape == row.shape
        assert losses[0] == 0
        if len(row) > 1:
            ids = torch.from_numpy(row.astype(np.int64))[None]
            assert losses[1:].mean() == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), abs=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_weights_reach_their_labels(packed: bool) -> None:
    generator = np.random.default_rng(0)
    rows: list[Row] = [generator.integers(2, 200, length).astype(np.int32) for length in (5, 9, 3)]
    weight = [generator.random(len(row)).astype(np.float32) for row in rows[:2]]
    weight[0][2] = 0.0
    given: list[Row] = [MarkedRow(rows[0], "weigh_loss", weight[0]), MarkedRow(rows[1], "weigh_loss", weight[1])]  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama")).float().eval()
    alone = reference_losses(model, rows, torch.device("cpu"))  # type: ignore[arg-type]
    weighed = [*weight, np.ones(3)]
    total = sum(of_row[1:].sum() for of_row in weighed)
    expected = sum((losses * of_row)[1:].sum() for losses, of_row in zip(alone, weighed, strict=True)) / total
    batch: Any = send_to_device(RowCollator(packed, weighs=True)([*given, rows[2]]), "cpu")
    assert batch["weights"].total == pytest.approx(total, abs=1e-5)
    assert int((batch["labels"] == -100).sum()) == (1 + 3 if packed else 1 + 4 + 6)
    logits = logits_of(model, batch, packed)
    found = batch["weights"].loss({"logits": logits}, batch["labels"]).item()
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_chosen_labels_are_each_row_s_own(packed: bool) -> None:
    generator = np.random.default_rng(0)
    ids = [generator.integers(2, 200, length).astype(np.int32) for length in (5, 9, 3)]
    reference = [generator.random(len(row)).astype(np.float32) * 9 for row in ids[:2]]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama")).float().eval()
    alone = reference_losses(model, ids, torch.device("cpu"))
    expected, total = alone[2][1:].sum(), 2
    for losses, of_row in zip(alone, reference, strict=False):
        best = np.argsort(-(losses - of_row)[1:], kind="stable")[: math.ceil(0.6 * (len(losses) - 1))]
        expected, total = expected + losses[1:][best].sum(), total + len(best)
    given: list[Row] = [
        MarkedRow(row, "select_loss", np.ones(len(row), np.float32), of_row)
        for row, of_row in zip(ids, reference, strict=False)
    ]
    batch = RowCollator(packed, selected_ratio=0.6, weighs=True)([*given, ids[2]])
    assert total == 3 + 5 + 2
    assert batch["weights"].total == total
    found = batch["weights"].loss({"logits": logits_of(model, batch, packed)}, batch["labels"])
    assert found.item() == pytest.approx(expected / total, abs=1e-5)


def logits_of(model: Any, batch: dict[str, Any], packed: bool) -> torch.Tensor:
    from elusive.training.packing import PACKED, attention_of

    names = ("input_ids", "position_ids", "borders") if packed else ("input_ids",)
    with torch.no_grad(), attention_of(model, PACKED if packed else "sdpa"):
        return model(**{name: batch[name] for name in names}, use_cache=False).logits


def test_weights_move_with_their_batch() -> None:
    batch: Any = RowCollator(False, weighs=True)([np.arange(3, dtype=np.int32)])
    moved = send_to_device(batch, "meta")
    assert moved["weights"].weights_BT.device.type == "meta"
    assert SimpleNamespace(**vars(moved["weights"])).total == 2.0
    assert batch["weights"].plain
