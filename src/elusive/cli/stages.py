"""The verbs that write or read one stage's folder. Each imports its stage when it runs, so that help loads no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from elusive.config.augmentation import AugmentSettings
from elusive.config.corpus import CorpusSettings
from elusive.config.engine import EngineSettings
from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import Dtype, ModelRef
from elusive.config.run import ReportSettings
from elusive.config.scoring import ScoreSettings
from elusive.config.training import TrainSettings
from elusive.config.verbs import ExportSettings, LlmSettings
from elusive.errors import ElusiveError
from elusive.models import processes
from elusive.runs.terminal import say, warn
from elusive.storage import Location, local

from .flags import Names, OptionalLocation, OptionalPath, panel
from .printing import documents_of, indented, measures, print_results, training_summary

_MODEL = {"name": "model"}
_NO_HEADS = ("layers", "heads")


def generate(
    output: Location,
    llm: bool = False,
    settings: Annotated[CorpusSettings, panel(CorpusSettings(), "corpus")] = CorpusSettings(),
    server: Annotated[LlmSettings, panel(LlmSettings(), "server")] = LlmSettings(),
) -> Any:
    """Write a corpus folder: fictional people, or a source of yours.

    Fictional people come with questions about them; any source is read and checked.

    Args:
        output: Folder for documents.jsonl, questions.jsonl and quarantine.jsonl.
        llm: Let a language model on a server make up the people.
        settings: What to generate or read.
        server: The server of --llm, and how it is used.
    """
    if llm:
        return _generate_by_llm(local(output, "people by a language model"), settings, server)
    if server != LlmSettings():
        raise ElusiveError("Settings of a language model's server were given without --llm. Add --llm, or leave them.")
    from elusive.corpus.stage import make_corpus_folder, summary_lines
    from elusive.runs.files import read_json

    make_corpus_folder(settings, output)
    say(f"{output}: " + "\n".join(summary_lines(output)))
    return {"output": output, **read_json(output / "done.json")}


def _generate_by_llm(output: Path, settings: CorpusSettings, server: LlmSettings) -> Any:
    from elusive.corpus.people.by_llm import make_people
    from elusive.runs.progress import shown

    used = {key: getattr(settings, key) for key in ("people", "seed", "name_position")}
    if settings != CorpusSettings(**used):
        raise ElusiveError(
            "--llm makes up new people, so of the corpus's settings it takes --people, --seed and --name-position. "
            "Leave out the others."
        )
    with shown(f"people by {server.model}") as progress:
        summary = make_people(settings, server, output, progress=progress, announce=indented)
    say(f"{output}: {summary.documents:,} documents, {summary.questions:,} questions")
    say("\n".join(summary.lines(server)))
    return {"output": output, "summary": summary}


def score(
    corpus: tyro.conf.Positional[Location],
    output: Location,
    measure: Literal["attention", "entropy"] = "attention",
    fields: Names = (),
    per_head: bool = False,
    each: bool = False,
    model: Annotated[ModelRef, panel(ModelRef("elusive/large"), "model", names=_MODEL)] = ModelRef("elusive/large"),
    settings: Annotated[ScoreSettings, panel(ScoreSettings(), "attention")] = ScoreSettings(),
    engine: Annotated[EngineSettings, panel(EngineSettings(), "engine")] = EngineSettings(),
) -> Any:
    """Score tokens by the attention that they receive, or by entropy.

    Args:
        corpus: A corpus folder, or any file or folder that can be read as one.
        output: Folder for the Parquet shards.
        measure: The attention that tokens receive, or the entropy of what the model predicts in their place.
        fields: Only the spans of these fields are queries (none: all fields).
        per_head: Write every head's scores too, for study.
        each: Write what the queries of each sentence give, too.
        model: The model whose attention is captured.
        settings: Which attention counts, and how it is captured.
        engine: Who scores.
    """
    from elusive.runs.progress import shown
    from elusive.scoring.shards import Kept
    from elusive.scoring.stage import score_corpus, sink_of

    documents = documents_of(corpus)
    chosen: dict[Kept, bool] = {"heads": per_head, "sentences": each}
    keep: list[Kept] = [one for one, wanted in chosen.items() if wanted]
    if measure == "entropy" and (model.layers or model.heads):
        raise ElusiveError(
            "--measure entropy: expected no --layers or --heads, which choose attention. Leave them out."
        )
    if words := sink_of(model, settings.sink):
        say(f"{model.name}: {words}.")
    with shown(f"score {model.name}") as progress:
        score_corpus(
            documents,
            output,
            model,
            settings,
            measure=measure,
            fields=fields,
            keep=keep,
            engine=engine,
            progress=progress,
        )
    say(f"{output}: scored")
    return {"output": output, "documents": len(documents)}


def augment(
    corpus: tyro.conf.Positional[Location],
    output: Location,
    large: Location,
    small: OptionalLocation = None,
    entropy: OptionalLocation = None,
    arm: str = "contrast-cues",
    trained: Literal["large", "small"] = "large",
    excluded_tokens: Annotated[tuple[str, ...], tyro.conf.arg(metavar="STR ...")] = ScoreSettings.excluded_tokens,
    settings: Annotated[AugmentSettings, panel(AugmentSettings(), "dropout")] = AugmentSettings(),
    engine: Annotated[EngineSettings, panel(EngineSettings(), "engine")] = EngineSettings(),
) -> Any:
    """Write one arm's texts: originals and copies with dropped tokens.

    Args:
        corpus: The corpus that was scored.
        output: Folder for train.jsonl, train.parquet and ranking.parquet.
        large: Folder of the large model's scores.
        small: Folder of the small model's scores; contrast arms need it.
        entropy: Folder of the trained model's entropies (score --measure entropy); entropy arms need it.
        arm: How tokens are chosen; an unknown name lists the arms.
        trained: Whose own attention the arm `attention` ranks by.
        excluded_tokens: Never ranked and never dropped, in addition to special tokens and white space.
        settings: How many tokens are dropped, and which.
        engine: Who makes the texts.
    """
    from elusive.augmentation.arms import arm_named
    from elusive.augmentation.stage import ScoreFolders, augment_from_scores
    from elusive.augmentation.survival import survival_words
    from elusive.runs.progress import shown

    arm_named(arm, "--arm")
    folders = {"large": large} | ({"small": small} if small else {})
    if trained not in folders:
        raise ElusiveError(f"--trained {trained}: expected the folder of its scores in --{trained}, got none.")
    documents = documents_of(corpus)
    with shown(f"augment {arm}") as progress:
        augmented = augment_from_scores(
            documents,
            output,
            arm,
            ScoreFolders(folders, entropy, trained),
            excluded_tokens=excluded_tokens,
            settings=settings,
            engine=engine,
            progress=progress,
        )
    say(f"{output}: {augmented.texts:,} texts, {augmented.rates_in_words()}")
    if words := augmented.clues_in_words():
        say(words)
    if words := survival_words(augmented.survival):
        say(f"intact in the copies: {words}")
    if warning := augmented.warning(arm):
        warn(f"  {warning}")
    return {"output": output, "augmented": augmented}


def train(
    texts: tyro.conf.Positional[Location],
    output: Path,
    questions: OptionalPath = None,
    model: Annotated[ModelRef, panel(ModelRef("elusive/large"), "model", names=_MODEL, left_out=_NO_HEADS)] = ModelRef(
        "elusive/large"
    ),
    settings: Annotated[TrainSettings, panel(TrainSettings(), "training")] = TrainSettings(),
    evaluate: Annotated[EvaluateSettings, panel(EvaluateSettings(), "evaluate", prefixed=True)] = EvaluateSettings(),
) -> Any:
    """Continue a model's pretraining on one arm's texts.

    Processes launched together share the work: torchrun -m elusive train ...

    Args:
        texts: A train.jsonl.
        output: Folder for the model or its adapters, metrics.jsonl, and the answers of --evaluate-at-epochs.
        questions: JSONL of questions that are answered during training (see --evaluate-at-epochs).
        model: The model that is trained.
        settings: How it is trained.
        evaluate: How the questions are answered.
    """
    from elusive.corpus.questions import read_questions
    from elusive.evaluation.in_training import evaluator_of
    from elusive.evaluation.prompts import prompting_of
    from elusive.runs.files import silent
    from elusive.runs.progress import shown
    from elusive.training.stage import train as train_model

    evaluator = None
    if questions:
        items = read_questions(questions)
        evaluator = evaluator_of(items, *prompting_of(items, evaluate, questions), output)
    with shown(f"train {model.name}") as progress:
        trained = train_model(
            texts,
            output,
            model=model,
            settings=settings,
            evaluator=evaluator,
            progress=progress if processes.is_main() else silent,
        )
    if processes.is_main():
        say(f"{output}: {training_summary(trained)}")
    return {"output": output, "training": trained}


def evaluate(
    questions: Path,
    output: Path,
    model: Annotated[ModelRef, panel(ModelRef(), "model", names=_MODEL, left_out=_NO_HEADS, required=("name",))],
    settings: Annotated[EvaluateSettings, panel(EvaluateSettings(), "evaluation")] = EvaluateSettings(),
) -> Any:
    """Evaluate a model on closed-book questions: exact match and F1.

    Questions about what it knew before training (--known) measure forgetting.

    Args:
        questions: JSONL of id, question, answers, field, document_id.
        output: Folder for predictions.jsonl and metrics.json, known/ for those of --known, and harness/.
        model: The model that answers.
        settings: Prompts, batches and engine.
    """
    from elusive.corpus.question_sets import sets_of_questions
    from elusive.corpus.questions import read_questions
    from elusive.evaluation.chats import in_chat_of_model
    from elusive.evaluation.harness import check_harness, evaluate_harness
    from elusive.evaluation.known import known_questions
    from elusive.evaluation.language import metric_in_words
    from elusive.evaluation.predictions import read_metrics
    from elusive.evaluation.prompts import prompting_of, prompts_in_words
    from elusive.evaluation.stage import evaluate_model
    from elusive.runs.folder import harness_scores, known_answers
    from elusive.runs.progress import shown

    items = read_questions(questions)
    settings = in_chat_of_model(model, settings)
    check_harness(settings)
    prompting = prompting_of(items, settings, questions)
    known = known_questions(settings.known, model.name)
    with shown(f"evaluate {model.name}") as progress:
        metrics = evaluate_model(
            items,
            prompting.examples,
            output,
            model=model,
            settings=settings,
            known=known,
            progress=progress,
        )
    say(f"question sets: {sets_of_questions(questions)}")
    say(f"prompts: {prompts_in_words(items, *prompting)}")
    say(f"exact match and F1: {metric_in_words(prompting.settings)}")
    known_metrics = read_metrics(known_answers(output)) if known else None
    say(measures(metrics, known_metrics))
    tasks = evaluate_harness(model, settings, harness_scores(output)) if settings.harness else None
    if tasks:
        say(tasks.in_words)
    return {"output": output, "metrics": metrics, "known": known_metrics, "tasks": tasks}


def merge(
    adapters: tyro.conf.Positional[Path],
    output: tyro.conf.Positional[Path],
    base: Annotated[str, tyro.conf.arg(help_behavior_hint="")] = "",
    revision: Annotated[str, tyro.conf.arg(help_behavior_hint="")] = "",
    dtype: Dtype = "auto",
) -> Any:
    """Write a model with its adapters merged into it.

    Plain safetensors with a tokenizer and a card, for any program.

    Args:
        adapters: A folder that `train` wrote, or any other of peft's adapters.
        output: The new folder.
        base: The model that they are merged into (empty: the one that they name).
        revision: Commit or branch of that model on the hub.
        dtype: Type of the merged weights (auto: as those of the model are saved).
    """
    from elusive.exporting.merging import merge as merge_adapters

    merged = merge_adapters(adapters, output, base=base, revision=revision, dtype=dtype)
    if merged is None:
        say(f"{output}: these weights are there already")
        return {"output": output, "merged": None}
    if merged.other_base:
        warn(f"Warning: {merged.base} has other files than the model that these adapters were trained on.")
    say(f"{output}: {merged.parameters:,} weights in {merged.dtype}, merged into {merged.base}")
    return {"output": output, "merged": merged}


def report(
    folders: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(help_behavior_hint="", metavar="RUN ...")]],
    output: OptionalPath = None,
    settings: Annotated[ReportSettings, panel(ReportSettings(), "report")] = ReportSettings(),
) -> Any:
    """Write the tables, plots and page of a run folder.

    A run that goes on is shown as far as it is.

    Several runs are shown side by side, on one page.

    Args:
        folders: The run folder, or several to compare.
        output: The page that compares several runs (comparison.html here).
        settings: What to show of a run.
    """
    if len(folders) > 1:
        return _compare(folders, output or Path("comparison.html"), settings)
    if not folders:
        raise ElusiveError("Expected a run folder, or several to compare. Give the output folder of a run.")
    if output:
        raise ElusiveError("--output is the page that compares several runs; a single run's is RUN/report/index.html.")
    from elusive.reporting import write_report
    from elusive.runs.progress import shown

    with shown("report") as progress:
        page = write_report(folders[0], settings, progress=progress)
    return print_results(page)


def _compare(folders: Sequence[Path], output: Path, settings: ReportSettings) -> Any:
    if settings != ReportSettings():
        raise ElusiveError("Settings of a single run's report were given with several runs. Leave them out.")
    from elusive.reporting.comparison import write_comparison

    page = write_comparison(folders, output).resolve()
    say(f"Page: {page}")
    return {"page": page}


def export(
    texts: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    output: Path,
    arm: Annotated[str, tyro.conf.arg(help_behavior_hint="")] = "",
    questions: OptionalPath = None,
    answers: OptionalPath = None,
    push_to_hub: Annotated[str, tyro.conf.arg(help_behavior_hint="", metavar="REPO")] = "",
    public: bool = False,
    settings: Annotated[ExportSettings, panel(ExportSettings(), "export")] = ExportSettings(),
) -> Any:
    """Write one arm's texts, or a trained model, for others.

    Texts become a data set, questions a task of lm-evaluation-harness.

    Args:
        texts: A folder that `augment` wrote, a run folder, or a folder that `train` wrote (RUN/models/ARM/seed-0).
        output: The new folder.
        arm: Which arm of a run (needed there).
        questions: JSONL of questions; a run brings its own.
        answers: Of a trained model, the folder that `evaluate` wrote; a run brings its own.
        push_to_hub: Push the folder to this repository of the Hugging Face hub, which is private.
        public: Let everybody see that repository.
        settings: The card, the base model and the training.
    """
    from elusive.exporting.hub import Destination
    from elusive.exporting.model import is_trained

    if public and not push_to_hub:
        raise ElusiveError("--public: expected a repository in --push-to-hub, got none.")
    is_model = is_trained(texts)
    hub = Destination(push_to_hub, "model" if is_model else "dataset", public) if push_to_hub else None
    if hub:
        hub.check()
    if is_model:
        done = _export_model(texts, output, arm, questions, answers, settings)
    elif answers:
        raise ElusiveError("--answers: of a trained model alone, but texts were given. Leave it out.")
    else:
        done = _export_texts(texts, output, arm, questions, settings)
    if done.licence == "unknown":
        say("licence: unknown, as the card says; give it with --licence")
    address = hub.push(output, (*done.files, "export.json")) if hub else ""
    if address:
        say(f"{address}: pushed, {'public' if public else 'private'}")
    return {"output": output, "exported": done} | ({"pushed": address} if address else {})


def _export_texts(texts: Path, output: Path, arm: str, questions: Path | None, settings: ExportSettings) -> Any:
    from elusive.exporting import export as export_texts
    from elusive.runs.progress import shown

    with shown("export") as progress:
        done = export_texts(texts, output, arm=arm, questions=questions or "", settings=settings, progress=progress)
    say(f"{output}: {done.rows:,} rows, {done.tokens:,} tokens, {len(done.files)} files")
    if done.cut:
        say(f"texts cut into several rows, at white space: {done.cut:,}")
    if done.task:
        say(f"task for lm-evaluation-harness: {done.task} (--include_path {output / 'lm_eval'})")
    return done


def _export_model(
    model: Path, output: Path, arm: str, questions: Path | None, answers: Path | None, settings: ExportSettings
) -> Any:
    from elusive.exporting.model import export_model

    for flag, given in (("--arm", arm), ("--questions", questions)):
        if given:
            raise ElusiveError(f"{flag}: for the texts of an arm alone, but a trained model was given. Leave it out.")
    done = export_model(model, output, answers=answers or "", settings=settings)
    what = "adapters" if done.adapters else "a whole model"
    results = f"its card shows {done.questions:,} questions" if done.questions else "not evaluated"
    say(f"{output}: {what}, {len(done.files)} files, {results}")
    return done
