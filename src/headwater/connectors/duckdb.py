"""Keep a table of a DuckDB file equal to a view, or write every change of a view into one.

Rows and position are written in one transaction: `headwater_sinks`, a table of the same file, has a
row for each sink. The file is open only while it is written to or asked, because DuckDB lets one
process at a time write: others may read it in between, and while they do the sink tries again.

For a view's content the rows that a range of changes withdrew are deleted, and those that it added
are inserted. Rows are found by the view's key, or by all columns, in one scan of the table; so a
write that withdraws rows costs a look at the whole table's key, and one that only adds does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from headwater.connectors.net import Net, net
from headwater.connectors.sink import Followed, Mode
from headwater.errors import ConnectorError, DefinitionError, HeadwaterError, StateError
from headwater.log.columns import EPOCH, OFFSET, WEIGHT
from headwater.storage.local import LocalDisk

_POSITIONS = "headwater_sinks"
_ROWS = "headwater_rows"
_GONE = "headwater_gone"
_COUNT = "_count"
_CHANGES = {WEIGHT: "BIGINT", EPOCH: "BIGINT", OFFSET: "BIGINT"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go.

    Args:
        path: The file; it is made when missing.
        table: Its name.
        mode: What the table holds.
    """

    path: str
    table: str
    mode: Mode = Mode.CONTENT


