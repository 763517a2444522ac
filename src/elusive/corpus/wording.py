"""Numbers and lists of problems in messages."""

from collections.abc import Mapping, Sequence

from elusive.messages import shortened, visible

LISTED_PROBLEMS = 10
"""Problems that a message lists."""


PROBLEM_CHARACTERS = 280
"""Characters of each that it shows."""


def counted(number: int, noun: str) -> str:
    """A number with its noun, e.g. `1 bad row`, `12 bad rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def by_field(numbers: Mapping[str, int], one: str, more: str) -> str:
    """Numbers of fields in words: `3 matches (1 city, 2 year)`."""
    total = sum(numbers.values())
    fields = ", ".join(f"{number:,} {name}" for name, number in sorted(numbers.items()))
    return f"{total:,} {one if total == 1 else more}" + (f" ({fields})" if fields else "")


def listed(problems: Sequence[str], total: int = 0) -> str:
    """The first ten problems, one a line, then the number of others; long ones lose their middle.

    Args:
        problems: the problems, or the first of them.
        total: number of all problems (0: those given).
    """
    lines = [f"  {shortened(visible(problem), PROBLEM_CHARACTERS)}" for problem in problems[:LISTED_PROBLEMS]]
    more = (total or len(problems)) - LISTED_PROBLEMS
    return "\n".join([*lines, f"  ... and {more:,} more"] if more > 0 else lines)
