"""Scores of a model on tasks of lm-evaluation-harness."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskScore:
    """One measure of one task.

    Attributes:
        task: the harness's name for it.
        metric: its measure, such as acc_norm, with the filter's name behind a comma where there is one.
        value: the mean over its examples.
        stderr: its standard error; None where the harness gives none.
        examples: how many.
    """

    task: str
    metric: str
    value: float
    stderr: float | None
    examples: int


@dataclass(frozen=True)
class TaskScores:
    """The measures of all tasks, groups of tasks among them."""

    scores: tuple[TaskScore, ...]

    @property
    def in_words(self) -> str:
        """A line for each measure."""
        return "\n".join(
            f"{one.task} {one.metric} {one.value:.3f}"
            + (f" ± {one.stderr:.3f}" if one.stderr is not None else "")
            + (f" ({one.examples:,} examples)" if one.examples else "")
            for one in self.scores
        )
