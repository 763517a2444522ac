"""What asking questions costs, beside the way of the paper's released code and a careful user's.

    python benchmarks/evaluation.py [--model elusive/large | 100M | 135M] [--questions 500] [--device cuda]
    python benchmarks/evaluation.py --draws FOLDER ... --asked QUESTIONS.jsonl [--seeds 0 1 2]

The first prints a Markdown table of ratios, taken side by side in one run: five-shot questions about new fictional
people, answers up to 24 tokens; float32 on a CPU, bfloat16 on a GPU, with the peak of its memory. `authors` is
transformers' generate on batches of 8 in file order, padded on the left; `generate, by length` the same on batches of
up to 128 prompts of like lengths that stop where ours do. `ours` draws the shots for each question, as the paper does;
`ours, a draw a field` draws them once for each field (evaluate.draw = "field"), so that questions of a field begin
alike, which is read once. `one token` is the same with answers of one token: what reading the prompts costs us.
`prompts alone` is the bare forward pass of all prompts, sorted by length and without logits. Before anything is timed,
the answers are compared with those of one prompt at a time (in bfloat16, rounding can tell them apart).

The second says what evaluate.draw = "field" changes in EM: trained models (the folders that training writes) are asked
with either draw and several seeds of it. The interval of the difference resamples documents, over the seeds' mean.
"""

import argparse
import functools
import statistics
from collections.abc import Sequence

import numpy as np
import torch
from scoring import print_table
from side_by_side import (
    SHAPES,
    Way,
    chosen_device,
    machine,
    model_of,
    ready,
    side_by_side,
    times_as_fast,
    tokenizer_of,
)

from elusive.config.evaluation import EvaluateSettings
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
        batch = batch.to(model.device)
        output_BT = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
        texts += tokenizer.batch_decode(output_BT[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def careful_answers(model, tokenizer, prompts: list[str]) -> list[str]:
    """Batches of up to 128 prompts of like lengths, the longest first, up to a newline or the end of text."""
    stops, texts = stop_token_ids(tokenizer), [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
    for start in range(0, len(order), 128):
        numbers = order[start : start + 128]
        batch = tokenizer(
            [prompts[number] for number in numbers], return_tensors="pt", padding=True, padding_side="left"
        )
        batch = batch.to(model.device)
        output_BT = model.generate(
            **batch, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=stops, pad_token_id=0
        )
        found = tokenizer.batch_decode(output_BT[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for number, text in zip(numbers, found, strict=True):
            texts[number] = text
    return texts


def one_by_one(model, tokenizer, prompts: list[str]) -> list[str]:
    stops = stop_token_ids(tokenizer)
    texts = []
    for prompt in prompts:
        row = tokenizer(prompt, return_tensors="pt").to(model.device)
        output = model.generate(**row, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=stops, pad_token_id=0)
        texts.append(tokenizer.decode(output[0, row["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def prompts_alone(model, tokenizer, prompts: list[str]) -> None:
    rows = tokenizer(prompts)["input_ids"]
    for batch in length_batches([len(row) for row in rows], 2048):
        ids = [torch.tensor(rows[number], device=model.device) for number in batch]
        model.get_decoder()(torch.nn.utils.rnn.pad_sequence(ids, batch_first=True), use_cache=False)


def speed_table(arguments: argparse.Namespace, device: torch.device) -> None:
    tokenizer = tokenizer_of(arguments.model)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = model_of(arguments.model, device, dtype, len(tokenizer))
    _, items = biography_corpus(-(-arguments.questions // 5), seed=3)
    items, examples = items[: arguments.questions], well_known_examples()
    own = [few_shot_prompt(item, examples, EvaluateSettings(shots=SHOTS)) for item in items]
    by_field = [few_shot_prompt(item, examples, EvaluateSettings(shots=SHOTS, draw="field")) for item in items]

    def ours(prompts: list[str], new_tokens: int = NEW_TOKENS) -> list[str]:
        budget = arguments.batch_tokens
        return generate_answers(model, tokenizer, prompts, max_new_tokens=new_tokens, max_batch_tokens=budget)

    ways: dict[str, Way] = {
        name: ready(functools.partial(*call))
        for name, call in {
            "authors": (authors_answers, model, tokenizer, own),
            "generate, by length": (careful_answers, model, tokenizer, own),
            "ours": (ours, own),
            "ours, one token": (ours, own, 1),
            "ours, a draw a field": (ours, by_field),
            "ours, a draw a field, one token": (ours, by_field, 1),
            "prompts alone": (prompts_alone, model, tokenizer, own),
        }.items()
    }
    if arguments.only:
        ways = {name: ways[name] for name in dict.fromkeys((arguments.base, *arguments.only))}
    with torch.inference_mode():
        for prompts in (own[: arguments.compared], by_field[: arguments.compared]):
            alone, together = one_by_one(model, tokenizer, prompts), ours(prompts)
            same = sum(first_line(one) == first_line(other) for one, other in zip(alone, together, strict=True))
            print(f"the same answer as one prompt at a time: {same} of {len(prompts)}", flush=True)
        measured = side_by_side(ways, arguments.rounds, device, warm=not arguments.cold)
    if arguments.base not in measured:
        raise SystemExit(f"{arguments.base}, with which the others are compared, does not run.")
    base = measured[arguments.base].seconds
    rows = [
        [name, f"{statistics.median(of.seconds):.2f} s", times_as_fast(base, of.seconds), of.memory()]
        for name, of in measured.items()
    ]
    title = f"{len(items)} questions, {arguments.model}, {str(dtype).removeprefix('torch.')}, {arguments.rounds} rounds"
    head = ["way", "time", f"times as fast as {arguments.base}", "MiB of GPU memory, without weights"]
    print_table(title, head, rows, machine(device))


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
    parser.add_argument("--model", default="elusive/large", help=f"a model, or a shape: {', '.join(SHAPES)}")
    parser.add_argument("--questions", type=int, default=500, help="how many")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--only", nargs="*", default=[], help="these ways and the base alone")
    parser.add_argument("--base", default="authors", help="the way that the others are compared with")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch-tokens", type=int, default=16_384, help="evaluate.max_batch_tokens of our ways")
    parser.add_argument("--compared", type=int, default=None, help="questions that are also asked one by one (all)")
    parser.add_argument("--cold", action="store_true", help="no run of each way before the first round")
    parser.add_argument("--draws", nargs="+", default=[], metavar="FOLDER", help="trained models, for the second table")
    parser.add_argument("--asked", help="their questions, a JSONL file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the draw")
    arguments = parser.parse_args()
    if arguments.draws and not arguments.asked:
        parser.error("--draws needs --asked, e.g. RUN/corpus/questions.jsonl")
    device = chosen_device(arguments.device)
    if arguments.draws:
        draws_table(arguments)
    else:
        speed_table(arguments, device)


if __name__ == "__main__":
    main()
