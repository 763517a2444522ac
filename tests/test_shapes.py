"""Wrong shapes and types are refused while tests run; how it is set up stands in conftest.py."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from elusive.clues.ranks import rank_tokens

from .conftest import shaped_modules


def test_the_numeric_modules_give_their_shapes():
    assert {"elusive.augmentation.draws", "elusive.clues.contrast", "elusive.clues.ranks"} <= set(shaped_modules())


def test_axes_of_one_name_have_one_length():
    with pytest.raises(TypeCheckError, match="rankable"):
        rank_tokens(np.zeros(3), np.ones(4, bool), np.ones(3, bool))


def test_another_number_of_axes_is_refused():
    with pytest.raises(TypeCheckError, match="seen"):
        rank_tokens(np.zeros(3), np.ones(3, bool), np.ones((1, 3), bool))


def test_another_type_is_refused():
    with pytest.raises(TypeCheckError, match="signal"):
        rank_tokens(np.zeros(3, np.int64), np.ones(3, bool), np.ones(3, bool))


@pytest.mark.usefixtures("unchecked_shapes")
def test_checks_can_be_left_out_where_a_test_is_about_the_package_s_own():
    assert rank_tokens(np.zeros(3, np.int64), np.ones(3, bool), np.ones(3, bool)).tolist() == [1, 2, 3]
