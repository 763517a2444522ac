"""The whole way through on the embedded pair, small: each verb alone, a recipe, and what a second run does."""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from elusive.cli.main import main
from elusive.config.corpus import CorpusSettings
from elusive.config.models import ModelRef, Models
from elusive.config.run import Recipe
from elusive.config.scoring import ScoreSettings
from elusive.config.toml import load_recipe
from elusive.config.verbs import PretrainSettings
from elusive.corpus.stage import make_corpus
from elusive.errors import ElusiveError
from elusive.evaluation import known
from elusive.evaluation.known import known_questions
from elusive.experiments.needs import cue_field, needed_scores
from elusive.models.loading import load_model, load_tokenizer
from elusive.pipeline import _score
from elusive.runs.files import read_json, read_jsonl, write_jsonl
from elusive.runs.folder import RunFolder
from elusive.scoring.sets import ScoreSet, pair_sets
from elusive.scoring.shards import read_scores
from elusive.training.pretraining import pretrain

ROOT = Path(__file__).parents[2]
ARMS = ("plain", "random", "random-matched", "attention", "distance", "query-distance", "contrast-all", "contrast-cues")
RECIPE = f"""
title = "All arms"
arms = {json.dumps(ARMS)}
parallel = 2
[corpus]
people = 6
[augment]
copies = 2
[train]
max_steps = 2
replay = "pretraining"
[evaluate]
max_batch_tokens = 4096
"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of every arm with adapters, two steps each."""
    folder = tmp_path_factory.mktemp("all")
    # Ten of the 500 questions that the model is asked about what it knew before.
    write_jsonl(folder / "known.jsonl", [item.__dict__ for item in known_questions("auto", "elusive/large")[::50]])
    setting = f'known = "{folder / "known.jsonl"}"\n'
    (folder / "recipe.toml").write_text(f'output = "{folder / "run"}"\n{RECIPE}{setting}')
    main(["run", str(folder / "recipe.toml")])
    return folder / "run"


def test_a_run_leaves_every_file_that_the_stages_promise(run_folder):
    assert load_recipe(run_folder / "recipe.toml", Recipe).arms == ARMS
    assert len(list(read_jsonl(run_folder / "corpus" / "documents.jsonl"))) == 6
    for name in ("large-cues", "small-cues", "large-all", "small-all", "large-cue-company", "small-cue-company"):
        assert pq.read_table(run_folder / "scores" / name / "part-00000.parquet").num_rows == 6
    for arm in ARMS:
        rows = list(read_jsonl(run_folder / "augmented" / arm / "train.jsonl"))
        assert len(rows) == (6 if arm == "plain" else 18)
        assert pq.read_table(run_folder / "augmented" / arm / "train.parquet").to_pylist() == rows
        assert read_json(run_folder / "models" / arm / "seed-0" / "done.json")["steps"] == 2
        answers = run_folder / "evaluation" / arm / "seed-0"
        assert len(list(read_jsonl(answers / "predictions.jsonl"))) == 30
        assert len(list(read_jsonl(answers / "known" / "predictions.jsonl"))) == 10
    page = (run_folder / "report" / "index.html").read_text()
    assert "All arms" in page
    assert set(read_json(run_folder / "run.json")) >= {"elusive", "torch", "transformers", "python"}


def test_guided_arms_and_matched_random_drop_at_one_rate_and_random_at_alpha(run_folder):
    rates = {arm: read_json(run_folder / "augmented" / arm / "done.json")["mean_drop_rate"] for arm in ARMS}
    assert rates["plain"] == 0
    guided = [
        rates[arm]
        for arm in ("random-matched", "attention", "distance", "query-distance", "contrast-all", "contrast-cues")
    ]
    assert max(guided) - min(guided) < 0.05
    assert rates["random"] == pytest.approx(0.6, abs=0.05)


def test_a_second_run_does_nothing_again(run_folder, monkeypatch):
    def fail(*args, **options):
        raise AssertionError("a done stage loaded a model")

    monkeypatch.setattr("elusive.training.stage.load_model", fail)
    monkeypatch.setattr("elusive.models.loading.load_model", fail)
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*.safetensors")}
    assert before
    main(["run", str(run_folder / "recipe.toml")])
    assert {path: path.stat().st_mtime_ns for path in run_folder.rglob("*.safetensors")} == before


def test_other_settings_are_refused_and_the_old_recipe_stays(run_folder, capsys):
    before = (run_folder / "recipe.toml").read_text()
    with pytest.raises(SystemExit) as stop:
        main(["run", str(run_folder / "recipe.toml"), "--set", "augment.alpha=0.3"])
    assert stop.value.code == 2
    assert "augment.alpha: was 0.6, now 0.3" in capsys.readouterr().err
    assert (run_folder / "recipe.toml").read_text() == before


