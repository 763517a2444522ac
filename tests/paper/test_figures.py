"""The paper's figures: what is drawn where, on hand-made numbers and with the embedded pair."""

import doctest
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from elusive.clues.recall import RANKED
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.corpus.people.biographies import biography_corpus
from elusive.errors import ElusiveError
from elusive.models.loading import load_model, load_tokenizer
from elusive.paper import figures
from elusive.paper.figures import (
    ELLIPSIS,
    PUBLISHED,
    distance_lines,
    drop_curves,
    keep_color,
    rank_panels,
    save_figures,
    score_at_cue,
    token_panels,
)
from elusive.reporting import plots
from elusive.reporting.clues import rank_shares
from elusive.reporting.plots import HEAD_COLOR, INK, NARROW, PAPER
from elusive.reporting.results import RankShares
from elusive.reporting.tokens import Piece
from elusive.runs.files import write_json
from elusive.scoring.shards import TokenScores, write_shard

EXCLUDED = ScoreSettings.excluded_tokens
TEXT = "Ada, a poet in Rome"
OFFSETS = np.array([(0, 0), (0, 3), (3, 4), (4, 6), (6, 11), (11, 14), (14, 19)], np.int32)
LARGE = [9.0, 0.3, 8.0, 0.1, 0.2, 0.3, 0.0]
SMALL = [9.0, 0.0, 8.0, 0.1, 0.3, 0.1, 7.0]
DISTANCES = {"city": 20.0, "date": 8.0, "company": 60.0}
MODELS = {
    "large": {
        "date": {"em": 0.9, "low": 0.8, "high": 1.0, "f1": 0.95},
        "city": {"em": 0.5, "low": 0.4, "high": 0.6, "f1": 0.55},
        "company": {"em": 0.2, "low": 0.1, "high": 0.3, "f1": 0.25},
    },
    "small": {"date": {"em": 0.8}, "city": {"em": 0.4}, "company": {"em": 0.2}},
}
TOKENS = [("Ada", 0.99), (" ", None), ("Qu", 0.9), ("ill", 0.8), (" ", None), ("lives", 0.6), (".", None)]
PIECES = [Piece(text, keep) for text, keep in TOKENS]


def document(name: str = "one") -> Document:
    return Document(name, TEXT, (Span("name", 0, 3), Span("city", 15, 19)))


def write_scores(folder: Path, values: list[float], ids: Any = range(7), names: tuple[str, ...] = ("one",)) -> Path:
    queries = np.array([1, 1, 1, 1, 1, 1, 0], np.int32)
    rows = [
        TokenScores(name, np.array(ids, np.int32), OFFSETS, np.array(values, np.float32), queries) for name in names
    ]
    write_shard(folder / "part-00000.parquet", rows)
    write_json(folder / "done.json", {})
    return folder


def shares(scores: dict[str, Path], rankings: dict[str, tuple[str, str | None]], **options: Any) -> RankShares:
    chosen = {"field": "city", "head_fields": ["name"], "excluded_tokens": EXCLUDED} | options
    return rank_shares([document()], scores, rankings, **chosen)


