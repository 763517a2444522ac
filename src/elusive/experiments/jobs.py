"""The trials of a run or sweep, trained and asked: one after another, or side by side on the cores or GPUs."""

import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from elusive.config.run import Recipe
from elusive.corpus.documents import Corpus
from elusive.corpus.questions import QuestionItem
from elusive.errors import ElusiveError
from elusive.evaluation.harness import evaluate_harness
from elusive.evaluation.in_training import evaluator_of
from elusive.evaluation.known import known_questions
from elusive.evaluation.predictions import Metrics, read_metrics
from elusive.evaluation.prompts import prompting_of
from elusive.evaluation.stage import evaluate_model
from elusive.runs.folder import RunFolder, harness_scores, known_answers
from elusive.runs.progress import Show, Shown, shown_together
from elusive.runs.stopping import CODE, Stopped, start_worker
from elusive.training.stage import train
from elusive.training.start import Start, bases_in
from elusive.training.tracked_answers import track_answers

from .placement import gpu_places, processes_at_once, take_place
from .trials import AVERAGE, UNTRAINED, Trial


@dataclasses.dataclass(frozen=True)
class Job:
    """What one training with one seed serves: a trial, or several that differ in train.average alone.

    Attributes:
        trials: the one whose weights are most the trained ones first.
        seed: of the training.
    """

    trials: tuple[Trial, ...]
    seed: int


START_METHOD = "spawn"
"""How processes side by side are started: a fork would share what torch and CUDA have in memory."""


def jobs_of(trained: Iterable[tuple[Trial, int]]) -> list[Job]:
    """Trials with their seeds, those together that share a training: with train.average = 1 and less."""
    groups: dict[Any, list[Trial]] = {}
    for trial, seed in trained:
        others = repr([(key, value) for key, value in trial.chosen if key != AVERAGE])
        groups.setdefault((trial.arm, others, seed), []).append(trial)
    jobs = []
    for (_, _, seed), group in groups.items():
        group.sort(key=lambda trial: -trial.recipe.train.average)
        # Questions in the midst of a training are answered for each trial's own folder.
        shared = group[0].recipe.train.average == 1 and not group[0].recipe.train.evaluate_at_epochs
        jobs += [Job(tuple(group), seed)] if shared else [Job((trial,), seed) for trial in group]
    return jobs


def jobs_in_words(recipe: Recipe, trials: Sequence[Trial]) -> str:
    """How many models are trained, and how many at a time."""
    count = len(jobs_of((trial, seed) for trial in trials for seed in trial.seeds if trial.arm != UNTRAINED))
    return f"{count} model{'s' if count > 1 else ''}, {processes_at_once(recipe, count)} at a time"


def train_and_evaluate(
    recipe: Recipe, corpus: Corpus, run: RunFolder, trials: Sequence[Trial], *, weights: bool = True
) -> None:
    """Train every trial with every seed and ask each all questions, and the untrained model too; what is done is kept.

    The result of one does not depend on where it runs, nor on what runs beside it.

    Args:
        recipe: how many are trained side by side, and with how many threads.
        corpus: its questions are asked.
        run: its folder, with the trials' training texts in it.
        trials: what is trained and asked.
        weights: keep the weights once the questions are answered.
    """
    asked = bool(corpus.questions)
    trials = [trial for trial in trials if asked or trial.arm != UNTRAINED]
    # Seed by seed: a run that is stopped leaves whole comparisons.
    jobs = jobs_of([(trial, seed) for seed in _seeds(trials) for trial in trials if seed in trial.seeds])
    missing = [job for job in jobs if not all(_is_done(run, trial, job.seed, asked=asked) for trial in job.trials)]
    at_once = processes_at_once(recipe, len(missing))
    for trial in {id(job.trials[0].recipe): job.trials[0] for job in missing}.values():
        if trial.arm != UNTRAINED:  # once, before several start that need it
            Start(trial.recipe.trained, trial.recipe.train).write_base(bases_in(run.path))
    with shown_together() as show:
        # Done jobs come along: they are not done again, but refused if they were done with other settings.
        with _threads(recipe.threads):
            for job in jobs if at_once <= 1 else [job for job in jobs if job not in missing]:
                _train_and_evaluate(job, corpus, run, weights, show)
        if at_once > 1:
            for progress in _in_processes(recipe, corpus, run, missing, at_once, weights):
                show(*progress)


def _seeds(trials: Sequence[Trial]) -> list[int]:
    return list(dict.fromkeys(seed for trial in trials for seed in trial.seeds))


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run the block with so many torch threads (0: as they are), as processes side by side have."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_done(run: RunFolder, trial: Trial, seed: int, *, asked: bool) -> bool:
    marks = [trial.model_folder(run, seed)] if trial.arm != UNTRAINED else []
    marks += [trial.answers_folder(run, seed)] if asked else []
    marks += [known_answers(mark) for mark in marks[-1:] if asked and _known(trial)]
    if asked and trial.recipe.evaluate.harness:
        marks.append(harness_scores(trial.answers_folder(run, seed)))
    return all((mark / "done.json").exists() for mark in marks)


def _known(trial: Trial) -> list[QuestionItem]:
    """Questions about what was known before training."""
    return known_questions(trial.recipe.evaluate.known, trial.recipe.trained.name)


