"""Nasty questions: none reads or writes a file, breaks the server, or runs for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

import headwater as hw
from headwater.errors import DefinitionError
from headwater.operators.query import Rows, answer
from headwater.run.live import Live
from headwater.serve.formats import Format, response
from serve.fuzzing import fuzzing

MARKER = "k3pt-s3cr3t"
TABLE = pa.table({"a": [1, 2, 3], "s": ["x", "y", None]})
RELATIONS = {"t": Rows(TABLE.schema, TABLE.to_batches)}
FILE_READERS = (
    "read_csv('{0}')",
    "read_csv_auto(['{0}'])",
    "read_text('{0}')",
    "read_blob('{0}')",
    "read_json('{0}')",
    "read_json_auto('{0}')",
    "read_ndjson_objects('{0}')",
    "read_parquet('{1}')",
    "parquet_scan('{1}')",
    "parquet_metadata('{1}')",
    "parquet_schema('{1}')",
    "parquet_kv_metadata('{1}')",
    "sniff_csv('{0}')",
    "glob('{2}/*')",
    "'{0}'",
    "'{1}'",
    "'{2}/*.csv'",
    '"{0}"',
    "'file://{0}'",
    "read_csv('/dev/stdin')",
    "read_text('/proc/self/environ')",
    "query('FROM read_text(''{0}'')')",
    "query_table('{0}')",
    "query_table(['t', '{0}'])",
    "sqlite_scan('{0}', 't')",
    "iceberg_scan('{2}')",
    "duckdb_secrets()",
    "'http://127.0.0.1:1/{0}'",
)
WRAPPERS = (
    "FROM {}",
    "SELECT * FROM {}",
    "WITH x AS (FROM {}) FROM x",
    "WITH RECURSIVE x AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM x, {} WHERE a < 3) FROM x",
    "WITH x AS MATERIALIZED (SELECT * FROM {}) SELECT * FROM x, t",
    "SELECT (SELECT count(*) FROM {})",
    "SELECT a FROM t WHERE EXISTS (FROM {})",
    "FROM t, LATERAL (FROM {})",
    "SELECT a FROM t UNION ALL BY NAME FROM {}",
    "FROM (SELECT * FROM (FROM {}))",
    "SELECT /* ; */ * FROM -- '\n {}",
    "FROM t JOIN {} ON true",
    "SELECT * FROM t WHERE s IN (SELECT s FROM {})",
    "SUMMARIZE FROM {}",
    "PIVOT (FROM {}) ON a",
    "FROM t POSITIONAL JOIN {}",
    "SELECT list_transform([1], x -> (SELECT count(*) FROM {}))",
)
STATEMENTS = (
    "COPY t TO '{2}/out.csv'",
    "COPY (FROM t) TO '{2}/out.parquet' (FORMAT parquet)",
    "COPY t FROM '{0}'",
    "EXPORT DATABASE '{2}/out'",
    "IMPORT DATABASE '{2}'",
    "ATTACH '{2}/out.db'",
    "ATTACH '{2}/out.db' AS o; CREATE TABLE o.t AS FROM t",
    "INSTALL httpfs",
    "LOAD '{0}'",
    "PRAGMA database_list",
    "PRAGMA import_database('{2}')",
    "SET enable_external_access = true",
    "SET GLOBAL allowed_directories = ['/']",
    "RESET lock_configuration",
    "CREATE TABLE x AS FROM '{0}'",
    "CREATE SECRET x (TYPE s3)",
    "CALL pragma_version()",
    "EXPLAIN ANALYZE FROM '{0}'",
    "CHECKPOINT",
    "VACUUM",
    "USE memory",
    "INSERT INTO t VALUES (1, 'x')",
    "DELETE FROM t",
    "WITH x AS (INSERT INTO t VALUES (1, 'x') RETURNING *) FROM x",
    "PREPARE p AS FROM '{0}'",
    "SELECT 1; FROM '{0}'",
)
DEEP = (
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    "SELECT " + "1 + " * 20_000 + "1",
    "SELECT " + "NOT " * 20_000 + "true",
    "SELECT " + "[" * 3_000 + "1" + "]" * 3_000,
    "SELECT " + "CASE WHEN true THEN " * 3_000 + "1" + " END" * 3_000,
    "SELECT * FROM " + "(SELECT * FROM " * 300 + "t" + ")" * 300,
    "SELECT " + ", ".join(["1"] * 1_500),
    "SELECT " + "approx_count_distinct(" * 500 + "1" + ")" * 500,
    "WITH c0 AS (FROM t)"
    + "".join(f", c{n} AS (FROM c{n - 1})" for n in range(1, 150))
    + " FROM c149",
    "/*" * 5_000,
    "SELECT '" + "\\" * 10_000,
    "SELECT $" + "a" * 10_000 + "$",
    "FROM " + ", ".join(["t"] * 200) + " LIMIT 1",
)
ENDLESS = (
    "SELECT count(*) FROM range(1000000000000)",
    "SELECT a.range FROM range(1000000000) AS a, range(1000000000) WHERE a.range < 0",
    "WITH RECURSIVE x AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM x) SELECT count(*) FROM x",
)
_WORDS = """
SELECT FROM WHERE t a s * , ( ) [ ] { } 1 -1 1e999 'x' " ' $$ ; -- /* */ :: AS WITH x UNION ALL
ORDER BY GROUP HAVING LIMIT NULL NOT IN CASE WHEN THEN END -> ? $1 @ # INTERVAL DATE 'infinity'
TIMESTAMP MAP STRUCT DECIMAL(38,9) HUGEINT BLOB EXCEPT PIVOT UNNEST LATERAL TABLESAMPLE QUALIFY OVER
FILTER approx_quantile TUMBLE now() range(3) COLUMNS(*) EMIT FINAL t$rejected test_all_types()
union_value(a:=1) . é
"""
WORDS = st.sampled_from([*_WORDS.split(), "\\", "\x00", "\ud800", "\u202e", "\U0001f980"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with secrets, in which nothing may change."""
    found = tmp_path_factory.mktemp("secrets")
    (found / "secret.csv").write_text(f"a,s\n1,{MARKER}\n", encoding="utf-8")
    parquet.write_table(pa.table({"a": [1], "s": [MARKER]}), found / "secret.parquet")
    return found


