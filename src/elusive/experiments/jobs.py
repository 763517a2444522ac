"""The trials of a run or sweep, trained and asked: one after another, or side by side on the cores or GPUs."""

import contextlib
import dataclasses
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from elusive.config.run import Recipe
from elusive.corpus.documents import Corpus
from elusive.corpus.questions import QuestionItem
from elusive.evaluation.in_training import evaluator_of
from elusive.evaluation.known import known_questions
from elusive.evaluation.prompts import few_shot_examples
from elusive.evaluation.stage import evaluate_model
from elusive.runs.folder import RunFolder, known_answers
from elusive.runs.progress import shown_together
from elusive.training.stage import train

from .placement import gpu_places, processes_at_once, take_place
from .trials import UNTRAINED, Trial

Job = tuple[Trial, int]
"""A trial and one of its seeds."""


def jobs_in_words(recipe: Recipe, trials: Sequence[Trial]) -> str:
    """How many models are trained, and how many at a time."""
    count = sum(len(trial.seeds) for trial in trials if trial.arm != UNTRAINED)
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
    jobs = [(trial, seed) for seed in _seeds(trials) for trial in trials if seed in trial.seeds]
    missing = [job for job in jobs if not _is_done(run, *job, asked=asked)]
    at_once = processes_at_once(recipe, len(missing))
    with shown_together() as show:
        # Done jobs come along: they are not done again, but refused if they were done with other settings.
        with _threads(recipe.threads):
            for trial, seed in jobs if at_once <= 1 else [job for job in jobs if job not in missing]:
                _train_and_evaluate_one(trial, seed, corpus, run, weights, show)
        if at_once > 1:
            for name, done, total in _in_processes(recipe, corpus, run, missing, at_once, weights):
                show(name, done, total)


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
    return all((mark / "done.json").exists() for mark in marks)


def _known(trial: Trial) -> list[QuestionItem]:
    """Questions about people known before training."""
    return known_questions(trial.recipe.evaluate.known, trial.recipe.trained.name)


def _in_processes(
    recipe: Recipe, corpus: Corpus, run: RunFolder, jobs: Sequence[Job], at_once: int, weights: bool
) -> Iterator[tuple[str, int, int]]:
    """Train side by side in processes of their own; yields their progress as (name, done, total)."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        places, queue = manager.Queue(), manager.Queue()
        for place in gpu_places(recipe, at_once):
            places.put(place)
        with ProcessPoolExecutor(at_once, context, initializer=take_place, initargs=(places, recipe.threads)) as pool:
            pending: set[Future] = {
                pool.submit(_train_and_evaluate_one, trial, seed, corpus, run, weights, functools.partial(_send, queue))
                for trial, seed in jobs
            }
            try:
                while pending:
                    finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                    while not queue.empty():
                        yield queue.get()
                    for future in finished:
                        future.result()
            except BaseException:
                # Waiting for arms that are still being trained could take hours; they go on from their checkpoints.
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
                raise


def _send(queue: Any, name: str, done: int, total: int) -> None:
    # Every step of a small model would flood the queue.
    if done == total or done % 5 == 0:
        queue.put((name, done, total))


def _train_and_evaluate_one(
    trial: Trial, seed: int, corpus: Corpus, run: RunFolder, weights: bool, show: Callable[[str, int, int], None]
) -> None:
    """Train one trial with one seed and ask it all questions; the trial `untrained` is only asked."""
    done = _is_done(run, trial, seed, asked=bool(corpus.questions))
    recipe = trial.recipe
    model = recipe.trained
    label = trial.label + (f", seed {seed}" if len(trial.seeds) > 1 else "")
    answers = trial.answers_folder(run, seed)
    known = _known(trial)
    if trial.arm != UNTRAINED:
        learned = trial.model_folder(run, seed)
        evaluator = None
        if corpus.questions:
            evaluator = evaluator_of(
                list(corpus.questions),
                few_shot_examples(recipe.evaluate.examples),
                recipe.evaluate,
                answers,
                functools.partial(show, f"evaluate {label}"),
            )
        train(
            trial.texts_folder(run) / "train.jsonl",
            learned,
            model=model,
            settings=dataclasses.replace(recipe.train, seed=recipe.train.seed + seed),
            evaluator=evaluator,
            progress=functools.partial(show, f"train {label}"),
        )
        if done and not has_weights(learned):
            return  # a sweep that keeps answers alone
        model = dataclasses.replace(model, name=str(learned))
    if corpus.questions:
        evaluate_model(
            list(corpus.questions),
            list(few_shot_examples(recipe.evaluate.examples)),
            answers,
            model=model,
            settings=recipe.evaluate,
            known=known,
            progress=functools.partial(show, f"evaluate {label}"),
        )
    if trial.arm != UNTRAINED and not weights:
        for path in trial.model_folder(run, seed).glob("*.safetensors"):
            path.unlink()


def has_weights(folder: Path) -> bool:
    """Whether a trained model's folder still holds its weights."""
    return any(folder.glob("*.safetensors"))
