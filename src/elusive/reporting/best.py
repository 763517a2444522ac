"""Which trained arm did best, against what, by how much, how sure, at what cost, and whether to use it."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from elusive.augmentation.arms import ARMS
from elusive.experiments.trials import UNTRAINED
from elusive.stats.estimates import Difference

from .formatting import difference_text, duration, remark, score, whole
from .results import Results

PLAIN = "plain"
ONCE = "Each arm was trained once, so no arm is said to be better than another."
MORE_SEEDS = "repeat with seeds = [0, 1, 2]"
_MOST = 100
"""More evidence than so many times as much is out of reach, and no number is given."""


@dataclass(frozen=True)
class Rival:
    """An arm that the best one is compared with.

    Attributes:
        arm: its name.
        em: its exact match.
        ahead: EM of the best arm minus its own, paired.
    """

    arm: str
    em: float
    ahead: Difference

    @property
    def beaten(self) -> bool:
        """Whether it may be said that the best arm is better."""
        return self.ahead.separated and (self.ahead.value or 0.0) > 0


@dataclass(frozen=True)
class BestArm:
    """The trained arm with the highest exact match, and what it is compared with."""

    name: str
    em: float
    rivals: tuple[Rival, ...]

    @property
    def headline(self) -> str:
        """How it did and how sure that is, in a sentence that says no more than the intervals."""
        lead = f"{self.name} answers {score(self.em)} of the questions"
        if not self.rivals:
            return f"{lead}."
        if any(one.ahead.trained_once for one in self.rivals):
            others = (f"{one.arm} {score(one.em)} ({difference_text(one.ahead)})" for one in self.rivals)
            return f"{lead}, {_listed(others)}. {ONCE}"
        beaten = [f"{one.arm} ({difference_text(one.ahead)})" for one in self.rivals if one.beaten]
        others = [f"{one.arm} ({difference_text(one.ahead)}, {remark(one.ahead)})" for one in self._open]
        if not beaten:
            return f"{lead}, more than any other arm, but does not beat {_listed(others)}."
        return f"{lead} and beats {_listed(beaten)}" + (f", not {_listed(others)}" if others else "") + "."

    @property
    def advice(self) -> str:
        """Whether to use it, or what would settle that."""
        if self.name == PLAIN:
            return "No reason to use another arm than plain training here."
        if not self.rivals:
            return "Train plain as well, to have something to compare it with."
        if any(one.ahead.trained_once for one in self.rivals):
            return self._after_one_training()
        if not self._open:
            return "Use it for texts and models like these."
        names = _listed(one.arm for one in self._open)
        if any(one.beaten and one.arm == PLAIN for one in self.rivals):
            return (
                f"Use it rather than plain training. Whether what it chooses matters is open, as {names} may do as "
                f"well: more seeds are needed{_how_many(self._open)}."
            )
        return f"No reason yet to prefer it to {names}: more seeds are needed{_how_many(self._open)}."

    @property
    def _open(self) -> list[Rival]:
        return [one for one in self.rivals if not one.beaten]

    def _after_one_training(self) -> str:
        close = [one for one in self.rivals if not one.ahead.leaves_zero_out]
        if not close:
            return f"Worth a closer look, not a choice yet: {MORE_SEEDS} to be sure."
        names = _listed(one.arm for one in close)
        return f"No reason yet to prefer it to {names}: {MORE_SEEDS} and more documents{_how_many(close)}."


def best_arm(results: Results) -> BestArm | None:
    """The trained arm with the highest exact match; None before any arm was evaluated.

    It is compared with plain training and with the arms that do the same by chance; where a run has none of these, with
    the arm that comes next.
    """
    em = {arm: row.em.value or 0.0 for arm, row in results.arms.items() if row.em and arm != UNTRAINED}
    if not em:
        return None
    name = max(em, key=lambda arm: em[arm])
    rivals = [Rival(arm, em[arm], ahead) for arm in _rivals(name, em) if (ahead := _difference(results, name, arm))]
    return BestArm(name, em[name], tuple(rivals))


def cost(results: Results, best: BestArm) -> str:
    """What the best arm took: time, and what is left of what was known before; compared with plain training."""
    row = results.arms[best.name]
    plain = results.arms.get(PLAIN) if best.name != PLAIN else None
    parts = []
    if row.seconds is not None:
        beside = f" (plain {duration(plain.seconds)})" if plain and plain.seconds is not None else ""
        steps = f", {whole(row.steps)} steps" if row.steps is not None else ""
        captured = row.scoring_seconds
        before = f", and {duration(captured)} to capture the attention that it chooses by" if captured else ""
        parts.append(f"It cost {duration(row.seconds)} of training{beside}{steps}{before}.")
    known = results.known
    if best.name in known and UNTRAINED in known:
        beside = f" (plain {score(known[PLAIN].em.value)})" if PLAIN in known and best.name != PLAIN else ""
        parts.append(
            f"On what the model knew before training, EM was {score(known[UNTRAINED].em.value)} before and is "
            f"{score(known[best.name].em.value)} after{beside}."
        )
    return " ".join(parts)


def _rivals(best: str, em: Mapping[str, float]) -> list[str]:
    """Plain training, and the arms that do by chance what the best one does by choice; else the next best."""
    others = [arm for arm in em if arm != best]
    chosen = [PLAIN] if PLAIN in others else []
    if best in ARMS and not ARMS[best].by_chance:
        ours = ARMS[best]
        for arm in others:
            theirs = ARMS.get(arm)
            drops = theirs and theirs.drops and ours.drops and theirs.use == ours.use
            writes = theirs and theirs.clues is not None and ours.clues is not None
            if theirs and theirs.by_chance and (drops or writes):
                chosen.append(arm)
    return chosen or sorted(others, key=lambda arm: -em[arm])[:1]


def _difference(results: Results, a: str, b: str) -> Difference | None:
    """EM of a minus EM of b over all questions, whichever of them the table names first."""
    for pair in results.pairs:
        if pair.field == "all" and {pair.a, pair.b} == {a, b}:
            return pair if pair.a == a else _turned(pair)
    return None


def _turned(one: Difference) -> Difference:
    value, low, high = (None if end is None else 0.0 - end for end in (one.value, one.high, one.low))
    return dataclasses.replace(one, value=value, low=low, high=high)


def _how_many(rivals: Sequence[Rival]) -> str:
    """How much more evidence an interval needs that leaves zero out if the difference stays what it is; "" if unknown.

    An interval shrinks with the square root of what it is taken over.
    """
    times = 0.0
    for one in rivals:
        value, low = one.ahead.value, one.ahead.low
        if value is None or low is None or value <= 0 or low >= 0:
            continue
        times = max(times, ((value - low) / value) ** 2)
    if not 1 < times <= _MOST:
        return ""
    return f", about {math.ceil(times)} times as much in all if the difference is what it seems"


def _listed(parts: Iterable[str]) -> str:
    """Words with commas and "and" between them."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
