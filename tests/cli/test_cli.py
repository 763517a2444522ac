"""The command: what it loads, what it refuses, and how it says so."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

import elusive
from elusive.cli.main import main
from elusive.config.run import Recipe
from elusive.config.toml import load_recipe
from elusive.config.verbs import PretrainSettings, SweepRecipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
HEAVY = ("torch", "transformers", "peft", "pyarrow", "matplotlib", "numpy", "datasets", "spacy", "httpx2")


def stopped(capsys, *arguments):
    """The message on standard error of a command that ends with code 2."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    message = capsys.readouterr().err
    assert stop.value.code == 2, message
    assert "Traceback" not in message
    assert len(message.splitlines()) < 40
    return message


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["score", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys; from elusive.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"sys.exit(' '.join(name for name in {HEAVY} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy():
    code = f"import elusive, sys; sys.exit(' '.join(name for name in {HEAVY} if name in sys.modules) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_resolves():
    for name in elusive.__all__:
        assert getattr(elusive, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = elusive.nothing


def test_there_are_recipes():
    assert {path.stem for path in RECIPES} >= {"demo", "squad", "sweep", "embedded-large", "embedded-small"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(path):
    kind = PretrainSettings if path.stem.startswith("embedded-") else SweepRecipe if path.stem == "sweep" else Recipe
    load_recipe(path, kind)


def test_an_unknown_verb_lists_the_known_ones(capsys):
    assert "Expected a verb (run, sweep, reproduce, generate," in stopped(capsys, "scroe")


def test_a_missing_recipe(capsys, tmp_path):
    assert "No recipe at" in stopped(capsys, "run", str(tmp_path / "no.toml"))
    assert "Expected a recipe: elusive run RECIPE.toml" in stopped(capsys, "run")


def test_an_unknown_key_names_the_nearest(capsys, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[augment]\nalhpa = 0.5\n")
    assert "unknown key 'alhpa'. Did you mean 'alpha'?" in stopped(capsys, "run", str(recipe))


def test_alpha_outside_its_range(capsys, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[augment]\nalpha = 1.5\n")
    assert "augment.alpha: expected a probability in [0, 1], got 1.5" in stopped(capsys, "run", str(recipe))
    recipe.write_text("")
    message = stopped(capsys, "run", str(recipe), "--augment.alpha", "1.5")
    in_a_box = " ".join(word for word in message.split() if word != "│")
    assert "augment.alpha: expected a probability in [0, 1], got 1.5" in in_a_box


def test_a_corpus_without_spans_cannot_be_read_at_cues(capsys, tmp_path):
    (tmp_path / "text.txt").write_text("Nothing is marked here.")
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'output = "{tmp_path}/run"\n[corpus]\nsource = "{tmp_path}/text.txt"\n')
    assert "no document has any span" in stopped(capsys, "run", str(recipe))


def test_a_full_disk_is_said_in_words_and_loses_nothing(capsys, tmp_path, monkeypatch):
    main(["generate", "--output", str(tmp_path / "first"), "--people", "2"])
    before = (tmp_path / "first" / "documents.jsonl").read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    message = stopped(capsys, "generate", "--output", str(tmp_path / "second"), "--people", "3")
    assert "The disk is full" in message
    assert "Free some space and run the same command again" in message
    assert (tmp_path / "first" / "documents.jsonl").read_bytes() == before
    assert not list((tmp_path / "second").glob("*.jsonl"))


def test_the_same_folder_is_not_used_for_other_settings(capsys, tmp_path):
    main(["generate", "--output", str(tmp_path / "c"), "--people", "2"])
    message = stopped(capsys, "generate", "--output", str(tmp_path / "c"), "--people", "3")
    assert "corpus.people: was 2, now 3" in message
