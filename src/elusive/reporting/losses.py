"""How the loss went down in each training, from the metrics.jsonl that it writes as it goes."""

import json
import math
from dataclasses import dataclass

from elusive.config.run import Recipe
from elusive.runs.folder import RunFolder

POINTS = 200
"""Points of a curve that are drawn; of longer ones every so many."""


@dataclass(frozen=True)
class LossCurve:
    """The loss of one training.

    Attributes:
        seed: its training seed.
        steps: optimizer steps after which it was noted.
        losses: the mean loss since the step before.
    """

    seed: int
    steps: tuple[int, ...]
    losses: tuple[float, ...]


def loss_curves(run: RunFolder, recipe: Recipe) -> dict[str, list[LossCurve]]:
    """The loss curves of each arm, one a seed; those of trainings that still go on end where they are."""
    found: dict[str, list[LossCurve]] = {}
    for arm in recipe.arms:
        for seed in recipe.seeds:
            path = run.metrics(arm, seed)
            noted = _noted(path.read_text(encoding="utf-8")) if path.exists() else []
            if noted:
                step = -(-len(noted) // POINTS)
                steps, losses = zip(*noted[step - 1 :: step], strict=True)
                found.setdefault(arm, []).append(LossCurve(seed, steps, losses))
    return found


def _noted(text: str) -> list[tuple[int, float]]:
    """Steps and losses of the whole lines; a training that goes on may be writing the last one."""
    rows = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    losses = [(int(row["step"]), float(row["loss"])) for row in rows if row.get("loss") is not None]
    return [(step, loss) for step, loss in losses if math.isfinite(loss)]