def test_arms_give_the_same_wherever_they_run(run_folder, tmp_path):
    """One after another in this process: the same weights to the bit, and answers, as side by side in others."""
    main(
        [
            *("run", str(run_folder / "recipe.toml"), "--output", str(tmp_path / "run"), "--set", "parallel=1"),
            "arms=[plain, contrast-cues]",
        ]
    )
    for arm in ("plain", "contrast-cues"):
        one, other = (
            [row["text"] for row in read_jsonl(folder / "evaluation" / arm / "seed-0" / "predictions.jsonl")]
            for folder in (run_folder, tmp_path / "run")
        )
        assert one == other
        one, other = (
            (folder / "models" / arm / "seed-0" / "adapter_model.safetensors").read_bytes()
            for folder in (run_folder, tmp_path / "run")
        )
        assert one == other


def test_two_models_whose_tokens_differ_are_refused(tokenizer, tmp_path, capsys):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    (tmp_path / "r.toml").write_text(f'output = "{tmp_path}/run"\narms = ["contrast-cues"]\n[corpus]\npeople = 2\n')
    with pytest.raises(SystemExit) as stop:
        main(["run", str(tmp_path / "r.toml"), "--set", f"models.small.name={tmp_path / 'other'}"])
    assert stop.value.code == 2
    assert "The two models split document 'person-00001' into different tokens" in capsys.readouterr().err


def test_two_models_whose_tokens_differ_are_contrasted_where_that_is_asked_for(tokenizer, tmp_path, capsys):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    main(["generate", "--output", str(tmp_path / "corpus"), "--people", "3"])
    corpus, other = str(tmp_path / "corpus"), str(tmp_path / "other")
    for name, model in (("large", "elusive/large"), ("small", other)):
        main(["score", corpus, "--output", str(tmp_path / name), "--model", model])
    flags = [corpus, "--large", str(tmp_path / "large"), "--small", str(tmp_path / "small"), "--copies", "1"]
    with pytest.raises(SystemExit):
        main(["augment", *flags, "--output", str(tmp_path / "refused")])
    assert "or set augment.across_tokenizers = true (--across-tokenizers)" in capsys.readouterr().err
    main(["augment", *flags, "--output", str(tmp_path / "augmented"), "--across-tokenizers"])
    assert len(list(read_jsonl(tmp_path / "augmented" / "train.jsonl"))) == 6
    with pytest.raises(SystemExit):
        main(["recall", corpus, "--small", other])
    assert "into different tokens" in capsys.readouterr().err
    main(["recall", corpus, "--small", other, "--across-tokenizers"])
    assert "contrast minus large" in capsys.readouterr().out


def test_scores_read_in_two_ways_are_not_contrasted(tmp_path, capsys):
    main(["generate", "--output", str(tmp_path / "corpus"), "--people", "2"])
    corpus = str(tmp_path / "corpus")
    main(["score", corpus, "--output", str(tmp_path / "large"), "--renormalise"])
    for name, flags in (("small", ()), ("other", ("--renormalise", "--excluded-tokens", "!"))):
        main(["score", corpus, "--output", str(tmp_path / name), "--model", "elusive/small", *flags])
    reasons = {
        "small": "were scored in two ways (renormalise: True and False)",
        "other": "was renormalised without ['!'], but score.excluded_tokens is ['.', ',']",
    }
    for name, reason in reasons.items():
        folders = ["--large", str(tmp_path / "large"), "--small", str(tmp_path / name)]
        with pytest.raises(SystemExit):
            main(["augment", corpus, *folders, "--output", str(tmp_path / "a")])
        assert reason in capsys.readouterr().err


def uncorrected(row):
    kept = {name: one | {"p_adjusted": None, "separated": None} for name, one in row["differences"].items()}
    return row | {"differences": kept}


