"""What asking questions costs on a CPU, beside the way of the paper's released code.

    python benchmarks/evaluation.py [--model elusive/large | 100M] [--questions 500]
    python benchmarks/evaluation.py --draws FOLDER ... --asked QUESTIONS.jsonl [--seeds 0 1 2]

The first prints a Markdown table of ratios, taken side by side in one run as in benchmarks/scoring.py: five-shot
questions about new fictional people, answers up to 24 tokens. `authors` is transformers' generate on batches of 8 in
file order, padded on the left. `ours` draws the shots for each question, as the paper does; `ours, a draw a field`
draws them once for each field (evaluate.draw = "field"), so that questions of a field begin alike, which is read once.
`one token` is the same with answers of one token: what reading the prompts costs us. `prompts alone` is the bare
forward pass of all prompts, sorted by length and without logits. Before anything is timed, the answers are compared
with those of one prompt at a time.

The second says what evaluate.draw = "field" changes in EM: trained models (the folders that training writes) are asked
with either draw and several seeds of it. The interval of the difference resamples documents, over the seeds' mean.
"""

import argparse
import statistics
from collections.abc import Sequence

import numpy as np
import torch
from scoring import Ways, alternate, llama, print_table

from elusive.config.models import ModelRef
from elusive.config.run import EvaluateSettings
from elusive.corpus.people.biographies import biography_corpus, well_known_examples
from elusive.corpus.questions import QuestionItem, read_questions
from elusive.evaluation.generation import generate_answers, stop_token_ids
from elusive.evaluation.prompts import few_shot_prompt
from elusive.evaluation.stage import evaluate
from elusive.models import loading
from elusive.models.batching import length_batches
from elusive.reporting.formatting import difference_text
from elusive.stats.estimates import difference

NEW_TOKENS = 24
SHOTS = 5


def first_line(text: str) -> str:
    return text.split("\n", 1)[0].strip()


