"""What may be dropped, as `elusive reproduce copies` measures it: EM, what is still known, and which spans survive."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elusive.augmentation.arms import ARMS
from elusive.augmentation.summary import AugmentedCorpus
from elusive.augmentation.survival import Survival
from elusive.augmentation.wording import dropout_words
from elusive.experiments.selection import Choice, choices, difference, estimate
from elusive.experiments.trials import UNTRAINED, grid_trials
from elusive.reporting.formatting import cell, estimate_text, markdown_table, remarked_text, score, survival_cell
from elusive.runs.files import read_json
from elusive.runs.folder import RunFolder
from elusive.runs.typed_json import from_json
from elusive.stats.estimates import Difference, Estimate, corrected_by_name

from .comparison import KnownEM
from .experiments import Done
from .tables import known_of
from .wording import known_words

TITLE = "What may be dropped"
RIVALS = {"random-matched": "random", "attention": "attention"}
"""What contrast at the cues is compared with, and their short names."""


@dataclass(frozen=True)
class CopiesRow:
    """One arm's trainings under one setting.

    Attributes:
        arm: the arm.
        fields: EM of each field.
        all: EM over all questions.
        change: the same minus that of the arm under the first setting, paired; None under the first.
        known: EM on what was known before training.
        mean_drop_rate: dropped tokens over rankable ones; None for plain training.
        survival: by field, how often spans are intact in the copies.
    """

    arm: str
    fields: dict[str, Estimate]
    all: Estimate
    change: Difference | None
    known: KnownEM | None
    mean_drop_rate: float | None
    survival: dict[str, Survival]


@dataclass(frozen=True)
class CopiesBlock:
    """One setting: its name, all settings of dropout in words, its arms, and contrast minus its rivals in EM."""

    setting: str
    dropout: str
    rows: tuple[CopiesRow, ...]
    pairs: dict[str, Difference]


@dataclass(frozen=True)
class Copies:
    """The study: how large it is, and a block for each setting; the first is what the others are compared with."""

    cohorts: int
    documents: int
    blocks: tuple[CopiesBlock, ...]


def copies_numbers(done: Sequence[Done]) -> Copies:
    """The numbers of all settings; all are trained on the same people, so that differences are paired.

    Args:
        done: the experiments of the study.
    """
    chosen = [next(iter(choices(one.outcomes, one.asked, equal=({},)).values())) for one in done]
    blocks = [_block(one, here, chosen[0]) for one, here in zip(done, chosen, strict=True)]
    pairs = corrected_by_name([block.pairs for block in blocks])
    changes = corrected_by_name([{row.arm: row.change for row in block.rows if row.change} for block in blocks])
    blocks = [
        dataclasses.replace(
            block,
            pairs=here,
            rows=tuple(dataclasses.replace(row, change=change.get(row.arm)) for row in block.rows),
        )
        for block, here, change in zip(blocks, pairs, changes, strict=True)
    ]
    return Copies(len(done[0].asked), sum(asked.document_count for asked in done[0].asked), tuple(blocks))


def _block(done: Done, chosen: Mapping[str, Choice], first: Mapping[str, Choice]) -> CopiesBlock:
    known = known_of(done).get("equal: ", {})
    made = _texts(done)
    fields = list(dict.fromkeys(str(field) for field in done.asked[0].fields))
    rows = [
        CopiesRow(
            arm,
            fields={field: estimate(choice, done.asked, "em", (field,)) for field in fields},
            all=estimate(choice, done.asked, "em"),
            change=None if choice is first.get(arm) else difference(choice, first[arm], done.asked, "em"),
            known=known.get(arm),
            mean_drop_rate=_mean([one.mean_drop_rate for one in made[arm]]) if ARMS[arm].copies else None,
            survival=_mean_survival([one.survival for one in made[arm]]),
        )
        for arm, choice in chosen.items()
        if arm != UNTRAINED
    ]
    pairs = {
        rival: difference(chosen["contrast-cues"], chosen[rival], done.asked, "em")
        for rival in RIVALS
        if {rival, "contrast-cues"} <= set(chosen)
    }
    return CopiesBlock(done.experiment.attempt, dropout_words(done.recipes[0].augment), tuple(rows), pairs)


def _texts(done: Done) -> dict[str, list[AugmentedCorpus]]:
    """What the stage said of each arm's texts, in each cohort."""
    found: dict[str, list[AugmentedCorpus]] = {}
    for recipe in done.recipes:
        run = RunFolder(Path(recipe.output))
        for trial in grid_trials(recipe):
            if trial.arm != UNTRAINED:
                path = trial.texts_folder(run) / "done.json"
                found.setdefault(trial.arm, []).append(from_json(AugmentedCorpus, read_json(path), str(path)))
    return found


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _mean_survival(cohorts: Sequence[Mapping[str, Survival]]) -> dict[str, Survival]:
    """The mean over cohorts, which are of one size."""
    means = {}
    for field in cohorts[0]:
        of_field = [one[field] for one in cohorts]
        both = [one.with_head for one in of_field if one.with_head is not None]
        means[field] = Survival(_mean([one.intact for one in of_field]), _mean(both) if both else None)
    return means


def copies_markdown(numbers: Copies) -> str:
    """The study as Markdown: a table of EM, and one of what survives.

    Args:
        numbers: from `copies_numbers`.
    """
    fields = list(numbers.blocks[0].rows[0].fields)
    lines = [f"## {TITLE}", "", _size(numbers), ""]
    lines += [*(f"- {cell(block.setting)}: {cell(block.dropout)}" for block in numbers.blocks), ""]
    head = [
        "setting",
        "arm",
        *(f"{field} EM" for field in fields),
        "all EM",
        "minus the first setting",
        "known EM, lost",
    ]
    table = [
        [
            block.setting,
            ARMS[row.arm].words,
            *(estimate_text(row.fields[field]) for field in fields),
            estimate_text(row.all),
            remarked_text(row.change) if row.change else "-",
            known_words(row.known),
        ]
        for block in numbers.blocks
        for row in block.rows
    ]
    lines += [*markdown_table(head, table), "", *_contrast(numbers), "", *_survival(numbers)]
    return "\n".join([*lines, ""])


def _size(numbers: Copies) -> str:
    return (
        f"{numbers.documents:,} documents in {numbers.cohorts} cohorts, each arm trained once on each. Differences are "
        "paired."
    )


def _contrast(numbers: Copies) -> list[str]:
    rows = [
        [block.setting, *(remarked_text(block.pairs[rival]) for rival in RIVALS)]
        for block in numbers.blocks
        if block.pairs
    ]
    return markdown_table(["EM, contrast (cues) minus", *(ARMS[rival].words for rival in RIVALS)], rows)


def _survival(numbers: Copies) -> list[str]:
    rows = [(block.setting, row) for block in numbers.blocks for row in block.rows if row.survival]
    fields = list(dict.fromkeys(field for _, row in rows for field in row.survival))
    table = [
        [setting, ARMS[row.arm].words, score(row.mean_drop_rate), *(survival_cell(row.survival.get(f)) for f in fields)]
        for setting, row in rows
    ]
    said = "Share of the copies in which a span keeps all its tokens / and a mention of the head entity too."
    return [said, "", *markdown_table(["setting", "arm", "dropped", *fields], table)]