def _in_processes(
    recipe: Recipe, corpus: Corpus, run: RunFolder, jobs: Sequence[Job], at_once: int, weights: bool
) -> Iterator[tuple[str, int, int, str]]:
    """Train side by side in processes of their own; yields their progress as (name, done, total, remark)."""
    context = multiprocessing.get_context(START_METHOD)
    places, shown = context.SimpleQueue(), context.Queue()
    for place in gpu_places(recipe, at_once):
        places.put(place)
    others = set(multiprocessing.active_children())
    arguments = (places, recipe.threads, shown)
    with ProcessPoolExecutor(at_once, context, initializer=_start_worker, initargs=arguments) as pool:
        is_whole = False
        try:
            pending: set[Future] = {
                pool.submit(_train_and_evaluate_in_worker, job, corpus, run, weights) for job in jobs
            }
            while pending:
                finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                while not shown.empty():
                    yield shown.get()
                for future in finished:
                    future.result()
            is_whole = True
        except BrokenProcessPool:
            raise ElusiveError(
                "A process that trained or evaluated a model was ended from outside: by the system, where memory was "
                "short, or by hand. Run the same command again to go on where it was; `parallel` says how many train "
                "side by side."
            ) from None
        finally:
            # Waiting for arms that are still being trained could take hours; they go on from their checkpoints.
            pool.shutdown(wait=False, cancel_futures=True)
            if not is_whole:
                _end(set(multiprocessing.active_children()) - others)


def _end(workers: Collection[BaseProcess]) -> None:
    """Let workers write their checkpoints and end; a second Ctrl-C or SIGTERM ends them at once."""
    try:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
    except BaseException:
        for worker in workers:
            worker.kill()
        raise


_shown_by_worker: Any


def _start_worker(places: Any, threads: int, shown: Any) -> None:
    global _shown_by_worker
    start_worker()
    shown.cancel_join_thread()  # progress that nobody reads any more keeps no worker from ending
    _shown_by_worker = shown
    take_place(places, threads)


def _train_and_evaluate_in_worker(job: Job, corpus: Corpus, run: RunFolder, weights: bool) -> None:
    try:
        _train_and_evaluate(job, corpus, run, weights, _send)
    except Stopped:
        os._exit(CODE)  # the pool would send it to the command, and wait for the next job


def _send(name: str, done: int, total: int, remark: str) -> None:
    # Every step of a small model would flood the queue.
    if done == total or done % 5 == 0:
        _shown_by_worker.put((name, done, total, remark))


def _train_and_evaluate(job: Job, corpus: Corpus, run: RunFolder, weights: bool, show: Show) -> None:
    """Train, ask each trial's weights all questions, and remove the weights unless they are to be kept."""
    for trial in job.trials:
        shared = job.trials[0].model_folder(run, job.seed) if trial is not job.trials[0] else None
        _train_and_evaluate_one(trial, job.seed, corpus, run, shared, show)
    for trial in job.trials:
        if trial.arm != UNTRAINED and not weights:
            for path in trial.model_folder(run, job.seed).glob("*.safetensors"):
                path.unlink()


def _train_and_evaluate_one(
    trial: Trial, seed: int, corpus: Corpus, run: RunFolder, shared: Path | None, show: Show
) -> None:
    """Train one trial with one seed and ask it all questions; the trial `untrained` is only asked."""
    done = _is_done(run, trial, seed, asked=bool(corpus.questions))
    recipe = trial.recipe
    model = recipe.trained
    label = trial.label + (f", seed {seed}" if len(trial.seeds) > 1 else "")
    answers = trial.answers_folder(run, seed)
    known = _known(trial)
    examples = prompting_of(corpus.questions, recipe.evaluate, run.questions).examples if corpus.questions else ()
    if trial.arm != UNTRAINED:
        learned = trial.model_folder(run, seed)
        evaluator = None
        if corpus.questions:
            evaluator = evaluator_of(
                list(corpus.questions),
                examples,
                recipe.evaluate,
                answers,
                Shown(show, f"evaluate {label}"),
            )
        train(
            trial.texts_folder(run) / "train.jsonl",
            learned,
            model=model,
            settings=dataclasses.replace(recipe.train, seed=recipe.train.seed + seed),
            trained=shared,
            bases=bases_in(run.path),
            evaluator=evaluator,
            progress=Shown(show, f"train {label}"),
        )
        if done and not has_weights(learned):
            return  # a sweep that keeps answers alone
        model = dataclasses.replace(model, name=str(learned))
    measures: dict[str, float] = {}
    if corpus.questions:
        found = evaluate_model(
            list(corpus.questions),
            examples,
            answers,
            model=model,
            settings=recipe.evaluate,
            known=known,
            progress=Shown(show, f"evaluate {label}"),
        )
        measures = _measures(found, read_metrics(known_answers(answers)) if known else None)
        if recipe.evaluate.harness:
            evaluate_harness(model, recipe.evaluate, harness_scores(answers))
    if not done:
        track_answers(trial.model_folder(run, seed), recipe.train, measures)


def _measures(found: Metrics, known: Metrics | None) -> dict[str, float]:
    """What trackers are told of a model's answers."""
    of_known = {"known_em": known.em, "known_f1": known.f1} if known else {}
    return {"em": found.em, "f1": found.f1, "questions": found.questions, **of_known}


def has_weights(folder: Path) -> bool:
    """Whether a trained model's folder still holds its weights."""
    return any(folder.glob("*.safetensors"))
