"""The verbs that study a pair of models, or reproduce the paper."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from elusive.config.augmentation import AugmentSettings, ContrastSignal, CueFusion
from elusive.config.models import ModelRef, Models
from elusive.config.scoring import ScoreSettings
from elusive.config.verbs import ReproduceSettings
from elusive.models import processes
from elusive.runs.terminal import note, say

from .flags import OptionalPath, panel
from .printing import documents_of, print_markdown, print_table

_LARGE, _SMALL = Models.large, Models.small
_Large = Annotated[ModelRef, panel(_LARGE, "large", names={"name": "large"}, prefixed=True)]
_Small = Annotated[ModelRef, panel(_SMALL, "small", names={"name": "small"}, prefixed=True)]
_Attention = Annotated[ScoreSettings, panel(ScoreSettings(), "attention")]


def recall(
    corpus: tyro.conf.Positional[Path],
    output: OptionalPath = None,
    k: int = 10,
    across_tokenizers: bool = AugmentSettings.across_tokenizers,
    contrast_signal: ContrastSignal = AugmentSettings.contrast_signal,
    cue_fusion: CueFusion = AugmentSettings.cue_fusion,
    large: _Large = _LARGE,
    small: _Small = _SMALL,
    settings: _Attention = ScoreSettings(),
) -> Any:
    """Measure how well a pair of models finds clues, before training.

    Clue recall: how much of the head entity is among the k best tokens at cues.

    Then: the clues that each arm would write, those right, and which to use.

    Args:
        corpus: A corpus whose spans mark a head entity and answers.
        output: Folder for recall.json and the scores (none: nothing is kept).
        k: How many of the best ranked tokens count.
        across_tokenizers: Carry the small model's scores over to the large one's tokens where these differ.
        contrast_signal: Contrast the models by the difference of their attention, or by its ratio.
        cue_fusion: How all cues make one ranking: from their mean, or from the ranking of each sentence's cues.
        large: The large model, and which of its attention is averaged.
        small: The small model, and which of its attention is averaged.
        settings: Which attention counts, and how it is captured.
    """
    from elusive.augmentation.clue_count import count_clues
    from elusive.clues.pairs import pair_recall
    from elusive.models.loading import load_tokenizer
    from elusive.reporting.clue_advice import clue_count_table, recall_advice
    from elusive.reporting.clue_tables import pair_recall_table
    from elusive.runs.typed_json import to_json

    augment = AugmentSettings(
        across_tokenizers=across_tokenizers, contrast_signal=contrast_signal, cue_fusion=cue_fusion
    )
    documents = documents_of(corpus)
    pair = Models(large, small)
    with _scores_kept(output) as folder:
        found = pair_recall(documents, folder, pair=pair, settings=settings, augment=augment, k=k)
        clues = count_clues(
            documents, folder, pair=pair, tokenizer=load_tokenizer(large), score=settings, settings=augment
        )
        advice = recall_advice(found, clues)
        text = "\n\n".join([pair_recall_table(found), clue_count_table(clues), *advice])
        return print_table(text, to_json(found) | {"clues": to_json(clues), "advice": advice}, output, "recall.json")


def heads(
    corpus: tyro.conf.Positional[Path],
    output: OptionalPath = None,
    k: int = 10,
    seed: int = 0,
    across_tokenizers: bool = AugmentSettings.across_tokenizers,
    large: _Large = _LARGE,
    small: _Small = _SMALL,
    settings: _Attention = ScoreSettings(),
) -> Any:
    """Choose a pair's layers and heads by their clue recall.

    They are chosen on one half of the corpus, and measured on the other.

    Args:
        corpus: A corpus whose spans mark a head entity and answers.
        output: Folder for heads.json and the scores, each head's too (none: nothing is kept).
        k: How many of the best ranked tokens count.
        seed: Seed of the halves.
        across_tokenizers: Carry the small model's scores over to the large one's tokens where these differ.
        large: The large model.
        small: The small model.
        settings: Which attention counts, and how it is captured.
    """
    from elusive.clues.pairs import pair_heads
    from elusive.reporting.clue_tables import heads_table

    augment = AugmentSettings(across_tokenizers=across_tokenizers)
    documents = documents_of(corpus)
    pair = Models(large, small)
    with _scores_kept(output) as folder:
        found = pair_heads(documents, folder, pair=pair, settings=settings, augment=augment, k=k, seed=seed)
        return print_table(heads_table(found), found, output, "heads.json")


@contextlib.contextmanager
def _scores_kept(output: Path | None) -> Iterator[Path]:
    """The folder for scores: in the output folder, which no other command may use, or one that is thrown away."""
    from elusive.runs.folder import RunFolder
    from elusive.runs.lock import locked
    from elusive.runs.temporary import temporary_folder

    if not output:
        with temporary_folder() as folder:
            yield folder
    elif processes.is_main():
        with locked(output):
            yield RunFolder(output).scores_folder()
    else:
        yield RunFolder(output).scores_folder()


def reproduce(
    what: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="", metavar="WHAT ...")]],
    settings: Annotated[ReproduceSettings, panel(ReproduceSettings(), "reproduction")] = ReproduceSettings(),
) -> Any:
    """Reproduce the paper's tables and figures.

    Its experiments are run on a pair of models; results stand next to its own.

    Args:
        what: table1 ... table8, figure1 ... figure7, question-sets, copies, attempts, or all.
        settings: The pair, and how far.
    """
    if settings.plan:
        from elusive.paper.plan import plan

        text = plan(what, settings)
        say(text)
        return {"plan": text}
    from elusive.paper.reproduce import reproduce as run_experiments
    from elusive.paper.wording import CELLS

    made = run_experiments(what, settings, announce=note)
    if made.texts:
        print_markdown("\n".join([f"{CELLS}\n", *made.texts.values()]))
    for line in made.left_out:
        say(f"left out: {line}")
    for path in made.pictures:
        say(str(path.resolve()))
    results = (Path(settings.output) / "results.md").resolve()
    say(f"All tables: {results}")
    return {"results": results, "pictures": made.pictures, "left_out": made.left_out}
