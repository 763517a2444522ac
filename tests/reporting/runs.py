"""A run folder in the form that the stages leave, with numbers that can be worked by hand."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elusive.augmentation.arms import ARMS as ALL_ARMS
from elusive.augmentation.rankings import ranking_schema
from elusive.config.augmentation import AugmentSettings
from elusive.config.run import Recipe
from elusive.config.toml import dump_recipe, from_table
from elusive.corpus.documents import Span
from elusive.runs.files import write_json, write_jsonl, write_text
from elusive.scoring.positions import rankable_tokens, token_fields
from elusive.scoring.shards import SCHEMA, schema_with

ARMS = ("plain", "random-matched", "attention", "contrast-cues")
FIELDS = ("date", "city", "company")
PEOPLE = 12
# How many of the 12 people each arm knows, field by field: the first so many, so EM is this number over 12.
KNOWN = {
    "untrained": (0, 0, 0),
    "plain": (9, 6, 0),
    "random-matched": (9, 6, 6),
    "attention": (9, 6, 5),
    "contrast-cues": (9, 6, 7),
}
RATES = {"plain": 0.0, "random-matched": 0.3, "attention": 0.3, "contrast-cues": 0.3}
SUMMARY = {
    "documents": 12,
    "texts": 132,
    "survival": {"name": {"intact": 0.412}, "company": {"intact": 0.002, "with_head": 0.001}},
}
SCRIPT = "<script>alert(1)</script>"


def person(number: int) -> dict[str, Any]:
    """A document of one sentence form: name and date, city, company, with spans."""
    parts = [
        ("name", f"Ada{number} Quill"), ("", " was born on "), ("date", f"May {number + 1}, 1950"),
        ("", ". She spent her early years in "), ("city", f"Town{number}, Norway"),
        ("", ". She had a professional role at "), ("company", f"Firm{number} Limited"), ("", "."),
    ]  # fmt: skip
    text, spans = "", []
    for field, part in parts:
        if field:
            spans.append([field, len(text), len(text) + len(part)])
        text += part
    return {"id": f"person-{number}", "text": text, "spans": spans}


def tokenise(text: str) -> tuple[list[int], list[int], list[int]]:
    """Word tokens that bring their leading space, after a special token without characters."""
    found = [(0, 0), *(match.span() for match in re.finditer(r" ?\w+|[^\w\s]", text))]
    ids = [int(hashlib.sha256(text[start:end].encode()).hexdigest()[:6], 16) for start, end in found]
    return ids, [start for start, _ in found], [end for _, end in found]


def write_tokens(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema = SCHEMA) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema), path)
    if "scores" in schema.names:
        write_json(path.with_name("done.json"), {})


def score_row(document: Mapping[str, Any], field: str, model: str) -> dict[str, Any]:
    """Scores at the cue before `field`: the nearer the better, and for the large model the name best of all."""
    ids, starts, ends = tokenise(document["text"])
    begin = next(span[1] for span in document["spans"] if span[0] == field)
    seen = [int(end <= begin) for end in ends]
    names = token_fields(document["text"], [Span(*span) for span in document["spans"]], np.array([starts, ends]).T)
    scores = [
        seen[place] * (0.01 * place + (0.5 if name == "name" and model == "large" else 0.0))
        for place, name in enumerate(names)
    ]
    return {
        "document_id": document["id"], "token_ids": ids, "starts": starts, "ends": ends, "scores": scores,
        "queries": seen,
    }  # fmt: skip


def sentence_row(document: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The same at all cues, and at each sentence's: only tokens before the sentence's field are seen."""
    row = score_row(document, "company", model)
    rows, queries, bounds = [], [], []
    for field, start, end in document["spans"]:
        if field != "name":
            own = score_row(document, field, model)
            rows.append(own["scores"])
            queries.append(own["queries"])
            bounds.append((document["text"].rfind(". ", 0, start) + 2 if field != "date" else 0, end))
    starts, ends = zip(*bounds, strict=True)
    return {**row, "sentence_starts": starts, "sentence_ends": ends, "rows": rows, "row_queries": queries}


def ranking_row(document: Mapping[str, Any], arm: str) -> dict[str, Any]:
    ids, starts, ends = tokenise(document["text"])
    chosen = rankable_tokens(document["text"], np.array(ids), np.array([starts, ends]).T, (), (".", ","))
    ranks, rank = [], 0
    for part in chosen:
        rank += int(part)
        ranks.append(rank if part else 0)
    flat = arm == "random-matched"
    begins = [document["text"].index("She"), document["text"].rindex("She")] if ALL_ARMS[arm].clues else []
    if not ALL_ARMS[arm].drops:
        ranks = [0] * len(ranks)
    drops = [(0.3 if flat else 0.6 * (1 - math.exp(-0.05 * one))) if one else 0.0 for one in ranks]
    return {
        "document_id": document["id"], "text": document["text"], "token_ids": ids, "starts": starts, "ends": ends,
        "ranks": ranks,
        "drop_probability": drops,
        "clue_sentences": begins, "clue_starts": [0] * len(begins),
        "clue_ends": [document["text"].index(" was")] * len(begins),
    }  # fmt: skip


