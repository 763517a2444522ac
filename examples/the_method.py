"""The whole method in one script, without this package's abstractions: transformers, torch and numpy are all it needs.

    python examples/the_method.py

Two language models of one family read a text. What the large one attends to and the small one overlooks is a clue that
models miss while they learn. Copies of the text drop tokens at random, but the best clues rarely, and models trained
on these copies learn the facts better (Gao et al. 2025, arXiv 2409.17954). `the_api.py` does the same with Elusive.
"""

import hashlib
from importlib.resources import files

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# A text about a fictional person, and the answers in it that a model should learn to give.
IDENTIFIER = "person-00001"
TEXT = (
    "Khalid Montoya was born on November 4, 1963. He spent his early years in Guadalajara, Mexico. He received "
    "mentorship and guidance from faculty members at the University of Debrecen. He completed his education with a "
    "focus on Radiography. He had a professional role at Zeiss."
)
ANSWERS = ("November 4, 1963", "Guadalajara, Mexico", "the University of Debrecen", "Radiography", "Zeiss")
ALPHA, BETA, COPIES, SEED = 0.6, 0.05, 10, 0

# The pair: two tiny models that come with the package. Any two models with one tokenizer do.
folders = {name: str(files("elusive") / "embedded" / name) for name in ("large", "small")}
tokenizer = AutoTokenizer.from_pretrained(folders["large"])
encoded = tokenizer(TEXT, return_offsets_mapping=True)
ids, offsets = np.array(encoded["input_ids"]), encoded["offset_mapping"]

# Queries are the cues: the token just before each answer, where the model must recall what the answer is.
queries = []
for answer in ANSWERS:
    start, end = TEXT.index(answer), TEXT.index(answer) + len(answer)
    first = next(k for k, (left, right) in enumerate(offsets) if left < end and right > start)
    queries.append(first - 1)

# The score of a token is the mean attention that it receives from the queries at or after it, which alone can see it.
seeing = np.array([sum(query >= k for query in queries) for k in range(len(ids))])
scores = {}
for name, folder in folders.items():
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.inference_mode():
        attentions = model(torch.tensor(ids)[None], output_attentions=True).attentions
    mean_attention = torch.stack(attentions).mean(dim=(0, 1, 2)).numpy()  # over layers, the one text, and heads
    scores[name] = mean_attention[queries].sum(0) / np.maximum(seeing, 1)

# The contrast: what the large model attends to and the small one overlooks.
contrast = scores["large"] - scores["small"]

# Rank 1 is the largest contrast; tokens that no query sees come last, and are kept. Special tokens, white space and
# punctuation are never ranked (rank 0) and never dropped.
special = np.isin(ids, tokenizer.all_special_ids)
words = [TEXT[start:end].strip() for start, end in offsets]
rankable = [k for k in range(len(ids)) if not special[k] and words[k] not in ("", ".", ",")]
best_first = sorted(rankable, key=lambda k: (seeing[k] == 0, -contrast[k] if seeing[k] else 0.0, k))
ranks = np.zeros(len(ids), dtype=int)
ranks[best_first] = np.arange(1, len(best_first) + 1)

# Equation 1: the better the clue, the less likely it is dropped.
probability = np.where(seeing > 0, ALPHA * -np.expm1(-BETA * ranks), 0.0)

# Each copy has a random generator of its own, made from the seed, the copy's number and the text's name.
copies = []
for copy in range(1, COPIES + 1):
    digest = hashlib.blake2b(f"{SEED}\0{copy}\0{IDENTIFIER}".encode(), digest_size=16).digest()
    generator = np.random.default_rng(int.from_bytes(digest, "little"))
    kept = (generator.random(len(ids)) >= probability) & ~special
    copies.append(tokenizer.decode(ids[kept], clean_up_tokenization_spaces=False))

if __name__ == "__main__":
    print("best clues:", ", ".join(repr(words[k]) for k in best_first[:5]))
    print("original:  ", TEXT)
    print("a copy:    ", copies[0])
