"""Which questions stay, and which of them give cues or are asked: no repeats, topics balanced, no shared facts."""

import collections
import dataclasses
import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from elusive.evaluation.normal_forms import AnswerMetric, exact_match_of

from .checks import BEYOND_MOST, CONTRADICTED, SAID_BEFORE
from .pairs import Rejected, Written
from .terms import QUESTION_WORDS, names, places, terms


@dataclass(frozen=True)
class _Words:
    """What a question is compared by: its names, numbers and question words, and all its terms."""

    names: frozenset[str]
    terms: frozenset[str]

    @classmethod
    def of(cls, question: str) -> "_Words":
        asking = QUESTION_WORDS & {word.lower() for _, _, word in places(question)}
        return cls(names(question) | asking, frozenset(terms(question)))

    def similarity(self, common: int, other: "_Words") -> float:
        """Jaccard's index of the terms, of which so many are common."""
        return common / (len(self.terms) + len(other.terms) - common)


def are_alike(one: str, other: str, max_similarity: float) -> bool:
    """Whether two questions ask the same: all names, numbers and question words are shared, and most other words.

    Example:
        >>> are_alike("When did Acme build the P7?", "When did Acme build its P7?", 0.75)
        True
        >>> are_alike("When did Acme build the P7?", "Where did Acme build the P7?", 0.5)
        False
    """
    first, second = _Words.of(one), _Words.of(other)
    common = len(first.terms & second.terms)
    return first.names == second.names and bool(common) and first.similarity(common, second) > max_similarity


def without_repeats(questions: Sequence[Written], max_similarity: float) -> tuple[list[Written], list[Rejected]]:
    """The questions without those that ask nearly the same as an earlier one; where answers differ, without both.

    Args:
        questions: all that passed, in order.
        max_similarity: as in `are_alike`.
    """
    words = [_Words.of(one.question) for one in questions]
    index: dict[tuple[frozenset[str], str], list[int]] = collections.defaultdict(list)
    faults: dict[int, str] = {}
    for place, own in enumerate(words):
        common = collections.Counter(other for term in own.terms for other in index[own.names, term])
        for other, count in common.items():
            if own.similarity(count, words[other]) > max_similarity:
                if _same_answer(questions[place], questions[other]):
                    faults.setdefault(place, SAID_BEFORE)
                else:
                    faults |= dict.fromkeys((place, other), CONTRADICTED)
        for term in own.terms:
            index[own.names, term].append(place)
    kept = [one for place, one in enumerate(questions) if place not in faults]
    return kept, [_rejected(questions[place], reason) for place, reason in sorted(faults.items())]


def _same_answer(one: Written, other: Written) -> bool:
    metric = AnswerMetric("multilingual", "")
    return bool(exact_match_of(one.answer, other.answer, metric))


def _rejected(one: Written, reason: str) -> Rejected:
    return Rejected(one.document_id, reason, one.question, one.answer, one.request)


def balanced(questions: Sequence[Written], most: int) -> tuple[list[Written], list[Rejected]]:
    """So many questions at most, in their order: topics take turns, and within a topic the kinds of answers do.

    Args:
        questions: all that there are.
        most: how many (0: all).
    """
    if not most or len(questions) <= most:
        return list(questions), []
    topics: dict[str, dict[str, list[int]]] = {}
    for place, one in enumerate(questions):
        topics.setdefault(one.topic, {}).setdefault(one.field, []).append(place)
    order = _in_turns([list(_in_turns(list(kinds.values()))) for kinds in topics.values()])
    chosen = {place for place, _ in zip(order, range(most), strict=False)}
    kept = [one for place, one in enumerate(questions) if place in chosen]
    return kept, [_rejected(one, BEYOND_MOST) for place, one in enumerate(questions) if place not in chosen]


def _in_turns(lists: Sequence[Sequence[int]]) -> Iterator[int]:
    """One of each list, then the next of each, until all are at their end."""
    for turn in range(max(map(len, lists), default=0)):
        yield from (one[turn] for one in lists if turn < len(one))


@dataclass(frozen=True)
class TwoSets:
    """Questions that give cues and questions that are asked, about different facts."""

    cues: tuple[Written, ...]
    asked: tuple[Written, ...]


def two_sets(questions: Sequence[Written], test_share: float, seed: int) -> TwoSets:
    """Split questions so that no fact is in both sets, evenly over the topics.

    Questions are about one fact if their answers stand in one sentence, or are the same in one document, or are the
    same and the questions share a name, whatever their documents.

    Args:
        questions: those that stay.
        test_share: share of them that is asked.
        seed: of the order in which facts are dealt.
    """
    facts = sorted(_facts(questions), key=lambda fact: (questions[fact[0]].topic, _drawn(seed, questions[fact[0]])))
    asked: set[int] = set()
    owed = 0.0
    for fact in facts:
        owed += test_share * len(fact)
        if owed >= len(fact) / 2:
            asked.update(fact)
            owed -= len(fact)
    return TwoSets(
        tuple(one for place, one in enumerate(questions) if place not in asked),
        tuple(one for place, one in enumerate(questions) if place in asked),
    )


def _drawn(seed: int, one: Written) -> str:
    return hashlib.blake2b(f"{seed}\n{one.document_id}\n{one.start}".encode(), digest_size=8).hexdigest()


def _facts(questions: Sequence[Written]) -> list[list[int]]:
    """The questions by the fact that they are about, as places in the sequence."""
    numbers: dict[Hashable, int] = {}
    edges = [
        (place, numbers.setdefault(key, len(numbers))) for place, one in enumerate(questions) for key in _keys(one)
    ]
    if not edges:
        return []
    question_E, key_E = np.array(edges).T
    nodes = len(questions) + len(numbers)
    graph = coo_array((np.ones(len(edges)), (question_E, len(questions) + key_E)), shape=(nodes, nodes))
    _, component_N = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = collections.defaultdict(list)
    for place, component in enumerate(component_N[: len(questions)].tolist()):
        groups[component].append(place)
    return list(groups.values())


def _keys(one: Written) -> Iterator[Hashable]:
    answer = " ".join(one.answer.casefold().split())
    yield one.document_id, one.fact
    yield one.document_id, answer
    yield from ((answer, name) for name in sorted(names(one.question)))


def numbered(questions: Iterable[Written]) -> list[Written]:
    """The questions with ids: those that they came with, or their document's and a number."""
    counts: collections.Counter[str] = collections.Counter()
    done = []
    for one in questions:
        counts[one.document_id] += 1
        done.append(one if one.id else dataclasses.replace(one, id=f"{one.document_id}-q{counts[one.document_id]}"))
    return done
