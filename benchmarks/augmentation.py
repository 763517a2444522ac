"""What static augmentation costs on one core, beside the random deletion of nlpaug and of EDA on the same texts.

    python benchmarks/augmentation.py [--rounds 15] [--others FOLDER]

FOLDER holds nlpaug and textaugment, which are no dependencies of Elusive:

    pip install --target FOLDER nlpaug textaugment

It is searched last, so what they bring along takes no package's place here. Prints Markdown tables of tokens a second
and of ratios. The ways alternate within one process, in another order each round, in CPU time; a ratio is taken within
a round, and cells are medians and quartiles over the rounds. Tokens are the embedded tokenizer's, of each text times
its copies, for every way alike. Scores are made up and in memory; what is timed of ours is all that comes after them:
ranks, probabilities, the draws of ten copies a text (arm contrast-cues), decoding, and writing train.jsonl,
train.parquet and ranking.parquet. The others drop words, with one chance for all.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are loaded

import functools
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
from scoring import Ways, alternate, machine

from elusive.augmentation.copies import Augmenter, augment_documents
from elusive.augmentation.stage import write_augmented
from elusive.config.augmentation import AugmentSettings
from elusive.config.scoring import ScoreSettings
from elusive.corpus.documents import Document
from elusive.corpus.people.biographies import biography_corpus
from elusive.models import loading
from elusive.scoring.sets import ScoreSet, pair_sets
from elusive.scoring.shards import TokenScores

SETTINGS = AugmentSettings()
JOINED = 14
"""Biographies in one text of about 1,000 tokens."""


def texts() -> dict[str, list[Document]]:
    """Short texts, and long ones of several biographies."""
    short, _ = biography_corpus(336, seed=1)
    long = [
        Document(f"long-{start}", " ".join(document.text for document in short[start : start + JOINED]))
        for start in range(0, len(short), JOINED)
    ]
    return {"biographies": short, "long texts": long}


def made_up_scores(
    documents: Sequence[Document], tokenizer: loading.PreTrainedTokenizerFast, seed: int
) -> list[TokenScores]:
    generator = np.random.default_rng(seed)
    made = []
    for document in documents:
        encoded = tokenizer(document.text, return_offsets_mapping=True, verbose=False)
        ids, offsets = (np.array(encoded[key], np.int32) for key in ("input_ids", "offset_mapping"))
        queries = np.arange(len(ids), 0, -1, dtype=np.int32) // 20  # the last tokens are seen by none
        made.append(TokenScores(document.id, ids, offsets, generator.random(len(ids), dtype=np.float32), queries))
    return made


def ours(documents: Sequence[Document], scores: dict[ScoreSet, list[TokenScores]], folder: str) -> Ways:
    """Dropping alone, with decoding, and with writing."""
    options = {
        "arm": "contrast-cues",
        "trained": "large",
        "tokenizer": loading.load_tokenizer("elusive/large"),
        "score": ScoreSettings(),
        "settings": SETTINGS,
    }
    rows = [
        (document, dict(zip(scores, of_document, strict=True)))
        for document, *of_document in zip(documents, *scores.values(), strict=True)
    ]
    whole, without_text = Augmenter(**options), Augmenter(**options)
    without_text.decode = lambda token_ids, kept_CT: [""] * len(kept_CT)
    return {
        "dropping": functools.partial(without_text.augment, rows),
        "dropping and decoding": functools.partial(whole.augment, rows),
        "dropping, decoding and writing": lambda: write_augmented(
            folder, augment_documents(documents, scores=scores, **options), "contrast-cues", SETTINGS
        ),
    }


def others(documents: Sequence[Document], drop_rate: float) -> Ways:
    """nlpaug's and EDA's random deletion of words, at the same rate, as many copies of each text."""
    from nlpaug.augmenter.word import RandomWordAug  # type: ignore[import-not-found]
    from textaugment import EDA  # type: ignore[import-not-found]

    nlpaug = RandomWordAug(action="delete", aug_p=drop_rate, aug_max=None)
    # Its constructor wants nltk's stop words from the network; deleting words does not use them.
    eda = EDA.__new__(EDA)

    def copies(make: Callable[[str], object]) -> None:
        for document in documents:
            for _ in range(SETTINGS.copies):
                make(document.text)

    return {
        "nlpaug, RandomWordAug(action='delete')": functools.partial(copies, nlpaug.augment),
        "EDA, random_deletion (textaugment)": functools.partial(
            copies, lambda text: eda.random_deletion(text, drop_rate)
        ),
    }


def quartiles(values: Sequence[float], digits: str) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{digits}} [{low:{digits}}, {high:{digits}}]"


def measure(name: str, documents: Sequence[Document], rounds: int, with_others: bool) -> None:
    tokenizer = loading.load_tokenizer("elusive/large")
    scores = {one: made_up_scores(documents, tokenizer, seed) for seed, one in enumerate(pair_sets("cues"))}
    tokens = SETTINGS.copies * sum(len(item.token_ids) for item in next(iter(scores.values())))
    with tempfile.TemporaryDirectory() as folder:
        ways = ours(documents, scores, folder)
        drop_rate = ways["dropping, decoding and writing"]()["mean_drop_rate"]  # type: ignore[index]
        seconds = alternate(ways | (others(documents, drop_rate) if with_others else {}), rounds)
    each = tokens / SETTINGS.copies / len(documents)
    print(
        f"\n{len(documents)} {name} of {each:.0f} tokens on average, {SETTINGS.copies} copies each, mean drop rate "
        f"{drop_rate:.2f}, {rounds} rounds. {machine()}.\n\n| way | million tokens a second | best round | "
        "time over dropping and decoding |\n| --- | --- | --- | --- |"
    )
    for way, values in seconds.items():
        speeds = [tokens / value / 1e6 for value in values]
        over = [one / own for one, own in zip(values, seconds["dropping and decoding"], strict=True)]
        ratio = quartiles(over, ".2f") if way != "dropping and decoding" else "1"
        print(f"| {way} | {quartiles(speeds, '.3f')} | {max(speeds):.3f} | {ratio} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--others", default="", help="the folder of nlpaug and textaugment (empty: ours alone)")
    arguments = parser.parse_args()
    if arguments.others:
        sys.path.append(arguments.others)
    random.seed(0)
    for name, documents in texts().items():
        measure(name, documents, arguments.rounds, bool(arguments.others))


if __name__ == "__main__":
    main()
