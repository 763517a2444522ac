"""The paper's figures of a family's experiments."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elusive.augmentation.rankings import RANKING, RankingFile
from elusive.config.models import ModelRef
from elusive.config.verbs import ReproduceSettings
from elusive.corpus.documents import load_corpus
from elusive.experiments.selection import has_settings
from elusive.experiments.trials import Trial, grid_trials
from elusive.reporting.clues import rank_shares
from elusive.reporting.tokens import Piece, token_pieces
from elusive.runs.folder import RunFolder

from .comparison import Block, Cell
from .experiments import Done, experiments_of
from .families import ROLES, Family, Role
from .published import published_rows
from .tables import table_numbers

FIGURES = {1: 1, 2: 1, 3: 1, 4: 4, 5: 1, 6: 1, 7: 1}
"""The table whose experiments a figure is drawn from (see `table_of`)."""
_SHOWN = 100
"""Documents behind the rank bars."""
_LONGEST_RANK = 80
_FIGURE_ARMS = ("random-matched", "attention", "contrast-all", "contrast-cues")


def table_of(number: int, pair: Family) -> int:
    """The table whose experiments a figure is drawn from; where a family has no Table 4, Table 2 stands in."""
    table = FIGURES[number]
    return table if table != 4 or any(experiments_of(pair, table)) else 2


def draw(
    number: int,
    pair: Family,
    done: Mapping[tuple[str, Role], Done],
    settings: ReproduceSettings,
    folder: Path,
) -> list[Path]:
    """Draw one figure of the paper.

    Args:
        number: 1 to 7.
        pair: the family.
        done: its experiments by name and the model that is trained.
        settings: the field whose cue the rank bars look from.
        folder: for the pictures.

    Returns:
        The PNG files.
    """
    # matplotlib loads slowly, and tables need none.
    from .figures import save_figures

    found = experiments_of(pair, table_of(number, pair))
    experiments = [done[key, role] for key, role, _ in found if (key, role) in done]
    figure = {1: _distance, 4: _tokens, 5: _drop}.get(number)
    drawn = figure(pair, experiments) if figure else _ranks(number, pair, experiments, settings)
    save_figures({f"figure{number}": drawn}, folder)
    return [folder / f"figure{number}.png"]


def _distance(pair: Family, experiments: Sequence[Done]) -> Any:
    from .figures import distance_lines

    blocks = table_numbers(pair, 1, experiments).blocks
    # Of each model the first: at equal settings.
    blocks = list({block.model: block for block in reversed(blocks)}.values())[::-1]
    models = {block.model: _by_field(block) for block in blocks}
    printed = {block.published: _printed_by_field(block) for block in blocks if block.published}
    return distance_lines(models, blocks[0].distances or {}, published=printed)


def _by_field(block: Block) -> dict[str, dict[str, float | None]]:
    """Our EM, with its interval, and F1 of plain training by field."""
    found: dict[str, dict[str, float | None]] = {}
    for column, one in _plain_cells(block).items():
        field, _, metric = column.rpartition("_")
        row = found.setdefault(field, {})
        row[metric] = one.ours.value
        if metric == "em":
            row |= {"low": one.ours.low, "high": one.ours.high}
    return found


def _printed_by_field(block: Block) -> dict[str, float]:
    """The paper's EM of plain training by field."""
    cells = _plain_cells(block).items()
    return {column[:-3]: one.paper for column, one in cells if column.endswith("_em") and one.paper is not None}


def _plain_cells(block: Block) -> dict[str, Cell]:
    return next(row for row in block.arm_rows if row.arm == "plain").cells


