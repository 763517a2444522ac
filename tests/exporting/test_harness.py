"""Questions in lm-evaluation-harness: the very task that is exported, run by the real harness, against `evaluate`."""

import ast
import dataclasses
import itertools
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.config.toml import load_recipe
from elusive.config.training import TrainSettings
from elusive.config.verbs import PretrainSettings
from elusive.corpus.people.biographies import people, pretraining_people, questions_about, well_known_examples
from elusive.corpus.questions import QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation.generation import clean_answer
from elusive.evaluation.metrics import exact_match, f1
from elusive.evaluation.normal_forms import AnswerMetric
from elusive.evaluation.prompts import few_shot_prompt
from elusive.evaluation.stage import evaluate_model
from elusive.exporting import lm_eval_utils
from elusive.exporting.base_model import load_base_model
from elusive.exporting.harness import harness_task, question_rows
from elusive.models import loading
from elusive.runs.files import read_jsonl
from elusive.training.stage import train

TASK = "elusive_test_questions"
EXAMPLES = list(well_known_examples())
LARGE = loading.EMBEDDED["elusive/large"]


def questions() -> list[QuestionItem]:
    """40 questions that the embedded model answers rightly, in part, or wrongly; some with several references."""
    settings = load_recipe(LARGE / "pretrain.toml", PretrainSettings)
    told, asked = pretraining_people(settings.seed, settings.people, settings.questioned_ratio)
    new = itertools.islice(people(5), 4)  # the model has never read of them
    items = [item for person in [*told[:2], *asked[:2], *new] for item in questions_about(person, person.name)]
    several = {2: ("nobody knows", *items[2].answers), 7: (*items[7].answers, "nobody knows"), 12: ("Paris", "Rome")}
    several[21] = (" ".join(["much", "longer", *items[21].answers]), items[21].answers[0].split()[0])
    return [
        dataclasses.replace(item, id=f"{item.id} {number}", answers=several.get(number, item.answers))
        for number, item in enumerate(items)
    ]


def exported(folder: Path, items: list[QuestionItem], settings: EvaluateSettings, base: str = "elusive/large") -> Path:
    model = load_base_model(base)
    files = harness_task(TASK, question_rows(items, EXAMPLES, settings, model), settings, model)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "lm_eval"


