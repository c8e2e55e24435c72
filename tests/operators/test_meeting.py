from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.operators import meeting as module
from headwater.operators.meeting import meeting

keys_of = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([None, "a", "b"])), min_size=1)


@settings(max_examples=80, deadline=None)
@given(keys=keys_of, bits=st.integers(1, 5), collide=st.booleans())
def test_rows_at_home_have_the_key_of_the_first_row_there(
    keys: list[Any], bits: int, collide: bool
) -> None:
    numbers = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    mixed = np.array([0 if collide else numbers[key] for key in keys]).astype(np.uint64)
    hashes = mixed * np.uint64(0x9E3779B97F4A7C15)
    columns = [pa.array(column) for column in zip(*keys, strict=True)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS_MIN", 1)
        patch.setattr(module, "BITS_MAX", bits)
        met = meeting(hashes, columns)

    assert met is not None
    arrived: dict[int, int] = {}
    for row, place in enumerate(met.places.tolist()):
        assert place == int(hashes[row]) >> (64 - met.bits)
        host = arrived.setdefault(place, row)
        assert met.hosts[row] == host
        assert met.is_home[row] == (keys[row] == keys[host])
    firsts = met.firsts().tolist()
    assert firsts == sorted(firsts)
    assert {keys[row] for row in firsts} == set(keys)
    again = [row for row in firsts if keys.index(keys[row]) < row]
    assert not any(met.is_home[row] for row in again)


def test_few_rows_do_not_meet() -> None:
    assert meeting(np.zeros(10, dtype=np.uint64), []) is None