def _ranks(number: int, pair: Family, experiments: Sequence[Done], settings: ReproduceSettings) -> Any:
    """Rank bars at a cue: of the models (2), large minus small (3), before and after training (6), the change (7)."""
    from .figures import rank_panels, score_at_cue

    first = experiments[0].recipes[0]
    titles: dict[Role, str] = {role: pair.member(role).title for role in ROLES}
    # All heads, as in the paper.
    models = {titles[role]: dataclasses.replace(first.models[role], layers=(), heads=()) for role in ROLES}
    trained = {} if number in (2, 3) else _trained(experiments, titles)
    run = RunFolder(Path(first.output))
    documents = load_corpus(run.corpus).documents
    scores = score_at_cue(
        documents,
        run.figure_scores,
        models | trained,
        settings.cue_field,
        settings=first.score,
        limit=_SHOWN,
    )
    rankings: dict[str, tuple[str, str | None]] = {}
    for title in titles.values():
        after = f"{title}, trained"
        if number in (2, 6):
            rankings[title] = (title, None)
        if number == 6 and after in trained:
            rankings[after] = (after, None)
        if number == 7 and after in trained:
            rankings[f"{title}, trained minus original"] = (after, title)
    if number == 3:
        rankings["large minus small"] = (titles["large"], titles["small"])
    shares = rank_shares(
        documents,
        scores,
        rankings,
        field=settings.cue_field,
        head_fields=first.score.head_fields,
        excluded_tokens=first.score.excluded_tokens,
        across_tokenizers=first.augment.across_tokenizers,
    )
    differences = [title for title, (_, minus) in rankings.items() if minus]
    return rank_panels(shares, columns=2 if len(rankings) > 1 else 1, differences=differences)


def _trained(experiments: Sequence[Done], titles: Mapping[Role, str]) -> dict[str, ModelRef]:
    """Each model after plain training on the first cohort, with its first seed."""
    found = {}
    for one in experiments:
        trial, run = _at_equal_settings(one)["plain"], RunFolder(Path(one.recipes[0].output))
        folder = trial.model_folder(run, trial.seeds[0])
        of_role = one.recipes[0].models[one.role]
        found[f"{titles[one.role]}, trained"] = dataclasses.replace(of_role, name=str(folder), layers=(), heads=())
    return found


def _at_equal_settings(one: Done) -> dict[str, Trial]:
    """Each arm's trial at the first of the settings at which all are compared."""
    settings = one.experiment.equal[0] if one.experiment.equal else {}
    trials = [trial for trial in grid_trials(one.recipes[0]) if has_settings(dict(trial.chosen), settings)]
    return {trial.arm: trial for trial in reversed(trials)}


def _tokens(pair: Family, experiments: Sequence[Done]) -> Any:
    """Figure 4: a document's tokens, coloured by their chance to stay."""
    from .figures import token_panels

    recipe = experiments[0].recipes[0]
    run = RunFolder(Path(recipe.output))
    document = next(iter(load_corpus(run.corpus).documents))
    shown: dict[str, list[Piece]] = {}
    cut = False
    trials = _at_equal_settings(experiments[0])
    for arm in _FIGURE_ARMS:
        if trial := trials.get(arm):
            ranking = RankingFile(trial.texts_folder(run) / RANKING)
            shown[arm], cut = token_pieces(document.text, next(ranking.documents({document.id})))
    heads = [(span.start, span.end) for span in document.spans if span.field in recipe.score.head_fields]
    return token_panels(shown, cut=cut, heads=heads)


def _drop(pair: Family, experiments: Sequence[Done]) -> Any:
    """Figure 5: p(r) at the settings that were tried here, and those that the paper found best for its own method."""
    from .figures import drop_curves

    tried = {
        (trial.recipe.augment.alpha, trial.recipe.augment.beta)
        for one in experiments
        for trial in grid_trials(dataclasses.replace(one.recipes[0], arms=("contrast-cues",)))
        if trial.arm == "contrast-cues"
    }
    printed = {
        (row.alpha, row.beta) for row in published_rows() if row.arm.startswith("contrast") and row.alpha and row.beta
    }
    return drop_curves(sorted(tried | printed), _LONGEST_RANK)
