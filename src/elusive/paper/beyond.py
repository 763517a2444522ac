"""Arms that the paper does not have, as `elusive reproduce beyond` measures them beside its own."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elusive.augmentation.arms import ARMS
from elusive.augmentation.clue_spans import Clue
from elusive.augmentation.forms import written
from elusive.augmentation.insertion import head_of
from elusive.augmentation.rankings import RANKING, RankedDocument, RankingFile
from elusive.augmentation.wording import dropout_words, insertion_words
from elusive.config.augmentation import INSERT_FORMS
from elusive.config.verbs import SweepRecipe
from elusive.corpus.documents import Document, load_corpus
from elusive.corpus.sentences import sentences
from elusive.experiments.selection import Choice, choices, difference, estimate
from elusive.experiments.trials import UNTRAINED
from elusive.reporting.formatting import cell, estimate_text, markdown_table, remarked_text, score, whole
from elusive.runs.files import read_jsonl
from elusive.runs.folder import RunFolder
from elusive.stats.estimates import Difference, Estimate, corrected_by_name

from .comparison import KnownEM
from .experiments import Done, Trained, trainings_of
from .tables import known_of
from .wording import arm_words, known_words

TITLE = "Beyond the paper"
BESIDE = ("plain", "contrast-cues")
"""What every arm is compared with."""


@dataclass(frozen=True)
class Texts:
    """What an arm's training texts are.

    Attributes:
        clues: clues that were found, over all cohorts.
        right_clues: share of them that are the head entity of their sentence; None where none is marked.
        true: share of the copies that are true: every sentence is one of the text, whole, alone or with its right
            clue; None where no head entity is marked, or without copies.
        tokens: tokens trained on, replay included; a mean over trainings like the next two.
        seconds: how long training took.
        peak_bytes: most memory of the process that trained, models and libraries included.
    """

    clues: int
    right_clues: float | None
    true: float | None
    tokens: float
    seconds: float
    peak_bytes: float


@dataclass(frozen=True)
class BeyondRow:
    """One arm on one corpus.

    Attributes:
        arm: the arm.
        fields: EM of each field.
        em: over all questions.
        f1: over all questions.
        minus: EM minus that of plain training and of the paper's arm, paired.
        known: EM on what was known before training.
        texts: what it was trained on.
    """

    arm: str
    fields: dict[str, Estimate]
    em: Estimate
    f1: Estimate
    minus: dict[str, Difference]
    known: KnownEM | None
    texts: Texts


@dataclass(frozen=True)
class BeyondBlock:
    """One corpus or pair: its name, all settings of the texts in words, its size, and a row for each arm."""

    corpus: str
    settings: str
    documents: int
    cohorts: int
    steps: float
    rows: tuple[BeyondRow, ...]


@dataclass(frozen=True)
class Beyond:
    """The study, corpus by corpus."""

    blocks: tuple[BeyondBlock, ...]


def beyond_numbers(done: Sequence[Done]) -> Beyond:
    """The numbers of all corpora; differences are corrected for all comparisons of the study.

    Args:
        done: the experiments of the study.
    """
    blocks = [_block(one) for one in done]
    named = [
        {f"{row.arm} {other}": found for row in block.rows for other, found in row.minus.items()} for block in blocks
    ]
    corrected = corrected_by_name(named)
    return Beyond(tuple(_with_differences(block, found) for block, found in zip(blocks, corrected, strict=True)))


def _with_differences(block: BeyondBlock, found: Mapping[str, Difference]) -> BeyondBlock:
    rows = (
        dataclasses.replace(row, minus={other: found[f"{row.arm} {other}"] for other in row.minus})
        for row in block.rows
    )
    return dataclasses.replace(block, rows=tuple(rows))


def _block(done: Done) -> BeyondBlock:
    chosen = next(iter(choices(done.outcomes, done.asked, equal=({},)).values()))
    known = known_of(done).get("equal: ", {})
    trainings = {arm: found for (arm, _), found in trainings_of(done).items()}
    rows = [_row(done, arm, chosen, known.get(arm), trainings[arm]) for arm in chosen if arm != UNTRAINED]
    settings = done.recipes[0].augment
    return BeyondBlock(
        done.experiment.attempt,
        f"{dropout_words(settings)}; {insertion_words(settings)}",
        sum(asked.document_count for asked in done.asked),
        len(done.asked),
        float(np.mean([one.done.steps for found in trainings.values() for one in found])),
        tuple(rows),
    )


def _row(
    done: Done, arm: str, chosen: Mapping[str, Choice], known: KnownEM | None, trainings: Sequence[Trained]
) -> BeyondRow:
    fields = list(dict.fromkeys(str(field) for field in done.asked[0].fields))
    return BeyondRow(
        arm,
        fields={field: estimate(chosen[arm], done.asked, "em", (field,)) for field in fields},
        em=estimate(chosen[arm], done.asked, "em"),
        f1=estimate(chosen[arm], done.asked, "f1"),
        minus={
            other: difference(chosen[arm], chosen[other], done.asked, "em")
            for other in BESIDE
            if other in chosen and other != arm
        },
        known=known,
        texts=_texts(arm, trainings),
    )


def _texts(arm: str, trainings: Sequence[Trained]) -> Texts:
    made = [one.made for one in trainings]
    rights = [one.right_clues for one in made if one.right_clues is not None]
    truths = [one for trained in trainings if (one := true_copies(arm, trained.folder, trained.recipe)) is not None]
    return Texts(
        clues=sum(one.clues for one in made),
        right_clues=float(np.mean(rights)) if rights else None,
        true=float(np.mean(truths)) if truths else None,
        tokens=float(np.mean([one.done.tokens_trained for one in trainings])),
        seconds=float(np.mean([one.done.seconds for one in trainings])),
        peak_bytes=float(np.mean([one.done.peak_bytes for one in trainings])),
    )


def true_copies(arm: str, folder: Path, recipe: SweepRecipe) -> float | None:
    """Share of an arm's copies that are true: no sentence lost a word, and none was given a wrong clue.

    Args:
        arm: the arm.
        folder: its texts.
        recipe: of its run, for the corpus and its head fields.

    Returns:
        None without copies, of those in other words, or where no head entity is marked: nobody knows then which clue
        is right.
    """
    heads = recipe.score.head_fields
    documents = {one.id: one for one in load_corpus(RunFolder(Path(recipe.output)).corpus).documents}
    marked = any(span.field in heads for one in documents.values() for span in one.spans)
    if not ARMS[arm].copies or ARMS[arm].rewrites or not marked:
        return None
    told = {
        ranked.document_id: _true_sentences(documents[ranked.document_id], ranked, heads, recipe.augment.insert_forms)
        for ranked in RankingFile(folder / RANKING).documents()
    }
    copies = [row for row in read_jsonl(folder / "train.jsonl") if row["copy"]]
    return float(np.mean([told[row["id"]].issuperset(_sentences(row["text"])) for row in copies]))


def _true_sentences(document: Document, ranked: RankedDocument, heads: Sequence[str], forms: Sequence[str]) -> set[str]:
    """Every sentence that a true copy may hold: those of the text, and with their right clues in every form."""
    clues: dict[int, Clue] = {clue.sentence: clue for clue in ranked.clues}
    true = set()
    for start, end in sentences(document.text):
        sentence = document.text[start:end].strip()
        true.add(sentence)
        clue, head = clues.get(start), head_of(document, start, end, heads)
        if clue and head and document.text[clue.start : clue.end] == document.text[head.start : head.end]:
            for form in (*INSERT_FORMS, *forms):
                true.update(_sentences(written(document.text[clue.start : clue.end], sentence, form)))
    return true


def _sentences(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in sentences(text)]


def beyond_markdown(numbers: Beyond) -> str:
    """The study as Markdown: for each corpus a table of EM, and one of what that took.

    Args:
        numbers: from `beyond_numbers`.
    """
    lines = [f"## {TITLE}", ""]
    for block in numbers.blocks:
        lines += [
            f"### {cell(block.corpus)}",
            "",
            f"{block.documents:,} documents in {block.cohorts} cohorts, each arm trained once on each with "
            f"{block.steps:,.0f} equal steps. Differences are paired. {cell(block.settings)}.",
            "",
            *_scores(block),
            "",
            *_costs(block),
            "",
        ]
    return "\n".join(lines)


def _scores(block: BeyondBlock) -> list[str]:
    fields = list(block.rows[0].fields)
    head = ["arm", *(f"{field} EM" for field in fields), "all EM", "all F1"]
    head += [f"minus {arm_words(other)}" for other in BESIDE]
    table = [
        [
            arm_words(row.arm),
            *(estimate_text(row.fields[field]) for field in fields),
            estimate_text(row.em),
            estimate_text(row.f1),
            *(remarked_text(row.minus[other]) if other in row.minus else "-" for other in BESIDE),
        ]
        for row in block.rows
    ]
    return markdown_table(head, table)


def _costs(block: BeyondBlock) -> list[str]:
    head = ["arm", "known EM, lost", "clues", "right", "true copies", "tokens trained on", "seconds", "peak MiB"]
    table = [
        [
            arm_words(row.arm),
            known_words(row.known),
            f"{row.texts.clues:,}" if row.texts.clues else "-",
            score(row.texts.right_clues),
            score(row.texts.true),
            whole(row.texts.tokens),
            whole(row.texts.seconds),
            whole(row.texts.peak_bytes / 2**20),
        ]
        for row in block.rows
    ]
    return markdown_table(head, table)
