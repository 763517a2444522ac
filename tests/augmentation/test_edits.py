"""The texts of copies: what stays of each sentence, clues in it, and the order."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from elusive.augmentation.clue_spans import Clue
from elusive.augmentation.edits import CopyWriter
from elusive.augmentation.rankings import RankedDocument
from elusive.config.augmentation import AugmentSettings
from elusive.models.loading import load_tokenizer

TEXT = " Ada Byron was born in a town by the sea.  She lived in London. She wrote the notes.\n\nBob was her friend. "
NAME = (1, 10)
SECOND, THIRD = TEXT.index("She lived"), TEXT.index("She wrote")
CLUES = (Clue(SECOND, *NAME), Clue(THIRD, *NAME))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("elusive/large")


def ranked(tokenizer: Any, clues: tuple[Clue, ...] = (), text: str = TEXT) -> RankedDocument:
    row = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = np.array(row["input_ids"], np.int32), np.array(row["offset_mapping"], np.int32)
    return RankedDocument("d", text, ids, offsets, np.zeros(len(ids), np.int32), np.zeros(len(ids)), clues)


def texts(
    tokenizer: Any, document: RankedDocument, kept: Any = None, reorders: bool = False, **settings: Any
) -> list[str]:
    kept = np.ones((6, len(document.token_ids)), bool) if kept is None else kept
    writer = CopyWriter(tokenizer, AugmentSettings(**settings), reorders)
    return writer.texts(document, kept, range(1, 1 + len(kept)))


def test_without_edits_copies_are_what_the_tokens_say(tokenizer: Any) -> None:
    assert texts(tokenizer, ranked(tokenizer)) == [TEXT] * 6


def test_clues_in_all_sentences_that_have_one(tokenizer: Any) -> None:
    made = texts(tokenizer, ranked(tokenizer, CLUES), insert_share=1.0, insert_forms=("prefix",))
    expected = TEXT.replace("She lived", "Ada Byron: She lived").replace("She wrote", "Ada Byron: She wrote")
    assert made == [expected] * 6


def test_a_share_of_the_clues_and_all_forms(tokenizer: Any) -> None:
    document = ranked(tokenizer, CLUES)
    made = texts(tokenizer, document, np.ones((200, len(document.token_ids)), bool), insert_share=0.5)
    found = {
        "prefix": sum("Ada Byron: She lived" in text for text in made),
        "parenthesis": sum("London (Ada Byron)." in text for text in made),
        "pronoun": sum("Ada Byron lived" in text for text in made),
    }
    # 200 draws of chance 1/6 each: 33.3, standard deviation 5.3.
    assert all(17 < times < 50 for times in found.values())
    assert sum(found.values()) == 200 - sum("  She lived in London. " in text for text in made)


def test_the_draws_are_those_of_the_copy_alone(tokenizer: Any) -> None:
    document = ranked(tokenizer, CLUES)
    together = texts(tokenizer, document, reorders=True)
    writer = CopyWriter(tokenizer, AugmentSettings(), True)
    alone = [writer.texts(document, np.ones((1, len(document.token_ids)), bool), [copy])[0] for copy in range(1, 7)]
    assert alone == together
    assert len(set(together)) > 2
    assert texts(tokenizer, document, reorders=True, seed=1) != together


def test_another_clue_is_written_in_the_same_sentences(tokenizer: Any) -> None:
    bob = TEXT.index("Bob")
    other = tuple(dataclasses.replace(clue, start=bob, end=bob + 3) for clue in CLUES)
    one, two = (texts(tokenizer, ranked(tokenizer, clues)) for clues in (CLUES, other))
    assert [
        text.replace("Bob: She", "Ada Byron: She")
        .replace("(Bob)", "(Ada Byron)")
        .replace("Bob lived", "Ada Byron lived")
        .replace("Bob wrote", "Ada Byron wrote")
        for text in two
    ] == one


def test_order_within_paragraphs(tokenizer: Any) -> None:
    made = set(texts(tokenizer, ranked(tokenizer), reorders=True))
    other = (
        " Ada Byron was born in a town by the sea.  She wrote the notes. She lived in London.\n\nBob was her friend. "
    )
    assert made == {TEXT, other}


CODE = """Ada is the name of the girl. Bob is the name of the boy.

