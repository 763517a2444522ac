"""The verbs, one function each; each imports its stage when it runs, so that the command line loads nothing heavy."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from elusive.config.models import Dtype, ModelRef, Models, Quantization
from elusive.config.run import (
    AugmentSettings,
    CorpusSettings,
    EvaluateSettings,
    Recipe,
    ReportSettings,
    ScoreSettings,
    TrainSettings,
)
from elusive.config.verbs import ExportSettings, LlmSettings, PretrainSettings, ReproduceSettings, SweepRecipe
from elusive.errors import ElusiveError
from elusive.models import processes

if TYPE_CHECKING:
    from elusive.training.stage import Training

# Flags of a nested dataclass without its name in front: --alpha, not --settings.alpha.
_FLAT = tyro.conf.arg(name="")


def generate(
    output: Path,
    llm: bool = False,
    settings: Annotated[CorpusSettings, _FLAT] = CorpusSettings(),
    server: Annotated[LlmSettings, _FLAT] = LlmSettings(),
) -> None:
    """Write a corpus folder: fictional people, or a source of yours.

    Fictional people come with questions about them; any source is read and checked.

    Args:
        output: folder for documents.jsonl, questions.jsonl and quarantine.jsonl.
        llm: let a language model on a server make up the people.
        settings: what to generate or read.
        server: the server of --llm, and how it is asked.
    """
    if llm:
        _generate_by_llm(output, settings, server)
        return
    if server != LlmSettings():
        raise ElusiveError("Settings of a language model's server were given without --llm. Add --llm, or leave them.")
    from elusive.corpus.stage import make_corpus, summary_lines

    make_corpus(settings, output)
    print(f"{output}: " + "\n".join(summary_lines(output)))


def _generate_by_llm(output: Path, settings: CorpusSettings, server: LlmSettings) -> None:
    from elusive.corpus.people.by_llm import make_people
    from elusive.runs.progress import shown

    used = {key: getattr(settings, key) for key in ("people", "seed", "name_position")}
    if settings != CorpusSettings(**used):
        raise ElusiveError(
            "--llm makes up new people, so of the corpus's settings it takes --people, --seed and --name-position. "
            "Leave out the others."
        )
    with shown(f"people by {server.model}") as progress:
        summary = make_people(settings, server, output, progress=progress, announce=_note)
    print(f"{output}: {summary.documents:,} documents, {summary.questions:,} questions")
    print("\n".join(summary.lines(server)))


def _note(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def score(
    corpus: tyro.conf.Positional[Path],
    output: Path,
    model: str = "elusive/large",
    revision: str = "",
    dtype: Dtype = "float32",
    quantization: Quantization = "none",
    device: str = "auto",
    fields: tuple[str, ...] = (),
    layers: tuple[int, ...] = (),
    heads: tuple[str, ...] = (),
    per_head: bool = False,
    settings: Annotated[ScoreSettings, _FLAT] = ScoreSettings(),
) -> None:
    """Score each token of a corpus by the attention that it receives.

    Args:
        corpus: a corpus folder, or any file or folder that can be read as one.
        output: folder for the Parquet shards.
        model: folder, hub name, elusive/large or elusive/small.
        revision: commit or branch of a hub model.
        dtype: type of the weights.
        quantization: hold the weights in 8 or 4 bit (needs elusive[quantized]).
        device: cpu, cuda, auto or a device map.
        fields: read only the spans of these fields (none: all).
        layers: layers whose heads are averaged, from 0 (with --heads empty too: all).
        heads: single heads "layer.head", e.g. 3.1, that are averaged beside those of --layers.
        per_head: write every head's scores too, for study.
        settings: queries and batches.
    """
    from elusive.runs.progress import shown
    from elusive.scoring.stage import score_corpus

    with shown(f"score {model}") as progress:
        score_corpus(
            _corpus(corpus).documents,
            output,
            ModelRef(model, revision, dtype, quantization, device, layers, heads),
            settings,
            fields=fields,
            per_head=per_head,
            progress=progress,
        )
    print(f"{output}: scored")


def augment(
    corpus: tyro.conf.Positional[Path],
    output: Path,
    large: Path,
    small: Path | None = None,
    arm: str = "contrast-cues",
    trained: Literal["large", "small"] = "large",
    excluded_tokens: tuple[str, ...] = ScoreSettings.excluded_tokens,
    settings: Annotated[AugmentSettings, _FLAT] = AugmentSettings(),
) -> None:
    """Write one arm's texts: originals and copies with dropped tokens.

    Args:
        corpus: the corpus that was scored.
        output: folder for train.jsonl, train.parquet and ranking.parquet.
        large: folder of the large model's scores.
        small: folder of the small model's scores; contrast arms need it.
        arm: how tokens are chosen.
        trained: whose own attention the arm `attention` ranks by.
        excluded_tokens: never ranked and never dropped, in addition to special tokens and white space.
        settings: dropout.
    """
    from elusive.augmentation.arms import arm_named
    from elusive.augmentation.stage import augment_corpus
    from elusive.models.loading import load_tokenizer
    from elusive.runs.progress import shown
    from elusive.runs.stage import stage_settings
    from elusive.scoring.sets import ScoreSet

    arm_named(arm, "--arm")
    folders = {"large": large} | ({"small": small} if small else {})
    if trained not in folders:
        raise ElusiveError(f"--trained {trained}: expected the folder of its scores in --{trained}, got none.")
    asked = {name: stage_settings(folder) for name, folder in folders.items()}
    _check_scores({folders[name]: one for name, one in asked.items()}, excluded_tokens)
    own = asked[trained]
    score = ScoreSettings(
        queries=own["queries"], head_fields=tuple(own["head_fields"]), excluded_tokens=excluded_tokens
    )
    with shown(f"augment {arm}") as progress:
        figures = augment_corpus(
            _corpus(corpus).documents,
            output,
            arm,
            {ScoreSet(name, own["queries"]): folder for name, folder in folders.items()},
            trained=trained,
            tokenizer=load_tokenizer(ModelRef(own["model"], own["revision"])),
            score=score,
            settings=settings,
            progress=progress,
        )
    print(f"{output}: {figures.texts:,} texts, mean drop rate {figures.mean_drop_rate:.3f}")


def _check_scores(asked: dict[Path, dict[str, Any]], excluded_tokens: tuple[str, ...]) -> None:
    """Refuse scores that were read out in two ways, or renormalised over other tokens than those to be ranked."""
    first, *others = asked.items()
    for folder, other in others:
        for key in ("queries", "fields", "head_fields", "include_self", "max_length", "renormalise"):
            if other.get(key) != first[1].get(key):
                ways = f"{key}: {first[1].get(key)!r} and {other.get(key)!r}"
                raise ElusiveError(
                    f"{first[0]} and {folder} were scored in two ways ({ways}). "
                    "Score the corpus with both models alike."
                )
    for folder, one in asked.items():
        if one.get("renormalise") and tuple(one["excluded_tokens"]) != excluded_tokens:
            raise ElusiveError(
                f"{folder} was renormalised without {one['excluded_tokens']}, but score.excluded_tokens is "
                f"{list(excluded_tokens)}. Give the same --excluded-tokens, or score again."
            )


def recall(
    corpus: tyro.conf.Positional[Path],
    output: Path | None = None,
    k: int = 10,
    across_tokenizers: bool = AugmentSettings.across_tokenizers,
    pair: Annotated[Models, _FLAT] = Models(),
    settings: Annotated[ScoreSettings, _FLAT] = ScoreSettings(),
) -> None:
    """Measure how well a pair of models finds clues, before training.

    Clue recall: how much of the head entity is among the k best tokens at cues.

    Args:
        corpus: a corpus whose spans mark a head entity and answers.
        output: folder for recall.json and the scores (none: nothing is kept).
        k: how many of the best ranked tokens count.
        across_tokenizers: carry the small model's scores over to the large one's tokens where these differ.
        pair: the two models, and the layers and heads that are averaged.
        settings: how attention is read out.
    """
    from elusive.clues.pairs import pair_recall
    from elusive.reporting.clue_tables import recall_table

    augment = AugmentSettings(across_tokenizers=across_tokenizers)
    documents = _corpus(corpus).documents
    with _scores_kept(output) as folder:
        found = pair_recall(documents, folder, pair=pair, settings=settings, augment=augment, k=k)
    _show(recall_table(found), found, output, "recall.json")


def heads(
    corpus: tyro.conf.Positional[Path],
    output: Path | None = None,
    k: int = 10,
    seed: int = 0,
    across_tokenizers: bool = AugmentSettings.across_tokenizers,
    pair: Annotated[Models, _FLAT] = Models(),
    settings: Annotated[ScoreSettings, _FLAT] = ScoreSettings(),
) -> None:
    """Choose a pair's layers and heads by their clue recall.

    They are chosen on one half of the corpus, and measured on the other.

    Args:
        corpus: a corpus whose spans mark a head entity and answers.
        output: folder for heads.json and the scores, each head's too (none: nothing is kept).
        k: how many of the best ranked tokens count.
        seed: seed of the halves.
        across_tokenizers: carry the small model's scores over to the large one's tokens where these differ.
        pair: the two models.
        settings: how attention is read out.
    """
    from elusive.clues.pairs import pair_heads
    from elusive.reporting.clue_tables import heads_table

    augment = AugmentSettings(across_tokenizers=across_tokenizers)
    documents = _corpus(corpus).documents
    with _scores_kept(output) as folder:
        found = pair_heads(documents, folder, pair=pair, settings=settings, augment=augment, k=k, seed=seed)
    _show(heads_table(found), found, output, "heads.json")


@contextlib.contextmanager
def _scores_kept(output: Path | None) -> Iterator[Path]:
    """The folder for scores: in the output folder, or one that is thrown away."""
    from elusive.runs.folder import RunFolder

    if output:
        yield RunFolder(output).scores_folder()
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def _show(table: str, found: Any, output: Path | None, name: str) -> None:
    from elusive.runs.files import write_json
    from elusive.runs.typed_json import to_json

    print(table)
    if output:
        write_json(output / name, to_json(found))
        print(f"\n{output / name}")


def train(
    texts: tyro.conf.Positional[Path],
    output: Path,
    questions: Path | None = None,
    model: str = "elusive/large",
    revision: str = "",
    dtype: Dtype = "float32",
    quantization: Quantization = "none",
    device: str = "auto",
    settings: Annotated[TrainSettings, _FLAT] = TrainSettings(),
    evaluate: EvaluateSettings = EvaluateSettings(),
) -> None:
    """Continue a model's pretraining on one arm's texts.

    Processes launched together share the work: torchrun -m elusive train ...

    Args:
        texts: a train.jsonl.
        output: folder for the model or its adapters, metrics.jsonl, and the answers of --evaluate-at-epochs.
        questions: JSONL of questions that are asked in the midst of training (see --evaluate-at-epochs).
        model: folder, hub name, elusive/large or elusive/small.
        revision: commit or branch of a hub model.
        dtype: type of the weights.
        quantization: hold the weights in 8 or 4 bit (needs elusive[quantized]).
        device: cpu, cuda, auto or a device map.
        settings: how to train.
        evaluate: how the questions are asked.
    """
    from elusive.corpus.questions import read_questions
    from elusive.evaluation.in_training import evaluator_of
    from elusive.evaluation.prompts import few_shot_examples
    from elusive.runs.files import silent
    from elusive.runs.progress import shown
    from elusive.training.stage import train as train_model

    evaluator = None
    if questions:
        examples = few_shot_examples(evaluate.examples)
        evaluator = evaluator_of(read_questions(questions), examples, evaluate, output)
    with shown(f"train {model}") as progress:
        done = train_model(
            texts,
            output,
            model=ModelRef(model, revision, dtype, quantization, device),
            settings=settings,
            evaluator=evaluator,
            progress=progress if processes.is_main() else silent,
        )
    if processes.is_main():
        print(f"{output}: {training_summary(done)}")


def training_summary(done: "Training") -> str:
    """What was trained on, in words: all of it, or it would say so."""
    together = f" in {done.processes} processes" if done.processes > 1 else ""
    return (
        f"{done.texts:,} texts, {done.tokens:,} tokens an epoch; {done.tokens_trained:,} tokens trained on in "
        f"{done.steps:,} steps{together}, {'packed' if done.packed else 'padded'}; loss {done.loss}, {done.seconds} s"
    )


def evaluate(
    model: tyro.conf.Positional[str],
    questions: Path,
    output: Path,
    revision: str = "",
    dtype: Dtype = "float32",
    quantization: Quantization = "none",
    device: str = "auto",
    settings: Annotated[EvaluateSettings, _FLAT] = EvaluateSettings(),
) -> None:
    """Ask a model closed-book questions: exact match and F1.

    What it knew before training is asked too (--known), to measure forgetting.

    Args:
        model: folder, hub name, elusive/large or elusive/small.
        questions: JSONL of id, question, answers, field, document_id.
        output: folder for predictions.jsonl and metrics.json; known/ in it has those about people known before.
        revision: commit or branch of a hub model.
        dtype: type of the weights.
        quantization: hold the weights in 8 or 4 bit (needs elusive[quantized]).
        device: cpu, cuda, auto or a device map.
        settings: shots, batches and engine.
    """
    from elusive.corpus.questions import read_questions
    from elusive.evaluation.known import known_questions
    from elusive.evaluation.predictions import read_metrics
    from elusive.evaluation.prompts import few_shot_examples
    from elusive.evaluation.stage import evaluate_model
    from elusive.runs.folder import known_answers
    from elusive.runs.progress import shown

    known = known_questions(settings.known, model)
    with shown(f"evaluate {model}") as progress:
        found = evaluate_model(
            read_questions(questions),
            list(few_shot_examples(settings.examples)),
            output,
            model=ModelRef(model, revision, dtype, quantization, device),
            settings=settings,
            known=known,
            progress=progress,
        )
    rows = {**found.fields, "all": found}
    if known:
        rows["known"] = read_metrics(known_answers(output))
    for field, means in rows.items():
        print(f"{field:12} EM {means.em:.3f}  F1 {means.f1:.3f}  {means.questions} questions")


def report(folder: tyro.conf.Positional[Path], settings: Annotated[ReportSettings, _FLAT] = ReportSettings()) -> None:
    """Write the tables, plots and page of a run folder.

    Args:
        folder: the run folder.
        settings: what to show.
    """
    from elusive.reporting import write_report
    from elusive.runs.progress import shown

    with shown("report") as progress:
        page = write_report(folder, settings, progress=progress)
    _print_results(page)


def export(
    texts: tyro.conf.Positional[Path],
    output: Path,
    arm: str = "",
    questions: Path | None = None,
    settings: Annotated[ExportSettings, _FLAT] = ExportSettings(),
) -> None:
    """Write one arm's texts as a data set for other trainers.

    The folder can go to the hub; questions become a task of lm-evaluation-harness.

    Args:
        texts: a folder that `augment` wrote, or a run folder.
        output: the new folder.
        arm: which arm of a run.
        questions: JSONL of questions; a run brings its own.
        settings: the card, the base model and the training.
    """
    from elusive.exporting import export as export_texts
    from elusive.runs.progress import shown

    with shown("export") as progress:
        done = export_texts(texts, output, arm=arm, questions=questions or "", settings=settings, progress=progress)
    print(f"{output}: {done.rows:,} rows, {done.tokens:,} tokens, {len(done.files)} files")
    if done.cut:
        print(f"texts cut into several rows, at white space: {done.cut:,}")
    if done.task:
        print(f"task for lm-evaluation-harness: {done.task} (--include_path {output / 'lm_eval'})")
    if done.licence == "unknown":
        print("licence: unknown, as the card says; give it with --licence")


def run(recipe: Recipe) -> None:
    """Run a recipe: corpus, scores, copies, trained models, report."""
    from elusive.pipeline import run as run_recipe

    page = run_recipe(recipe, announce=lambda line: print(line, flush=True))
    _print_results(page)


def sweep(recipe: SweepRecipe) -> None:
    """Try settings of a recipe, and compare the arms at their best.

    Every arm is trained with each choice; the best is chosen in three ways.
    """
    from elusive.experiments.sweep import sweep as run_sweep
    from elusive.reporting.sweeps import sweep_markdown
    from elusive.runs.files import write_text
    from elusive.runs.folder import RunFolder

    swept = run_sweep(recipe, announce=lambda line: print(line, flush=True))
    text = sweep_markdown(swept, recipe.sweep.metric)
    write_text(swept.folder / "sweep.md", text)
    _print_markdown(text)
    print(f"Every trial: {RunFolder(swept.folder).trials.resolve()}")


def reproduce(
    what: tyro.conf.Positional[tuple[str, ...]], settings: Annotated[ReproduceSettings, _FLAT] = ReproduceSettings()
) -> None:
    """Reproduce the paper's tables and figures.

    Its experiments are run on a pair of models, and the results set beside its own.

    Args:
        what: table1 ... table8, figure1 ... figure7, attempts, or all.
        settings: the pair, and how far.
    """
    if settings.plan:
        from elusive.paper.plan import plan

        print(plan(what, settings))
        return
    from elusive.paper.reproduce import reproduce as run_experiments
    from elusive.paper.wording import CELLS

    made = run_experiments(what, settings, announce=lambda line: print(line, flush=True))
    if made.texts:
        _print_markdown("\n".join([f"{CELLS}\n", *made.texts.values()]))
    for line in made.left_out:
        print(f"left out: {line}")
    for path in made.pictures:
        print(path.resolve())
    print(f"All tables: {(Path(settings.output) / 'results.md').resolve()}")


def _print_markdown(text: str) -> None:
    """Markdown with its tables fitted to a terminal, or as it is in a file or a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        print(text)


def pretrain(settings: PretrainSettings) -> None:
    """Pretrain a tokenizer and a tiny model from scratch, from a recipe.

    The text is about fictional people.
    """
    from elusive.runs.progress import shown
    from elusive.training.pretraining import pretrain as pretrain_model

    with shown(f"pretrain {settings.output}") as progress:
        folder = pretrain_model(settings, progress=progress)
    print(f"{folder}: pretrained")


def _print_results(page: Path) -> None:
    from elusive.reporting import read_results, results_table

    results = read_results(page.parent / "results.json")
    print("\n" + results_table(results))
    print(f"\n{results.verdict.headline}")
    for name, pairs in (("separated", results.verdict.separated), ("not separated", results.verdict.not_separated)):
        for pair in pairs:
            print(f"  {name}: {pair}")
    print(f"\nPage: {page.resolve()}")


def _corpus(path: Path):
    """A corpus folder as `generate` writes it, or anything that can be read as a corpus."""
    from elusive.corpus.documents import load_corpus
    from elusive.corpus.readers import read_corpus

    return load_corpus(path) if (path / "documents.jsonl").exists() else read_corpus(path)