def order(ranks: RankShares, title: str) -> list[str]:
    return [ranks.kinds[row.index(1.0)] for row in ranks.rankings[title] if any(row)]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts, among those of the plots, that stand on each other."""
    figure.draw_without_rendering()
    # An annotation's own extent holds the line that leads to it too.
    found = [text for axes in figure.axes for text in axes.texts]
    boxes = [(text.get_text(), Text.get_window_extent(text).padded(-1)) for text in found]
    return [
        (a, b) for i, (a, box) in enumerate(boxes) for b, other in boxes[i + 1 :] if a and b and box.overlaps(other)
    ]


def cut_off(figure: Figure) -> list[str]:
    """Texts that reach outside the figure."""
    figure.draw_without_rendering()
    shown = [*(text for axes in figure.axes for text in axes.texts), *figure.texts]
    shown += [text for legend in figure.legends for text in legend.get_texts()]
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown if text.get_text()]
    return [name for name, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


# ---- rankings at a cue


def test_any_rankings_by_hand(tmp_path: Path) -> None:
    scores = {"a": write_scores(tmp_path / "a", LARGE), "b": write_scores(tmp_path / "b", SMALL)}
    ranks = shares(scores, {"b alone": ("b", None), "a minus b": ("a", "b"), "b minus a": ("b", "a")})
    assert (ranks.field, ranks.documents, ranks.head_kinds) == ("city", 1, ("(name)",))
    # The special token, the comma and the unseen city never rank; ties go to the earlier token.
    assert order(ranks, "b alone") == ["poet", "a", "in", "(name)"]
    assert order(ranks, "a minus b") == ["(name)", "in", "a", "poet"]
    assert order(ranks, "b minus a") == ["poet", "a", "in", "(name)"]


def test_ties_and_documents_of_one_model_alone_do_not_count(tmp_path: Path) -> None:
    scores = {
        "a": write_scores(tmp_path / "a", LARGE, names=("one", "two")),
        "b": write_scores(tmp_path / "b", LARGE, names=("one",)),
    }
    options: dict[str, Any] = {"field": "city", "head_fields": ["name"], "excluded_tokens": EXCLUDED}
    rankings: dict[str, tuple[str, str | None]] = {"nothing": ("a", "b"), "a": ("a", None)}
    ranks = rank_shares([document("one"), document("two")], scores, rankings, **options)
    assert ranks.documents == 1
    assert not np.any(ranks.rankings["nothing"])
    assert order(ranks, "a") == ["(name)", "in", "poet", "a"]
    assert "all tokens are tied" in texts(rank_panels(ranks))
    empty = rank_shares([document("three")], scores, rankings, **options)
    assert (empty.documents, empty.kinds) == (0, ())


def test_other_families_stand_beside_each_other_but_in_no_difference(tmp_path: Path) -> None:
    scores = {"a": write_scores(tmp_path / "a", LARGE), "b": write_scores(tmp_path / "b", SMALL, ids=range(10, 17))}
    ranks = shares(scores, {"a": ("a", None), "b": ("b", None)})
    assert order(ranks, "b") == ["poet", "a", "in", "(name)"]
    with pytest.raises(ElusiveError, match=r"split document 'one' into different tokens"):
        shares(scores, {"a minus b": ("a", "b")})
    carried = shares(scores, {"a minus b": ("a", "b")}, across_tokenizers=True)
    assert order(carried, "a minus b") == ["(name)", "in", "a", "poet"]


def test_any_models_are_read_at_one_cue(tmp_path: Path) -> None:
    documents, _ = biography_corpus(12, 0)
    trained = tmp_path / "trained"
    model = load_model(ModelRef("elusive/small", device="cpu"))
    for weight in model.parameters():
        weight.data *= 1.1
    model.save_pretrained(trained)
    load_tokenizer("elusive/small").save_pretrained(trained)
    names = {"large": "elusive/large", "small": "elusive/small", "trained": str(trained)}
    models = {role: ModelRef(name, device="cpu") for role, name in names.items()}
    options: dict[str, Any] = {"settings": ScoreSettings(), "limit": 10}

    def read() -> dict[str, Path]:
        return score_at_cue(documents, tmp_path / "scores", models, "company", **options)

    folders = read()
    assert {name: folder.name for name, folder in folders.items()} == {
        name: f"{name}-cue-company" for name in ("large", "small", "trained")
    }
    rankings: dict[str, tuple[str, str | None]] = {name: (name, None) for name in models}
    rankings |= {"large minus small": ("large", "small"), "trained minus original": ("trained", "small")}
    ranks = rank_shares(documents, folders, rankings, field="company", head_fields=["name"], excluded_tokens=EXCLUDED)
    assert ranks.documents == 10
    for title in rankings:
        np.testing.assert_allclose(np.sum(ranks.rankings[title], axis=1), 1)
    assert ranks.rankings["trained"] != ranks.rankings["small"]
    # Scores that are there are not read again.
    shutil.rmtree(folders["small"])
    before = {name: (folders[name] / "part-00000.parquet").stat().st_mtime_ns for name in ("large", "trained")}
    assert read() == folders
    assert before == {name: (folders[name] / "part-00000.parquet").stat().st_mtime_ns for name in before}
    with pytest.raises(ElusiveError, match="begun with other settings"):
        score_at_cue(documents, tmp_path / "scores", {"large": ModelRef("elusive/small")}, "company", **options)


# ---- drawing


def some_ranks(titles: list[str]) -> RankShares:
    rows = ((0.5, 0.25, 0.25),) * 10
    return RankShares("city", 4, ("(name)", "(date)", "at"), dict.fromkeys(titles, rows), ("(name)",))


def test_panels_of_ranks_look_alike_and_share_a_legend() -> None:
    figure = rank_panels(some_ranks(["one", "two", "three"]), columns=2, differences=["three"])
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["one", "two", "three"]
    assert [axes.get_ylabel() for axes in shown] == ["rank by attention", "", "rank by difference"]
    colors = [{patch.get_facecolor() for patch in axes.patches} for axes in shown]
    assert colors[0] == colors[1] == colors[2]
    assert (*to_rgb(HEAD_COLOR), 1.0) in colors[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["(name)", "(date)", "at"]


def test_rank_bars_of_a_run_are_three_panels() -> None:
    figure = plots.rank_bars(some_ranks(list(RANKED)), plots.WIDE)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["large", "small", "large minus small"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["rank by attention", "", ""]
    narrow = plots.rank_bars(some_ranks(list(RANKED)), NARROW)
    assert [axes.get_ylabel() for axes in narrow.axes] == ["rank by attention"] * 2 + ["rank by difference"]


@pytest.mark.parametrize("width", [plots.WIDE, NARROW])
def test_distance_lines(width: float) -> None:
    published = {"Gemma 2 2B": {"date": 0.98, "company": 0.21}, "Llama 3 8B": {"date": 0.8, "company": 0.2, "zip": 1.0}}
    figure = distance_lines(MODELS, DISTANCES, width, published=published)
    axes = figure.axes[0]
    lines = [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in axes.lines]
    assert ([8.0, 20.0, 60.0], [0.9, 0.5, 0.2]) in lines
    assert ([8.0, 20.0, 60.0], [0.95, 0.55, 0.25]) in lines, "F1"
    assert ([8.0, 8.0], [0.8, 1.0]) in lines, "the interval"
    dashed = [line for line in axes.lines if line.get_color() == PUBLISHED]
    assert [np.asarray(line.get_xdata()).tolist() for line in dashed] == [[8.0, 60.0]] * 2
    # All four end between .2 and .21, and still each name can be read.
    assert sorted(texts(figure)) == ["Gemma 2 2B", "Llama 3 8B", "large", "small"]
    assert overlaps(figure) == []
    assert cut_off(figure) == []
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[:2] == ["exact match, with its 95% interval", "F1"]
    assert "the paper prints no distances" in said[2]


def test_distance_lines_of_em_alone_need_no_legend() -> None:
    figure = distance_lines({"small": MODELS["small"], "nothing": {"date": {"em": None}}}, DISTANCES)
    assert figure.legends == []
    assert texts(figure) == ["small"]
    assert figure.axes[0].get_ylabel() == "exact match"


def test_drop_curves_follow_the_formula_and_are_named_at_their_ends() -> None:
    figure = drop_curves([(0.7, 0.05), (0.7, 0.045), (0.6, 0.0)], 40)
    first, _, flat = figure.axes[0].lines
    assert np.asarray(first.get_xdata())[-1] == 40
    assert np.asarray(first.get_ydata())[-1] == pytest.approx(0.7 * (1 - math.exp(-2)))
    assert not np.any(flat.get_ydata())
    assert texts(figure) == ["\u03b1 = 0.7, \u03b2 = 0.05", "\u03b1 = 0.7, \u03b2 = 0.045", "\u03b1 = 0.6, \u03b2 = 0"]
    assert overlaps(figure) == []
    assert cut_off(figure) == []
    with pytest.raises(ElusiveError, match="alpha"):
        drop_curves([(1.5, 0.05)], 40)


def boxes(figure: Figure) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def test_token_panels_color_each_token_by_its_chance_to_stay() -> None:
    figure = token_panels({"contrast-cues": PIECES, "random": PIECES}, heads=[(0, 9)])
    assert [text for text in texts(figure) if text][:6] == ["contrast-cues", "Ada", "Qu", "ill", "lives", "."]
    assert [box.get_facecolor()[:3] for box in boxes(figure)[:4]] == [
        pytest.approx(keep_color(keep, 0.6)) for keep in (0.99, 0.9, 0.8, 0.6)
    ]
    assert len(boxes(figure)) == 8, "what is never dropped has no colour"
    assert len([line for line in figure.axes[0].lines if line.get_color() == HEAD_COLOR]) == 6
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == [".6", "1"]
    assert overlaps(figure) == []
    assert cut_off(figure) == []


def test_tokens_stay_on_the_page_and_long_texts_end_in_an_ellipsis() -> None:
    figure = token_panels({"attention": PIECES + [Piece("\n", None), *PIECES] * 40}, NARROW, lines=3)
    assert texts(figure).count(ELLIPSIS) == 1
    assert cut_off(figure) == []
    assert len({box.get_y() for box in boxes(figure)}) == 3
    assert texts(token_panels({"attention": PIECES}, cut=True)).count(ELLIPSIS) == 1
    assert ELLIPSIS not in texts(token_panels({"attention": PIECES}))
    # A text without spaces is broken between tokens.
    unbroken = [Piece("characters", 0.5)] * 40
    assert cut_off(token_panels({"attention": unbroken}, NARROW)) == []


def test_text_is_legible_on_every_color() -> None:
    def luminance(color: Any) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: Any, other: Any) -> float:
        dark, light = sorted((luminance(one), luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    # 4.5 is what WCAG 2 asks of text of this size.
    assert min(contrast(INK, keep_color(keep, 0.3)) for keep in np.linspace(0.3, 1, 15)) >= 4.5
    assert contrast(keep_color(1.0, 0.3), PAPER) > 2.5, "and the colours differ"


def test_figures_are_saved_as_png_and_svg_alone(tmp_path: Path) -> None:
    save_figures({"figure-5": drop_curves([(0.6, 0.05)], 20)}, tmp_path / "figures")
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["figure-5.png", "figure-5.svg"]
    first = (tmp_path / "figures" / "figure-5.svg").read_bytes()
    save_figures({"figure-5": drop_curves([(0.6, 0.05)], 20)}, tmp_path / "figures")
    assert (tmp_path / "figures" / "figure-5.svg").read_bytes() == first
    assert "\u03b1 = 0.6, \u03b2 = 0.05" in first.decode()


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(figures) == (0, 1)
