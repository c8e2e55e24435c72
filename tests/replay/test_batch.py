"""The batch answer, from tables and from files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.errors import DefinitionError
from headwater.plan.pipeline import Pipeline
from headwater.replay.batch import batch
from headwater.sql import declare

CLICKS = declare.topic("clicks", "ad BIGINT, cost DECIMAL(9, 2) DEFAULT 1, ts TIMESTAMP")
CAMPAIGNS = declare.topic("campaigns", "ad BIGINT, name VARCHAR", key="ad")


def answer(query: str, **inputs: object) -> list[dict[str, object]]:
    pipeline = Pipeline("test", (CLICKS, CAMPAIGNS), (declare.view("v", query),))
    return batch(pipeline, inputs)["v"].to_pylist()  # type: ignore[arg-type]


def test_a_table_holds_the_newest_row_of_each_key_in_row_order() -> None:
    rows = pa.table({"ad": [1, 2, 1, None], "name": ["red", "blue", "green", "none"]})

    assert answer("FROM campaigns ORDER BY ad", campaigns=rows) == [
        {"ad": 1, "name": "green"},
        {"ad": 2, "name": "blue"},
    ]


def test_a_table_with_versions_holds_the_highest_in_any_order() -> None:
    offers = declare.topic("offers", "id BIGINT, price BIGINT, v INTEGER", key="id", newest_by="V")
    pipeline = Pipeline("test", (offers,), (declare.view("all_", "FROM offers ORDER BY id"),))
    rows = pa.table(
        {
            "id": [1, 1, 1, 2, 2, 3],
            "price": [10, 11, 12, 20, 21, 30],
            "v": [7, 9, 8, 5, 5, None],
        }
    )

    found = batch(pipeline, {"offers": rows})["all_"].to_pylist()

    assert [(row["id"], row["price"]) for row in found] == [(1, 11), (2, 21), (3, 30)]


def test_a_table_with_deletions_holds_what_is_not_deleted() -> None:
    columns = "id BIGINT, price BIGINT, v INTEGER, gone BOOLEAN"
    offers = declare.topic("offers", columns, key="id", newest_by="v", deleted_by="gone")
    pipeline = Pipeline("test", (offers,), (declare.view("all_", "FROM offers ORDER BY id"),))
    rows = pa.table(
        {
            "id": [1, 1, 2, 2, 3, 3, 4],
            "price": [10, None, None, 20, 30, None, 40],
            "v": [1, 2, 5, 4, 1, 0, None],
            "gone": [False, True, True, None, None, True, True],
        }
    )

    found = batch(pipeline, {"offers": rows})["all_"].to_pylist()

    assert [(row["id"], row["price"]) for row in found] == [(3, 30)]


def test_columns_are_cast_and_missing_ones_take_their_default() -> None:
    rows = pa.table({"ad": pa.array([7], pa.int16()), "ts": ["2024-05-06 07:08:09"]})

    (row,) = answer("SELECT ad, cost + 0.25 AS c, ts FROM clicks", clicks=rows)

    assert (row["ad"], str(row["c"]), row["ts"]) == (7, "1.25", datetime(2024, 5, 6, 7, 8, 9))


@pytest.mark.parametrize("form", ["parquet", "csv", "ndjson"])
def test_inputs_may_be_files(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"campaigns.{form}"
    if form == "parquet":
        pq.write_table(pa.table({"ad": [1], "name": ["red"]}), path)
    else:
        text = {"csv": "ad,name\n1,red\n", "ndjson": '{"ad": 1, "name": "red"}\n'}
        path.write_text(text[form], encoding="utf-8")

    assert answer("FROM campaigns", campaigns=path) == [{"ad": 1, "name": "red"}]


def test_a_topic_that_is_not_given_has_no_rows() -> None:
    assert answer("SELECT count(*) AS n FROM clicks") == [{"n": 0}]


def test_windows_are_aligned_to_1970_and_reach_before_it() -> None:
    rows = pa.table({"ts": [datetime(1969, 12, 31, 23, 59, 50), datetime(1970, 1, 1), None]})
    query = """
        SELECT window_start, window_end FROM
        HOP(clicks, ts, INTERVAL '7 seconds', INTERVAL '14 seconds', INTERVAL '1 second')
        ORDER BY 1
    """

    starts = [row["window_start"] for row in answer(query, clicks=rows)]

    assert starts == [
        datetime(1969, 12, 31, 23, 59, 40),
        datetime(1969, 12, 31, 23, 59, 47),
        datetime(1969, 12, 31, 23, 59, 47),
        datetime(1969, 12, 31, 23, 59, 54),
    ]


def test_a_later_view_reads_an_earlier_one() -> None:
    views = (
        declare.view("one", "SELECT ad, count(*) AS n FROM clicks GROUP BY ad"),
        declare.view("two", "SELECT max(n) AS most FROM one"),
    )

    tables = batch(Pipeline("test", (CLICKS,), views), {"clicks": pa.table({"ad": [1, 1, 2]})})

    assert tables["two"].to_pylist() == [{"most": 2}]


def test_an_input_that_is_not_declared_is_refused() -> None:
    with pytest.raises(DefinitionError, match="did you mean clicks"):
        answer("FROM clicks", click=pa.table({"ad": [1]}))


def test_a_value_that_is_not_of_its_type_is_refused() -> None:
    with pytest.raises(DefinitionError, match="clicks cannot be computed"):
        answer("FROM clicks", clicks=pa.table({"ad": ["x"]}))


def test_a_file_of_an_unknown_form_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"use one of \.parquet"):
        answer("FROM clicks", clicks="clicks.xlsx")