def test_clue_recall_of_a_pair_and_of_its_run_agree(run_folder, tmp_path, capsys):
    corpus = str(run_folder / "corpus")
    main(["recall", corpus, "--output", str(tmp_path / "recall")])
    printed = capsys.readouterr().out
    found, page = read_json(tmp_path / "recall" / "recall.json"), (run_folder / "report" / "index.html").read_text()
    assert list(found["rows"]) == ["all cues", "date", "city", "university", "major", "company"]
    assert [line.split("  ")[0] for line in printed.splitlines() if "]  ." in line] == list(found["rows"])
    in_report = read_json(run_folder / "report" / "results.json")["clue_recall"]
    for row in ("all cues", "company"):
        # Tables of two rows and of six: corrected for another number of comparisons.
        assert uncorrected(in_report["rows"][row]) == uncorrected(found["rows"][row])
    assert "Clue recall@10, with 95% intervals" in (run_folder / "report" / "results.md").read_text()
    assert "Clue recall: how many of the name tokens are among the 10 best ranked" in page
    # Six people, four sentences each without the name; a finder knows no more than the marks.
    assert found["clues"]["insert-head"] == {"clues": 24, "right": 24}
    assert 0 < found["clues"]["insert-contrast"]["right"] <= found["clues"]["insert-contrast"]["clues"] <= 24
    assert all(sentence in printed for sentence in found["advice"])
    # Begun again, nothing is scored; other settings are refused.
    main(["recall", corpus, "--output", str(tmp_path / "recall"), "--k", "3"])
    assert read_json(tmp_path / "recall" / "recall.json")["rows"]["all cues"]["large"]["head_share"] <= 1
    with pytest.raises(SystemExit):
        main(["recall", corpus, "--output", str(tmp_path / "recall"), "--renormalise"])
    assert "renormalise: was False, now True" in capsys.readouterr().err


