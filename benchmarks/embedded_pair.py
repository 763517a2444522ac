"""What the embedded pair can do: the figures of its model card.

    python benchmarks/embedded_pair.py [--large FOLDER --small FOLDER]

Prints five-shot EM on people of the pretraining text (asked about there, or only told about), on new people, and the
share of name tokens among the ten best ranked tokens at each cue of new people's biographies: by the large model's
attention, the small one's, and their contrast, beside chance (the name's share of all tokens that the cue sees).
"""

import argparse
import itertools
import tempfile
from pathlib import Path

from elusive.clues.pairs import pair_recall
from elusive.clues.recall import ALL_CUES, RANKED
from elusive.config.augmentation import AugmentSettings
from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef, Models
from elusive.config.scoring import ScoreSettings
from elusive.config.toml import load_recipe
from elusive.config.verbs import PretrainSettings
from elusive.corpus.people.biographies import (
    FIELDS,
    Person,
    biography_corpus,
    people,
    pretraining_people,
    questions_about,
    well_known_examples,
)
from elusive.evaluation.stage import evaluate, metrics
from elusive.models.loading import load_model, load_tokenizer, resolve
from elusive.runs.progress import shown
from elusive.training.pretraining_text import RECIPE_NAME

BEST = 10


def exact_match_rows(name: str, groups: dict[str, list[Person]]) -> None:
    """Print a Markdown row of five-shot EM by field for each group of people."""
    model, tokenizer = load_model(name), load_tokenizer(name)
    for group, persons in groups.items():
        items = [item for number, person in enumerate(persons) for item in questions_about(person, f"{group} {number}")]
        with shown(f"ask {name} about {group}") as progress:
            rows = evaluate(
                model, tokenizer, items, well_known_examples(), EvaluateSettings(max_batch_tokens=4096), progress
            )
        result = metrics(rows)
        cells = " | ".join(f"{result['fields'][field]['em']:.2f}" for field in FIELDS)
        print(f"| {name} | {group} ({len(persons)}) | {cells} | {result['em']:.3f} |", flush=True)


def name_shares(large: str, small: str, count: int) -> None:
    """Print Markdown rows of the name's share of the ten best ranked tokens, by cue."""
    documents, _ = biography_corpus(count, seed=1)
    pair = Models(ModelRef(large), ModelRef(small))
    with tempfile.TemporaryDirectory() as folder:
        found = pair_recall(documents, folder, pair=pair, settings=ScoreSettings(), augment=AugmentSettings(), k=BEST)
    rows = found.rows
    for label, row in [*((field, rows[field]) for field in FIELDS), ("all five", rows[ALL_CUES])]:
        shares = (one.head_share for one in (*(row.by(name) for name in RANKED), row.chance))
        print(f"| {label} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", default="elusive/large")
    parser.add_argument("--small", default="elusive/small")
    parser.add_argument("--people", type=int, default=200, help="people asked about in each group")
    arguments = parser.parse_args()
    settings = load_recipe(Path(resolve(arguments.large)) / RECIPE_NAME, PretrainSettings)
    told, asked = pretraining_people(settings.seed, settings.people, settings.questioned_ratio)
    new = list(itertools.islice(people(1), arguments.people))
    groups = {"told only": told[: arguments.people], "asked": asked[: arguments.people], "new": new}
    print("| model | people | " + " | ".join(FIELDS) + " | all |\n|" + " --- |" * 8)
    for name in (arguments.large, arguments.small):
        exact_match_rows(name, groups)
    print(f"\n| cue | large | small | contrast | chance |\n|{' --- |' * 5}")
    name_shares(arguments.large, arguments.small, arguments.people)


if __name__ == "__main__":
    main()