```python
# The sum is of the two numbers. The first is one of them.
total = 1 + 2  # It is the sum. The rest is for the others.
```

The girl is in the town. The boy is by the sea.
"""
TABLE = """Ada is the name of the girl. Bob is the name of the boy.

| The girl is in the town. The boy is by the sea. | notes |
|---|---|
| The house is on the hill. The road is to the sea. | It is the one for the two of us. |
"""
INDENTED = """Ada is the name of the girl. Bob is the name of the boy.

    # The sum is of the two numbers. The first is one of them.
    total = 1 + 2  # It is the sum. The rest is for the others.
"""


@pytest.mark.parametrize(("text", "orders"), [(CODE, 4), (TABLE, 2), (INDENTED, 2)], ids=["code", "table", "indented"])
def test_no_edit_reaches_code_and_tables(tokenizer: Any, text: str, orders: int) -> None:
    prose, block = text.split("\n\n")[:2]
    name = Clue(text.index(block.strip()), 0, 3)
    document = ranked(tokenizer, (name, dataclasses.replace(name, sentence=text.index("Bob"))), text)
    kept = np.ones((40, len(document.token_ids)), bool)
    made = set(texts(tokenizer, document, kept, True, insert_share=1.0, insert_forms=("prefix",)))
    assert len(made) == orders
    assert all(block in one and one.count("Ada: ") == one.count("Ada: Bob is") == 1 for one in made)
    assert prose not in made


def test_a_clue_frees_a_sentence_from_its_place(tokenizer: Any) -> None:
    document = ranked(tokenizer, CLUES)
    kept = np.ones((60, len(document.token_ids)), bool)
    made = texts(tokenizer, document, kept, True, insert_share=1.0, insert_forms=("pronoun",))
    assert any(text.startswith(" Ada Byron wrote the notes.  Ada Byron") for text in made)
    assert len(set(made)) == 6


def test_dropped_tokens_stay_dropped(tokenizer: Any) -> None:
    document = ranked(tokenizer, CLUES)
    places = [(TEXT.index(word), TEXT.index(word) + len(word)) for word in ("lived", "notes", "friend")]
    starts, ends = document.offsets.T
    kept = np.array([~np.logical_or.reduce([(starts < end) & (ends > start) for start, end in places])] * 6)
    made = texts(tokenizer, document, kept, insert_share=1.0, insert_forms=("prefix",))
    left = " Ada Byron was born in a town by the sea.  Ada Byron: She  in London. Ada Byron: She wrote the ."
    assert made == [f"{left}\n\nBob was her. "] * 6
    blank = texts(tokenizer, document, kept, insert_share=1.0, insert_forms=("prefix",), blank=True)
    assert blank[0].startswith(" Ada Byron was born in a town by the sea.  Ada Byron: She       in London. ")


def test_a_sentence_without_tokens_left(tokenizer: Any) -> None:
    document = ranked(tokenizer, CLUES)
    second = (document.offsets[:, 0] >= SECOND - 1) & (document.offsets[:, 1] <= THIRD - 1)
    [made] = texts(tokenizer, document, ~second[None], insert_share=1.0, insert_forms=("prefix",))
    assert made == " Ada Byron was born in a town by the sea.  Ada Byron: She wrote the notes.\n\nBob was her friend. "


def test_tokens_of_edited_texts(tokenizer: Any) -> None:
    writer = CopyWriter(tokenizer, AugmentSettings())
    [ids] = writer.token_ids(["Ada Byron: She left."])
    assert tokenizer.decode(ids) == "Ada Byron: She left."
    assert not set(ids.tolist()) & writer.special_ids
