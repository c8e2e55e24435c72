"""The author's functions inside statements: nulls, lengths, types, rows at fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from headwater.errors import DefinitionError, RecordError
from headwater.operators.isolate import run_isolating
from headwater.operators.statement import PARALLEL_ROWS_MIN, Engine, Statement
from headwater.sql.declare_python import function
from operators.running import query


def called(
    call: Callable[..., Any],
    signature: str,
    data: pa.Table,
    sql: str = "SELECT f(v) AS v FROM input",
) -> tuple[pa.RecordBatch, list[pa.RecordBatch]]:
    """Run a query that calls the function `f` over some rows; the answer and the failed rows."""
    failed: list[pa.RecordBatch] = []
    with Engine((function(call, signature, "f"),)) as engine:
        statement = Statement(engine, query(sql), {"input": data.schema}, is_ordered=False)
        return run_isolating(statement, data, failed)[0], failed


def test_nulls_are_passed_in_and_taken_back() -> None:
    data = pa.table({"v": pa.array([1, None, 3], pa.int64())})

    answer, _ = called(lambda v: pc.fill_null(pc.add(v, 1), -1), "(v BIGINT) -> BIGINT", data)

    assert answer["v"].to_pylist() == [2, -1, 4]


@pytest.mark.parametrize("rows", [0, 1, 2048, 2049, PARALLEL_ROWS_MIN + 7])
def test_results_stand_where_their_rows_do(rows: int) -> None:
    data = pa.table({"v": pa.array(range(rows), pa.int64())})

    answer, _ = called(
        lambda v: pc.multiply(v, 2), "(v BIGINT) -> BIGINT", data, "SELECT v, f(v) AS w FROM input"
    )

    assert answer["w"].to_pylist() == [2 * v for v in answer["v"].to_pylist()]
    assert answer["v"].to_pylist() == list(range(rows))


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("VARCHAR", "a"),
        ("BLOB", b"a"),
        ("TIMESTAMP", datetime(2026, 1, 2, 3)),
        ("BIGINT[]", [1, 2]),
        ("STRUCT(a BIGINT, b VARCHAR)", {"a": 1, "b": "x"}),
        ("DECIMAL(9,2)", None),
        ("BOOLEAN", True),
        ("UTINYINT", 7),
    ],
)
def test_values_of_each_kind_go_in_and_come_out(sql: str, value: Any) -> None:
    definition = function(lambda v: v, f"(v {sql}) -> {sql}", "f")
    data = pa.table({"v": pa.array([value, None], definition.returns.arrow)})

    answer, _ = called(lambda v: v, f"(v {sql}) -> {sql}", data)

    assert answer["v"].to_pylist() == [value, None]


def test_a_number_of_another_size_and_a_numpy_array_are_taken() -> None:
    data = pa.table({"v": pa.array([1, 2], pa.int64())})

    answer, _ = called(lambda v: np.array(v, dtype=np.int8), "(v BIGINT) -> DOUBLE", data)

    assert answer["v"].to_pylist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda v: v.slice(1), "function f returned 1 values for 2 rows"),
        (lambda v: pa.array(["a", "b"]), "function f returned string, and BIGINT was declared"),
        (lambda v: 7, "function f returned int, not an Arrow array"),
    ],
)
def test_a_result_of_another_length_or_type_is_the_function_s_fault(
    result: Callable[..., Any], message: str
) -> None:
    data = pa.table({"v": pa.array([1, 2], pa.int64())})

    with pytest.raises(DefinitionError, match=message):
        called(result, "(v BIGINT) -> BIGINT", data)


def test_rows_for_which_it_raises_are_left_out_and_told() -> None:
    def picky(v: pa.Array) -> pa.Array:
        if 13 in v.to_pylist():
            raise ValueError("thirteen\nis bad")
        return v

    data = pa.table({"v": pa.array(range(3000), pa.int64())})

    answer, failed = called(picky, "(v BIGINT) -> BIGINT", data)

    assert answer.num_rows == 2999
    (told,) = failed[0].to_pylist()
    assert told["reason"] == "function f raised ValueError: thirteen is bad"
    assert json.loads(told["record"]) == {"v": 13}


def test_a_value_that_does_not_fit_the_declared_type_is_its_row_s_fault() -> None:
    data = pa.table({"v": pa.array([1, 300], pa.int64())})

    answer, failed = called(lambda v: v, "(v BIGINT) -> TINYINT", data)

    assert answer["v"].to_pylist() == [1]
    assert "not in range" in failed[0].to_pylist()[0]["reason"]


def test_another_failure_is_not_blamed_on_a_function_that_failed_before() -> None:
    def picky(v: pa.Array) -> pa.Array:
        raise ValueError("no")

    data = pa.table({"v": pa.array(["1", "x"])})
    with Engine((function(picky, "(v VARCHAR) -> VARCHAR", "f"),)) as engine:
        calling, casting = (
            Statement(engine, query(sql), {"input": data.schema}, is_ordered=False)
            for sql in ("SELECT f(v) AS v FROM input", "SELECT v::BIGINT AS v FROM input")
        )
        with pytest.raises(RecordError, match="function f raised ValueError: no"):
            calling.run(input=data)
        with pytest.raises(RecordError, match="Could not convert"):
            casting.run(input=data)


def test_a_function_of_duckdb_s_own_is_not_replaced() -> None:
    with (
        pytest.raises(
            DefinitionError, match="DuckDB has a function greatest_common_divisor of its own"
        ),
        Engine(
            (function(lambda v: v, "(v BIGINT) -> BIGINT", "greatest_common_divisor"),)
        ) as engine,
    ):
        engine.instance(is_parallel=False)
