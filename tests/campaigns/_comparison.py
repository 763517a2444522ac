"""Whether a command that was interrupted ended with the files of one that was not."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from elusive.runs.lock import LOCK

NOT_COMPARED = {
    "seconds": "how long something took; of a resumed training, since it resumed",
    "scoring_seconds": "how long it took to capture the attention of an arm",
    "durations": "the same in words, e.g. 2 min 34 s, in sentences and tables of a report",
    "date": "when a run was finished",
    "peak_bytes": "how much memory a process took",
    "sha256": "the hash that a file with seconds holds of itself",
    "files": "of report/done.json, a hash over files with seconds in them",
    "Time of all experiments": "seconds in the words of a line",
    "llm_answers.jsonl": "the order of its lines, in which the answers of the server came",
    "the last cell": "of rows whose table ends in a column of seconds, in a report",
    LOCK: "a done stage is only looked at, so the next command may leave the lock file of a killed one",
}
"""What differs between two commands that nobody interrupted, too: keys of JSON, parts of text, and a file."""


_DURATION = re.compile(r"\b\d[\d,]*(\.\d)? (h|min|s)( \d+ (min|s))?\b")
_DATE = re.compile(r"<time datetime=.*?</time>")


class DifferenceError(Exception):
    """A history that did not end as it should."""


def compare(whole: Path, out: Path) -> None:
    """Refuse other files than those of an uninterrupted command."""
    expected, found = files_of(whole), files_of(out)
    if missing := expected.keys() - found.keys():
        raise DifferenceError(f"missing: {sorted(missing)[:10]}")
    if more := found.keys() - expected.keys():
        raise DifferenceError(f"left behind: {sorted(more)[:10]}")
    differing = [name for name in sorted(expected) if content(expected[name]) != content(found[name])]
    if differing:
        raise DifferenceError(f"other content: {differing[:10]}")


def files_of(folder: Path) -> dict[str, Path]:
    """Files, and folders that hold none, by name."""
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*")
        if path.name != LOCK and (path.is_file() or not any(path.iterdir()))
    }


def content(path: Path) -> object:
    """What is compared of a file."""
    if path.is_dir():
        return None
    try:
        return _without_what_differs(path)
    except ValueError:  # no JSON, no text
        return path.read_bytes()


def _without_what_differs(path: Path) -> object:
    if path.suffix == ".json":
        return _without_seconds(json.loads(path.read_text(encoding="utf-8")))
    if path.name == "llm_answers.jsonl":  # as they came
        return sorted(path.read_text(encoding="utf-8").splitlines())
    if path.suffix == ".jsonl":
        return [_without_seconds(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix in (".md", ".html"):
        return list(_without_times(path.read_text(encoding="utf-8").splitlines()))
    return path.read_bytes()


def _without_times(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a page without the seconds of its trainings."""
    has_seconds = False
    for line in lines:
        if line.startswith(("| arm |", "<thead>")):
            has_seconds = line.endswith(("| seconds |", '"col">seconds</th></tr></thead>'))
        if has_seconds and line.startswith(("| ", "<tr>")):
            line = re.sub(r"\d+( \||</td></tr>)$", "", line)
        if not line.startswith("Time of all experiments"):
            yield _DURATION.sub("", _DATE.sub("", line))


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"elusive", "files"}:
            return value["elusive"]
        left_out = {"scoring_seconds"} | ({"seconds", "peak_bytes", "sha256"} if "seconds" in value else set())
        if isinstance(value.get("date"), str):  # a field of questions may have that name
            left_out.add("date")
        return {key: _without_seconds(inside) for key, inside in value.items() if key not in left_out}
    if isinstance(value, str):
        return _DURATION.sub("", value)
    return [_without_seconds(inside) for inside in value] if isinstance(value, list) else value
