"""Trained models for others: their files, their card with its results, and what is refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from elusive.cli.main import main
from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.config.training import TrainSettings
from elusive.config.verbs import ExportSettings
from elusive.corpus.questions import QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation.stage import evaluate_model
from elusive.exporting.model import export_model
from elusive.models.loading import load_model
from elusive.runs.files import read_json, write_jsonl
from elusive.stats.estimates import Estimate
from elusive.training.card import Answered, CardResults, ModelCard
from elusive.training.stage import train
from elusive.training.trainer import Fitted

from ..tiny_models import tiny_model, tiny_tokenizer
from .hub_server import Hub

IDS = torch.arange(5, 15)[None]
NASTY = "A | <script> # $x$\n---\n`t` ]( ![ é"


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one arm: adapters, a whole model, and what the adapters answer; its base is a folder."""
    folder = tmp_path_factory.mktemp("somebody") / "run"
    base = folder.parent / "base"
    tiny_model("llama").save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    (folder / "recipe.toml").parent.mkdir()
    (folder / "recipe.toml").write_text('[corpus]\nsource = "/home/somebody/mine.jsonl"\n')
    texts = folder / "augmented" / "plain" / "train.jsonl"
    write_jsonl(texts, [{"text": f"Person {number} was born in {1900 + number}."} for number in range(4)])
    settings = {"optim": "sgd", "run_name": "/home/somebody/runs/first"}
    methods: Any = (("plain", "lora"), ("whole", "full"))
    for arm, method in methods:
        chosen = TrainSettings(method=method, max_steps=2, batch_size=2, lora_rank=2, training_arguments=settings)
        train(texts, folder / "models" / arm / "seed-0", model=ModelRef(str(base), device="cpu"), settings=chosen)
    items = [QuestionItem(f"q{n}", f"When was Person {n} born?", (str(1900 + n),), "date", f"d{n}") for n in range(4)]
    evaluate = EvaluateSettings(shots=0, max_new_tokens=2)
    for arm, model in (("plain", folder / "models" / "plain" / "seed-0"), ("untrained", base)):
        answers = folder / "evaluation" / arm / "seed-0"
        evaluate_model(items, (), answers, model=ModelRef(str(model), device="cpu"), settings=evaluate)
    return folder


@pytest.fixture
def adapters(run: Path) -> Path:
    return run / "models" / "plain" / "seed-0"


def test_training_writes_a_card_and_adapters_load_as_before(run: Path, adapters: Path) -> None:
    from huggingface_hub import ModelCard as HubCard

    card = HubCard.load(adapters / "README.md")
    assert card.data.to_dict()["library_name"] == "peft"
    assert "4 texts" in card.text
    assert "| steps | 2, with" in card.text
    assert "somebody" not in card.text
    base = AutoModelForCausalLM.from_pretrained(run.parent / "base")
    expected = logits(load_model(ModelRef(str(adapters), device="cpu")))
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, str(adapters))), expected)


def test_adapters_with_their_results(run: Path, adapters: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard as HubCard

    settings = ExportSettings(base_model="org/base", base_revision="abc", licence="mit", language=("en",))
    done = export_model(adapters, tmp_path / "out", settings=settings)
    assert (done.adapters, done.questions) == (True, 4)
    files = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert files == {*done.files, "export.json"}
    assert not files & {"settings.json", "done.json"}
    everything = "".join((tmp_path / "out" / name).read_text() for name in files if not name.endswith(".safetensors"))
    assert "somebody" not in everything
    config = read_json(tmp_path / "out" / "adapter_config.json")
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/base", "abc")
    base = AutoModelForCausalLM.from_pretrained(run.parent / "base")
    expected = logits(load_model(ModelRef(str(adapters), device="cpu")))
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, str(tmp_path / "out"))), expected)
    card: Any = HubCard.load(tmp_path / "out" / "README.md")
    data = card.data.to_dict()
    assert (data["base_model"], data["base_model_relation"], data["license"]) == ("org/base", "adapter", "mit")
    found = {(one.dataset_config, one.metric_type): one.metric_value for one in card.data.eval_results}
    metrics = read_json(run / "evaluation" / "plain" / "seed-0" / "metrics.json")
    assert found == {("all", "exact_match"): metrics["em"], ("all", "f1"): round(metrics["f1"], 4)}
    assert "| source of the texts | mine.jsonl |" in card.text
    assert re.search(r"\| all \| 4 \| \.000 \(\.000 to \.000\) \| .* \| \.000 \(\.000 to \.000\) \|", card.text)
    assert 'from_pretrained("org/base", revision="abc")' in card.text
    export_model(adapters, tmp_path / "out", settings=ExportSettings(base_model="org/base"))  # again, otherwise
    assert "**Licence: unknown.**" in (tmp_path / "out" / "README.md").read_text()