def filled(text: str, folder: Path) -> str:
    return text.format(folder / "secret.csv", folder / "secret.parquet", folder)


def told(question: str, **limits: Any) -> pa.Table | None:
    """The answer, which every format can spell; None where it is refused as it should be."""
    try:
        found = answer(question, RELATIONS, seconds_max=2.0, **limits)
    except DefinitionError as error:
        assert MARKER not in str(error)
        return None
    for form in (Format.JSON, Format.NDJSON, Format.CSV, Format.ARROW):
        assert MARKER.encode() not in bytes(response(found, form).body)
    return found


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((path.name, path.stat().st_size) for path in folder.iterdir())


@pytest.mark.parametrize("reader", FILE_READERS)
def test_no_function_reads_a_file(reader: str, folder: Path) -> None:
    before = listing(folder)
    for wrapper in WRAPPERS[::4]:
        found = told(wrapper.format(filled(reader, folder)))
        assert found is None, wrapper
    assert listing(folder) == before


@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_other_statement_is_taken(statement: str, folder: Path) -> None:
    before = listing(folder)

    assert told(filled(statement, folder)) is None

    assert listing(folder) == before


@pytest.mark.parametrize("question", DEEP, ids=lambda text: text[:30])
def test_deep_and_wide_questions_are_answered_or_refused(question: str) -> None:
    told(question)


@pytest.mark.parametrize("question", ENDLESS)
def test_what_has_no_end_is_stopped(question: str) -> None:
    with pytest.raises(DefinitionError, match=r"longer than 0\.2 seconds|Out of Memory"):
        answer(question, RELATIONS, seconds_max=0.2)


def test_an_answer_that_is_too_large_is_refused_before_it_is_computed() -> None:
    with pytest.raises(DefinitionError, match="larger than 1,000,000 bytes"):
        answer("FROM range(1000000000000)", RELATIONS, bytes_max=1_000_000)


@fuzzing(60)
@given(st.lists(WORDS, max_size=14), st.sampled_from(["SELECT ", "FROM t ", ""]))
def test_nonsense_is_refused(words: list[str], begin: str) -> None:
    told(begin + " ".join(words))


@fuzzing(40)
@given(
    reader=st.sampled_from(FILE_READERS),
    wrappers=st.lists(st.sampled_from(WRAPPERS), min_size=1, max_size=3),
    respell=st.sampled_from([str, str.upper, str.swapcase, lambda q: q.replace(" ", "\t\n/**/ ")]),
)
def test_no_nesting_reads_a_file(
    folder: Path, reader: str, wrappers: list[str], respell: Callable[[str], str]
) -> None:
    question = filled(reader, folder)
    for wrapper in wrappers:
        question = respell(wrapper).format(f"({question})" if "FROM" in question else question)

    assert told(question) is None


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    app = hw.App("asked")
    app.topic("t", "a BIGINT, s VARCHAR")
    with app.start(listen="127.0.0.1:0") as live:
        live.send("t", [{"a": 1, "s": "x"}])
        live.settle()
        yield live


@fuzzing(40)
@given(
    question=st.one_of(
        st.text(max_size=50),
        st.lists(WORDS, max_size=10).map(" ".join),
        st.sampled_from(DEEP),
        st.binary(max_size=30),
    ),
    accept=st.sampled_from(["application/json", "text/csv", "application/x-ndjson", "x/y;q=a"]),
    content_type=st.sampled_from(["text/plain", "application/json", "", "x/y"]),
)
def test_the_door_answers_whatever_it_is_asked(
    live: Live, question: str | bytes, accept: str, content_type: str
) -> None:
    body = question if isinstance(question, bytes) else question.encode(errors="surrogatepass")
    if content_type == "application/json" and isinstance(question, str):
        body = httpx.Request(
            "POST", "http://x", json={"sql": question.replace("\ud800", "?")}
        ).read()

    said = httpx.post(
        f"{live.url}/sql",
        content=body,
        headers={"Accept": accept, "Content-Type": content_type},
        timeout=30,
        trust_env=False,
    )

    assert said.status_code in (200, 400, 404, 415), said.text
    assert said.status_code == 200 or said.json()["error"]["message"]
