"""What a run's pair looks at from the cues: the kinds of token that lead its rankings, and clue recall."""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from elusive.clues.recall import ALL_CUES, Clues, RecallTable, best_ranked, clue_recall, corrected_rows, read_clues
from elusive.clues.tokenizers import pair_on_tokens
from elusive.config.run import Recipe
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.runs.folder import RunFolder
from elusive.scoring.positions import token_fields
from elusive.scoring.sets import pair_sets
from elusive.scoring.shards import TokenScores, iterate_scores

from .results import RankShares
from .tokens import OTHER_WORDS, TOP, WORDS


def run_recall(run: RunFolder, documents: Collection[Document], recipe: Recipe, field: str) -> RecallTable | None:
    """Clue recall@10 of a run's pair, at all cues and at one field's, where the run has both models' scores there.

    Args:
        run: the run folder.
        documents: its corpus.
        recipe: head fields, excluded tokens, and the bootstrap's settings.
        field: the field whose cue the rank bars look from ("" for none).

    Returns:
        A row for each; None where there is none.

    Raises:
        ElusiveError: if the models' tokens differ and augment.across_tokenizers is not set.
    """
    rows = {}
    for name, cue in ((ALL_CUES, ""), (field, field)):
        clues = _run_clues(run, documents, cue, recipe) if name else []
        if row := clue_recall(clues, TOP, recipe.evaluate.resamples, recipe.evaluate.seed):
            rows[name] = row
    return RecallTable(TOP, tuple(recipe.score.head_fields), corrected_rows(rows)) if rows else None


def cue_ranks(run: RunFolder, documents: Collection[Document], field: str, recipe: Recipe) -> RankShares | None:
    """Which kinds of token lead the ranking at the cue before a field: by large, small, and large minus small.

    Args:
        run: the run folder, with both models' scores at the cues of the field.
        documents: its corpus.
        field: whose cue to look from; "" for none.
        recipe: head fields and excluded tokens.

    Returns:
        Rankings by large, small and contrast; None where no document has the cue. Documents whose scores are all tied
        do not count in that ranking; where none is left, its shares are 0.

    Raises:
        ElusiveError: if a model's scores are missing, or the two differ in their tokens.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, Figures 2 and 3.
    """
    if not field:
        return None
    folders = {one.model: run.scores(one) for one in pair_sets("cues", field)}
    for folder in folders.values():
        if not (folder / "done.json").exists() or not any(folder.glob("part-*.parquet")):
            raise ElusiveError(
                f"{folder} holds no finished scores, and the rank bars look from the cue before '{field}'. "
                "Run the stage 'score' of this run first, or choose another report.cue_field."
            )
    ranks = rank_shares(
        documents,
        folders,
        {"large": ("large", None), "small": ("small", None), "contrast": ("large", "small")},
        field=field,
        head_fields=recipe.score.head_fields,
        excluded_tokens=recipe.score.excluded_tokens,
        across_tokenizers=recipe.augment.across_tokenizers,
    )
    return ranks if ranks.documents else None


def rank_shares(
    documents: Iterable[Document],
    scores: Mapping[str, str | Path],
    rankings: Mapping[str, tuple[str, str | None]],
    *,
    field: str,
    head_fields: Sequence[str],
    excluded_tokens: Sequence[str],
    across_tokenizers: bool = False,
) -> RankShares:
    """Which kinds of token lead any number of rankings at the cue before a field.

    Args:
        documents: the corpus; those that every model scored are counted.
        scores: folders of shards, by the name of the model that they are of.
        rankings: title: the model whose attention tokens are ranked by, and the one whose attention is taken off it
            (None: nothing is). Models of other families may be ranked too, but not in one difference with them.
        field: whose cue the scores look from.
        head_fields: span fields of the head entity.
        excluded_tokens: strings that are never ranked, beside special tokens and white space.
        across_tokenizers: carry all scores over to the first model's tokens where theirs differ.

    Returns:
        The shares of each title's ranking. Documents whose tokens are all tied do not count in that ranking; where none
        is left, its shares are 0.

    Raises:
        ElusiveError: if two models of one difference have other tokens, and across_tokenizers is not set.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, Figures 2, 3, 6 and 7.
    """
    read: dict[str, Mapping[str, TokenScores]] = {name: _scores(Path(folder)) for name, folder in scores.items()}
    shared = [document for document in documents if all(document.id in rows for rows in read.values())]
    if across_tokenizers:
        read = _on_first_tokens(shared, read)
    by_id = {document.id: document for document in shared}
    best: dict[str, list[list[str]]] = {title: [] for title in rankings}
    for title, (plus, minus) in rankings.items():
        pair = read[plus], read[minus or plus]
        for one in read_clues(shared, *pair, head_fields=head_fields, excluded_tokens=excluded_tokens):
            kinds = _kinds(by_id[one.document_id], one.offsets)
            if len(ranked := best_ranked(one.signal("contrast" if minus else "large"), TOP)):
                best[title].append([kinds[place] for place in ranked])
    heads = tuple(f"({name})" for name in head_fields)
    counted = max(map(len, best.values()), default=0)
    fields = tuple(sorted({f"({span.field})" for document in shared for span in document.spans}))
    kinds = _kinds_in_order(best, heads)
    shares = {title: _shares(ranked, kinds) for title, ranked in best.items()}
    return RankShares(field, counted, kinds, shares, heads, fields)


