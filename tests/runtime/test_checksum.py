"""Equal rows have equal sums, however they lie in memory; a change of a row changes the sum."""

from __future__ import annotations

import itertools
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.delta.delta import Delta
from headwater.runtime.checksum import checksum

KINDS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.bool_(), [True, False]),
    (pa.int8(), [1, -1]),
    (pa.int64(), [1, 2**60]),
    (pa.float64(), [1.5, float("nan")]),
    (pa.string(), ["", "a"]),
    (pa.large_string(), ["zürich", "a"]),
    (pa.binary(), [b"\xff", b""]),
    (pa.date32(), [date(2013, 1, 1), date(1970, 1, 1)]),
    (pa.time64("us"), [time(1), time(2)]),
    (pa.timestamp("us"), [datetime(2013, 1, 1), datetime(1960, 1, 1)]),
    (pa.decimal128(9, 2), [Decimal("1.25"), Decimal("-3.00")]),
    (pa.month_day_nano_interval(), [pa.MonthDayNano([1, 2, 3]), pa.MonthDayNano([0, 0, 1])]),
]


def sum_of(column: pa.Array) -> tuple[int, int]:
    return checksum(Delta(pa.RecordBatch.from_arrays([column], names=["c"])))


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=[str(kind) for kind, _ in KINDS])
@pytest.mark.parametrize("with_nulls", [False, True])
def test_it_is_of_the_values(kind: pa.DataType, values: list[Any], with_nulls: bool) -> None:
    pattern = np.random.default_rng(1).integers(0, 3 if with_nulls else 2, 5_000)
    column = pa.array([[*values, None][n] for n in pattern], kind)
    for first in (0, 3, 8, 1_001):
        part = column.slice(first, 3_000)
        again = pa.array(part.to_pylist(), kind)
        assert sum_of(part) == sum_of(again)
        changed = part.to_pylist()
        changed[1_234] = values[0] if changed[1_234] != values[0] else values[1]
        assert sum_of(part) != sum_of(pa.array(changed, kind))


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=[str(kind) for kind, _ in KINDS])
@pytest.mark.parametrize("with_nulls", [False, True])
def test_it_does_not_see_how_rows_are_cut(
    kind: pa.DataType, values: list[Any], with_nulls: bool
) -> None:
    draw = np.random.default_rng(2)
    pattern = draw.integers(0, 3 if with_nulls else 2, 60_000)
    column = pa.array([[*values, None][n] for n in pattern], kind)
    whole = sum_of(column)
    for pieces in (2, 7, 40):
        cuts = [0, *sorted(draw.integers(0, len(column), pieces - 1).tolist()), len(column)]
        parts = [column.slice(a, b - a) for a, b in itertools.pairwise(cuts)]
        table = pa.Table.from_arrays([pa.chunked_array(parts)], names=["c"])
        assert checksum(Delta(table)) == whole


def test_large_texts_are_summed_on_two_cores_to_the_same() -> None:
    texts = pa.array([f"text {n} " * (n % 5) for n in range(400_000)])
    numbers = pa.array(np.arange(400_000))
    whole = pa.table({"t": texts, "n": numbers})
    cut = pa.concat_tables([whole.slice(0, 123_457), whole.slice(123_457)])
    assert checksum(Delta(cut)) == checksum(Delta(whole.to_batches()[0]))
    assert checksum(Delta(whole.slice(1))) != checksum(Delta(whole.slice(0, 399_999)))


def test_what_lies_under_a_null_does_not_count() -> None:
    validity = pa.py_buffer(b"\x05")
    sums = {
        sum_of(
            pa.Array.from_buffers(
                pa.int32(), 3, [validity, pa.py_buffer(np.array([1, garbage, 3], dtype=np.int32))]
            )
        )
        for garbage in (0, 7)
    }
    assert len(sums) == 1


def test_rows_that_change_places_are_seen() -> None:
    values = np.arange(100_000)
    swapped = values.copy()
    swapped[[17, 70_000]] = swapped[[70_000, 17]]
    assert sum_of(pa.array(values)) != sum_of(pa.array(swapped))


def test_nulls_are_told_from_zeros_and_lengths_from_letters() -> None:
    assert sum_of(pa.array([0, None])) != sum_of(pa.array([None, 0]))
    assert sum_of(pa.array(["ab", "c"])) != sum_of(pa.array(["a", "bc"]))
    assert sum_of(pa.array(["", None])) != sum_of(pa.array([None, ""]))