class DuckDBSink:
    """A table that follows a view.

    Args:
        client: The module `duckdb`, or what stands for it in a test.
    """

    def __init__(self, followed: Followed, target: Target, client: Any = duckdb) -> None:
        self._followed = followed
        self._target = target
        self._client = client
        self._types = {column.name: column.type.sql for column in followed.schema}
        if target.mode is Mode.CHANGES:
            self._types |= _CHANGES

    def position(self) -> int:
        """The offset up to which the table has the changes; 0 when there is no such table.

        Raises:
            ConnectorError: The file cannot be opened.
            DefinitionError: There is a table of that name with other columns, or with rows of which
                no position is known.
        """
        with self._transaction() as store:
            columns = self._columns(store, self._target.table)
            if not columns:
                return 0
            self._check(columns)
            stored = self._stored(store)
            some = exp.select("*").from_(_table(self._target.table)).limit(1)
            if stored is None and _answer(store, _text(some)):
                raise DefinitionError(
                    f"table {self._target.table} of {self._target.path} has rows that sink "
                    f"{self._followed.sink} did not write",
                    hint="empty it, or give the sink another table",
                )
            return stored or 0

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        """Write a range of changes and the position after it, in one transaction."""
        with self._transaction() as store:
            self._prepare(store)
            stored = self._stored(store)
            if stored != offset_from:
                raise ConnectorError(
                    f"{self._target.path}, table {self._target.table}: the position is {stored}, "
                    f"not {offset_from}"
                )
            if self._target.mode is Mode.CHANGES:
                self._insert(store, self._target.table, changes)
            else:
                self._apply(store, net(changes))
            values: dict[str, object] = {"position": exp.Placeholder(), "written": exp.func("now")}
            update = exp.update(_table(_POSITIONS), values, where=_mine())
            _answer(store, _text(update), [offset_to, self._followed.sink, self._target.table])

    def close(self) -> None:
        """Nothing is open between two calls."""

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """The file, open for one transaction, which is committed at the end."""
        try:
            LocalDisk.made(Path(self._target.path).absolute().parent)
            store = self._client.connect(self._target.path)
            try:
                _answer(store, "BEGIN")
                yield store
                _answer(store, "COMMIT")
            finally:
                # What is not committed by now is not in the file.
                store.close()
        except duckdb.Error as error:
            raise self._translated(error) from None

    def _translated(self, error: duckdb.Error) -> HeadwaterError:
        message = str(error).strip().split("\n", 1)[0]
        text = f"{self._target.path}, table {self._target.table}: {message}"
        if isinstance(error, duckdb.DataError | duckdb.IntegrityError):
            return StateError(text, hint="change the view's query so that the table can hold it")
        return ConnectorError(text)

    def _columns(self, store: Any, table: str) -> dict[str, str]:
        """The columns that a table has, with their types; empty when there is no table."""
        query = (
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND "
            "database_name = current_database() AND schema_name = 'main' ORDER BY column_index"
        )
        return dict(_answer(store, query, [table]))

    def _check(self, columns: dict[str, str]) -> None:
        differs = [
            f"{name} is {columns.get(name, 'missing')}, not {self._types.get(name, 'there')}"
            for name in dict.fromkeys((*self._types, *columns))
            if columns.get(name) != self._types.get(name)
        ]
        if differs:
            raise DefinitionError(
                f"table {self._target.table} of {self._target.path} does not fit sink "
                f"{self._followed.sink}: {'; '.join(differs)}",
                hint="drop it, or give the sink another table",
            )

    def _stored(self, store: Any) -> int | None:
        """The position that the file knows; None when it knows none."""
        if not self._columns(store, _POSITIONS):
            return None
        query = exp.select("position").from_(_table(_POSITIONS)).where(_mine())
        found = _answer(store, _text(query), [self._followed.sink, self._target.table])
        return int(found[0][0]) if found else None

    def _prepare(self, store: Any) -> None:
        """Make what is missing: the table of positions, the row in it, and the target."""
        if not self._columns(store, _POSITIONS):
            types = {"sink": "VARCHAR", "target": "VARCHAR", "position": "BIGINT"}
            _answer(store, _created(_POSITIONS, types | {"written": "TIMESTAMPTZ"}))
        names = [self._followed.sink, self._target.table]
        columns = self._columns(store, self._target.table)
        if columns:
            self._check(columns)
        else:
            # A table that was dropped is filled from the start.
            _answer(store, _created(self._target.table, self._types))
            _answer(store, _text(exp.delete(_table(_POSITIONS), where=_mine())), names)
        if self._stored(store) is None:
            row = exp.values([(exp.Placeholder(), exp.Placeholder(), 0, exp.func("now"))])
            _answer(store, _text(exp.insert(row, _table(_POSITIONS))), names)

    def _apply(self, store: Any, change: Net) -> None:
        if change.withdrawn.num_rows:
            counted = change.withdrawn.append_column(_COUNT, change.withdrawn_counts)
            types = self._types | {_COUNT: "BIGINT"}
            _answer(store, _created(_GONE, types, is_temporary=True))
            self._insert(store, _GONE, counted)
            expected = sum(change.withdrawn_counts.to_pylist())
            ((deleted,),) = _answer(store, _text(self._deletion()))
            if deleted != expected:
                raise StateError(
                    f"table {self._target.table} of {self._target.path} has {deleted} of the "
                    f"{expected} rows that are withdrawn: somebody else has changed it",
                    hint=f"drop table {self._target.table}, and start again to fill it anew",
                )
        self._insert(store, self._target.table, change.added)

    def _deletion(self) -> exp.Delete:
        """Delete as many of the rows that are equal to a withdrawn one as were withdrawn."""
        names = self._followed.key or tuple(self._types)
        same = [exp.NullSafeEQ(this=_column(n, "t"), expression=_column(n, "s")) for n in names]
        number = exp.Window(this=exp.RowNumber(), partition_by=[_column("rowid", "s")])
        found = (
            exp.select(
                exp.alias_(_column("rowid", "t"), "place"),
                exp.alias_(_column(_COUNT, "s"), "n"),
                exp.alias_(number, "k"),
            )
            .from_(exp.alias_(_table(_GONE), "s", table=True))
            .join(exp.alias_(_table(self._target.table), "t", table=True), on=exp.and_(*same))
        )
        places = exp.select("place").from_(found.subquery("found")).where("k <= n")
        return exp.delete(_table(self._target.table), where=exp.column("rowid").isin(query=places))

    def _insert(self, store: Any, table: str, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        store.register(_ROWS, rows)
        names = [exp.to_identifier(name, quoted=True) for name in rows.column_names]
        query = exp.select(*[exp.Column(this=name.copy()) for name in names]).from_(_table(_ROWS))
        _answer(store, _text(exp.insert(query, _table(table), columns=names)))
        store.unregister(_ROWS)


def _answer(store: Any, statement: str, values: list[Any] | None = None) -> list[Any]:
    """Run one statement to its end: the next one may not begin before all is fetched."""
    rows: list[Any] = store.execute(statement, values).fetchall()
    return rows


def _text(statement: exp.Expression) -> str:
    return statement.sql(dialect="duckdb")


def _table(name: str) -> exp.Table:
    return exp.Table(this=exp.to_identifier(name, quoted=True))


def _column(name: str, table: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True), table=table)


def _mine() -> exp.Condition:
    """This sink's row of the table of positions; two parameters."""
    return exp.and_(
        exp.column("sink").eq(exp.Placeholder()), exp.column("target").eq(exp.Placeholder())
    )


def _created(name: str, types: dict[str, str], *, is_temporary: bool = False) -> str:
    columns = [
        exp.ColumnDef(
            this=exp.to_identifier(column, quoted=True),
            kind=exp.DataType.build(kind, dialect="duckdb"),
        )
        for column, kind in types.items()
    ]
    create = exp.Create(this=exp.Schema(this=_table(name), expressions=columns), kind="TABLE")
    if is_temporary:
        create.set("properties", exp.Properties(expressions=[exp.TemporaryProperty()]))
    return _text(create)
