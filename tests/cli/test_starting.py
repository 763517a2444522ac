"""What a newcomer begins with: presets, completion, and the flags of every verb."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from elusive.cli import table
from elusive.cli.completing import flags_of_verb, script
from elusive.cli.main import main
from elusive.config.run import Recipe
from elusive.config.shipped import FOLDER, shipped_recipes
from elusive.config.toml import load_recipe
from elusive.planning.published import presets

from .test_cli import modules_loaded_by, stopped


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "pair"), presets().items())
def test_a_preset_is_a_recipe_that_says_what_the_pair_is_and_takes(capsys, tmp_path, name, pair):
    main(["init", name])
    assert f"elusive run {name}.toml --plan" in capsys.readouterr().out
    text = (tmp_path / f"{name}.toml").read_text()
    recipe = load_recipe(tmp_path / f"{name}.toml", Recipe)
    assert (recipe.models.large.name, recipe.models.small.name) == (pair.large, pair.small)
    head = text.partition("\n\n")[0]
    assert head.startswith(f"#:schema {(FOLDER / 'recipe.schema.json').as_uri()}\n")
    assert head.count("licence ") - head.count("the licence ") == 2
    assert ("hf auth login" in head) == pair.large.startswith(("google/", "meta-llama/"))
    for stage in ("score", "train", "evaluate"):
        assert any(line.startswith(f"#   {stage} ") and " GB " in line for line in head.splitlines())
    assert recipe.augment.across_tokenizers == (name == "smollm3")


def test_the_figures_of_a_preset_are_those_of_the_plan(tmp_path):
    main(["init", "pythia"])
    lines = (tmp_path / "pythia.toml").read_text().splitlines()
    (train,) = (line.split() for line in lines if line.startswith("#   train "))
    # 1.4 billion weights of 4 bytes, their bf16 casts, and what 8 texts of 300 tokens keep: 5.7 + 2.6 GB and more.
    assert 8.3 < float(train[2]) < 20
    (large,) = (line for line in lines if line.startswith("#   large "))
    assert "1.4B parameters  licence apache-2.0" in large


def test_a_recipe_that_ships_is_written_as_it_is(tmp_path):
    main(["init", "squad", "mine.toml"])
    written = (tmp_path / "mine.toml").read_text().partition("\n")[2]
    assert written == shipped_recipes()["squad"].read_text().partition("\n")[2]


def test_without_a_preset_it_is_the_demo(tmp_path):
    main(["init"])
    assert load_recipe(tmp_path / "demo.toml", Recipe) == load_recipe("demo", Recipe)


def test_nothing_is_overwritten_unasked(capsys, tmp_path):
    (tmp_path / "qwen3.toml").write_text("mine")
    assert "qwen3.toml is there already, and was left as it is." in stopped(capsys, "init", "qwen3")
    assert (tmp_path / "qwen3.toml").read_text() == "mine"
    main(["init", "qwen3", "--overwrite"])
    assert "Qwen/Qwen3-8B-Base" in (tmp_path / "qwen3.toml").read_text()


def test_an_unknown_preset_names_the_nearest_and_all(capsys):
    message = stopped(capsys, "init", "olmo")
    assert "Did you mean 'olmo2'?" in message
    assert all(name in message for name in (*presets(), *shipped_recipes()))


def test_the_help_page_names_every_preset():
    _, page = modules_loaded_by("init", "--help")
    words = " ".join(page.replace("│", " ").split())
    assert all(f"{name}," in words or f"{name}." in words for name in (*presets(), *shipped_recipes()))


def test_a_recipe_of_the_package_goes_by_its_name_and_a_file_of_that_name_comes_first(tmp_path):
    assert load_recipe("demo", Recipe).corpus.people == 100
    (tmp_path / "demo").write_text("[corpus]\npeople = 7\n")
    assert load_recipe("demo", Recipe).corpus.people == 7


def test_a_yaml_recipe_is_refused_with_what_to_write(capsys, tmp_path):
    (tmp_path / "r.yaml").write_text("train:\n  seed: 1\n")
    message = stopped(capsys, "run", "r.yaml")
    assert "Recipes are TOML, and YAML is not read: write [train] and seed = 1 for train: and seed: 1." in message


# ---- --json, --quiet, --verbose


def test_json_is_one_document_on_standard_output(capsys):
    main(["generate", "--output", "corpus", "--people", "2", "--json"])
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (document["verb"], document["result"]["documents"], document["result"]["questions"]) == ("generate", 2, 10)
    assert "2 documents, 10 questions" in printed.err
    main(["generate", "--json", "--quiet", "--output", "corpus", "--people", "2"])
    printed = capsys.readouterr()
    assert json.loads(printed.out) == document
    assert printed.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scroe"], "Did you mean 'score'?"),
        (["run", "none.toml"], "No recipe at none.toml."),
        (["score", "c", "--output", "o", "--modle", "m"], "--modle"),
        (["score", "c", "--output", "o", "--max-length", "many"], "many"),
        (["export", "nothing", "--output", "o", "--licence", ""], "export.licence: expected a licence"),
    ],
)
def test_an_error_is_a_document_too(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--json"])
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert stop.value.code == document["error"]["exit_code"] == 2
    assert words in document["error"]["message"]
    assert words in printed.err
    assert "─" not in document["error"]["message"]


def test_settings_as_json(capsys):
    main(["settings", "train.learning_rate", "--json"])
    (section,) = json.loads(capsys.readouterr().out)["result"]["sections"]
    assert section["settings"][0]["default"] == "0.0005"


def test_verbose_shows_where_an_error_came_from(capsys):
    with pytest.raises(SystemExit):
        main(["run", "none.toml", "--verbose"])
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", "none.toml"])
    assert "Traceback" not in capsys.readouterr().err


def test_a_flag_that_is_unknown_names_the_nearest(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--questoins", "q"])
    assert "unknown flag --questoins. Did you mean --questions?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["evaluate", "--jsn"])
    assert "unknown flag --jsn. Did you mean --json?" in capsys.readouterr().err


# ---- what a verb loads


def test_verbs_that_run_no_model_load_no_torch(tmp_path):
    main(["generate", "--output", "corpus", "--people", "2"])
    for size in ("large", "small"):
        main(["score", "corpus", "--output", size, "--model", f"elusive/{size}"])
    for command in (
        "init qwen3",
        "settings train",
        "completion bash",
        "generate --output people --people 2",
        "questions corpus --engine cloze --output asked",
        "augment corpus --large large --small small --output texts --copies 1",
    ):
        loaded, _ = modules_loaded_by(*command.split())
        assert loaded.isdisjoint({"torch", "peft", "accelerate", "matplotlib"}), command


# ---- completion


def completed(script_path, *words):
    """What bash offers behind these words."""
    code = (
        f'source {script_path}; COMP_WORDS=(elusive "$@"); COMP_CWORD=$#; _elusive; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", code, "bash", *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_verbs_flags_presets_and_settings(tmp_path):
    path = tmp_path / "complete.sh"
    path.write_text(script("bash"))
    assert completed(path, "re") == ["report", "recall", "reproduce"]
    assert completed(path, "score", "--mo") == ["--model"]
    assert completed(path, "init", "qw") == ["qwen2.5", "qwen3"]
    assert completed(path, "run", "demo", "--set", "train.learning") == ["train.learning_rate="]
    assert completed(path, "run", "demo", "--pl") == ["--plan"]
    assert completed(path, "export", "--js") == ["--json"]
    assert completed(path, "run", "comp") == ["complete.sh"]


def test_zsh_completes_by_the_same_function(tmp_path):
    """As bashcompinit calls it; this `compgen` gives all words, whatever they begin with."""
    zsh = found("zsh")
    (tmp_path / "complete.sh").write_text(script("zsh"))
    calls = """
        compgen() { if [ "$1" = -W ]; then echo "$2"; fi }
        compopt() { : }
        autoload() { false }
        complete() { : }
        source $1
        emulate ksh
        COMP_WORDS=(elusive run demo --set train.learning); COMP_CWORD=4
        _elusive && echo "${COMPREPLY[@]}"
    """
    ended = subprocess.run(
        [zsh, "-f", "-c", calls, "zsh", str(tmp_path / "complete.sh")], capture_output=True, text=True, check=True
    )
    assert not ended.stderr
    assert {"train.learning_rate=", "augment.alpha="} <= set(ended.stdout.split())


def test_fish_completes_verbs_flags_presets_and_settings(tmp_path):
    fish = found("fish")
    (tmp_path / "complete.fish").write_text(script("fish"))
    for line, offered in (
        ("elusive re", ["recall", "report", "reproduce"]),
        ("elusive score --mo", ["--model"]),
        ("elusive init qw", ["qwen2.5", "qwen3"]),
        ("elusive run demo --set train.learning", ["train.learning_rate="]),
    ):
        words = f"source {tmp_path / 'complete.fish'}; complete -C '{line}'"
        ended = subprocess.run([fish, "--no-config", "-c", words], capture_output=True, text=True, cwd=tmp_path)
        assert sorted(one.split("\t")[0] for one in ended.stdout.splitlines()) == offered, ended.stderr


def found(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_learns_every_verb(capsys, shell):
    main(["completion", shell])
    printed = capsys.readouterr().out
    assert all(f" {verb}" in printed for verb in table.VERBS)
    assert "excluded-tokens" in printed


def test_the_flags_of_a_verb_are_those_that_it_takes():
    assert flags_of_verb("run")[:3] == ["--output", "--set", "--plan"]
    assert "--plan" not in flags_of_verb("pretrain")
    assert {"--questions", "--model", "--json"} <= set(flags_of_verb("train"))


# ---- while torch loads


def test_a_terminal_says_what_is_waited_for(tmp_path):
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    code = "from elusive.runs.terminal import note, waiting\nwith waiting('loading torch ...'):\n    note('loaded')\n"
    subprocess.run([sys.executable, "-c", code], stderr=child, check=True)
    os.close(child)
    assert os.read(parent, 1000).decode() == "loading torch ...\r\x1b[Kloaded\r\n"
    os.close(parent)