def write_predictions(
    run: Path, arm: str, seed: int, questions: Sequence[Mapping[str, Any]], known: Sequence[int], below: str = ""
) -> None:
    rows = []
    for question in questions:
        number, field = int(question["document_id"].split("-")[1]), FIELDS.index(question["field"])
        right = number < known[field]
        rows.append(
            {**question, "prediction": question["answers"][0] if right else "no idea", "text": "",
             "em": float(right), "f1": 1.0 if right else 0.25}
        )  # fmt: skip
    folder = run / "evaluation" / arm / f"seed-{seed}" / below
    write_jsonl(folder / "predictions.jsonl", reversed(rows))  # the order on disk must not matter
    write_json(folder / "done.json", {})


def make_run(
    run: Path,
    *,
    seeds: Sequence[int] = (0,),
    known: Mapping[str, Sequence[int]] = KNOWN,
    title: str = "Twelve people",
    questions: bool = True,
    spans: bool = True,
    evil: bool = False,
    arms: Sequence[str] = ARMS,
    each: bool = False,
) -> Path:
    """Write a run folder in the form that the stages leave."""
    table = {"title": title, "arms": list(arms), "seeds": list(seeds), "evaluate": {"resamples": 400}}
    write_text(run / "recipe.toml", dump_recipe(from_table(Recipe, table, "test")))
    documents = [person(number) for number in range(PEOPLE)]
    asked = [
        {"id": f"{document['id']}-{field}", "question": f"What is the {field} of Ada{number}?",
         "answers": [document["text"][start:end]], "field": field, "document_id": document["id"]}
        for number, document in enumerate(documents)
        for field, start, end in document["spans"]
        if field != "name"
    ]  # fmt: skip
    if evil:
        documents[0]["text"] += " " + SCRIPT
        asked[0]["question"] += SCRIPT
    rows = [{**document, "spans": document["spans"] if spans else []} for document in documents]
    write_jsonl(run / "corpus" / "documents.jsonl", rows)
    write_jsonl(run / "corpus" / "questions.jsonl", asked if questions else [])
    for model in ("large", "small") if spans else ():
        for folder in (f"{model}-cue-company", f"{model}-cues"):
            write_tokens(
                run / "scores" / folder / "part-00000.parquet",
                [score_row(document, "company", model) for document in documents],
            )
        if each:
            write_tokens(
                run / "scores" / f"{model}-cues-each" / "part-00000.parquet",
                [sentence_row(document, model) for document in documents],
                schema_with(["sentences"]),
            )
    for arm in arms:
        write_json(run / "augmented" / arm / "done.json", SUMMARY | {"mean_drop_rate": RATES.get(arm, 0.3)})
        if arm != "plain":
            write_tokens(
                run / "augmented" / arm / "ranking.parquet",
                [ranking_row(document, arm) for document in documents],
                ranking_schema(arm, AugmentSettings()),
            )
        for seed in seeds:
            losses = [{"step": step, "loss": 3.0 - step / 50} for step in (10, 50, 100)]
            figures = {"steps": 100, "loss": 1.5, "seconds": 10.0 + 10 * seed, "texts": 132}
            write_json(run / "models" / arm / f"seed-{seed}" / "done.json", figures)
            if questions:
                write_predictions(run, arm, seed, asked, known.get(arm, (9, 6, 7)))
            write_jsonl(run / "models" / arm / f"seed-{seed}" / "metrics.jsonl", losses)
    if questions:
        write_predictions(run, "untrained", 0, asked, known["untrained"])
    return run


# How many of 12 people known before training each arm still knows, by field: half of them before, then lost, nearly
# kept, kept, and gained.
STILL_KNOWN = {
    "untrained": (6, 6),
    "plain": (0, 0),
    "random-matched": (6, 5),
    "attention": (6, 6),
    "contrast-cues": (12, 12),
}


def add_known(run: Path, seeds: Sequence[int] = (0,), still: Mapping[str, Sequence[int]] = STILL_KNOWN) -> Path:
    """Answers to two questions about each of 12 people of before, beside a run's other answers."""
    asked = [
        {"id": f"old-{number}-{field}", "question": f"What is the {field} of Old{number}?", "answers": ["so"],
         "field": field, "document_id": f"old-{number}"}
        for number in range(PEOPLE)
        for field in FIELDS[:2]
    ]  # fmt: skip
    for arm, known in still.items():
        for seed in seeds if arm != "untrained" else (0,):
            write_predictions(run, arm, seed, asked, known, "known")
    return run