def harness_samples(task: Path, model: Path) -> list[dict[str, Any]]:
    """What the harness logs of each question: its arguments, the answer, em and f1."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    arguments: dict[str, Any] = {"pretrained": str(model), "dtype": "float32"}
    simple_evaluate: Any = lm_eval.simple_evaluate  # wrapped there in a way that hides its parameters
    found = simple_evaluate(
        model="hf",
        model_args=arguments,
        tasks=[TASK],
        batch_size=8,
        device="cpu",
        task_manager=TaskManager(include_path=str(task), include_defaults=False, metadata=arguments),
        bootstrap_iters=0,
    )
    assert found
    samples = sorted(found["samples"][TASK], key=lambda sample: sample["doc_id"])
    means = found["results"][TASK]
    for metric in ("em", "f1"):
        assert means[f"{metric},none"] == pytest.approx(sum(row[metric] for row in samples) / len(samples))
    return samples


@pytest.mark.parametrize("adapted", [False, True])
def test_em_and_f1_are_ours_question_by_question(tmp_path: Path, adapted: bool):
    settings = EvaluateSettings(shots=5, seed=3)
    items = questions()
    model = adapted_model(tmp_path / "adapted", items, settings) if adapted else LARGE
    evaluate_model(items, EXAMPLES, tmp_path / "ours", model=ModelRef(str(model), device="cpu"), settings=settings)
    ours = list(read_jsonl(tmp_path / "ours" / "predictions.jsonl"))
    assert {row["em"] for row in ours} == {0.0, 1.0}
    assert len({row["f1"] for row in ours}) > 2
    # The adapted model ends answers with bos, and would go on behind it.
    assert any("\n" not in row["text"] and len(row["text"]) < 30 for row in ours) == adapted
    samples = harness_samples(exported(tmp_path, items, settings), model)
    assert len(samples) == len(items)
    for item, row, sample in zip(items, ours, samples, strict=True):
        ((prompt, _),) = sample["arguments"]
        assert prompt == few_shot_prompt(item, EXAMPLES, settings)
        assert sample["doc"]["id"] == item.id
        assert (sample["em"], sample["f1"]) == (row["em"], row["f1"]), (item, row, sample["resps"])


def adapted_model(folder: Path, items: list[QuestionItem], settings: EvaluateSettings) -> Path:
    """The embedded model after a few steps, in which every answer ended with bos and another text."""
    model = load_base_model("elusive/large")
    rows = question_rows(items[::2], EXAMPLES, settings, model)
    texts = folder.parent / "train.jsonl"
    texts.write_text(
        "".join(json.dumps({"text": f"{row['prompt']} {row['answers'][0]}<bos>He was born"}) + "\n" for row in rows),
        encoding="utf-8",
    )
    training = TrainSettings(method="full", learning_rate=2e-3, max_steps=8, batch_size=4, precision="fp32")
    train(texts, folder, model=ModelRef("elusive/large"), settings=training)
    return folder


def test_the_task_folder_needs_nothing_of_ours(tmp_path: Path):
    task = exported(tmp_path, questions(), EvaluateSettings())
    assert {path.name for path in task.iterdir()} == {f"{TASK}.yaml", "utils.py", "normal_forms.py", "questions.jsonl"}
    for file in ("utils.py", "normal_forms.py"):
        tree = ast.parse((task / file).read_text(encoding="utf-8"))
        names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        allowed = {*sys.stdlib_module_names, "datasets", "transformers"}
        assert {str(name).split(".")[0] for name in names} <= allowed


def test_a_model_with_other_end_ids_is_refused(tmp_path: Path, tokenizer: Any):
    tokenizer.save_pretrained(tmp_path / "other")
    ends = {"<bos>": 0, "<eos>": 5}
    with pytest.raises(ValueError, match=r"in .*other these tokens are \{'<eos>': 1\}"):
        lm_eval_utils.load_questions(ends, pretrained=str(tmp_path / "other"), revision="main", version=1.0)


def test_marks_equal_ours_on_hard_cases(tmp_path: Path):
    utils = runpy.run_path(str(exported(tmp_path, questions(), EvaluateSettings()) / "utils.py"))
    cases = [
        ("Oslo, Norway", ["Oslo, Norway", "Oslo"]),
        ("  the Oslo.\nQuestion: x", ["oslo"]),
        ("", ["the"]),
        ("a the an", ["an"]),
        ("well-known place", ["wellknown", "place place"]),
        ("Škoda “Auto”", ["skoda auto", "Škoda"]),
        ("1 May 1990", ["May 1, 1990"]),
        ("der Rhein, 1.500 km", ["Rhein 1500km"]),
        ("北京大学", ["北京"]),
    ]
    metrics = [AnswerMetric(), AnswerMetric("multilingual", "de"), AnswerMetric("numeric", "de")]
    for (text, answers), metric in itertools.product(cases, metrics):
        got = utils["process_results"]({"answers": answers, "metric": metric.name, "language": metric.language}, [text])
        prediction = clean_answer(text)
        assert got == {"em": exact_match(prediction, answers, metric), "f1": f1(prediction, answers, metric)}, text


def test_a_task_has_the_metric_of_its_language():
    items = [QuestionItem(f"q{n}", "Wer ist der König?", ("Karl",), "f", f"d{n}") for n in range(2)]
    [row, _] = question_rows(items, EXAMPLES, EvaluateSettings(shots=0), load_base_model("elusive/large"))
    assert (row["metric"], row["language"], row["prompt"]) == (
        "multilingual",
        "de",
        "Frage: Wer ist der König?\nAntwort:",
    )


def test_prompts_that_do_not_fit_are_refused():
    base = load_base_model("elusive/large")
    long = dataclasses.replace(questions()[0], question="Who? " * 400)
    with pytest.raises(ElusiveError, match=r"only 480 fit \(context 512 less 32 for the answer\)\. Lower --shots"):
        question_rows([long], EXAMPLES, EvaluateSettings(), base)
    with pytest.raises(ElusiveError, match="at least one question, got none"):
        question_rows([], EXAMPLES, EvaluateSettings(), base)