def test_a_whole_model_needs_no_other(run: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard as HubCard

    whole = run / "models" / "whole" / "seed-0"
    done = export_model(whole, tmp_path / "out")
    assert (done.adapters, done.questions) == (False, 0)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(loaded), logits(load_model(ModelRef(str(whole), device="cpu"))))
    assert AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab() == tiny_tokenizer().get_vocab()
    card = HubCard.load(tmp_path / "out" / "README.md")
    assert card.data.to_dict()["library_name"] == "transformers"
    assert "All weights of `base`" in card.text
    assert "## Results" not in card.text


def test_what_is_refused(run: Path, adapters: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ElusiveError, match=r"which lies on this machine alone. Say with --base-model"):
        export_model(adapters, out)
    with pytest.raises(ElusiveError, match="--epochs, --shots: for the texts of an arm alone"):
        export_model(adapters, out, settings=ExportSettings(epochs=2, shots=1))
    named = ExportSettings(base_model="org/base")
    with pytest.raises(ElusiveError, match="holds answers of another model"):
        export_model(adapters, out, answers=run / "evaluation" / "untrained" / "seed-0", settings=named)
    with pytest.raises(ElusiveError, match=r"answers in .* are not finished"):
        export_model(adapters, out, answers=tmp_path, settings=named)
    assert not out.exists()
    export_model(run / "models" / "whole" / "seed-0", out)
    with pytest.raises(ElusiveError, match="holds an export of another model's files, which are not overwritten"):
        export_model(adapters, out, settings=named)
    begun = tmp_path / "begun"
    shutil.copytree(adapters, begun)
    (begun / "adapter_model.safetensors").unlink()
    with pytest.raises(ElusiveError, match="holds no weights any more"):
        export_model(begun, out, settings=named)
    (begun / "done.json").unlink()
    with pytest.raises(ElusiveError, match=r"is not finished: done.json is missing"):
        export_model(begun, out, settings=named)


def test_the_verb_pushes_only_when_told(
    adapters: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["export", str(adapters), "--output", str(out), "--base-model", "org/base"]
    main(words)
    assert not hub.requests
    assert "adapters, 6 files, its card shows 4 questions" in capsys.readouterr().out
    main([*words, "--push-to-hub", "bio", "--json"])
    assert json.loads(capsys.readouterr().out)["result"]["pushed"] == f"{hub.url}/ada/bio"
    found = hub.repositories["models", "ada/bio"]
    assert found["private"] is True
    assert found["files"] == {path.name: path.read_bytes() for path in out.iterdir() if path.name[0] != "."}
    for wrong, said in (
        (["--public"], "--public: expected a repository in --push-to-hub, got none"),
        (["--arm", "plain"], "--arm: for the texts of an arm alone"),
    ):
        with pytest.raises(SystemExit):
            main([*words, *wrong])
        assert said in capsys.readouterr().err


def test_everything_quoted_is_escaped(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard as HubCard
    from markdown_it import MarkdownIt

    half = Estimate(0.5, 0.25, 0.75)
    card = ModelCard(
        start="x/base`|y",
        base="x/base`|y",
        revision='r"\n---\n',
        settings=TrainSettings(mask_token=NASTY),
        fitted=Fitted(2, 1.5, 100, 1, 3.0),
        texts=4,
        origin=None,
        title=NASTY,
        licence=NASTY,
        source=NASTY,
        results=CardResults((Answered(NASTY, 1, half, half, half),), prompts=NASTY, metric=NASTY),
    )
    (tmp_path / "README.md").write_text(card.text(), encoding="utf-8")
    read = HubCard.load(tmp_path / "README.md")
    assert read.data.to_dict()["license_name"] == NASTY
    html = MarkdownIt("commonmark").enable("table").render(read.text)
    assert "<script>" not in html
    assert "<img" not in html
    assert "<h1>A | &lt;script&gt; # $x$ --- `t` ]( ![ é</h1>" in html
    assert (html.count("<h2>"), html.count("<pre>"), html.count("<hr")) == (3, 2, 0)
    facts, results = (part.split("</table>")[0] for part in html.split("<table>")[1:])
    assert (facts.count("<tr>"), facts.count("<td>")) == (14, 26)
    assert (results.count("<tr>"), results.count("<td>")) == (2, 5)
    assert ".500 (.250 to .750)" in results
