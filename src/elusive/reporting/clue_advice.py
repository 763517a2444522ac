"""What the clue recall of a pair means for the choice of an arm, on the corpus that it was measured on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from elusive.augmentation.clue_count import FINDERS, FoundClues
from elusive.clues.recall import ALL_CUES, ClueRecall

from .formatting import change_text, estimate_text, score, whole

if TYPE_CHECKING:  # it needs torch, and reports do not
    from elusive.clues.pairs import PairRecall

ENOUGH = 0.9
"""Share of right clues from which insertion is advised: every wrong one makes a false sentence in most copies."""
WRITTEN = 0.5
"""Share of the sentences without their subject that must get a clue, for the arm to be worth it."""
ABOUT_AS_GOOD = 0.98
"""Share of the right clues of the best finder from which a cheaper one is advised."""
_DROPS = "Dropping tokens taught less than writing clues wherever both were measured (docs/results.md)."
_MODELS = {"insert-contrast": "two models", "insert-attention": "one model", "insert-distance": "no model"}


def recall_advice(recall: "PairRecall", clues: Mapping[str, FoundClues]) -> tuple[str, ...]:
    """What to do on texts like these with models like these, in sentences.

    Args:
        recall: from `clues.pairs.pair_recall`.
        clues: from `augmentation.clue_count.count_clues`.
    """
    return (*insertion_advice(clues), *dropout_advice(recall.rows[ALL_CUES], _untried(recall)))


def _untried(recall: "PairRecall") -> str:
    tried = recall.contrast_signal == "ratio" and recall.cue_fusion != "mean"
    return "" if tried else " Try --contrast-signal ratio --cue-fusion max."


def clue_count_table(clues: Mapping[str, FoundClues]) -> str:
    """How many clues each arm would write, and how many of them are right.

    Args:
        clues: by arm.
    """
    lines = [f"{'arm':<17}  {'clues':>8}  {'right':>8}  {'share':>6}"]
    lines.append("-" * len(lines[0]))
    for arm, one in clues.items():
        share = score(_share(one)) if one.clues else "-"
        lines.append(f"{arm:<17}  {one.clues:>8,}  {one.right:>8,}  {share:>6}")
    return "\n".join(["Clues that each arm would write into sentences that do not name their subject", "", *lines])


def insertion_advice(clues: Mapping[str, FoundClues]) -> tuple[str, ...]:
    """Which arm should write clues into sentences, by how many of them are right here.

    Args:
        clues: by arm, of all `FINDERS`.
    """
    needed = clues["insert-head"].clues
    if not needed:
        return ("Every sentence with a cue names its subject: there is no clue to bring nearer. Use plain or reorder.",)
    found = {arm: clues[arm] for arm in FINDERS if arm != "insert-head"}
    good = {arm: one for arm, one in found.items() if _is_good(one, needed)}
    marked = "Where subjects are marked, as here, insert-head+reorder needs no finder and makes no mistake."
    if not good:
        arm = max(found, key=lambda name: _share(found[name]))
        return (
            marked,
            f"Where they are not, use reorder: no arm has {ENOUGH:.0%} of its clues right in at least {WRITTEN:.0%} of "
            f"the sentences here (best: {arm}, {_share(found[arm]):.0%} of {whole(found[arm].clues)}), and a wrong "
            "clue makes a false sentence. A higher augment.clue_margin writes fewer and clearer ones.",
        )
    # Of finders that are about as good, the one that needs fewer models; the last ones need fewest.
    most = max(one.right for one in good.values())
    arm, one = [(name, one) for name, one in good.items() if one.right >= ABOUT_AS_GOOD * most][-1]
    words = (
        f"Where they are not, use {arm}+reorder ({_MODELS[arm]}): {_share(one):.0%} of its {whole(one.clues)} clues "
    )
    words += f"are right, in {one.clues / needed:.0%} of the sentences that need one."
    if arm == "insert-distance":
        words += " It takes a text's first words for its subject: use it where all your texts begin with theirs."
    return marked, words


def _is_good(found: FoundClues, needed: int) -> bool:
    return _share(found) >= ENOUGH and found.clues >= WRITTEN * needed


def _share(found: FoundClues) -> float:
    return found.right / found.clues if found.clues else 0.0


def dropout_advice(row: ClueRecall, untried: str = "") -> tuple[str, ...]:
    """Whether contrast finds more than a random order, and than the large model alone.

    Args:
        row: the figures at all cues.
        untried: what may be tried where it does not.
    """
    found, chance = estimate_text(row.contrast), score(row.chance.value)
    if row.contrast.low is None or row.contrast.low <= row.chance.value:
        return (
            f"{_DROPS} The contrast is no guide to it here: its clue recall over all cues, {found}, is not above that "
            f"of a random order, {chance}.{untried}",
        )
    ahead = row.differences["contrast-large"]
    lead = f"{_DROPS} For it, the contrast finds more than a random order ({found} over all cues, {chance})"
    if ahead.separated and (ahead.value or 0) > 0:
        return (f"{lead} and more than the large model alone ({change_text(ahead)}): contrast-cues, two models.",)
    return (f"{lead}, not more than the large model alone ({change_text(ahead)}): attention, one model.",)
