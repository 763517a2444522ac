"""The method with Elusive: a pair of models, the clues it finds, and copies in which the best clues survive.

    python examples/the_api.py

`the_method.py` computes the same numbers without the package.
"""

import elusive

documents, questions = elusive.biography_corpus(1, seed=7)  # or elusive.read_corpus("my_corpus.jsonl").documents
pair = elusive.Pair.load("elusive/large", "elusive/small", device="cpu")
clues = pair.clues(documents)  # in a notebook, this shows each document with its clues coloured
copies = elusive.augment(clues, alpha=0.6, beta=0.05, copies=10)

if __name__ == "__main__":
    print("best clues:", ", ".join(repr(token.text.strip()) for token in clues.best(5)))
    print("original:  ", copies[0].text)
    print("a copy:    ", copies[1].text)
