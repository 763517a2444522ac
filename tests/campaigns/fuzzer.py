"""Mutated inputs of every kind go through the code that reads them: each is read, or refused in a message.

    python -m tests.campaigns.fuzzer --minutes 10 --seed 1

An input is a valid one with a few random changes. Whatever it has become, the code must end within a time, within a
memory, with what it reads or with an ElusiveError that fits on a screen; files that are not its own stay as they were.
An input depends on the seed, its kind and its number alone: `--replay KIND:NUMBER` runs one again, with the traceback.
"""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import faulthandler
import gzip
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pyarrow
import pyarrow.parquet as pq

from elusive.augmentation.rankings import RankingFile
from elusive.augmentation.stage import ScoreFolders, augment_from_scores
from elusive.config.corpus import CorpusSettings
from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.config.run import Recipe
from elusive.config.toml import dump_recipe, from_table, load_recipe, with_overrides
from elusive.config.verbs import LlmSettings, PretrainSettings, SweepRecipe
from elusive.corpus.documents import Document, corpus_hash, load_corpus
from elusive.corpus.llm.chat import AnswerLog, Chat, Request
from elusive.corpus.people.biographies import people
from elusive.corpus.people.llm_answers import biography_lines, checked_person, verdicts_by_number
from elusive.corpus.people.llm_prompts import tagged_biography
from elusive.corpus.questions import read_questions
from elusive.corpus.readers import read_corpus
from elusive.corpus.spans import mark, markers
from elusive.corpus.stage import make_corpus, summary_lines
from elusive.errors import ElusiveError
from elusive.evaluation.metrics import exact_match, f1
from elusive.evaluation.normal_forms import AnswerMetric
from elusive.evaluation.predictions import read_metrics, read_predictions
from elusive.evaluation.prompts import few_shot_prompt, prompting_of
from elusive.exporting import export
from elusive.messages import MESSAGE_CHARACTERS, visible
from elusive.models.loading import base_of, load_configs, load_tokenizer, model_identity
from elusive.pipeline import run as run_recipe
from elusive.reporting import read_results
from elusive.reporting.collecting import collect
from elusive.runs.folder import RunFolder
from elusive.runs.stage import Stage, stage_settings
from elusive.runs.typed_json import from_json
from elusive.scoring.shards import iterate_scores
from elusive.training.fresh import CopyMaker
from elusive.training.sequences import tokenize_rows
from elusive.training.stage import Training
from elusive.training.texts import TrainingTexts

from ..corpus.readers.test_conversion import MAN, NOTEBOOK, RST, WORD, archive, pdf
from ..corpus.readers.test_conversion import PAGE as HTML
from ._mutations import mutated

SECONDS = 20.0
"""An input that is not done by then hangs; the slowest take a second on a busy machine."""

GROWTH_BYTES = 1 << 29
"""More memory than that an input of a few kilobytes never needs."""

RECIPE = """
output = "run"
arms = ["plain", "contrast-cues"]
parallel = 1
[models.large]
name = "elusive/small"
[corpus]
people = 2
[augment]
copies = 1
[train]
max_steps = 1
batch_size = 2
[evaluate]
known = "none"
shots = 1
max_new_tokens = 2
resamples = 10
"""


class HangError(BaseException):
    """Raised by the alarm; no code under test catches it."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        valid: valid contents.
        name: of its file, in the folder of the case.
        read: called with that folder; it reads the file as a verb would.
    """

    valid: Sequence[bytes]
    name: str
    read: Callable[[Path], Any]


# Contents


def _rows() -> list[dict[str, Any]]:
    return [
        {"id": "ada", "text": "Ada was born in London. She saw <b>Paris</b>.", "spans": [["name", 0, 3]]},
        {"text": "Bo won 3 prizes, and did not sing.", "title": "Bo"},
        {"id": 7, "text": "Zoë 中文 👩‍🚀\nline", "spans": [{"field": "name", "start": 0, "end": 3}]},
    ]


