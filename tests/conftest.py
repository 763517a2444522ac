"""Fixtures that several test files share."""

import gc
import importlib.util
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

# Before torch is loaded: test processes side by side, each with a thread a core, would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def shaped_modules() -> list[str]:
    """The modules of the package that give shapes in their signatures; found without an import of the package."""
    package = importlib.util.find_spec("elusive")
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent
    return sorted(
        ".".join(path.relative_to(source.parent).with_suffix("").parts)
        for path in source.rglob("*.py")
        if "\nfrom jaxtyping import " in path.read_text(encoding="utf-8")
    )


# Before they are imported: each call of their functions is checked, arguments and results, shapes and types.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # an int is a float, too
jaxtyping.install_import_hook(shaped_modules(), CHECKER)


LONG = ("cli/test_reproduce", "cli/test_train", "cli/test_run", "reporting", "cli/test_sweep")
"""Files that take longest; begun first, so that no process has one left when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((number for number, name in enumerate(LONG) if f"tests/{name}" in item.nodeid), len(LONG))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, the tests of a file run in one process, which makes their fixtures once."""
    from xdist.scheduler import LoadFileScheduling

    if config.getoption("dist") != "load":
        return None
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


def pytest_collection_finish() -> None:
    """Millions of objects of the libraries are there to stay: let collections of garbage pass them over."""
    gc.freeze()


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """For tests of how the package itself refuses a wrong shape."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A tiny byte-level BPE tokenizer that puts <bos> before each text: 500 entries, no download."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from elusive.corpus.people.biographies import biography, people

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        (biography(person, "text").text for person in itertools.islice(people(99), 40)),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<bos>", "<eos>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )
