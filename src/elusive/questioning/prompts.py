"""What a language model is asked for: questions about a document, and answers to them with and without it."""

import hashlib

from .passages import Passage

_WRITE = """\
Write {count} questions about facts that a text states, each with its answer.

Whoever answers will not see the text. So each question:
- names whom or what it is about, in full{subject}; it has no "it", "he", "this" or "the text";
- asks for one fact that nobody could guess: a name, a number, a date, a place, an option, a short phrase;
- has one right answer only, and does not contain it.
Each answer is copied from the text word for word and has at most {words} words.
Ask about different facts, in the language of the text. Write each as two lines, and nothing else.

For example, about the text "# Hornby Light

The tower was built in 1871 by the engineer Ida Voss. Its lamp reaches 23 sea miles.":
Q: In which year was the tower of Hornby Light built?
A: 1871
Q: How far does the lamp of Hornby Light reach?
A: 23 sea miles

The text:
{text}"""

_ANSWER = """\
Answer the question with as few words as possible: a name, a number, a date or a short phrase, and nothing else.{known}

{text}Question: {question}"""

_FROM_TEXT = " Take the answer from the text, word for word."

_FROM_MEMORY = " If you do not know, guess."


def prompts_hash() -> str:
    """A short name of all words that prompts are made of."""
    return hashlib.blake2b(repr((_WRITE, _ANSWER, _FROM_TEXT, _FROM_MEMORY)).encode(), digest_size=8).hexdigest()


def writing_prompt(passage: Passage, count: int, longest_words: int) -> str:
    """The request for a document's questions.

    Args:
        passage: the document.
        count: how many.
        longest_words: of an answer.
    """
    subject = f" (here: {passage.headings[-1]})" if passage.headings else ""
    return _WRITE.format(count=count, subject=subject, words=longest_words, text=passage.text.strip())


def answering_prompt(question: str, text: str = "") -> str:
    """The request for the answer to a question: from a text, or from memory where there is none."""
    shown = f"The text:\n{text.strip()}\n\n" if text else ""
    return _ANSWER.format(known=_FROM_TEXT if text else _FROM_MEMORY, text=shown, question=question)
