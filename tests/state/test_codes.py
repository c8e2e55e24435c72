from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.state.codes import codes_of, has_codes, scattered

KINDS = {
    "INTEGER": (pa.int32(), [-(2**31), -1, 0, 1, 2**31 - 1]),
    "TINYINT": (pa.int8(), [-128, -1, 0, 127]),
    "BIGINT": (pa.int64(), [-(2**63), -1, 0, 2**63 - 1]),
    "UBIGINT": (pa.uint64(), [0, 1, 2**63, 2**64 - 1]),
    "UINTEGER": (pa.uint32(), [0, 2**31, 2**32 - 1]),
    "DATE": (pa.date32(), [date(1900, 1, 1), date(1970, 1, 1), date(2400, 2, 29)]),
    "TIMESTAMP": (pa.timestamp("us"), [datetime(1900, 1, 1), datetime(2024, 7, 14, 1, 2, 3)]),
    "TIMESTAMP_S": (pa.timestamp("s"), [datetime(1900, 1, 1), datetime(2024, 7, 14)]),
}


@pytest.mark.parametrize("name", KINDS)
def test_codes_are_equal_where_keys_are(name: str) -> None:
    kind, values = KINDS[name]
    assert has_codes(kind)
    keys: list[Any] = [*values, None, *values[::-1]]

    codes = codes_of(pa.array(keys, kind))
    again = codes_of(pa.array([*values, *values[::-1]], kind))

    assert codes.dtype == again.dtype == np.uint64
    assert len(set(again.tolist())) == len(values)
    assert again.tolist() == again.tolist()[::-1]
    assert np.delete(codes, len(values)).tolist() == again.tolist()


def test_codes_of_eight_bytes_are_the_memory_of_their_keys() -> None:
    keys = pa.array(range(5), pa.int64())

    assert np.shares_memory(codes_of(keys), keys.to_numpy())
    assert codes_of(keys.slice(2)).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.string(), pa.decimal128(4, 1), pa.bool_(), pa.time64("us")]
)
def test_other_keys_have_no_codes(kind: pa.DataType) -> None:
    assert not has_codes(kind)


def test_scattered_numbers_are_what_state_files_hold() -> None:
    numbers = np.array([0, 1, 2, 2**63, 2**64 - 1], np.uint64)

    assert [hex(number) for number in scattered(numbers).tolist()] == [
        "0x0",
        "0x9e3779b97f4a7c15",
        "0x3c6ef372fe94f82a",
        "0x8000000000000000",
        "0x61c8864680b583eb",
    ]
