"""What DuckDB says of a query: the names and types of its columns.

The query is bound over empty tables and never run. One in-memory connection serves all questions;
one costs about a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import sqlglot
from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.operators import render
from headwater.operators.functions import Functions
from headwater.operators.statement import settings
from headwater.plan.python import FunctionDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type


class Describer:
    """Answers `describe(query, relations)`; an instance is that function.

    Args:
        functions: The author's functions, which queries may call.

    """

    def __init__(self, functions: Sequence[FunctionDefinition] = ()) -> None:
        self._connection = duckdb.connect(":memory:", config=settings(threads=1))
        self._connection.execute("SET TimeZone = 'UTC'")
        Functions(functions).register(self._connection)

    def __call__(self, query: exp.Query, relations: Mapping[str, Schema]) -> Schema:
        """The columns of `query` over tables with the given names and columns.

        Raises:
            DefinitionError: DuckDB refuses the query; the message is DuckDB's, whole.

        """
        connection = self._connection
        connection.execute("BEGIN")
        try:
            for name, schema in relations.items():
                connection.execute(_create_table(name, schema).sql("duckdb"))
            described = connection.execute(_describe(query)).fetchall()
        except duckdb.Error as error:
            raise DefinitionError(str(error).strip()) from error
        finally:
            connection.execute("ROLLBACK")
        return Schema(tuple(Column(row[0], parse_type(row[1])) for row in described))

    def __enter__(self) -> Describer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()


def describe(query: exp.Query, relations: Mapping[str, Schema]) -> Schema:
    """Answer one question with a connection of its own, which costs about 15 ms.

    Raises:
        DefinitionError: DuckDB refuses the query; the message is DuckDB's, whole.

    """
    with Describer() as describer:
        return describer(query, relations)


def _create_table(name: str, schema: Schema) -> exp.Create:
    columns = [
        exp.ColumnDef(
            this=exp.to_identifier(column.name, quoted=True),
            kind=exp.DataType.build(column.type.sql, dialect="duckdb"),
        )
        for column in schema
    ]
    this = exp.Schema(this=render.table(name), expressions=columns)
    temporary = exp.Properties(expressions=[exp.TemporaryProperty()])
    return exp.Create(this=this, kind="TABLE", properties=temporary)


def _describe(query: exp.Query) -> str:
    statement = sqlglot.parse_one("DESCRIBE SELECT 1", dialect="duckdb")
    statement.set("this", query.copy())
    return statement.sql("duckdb")
