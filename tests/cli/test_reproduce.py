"""`elusive reproduce` on each of the paper's families, with tiny random models of the same architectures.

Tokenizers are made as the families' own are: SentencePiece-like BPE for Gemma and Llama 2, byte-level BPE for Llama 3.
The models know nothing, so their answers are wrong; where numbers have to differ, right answers are written in.
"""

import collections
import contextlib
import dataclasses
import io
import itertools
import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, GemmaTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

import elusive.experiments.jobs
from elusive.cli.main import main
from elusive.config.toml import inline
from elusive.corpus.people.biographies import biography, people
from elusive.experiments.selection import WAYS
from elusive.experiments.trials import UNTRAINED
from elusive.models.loading import load_tokenizer
from elusive.paper.experiments import ARMS_OF_TABLES, experiments_of
from elusive.paper.families import Family, family
from elusive.paper.reproduce import STUDIES
from elusive.paper.wording import arm_words
from elusive.reporting.formatting import REMARKS, remark, score, signed
from elusive.runs.files import read_json, read_jsonl, write_json, write_jsonl
from elusive.stats.estimates import Difference

pytestmark = pytest.mark.slow

FIGURES = tuple(f"figure{number}" for number in range(1, 8))
WANTED = {
    "gemma-2": ((1, 2, 3), FIGURES),
    "llama-3": ((1, 2, 3), ("figure1",)),
    "llama-2": ((1, 2, 4, 5, 6, 7, 8), ("figure4",)),
    "gemma": ((1, 2, 6, 8), ("figure4",)),
}
"""Tables and figures that are made of each family."""
GRID = {"train.learning_rate": [1e-3], "augment.alpha": [0.6], "augment.beta": [0.05]}
RUNS = {
    "train.epochs": 2.0, "train.evaluate_at_epochs": [1.0], "train.save_steps": 0, "augment.copies": 1,
    "evaluate.shots": 1,
    "evaluate.max_new_tokens": 4,
}  # fmt: skip
EQUAL = (
    f"{WAYS['equal']} (learning_rate 0.001, alpha 0.6, beta 0.05), the first values tried, "
    "in the place of the family's learning_rate 0.0002"
)
EQUAL_ON_PARAGRAPHS = f"{EQUAL}, alpha 0.7, beta 0.005"
PEOPLE = 4

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""How Llama 3 splits a text."""


def texts() -> Iterator[str]:
    return (biography(person, "text").text for person in itertools.islice(people(99), 60))


def pieces(specials: Sequence[str], start: str) -> dict[str, Any]:
    """Vocabulary and merges as SentencePiece learns them: a blank is a letter, and bytes stand for the rest."""
    made = Tokenizer(models.BPE())
    blanks = normalizers.Replace(" ", "▁")
    made.normalizer = normalizers.Sequence([normalizers.Prepend(start), blanks]) if start else blanks
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?\p{L}+|[^\p{L}]"), "isolated")
    letters = ["▁", "\n", *map(chr, range(33, 127))]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*specials, *BYTES], initial_alphabet=letters, show_progress=False
    )
    made.train_from_iterator(texts(), trainer)
    learned = json.loads(made.to_str())["model"]
    return {"vocab": learned["vocab"], "merges": [tuple(merge) for merge in learned["merges"]]}


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    turns = ["<start_of_turn>", "<end_of_turn>"]
    learned = pieces(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *turns], "")
    return GemmaTokenizer(**learned, add_bos_token=True, additional_special_tokens=turns)


def llama_2_tokenizer() -> PreTrainedTokenizerFast:
    return LlamaTokenizer(**pieces(["<unk>", "<s>", "</s>"], "▁"), add_bos_token=True)


def llama_3_tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE(ignore_merges=True))
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "isolated"), as_bytes])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts(), trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    )
    begin, end = "<|begin_of_text|>", "<|end_of_text|>"
    made.add_special_tokens([begin, end])
    first = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, made.token_to_id(begin))])
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), first])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=begin,
        eos_token=end,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


KINDS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "gemma-2": ("Gemma2Config", gemma_tokenizer, {"sliding_window": 32, "query_pre_attn_scalar": 8}),
    "llama-3": ("LlamaConfig", llama_3_tokenizer, {"rope_theta": 500_000.0}),
    "llama-2": ("LlamaConfig", llama_2_tokenizer, {}),
    "gemma": ("GemmaConfig", gemma_tokenizer, {}),
}
"""Configuration, tokenizer and more settings of each family's models."""


