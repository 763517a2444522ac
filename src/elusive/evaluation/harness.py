"""Tasks of lm-evaluation-harness, run by the harness itself on a model: what else it has forgotten."""

import contextlib
import importlib.util
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.models.chat import template_hash
from elusive.runs.files import file_hash, write_json
from elusive.runs.stage import Stage
from elusive.runs.typed_json import from_json, to_json

from .chats import in_chat_of_model
from .stage import named_by_its_files
from .task_scores import TaskScore, TaskScores

_TOKENS_OF_AN_EXAMPLE = 1024
"""Examples of a batch are as many as evaluate.max_batch_tokens has room for at this length."""


def check_harness(settings: EvaluateSettings) -> None:
    """Refuse tasks that cannot be run, before anything else takes time.

    Raises:
        ElusiveError: if the harness is not installed, or knows no task of a name.
    """
    if settings.harness:
        _tasks_of(settings.harness)


def evaluate_harness(model: ModelRef, settings: EvaluateSettings, folder: str | Path) -> TaskScores:
    """Let a model do the harness's tasks, in the harness's own way, into a stage folder.

    A finished folder is read, and the model is not loaded.

    Args:
        model: the model, adapters included.
        settings: the tasks, how much of each, the chat template and the batch.
        folder: the stage's folder: results.json, and what the harness says of each task in harness.json.

    Raises:
        ElusiveError: if the harness is not installed or refuses the tasks, or the folder holds another evaluation.
    """
    settings = in_chat_of_model(model, settings)
    version = _version()
    with Stage(folder, _identity(model, settings, version)) as stage:
        if not stage.done:
            found = _run(model, settings)
            kept = (
                "results",
                "groups",
                "group_subtasks",
                "configs",
                "versions",
                "n-shot",
                "n-samples",
                "higher_is_better",
            )
            write_json(stage.folder / "harness.json", _plain({key: found[key] for key in kept if key in found}))
            stage.finish(to_json(_scores(found)))
        return from_json(TaskScores, stage.summary, str(stage.folder))


def _identity(model: ModelRef, settings: EvaluateSettings, version: str) -> dict[str, Any]:
    files = [Path(task) for task in settings.harness if _is_file(task)]
    identity = named_by_its_files(model) | {
        "tasks": list(settings.harness),
        "files": file_hash(*files) if files else "",
        "limit": settings.harness_limit,
        "lm_eval": version,
        "chat": settings.chat,
    }
    if settings.chat != "bare":
        identity["chat_template"] = template_hash(loading.load_tokenizer(model))
    return identity


def _version() -> str:
    if importlib.util.find_spec("lm_eval") is None:
        raise ElusiveError(
            "evaluate.harness needs lm-evaluation-harness, which is missing. Run: pip install 'elusive[harness]', or "
            "leave it empty."
        )
    from importlib.metadata import version

    return version("lm_eval")


def _is_file(task: str) -> bool:
    return task.endswith((".yaml", ".yml"))


def _tasks_of(tasks: Sequence[str]) -> tuple[Any, list[str]]:
    """The harness's task manager, which knows the tasks in files too, and the names of all tasks."""
    _version()
    from lm_eval.tasks import TaskManager

    paths = [Path(task) for task in tasks if _is_file(task)]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise ElusiveError(f"evaluate.harness: no file at {', '.join(missing)}. Give a task's name, or its YAML file.")
    folders: list[str | Path] = sorted({str(path.parent.absolute()) for path in paths})
    with _quiet():
        # Its own tasks are thousands of files, which take a while to read.
        manager = TaskManager(include_path=folders or None, include_defaults=len(paths) < len(tasks))
    names = [_name_in(Path(task)) if _is_file(task) else task for task in tasks]
    unknown = [name for name in names if name not in manager.all_tasks]
    if unknown:
        raise ElusiveError(
            f"evaluate.harness: lm-evaluation-harness knows no {', '.join(unknown)}. `lm_eval ls tasks` lists what it "
            "knows; a task of your own is named by its YAML file."
        )
    return manager, names


def _name_in(path: Path) -> str:
    """The name of the task in a YAML file; its other keys may be the harness's own, such as functions."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key in ("task", "group") and value.strip():
            return value.partition(" #")[0].strip().strip("\"'")
    raise ElusiveError(f"evaluate.harness: {path} names no task: expected a line `task: NAME`.")


def _run(model: ModelRef, settings: EvaluateSettings) -> Mapping[str, Any]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    manager, names = _tasks_of(settings.harness)
    simple_evaluate: Any = lm_eval.simple_evaluate  # wrapped there in a way that hides its parameters
    batch = max(1, settings.max_batch_tokens // _TOKENS_OF_AN_EXAMPLE)
    model_of_harness: Any = HFLM  # its registry hides its parameters
    loaded = model_of_harness(
        pretrained=loading.load_model(model), tokenizer=loading.load_tokenizer(model), batch_size=batch
    )
    try:
        with _quiet():
            found = simple_evaluate(
                model=loaded,
                tasks=names,
                limit=settings.harness_limit or None,
                task_manager=manager,
                apply_chat_template=settings.chat != "bare",
                fewshot_as_multiturn=settings.chat == "turns",
                log_samples=False,
                random_seed=settings.seed,
                numpy_random_seed=settings.seed,
                torch_random_seed=settings.seed,
                fewshot_random_seed=settings.seed,
            )
    except (OSError, ValueError, KeyError, ImportError, ConnectionError) as error:
        raise ElusiveError(
            f"evaluate.harness: lm-evaluation-harness could not run {', '.join(names)} "
            f"({type(error).__name__}: {str(error).strip()[:300]}). Tasks whose data is not on this machine need a "
            "network."
        ) from error
    return found


@contextlib.contextmanager
def _quiet() -> Any:
    """Hide its bars and notes, which would stand among the stages' own progress."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)


def _scores(found: Mapping[str, Any]) -> TaskScores:
    samples = found.get("n-samples", {})
    scores = [
        TaskScore(
            task,
            metric.removesuffix(",none"),
            float(value),
            _number(row.get(metric.replace(",", "_stderr,", 1))),
            int(samples.get(task, {}).get("effective", 0)),
        )
        for task, row in found["results"].items()
        for metric, value in row.items()
        if "," in metric and "_stderr," not in metric and _number(value) is not None
    ]
    return TaskScores(tuple(scores))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _plain(value: Any) -> Any:
    """What JSON can hold: functions of tasks as their names."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else getattr(value, "__name__", str(value))