def _jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _squad() -> dict[str, Any]:
    answer = {"text": "London", "answer_start": 16}
    question = {"id": "q1", "question": "Where was Ada born?", "answers": [answer]}
    return {"data": [{"title": "Ada", "paragraphs": [{"context": "Ada was born in London.", "qas": [question]}]}]}


def _parquet(rows: Mapping[str, Sequence[Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pyarrow.table(dict(rows)), sink)
    return sink.getvalue()


def _questions() -> list[dict[str, Any]]:
    first = {
        "id": "q1",
        "question": "Where was Ada born?",
        "answers": ["London"],
        "field": "city",
        "document_id": "ada",
    }
    return [first, {"question": "Who won?", "answer": "Bo"}]


TEXT = "Ada was born in London. She saw Paris.\n\nBo won three prizes! He did not sing.\n" * 3
LISTS = "- one\n- two\n  - three\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n"
MARKDOWN = f"---\ntitle: x\n---\n# Ada\n\n{TEXT}\n{LISTS}"
CSV = 'id,text,spans\n1,"Ada, born ""there""","[[""name"", 0, 3]]"\n2,Bo won.,\n'
FLAT = 'context,question,answers\nAda was born.,Who?,"{""text"": [""Ada""], ""answer_start"": [0]}"\n'


def _corpus_kinds() -> Iterator[tuple[str, Kind]]:
    rows = _rows()
    table = _parquet({"id": ["a", "b"], "text": ["Ada was born.", "Bo won."], "n": [1, 2]})
    contents: dict[str, tuple[str, list[bytes]]] = {
        "jsonl": ("c.jsonl", [_jsonl(rows)]),
        "json": ("c.json", [json.dumps(rows).encode(), json.dumps({"data": rows}).encode()]),
        "squad": ("c.json", [json.dumps(_squad()).encode()]),
        "csv": ("c.csv", [CSV.encode(), FLAT.encode(), b"text\tid\na\tb\n"]),
        "tsv": ("c.tsv", [b"id\ttext\n1\tAda was born.\n2\tBo.\n"]),
        "text": ("c.txt", [TEXT.encode(), b"One line. " * 30]),
        "markdown": ("c.md", [MARKDOWN.encode()]),
        "parquet": ("c.parquet", [table]),
        "gzip": ("c.jsonl.gz", [gzip.compress(_jsonl(rows)), gzip.compress(CSV.encode())]),
        "zstd": ("c.jsonl.zst", [_zstd(_jsonl(rows)), _zstd(TEXT.encode())]),
        "zstd parquet": ("c.parquet.zst", [_zstd(table)]),
        "html": ("c.html", [HTML.encode()]),
        "rst": ("c.rst", [RST.encode()]),
        "man": ("c.1", [MAN.encode()]),
        "asciidoc": ("c.adoc", [b"= Ada\n\n== Born\n\n----\ncode\n----\n\n|===\n|a |b\n|===\n"]),
        "notebook": ("c.ipynb", [json.dumps(NOTEBOOK).encode()]),
        "docx": ("c.docx", [archive(WORD)]),
        "pdf": ("c.pdf", [pdf((20, "Ada"), (11, "Ada was born in London."), pages=2)]),
        "encoding": ("c.txt", [TEXT.encode("utf-16"), "Zoë café\n".encode("cp1252") * 9, TEXT.encode("utf-16-le")]),
        "any file": ("c", [_jsonl(rows), CSV.encode(), TEXT.encode(), MARKDOWN.encode(), table, _zstd(_jsonl(rows))]),
    }
    for name, (file, valid) in contents.items():
        yield f"corpus: {name}", Kind(valid, file, lambda folder, file=file: _read_corpus(folder / file))


def _zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, "zstd", asbytes=True)


def _read_corpus(path: Path) -> None:
    # The choices depend on the input, so that a replay makes the same.
    choice = random.Random(path.read_bytes()[:4096])
    settings: dict[str, Any] = {"chunk_tokens": choice.choice((0, 16, 512)), "limit": choice.choice((0, 1))}
    settings |= {"convert_seconds": 10.0, "headings": choice.choice(("path", "own", "none"))}
    settings |= {"encoding": choice.choice(("", "", "cp1252", "shift_jis"))}
    if choice.random() < 0.2:
        settings["format"] = choice.choice(("jsonl", "json", "csv", "text", "markdown", "squad", "parquet"))
    if choice.random() < 0.3:
        # The whole stage, with its files.
        made = CorpusSettings(source=str(path), skip_bad=choice.random() < 0.7, patterns=(r"year=\d+",), **settings)
        corpus_hash(make_corpus(made, path.parent / "out", "elusive/small").documents)
        summary_lines(path.parent / "out")
    else:
        form = settings.pop("format", "auto")
        read_corpus(path, form, skip_bad=choice.random() < 0.7, tokenizer="elusive/small", **settings)


def _read_names(folder: Path) -> None:
    """A corpus in a file of a mutated name, as a bytes name of the file system."""
    name = (folder / "name").read_bytes().replace(b"/", b"_").replace(b"\x00", b"_")[:200] or b"_"
    source = folder / "source"
    source.mkdir()
    with contextlib.suppress(OSError):  # names . and ..
        Path(os.fsdecode(os.path.join(os.fsencode(source), name))).write_bytes(_jsonl(_rows()))
    (source / "c.jsonl").write_bytes(b'{"text": "Cy."}\n')
    settings = CorpusSettings(source=str(source), skip_bad=True)
    corpus_hash(make_corpus(settings, folder / "out").documents)


def _read_patterns(folder: Path) -> None:
    given = (folder / "pattern").read_bytes().decode("utf-8", "replace")
    chosen, _ = markers(CorpusSettings(patterns=(given,), pattern_seconds=1.0))
    list(mark([Document("d", TEXT + "a" * 200)], chosen))


def _read_recipe(folder: Path) -> None:
    errors = []
    for kind in (Recipe, SweepRecipe, PretrainSettings):
        try:
            dump_recipe(load_recipe(folder / "recipe.toml", kind))
        except ElusiveError as error:
            errors.append(error)
    if len(errors) == 3:
        raise errors[0]


def _read_assignments(folder: Path) -> None:
    words = (folder / "words").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    dump_recipe(from_table(SweepRecipe, with_overrides({}, words), "--set"))


def _read_texts(folder: Path) -> None:
    texts = TrainingTexts(folder / "train.jsonl")
    texts.check(
        skip_bad=len((folder / "train.jsonl").read_bytes()) % 2 == 0, quarantine=folder / "out" / "quarantine.jsonl"
    )
    tokenize_rows(texts, load_tokenizer("elusive/small"), 64)


def _read_questions(folder: Path) -> None:
    path = next(folder.glob("questions.*"))
    items = read_questions(path)
    prompting = prompting_of(items, EvaluateSettings(shots=1, examples=str(path)))
    for item in items:
        few_shot_prompt(item, *prompting)


def _read_answers(folder: Path) -> None:
    text = (folder / "answer").read_bytes().decode("utf-8", "replace")
    for metric in map(AnswerMetric, ("squad", "multilingual", "numeric"), ("en", "de", "ar")):
        exact_match(text, ["London", text], metric)
        f1(text, ["London in", text[::2]], metric)
    for line in biography_lines(text):
        with contextlib.suppress(ElusiveError):
            checked_person(line)
    verdicts_by_number(text)


def _ask_server(folder: Path) -> None:
    """The whole answer of a server, headers and all, to a client that asks twice."""
    content = (folder / "response").read_bytes()
    head, _, body = content.partition(b"\n\n")
    lines = [line.partition(b":") for line in head.split(b"\n")]
    code = lines[0][0].strip()
    status = int(code) if code.isdigit() and 100 <= int(code[:4]) <= 599 else 200
    headers = [(name.strip() or b"x", value.strip()) for name, _, value in lines[1:] if name.isascii()]

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(body))

    settings = LlmSettings(model="m", retries=1, initial_backoff=0.0, max_backoff=0.0, max_answer_bytes=100_000)

    async def ask() -> None:
        async with Chat(settings, AnswerLog(folder / "out" / "log.jsonl"), lambda line: None) as chat:
            chat._client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
            await chat.ask(Request("people-00001", "Hello?", 0.5, 7))

    (folder / "out").mkdir()
    for _ in range(2):  # the second time from the log
        asyncio.run(ask())


