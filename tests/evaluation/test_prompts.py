"""Few-shot prompts: which examples they show."""

import hashlib
import random
from collections import Counter
from typing import Any

import pytest

from elusive.config.evaluation import EvaluateSettings
from elusive.corpus.people.biographies import biography_corpus, well_known_examples
from elusive.corpus.questions import Example, QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation.prompts import examples_in_words, few_shot_prompt

ITEM = QuestionItem("q1", "When was Liam born?", ("1 May",), "date", "d1")
EXAMPLES = tuple(Example(f"Who is {letter}?", letter.upper()) for letter in "abcdefgh")
FIELDS = tuple(
    Example(f"{field} of {letter}?", f"{letter.upper()} {field}", field)
    for letter in "abc"
    for field in ("date", "city")
)


def prompt_of(item: QuestionItem, examples: Any, **settings: Any) -> str:
    return few_shot_prompt(item, examples, EvaluateSettings(**settings))


def shown(prompt: str) -> list[str]:
    """The questions of a prompt's examples."""
    return [line.removeprefix("Question: ") for line in prompt.split("\n")[:-2:2]]


class TestFewShotPrompt:
    def test_exact_form(self) -> None:
        examples = [Example("When was Isaac Newton born?", "January 4, 1643")]
        assert prompt_of(ITEM, examples, shots=1) == (
            "Question: When was Isaac Newton born?\nAnswer: January 4, 1643\nQuestion: When was Liam born?\nAnswer:"
        )

    def test_no_shots(self) -> None:
        assert prompt_of(ITEM, [], shots=0) == "Question: When was Liam born?\nAnswer:"

    def test_one_draw_for_a_field(self) -> None:
        def prompt(name: str, field: str) -> str:
            return prompt_of(QuestionItem(name, "Who?", ("x",), field, "d"), EXAMPLES, shots=3, draw="field")

        assert prompt("q1", "date") == prompt("q2", "date")
        assert prompt("q1", "date") != prompt("q1", "city")
        # As if the field were the question's id: the same generator.
        assert prompt("q1", "date") == prompt_of(QuestionItem("date", "Who?", ("x",), "f", "d"), EXAMPLES, shots=3)

    def test_drawn_without_replacement(self) -> None:
        lines = prompt_of(ITEM, EXAMPLES, shots=8, seed=3).split("\n")
        assert len(lines) == 18
        assert sorted(lines[0:16:2]) == [f"Question: {example.question}" for example in EXAMPLES]
        for question, answer in zip(lines[0:16:2], lines[1:16:2], strict=True):
            assert answer == f"Answer: {question[-2].upper()}"

    def test_same_draw_in_every_process_and_version(self) -> None:
        # By hand: the first two steps of a Fisher-Yates shuffle with random()'s numbers, seeded by the digest.
        digest = hashlib.blake2b(b"7\nq1", digest_size=16).digest()
        generator = random.Random(int.from_bytes(digest, "big"))
        first = int(generator.random() * 8)
        rest = list("abcdefgh")
        rest[0], rest[first] = rest[first], rest[0]
        second = 1 + int(generator.random() * 7)
        expected = [rest[0], rest[second]]
        prompt = prompt_of(ITEM, EXAMPLES, shots=2, seed=7)
        assert [line[-2] for line in prompt.split("\n")[0:4:2]] == expected
        assert expected == ["f", "a"]  # as first computed; a change would alter published evaluations

    def test_depends_on_seed_and_id_alone(self) -> None:
        def prompt(item: QuestionItem, seed: int) -> str:
            return prompt_of(item, EXAMPLES, shots=5, seed=seed).rpartition("Question: ")[0]

        other_text = QuestionItem("q1", "Something else?", ("x",), "city", "d9")
        assert prompt(ITEM, 0) == prompt(other_text, 0)
        draws = {prompt(QuestionItem(f"q{n}", "?", ("x",), "f", "d"), seed) for n in range(10) for seed in range(10)}
        assert len(draws) > 90  # of 100 draws from 6,720 ordered choices

    def test_every_example_is_drawn_about_as_often(self) -> None:
        counts: Counter[str] = Counter()
        for n in range(800):
            item = QuestionItem(f"q{n}", "?", ("x",), "f", "d")
            counts[prompt_of(item, EXAMPLES, shots=1).split("\n")[0]] += 1
        # 100 expected each; 5 standard deviations are 47.
        assert len(counts) == 8
        assert all(53 < count < 147 for count in counts.values())

    def test_a_question_is_no_example_of_itself(self) -> None:
        item = QuestionItem("q7", EXAMPLES[2].question, ("C",), "f", "d")
        lines = prompt_of(item, EXAMPLES, shots=7).split("\n")
        assert lines.pop() == "Answer:"
        assert lines.pop() == "Question: Who is c?"
        assert sorted(lines[::2]) == [f"Question: Who is {letter}?" for letter in "abdefgh"]
        # Drawn as if the example had never been there, also where a field has one draw.
        rest = EXAMPLES[:2] + EXAMPLES[3:]
        for draw in ("question", "field"):
            assert prompt_of(item, EXAMPLES, shots=3, draw=draw) == prompt_of(item, rest, shots=3, draw=draw)

    def test_too_few_examples_beside_the_question_itself(self) -> None:
        item = QuestionItem("q7", "Who is c?", ("C",), "f", "d")
        with pytest.raises(
            ElusiveError, match=r"to the 7 examples at hand beside the question 'Who is c\?' itself, got 8"
        ):
            prompt_of(item, EXAMPLES, shots=8)

    def test_prompts_of_published_evaluations(self) -> None:
        # As computed before questions could be examples, too.
        questions, examples = biography_corpus(50, seed=7)[1], well_known_examples()
        prompts = [
            prompt_of(item, examples, draw=draw, example_fields="any")
            for item in questions
            for draw in ("question", "field")
        ]
        expected = "7bab6d94cdf514308e08947b3446c2d46704156bb6d7f16ef6831e68b187372f"
        assert hashlib.sha256("".join(prompts).encode()).hexdigest() == expected

    def test_one_prompt_as_first_computed(self) -> None:
        item = biography_corpus(1, seed=7)[1][4]
        assert shown(prompt_of(item, well_known_examples())) == [
            f"Where did {name} work?"
            for name in (
                "Margaret Thatcher",
                "Max Planck",
                "Enrico Fermi",
                "Stephen King",
                "Ursula von der Leyen",
            )
        ]

    def test_too_few_examples(self) -> None:
        with pytest.raises(ElusiveError, match=r"shots from 0 to the 8 examples at hand, got 9\. Lower"):
            prompt_of(ITEM, EXAMPLES, shots=9)


