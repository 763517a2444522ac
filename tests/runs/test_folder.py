"""The layout of a run folder: spelled in one module, and of one version."""

import ast
import shutil
from pathlib import Path

import pytest

from elusive.augmentation.stage import augment_corpus
from elusive.cli.main import main
from elusive.config.augmentation import AugmentSettings
from elusive.config.corpus import CorpusSettings
from elusive.config.run import Recipe
from elusive.config.scoring import ScoreSettings
from elusive.config.toml import load_recipe
from elusive.corpus.documents import Document
from elusive.corpus.stage import make_corpus
from elusive.errors import ElusiveError
from elusive.evaluation.known import known_questions
from elusive.exporting.sources import find_source
from elusive.pipeline import run as run_recipe
from elusive.reporting import write_report
from elusive.runs import folder as layout
from elusive.runs.files import read_json, write_json, write_jsonl, write_text
from elusive.runs.folder import RunFolder, epoch_answers, known_answers
from elusive.runs.stage import Stage, stage_settings
from elusive.scoring.sets import ScoreSet
from elusive.scoring.shards import read_scores

SOURCE = Path(layout.__file__).parents[1]
NAMES = ("corpus", "scores", "augmented", "models", "evaluation", "report", "known", "figures")
OLD = "written by Elusive 0.1, whose folders this version does not read. Run the same recipe or command again"
RECIPE = """
arms = ["contrast-cues"]
parallel = 1
[corpus]
people = 3
[augment]
copies = 1
[train]
max_steps = 1
batch_size = 2
[evaluate]
shots = 1
max_new_tokens = 2
resamples = 100
[report]
documents = 1
"""


def test_places() -> None:
    run = RunFolder(Path("r"))
    scores, answers = ScoreSet("large", "cues"), run.answers("plain", 3)
    places = [run.recipe, run.questions, run.scores(scores), run.scores(scores, "beta-1"), run.figure_scores]
    places += [run.augmented("plain"), run.augmented("plain", "beta-1"), run.model("plain", 3, "lr-1"), answers]
    places += [known_answers(answers), epoch_answers(answers, 2.0), epoch_answers(answers, 0.5), run.report]
    assert [place.as_posix() for place in places] == [
        "r/recipe.toml",
        "r/corpus/questions.jsonl",
        "r/scores/large-cues",
        "r/scores/beta-1/large-cues",
        "r/scores/figures",
        "r/augmented/plain",
        "r/augmented/plain/beta-1",
        "r/models/plain/lr-1/seed-3",
        "r/evaluation/plain/seed-3",
        "r/evaluation/plain/seed-3/known",
        "r/evaluation/plain/seed-3/epoch-2",
        "r/evaluation/plain/seed-3/epoch-0.5",
        "r/report",
    ]


def _spelled(path: Path) -> list[str]:
    """Folder names of the layout that a module joins to a path, or begins a text with."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        joined: list[ast.expr] = [node.right] if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else []
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("joinpath", "glob", "with_name"):
            joined += node.args
        for one in joined:
            first = one.values[0] if isinstance(one, ast.JoinedStr) else one
            text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
            if text.split("/")[0] in NAMES or text.startswith(("seed-", "epoch-", "recipe.toml", "sweep.toml")):
                found.append(f"{path.relative_to(SOURCE)}:{one.lineno} {text}")
    return found


def test_no_other_module_spells_the_layout() -> None:
    modules = [path for path in SOURCE.rglob("*.py") if path != Path(layout.__file__)]
    # The paper's pictures lie in a folder of their own, beside its runs.
    spelled = [one for path in modules for one in _spelled(path) if not one.startswith("paper/reproduce.py")]
    assert spelled == []


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in whose folder everything has another name."""
    folder = tmp_path_factory.mktemp("renamed")
    write_text(folder / "recipe.toml", f'output = "{folder / "run"}"\n{RECIPE}')
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_CORPUS", "_SCORES", "_AUGMENTED", "_MODELS", "_ANSWERS", "_REPORT", "_KNOWN", "_SEED"):
            patch.setattr(layout, name, f"other{name.lower()}")
        page = run_recipe(load_recipe(folder / "recipe.toml", Recipe), announce=lambda line: None)
        assert page == folder / "run" / "other_report" / "index.html"
        found = find_source(folder / "run", "contrast-cues")
        assert found.run == RunFolder((folder / "run").resolve())
    return folder / "run"