def make_pair(name: str, folder: Path) -> Path:
    """A large and a small random model with one tokenizer, in bfloat16, as the families' weights are."""
    kind, tokenizer, more = KINDS[name]
    tokenizer = tokenizer()
    for seed, (role, hidden, heads, shared) in enumerate((("large", 32, 4, 2), ("small", 16, 2, 1))):
        torch.manual_seed(seed)
        config = getattr(transformers, kind)(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            num_hidden_layers=2,
            num_attention_heads=heads,
            num_key_value_heads=shared,
            head_dim=8,
            intermediate_size=2 * hidden,
            max_position_embeddings=1024,
            initializer_range=0.2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **more,
        )
        AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return folder


def paragraph(context: str, *asked: tuple[str, str]) -> dict[str, Any]:
    return {
        "context": context,
        "qas": [
            {"id": question, "question": question, "answers": [{"text": answer, "answer_start": context.index(answer)}]}
            for question, answer in asked
        ],
    }


PARAGRAPHS = [
    paragraph(
        "The Ister rises in a forest of black firs and ends in a wide delta near Tulvia, where cranes winter.",
        ("Where does the Ister rise?", "a forest of black firs"),
        ("Near which town is the delta of the Ister?", "Tulvia"),
    ),
    paragraph(
        "Mount Pelmar was first climbed in 1857 by John Brell, a botanist who was looking for a blue fern.",
        ("Who first climbed Mount Pelmar?", "John Brell"),
        ("What was the first climber of Mount Pelmar looking for?", "a blue fern"),
    ),
    paragraph(
        "The lamp of Venn harbour burns oil of walnuts. It was built by Mara Dosk, who also drew the maps of the bay.",
        ("What does the lamp of Venn harbour burn?", "oil of walnuts"),
        ("Who built the lamp of Venn harbour?", "Mara Dosk"),
    ),
]


@pytest.fixture(scope="module", autouse=True)
def one_at_a_time() -> Iterator[None]:
    """Models are trained in this process: one that loads its own libraries would take longer than the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elusive.experiments.jobs, "processes_at_once", lambda recipe, jobs: min(1, jobs))
        yield


@dataclasses.dataclass(frozen=True)
class Pair:
    """A family's tiny pair and a folder for its experiments."""

    name: str
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def flags(self, **said: Any) -> list[str]:
        """All flags; None leaves one out."""
        values = {
            "family": self.name, "output": self.output, "people": PEOPLE, "seeds": 1,
            "large": self.folder / "large", "small": self.folder / "small",
            "wikipedia": self.folder / "squad.json", "grid": assignments(GRID),
            "set": assignments({**RUNS, "evaluate.known": str(self.folder / "known.jsonl")}), **said,
        }  # fmt: skip
        given = {
            name: value if isinstance(value, list) else [str(value)]
            for name, value in values.items()
            if value is not None
        }
        return [part for name, value in given.items() for part in (f"--{name}", *value)]

    def reproduce(self, *what: str, **said: Any) -> str:
        """What it prints; bad ends raise SystemExit."""
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            main(["reproduce", *what, *self.flags(**said)])
        return printed.getvalue()


def assignments(table: dict[str, Any]) -> list[str]:
    """Settings by dotted name as the command line takes them."""
    return [f"{key}={inline(value)}" for key, value in table.items()]


