"""What capturing attention costs on a CPU, over a bare forward pass of the same model on the same texts.

    python benchmarks/scoring.py attention [--dtype bfloat16] [--shared 3]     the attention operation alone
    python benchmarks/scoring.py forward [--dtype bfloat16] [--shared 3]       the whole forward pass, 97.5M parameters
    python benchmarks/scoring.py memory                                        peak memory of a forward pass
    python benchmarks/scoring.py corpus [--model elusive/large | 100M]         2,000 texts of 60 to 150 tokens
    python benchmarks/scoring.py sets [--model elusive/large] [--documents 60] one pass for several score sets

Each prints a Markdown table of ratios. The ways alternate within one process, in another order each round; a ratio is
taken within a round, in CPU time, and the table holds its median and quartiles over the rounds. The row "bare again" is
the bare forward pass against itself: what is smaller than its spread is noise. `bare` is torch's fused attention (SDPA)
without the language-model head; `authors` is the way of the paper's released code: eager attention, the attention of
all layers kept, one text at a time. One cue in 32 tokens is read, about as many as in the paper's biographies.
"""

import argparse
import copy
import functools
import itertools
import multiprocessing
import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

from elusive.attention import capture
from elusive.attention.architectures import attention_to_load
from elusive.attention.interface import ATTENTION, recorded_attention
from elusive.attention.recorder import Recorder, recording
from elusive.config.models import ModelRef
from elusive.config.scoring import Queries, ScoreSettings
from elusive.corpus.documents import Document, Span
from elusive.corpus.people.biographies import FIELDS, biography_corpus
from elusive.models import loading
from elusive.models.batching import length_batches
from elusive.models.devices import computes_bfloat16
from elusive.scoring.score import score_documents, score_query_sets
from elusive.scoring.sets import QuerySet

LAYERS, WIDTH, HEADS = 12, 768, 12
TOKENS_A_CUE = 32
Ways = dict[str, Callable[[], object]]


def machine() -> str:
    """The machine in words: its processor, threads and versions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    caches = [
        path.read_text(encoding="utf-8").strip()
        for path in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index[23]/size"))
    ]
    bf16 = "with" if computes_bfloat16("cpu") else "without"
    return (
        f"{processor} (caches {', '.join(caches) or 'unknown'}; {bf16} bf16 arithmetic), "
        f"{torch.get_num_threads()} thread, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def alternate(ways: Ways, rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """CPU seconds of each way in each round; each way runs once before the first, unless it takes minutes."""
    for way in ways.values() if warm else ():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for number in range(rounds):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            began = time.process_time()
            ways[name]()
            seconds[name].append(time.process_time() - began)
    return seconds


def ratios(seconds: dict[str, list[float]], over: str) -> dict[str, str]:
    """Median and quartiles over the rounds of each way's time over another's."""
    cells = {}
    for name, values in seconds.items():
        if name != over:
            low, middle, high = statistics.quantiles(
                [one / other for one, other in zip(values, seconds[over], strict=True)], n=4
            )
            cells[name] = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
    return cells


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], measured_on: str = "") -> None:
    print(f"\n{title}. {measured_on or machine()}.\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def cue_weights(tokens: int, last: int | None = None) -> torch.Tensor:
    """One cue in 32 tokens, none behind the last, (1, tokens)."""
    weights_BT = torch.zeros(1, tokens)
    weights_BT[:, min(tokens, TOKENS_A_CUE) // 2 : last : TOKENS_A_CUE] = 1.0
    return weights_BT


# --- the attention operation


def attention_ways(tokens: int, dtype: torch.dtype, shared: int) -> Ways:
    """SDPA, and the recorded attention with cue queries and with all."""
    texts = max(1, 512 // tokens)

    def states(heads: int) -> torch.Tensor:  # laid out as a projection leaves them
        return torch.randn(texts, tokens, heads, WIDTH // HEADS, dtype=dtype).transpose(1, 2)

    query, key, value = states(HEADS), states(HEADS // shared), states(HEADS // shared)
    layer = LlamaAttention(LlamaConfig(hidden_size=WIDTH, num_attention_heads=HEADS), layer_idx=0)

    def bare() -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=shared > 1
        )

    def recorded(weights_BT: torch.Tensor) -> None:
        with recording(Recorder(weights_BT.expand(texts, -1))):
            recorded_attention(layer, query, key, value, None)

    return {
        "bare": bare,
        "bare again": bare,
        "cues": functools.partial(recorded, cue_weights(tokens)),
        "all": functools.partial(recorded, torch.ones(1, tokens)),
    }


def attention_table(arguments: argparse.Namespace) -> None:
    rows = []
    for tokens in arguments.tokens:
        with torch.inference_mode():
            seconds = alternate(attention_ways(tokens, arguments.dtype, arguments.shared), arguments.rounds)
        cells = ratios(seconds, "bare")
        rows.append([f"{tokens:,}", f"{1000 * statistics.median(seconds['bare']):.1f} ms", *cells.values()])
    title = f"Attention operation over SDPA, {in_words(arguments)}, {arguments.rounds} rounds"
    print_table(title, ["tokens", "SDPA", "SDPA again", "cues", "all"], rows)


def in_words(arguments: argparse.Namespace) -> str:
    return f"{str(arguments.dtype).removeprefix('torch.')}, {HEADS} heads, {HEADS // arguments.shared} key-value heads"


# --- the whole forward pass


def llama(dtype: torch.dtype, shared: int, attention_name: str, layers: int = LAYERS) -> LlamaForCausalLM:
    """12 layers, d 768: 97.5M parameters, with 12 key-value heads; the same weights whatever the attention."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16_384,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // shared,
        intermediate_size=2048,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        attn_implementation=attention_name,
    )
    return LlamaForCausalLM(config).eval().to(dtype)


