import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elusive.errors import ElusiveError
from elusive.runs.parquet import WRITE, opened_parquet


def test_a_changed_bit_anywhere_in_the_numbers_is_an_error(tmp_path):
    path = tmp_path / "scores.parquet"
    numbers = np.random.default_rng(0).random(100)
    pq.write_table(pa.table({"scores": numbers}), path, **{**WRITE, "compression": "none", "use_dictionary": False})
    content = bytearray(path.read_bytes())
    place = bytes(content).index(numbers[50].tobytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    # Without a checksum, this is another number.
    assert (pq.read_table(path).column("scores").to_numpy() != numbers).sum() == 1
    with (
        pytest.raises(ElusiveError, match=r"scores\.parquet is damaged .* Make it again\."),
        opened_parquet(path, "Make it again.") as file,
    ):
        file.read()