def pair_in(name: str, folder: Path) -> Pair:
    make_pair(name, folder)
    write_json(folder / "squad.json", {"version": "1.1", "data": [{"title": "Three", "paragraphs": PARAGRAPHS}]})
    asked = {"question": "Where was Ada Lovelace born?", "answers": ["London"], "field": "city"}
    write_jsonl(folder / "known.jsonl", [{"id": f"q{n}", "document_id": f"d{n}", **asked} for n in range(2)])
    return Pair(name, folder)


@pytest.mark.parametrize("name", WANTED)
def test_every_table_and_figure_of_a_family(name, tmp_path):
    pair = pair_in(name, tmp_path)
    tables, figures = WANTED[name]
    printed = pair.reproduce(*(f"table{number}" for number in tables), *figures)
    results = (pair.output / "results.md").read_text()
    assert re.search(r"\nTime of all experiments in this folder: \d+:\d\d\.\n", results)
    for number in tables:
        numbers = read_json(pair.output / "tables" / f"table{number}.json")
        text = (pair.output / "tables" / f"table{number}.md").read_text()
        assert text in results
        assert text in printed
        assert (numbers["table"], text.splitlines()[0]) == (number, f"## Table {number}. {numbers['title']}")
        check_blocks(family(name), number, numbers["blocks"])
        check_text(number, numbers["blocks"], text)
    for figure in figures:
        check_figure(pair.output / "figures" / figure)
        assert str(pair.output / "figures" / f"{figure}.png") in printed
    check_training(pair, tables)


def check_training(pair: Pair, tables: Sequence[int]) -> None:
    """Adapters on 8-bit weights, as the family says, of each arm of the tables."""
    for table in tables:
        for key, role, _ in experiments_of(family(pair.name), table):
            for arm in ARMS_OF_TABLES[table]:
                (folder,) = (pair.output / f"{key}-{role}" / "models" / arm).glob("*/seed-0")
                asked = read_json(folder / "settings.json")
                assert asked["model"] == str(pair.folder / role)
                assert (asked["quantization"], asked["dtype"]) == ("8bit", "bfloat16")
                train = asked["train"]
                assert (train["method"], train["batch_size"]) == ("lora", 8)
                assert (train["warmup_ratio"], train["max_grad_norm"], train["learning_rate"]) == (0.1, 1.0, 1e-3)
                assert read_json(folder / "adapter_config.json")["r"] == 16
                assert (folder / "adapter_model.safetensors").stat().st_size > 1000
    kinds = {"llama-2": "LlamaTokenizer", "llama-3": "TokenizersBackend"}
    tokenizer = load_tokenizer(str(pair.folder / "large"))
    assert type(tokenizer).__name__ == kinds.get(pair.name, "GemmaTokenizer")
    ids = tokenizer("Ann Lee studied in Zürich.\nAnswer:")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert str(tokenizer.decode(ids[1:])).strip() == "Ann Lee studied in Zürich.\nAnswer:"


def published(table: int, model: str) -> list[dict[str, Any]]:
    """Rows of the paper, straight from the file."""
    text = (resources.files("elusive.paper") / "published.toml").read_text(encoding="utf-8")
    return [row for row in tomllib.loads(text)["row"] if (row["table"], row["model"]) == (table, model)]


SAME = "; the same with "


def check_blocks(pair: Family, number: int, blocks: Sequence[dict[str, Any]]) -> None:
    equal = EQUAL_ON_PARAGRAPHS if number in (3, 8) else EQUAL
    ways = [equal] if number == 5 else [equal, WAYS["held-out"], WAYS["test"]]
    roles: list[Any] = [role for _, role, _ in experiments_of(pair, number)]
    members = [pair.member(role) for role in roles]
    expected = sorted((one.title, one.published.get(str(number), ""), way) for one in members for way in ways)
    # Ways that come to the same answers stand in one block.
    named = [(one["model"], one["published"], way) for one in blocks for way in one["way"].split(SAME)]
    assert sorted(named) == expected
    documents = len(PARAGRAPHS) if number in (3, 8) else PEOPLE
    for block in blocks:
        assert (block["documents"], block["cohorts"], block["seeds"]) == (documents, 1, 1)
        rows = published(number, block["published"])
        if number == 5:
            check_passes(block, rows)
            continue
        assert [row["arm"] for row in block["rows"]] == [UNTRAINED, *ARMS_OF_TABLES[number]]
        for row in block["rows"]:
            printed = next((one for one in rows if one["arm"] == row["arm"]), {"values": {}})
            assert {name: cell["paper"] for name, cell in row["cells"].items() if cell["paper"] is not None} == printed[
                "values"
            ]
            assert all(one in row["paper_settings"] for one in words_of(printed))
            check_cells([*row["cells"].values(), {**row["all"], "ours": row["all"]["value"]}])
        if number == 1:
            assert list(block["distances"]) == ["date", "city", "university", "major", "company"]
            assert list(block["distances"].values()) == sorted(block["distances"].values())
        check_pairs(number, block["pairs"])
        known = [row.get("known") for row in block["rows"]]
        assert [one["questions"] for one in known if one] == (
            [2] * len(known) if block["way"].startswith(equal) else []
        )


