"""Keys from outside: hashed as the table's statement hashes them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from headwater.operators.lookup import Lookup
from headwater.schema.ddl import parse_columns

NUMBERS = {
    "TINYINT": [-128, -1, 0, 127],
    "SMALLINT": [-(2**15), -1, 0, 2**15 - 1],
    "INTEGER": [-(2**31), -5, 0, 2**31 - 1],
    "BIGINT": [-(2**63), -(2**40), 0, 7, 2**63 - 1],
    "UTINYINT": [0, 255],
    "USMALLINT": [0, 2**16 - 1],
    "UINTEGER": [0, 4_000_000_000],
    "UBIGINT": [0, 2**64 - 1],
}
OTHERS = {"VARCHAR": ["", "a"], "DATE": ["2026-01-02"], "DECIMAL(9,2)": ["1.50"], "BOOLEAN": [True]}


def lookup_of(kind: str) -> Lookup:
    schema = parse_columns(f"k {kind}, v BIGINT").schema
    return Lookup("prices", schema, ["k"])


@pytest.mark.parametrize(("kind", "values"), (NUMBERS | OTHERS).items())
def test_a_key_has_the_hash_that_its_rows_have(kind: str, values: list[Any]) -> None:
    lookup = lookup_of(kind)

    for value in values:
        batch, hashes = lookup.key(value)
        assert hashes.tolist() == lookup._hash.of(batch).to_pylist()
    lookup.close()


@pytest.mark.parametrize("kind", NUMBERS)
def test_the_hash_of_a_whole_number_needs_no_statement(kind: str) -> None:
    lookup = lookup_of(kind)
    lookup.close()

    batch, _ = lookup.key(7)

    assert batch.to_pylist() == [{"k": 7}]


def test_a_hash_that_is_another_one_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.operators.lookup._HASH_SHIFT", 31)
    lookup = lookup_of("BIGINT")

    batch, hashes = lookup.key(7)

    assert pa.array(hashes).equals(lookup._hash.of(batch))
    lookup.close()
