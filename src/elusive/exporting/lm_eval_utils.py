"""Closed-book questions for lm-evaluation-harness: prompts ready-made, EM and F1 as in SQuAD v1.1.

This file lies in one folder with questions.jsonl and the task's YAML; it needs the harness and its libraries alone.
"""

import collections
import json
import re
import string
from pathlib import Path

import datasets

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


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
    """The solved examples and the question, ending in `Answer:`."""
    return doc["prompt"]


def answers(doc):
    """All reference answers."""
    return doc["answers"]


def process_results(doc, results):
    """Exact match and F1 of the first line of the answer, the best over the reference answers."""
    prediction = results[0].split("\n", 1)[0].strip()
    return {
        "em": max(_exact_match(prediction, answer) for answer in doc["answers"]),
        "f1": max(_f1(prediction, answer) for answer in doc["answers"]),
    }


def _normalized(text):
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION)).split())


def _exact_match(prediction, answer):
    return float(_normalized(prediction) == _normalized(answer))


def _f1(prediction, answer):
    got, wanted = _normalized(prediction).split(), _normalized(answer).split()
    common = (collections.Counter(got) & collections.Counter(wanted)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(got), common / len(wanted)
    return 2 * precision * recall / (precision + recall)
