"""A tokenizer that is loaded alone is the one that transformers chooses."""

import json
import shutil

import pytest

from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.models.names import resolve
from elusive.models.tokenizers import tokenizer_alone

TEXT = "Zoë Ekström was born on May 4, 1973.  She studied <bos> law.\n"


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(resolve("elusive/large"), copy)
    return copy


def described(folder, **changes):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", ["TokenizersBackend", "PreTrainedTokenizerFast", "LlamaTokenizer", "GPT2Tokenizer"])
def test_it_is_the_tokenizer_that_transformers_chooses(folder, kind):
    described(folder, tokenizer_class=kind)
    alone, chosen = tokenizer_alone(ModelRef(str(folder))), loading.load_tokenizer(str(folder))
    assert type(alone) is type(chosen)
    assert alone(TEXT) == chosen(TEXT)
    assert alone.all_special_ids == chosen.all_special_ids
    assert alone.decode(alone(TEXT)["input_ids"]) == chosen.decode(chosen(TEXT)["input_ids"])


def test_the_embedded_pair_is_loaded_without_the_loader(monkeypatch):
    monkeypatch.setattr(loading, "load_tokenizer", None)
    assert tokenizer_alone(ModelRef("elusive/small")).bos_token == "<bos>"


def test_a_damaged_tokenizer_is_refused_as_the_loader_refuses_it(folder):
    (folder / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(ElusiveError, match="tokenizer"):
        tokenizer_alone(ModelRef(str(folder)))
