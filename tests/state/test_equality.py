from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.schema.types import parse_type
from headwater.state.equality import are_last, first_alike, last_alike, rows_equal
from headwater.testing.deltas import answer

NAN = float("nan")
# Values of each type, with pairs that are equal though their bytes are not.
VALUES: dict[str, list[Any]] = {
    "BIGINT": [None, 0, 1, -(2**63)],
    "UTINYINT": [None, 0, 255],
    "BOOLEAN": [None, True, False],
    "DOUBLE": [None, 0.0, -0.0, NAN, -NAN, 1.5],
    "FLOAT": [None, 0.0, -0.0, NAN, 1.5],
    "VARCHAR": [None, "", "a", "ä", "b" * 40],
    "BLOB": [None, b"", b"\0"],
    "DECIMAL(12,6)": [None, 0, 1],
    "HUGEINT": [None, 0, 10**30],
    "DATE": [None, 0, 19_000],
    "TIME": [None, 0, 1],
    "TIMESTAMP": [None, 0, -1],
    "TIMESTAMP_S": [None, 0, 1],
    "INTERVAL": [None, (1, 0, 0), (0, 30, 0), (0, 0, 1000)],
    "INTEGER[]": [None, [], [None], [1], [1, None]],
    "STRUCT(a INTEGER, b DOUBLE)": [None, {"a": None, "b": NAN}, {"a": 1, "b": 0.0}],
    "MAP(VARCHAR, INTEGER)": [None, [], [("a", 1)], [("a", None)]],
}


@pytest.mark.parametrize("sql", VALUES)
def test_values_are_equal_as_duckdb_has_it(sql: str) -> None:
    values = VALUES[sql]
    kind = parse_type(sql).arrow
    left = pa.array([v for v in values for _ in values], kind)
    right = pa.array(values * len(values), kind)
    table = pa.table({"i": range(len(left)), "a": left, "b": right})
    says = answer("SELECT i, a IS NOT DISTINCT FROM b AS same, a = b AS plain FROM t", {"t": table})

    same = rows_equal([left], None, [right], None)
    strict = rows_equal([left], None, [right], None, null_equal=False)

    assert same is not None and strict is not None
    assert same.tolist() == says.column("same").to_pylist()
    assert strict.tolist() == [bool(value) for value in says.column("plain").to_pylist()]


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(VALUES["DOUBLE"]),
            st.sampled_from(VALUES["INTEGER[]"]),
        ),
        max_size=40,
    )
)
def test_the_first_and_the_last_equal_row_of_a_hash_are_found(
    rows: list[tuple[int, float, list[int]]],
) -> None:
    rows.sort(key=lambda row: row[0])
    hashes = np.array([row[0] for row in rows], dtype=np.uint64)
    columns = [pa.array([r[1] for r in rows], pa.float64())]
    columns.append(pa.array([r[2] for r in rows], pa.list_(pa.int32())))

    first = first_alike(hashes, columns)

    shown = [repr((h, "nan" if a != a else 0.0 if a == 0 else a, b)) for h, a, b in rows]  # noqa: PLR0124
    places = list(range(len(rows))) if first is None else first.tolist()
    assert places == [shown.index(row) for row in shown]
    if first is not None:
        last = [len(shown) - 1 - shown[::-1].index(row) for row in shown]
        assert last_alike(first).tolist() == last
        assert are_last(first).tolist() == [
            row not in shown[n + 1 :] for n, row in enumerate(shown)
        ]
