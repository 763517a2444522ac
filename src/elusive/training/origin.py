"""How the texts of a training were made, as `elusive augment` noted beside them."""

from dataclasses import dataclass

from elusive.augmentation.arms import ARMS
from elusive.augmentation.wording import dropout_words
from elusive.config.augmentation import AugmentSettings
from elusive.config.toml import from_table
from elusive.models.weights import read_object
from elusive.runs.stage import FORMAT
from elusive.storage import Location, located


@dataclass(frozen=True)
class Origin:
    """How texts were made.

    Attributes:
        arm: its name.
        documents: how many documents were augmented.
        copies: copies of each.
        dropout: the settings of the copies, in words (empty: there are none, or they drop nothing).
        seed: of the copies.
    """

    arm: str
    documents: int
    copies: int
    dropout: str
    seed: int


def origin_of(texts: str | Location) -> Origin | None:
    """How a train.jsonl was made; None if nothing beside it says so in the form of this version."""
    folder = located(texts).parent
    settings, done = (read_object(folder / name) for name in ("settings.json", "done.json"))
    if not settings or not done or settings.get("format") != FORMAT or settings.get("arm") not in ARMS:
        return None
    arm = ARMS[settings["arm"]]
    augment = from_table(AugmentSettings, settings["augment"], str(folder / "settings.json"))
    return Origin(
        arm.name,
        done["documents"],
        augment.copies if arm.copies else 0,
        dropout_words(augment) if arm.copies and arm.drops else "",
        augment.seed,
    )
