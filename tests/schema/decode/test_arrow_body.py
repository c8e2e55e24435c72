from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from headwater.errors import RecordError
from headwater.schema.ddl import parse_columns
from headwater.schema.decode import decode, decode_table

CLICKS = parse_columns("ad BIGINT NOT NULL, who VARCHAR, cost DECIMAL(8,2) DEFAULT 0").schema


def stream(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def one(spelling: str, values: pa.Array) -> tuple[list[Any], list[str]]:
    """The accepted values of a one-column table, and the reasons of the others."""
    decoded = decode_table(pa.table({"v": values}), parse_columns(f"v {spelling}").schema)
    return decoded.rows.column(0).to_pylist(), [r.reason for r in decoded.rejected]


def test_a_stream_of_many_batches_keeps_order_and_positions() -> None:
    batches = [
        pa.record_batch({"Ad": [n, None, n + 1], "who": ["x", "y", None]}) for n in (10, 20, 30)
    ]

    decoded = decode("arrow", stream(*batches), CLICKS)

    assert decoded.rows.column("ad").to_pylist() == [10, 11, 20, 21, 30, 31]
    assert decoded.positions.tolist() == [0, 2, 3, 5, 6, 8]
    assert decoded.rows.schema.equals(CLICKS.arrow)
    assert [(r.position, r.column) for r in decoded.rejected] == [(1, "ad"), (4, "ad"), (7, "ad")]
    assert decoded.rejected[0].record == b'{"Ad":null,"who":"y"}'


@pytest.mark.parametrize(
    ("spelling", "values", "kept", "reasons"),
    [
        ("TINYINT", pa.array([1, 300, 2]), [1, 2], ["300 is out of range for TINYINT"]),
        ("BIGINT", pa.array([1.0, 2.5, 3.0]), [1, 3], ["2.5 is not a BIGINT"]),
        ("BIGINT", pa.array(["1"]), [], ["'1' is not a BIGINT"]),
        ("VARCHAR", pa.array([1]), [], ["1 is not a VARCHAR"]),
        ("VARCHAR", pa.array(["a", None]).dictionary_encode(), ["a", None], []),
        ("VARCHAR", pa.array(["a"], pa.large_string()), ["a"], []),
        ("VARCHAR", pa.array([b"a", b"\xff"]), ["a"], ["b'\\xff' is not a VARCHAR"]),
        ("DOUBLE", pa.array([1.5, float("nan")]), [1.5], ["nan is out of range for DOUBLE"]),
        ("DOUBLE", pa.array([None], pa.null()), [None], []),
        ("FLOAT", pa.array([1.5, 1e39]), [1.5], ["1e+39 is out of range for FLOAT"]),
        ("DECIMAL(4,2)", pa.array([0.1, 1 / 3]), [Decimal("0.10")], ["does not fit DECIMAL(4,2)"]),
        ("DECIMAL(4,2)", pa.array([1, 100]), [Decimal(1)], ["100 does not fit DECIMAL(4,2)"]),
        (
            "DECIMAL(4,2)",
            pa.array([Decimal("1.500"), Decimal("1.555")]),
            [Decimal("1.50")],
            ["1.555 does not fit"],
        ),
        (
            "TIMESTAMP",
            pa.array([1_000, 1], pa.timestamp("ns")),
            [datetime(1970, 1, 1, 0, 0, 0, 1)],
            ["is finer than the column"],
        ),
        (
            "TIMESTAMP",
            pa.array([0, 2**60], pa.timestamp("us")),
            [datetime(1970, 1, 1)],
            ["the years are 0001 to 9999"],
        ),
        ("TIMESTAMP", pa.array([date(2024, 1, 2)]), [datetime(2024, 1, 2)], []),
        ("TIMESTAMP", pa.array(["2024-01-02", "x"]), [datetime(2024, 1, 2)], ["is not a time"]),
        ("DATE", pa.array([0], pa.timestamp("us")), [], ["is not a date"]),
        ("UUID", pa.array(["x"]), [], ["'x' is not a UUID"]),
        ("JSON", pa.array(['{"a": 1}', "{"]), ['{"a":1}'], ["Expecting property name"]),
        ("DOUBLE[]", pa.array([[1.0], [float("inf")]]), [[1.0]], ["inf is out of range"]),
        ("BIGINT[]", pa.array([[1], [2]], pa.list_(pa.int8())), [[1], [2]], []),
        ("STRUCT(a BIGINT)", pa.array([{"a": 1}]), [{"a": 1}], []),
        ("STRUCT(a BIGINT)", pa.array([{"b": 1}]), [], ["lacks a"]),
    ],
)
def test_only_the_values_that_do_not_fit_are_rejected(
    spelling: str, values: pa.Array, kept: list[Any], reasons: list[str]
) -> None:
    accepted, refused = one(spelling, values)

    assert accepted == kept
    assert len(refused) == len(reasons)
    assert all(part in reason for part, reason in zip(reasons, refused, strict=True))


@pytest.mark.parametrize(
    ("names", "message", "hint"),
    [
        (["ad", "wo"], "there is no column 'wo'", "did you mean who?"),
        (["ad"], "column who is missing", "send ad, who, cost"),
        (["ad", "who", "AD"], "column ad is given twice", "send each column once"),
    ],
)
def test_other_columns_refuse_the_whole_table(names: list[str], message: str, hint: str) -> None:
    table = pa.Table.from_arrays([pa.array([1])] * len(names), names=names)

    with pytest.raises(RecordError) as refused:
        decode_table(table, CLICKS)

    assert (refused.value.message, refused.value.hint) == (message, hint)


@pytest.mark.parametrize("body", [b"", b"{}", b"ARROW1", b"\xff\xff\xff\xff\x10\0\0\0" + b"x" * 99])
def test_a_body_that_is_no_arrow_stream_is_refused(body: bytes) -> None:
    with pytest.raises(RecordError) as refused:
        decode("arrow", body, CLICKS)

    assert "pyarrow.ipc.new_stream" in str(refused.value.hint)


def test_a_truncated_stream_is_refused() -> None:
    body = stream(pa.record_batch({"ad": [1], "who": ["x"]}))

    with pytest.raises(RecordError, match="not an Arrow stream"):
        decode("arrow", body[: len(body) // 2 + 40], CLICKS)


def test_invalid_utf8_in_a_stream_rejects_its_row() -> None:
    raw = pa.array([b"a", b"\xff", b"c"])
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())

    decoded = decode("arrow", stream(pa.record_batch({"ad": [1, 2, 3], "who": text})), CLICKS)

    assert decoded.rows.column("who").to_pylist() == ["a", "c"]
    assert decoded.rejected[0].position == 1


def test_offsets_that_point_outside_are_refused() -> None:
    body = stream(pa.record_batch({"ad": [1], "who": ["x" * 0xABC]}))
    # The last pair of 0 and 0xABC is the text's two offsets.
    place = body.rfind(b"\0\0\0\0\xbc\x0a\0\0")
    damaged = body[: place + 6] + b"\x7f" + body[place + 7 :]

    with pytest.raises(RecordError):
        decode("arrow", damaged, CLICKS)


def test_a_table_of_no_batches_has_no_rows() -> None:
    table = pa.table({"ad": pa.array([], pa.int64()), "who": pa.array([], pa.string())})

    decoded = decode_table(table, CLICKS)

    assert decoded.count == 0
    assert decoded.rows.schema.equals(CLICKS.arrow)
