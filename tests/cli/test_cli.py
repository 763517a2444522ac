"""The command: what it loads, what it refuses, and how it says so."""

import errno
import importlib
import os
import subprocess
import sys
import tomllib

import pytest

import elusive
from elusive.cli import table
from elusive.cli.main import main
from elusive.cli.recipes import recipe_from
from elusive.config.run import Recipe
from elusive.config.shipped import shipped_recipes
from elusive.config.toml import load_recipe
from elusive.config.verbs import PretrainSettings, SweepRecipe

RECIPES = list(shipped_recipes().values())
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


def modules_loaded_by(*arguments):
    """The modules that a command imports, and what it prints."""
    code = (
        "import sys; from elusive.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split()), done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"]])
def test_the_front_page_loads_itself_alone(arguments):
    loaded, printed = modules_loaded_by(*arguments)
    assert printed.strip()
    assert {name for name in loaded if name.startswith("elusive")} == {
        "elusive",
        "elusive.cli",
        "elusive.cli.main",
        "elusive.cli.table",
        "elusive.errors",
        "elusive.messages",
        "elusive.models",
        "elusive.models.processes",
        "elusive.runs",
        "elusive.runs.stopping",
        "elusive.runs.terminal",
    }
    assert loaded.isdisjoint({*HEAVY, "tyro", "rich", "argparse", "dataclasses", "inspect"})


def test_an_unknown_verb_loads_neither_settings_nor_tyro():
    code = "import sys; from elusive.cli.main import main\ntry: main(['scroe'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert {"tyro", "elusive.config.run", *HEAVY}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("verb", table.VERBS)
def test_help_of_a_verb_loads_nothing_heavy_and_fits_80_columns(verb):
    loaded, printed = modules_loaded_by(verb, "--help")
    assert loaded.isdisjoint(HEAVY)
    assert f"usage: elusive {verb}" in printed
    # tyro does not wrap the line of the usage; a terminal does.
    assert max(map(len, printed.splitlines()[1:])) <= 80


@pytest.mark.parametrize("where", ["--bogus{}", "--max-length={}", "--large.{}=1"])
def test_arguments_that_are_refused_are_shown_without_control_characters(capsys, where):
    printed = stopped(capsys, "score", "c", "--output", "o", "--model", "m", where.format("\x1b[2J\u202e5"))
    assert "\\x1b[2J\\u202e5" in printed
    assert printed.replace("\n", "").isprintable()


def test_a_huge_argument_that_is_refused_fits_on_a_screen(capsys):
    printed = stopped(capsys, "score", "c", "--output", "o", "--model", "m", "--" + "x" * 5000)
    assert "characters] ..." in printed or "lines] ..." in printed
    assert len(printed) < 4000


# ---- the table of verbs


def test_the_front_page_fits_80_columns_and_groups_every_verb():
    lines = table.usage().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 42
    assert {line.split()[0] for line in lines if line.startswith("  ")} == {
        *table.VERBS,
        *table.OUTPUT_FLAGS,
        "elusive",
    }


@pytest.mark.parametrize(("name", "verb"), table.VERBS.items())
def test_a_summary_is_the_first_line_of_its_function(name, verb):
    module, _, function = verb.function.partition(":")
    doc = getattr(importlib.import_module(f"elusive.cli.{module}"), function).__doc__
    assert verb.summary == doc.splitlines()[0]
    assert len(f"  {name:10} {verb.summary}") <= 80


def test_importing_the_package_loads_nothing_heavy():
    code = f"import elusive, sys; sys.exit(' '.join(name for name in {HEAVY} if name in sys.modules) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_resolves():
    for name in elusive.__all__:
        assert getattr(elusive, name) is not None
    name = "nothing"  # not written out: checkers know that it is missing
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(elusive, name)


