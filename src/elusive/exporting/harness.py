"""Questions as a task for lm-evaluation-harness: a YAML, a self-contained utils.py, and the questions with prompts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from elusive.config.evaluation import EvaluateSettings
from elusive.corpus.questions import Example, QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation import normal_forms
from elusive.evaluation.language import in_language_of, metric_of
from elusive.evaluation.prompts import few_shot_prompt

from .base_model import BaseModel

FOLDER = "lm_eval"


def question_rows(
    items: Sequence[QuestionItem], examples: Sequence[Example], settings: EvaluateSettings, base: BaseModel
) -> list[dict[str, Any]]:
    """The questions with their prompts ready-made: id, document_id, field, question, answers, prompt, metric, language.

    Few-shot examples differ from question to question (see `few_shot_prompt`), which the harness could not draw.

    Args:
        items: the questions.
        examples: the pool of the shots.
        settings: shots, seed, longest answer.
        base: the model whose context the prompts must fit.

    Raises:
        ElusiveError: if there are no questions, too few examples, or a prompt does not fit the model's context.
    """
    if not items:
        raise ElusiveError("Expected at least one question, got none. Leave --questions out, or give a file with some.")
    settings = in_language_of(items, settings)
    metric = metric_of(settings)
    prompts = [few_shot_prompt(item, examples, settings) for item in items]
    _refuse_long_prompts(prompts, settings, base)
    return [
        {
            "id": item.id,
            "document_id": item.document_id,
            "field": item.field,
            "question": item.question,
            "answers": list(item.answers),
            "prompt": prompt,
            "metric": metric.name,
            "language": metric.language,
        }
        for item, prompt in zip(items, prompts, strict=True)
    ]


def harness_task(
    name: str, rows: Sequence[dict[str, Any]], settings: EvaluateSettings, base: BaseModel
) -> dict[str, str]:
    """The files of a task whose EM and F1 are those of `elusive evaluate`.

    Args:
        name: the task's name.
        rows: from `question_rows`.
        settings: shots and longest answer.
        base: the model whose end-of-text ids end an answer.

    Returns:
        Texts by file name: lm_eval/<name>.yaml, lm_eval/utils.py, lm_eval/normal_forms.py, lm_eval/questions.jsonl.
    """
    return {
        f"{FOLDER}/{name}.yaml": _task_yaml(name, settings, base),
        f"{FOLDER}/utils.py": (Path(__file__).parent / "lm_eval_utils.py").read_text(encoding="utf-8"),
        f"{FOLDER}/normal_forms.py": Path(normal_forms.__file__).read_text(encoding="utf-8"),
        f"{FOLDER}/questions.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    }


class _Function(str):
    """A function of utils.py, under the harness's own tag."""


class _Quoted(str):
    """A text in double quotes, where a line break is seen as one."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))
_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def _task_yaml(name: str, settings: EvaluateSettings, base: BaseModel) -> str:
    task: dict[str, Any] = {
        "task": name,
        # Not a path: the harness would look for it in the folder that it is started in.
        "custom_dataset": _Function("utils.load_questions"),
        "dataset_kwargs": {"end_tokens": base.ends},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": _Function("utils.prompt"),
        "doc_to_target": _Function("utils.answers"),
        "process_results": _Function("utils.process_results"),
        "num_fewshot": 0,
        "generation_kwargs": {
            "until": [_Quoted("\n")],
            "max_gen_toks": settings.max_new_tokens,
            "do_sample": False,
            "num_beams": 1,
            "repetition_penalty": 1.0,
            "no_repeat_ngram_size": 0,
            # The harness strips special tokens before it looks for stop strings, so these must be ids.
            "eos_token_id": sorted(base.ends.values()),
        },
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("em", "f1")],
        "metadata": {"version": 1.0},
    }
    head = (
        f"# {settings.shots} solved examples are part of each prompt, so num_fewshot stays 0; elusive drew them with\n"
        f"# example_fields = {settings.example_fields!r}, draw = {settings.draw!r}, seed = {settings.seed}.\n"
        "# Answers end at a newline or at the tokens of end_tokens: for a model with others, export again.\n"
        "# For the `hf` model of lm-evaluation-harness 0.4.13; give it dtype=float32 to get elusive's answers.\n"
    )
    return head + yaml.dump(task, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _refuse_long_prompts(prompts: Sequence[str], settings: EvaluateSettings, base: BaseModel) -> None:
    # The harness would cut them on the left, and only warn.
    rows = base.tokenizer(list(prompts), verbose=False)["input_ids"]
    longest, room = max(map(len, rows)), base.context - settings.max_new_tokens
    if longest > room:
        raise ElusiveError(
            f"The longest prompt has {longest} tokens, but only {max(0, room)} fit (context {base.context} less "
            f"{settings.max_new_tokens} for the answer). Lower --shots or --max-new-tokens."
        )