def _on_first_tokens(
    documents: Sequence[Document], read: Mapping[str, Mapping[str, TokenScores]]
) -> dict[str, Mapping[str, TokenScores]]:
    """Every model's scores on the tokens of the first model."""
    first = next(iter(read.values()))

    def carried(rows: Mapping[str, TokenScores], document: Document) -> TokenScores:
        tokens = first[document.id]
        return pair_on_tokens(tokens, rows[document.id], tokens, document.text)[1]

    return {name: {one.id: carried(rows, one) for one in documents} for name, rows in read.items()}


def _run_clues(run: RunFolder, documents: Collection[Document], field: str, recipe: Recipe) -> list[Clues]:
    """The ranked tokens of a run's documents at a field's cues ("": all); none where a model was not scored there."""
    augment = recipe.augment
    if field:  # a text mostly has one such cue: there is nothing to fuse
        augment = dataclasses.replace(augment, cue_fusion="mean")
    sets = pair_sets("cues", field, each=augment.cue_fusion != "mean")
    large, small = (_scores(run.scores(one)) for one in sets)
    return read_clues(
        documents,
        large,
        small,
        head_fields=recipe.score.head_fields,
        excluded_tokens=recipe.score.excluded_tokens,
        augment=augment,
    )


def _scores(folder: Path) -> Mapping[str, TokenScores]:
    """A folder's scores by document; none where it was not scored."""
    finished = iterate_scores(folder) if (folder / "done.json").exists() else ()
    return {scores.document_id: scores for scores in finished}


def _kinds(document: Document, offsets_T2: np.ndarray) -> list[str]:
    """ "(field)" for a token of a span, else the whole word, in lower case, that the token is part of."""
    text = document.text
    words = [
        Span(match[0].lower(), match.start(), match.end())
        for match in re.finditer(r"\w+(?:['\u2019-]\w+)*|[^\w\s]+", text)
    ]
    fields, names = (token_fields(text, spans, offsets_T2) for spans in (document.spans, words))
    return [f"({field})" if field else name for field, name in zip(fields, names, strict=True)]


def _kinds_in_order(best: Mapping[str, Sequence[Sequence[str]]], head_kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds that get a bar of their own: fields, the head entity's first, then the most frequent words."""
    everything = Counter(kind for documents in best.values() for kinds in documents for kind in kinds)
    fields = sorted((kind for kind in everything if _is_field(kind)), key=lambda kind: (kind not in head_kinds, kind))
    words = [kind for kind, _ in everything.most_common() if not _is_field(kind)]
    return (*fields, *words[:WORDS], *([OTHER_WORDS] if len(words) > WORDS else []))


def _shares(documents: Sequence[Sequence[str]], kinds: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """The share of each kind at ranks 1 to 10, ranks x kinds, given the kinds of each document's best tokens."""
    counts = np.zeros((TOP, len(kinds)))
    for ranked in documents:
        for rank, kind in enumerate(ranked):
            counts[rank, kinds.index(kind if kind in kinds else OTHER_WORDS)] += 1
    return tuple(map(tuple, (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).tolist()))


def _is_field(kind: str) -> bool:
    return len(kind) > 2 and kind.startswith("(") and kind.endswith(")")
