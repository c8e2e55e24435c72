"""Keep a table of PostgreSQL equal to a view, or write every change of a view into one.

Rows and position are written in one transaction: `headwater_sinks`, a table beside the target, has
a row for each sink. The row is locked before anything is written and must say what the sink
believes; so a commit whose answer was lost is found, and of two processes only one can go on.

For a view's content the rows that a range of changes withdrew are deleted, and those that it added
are inserted, by COPY. Rows are found by the view's key, or, where equal rows may be there several
times, by an index over the hash of the whole row; so a write costs what changed. When a row that
is withdrawn is not there, somebody else has changed the table, and the sink stops and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from headwater.connectors.net import Net, net
from headwater.connectors.postgres_types import copied, csv_pieces, types_of
from headwater.connectors.secrets import Secrets
from headwater.connectors.sink import Followed, Mode
from headwater.errors import ConnectorError, DefinitionError, HeadwaterError, StateError
from headwater.log.columns import EPOCH, OFFSET, WEIGHT

_POSITIONS = "headwater_sinks"
_GONE = sql.Identifier("pg_temp", "headwater_gone")
_COUNT = "_count"
# A connection that is cut without a word is noticed, and tried again.
_CONNECTION = {
    "application_name": "headwater",
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_CHANGES = {WEIGHT: "bigint", EPOCH: "bigint", OFFSET: "bigint"}
# What the server says of a value, or of a constraint, it will say again: classes of SQLSTATE.
_FINAL_CLASSES = ("22", "23")
_ANALYZE_ROWS_MIN = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go.

    Args:
        dsn: A connection string; what it leaves out, libpq takes from its own variables.
        table: Its name, or `schema.name`.
        mode: What the table holds.
        password: The password outside of `dsn`, if it is known, so that no message shows it.
    """

    dsn: str
    table: str
    mode: Mode = Mode.CONTENT
    password: str = ""

    def __repr__(self) -> str:
        return f"Target(table={self.table!r}, mode={self.mode})"


