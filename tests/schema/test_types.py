from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from headwater.errors import DefinitionError
from headwater.schema import types
from headwater.schema.names import KEYWORDS, quoted
from headwater.schema.types import from_arrow, parse_type

NESTED = (
    "BIGINT[]",
    "VARCHAR[][]",
    "STRUCT(a BIGINT, b VARCHAR[])",
    'STRUCT("x y" DATE, "select" DECIMAL(4,2), Aa TIME)[]',
    "MAP(VARCHAR, BIGINT)",
    "MAP(DATE, STRUCT(a INTERVAL))",
)
SPELLINGS = (*types._SPELLED[: -len(types._NESTED_NAMES)], "DECIMAL(12,6)", "NUMERIC(7)", *NESTED)
LONG = ("timestamp with time zone", "TIME WITHOUT TIME ZONE", "double precision", "varchar(10)")


def described(connection: duckdb.DuckDBPyConnection, spelling: str) -> tuple[str, pa.DataType]:
    """What DuckDB calls and exports a column declared so."""
    connection.execute(f"CREATE OR REPLACE TABLE t (x {spelling})")
    name = connection.execute("DESCRIBE t").fetchall()[0][1]
    return name, connection.sql("FROM t").to_arrow_table().schema.field(0).type


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@pytest.mark.parametrize("spelling", [*SPELLINGS, *LONG])
def test_duckdb_spells_and_exports_each_type_the_same(
    connection: duckdb.DuckDBPyConnection, spelling: str
) -> None:
    data_type = parse_type(spelling)

    assert (data_type.sql, data_type.arrow) == described(connection, spelling)
    assert described(connection, data_type.sql) == described(connection, spelling)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_canonical_spelling_is_read_back_as_itself(spelling: str) -> None:
    data_type = parse_type(spelling)

    assert parse_type(data_type.sql) == data_type
    assert parse_type(data_type.sql.lower()).sql.lower() == data_type.sql.lower()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_arrow_type_is_carried_by_the_type_it_gives(spelling: str) -> None:
    data_type = parse_type(spelling)

    again = from_arrow(data_type.arrow)

    assert again.arrow == data_type.arrow
    if data_type.kind not in ("UUID", "JSON"):
        assert again == data_type


@pytest.mark.parametrize(
    ("arrow", "sql"),
    [
        (pa.large_string(), "VARCHAR"),
        (pa.dictionary(pa.int8(), pa.string()), "VARCHAR"),
        (pa.timestamp("ns", "Europe/Berlin"), "TIMESTAMP WITH TIME ZONE"),
        (pa.decimal128(38, 0), "HUGEINT"),
        (pa.large_list(pa.int8()), "TINYINT[]"),
        (pa.date64(), "DATE"),
    ],
)
def test_near_arrow_types_are_known(arrow: pa.DataType, sql: str) -> None:
    assert from_arrow(arrow).sql == sql


def test_an_arrow_type_that_no_column_has_is_refused() -> None:
    with pytest.raises(DefinitionError, match="no column can have the Arrow type"):
        from_arrow(pa.float16())


@pytest.mark.parametrize(
    ("text", "at_fault", "hint"),
    [
        ("BIGNIT", "BIGNIT", "did you mean BIGINT?"),
        ("STRUCT(a BIGINT, b TXT)", "TXT", "did you mean TEXT?"),
        ("DECIMAL(40, 2)", "40, 2", "for example DECIMAL(18,6)"),
        ("DECIMAL(4, 5)", "4, 5", "for example DECIMAL(18,6)"),
        ("INT[3]", "3", "write INTEGER[] for a list of INTEGER"),
        ("STRUCT(a INT, A INT)", "A", "give one of them another name"),
        ("MAP(INT)", ")", "for example MAP(VARCHAR, BIGINT)"),
        ("TIME WITH TIME ZONE", "TIME WITH TIME ZONE", "did you mean TIMESTAMP WITH TIME ZONE?"),
    ],
)
def test_what_is_no_type_is_refused_at_its_place(text: str, at_fault: str, hint: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        parse_type(text)

    place = refused.value.place
    assert place is not None
    assert place.text[place.start : place.end] == at_fault
    assert refused.value.hint == hint


def test_the_parts_of_nested_types_are_named() -> None:
    struct = parse_type('STRUCT(a BIGINT, "x y" VARCHAR[])')

    assert [(name, part.sql) for name, part in struct.parts] == [
        ("a", "BIGINT"),
        ("x y", "VARCHAR[]"),
    ]
    assert [name for name, _ in parse_type("MAP(DATE, TIME)").parts] == ["key", "value"]
    assert parse_type("TIME[]").parts[0][1].sql == "TIME"
    assert (struct.kind, parse_type("DATE[]").kind, parse_type("NUMERIC").kind) == (
        "STRUCT",
        "LIST",
        "DECIMAL",
    )


def test_every_word_that_duckdb_quotes_is_quoted(connection: duckdb.DuckDBPyConnection) -> None:
    words = connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()

    assert {word for (word,) in words} <= KEYWORDS


@pytest.mark.parametrize("name", ["a", "Aa_1", "x y", 'q"q', "1a", "select", "key", "é", "a$b"])
def test_a_quoted_name_is_duckdbs_own(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    spelled = f"STRUCT({quoted(name)} INTEGER)"

    assert described(connection, spelled)[0] == spelled
    assert parse_type(spelled).parts[0][0] == name
