"""What the package says of itself is one story: the citation's version, and a pin for everything that is installed."""

import importlib.metadata
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import elusive

REPOSITORY = Path(__file__).parents[1]
OTHER_MACHINES = ("nvidia-", "cuda-", "triton")  # torch pins these itself, where it is built for a GPU


def own_requirements() -> list[str]:
    """What pyproject.toml requires, the extra `test` and the extras that it names among it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    itself = next(Requirement(line) for line in extras["test"] if line.startswith("elusive["))
    return [
        *project["dependencies"],
        *(line for line in extras["test"] if not line.startswith("elusive[")),
        *(line for extra in sorted(itself.extras) for line in extras[extra]),
    ]


def required(lines: Iterable[str], extras: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The packages, with their extras, that requirements name for this machine."""
    for requirement in map(Requirement, lines):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield canonicalize_name(requirement.name), tuple(sorted(requirement.extras))


def test_the_citation_names_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == elusive.__version__
    assert [author["family-names"] for author in citation["preferred-citation"]["authors"]] == [
        "Gao",
        "Zhang",
        "Wu",
        "Li",
    ]


def test_constraints_pin_all_that_is_installed():
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line and line[0] != "#"}
    reached: set[tuple[str, tuple[str, ...]]] = set()
    ahead = list(required(own_requirements()))
    while ahead:
        package, extras = ahead.pop()
        if (package, extras) not in reached:
            reached.add((package, extras))
            ahead.extend(required(importlib.metadata.requires(package) or (), extras))
    assert not {name for name, _ in reached if not name.startswith(OTHER_MACHINES)} - pinned


def test_the_image_gets_what_its_dockerfile_copies():
    """The builder is sent what .dockerignore names with an exclamation mark, and nothing else."""
    sent = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert sorted(copied) == sorted(sent)
    assert all((REPOSITORY / name).exists() for name in copied)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000"]
    assert not any(word in line for line in lines for word in ("ENV HF_TOKEN", "ARG HF_TOKEN", "COPY . "))