def _read_log(folder: Path) -> None:
    list(AnswerLog(folder / "log.jsonl").answers())


def _small_kinds() -> Iterator[tuple[str, Kind]]:
    tagged = "\n".join(f"{number}. {tagged_biography(one)}" for number, one in zip(range(3), people(5), strict=False))
    completion = {"choices": [{"message": {"content": tagged}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    logged = {"name": "people-00001", "request": {"model": "m"}, "response": completion}
    recipes = [RECIPE.encode(), dump_recipe(Recipe()).encode(), dump_recipe(SweepRecipe()).encode()]
    texts = [{"text": "Ada was born.", "id": "a", "copy": 0, "arm": "plain"}, {"text": "Bo won."}]
    asked = [{"Question": "Who?", "Answer": {"Value": "Ada", "Aliases": ["A."]}}, {"messages": []}, *_questions()]
    yield "questions", Kind([_jsonl(_questions()), _jsonl(asked)], "questions.jsonl", _read_questions)
    yield "questions json", Kind([json.dumps({"Data": asked}).encode()], "questions.json", _read_questions)
    table = b'id,question,answers\n1,Who?,"[""Ada"", ""A.""]"\n2,What?,Bo\n'
    yield "questions table", Kind([table], "questions.csv", _read_questions)
    yield "train.jsonl", Kind([_jsonl(texts), gzip.compress(_jsonl(texts))], "train.jsonl", _read_texts)
    yield "recipe", Kind([*recipes, dump_recipe(PretrainSettings()).encode()], "recipe.toml", _read_recipe)
    words = b'train.learning_rate=1e-4\narms=[plain,random]\nmodels.large.name=a/b\nsweep.grid."train.seed"=[1, 2]'
    yield "--set", Kind([words], "words", _read_assignments)
    patterns = [rb"year=\b[12][0-9]{3}\b", rb"x=(a+)+$", rb"n=(?P<span>[A-Z]\w+) was", rb"y=(?:a|b)*?c(?=d)|[^e-z]\1?"]
    yield "pattern", Kind(patterns, "pattern", _read_patterns)
    yield "file name", Kind([b"ada.jsonl", "zoë.jsonl".encode(), b"a b.jsonl.gz"], "name", _read_names)
    answers = [tagged.encode(), b"1. no no\n2. yes no\n", b"<think>...</think> London"]
    yield "generated text", Kind(answers, "answer", _read_answers)
    body = json.dumps(completion).encode()
    responses = [b"200\ncontent-type: application/json\n\n" + body]
    responses.append(b'503\nretry-after: 0\n\n{"error": {"message": "busy"}}')
    yield "server", Kind(responses, "response", _ask_server)
    yield "answer log", Kind([_jsonl([logged, {**logged, "name": "check-00001"}])], "log.jsonl", _read_log)


# Files of a finished run, damaged


def _run_kinds(run: RunFolder) -> Iterator[tuple[str, Kind]]:
    """Every file of a finished run but weights, pictures and the page."""
    readers: tuple[tuple[str, str, Callable[[Path], Any]], ...] = (
        ("corpus", "corpus/*.json*", _read_corpus_folder),
        ("scores", "scores/*/*.*", _augment),
        ("copies", "augmented/*/*.*", _export_and_draw),
        ("model", "models/*/*/*.json*", _read_model),
        ("answers", "evaluation/*/*/*.json*", _collect),
        ("recipe", "recipe.toml", _collect),
        ("results", "report/results.json", lambda folder: read_results(folder / "report" / "results.json")),
    )
    for what, pattern, read in readers:
        for path in sorted(run.path.glob(pattern)):
            content = path.read_bytes()
            if content:
                name = path.relative_to(run.path).as_posix()
                yield f"damaged {what}", Kind([content], name, read)


def _read_corpus_folder(folder: Path) -> None:
    run = RunFolder(folder)
    stage_settings(run.corpus)
    summary_lines(run.corpus)
    corpus = load_corpus(run.corpus)
    corpus_hash(corpus.documents)
    len(corpus.documents)
    make_corpus(load_recipe(run.recipe, Recipe).corpus, run.corpus)


def _augment(folder: Path) -> None:
    run = RunFolder(folder)
    scores = {role: run.scores_folder() / f"{role}-cues" for role in ("large", "small")}
    for path in sorted(run.scores_folder().glob("*")):
        list(iterate_scores(path))
        stage_settings(path)
    documents = load_corpus(run.corpus).documents
    augment_from_scores(documents, folder / "out", "contrast-cues", ScoreFolders(scores))


def _export_and_draw(folder: Path) -> None:
    run = RunFolder(folder)
    tokenizer = load_tokenizer("elusive/small")
    for arm in run.augmented_arms:
        stage_settings(run.augmented(arm))
        ranking = run.augmented(arm) / "ranking.parquet"
        file = RankingFile(ranking)
        file.longest_rank()
        maker = CopyMaker(ranking, tokenizer)
        for document in file.documents():
            maker.text(document, 0, 0)
            maker.text(document, maker.slots - 1, 1)
    export(run.augmented("contrast-cues"), folder / "out")


def _read_model(folder: Path) -> None:
    for model in (RunFolder(folder).model(arm, 0) for arm in ("plain", "contrast-cues")):
        name = str(model)
        base_of(name)
        model_identity(ModelRef(name))
        load_tokenizer(name)
        load_configs(name)
        with Stage(model, stage_settings(model), writes=False) as stage:
            from_json(Training, stage.summary, str(model))
    _collect(folder)


def _collect(folder: Path) -> None:
    run = RunFolder.open(folder)
    recipe = load_recipe(run.recipe, Recipe)
    recipe = dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, resamples=10))
    corpus = load_corpus(run.corpus)
    for place in sorted(folder.glob("evaluation/*/seed-0")):
        stage_settings(place)
        read_predictions(place)
        read_metrics(place)
    collect(run, recipe, corpus.documents, {})


# One case


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    # What does not let the alarm through, in a library's own code, ends the campaign with a traceback.
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def outcome(kind: Kind, folder: Path, *, show: bool = False) -> str:
    """What comes of the input in a folder: "read", "refused", or the failure in words."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _alarm(), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            kind.read(folder)
        found = "read"
    except ElusiveError as error:
        message = str(error)
        fits = len(message) <= MESSAGE_CHARACTERS and visible(message) == message
        found = "refused" if fits else f"a message that fits on no screen: {message[:200]!r}"
        if show:
            print(message)
    except HangError:
        if show:
            traceback.print_exc()
        found = f"not done after {SECONDS:g} s"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        if show:
            traceback.print_exc()
        found = _failure(error)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return f"{grown / 1e6:,.0f} MB of memory" if grown > GROWTH_BYTES else found


def _failure(error: BaseException) -> str:
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/elusive/" in frame.filename]
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {place}: {visible(str(error))[:120]}"


class Case:
    """One mutated input in a folder of its own; `damaged` kinds share a copy of a finished run."""

    def __init__(self, kind: Kind, seed: str, run: Path | None, scratch: Path) -> None:
        self.kind = kind
        generator = random.Random(seed)
        self.content = mutated(generator.choice(kind.valid), generator, kind.valid)
        self.folder = run or scratch / "case"
        self._shared = run is not None

    def result(self, *, show: bool = False) -> str:
        """Its outcome, or which other file it changed."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / self.kind.name
        path.write_bytes(self.content)
        before = _state(self.folder) if self._shared else {}
        found = outcome(self.kind, self.folder, show=show)
        if self._shared:
            after = _state(self.folder)
            changed = [name for name, was in before.items() if after.get(name) != was]
            shutil.rmtree(self.folder / "out", ignore_errors=True)
            path.write_bytes(self.kind.valid[0])
            return f"changed {', '.join(changed)}" if changed else found
        if path.is_file() and path.read_bytes() != self.content and self.kind.name != "log.jsonl":
            found = "changed its input"
        shutil.rmtree(self.folder)
        return found


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file but those of the case."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith("out/") and path.name != ".elusive.lock":
            stat = path.stat()
            found[name] = (stat.st_size, stat.st_mtime_ns)
    return found


def kinds(scratch: Path) -> tuple[dict[str, list[Kind]], Path]:
    """All kinds by name, and the finished run that some of them damage."""
    recipe = scratch / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    run = scratch / "run"
    with contextlib.redirect_stderr(io.StringIO()):
        run_recipe(dataclasses.replace(load_recipe(recipe, Recipe), output=str(run)), announce=lambda line: None)
    found: dict[str, list[Kind]] = collections.defaultdict(list)
    for name, kind in (*_corpus_kinds(), *_small_kinds(), *_run_kinds(RunFolder(run))):
        found[name].append(kind)
    return found, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds whose names hold this")
    parser.add_argument("--replay", default="", metavar="KIND:NUMBER", help="one input again, with its traceback")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="elusive-fuzzer-") as folder:
        found, run = kinds(Path(folder))
        if given.replay:
            name, _, number = given.replay.rpartition(":")
            case = _case(name, found[name], int(number), given.seed, run, Path(folder))
            print(case.content[:2000])
            print(case.result(show=True))
            return 0
        chosen = {name: some for name, some in found.items() if given.only in name}
        return _campaign(chosen, given.minutes, given.seed, run, Path(folder))


