"""Closed-book questions for lm-evaluation-harness: prompts ready-made, EM and F1 by each question's metric.

This file lies in one folder with normal_forms.py, questions.jsonl and the task's YAML; it needs the harness and its
libraries alone.
"""

import functools
import importlib.util
import json
import sys
from pathlib import Path

import datasets


@functools.cache
def _normal_forms():
    # By its path: the harness does not import from this folder.
    path = Path(__file__).with_name("normal_forms.py")
    name = f"normal_forms_{abs(hash(str(path)))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.exists() or spec is None or spec.loader is None:
        raise ImportError(f"{path} is missing: it belongs to this task. Copy the whole folder of the export.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_questions(end_tokens, pretrained="", tokenizer="", revision=None, **_):
    """The questions as the split `test`; refuses a model whose end-of-text ids are not those of the YAML."""
    name = tokenizer or pretrained
    if isinstance(name, str) and name:
        _check_end_tokens(name, end_tokens, None if tokenizer else revision)
    lines = (Path(__file__).parent / "questions.jsonl").read_text(encoding="utf-8").split("\n")
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines if line])}


def _check_end_tokens(name, end_tokens, revision):
    # An answer ends at bos as well as at eos. The harness takes ids for that, and ids mean other tokens elsewhere.
    from transformers import AutoTokenizer

    got = AutoTokenizer.from_pretrained(name, revision=revision)
    known = got.get_vocab()
    wrong = {token: known.get(token) for token, number in end_tokens.items() if known.get(token) != number}
    if wrong:
        raise ValueError(
            f"This task was written for a model whose answers end at {end_tokens}; in {name} these tokens are {wrong}. "
            "Export the questions again for this model: elusive export ... --base-model NAME"
        )


def prompt(doc):
    """The solved examples and the question, ending in `Answer:` or in other labels."""
    return doc["prompt"]


def answers(doc):
    """All reference answers."""
    return doc["answers"]


def process_results(doc, results):
    """Exact match and F1 of the first line of the answer, the best over the reference answers."""
    prediction = results[0].split("\n", 1)[0].strip()
    forms = _normal_forms()
    metric = forms.AnswerMetric(doc["metric"], doc["language"])
    return {
        "em": max(forms.exact_match_of(prediction, answer, metric) for answer in doc["answers"]),
        "f1": max(forms.f1_of(prediction, answer, metric) for answer in doc["answers"]),
    }