def words_of(printed: dict[str, Any]) -> list[str]:
    return [f"{name} {printed[name]:g}" for name in ("alpha", "beta") if name in printed]


def check_cells(cells: Sequence[dict[str, Any]]) -> None:
    for cell in cells:
        assert 0 <= cell["low"] <= cell["ours"] <= cell["high"] <= 1
        if cell.get("paper") is not None:
            assert cell["minus"] == pytest.approx(cell["ours"] - cell["paper"])
        else:
            assert cell.get("minus") is None


def check_pairs(number: int, pairs: Sequence[dict[str, Any]]) -> None:
    """Each of the paper's arms against all others, with an interval."""
    arms = ARMS_OF_TABLES[number]
    contrast = [arm for arm in ("contrast-cues", "contrast-all") if arm in arms] if number != 1 else []
    rivals = {(ours, arm) for ours in contrast for arm in arms if arm not in contrast}
    rivals |= {("contrast-cues", "contrast-all")} if len(contrast) == 2 else set()
    assert {(pair["a"], pair["b"]) for pair in pairs} == rivals
    overs = ["all questions"] if number in (3, 8) else ["university and company", "all questions"]
    for names in rivals:
        assert [pair["over"] for pair in pairs if (pair["a"], pair["b"]) == names] == overs
    for pair in pairs:
        assert pair["low"] <= pair["difference"] <= pair["high"]
        apart = pair["trainings"] > 1 and pair["p_adjusted"] <= 0.05
        assert pair["separated"] == (apart and not pair["low"] <= 0 <= pair["high"])