def _case(name: str, some: Sequence[Kind], number: int, seed: int, run: Path, scratch: Path) -> Case:
    kind = some[number % len(some)]
    return Case(kind, f"{seed}:{name}:{number}", run if name.startswith("damaged") else None, scratch)


def _campaign(found: Mapping[str, list[Kind]], minutes: float, seed: int, run: Path, scratch: Path) -> int:
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in found}
    failures: dict[str, str] = {}
    end = time.monotonic() + 60 * minutes
    number = 0
    while time.monotonic() < end:
        for name, some in found.items():
            result = _case(name, some, number, seed, run, scratch).result()
            counts[name][result if result in ("read", "refused") else "failed"] += 1
            if result not in ("read", "refused") and f"{name}: {result}" not in failures:
                failures[f"{name}: {result}"] = f"--seed {seed} --replay '{name}:{number}'"
                print(f"{name}:{number}: {result}", flush=True)
        number += 1
    print(_table(counts))
    for failure, again in failures.items():
        print(f"{failure}\n    python -m tests.campaigns.fuzzer {again}")
    return 1 if failures else 0


def _table(counts: Mapping[str, collections.Counter[str]]) -> str:
    lines = ["", "| input | mutated | read | refused | failed |", "| --- | --- | --- | --- | --- |"]
    total: collections.Counter[str] = collections.Counter()
    for name, of_kind in counts.items():
        total.update(of_kind)
        lines.append(_line(name, of_kind))
    return "\n".join([*lines, _line("**all**", total), ""])


def _line(name: str, counts: collections.Counter[str]) -> str:
    cells = [f"{number:,}" for number in (counts.total(), counts["read"], counts["refused"], counts["failed"])]
    return f"| {' | '.join([name, *cells])} |"


if __name__ == "__main__":
    sys.exit(main())