def test_heads_that_are_chosen_go_into_a_recipe(run_folder, tmp_path, capsys):
    main(["heads", str(run_folder / "corpus"), "--output", str(tmp_path / "heads"), "--k", "5"])
    printed = capsys.readouterr().out
    found = read_json(tmp_path / "heads" / "heads.json")
    assert found["documents"] == [3, 3]
    assert len(found["own"]["ranked"]) == 4 + 16, "every layer and every head of the large model"
    assert found["own"]["ranked"][0]["first_half"] >= found["own"]["ranked"][-1]["first_half"]
    assert found["own"]["first_half"] >= found["own"]["all_heads"]["first_half"]
    stanza = printed.split("for a recipe:\n")[-1].split("\n\n")[0]
    stanza = "\n".join(line.strip() for line in stanza.splitlines())
    recipe = f'output = "{tmp_path}/run"\narms = ["contrast-cues"]\n[corpus]\npeople = 2\n[train]\nmax_steps = 1\n'
    (tmp_path / "r.toml").write_text(recipe + stanza + "\n")
    chosen = load_recipe(tmp_path / "r.toml", Recipe).models
    contrast = found["contrast"]
    assert list(chosen.large.heads) == contrast["large"]["heads"]
    assert list(chosen.large.layers) == contrast["large"]["layers"]
    assert list(chosen.small.heads) == contrast["small"]["heads"]
    # Read again at just these heads, the whole corpus gives what the two halves gave together.
    flags = []
    for side in ("large", "small"):
        for kind in ("layers", "heads"):
            flags += [f"--{side}.{kind}", *map(str, contrast[side][kind])] if contrast[side][kind] else []
    main(["recall", str(run_folder / "corpus"), "--output", str(tmp_path / "recall"), "--k", "5", *flags])
    again = read_json(tmp_path / "recall" / "recall.json")["rows"]["all cues"]["contrast"]["value"]
    assert again == pytest.approx((contrast["first_half"] + contrast["second_half"]["value"]) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--k", "0"], "k: expected at least 1, got 0"),
        (["--queries", "all"], "read at cues: expected score.queries = cues, got 'all'"),
        (
            ["--head-fields", "title"],
            "needs spans of a head entity (title) before the answers, and no document has any",
        ),
        (["--large.layers", "4"], "Expected layers from 0 to 3 of LlamaForCausalLM, got 4"),
        (["--small.heads", "1.2"], "2 layers of 2 query heads (0.0 to 1.1), got '1.2'"),
    ],
)
def test_what_recall_cannot_measure_is_refused(run_folder, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        main(["recall", str(run_folder / "corpus"), *flags])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_single_heads_are_scored_and_kept_where_asked_for(run_folder, tmp_path):
    corpus = str(run_folder / "corpus")
    main(["score", corpus, "--output", str(tmp_path / "all"), "--per-head"])
    main(["score", corpus, "--output", str(tmp_path / "some"), "--layers", "1", "--heads", "3.1"])
    for every, some in zip(read_scores(tmp_path / "all"), read_scores(tmp_path / "some"), strict=True):
        assert every.per_head is not None
        chosen = [*every.per_head[1], every.per_head[3, 1]]
        assert some.scores == pytest.approx(sum(chosen) / 5, abs=1e-6)
        assert some.per_head is None


def test_a_run_reads_each_model_at_its_own_heads(tmp_path):
    recipe = Recipe(
        arms=("contrast-cues",),
        corpus=CorpusSettings(people=2),
        models=Models(
            large=ModelRef("elusive/large", layers=(1,)),
            small=ModelRef("elusive/small", heads=("0.1", "1.0")),
            other=ModelRef("elusive/small"),
            trained="other",
        ),
        score=ScoreSettings(renormalise=True, excluded_tokens=(".",)),
    )
    corpus = make_corpus(recipe.corpus, tmp_path / "corpus")
    _score(recipe, corpus, RunFolder(tmp_path), needed_scores(recipe, corpus.documents))
    for name, layers, heads in (
        ("large-cues", [1], []),
        ("large-cue-company", [1], []),
        ("small-cues", [], ["0.1", "1.0"]),
        ("small-cue-company", [], ["0.1", "1.0"]),
        ("other-cues", [], []),  # neither large nor small
    ):
        asked = read_json(tmp_path / "scores" / name / "settings.json")
        assert (asked["layers"], asked["heads"], asked["renormalise"]) == (layers, heads, True)
        assert asked["excluded_tokens"] == ["."]


def test_scores_of_another_corpus_are_refused(run_folder, tmp_path, capsys):
    main(["generate", "--output", str(tmp_path / "other"), "--people", "6", "--seed", "5"])
    scores = run_folder / "scores"
    flags = ["--large", str(scores / "large-cues"), "--small", str(scores / "small-cues")]
    main(["augment", str(run_folder / "corpus"), *flags, "--output", str(tmp_path / "right")])
    with pytest.raises(SystemExit) as stop:
        main(["augment", str(tmp_path / "other"), *flags, "--output", str(tmp_path / "wrong")])
    assert stop.value.code == 2
    assert "holds scores of another corpus" in capsys.readouterr().err


def test_questions_of_a_squad_file_go_all_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "PEOPLE_OF_EACH_KIND", 1)
    context = "The Amazon is a river. It flows through Brazil, and its mouth was seen by Pinzon in 1500."
    answer = {"text": "Brazil", "answer_start": context.index("Brazil")}
    paragraph = {
        "context": context,
        "qas": [{"id": "q1", "question": "Through which land does the Amazon flow?", "answers": [answer]}],
    }
    squad = {
        "version": "1.1",
        "data": [{"title": "Amazon", "paragraphs": [paragraph, paragraph | {"context": "x" * 9, "qas": []}]}],
    }
    (tmp_path / "s.json").write_text(json.dumps(squad))
    (tmp_path / "r.toml").write_text(
        f'output = "{tmp_path}/run"\narms = ["plain", "contrast-cues"]\nparallel = 1\n'
        f'[corpus]\nsource = "{tmp_path}/s.json"\n'
        "[train]\nmax_steps = 1\n[augment]\ncopies = 1\n"
    )
    main(["run", str(tmp_path / "r.toml")])
    predictions = list(read_jsonl(tmp_path / "run" / "evaluation" / "plain" / "seed-0" / "predictions.jsonl"))
    assert [row["id"] for row in predictions] == ["q1"]
    knew = list(read_jsonl(tmp_path / "run" / "evaluation" / "plain" / "seed-0" / "known" / "predictions.jsonl"))
    assert [row["document_id"] for row in knew] == ["known-asked-00001"] * 5 + ["known-told-00001"] * 5
    assert "no arm can answer" in (tmp_path / "run" / "report" / "index.html").read_text().lower()


def test_what_a_run_scores_follows_from_its_arms(tmp_path):
    from elusive.corpus.people.biographies import biography_corpus

    documents = tuple(biography_corpus(3, seed=0)[0])
    field = pair_sets("cues", "company")
    assert cue_field(Recipe(), documents) == "company"
    assert needed_scores(Recipe(arms=("plain",)), documents) == [ScoreSet("large", "cues"), *field]
    assert needed_scores(Recipe(arms=("contrast-all",)), documents) == [
        ScoreSet("large", "cues"),
        ScoreSet("large", "all"),
        field[0],
        ScoreSet("small", "all"),
        field[1],
    ]

    assert Recipe(models=Models(trained="small")).trained == ModelRef("elusive/small")
    other = ModelRef("org/other", revision="abc")
    assert Recipe(models=Models(other=other, trained="other")).trained == other


