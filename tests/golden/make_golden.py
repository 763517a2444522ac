"""Makes golden.json: what the embedded pair and the arms gave for two biographies when last looked at.

    python tests/golden/make_golden.py

Run it again only if a change of these numbers is meant, and say in the commit why.
"""

import json
from pathlib import Path
from typing import Any

from elusive.attention.architectures import attention_to_load
from elusive.augmentation.copies import augment_documents
from elusive.config.augmentation import AugmentSettings
from elusive.config.models import ModelRef
from elusive.config.scoring import Queries, ScoreSettings
from elusive.corpus.people.biographies import biography_corpus
from elusive.models.loading import load_model, load_tokenizer
from elusive.scoring.score import score_documents
from elusive.scoring.sets import ScoreSet

QUERIES: tuple[Queries, ...] = ("cues", "all")
PATH = Path(__file__).with_name("golden.json")
ARMS = ("random", "random-matched", "attention", "distance", "query-distance", "contrast-cues", "contrast-all")


def golden() -> dict[str, Any]:
    """Scores (rounded to 6 decimals), ranks and two copies a document and arm, by document id."""
    documents, _ = biography_corpus(2, seed=1)
    tokenizer = load_tokenizer("elusive/large")
    found = {
        ScoreSet(name, queries): score_documents(
            documents,
            load_model(ModelRef(f"elusive/{name}", device="cpu"), attention=attention_to_load),
            tokenizer,
            ScoreSettings(queries=queries),
        )
        for name in ("large", "small")
        for queries in QUERIES
    }
    result: dict[str, Any] = {
        "scores": {
            one.name: {item.document_id: [round(float(value), 6) for value in item.scores] for item in items}
            for one, items in found.items()
        },
        "arms": {},
    }
    for arm in ARMS:
        augmented = augment_documents(
            documents,
            arm,
            found,
            trained="large",
            tokenizer=tokenizer,
            score=ScoreSettings(),
            settings=AugmentSettings(copies=2, unseen_tokens="last"),
        )
        result["arms"][arm] = {
            item.ranked.document_id: {
                "ranks": item.ranked.ranks.tolist(),
                "texts": [text.text for text in item.texts],
            }
            for item in augmented
        }
    return result


if __name__ == "__main__":
    PATH.write_text(json.dumps(golden(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
