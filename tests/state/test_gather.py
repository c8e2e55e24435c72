from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.state.gather import taken_apart

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), max_size=8), data=st.data())
def test_rows_of_several_batches_are_taken_as_of_one(sizes: list[int], data: st.DataObject) -> None:
    count = sum(sizes)
    numbers = pa.array(np.arange(count))
    whole = pa.table([numbers, numbers.cast(pa.string())], schema=SCHEMA)
    starts = np.cumsum([0, *sizes])
    batches = [
        batch
        for start, size in zip(starts.tolist(), sizes, strict=False)
        for batch in whole.slice(start, size).to_batches()
    ]
    rows = pa.Table.from_batches(batches, SCHEMA)
    some = st.lists(st.integers(0, max(0, count - 1)), max_size=20 if count else 0)
    places = np.array(sorted(data.draw(some)), dtype=np.int64)

    assert taken_apart(rows, places).equals(whole.take(pa.array(places)))