def test_there_are_recipes():
    assert {path.stem for path in RECIPES} >= {"demo", "squad", "sweep", "embedded-large", "embedded-small"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(path):
    kind = PretrainSettings if path.stem.startswith("embedded-") else SweepRecipe if path.stem == "sweep" else Recipe
    load_recipe(path, kind)


def test_an_unknown_verb_names_the_nearest_or_all(capsys):
    assert "Expected a verb, got 'scroe'. Did you mean 'score'?" in stopped(capsys, "scroe")
    assert "Expected a verb, got 'xyz'. Verbs: demo, init, run, settings, learn," in stopped(capsys, "xyz")


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
    message = stopped(capsys, "run", str(recipe), "--set", "augment.alpha=1.5")
    assert message == "elusive: augment.alpha: expected a probability in [0, 1], got 1.5.\n"


# ---- what the command line changes in a recipe


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('title = "Mine"\n[train]\nseed = 3\nlearning_rate = 1e-3\n')
    return str(path)


def test_set_takes_any_setting_and_output_the_folder(recipe):
    changed = ["--set", "train.learning_rate=1e-4", "arms=[plain, random]", "--set", "corpus.source=a b.jsonl"]
    for arguments in ([recipe, "--output", "there", *changed], ["--output", "there", recipe, *changed]):
        settings = recipe_from("run", Recipe, arguments)
        assert (settings.output, settings.title, settings.train.seed) == ("there", "Mine", 3)
        assert (settings.train.learning_rate, settings.arms) == (1e-4, ("plain", "random"))
        assert settings.corpus.source == "a b.jsonl"


def test_set_reaches_a_grid_and_the_recipe_of_a_model(recipe, tmp_path):
    grid = ['sweep.grid."train.learning_rate"=[5e-4, 1e-3]', "sweep.keep=answers"]
    assert recipe_from("sweep", SweepRecipe, [recipe, "--set", *grid]).sweep.grid == {
        "train.learning_rate": [5e-4, 1e-3]
    }
    (tmp_path / "p.toml").write_text("layers = 1")
    settings = recipe_from("pretrain", PretrainSettings, [str(tmp_path / "p.toml"), "--set", "hidden_size=16"])
    assert (settings.layers, settings.hidden_size) == (1, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "augment.alhpa=0.5"], "r.toml with --set: augment: unknown key 'alhpa'. Did you mean 'alpha'?"),
        (["--set", "augment.alpha=much"], "r.toml with --set: augment: alpha: expected float, got 'much'."),
        (["--set", "title.x=1"], "title.x: expected title to be a table of settings, got 'Mine'."),
        (["--set", "train"], "Expected SECTION.KEY=VALUE, e.g. train.learning_rate=1e-4, got 'train'."),
        (["--set"], "Argument --set: expected at least one argument. `elusive run --help`"),
        (["other.toml"], "`elusive run` takes one recipe, got 'other.toml' too."),
        (["--outptu", "x"], "Unknown flag --outptu. `elusive run` takes --output and --set KEY=VALUE. Did you mean"),
        (["--arms", "plain", "random"], """Write: elusive run {recipe} --set 'arms=["plain", "random"]'"""),
        (["--seeds", "0"], "(got --seeds). Write: elusive run {recipe} --set 'seeds=[0]'"),
        (
            ["--train.learning-rate", "1e-4", "--train.no-packing", "--parallel=2"],
            "Write: elusive run {recipe} --set train.learning_rate=1e-4 train.packing=false parallel=2\n",
        ),
        (["--train.renamed-since", "x"], "Write: elusive run {recipe} --set train.renamed_since=x\n"),
        (["--evaluate.vllm", '{"a": [1]}'], "--set 'evaluate.vllm={a = [1]}'"),
    ],
)
def test_what_cannot_be_set_is_refused_and_old_flags_are_translated(recipe, capsys, arguments, message):
    assert message.replace("{recipe}", recipe) in stopped(capsys, "run", recipe, *arguments)


def test_a_recipe_that_does_not_come_first(recipe, capsys):
    message = stopped(capsys, "run", "--set", "title=x", recipe)
    assert f"It comes first: elusive run {recipe} --set ..." in message


# ---- settings in words


def test_settings_are_listed_and_explained(capsys):
    main(["settings"])
    printed = capsys.readouterr().out
    assert "[corpus]    source, format," in printed
    main(["settings", "train.learning_rate"])
    assert capsys.readouterr().out == "train.learning_rate = 0.0005\n    Peak learning rate. (number)\n"
    for name in ("top", "augment", "models", "sweep", "pretrain"):
        main(["settings", name])
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    main(["settings", "arms"])
    default = tomllib.loads(capsys.readouterr().out.partition("    What is compared")[0])
    assert default == {"arms": list(Recipe().arms)}
    assert "Did you mean 'train.learning_rate'?" in stopped(capsys, "settings", "learning_rate")
    assert "Did you mean 'augment'?" in stopped(capsys, "settings", "augmnt")


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