def authors_answers(model, tokenizer, prompts: list[str]) -> list[str]:
    """Batches of 8 in file order, padded on the left, up to the model's own end of text."""
    texts: list[str] = []
    for start in range(0, len(prompts), 8):
        batch = tokenizer(prompts[start : start + 8], return_tensors="pt", padding=True, padding_side="left")
        output_BT = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
        texts += tokenizer.batch_decode(output_BT[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def one_by_one(model, tokenizer, prompts: list[str]) -> list[str]:
    stops = stop_token_ids(tokenizer)
    texts = []
    for prompt in prompts:
        row = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**row, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=stops, pad_token_id=0)
        texts.append(tokenizer.decode(output[0, row["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def prompts_alone(model, tokenizer, prompts: list[str]) -> None:
    rows = tokenizer(prompts)["input_ids"]
    for batch in length_batches([len(row) for row in rows], 2048):
        ids = [torch.tensor(rows[number]) for number in batch]
        model.get_decoder()(torch.nn.utils.rnn.pad_sequence(ids, batch_first=True), use_cache=False)


def speed_table(arguments: argparse.Namespace) -> None:
    own_model = arguments.model == "100M"
    tokenizer = loading.load_tokenizer("elusive/large" if own_model else arguments.model)
    model = (
        llama(torch.float32, 1, "sdpa") if own_model else loading.load_model(ModelRef(arguments.model, device="cpu"))
    )
    _, items = biography_corpus(-(-arguments.questions // 5), seed=3)
    items, examples = items[: arguments.questions], well_known_examples()
    own = [few_shot_prompt(item, examples, EvaluateSettings(shots=SHOTS)) for item in items]
    by_field = [few_shot_prompt(item, examples, EvaluateSettings(shots=SHOTS, draw="field")) for item in items]

    def ours(prompts: list[str], new_tokens: int = NEW_TOKENS) -> list[str]:
        return generate_answers(model, tokenizer, prompts, max_new_tokens=new_tokens, max_batch_tokens=16_384)

    ways: Ways = {
        "authors": lambda: authors_answers(model, tokenizer, own),
        "ours": lambda: ours(own),
        "ours, one token": lambda: ours(own, 1),
        "ours, a draw a field": lambda: ours(by_field),
        "ours, a draw a field, one token": lambda: ours(by_field, 1),
        "prompts alone": lambda: prompts_alone(model, tokenizer, own),
    }
    if arguments.only:
        ways = {name: ways[name] for name in ("authors", *arguments.only)}
    with torch.inference_mode():
        for prompts in (own[: arguments.compared], by_field[: arguments.compared]):
            alone, together = one_by_one(model, tokenizer, prompts), ours(prompts)
            same = sum(first_line(one) == first_line(other) for one, other in zip(alone, together, strict=True))
            print(f"the same answer as one prompt at a time: {same} of {len(prompts)}", flush=True)
        seconds = alternate(ways, arguments.rounds, warm=not arguments.cold)
    rows = []
    for name, values in seconds.items():
        faster = [one / other for one, other in zip(seconds["authors"], values, strict=True)]
        low, middle, high = statistics.quantiles(faster, n=4)
        rows.append([name, f"{statistics.median(values):.2f} s", f"{middle:.2f} [{low:.2f}, {high:.2f}]"])
    title = f"{len(items)} questions, {arguments.model}, float32, {arguments.rounds} rounds"
    print_table(title, ["way", "time", "times as fast as the authors'"], rows)


def exact_matches(folder: str, items: Sequence[QuestionItem], seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """EM of each question with each draw, the mean over the draw's seeds."""
    tokenizer, model = loading.load_tokenizer(folder), loading.load_model(folder)
    examples = list(well_known_examples())
    found = {}
    for draw in ("question", "field"):
        of_seeds = []
        for seed in seeds:
            rows = evaluate(model, tokenizer, items, examples, EvaluateSettings(shots=SHOTS, seed=seed, draw=draw))
            of_seeds.append([one.em for one in rows])
            print(f"{folder}, a draw a {draw}, seed {seed}: EM {np.mean(of_seeds[-1]):.3f}", flush=True)
        found[draw] = np.mean(of_seeds, axis=0)
    return found


def draws_table(arguments: argparse.Namespace) -> None:
    items = read_questions(arguments.asked)
    found = {folder: exact_matches(folder, items, arguments.seeds) for folder in arguments.draws}
    if len(found) > 1:
        found["mean"] = {draw: np.mean([em[draw] for em in found.values()], axis=0) for draw in ("question", "field")}
    documents = [item.document_id for item in items]
    rows = []
    for name, em in found.items():
        found = difference([em["field"]], [em["question"]], [documents], trained=False)
        means = [f"{em[draw].mean():.3f}" for draw in ("question", "field")]
        rows.append([name, *means, difference_text(found)])
    title = f"{len(items)} questions, {SHOTS} shots, seeds of the draw {' '.join(map(str, arguments.seeds))}"
    print_table(title, ["model", "a draw a question", "a draw a field", "difference, 95% interval"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="elusive/large", help="a model, or 100M")
    parser.add_argument("--questions", type=int, default=500, help="how many")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--only", nargs="*", default=[], help="these ways and the authors' alone")
    parser.add_argument("--compared", type=int, default=None, help="questions that are also asked one by one (all)")
    parser.add_argument("--cold", action="store_true", help="no run of each way before the first round")
    parser.add_argument("--draws", nargs="+", default=[], metavar="FOLDER", help="trained models, for the second table")
    parser.add_argument("--asked", help="their questions, a JSONL file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the draw")
    arguments = parser.parse_args()
    if arguments.draws and not arguments.asked:
        parser.error("--draws needs --asked, e.g. RUN/corpus/questions.jsonl")
    torch.set_num_threads(1)
    if arguments.draws:
        draws_table(arguments)
    else:
        speed_table(arguments)


if __name__ == "__main__":
    main()