def test_a_renamed_folder_is_one_line(renamed: Path) -> None:
    assert sorted(path.name for path in renamed.iterdir()) == [
        *("other_answers", "other_augmented", "other_corpus", "other_models", "other_report", "other_scores"),
        *("recipe.toml", "run.json"),
    ]
    assert (renamed / "other_answers" / "contrast-cues" / "other_seed0" / "other_known" / "metrics.json").exists()
    results = read_json(renamed / "other_report" / "results.json")
    assert results["arms"]["contrast-cues"]["known"]["questions"] > 0
    assert results["clue_recall"]["rows"]


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A run folder as 0.1 left it."""
    run = tmp_path / "run"
    write_text(run / "recipe.toml", '[models]\nlarge = "elusive/large"\n')
    for folder in ("corpus", "scores/large-cues", "augmented/random", "models/random/seed-0"):
        write_json(run / folder / "settings.json", {"arm": "random", "corpus": "hash"})
        write_json(run / folder / "done.json", {"documents": 1})
    write_jsonl(run / "corpus" / "documents.jsonl", [{"id": "a", "text": "b", "spans": []}])
    write_text(run / "corpus" / "questions.jsonl", "")
    write_text(run / "augmented" / "random" / "train.jsonl", "")
    return run


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ElusiveError) as caught:
        RunFolder.open(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not a run folder: it has no recipe.toml. Give the output folder of a run."
    )


def test_a_run_folder_of_0_1_is_refused(old_run: Path) -> None:
    with pytest.raises(ElusiveError) as caught:
        RunFolder.open(old_run)
    assert str(caught.value) == (
        f"{old_run} was written by Elusive 0.1, whose folders this version does not read. Run the same recipe or "
        "command again into a new folder, or use elusive==0.1."
    )
    before = {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()}
    for read in (
        lambda: write_report(old_run, Recipe().report),
        lambda: run_recipe(Recipe(output=str(old_run)), announce=lambda line: None),
    ):
        with pytest.raises(ElusiveError, match=f"^{old_run} was {OLD}"):
            read()
    assert {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()} == before


def test_each_stage_s_folder_of_0_1_is_refused(old_run: Path, tmp_path: Path) -> None:
    scores, texts = old_run / "scores" / "large-cues", old_run / "augmented" / "random"
    options = {"trained": "large", "tokenizer": None, "score": ScoreSettings(), "settings": AugmentSettings()}
    sets = {ScoreSet("large", "cues"): scores}
    for folder, read in {
        scores: lambda: read_scores(scores),
        texts: lambda: find_source(texts),
        old_run / "models" / "random" / "seed-0": lambda: Stage(old_run / "models" / "random" / "seed-0", {}).check(),
    }.items():
        with pytest.raises(ElusiveError, match=f"^{folder} was {OLD}"):
            read()
    with pytest.raises(ElusiveError, match=f"^{scores} was {OLD}"):
        augment_corpus([Document("a", "b")], tmp_path / "new", "random", sets, **options)
    with pytest.raises(ElusiveError, match=f"^{texts} was {OLD}"):
        find_source(old_run, "random")
    assert not (tmp_path / "new").exists()


def test_the_command_line_refuses_scores_of_0_1(old_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["augment", str(old_run / "corpus"), "--output", str(old_run / "new"), "--arm", "random"]
    with pytest.raises(SystemExit):
        main([*command, "--large", str(old_run / "scores" / "large-cues")])
    assert OLD in " ".join(capsys.readouterr().err.split())


def test_a_model_trained_by_0_1_is_refused_where_its_settings_are_read(tmp_path: Path) -> None:
    write_json(tmp_path / "settings.json", {"model": "elusive/large", "texts": "hash", "train": {}})
    with pytest.raises(ElusiveError, match=f"^{tmp_path} was {OLD}"):
        known_questions("auto", str(tmp_path))


def test_a_corpus_of_0_1_is_read(old_run: Path, tmp_path: Path) -> None:
    corpus = make_corpus(CorpusSettings(source=str(old_run / "corpus")), tmp_path / "new")
    assert [document.id for document in corpus.documents] == ["a"]


def test_folders_of_a_later_version_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "settings.json", {"format": 3})
    with pytest.raises(ElusiveError, match=r"expected folders of format 2, got 3\. Update Elusive"):
        stage_settings(tmp_path)


def test_new_folders_say_their_format(tmp_path: Path) -> None:
    with Stage(tmp_path, {"arm": "plain"}):
        pass
    assert stage_settings(tmp_path) == {"format": 2, "arm": "plain"}
    shutil.rmtree(tmp_path)
    with pytest.raises(ElusiveError, match=r"settings\.json is missing"):
        stage_settings(tmp_path)