def test_the_readmes_shell_commands_run(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("elusive ")]
    assert len(commands) >= 6
    monkeypatch.chdir(tmp_path)
    fewer = ["--set", "corpus.people=2", "train.max_steps=1", "augment.copies=1", 'arms=["plain"]']
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        main([*words, *fewer] if words == ["demo"] else words)  # the whole demo takes minutes
    assert "EM" in capsys.readouterr().out


def test_the_readmes_make_targets_exist():
    targets = re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(targets) == {"demo", "test"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    text = "Ada Lovelace was born on 10 December 1815."
    line = {"text": text, "spans": [["name", 0, 12], ["date", 25, 41]]}
    Path("my_corpus.jsonl").write_text(json.dumps(line) + "\n")
    names: dict = {}
    exec(code, names)
    assert {text.copy for text in names["copies"]} >= set(range(1, 11))


def test_the_readmes_rooms_are_the_packages():
    (tree,) = re.findall(r"```\n(cli/.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    rooms = {path.name for path in (ROOT / "src/elusive").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {line.split()[0].rstrip("/") for line in tree.splitlines()} == rooms


def test_pretraining_makes_a_model_that_loads_and_resumes(tmp_path):
    settings = PretrainSettings(
        output=str(tmp_path / "model"), people=10, tokens=4096, vocab_size=400, hidden_size=16, layers=1, heads=2,
        intermediate_size=16, context=64, sequence_length=64, batch_size=8, save_steps=4,
    )  # fmt: skip

    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done == 5:
            raise StoppedError

    def stop_at_the_tokenizer(source, target):
        if source.name == "tokenizer.json":
            target.write_bytes(source.read_bytes()[:100])
            raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elusive.training.pretraining.shutil.copyfile", stop_at_the_tokenizer)
        with pytest.raises(StoppedError):
            pretrain(settings)
    assert not (tmp_path / "model" / "tokenizer.json").exists()
    with pytest.raises(StoppedError):
        pretrain(settings, progress=stop)
    steps = []
    folder = pretrain(settings, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(5, 8), (6, 8), (7, 8), (8, 8)]
    model, tokenizer = load_model(str(folder)), load_tokenizer(str(folder))
    assert model.config.use_cache
    assert not list(folder.glob("*.bin"))
    assert load_model(ModelRef(str(folder), dtype="auto")).dtype == torch.bfloat16
    assert len(tokenizer) == 400
    assert load_recipe(folder / "pretrain.toml", PretrainSettings) == settings
    assert not (folder / "checkpoints").exists()
    again = []
    pretrain(settings, progress=lambda *progress: again.append(progress))
    assert again == []
    with pytest.raises(ElusiveError, match=r"pretrain.people: was 10, now 11"):
        pretrain(dataclasses.replace(settings, people=11))


def test_the_embedded_pair_is_small_and_shares_one_tokenizer():
    folder = ROOT / "src" / "elusive" / "embedded"
    weights = list(folder.rglob("*.safetensors"))
    assert len(weights) == 2
    assert sum(path.stat().st_size for path in weights) < 8e6
    assert (folder / "large" / "tokenizer.json").read_bytes() == (folder / "small" / "tokenizer.json").read_bytes()
    for name in ("large", "small"):
        assert load_model(ModelRef(f"elusive/{name}", dtype="auto")).dtype == torch.bfloat16
        recipe = load_recipe(f"embedded-{name}", PretrainSettings)
        assert load_recipe(folder / name / "pretrain.toml", PretrainSettings) == recipe


def test_augment_says_what_survives_and_warns_where_ranks_hardly_matter(run_folder, tmp_path, capsys):
    scores = [
        "--large",
        str(run_folder / "scores" / "large-cues"),
        "--small",
        str(run_folder / "scores" / "small-cues"),
    ]
    augment = ["augment", str(run_folder / "corpus"), *scores, "--arm", "attention", "--output"]
    main([*augment, str(tmp_path / "usual"), "--protected-spans", "heads", "--protected-patterns", "numbers"])
    said = capsys.readouterr()
    assert "intact in the copies: name 100.0%, date " in said.out
    assert ", company 100.0% (with the head entity 100.0%)" in said.out  # the last answer is seen by no query
    assert "warning" not in said.err
    main([*augment, str(tmp_path / "strong"), "--beta", "3", "--unseen-tokens", "last"])
    said = capsys.readouterr()
    assert " of the tokens that attention ranks have a drop probability within 1% of alpha, so it is nearly" in said.err
    assert "company 100.0%" not in said.out
    with pytest.raises(SystemExit):
        main([*augment, str(tmp_path / "wrong"), "--protected-spans", "compny"])
    assert "no document has a span of 'compny'" in capsys.readouterr().err