class TestExampleFields:
    def test_examples_have_the_question_s_own_field(self) -> None:
        questions, examples = biography_corpus(20, seed=7)[1], well_known_examples()
        field_of = {example.question: example.field for example in examples}
        for item in questions:
            for draw in ("question", "field"):
                prompt = prompt_of(item, examples, draw=draw)
                assert [field_of[question] for question in shown(prompt)] == [item.field] * 5
        for number, field in enumerate(("date", "city", "university", "major", "company")):
            begun = {
                prompt_of(item, examples, draw="field").rpartition("Question:")[0] for item in questions[number::5]
            }
            assert len(begun) == 1, field

    def test_drawn_from_them_as_from_a_pool_of_their_own(self) -> None:
        dates = [example for example in FIELDS if example.field == "date"]
        assert prompt_of(ITEM, FIELDS, shots=2, seed=4) == prompt_of(ITEM, dates, shots=2, seed=4, example_fields="any")

    def test_where_they_are_too_few_others_come_before_them(self) -> None:
        questions = shown(prompt_of(ITEM, FIELDS, shots=5))
        assert sorted(questions[2:]) == ["date of a?", "date of b?", "date of c?"]
        assert {question.split()[0] for question in questions[:2]} == {"city"}

    def test_a_field_without_examples_is_as_any(self) -> None:
        item = QuestionItem("q1", "Which prize?", ("x",), "prize", "d1")
        assert prompt_of(item, FIELDS, shots=4) == prompt_of(item, FIELDS, shots=4, example_fields="any")

    def test_no_example_has_the_answer_from_the_same_document(self) -> None:
        item = QuestionItem("q1", "When did d1 see the light?", ("1815",), "date", "d1")
        told, other = Example("When was d1 born?", "1815", "date", "d1"), Example("Capital?", "Rome", "city", "d1")
        elsewhere = Example("When was d2 born?", "1815", "date", "d2")
        for fields in ("same", "any"):
            prompt = prompt_of(item, [told, other, elsewhere], shots=2, example_fields=fields)
            assert sorted(shown(prompt)) == ["Capital?", "When was d2 born?"]


class TestExamplesInWords:
    def words(self, *fields: str, **settings: Any) -> str:
        items = [QuestionItem(f"q{number}", "?", ("x",), field, "d") for number, field in enumerate(fields)]
        return examples_in_words(items, FIELDS, EvaluateSettings(**settings))

    def test_every_way(self) -> None:
        assert self.words("date", shots=0) == "no examples"
        assert self.words("date", shots=2, example_fields="any") == "2 examples of any field"
        assert self.words("date", "city", shots=3) == "3 examples of the question's own field"
        assert self.words("date", "prize", "prize", "city", shots=3) == (
            "3 examples, of other fields in 2 of 4 questions, where too few are of its own: prize (0 of 3)"
        )
        assert self.words("date", "v", "w", "x", "y", shots=4).endswith("own: v (0 of 4), w (0 of 4), x (0 of 4), ...")

    def test_the_question_itself_does_not_count(self) -> None:
        item = QuestionItem("q", "date of a?", ("A date",), "date", "d")
        assert "in 1 of 1 question" in examples_in_words([item], FIELDS, EvaluateSettings(shots=3))