class PostgresSink:
    """A table that follows a view.

    Args:
        client: The module `psycopg`, or what stands for it in a test.

    Raises:
        DefinitionError: The connection string cannot be read, or a column has no type.
    """

    def __init__(self, followed: Followed, target: Target, client: Any = psycopg) -> None:
        self._followed = followed
        self._mode = target.mode
        self._client = client
        self._conninfo, self._secrets = _connection(followed, target)
        *schema, self._name = target.table.split(".", 1)
        self._table = sql.Identifier(*schema, self._name)
        self._positions = sql.Identifier(*schema, _POSITIONS)
        self._types = types_of(followed.schema, sink=followed.sink)
        if self._mode is Mode.CHANGES:
            self._types |= _CHANGES
        self._connection: Any = None
        self._is_ready = False

    def position(self) -> int:
        """The offset up to which the table has the changes; 0 when there is no such table.

        Raises:
            ConnectorError: The server cannot be reached, or refuses.
            DefinitionError: There is a table of that name with other columns, or with rows of which
                no position is known.
        """
        with self._transaction() as store:
            columns = self._columns(store)
            if not columns:
                return 0
            self._check(columns)
            stored = self._stored(store)
            if (
                stored is None
                and store.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(self._table)).fetchone()
                is not None
            ):
                raise DefinitionError(
                    f"table {self._name} has rows that sink {self._followed.sink} did not write",
                    hint="empty it, or give the sink another table",
                )
            return stored or 0

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        """Write a range of changes and the position after it, in one transaction."""
        with self._transaction() as store:
            if not self._is_ready:
                self._prepare(store)
            self._lock(store, offset_from)
            if self._mode is Mode.CHANGES:
                self._copy(store, self._table, copied(changes))
            else:
                self._apply(store, net(copied(changes)))
            store.execute(
                sql.SQL(
                    "UPDATE {} SET position = %s, written = now() WHERE sink = %s AND target = %s"
                ).format(self._positions),
                (offset_to, self._followed.sink, self._name),
            )
        self._is_ready = True

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        self._is_ready = False
        if connection is not None:
            # It may be gone already, which is all that is wanted.
            with suppress(psycopg.Error):
                connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A transaction, committed at the end; whatever fails, the connection is given up."""
        try:
            if self._connection is None:
                self._connection = self._client.connect(
                    self._conninfo, autocommit=True, prepare_threshold=None
                )
            with self._connection.transaction():
                yield self._connection
        except psycopg.Error as error:
            self.close()
            raise self._translated(error) from None
        except BaseException:
            self.close()
            raise

    def _translated(self, error: psycopg.Error) -> HeadwaterError:
        message = self._secrets.hidden(str(error).strip().split("\n", 1)[0])
        text = f"PostgreSQL, table {self._name}: {message or type(error).__name__}"
        if (error.sqlstate or "").startswith(_FINAL_CLASSES):
            detail = error.diag.context or error.diag.message_detail or ""
            shown = self._secrets.hidden(detail.split("\n", 1)[0])
            return StateError(
                f"{text} ({shown})" if shown else text,
                hint="change the view's query so that PostgreSQL can hold its rows",
            )
        return ConnectorError(text)

    def _columns(self, store: Any) -> dict[str, str]:
        """The columns that the table has, with their types; empty when there is no table."""
        found = store.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (self._table.as_string(),),
        )
        return dict(found.fetchall())

    def _check(self, columns: dict[str, str]) -> None:
        differs = [
            f"{name} is {columns.get(name, 'missing')}, not {self._types.get(name, 'there')}"
            for name in dict.fromkeys((*self._types, *columns))
            if columns.get(name) != self._types.get(name)
        ]
        if differs:
            raise DefinitionError(
                f"table {self._name} does not fit sink {self._followed.sink}: {'; '.join(differs)}",
                hint=f"DROP TABLE {self._table.as_string()}; or give the sink another table",
            )

    def _stored(self, store: Any, *, lock: bool = False) -> int | None:
        """The position that the store knows; None when it knows none."""
        known = store.execute("SELECT to_regclass(%s)", (self._positions.as_string(),)).fetchone()
        if known[0] is None:
            return None
        query = sql.SQL("SELECT position FROM {} WHERE sink = %s AND target = %s{}").format(
            self._positions, sql.SQL(" FOR UPDATE" if lock else "")
        )
        found = store.execute(query, (self._followed.sink, self._name)).fetchone()
        return None if found is None else int(found[0])

    def _lock(self, store: Any, offset_from: int) -> None:
        """Keep others from writing, and see that nobody has.

        An earlier transaction of our own, of which no answer came, may still be at work: this waits
        for its end.
        """
        stored = self._stored(store, lock=True)
        if stored != offset_from:
            raise ConnectorError(
                f"PostgreSQL, table {self._name}: the position is {stored}, not {offset_from}"
            )

    def _prepare(self, store: Any) -> None:
        """Make what is missing: the table of positions, the row in it, and the target."""
        # Two that create the same table at once fail, even with IF NOT EXISTS.
        store.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (_POSITIONS,))
        store.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (sink text, target text, position bigint NOT NULL, "
                "written timestamptz NOT NULL, PRIMARY KEY (sink, target))"
            ).format(self._positions)
        )
        names = (self._followed.sink, self._name)
        columns = self._columns(store)
        if columns:
            self._check(columns)
        else:
            # A table that was dropped is filled from the start.
            self._create(store)
            forget = sql.SQL("DELETE FROM {} WHERE sink = %s AND target = %s")
            store.execute(forget.format(self._positions), names)
        begin = sql.SQL("INSERT INTO {} VALUES (%s, %s, 0, now()) ON CONFLICT DO NOTHING")
        store.execute(begin.format(self._positions), names)

    def _create(self, store: Any) -> None:
        columns = _list(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
            for name, kind in self._types.items()
        )
        store.execute(sql.SQL("CREATE TABLE {} ({})").format(self._table, columns))
        if self._mode is Mode.CHANGES:
            index = sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(
                self._table, sql.Identifier(OFFSET)
            )
        elif self._followed.key:
            index = sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(
                self._table, _list(map(sql.Identifier, self._followed.key))
            )
        elif not self._followed.is_append_only:
            index = sql.SQL("CREATE INDEX ON {} ({})").format(self._table, self._hash())
        else:
            return
        store.execute(index)

    def _apply(self, store: Any, change: Net) -> None:
        if change.withdrawn.num_rows:
            expected = sum(change.withdrawn_counts.to_pylist())
            deleted = (
                self._delete_by_key(store, change)
                if self._followed.key
                else self._delete_by_row(store, change)
            )
            if deleted != expected:
                raise StateError(
                    f"table {self._name} has {deleted} of the {expected} rows that are withdrawn: "
                    "somebody else has changed it",
                    hint=f"DROP TABLE {self._table.as_string()}, and start again to fill it anew",
                )
        self._copy(store, self._table, change.added)

    def _delete_by_key(self, store: Any, change: Net) -> int:
        """Delete by key, once for each set of key columns that are null.

        An index knows `= 1` and `IS NULL`, but not `IS NOT DISTINCT FROM`.
        """
        keys = change.withdrawn.select(list(self._followed.key or ()))
        self._stage(store, keys)
        nulls = np.stack([column.is_null().to_numpy() for column in keys.columns])
        deleted = 0
        for pattern in np.unique(nulls, axis=1).T:
            matches = [
                sql.SQL("t.{0} IS NULL AND s.{0} IS NULL" if is_null else "t.{0} = s.{0}").format(
                    sql.Identifier(name)
                )
                for name, is_null in zip(keys.column_names, pattern.tolist(), strict=True)
            ]
            delete = sql.SQL("DELETE FROM {} t USING {} s WHERE {}").format(
                self._table, _GONE, sql.SQL(" AND ").join(matches)
            )
            deleted += store.execute(delete).rowcount
        return deleted

    def _delete_by_row(self, store: Any, change: Net) -> int:
        """Delete as many of the rows that are equal to a withdrawn one as were withdrawn."""
        counted = change.withdrawn.append_column(_COUNT, change.withdrawn_counts)
        self._stage(store, counted)
        delete = sql.SQL(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT place FROM ("
            "SELECT t.ctid AS place, s.{count} AS n, "
            "row_number() OVER (PARTITION BY s.ctid) AS k "
            "FROM {gone} s JOIN {table} t ON {hash_t} = {hash_s} "
            "AND ROW({row_t}) IS NOT DISTINCT FROM ROW({row_s})) found WHERE k <= n))"
        ).format(
            table=self._table,
            gone=_GONE,
            count=sql.Identifier(_COUNT),
            hash_t=self._hash("t"),
            hash_s=self._hash("s"),
            row_t=self._row("t"),
            row_s=self._row("s"),
        )
        return int(store.execute(delete).rowcount)

    def _row(self, *alias: str) -> sql.Composed:
        return _list(sql.Identifier(*alias, name) for name in self._types)

    def _hash(self, *alias: str) -> sql.Composed:
        """The hash of a row, in which a null is like a null; PostgreSQL has it since version 14."""
        return sql.SQL("hash_record_extended(ROW({}), 0)").format(self._row(*alias))

    def _stage(self, store: Any, rows: pa.Table) -> None:
        """Put rows into a table that ends with the transaction."""
        types = self._types | {_COUNT: "bigint"}
        columns = _list(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(types[name]))
            for name in rows.column_names
        )
        store.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(_GONE, columns)
        )
        self._copy(store, _GONE, rows)
        if rows.num_rows >= _ANALYZE_ROWS_MIN:
            store.execute(sql.SQL("ANALYZE {}").format(_GONE))

    def _copy(self, store: Any, table: sql.Identifier, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        names = _list(map(sql.Identifier, rows.column_names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, names)
        with store.cursor() as cursor, cursor.copy(statement) as copy:
            for piece in csv_pieces(rows):
                copy.write(piece)


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _connection(followed: Followed, target: Target) -> tuple[str, Secrets]:
    """The whole connection string, and what of it no message may show."""
    try:
        given = conninfo_to_dict(target.dsn)
    except psycopg.ProgrammingError:
        # What libpq says of it would show parts of it.
        raise DefinitionError(
            f"sink {followed.sink}: its dsn cannot be read",
            hint="write postgresql://user@host/database, or host=... dbname=... user=...",
        ) from None
    secrets = Secrets([str(given.get("password") or ""), target.password])
    settings: dict[str, Any] = {**_CONNECTION, **given}
    return make_conninfo("", **settings), secrets
