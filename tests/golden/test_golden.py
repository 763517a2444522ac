"""The embedded pair's scores, ranks and copies stay what they were (see make_golden.py)."""

import json

import numpy as np
import pytest

from .make_golden import ARMS, PATH, golden


@pytest.fixture(scope="module")
def now():
    return golden()


@pytest.fixture(scope="module")
def before():
    return json.loads(PATH.read_text(encoding="utf-8"))


def test_scores(now, before):
    assert now["scores"].keys() == before["scores"].keys()
    for name, documents in before["scores"].items():
        for identifier, scores in documents.items():
            np.testing.assert_allclose(now["scores"][name][identifier], scores, atol=2e-6)


@pytest.mark.parametrize("arm", ARMS)
def test_ranks_and_copies(now, before, arm):
    assert now["arms"][arm] == before["arms"][arm]
