from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from duckdb import func
from sqlglot import exp

from headwater.errors import RecordError
from headwater.operators.functions import Functions
from headwater.operators.statement import PARALLEL_ROWS_MIN, Engine, Statement

NUMBERS = pa.schema([("a", pa.int64())])


def statement(engine: Engine, sql: str, *, is_ordered: bool = False) -> Statement:
    query = sqlglot.parse_one(sql, dialect="duckdb")
    assert isinstance(query, exp.Query)
    return Statement(engine, query, {"input": NUMBERS}, is_ordered=is_ordered)


def numbers(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(np.arange(count))], schema=NUMBERS)


@pytest.mark.parametrize("rows", [0, 1, PARALLEL_ROWS_MIN - 1, 3 * PARALLEL_ROWS_MIN])
def test_rows_keep_their_order_on_both_instances(engine: Engine, rows: int) -> None:
    doubled = statement(engine, "SELECT a * 2 AS b FROM input WHERE a % 3 = 0")

    answer = doubled.run(input=numbers(rows))

    assert answer.column("b").to_pylist() == [2 * a for a in range(0, rows, 3)]
    assert answer.schema == doubled.schema


class Meeting(Functions):
    """One function, in which two threads meet."""

    def __init__(self) -> None:
        super().__init__()
        self.met: list[int] = []
        self._barrier = Barrier(2)

    def register(self, connection: duckdb.DuckDBPyConnection) -> None:
        kind = func.PythonUDFType.ARROW
        connection.create_function("meet", self._meet, ["BIGINT"], "BIGINT", type=kind)

    def _meet(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        # Once is enough: a broken barrier holds nobody.
        if len(column):
            with suppress(BrokenBarrierError):
                self.met.append(self._barrier.wait(timeout=20))
                self._barrier.abort()
        return column


def test_a_big_batch_keeps_its_order_on_two_threads() -> None:
    with Engine() as engine:
        engine.functions = meeting = Meeting()
        count = 3 * PARALLEL_ROWS_MIN

        answer = statement(engine, "SELECT meet(a) AS b FROM input").run(input=numbers(count))

        assert meeting.met
        assert answer.column("b").equals(numbers(count).column("a"))


def test_a_table_in_chunks_is_read_whole(engine: Engine) -> None:
    chunks = pa.Table.from_batches([numbers(2), numbers(3)])

    answer = statement(engine, "SELECT sum(a) AS s FROM input").run(input=chunks)

    assert [int(s) for s in answer.column("s").to_pylist()] == [4]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT a + 9223372036854775807 AS b FROM input", "Overflow in addition"),
        ("SELECT CAST('x' || a AS INTEGER) AS b FROM input", "Could not convert"),
        ("SELECT error('no ' || a) AS b FROM input", "no 0"),
    ],
)
def test_a_value_that_an_expression_refuses_is_a_wrong_record(
    engine: Engine, sql: str, message: str
) -> None:
    refusing = statement(engine, sql)

    with pytest.raises(RecordError, match=message):
        refusing.run(input=numbers(2))

    # The statement is as good as before.
    assert refusing.run(input=numbers(0)).num_rows == 0


def test_a_statement_reaches_no_file(engine: Engine) -> None:
    with pytest.raises(Exception, match="disabled by configuration"):
        statement(engine, "SELECT * FROM read_csv('/etc/passwd')").run(input=numbers(1))


def test_other_columns_are_our_own_mistake(engine: Engine) -> None:
    reads = statement(engine, "SELECT a FROM input")

    with pytest.raises(AssertionError, match="is expected"):
        reads.run(input=pa.record_batch({"b": [1]}))


def test_lambdas_are_understood(engine: Engine) -> None:
    answer = statement(engine, "SELECT list_transform([a], x -> x + 1) AS l FROM input")

    assert answer.run(input=numbers(1)).column("l").to_pylist() == [[1]]


def test_a_program_that_closes_its_engine_ends_in_silence() -> None:
    program = """
import pyarrow as pa, sqlglot
from headwater.operators.statement import Engine, Statement
with Engine() as engine:
    query = sqlglot.parse_one("SELECT a FROM input")
    read = Statement(engine, query, {"input": pa.schema([("a", pa.int64())])}, is_ordered=False)
    read.run(input=pa.record_batch({"a": [1]}))
    read.run(input=pa.record_batch({"a": range(100_000)}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("", "")


def test_the_parallel_instance_is_opened_ahead() -> None:
    with Engine() as engine:
        engine.open_ahead()
        engine.open_ahead()
        ahead = engine._opening
        assert ahead is not None

        assert engine.instance(is_parallel=True) is ahead.result()
        engine.open_ahead()
        assert engine.instance(is_parallel=True) is ahead.result()


def test_what_was_opened_ahead_and_never_used_is_closed() -> None:
    engine = Engine()
    engine.open_ahead()
    ahead = engine._opening
    assert ahead is not None

    engine.close()

    with pytest.raises(duckdb.ConnectionException):
        ahead.result()._connection.execute("SELECT 1")