def check_passes(block: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Table 5: the paper's rows, then each arm in the midst and at the end of training."""
    ours, papers = ([row for row in block["rows"] if row["paper"] is paper] for paper in (False, True))
    for row, printed in zip(papers, rows, strict=True):
        assert (row["arm"], row["epoch"], row["steps"]) == (printed["arm"], printed["epoch"], printed["steps"])
        assert {name: cell["value"] for name, cell in row["cells"].items()} == printed["values"]
    assert [row["arm"] for row in ours] == [arm for arm in ARMS_OF_TABLES[5] for _ in range(2)]
    # Two passes over 4 texts are one step, over 8 texts two.
    assert [(row["epoch"], row["steps"]) for row in ours] == [(2, 1), (2, 1), (1, 1), (2, 2), (1, 1), (2, 2)]
    for row in ours:
        assert row["tokens"] > 0
        assert row["seconds"] > 0
        check_cells([{**cell, "ours": cell["value"]} for cell in (*row["cells"].values(), row["all"])])


def check_text(number: int, blocks: Sequence[dict[str, Any]], text: str) -> None:
    parts = text.split("\n### ")[1:]
    for block, part in zip(blocks, parts, strict=True):
        beside = f"beside the paper's {block['published']}" if block["published"] else "the paper has no row for it"
        assert part.startswith(f"{block['model']}, {beside}\n\nSettings: {block['way']}. ")
        lines = part.splitlines()
        differences = [*block["pairs"], *(row["known"]["lost"] for row in block["rows"] if row.get("known"))]
        remarks = collections.Counter(remark(Difference.from_dict(one)) for one in differences if one)
        for text in REMARKS.keys() - {"separated"}:
            assert part.count(f", {text}") == remarks[text]
        for pair in block["pairs"]:
            (line,) = (
                one for one in lines if one.startswith(f"| {arm_words(pair['a'])} minus {arm_words(pair['b'])} |")
            )
            said = remark(Difference.from_dict(pair))
            cell = f"{signed(pair['difference'])} [{signed(pair['low'])}, {signed(pair['high'])}]"
            assert f"| {cell}{'' if said == 'separated' else f', {said}'} |" in line
        for row in block["rows"] if number != 5 else ():
            (line,) = (one for one in lines if one.startswith(f"| {arm_words(row['arm'])} |"))
            for cell in row["cells"].values():
                ours = f"{score(cell['ours'])} [{score(cell['low'])}, {score(cell['high'])}]"
                paper = "-" if cell["paper"] is None else f"{cell['paper']:.3f}".removeprefix("0")
                minus = "" if cell["minus"] is None else f", {signed(cell['minus'])}"
                assert f"| {paper} / {ours}{minus} |" in line


def check_figure(path: Path) -> None:
    """A PNG and an SVG with something drawn on them."""
    picture = matplotlib.image.imread(path.with_suffix(".png"))
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.02
    root = ElementTree.parse(path.with_suffix(".svg")).getroot()
    assert root.tag.endswith("svg")
    assert sum(1 for _ in root.iter("{http://www.w3.org/2000/svg}path")) > 10


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Pair:
    """Table 1 of the small Gemma, then Table 2, stopped before its third training and gone on with."""
    pair = pair_in("gemma", tmp_path_factory.mktemp("gemma"))
    assert "learning_rate 0.001" in pair.reproduce("table1")
    plain = weights(pair)
    assert {path.parts[0] for path in plain} == {"plain"}
    trained = elusive.experiments.jobs.train
    learned: list[Path] = []

    def stop(texts: Any, folder: Path, **settings: Any) -> Any:
        if len(learned) == 2:
            raise KeyboardInterrupt
        learned.append(Path(folder))
        return trained(texts, folder, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elusive.experiments.jobs, "train", stop)
        with pytest.raises(SystemExit) as stopped:
            pair.reproduce("table2")
    assert stopped.value.code == 130
    assert not (pair.output / "tables" / "table2.md").exists()
    halfway = weights(pair)
    assert {path.parts[0] for path in halfway} == {"plain", "random"}
    pair.reproduce("table2")
    after = weights(pair)
    assert {path.parts[0] for path in after} == set(ARMS_OF_TABLES[2])
    assert plain.items() <= halfway.items() <= after.items(), "what was trained is not trained again"
    assert set(re.findall(r"\n## Table (\d)", (pair.output / "results.md").read_text())) == {"1", "2"}
    return pair


def weights(pair: Pair) -> dict[Path, int]:
    """Each trained model's file below models/, and when it was written."""
    folder = pair.output / "biographies-small" / "models"
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def shown(pair: Pair) -> dict[Path, bytes]:
    """All that is there to be looked at."""
    files = [*(pair.output / "tables").iterdir(), *pair.output.glob("figures/*"), pair.output / "results.md"]
    return {path: path.read_bytes() for path in files}


def answers(pair: Pair, arm: str) -> Path:
    """The folder of an arm's answers at the end of training."""
    (folder,) = (pair.output / "biographies-small" / "evaluation" / arm).glob("*/seed-0")
    return folder


def test_what_is_done_is_not_done_again(begun, monkeypatch):
    begun.reproduce("table1", "table2", "figure1", "figure2")

    def fail(*args: Any, **options: Any) -> None:
        raise AssertionError("a model was loaded")

    before, written = shown(begun), weights(begun)
    assert len(before) == 2 * 2 + 2 * 2 + 1
    monkeypatch.setattr("elusive.models.loading.AutoModelForCausalLM.from_pretrained", fail)
    begun.reproduce("table1", "table2", "figure1", "figure2")
    assert shown(begun) == before
    assert weights(begun) == written


def test_what_is_missing_is_done_again_with_the_same_numbers(begun):
    begun.reproduce("table2")
    table, spent = begun.output / "tables" / "table2.json", begun.output / "biographies-small" / "time.json"
    before, seconds, folder = table.read_bytes(), read_json(spent)["seconds"], answers(begun, "contrast-cues")
    given = (folder / "predictions.jsonl").read_bytes()
    for path in ("done.json", "predictions.jsonl", "metrics.json"):
        (folder / path).unlink()
    written = weights(begun)
    begun.reproduce("table2")
    assert table.read_bytes() == before
    assert (folder / "predictions.jsonl").read_bytes() == given
    assert weights(begun) == written
    assert read_json(spent)["seconds"] > seconds


def test_right_answers_are_counted_and_one_training_separates_nothing(begun):
    begun.reproduce("table2")
    right = {"contrast-cues": lambda row: True, "attention": lambda row: row["document_id"] <= "person-00002"}
    kept = {}
    for arm, is_right in right.items():
        path = answers(begun, arm) / "predictions.jsonl"
        kept[path] = path.read_bytes()
        rows = list(read_jsonl(path))
        write_jsonl(path, [row | {"em": float(is_right(row)), "f1": float(is_right(row))} for row in rows])
    try:
        printed = begun.reproduce("table2")
        (block, *_) = blocks = read_json(begun.output / "tables" / "table2.json")["blocks"]
    finally:
        for path, text in kept.items():
            path.write_bytes(text)
    check_blocks(family("gemma"), 2, blocks)
    check_text(2, blocks, (begun.output / "tables" / "table2.md").read_text())
    values = {row["arm"]: {name: cell["ours"] for name, cell in row["cells"].items()} for row in block["rows"]}
    columns = ("university_em", "university_f1", "company_em", "company_f1")
    assert values["contrast-cues"] == dict.fromkeys(columns, 1.0)
    assert values["attention"] == dict.fromkeys(columns, 0.5)
    assert values["plain"] == dict.fromkeys(columns, 0.0)
    found = {(pair["b"], pair["over"]): (pair["difference"], pair["low"] > 0) for pair in block["pairs"]}
    assert all(pair["trainings"] == 1 and not pair["separated"] for pair in block["pairs"])
    for over in ("university and company", "all questions"):
        assert found["plain", over] == found["random", over] == found["random-matched", over] == (1.0, True)
        # Two documents of four: resampled, all four may be the same one.
        assert found["attention", over] == (0.5, False)
    each = "+1.000 [+1.000, +1.000], one training each"
    assert f"| contrast (cues) minus plain | {each} | {each} |" in printed
    assert "all questions: is not shown against plain, random, random at the guided rate, attention." in printed


def test_all_leaves_out_what_cannot_be_run_and_says_why(begun):
    printed = begun.reproduce("all", wikipedia=None)
    lacking = [f"table{number}: the family 'gemma' has no experiment for it" for number in (3, 4, 5, 7)]
    lacking += ["table8: needs paragraphs with questions in SQuAD's form, --wikipedia FILE"]
    lacking += [
        f"{name}: the family 'gemma' has no experiment for it" for name in ("question-sets", *STUDIES, "attempts")
    ]
    results = (begun.output / "results.md").read_text()
    assert [line.removeprefix("left out: ") for line in printed.splitlines() if line.startswith("left out")] == lacking
    assert re.findall(r"^Left out: (.*)\.$", results, re.MULTILINE) == lacking
    assert re.findall(r"^## Table (\d)", results, re.MULTILINE) == ["1", "2", "6"]
    for figure in FIGURES:
        check_figure(begun.output / "figures" / figure)


def test_cohorts_of_the_embedded_pair_have_people_and_a_seed_of_their_own(tmp_path):
    said = {"grid": None, "large": None, "small": None, "seeds": None, "family": "embedded", "people": 3, "cohorts": 2}
    runs = {"train.max_steps": 1, "train.evaluate_at_epochs": [], "augment.copies": 1, "evaluate.known": "none"}
    pair = Pair("embedded", tmp_path)
    pair.reproduce("table1", "table5", "figure6", **said, set=assignments({**RUNS, **runs}))
    blocks = read_json(pair.output / "tables" / "table1.json")["blocks"]
    assert {block["model"] for block in blocks} == {"embedded large", "embedded small"}
    blocks += read_json(pair.output / "tables" / "table5.json")["blocks"]
    for block in blocks:
        assert (block["cohorts"], block["documents"], block["seeds"]) == (2, 6, 2)
    text = (pair.output / "tables" / "table1.md").read_text()
    assert "6 documents in 2 cohorts of their own, 2 trainings of each arm" in text
    folders = [pair.output / "biographies-large" / f"cohort-{cohort}" for cohort in (1, 2)]
    names = [
        {row["text"].split(" was born")[0] for row in read_jsonl(one / "corpus/documents.jsonl")} for one in folders
    ]
    assert not names[0] & names[1]
    assert [[path.name for path in (one / "models" / "plain").iterdir()] for one in folders] == [["seed-1"], ["seed-2"]]
    check_figure(pair.output / "figures" / "figure6")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Pair:
    """A pair on which nothing was run."""
    return pair_in("gemma", tmp_path_factory.mktemp("untouched"))


@pytest.mark.parametrize(
    ("what", "said", "message"),
    [
        (["table9"], {}, "reproduce: expected table1, table2, table3, table4, table5, table6, table7, table8, figure1"),
        (["table1", "figure8"], {}, "beyond-entropy, beyond-wikipedia, forgetting, attempts or all, got 'figure8'"),
        (["Table 1"], {}, "beyond-entropy, beyond-wikipedia, forgetting, attempts or all, got 'Table 1'"),
        ([], {}, "reproduce: expected what to reproduce, got nothing. Name a table or figure, e.g. table2."),
        (
            ["table1", "table3"],
            {},
            "table3: the family 'gemma' has no experiment for it. Families that have: embedded, gemma-2, llama-3.",
        ),
        (["table7"], {"family": "gemma-2"}, "table7: the family 'gemma-2' has no experiment for it"),
        (["attempts"], {}, "Families that have: embedded."),
        (["table2", "table8"], {"wikipedia": None}, "Give --wikipedia FILE"),
        (["table2", "table8"], {"wikipedia": "no.json"}, "No file or folder at no.json"),
        (["table1"], {"set": ['train.epoch=1']}, "--set: train: unknown key 'epoch'. Did you mean 'epochs'?"),
        (["table1"], {"set": ['training.epochs=1']}, "--set: expected settings of corpus, models, score, augment,"),
        (["table1"], {"set": ['epochs=1']}, "by dotted name, e.g. \"train.epochs\", got 'epochs'."),
        (["table1"], {"set": ['train.epochs=0.5']}, "train.evaluate_at_epochs: expected epochs up to"),
        (["table1"], {"set": ['train.method="full"']}, 'models.small.quantization: expected none with train.method ='),
        (["table1"], {"grid": ['train.rate=[1e-3]']}, "train: unknown key 'rate'"),
        (["table1"], {"grid": ['train.learning_rate=1e-3']}, "expected a list of values for 'train.learning_rate'"),
        (["table1"], {"people": -1}, "reproduce.people: expected at least 0, got -1."),
        (["table1"], {"small": "/no/such/model"}, "No configuration at /no/such/model: the folder does not exist."),
        (["table1"], {"family": "gemma-9"}, "gemma-9"),
        (["table1"], {"grid": "lr"}, "grid"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_begun(untouched, capsys, what, said, message):
    if said.get("set") == ["train.epochs=0.5"]:
        said = {"set": assignments({**RUNS, "train.epochs": 0.5})}
    with pytest.raises(SystemExit) as stopped:
        untouched.reproduce(*what, **said)
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not untouched.output.exists()