def with_attention(model: LlamaForCausalLM, name: str) -> LlamaForCausalLM:
    """The same weights, not copied, under another attention."""
    other = copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})
    other.set_attn_implementation(name)
    return other


def authors_scores(model: LlamaForCausalLM, ids_BT: torch.Tensor) -> torch.Tensor:
    """Eager attention of all layers, kept, then their mean over layers, heads and queries."""
    attentions = model(input_ids=ids_BT, output_attentions=True).attentions
    return torch.stack(attentions).float().mean(dim=(0, 2)).mean(dim=1)


def read(model: LlamaForCausalLM, ids_BT: torch.Tensor, weights_BT: torch.Tensor) -> torch.Tensor:
    """Our way, as `scoring` calls it: cut behind the last query, nothing after the last layer's attention."""
    reach = int(weights_BT.any(0).nonzero()[-1]) + 1
    recorder = Recorder(weights_BT[:, :reach], layers=model.config.num_hidden_layers)
    capture(model, recorder, ids_BT[:, :reach])
    return recorder.mean_over_layers(model)


def forward_ways(tokens: int, dtype: torch.dtype, shared: int, with_authors: bool, layers: int = LAYERS) -> Ways:
    bare = llama(dtype, shared, "sdpa", layers)
    ours, eager = with_attention(bare, ATTENTION), with_attention(bare, "eager")
    ids_BT = torch.randint(0, 16_384, (1, tokens))
    decoder = functools.partial(bare.get_decoder(), input_ids=ids_BT, use_cache=False)
    ways: Ways = {
        "bare": decoder,
        "bare again": decoder,
        "cues": functools.partial(read, ours, ids_BT, cue_weights(tokens)),
        "cues, all in the first half": functools.partial(read, ours, ids_BT, cue_weights(tokens, tokens // 2)),
        "all": functools.partial(read, ours, ids_BT, torch.ones(1, tokens)),
    }
    return ways | ({"authors": functools.partial(authors_scores, eager, ids_BT)} if with_authors else {})


def forward_table(arguments: argparse.Namespace) -> None:
    rows, head = [], ["tokens", "bare", "bare again", "cues", "cues, all in the first half", "all", "authors"]
    for tokens in arguments.tokens:
        ways = forward_ways(
            tokens, arguments.dtype, arguments.shared, tokens <= arguments.authors_up_to, arguments.layers
        )
        with torch.inference_mode():
            seconds = alternate(ways, arguments.rounds)
        cells = list(ratios(seconds, "bare").values())
        row = [f"{tokens:,}", f"{statistics.median(seconds['bare']):.2f} s", *cells]
        rows.append(row + ["-"] * (len(head) - len(row)))
        print(rows[-1], flush=True)
    title = f"Whole forward pass over the bare one, {arguments.layers} layers, {in_words(arguments)}"
    print_table(f"{title}, {arguments.rounds} rounds", head, rows)


# --- memory


def peak_memory(way: str, tokens: int, dtype: torch.dtype, shared: int) -> int:
    """Bytes that one forward pass needs beyond the model and what a short one has loaded, in this process."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        forward_ways(16, dtype, shared, True)[way]()  # loads what is loaded once
        ways = forward_ways(tokens, dtype, shared, True)
        before = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize()
        ways[way]()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def memory_table(arguments: argparse.Namespace) -> None:
    # Freed blocks go back at once: else the peak is mostly a matter of which of them the allocator happens to keep.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = os.environ["MALLOC_TRIM_THRESHOLD_"] = str(2**20)
    context = multiprocessing.get_context("spawn")
    rows = []
    for tokens in arguments.tokens:
        extra = {}
        for way in ("bare", "cues", "all", *(["authors"] if tokens <= arguments.authors_up_to else [])):
            measured = []
            for _ in range(3):
                with context.Pool(1) as pool:
                    measured.append(pool.apply(peak_memory, (way, tokens, arguments.dtype, arguments.shared)))
            extra[way] = statistics.median(measured)
        cells = [f"{extra[way] / extra['bare']:.2f}" for way in extra if way != "bare"]
        rows.append([f"{tokens:,}", f"{extra['bare'] / 2**20:.0f} MiB", *cells, *["-"] * (3 - len(cells))])
    print_table(
        f"Peak memory of a forward pass over the bare one's, {in_words(arguments)}",
        ["tokens", "bare", "cues", "all", "authors"],
        rows,
    )


# --- a corpus


def corpus(tokenizer, count: int, seed: int = 0) -> list[Document]:
    """Texts of 60 to 150 tokens, cut from biographies, with a marked answer in every 32 tokens."""
    people, _ = biography_corpus(2 * count, seed)
    drawn = random.Random(seed)
    ids = tokenizer(" ".join(document.text for document in people), add_special_tokens=False)["input_ids"]
    documents, start = [], 0
    for number in range(count):
        length = drawn.randint(60, 150)
        text = tokenizer.decode(ids[start : start + length]).strip()
        start += length
        words = [(place, place + len(word)) for place, word in _words(text)]
        spans = tuple(Span("answer", *words[index]) for index in range(15, len(words), TOKENS_A_CUE * 3 // 4))
        documents.append(Document(f"text-{number:05}", text, spans or (Span("answer", *words[-1]),)))
    return documents


def _words(text: str):
    place = 0
    for word in text.split(" "):
        if word:
            yield place, word
        place += len(word) + 1


def corpus_ways(model_name: str, documents: list[Document], tokenizer) -> Ways:
    """The authors' way, one text at a time; ours, sorted or packed, at several budgets; and bare forward passes."""
    own = model_name == "100M"
    ours = (
        llama(torch.float32, 1, ATTENTION)
        if own
        else loading.load_model(ModelRef(model_name, device="cpu"), attention=attention_to_load)
    )
    eager, bare = with_attention(ours, "eager"), with_attention(ours, "sdpa")

    def authors() -> None:
        for document in documents:
            authors_scores(eager, tokenizer(document.text, return_tensors="pt")["input_ids"])

    def bare_sorted(budget: int) -> None:
        rows = tokenizer([document.text for document in documents])["input_ids"]
        for batch in length_batches([len(row) for row in rows], budget):
            ids = [torch.tensor(rows[number]) for number in batch]
            bare.get_decoder()(torch.nn.utils.rnn.pad_sequence(ids, batch_first=True), use_cache=False)

    def score(queries: Queries, budget: int, packed: bool = False) -> object:
        return score_documents(
            documents, ours, tokenizer, ScoreSettings(queries=queries, max_batch_tokens=budget, packed=packed)
        )

    queries: Queries
    ways: Ways = {"authors": authors}
    for queries in ("cues", "all"):
        ways[f"{queries}, one at a time"] = functools.partial(score, queries, 1)
        for budget in (1024, 2048, 4096):
            ways[f"{queries}, sorted, {budget:,} tokens"] = functools.partial(score, queries, budget)
            ways[f"{queries}, packed, {budget:,} tokens"] = functools.partial(score, queries, budget, True)
    return ways | {"bare forward, sorted, 1,024 tokens": functools.partial(bare_sorted, 1024)}


def corpus_table(arguments: argparse.Namespace) -> None:
    tokenizer = loading.load_tokenizer("elusive/large")
    documents = corpus(tokenizer, arguments.documents)
    ways = corpus_ways(arguments.model, documents, tokenizer)
    chosen = {
        name: way for name, way in ways.items() if not arguments.only or name == "authors" or name in arguments.only
    }
    with torch.inference_mode():
        seconds = alternate(chosen, arguments.rounds)
    speed = {
        name: statistics.quantiles([a / b for a, b in zip(seconds["authors"], values, strict=True)], n=4)
        for name, values in seconds.items()
    }
    rows = [
        [name, f"{statistics.median(seconds[name]):.2f} s", f"{middle:.2f} [{low:.2f}, {high:.2f}]"]
        for name, (low, middle, high) in speed.items()
    ]
    tokens = sum(len(ids) for ids in tokenizer([document.text for document in documents])["input_ids"])
    title = f"{len(documents):,} texts, {tokens:,} tokens, {arguments.model}, float32, {arguments.rounds} rounds"
    print_table(title, ["way", "time", "times as fast as the authors'"], rows)


# --- several score sets


def sets_ways(model_name: str, documents: list[Document]) -> Ways:
    """One, three and sixteen query sets from one pass each, with and without one of all positions."""
    reference = ModelRef(model_name, device="cpu")
    model = loading.load_model(reference, attention=attention_to_load)
    tokenizer = loading.load_tokenizer(reference)
    fields = [(), *((field,) for field in FIELDS), *itertools.combinations(FIELDS, 2)]
    cues = [QuerySet("cues", some) for some in fields]
    every = [QuerySet("all"), *cues[:-1]]

    def score(sets: list[QuerySet]) -> object:
        return score_query_sets(documents, model, tokenizer, ScoreSettings(), sets)

    ways = {
        f"{name}, {count}": (sets, count) for name, sets in (("cues", cues), ("all", every)) for count in (1, 3, 16)
    }
    return {name: functools.partial(score, sets[:count]) for name, (sets, count) in ways.items()}


def sets_table(arguments: argparse.Namespace) -> None:
    documents, _ = biography_corpus(arguments.documents, seed=1)
    seconds = alternate(sets_ways(arguments.model, documents), arguments.rounds)
    rows = []
    for kind in ("cues", "all"):
        cells = ratios({name: values for name, values in seconds.items() if name.startswith(kind)}, f"{kind}, 1")
        rows += [[name, f"{statistics.median(seconds[name]):.2f} s", cell] for name, cell in cells.items()]
        rows.insert(len(rows) - 2, [f"{kind}, 1", f"{statistics.median(seconds[f'{kind}, 1']):.2f} s", "1"])
    title = f"{len(documents):,} biographies, {arguments.model}, float32, {arguments.rounds} rounds"
    print_table(title, ["score sets of one pass", "time", "over one"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["attention", "forward", "memory", "corpus", "sets"])
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512, 1024, 2048, 4096])
    parser.add_argument("--dtype", type=lambda name: getattr(torch, name), default=torch.float32)
    parser.add_argument("--shared", type=int, default=1, help="query heads that share one key-value head")
    parser.add_argument("--layers", type=int, default=LAYERS, help="for `forward`")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--authors-up-to", type=int, default=2048, help="longest text for the authors' way")
    parser.add_argument("--model", default="elusive/large", help="for `corpus` and `sets`: a model, or 100M (`corpus`)")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--only", nargs="*", default=[], help="for `corpus`: these ways and the authors' alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tables = {"attention": attention_table, "forward": forward_table, "memory": memory_table, "corpus": corpus_table}
    tables |= {"sets": sets_table}
    tables[arguments.table](arguments)


if __name__ == "__main__":
    main()
