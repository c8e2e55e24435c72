"""Keep a Delta Lake table equal to a view, or append every change of a view to one.

Each write is one commit of the table's log, and the commit carries the position as a transaction of
an application (the `txn` action of the Delta protocol): the sink's name and the offset. So a commit
of which no answer came is found in the table, and one that arrives late is refused by the protocol
when another of the same sink has come before it.

For a view's content, a range that only adds rows is an append; any other is a merge by the view's
key, which writes the files anew in which rows changed. A view whose rows no key tells apart cannot
be merged; its changes can be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
from deltalake.exceptions import DeltaError
from sqlglot import exp

from headwater.connectors.net import Net, net
from headwater.connectors.sink import Followed, Mode
from headwater.errors import ConnectorError, DefinitionError
from headwater.log.columns import EPOCH, OFFSET, WEIGHT
from headwater.schema.encode import interval_texts
from headwater.schema.schema import Schema

_GONE = "_gone"
_PLACE = "_place"
_HIDDEN = [pa.field(name, pa.int64()) for name in (WEIGHT, EPOCH, OFFSET)]
_TYPES = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.timestamp("s"): pa.timestamp("us"),
    pa.timestamp("ms"): pa.timestamp("us"),
    # Delta knows neither times of a day nor intervals.
    pa.time64("us"): pa.string(),
    pa.month_day_nano_interval(): pa.string(),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go.

    Args:
        path: A folder, or an address such as `s3://bucket/spend`, whose keys come from the
            environment.
        mode: What the table holds.
    """

    path: str
    mode: Mode = Mode.CONTENT


class DeltaSink:
    """A Delta Lake table that follows a view.

    Args:
        client: The module `deltalake`, or what stands for it in a test.

    Raises:
        DefinitionError: The view's content cannot be merged, or a column has no type in Delta.
    """

    def __init__(self, followed: Followed, target: Target, client: Any = deltalake) -> None:
        if target.mode is Mode.CONTENT and followed.key is None and not followed.is_append_only:
            raise DefinitionError(
                f"sink {followed.sink}: no key tells the rows of {followed.view} apart, and Delta "
                "Lake merges by key",
                hint="mode = 'changes' writes every change; or say the key: key = 'a, b'",
            )
        self._followed = followed
        self._target = target
        self._client = client
        self._schema = pa.schema(_fields(followed.schema, followed.sink))
        if target.mode is Mode.CHANGES:
            self._schema = pa.schema([*self._schema, *_HIDDEN])

    def position(self) -> int:
        """The offset up to which the table has the changes; 0 when there is no table.

        Raises:
            ConnectorError: The table cannot be reached.
            DefinitionError: There is a table with other columns, or one that no sink wrote.
        """
        with self._refusing():
            table = self._table()
            if table is None:
                return 0
            self._check(table)
            version = table.transaction_version(self._followed.sink)
        if version is None:
            raise DefinitionError(
                f"{self._target.path} is a Delta table that sink {self._followed.sink} did not "
                "write",
                hint="give the sink another path",
            )
        return int(version)

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        """Write a range of changes and the position after it, in one commit."""
        is_all = self._target.mode is Mode.CHANGES
        change = None if is_all else net(changes)
        with self._refusing():
            table = self._table()
            stored = 0 if table is None else table.transaction_version(self._followed.sink)
            if stored != offset_from:
                raise ConnectorError(
                    f"{self._target.path}: the position is {stored}, not {offset_from}"
                )
            position = deltalake.CommitProperties(
                app_transactions=[deltalake.Transaction(self._followed.sink, offset_to)]
            )
            if change is None or not change.withdrawn.num_rows:
                rows = changes if change is None else change.added
                self._client.write_deltalake(
                    self._target.path if table is None else table,
                    _stored(rows, self._schema),
                    # To make a table that another has made in the meantime is an error.
                    mode="error" if table is None else "append",
                    commit_properties=position,
                )
            else:
                self._merge(table, change, position)

    def close(self) -> None:
        """Nothing is open between two calls."""

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Say what the library refuses, in our own errors."""
        try:
            yield
        except (DeltaError, OSError) as error:
            message = str(error).strip().split("\n", 1)[0]
            raise ConnectorError(f"{self._target.path}: {message}") from None

    def _table(self) -> Any:
        """The table as it is now; None when there is none."""
        if "://" not in self._target.path and not Path(self._target.path).is_dir():
            return None
        if not self._client.DeltaTable.is_deltatable(self._target.path):
            return None
        return self._client.DeltaTable(self._target.path)

    def _check(self, table: Any) -> None:
        found = pa.schema(table.schema().to_arrow())
        has = {field.name: _spelled(field.type) for field in found}
        wanted = {field.name: _spelled(field.type) for field in self._schema}
        differs = [
            f"{name} is {has.get(name, 'missing')}, not {wanted.get(name, 'there')}"
            for name in dict.fromkeys((*wanted, *has))
            if has.get(name) != wanted.get(name)
        ]
        if differs:
            raise DefinitionError(
                f"{self._target.path} does not fit sink {self._followed.sink}: "
                f"{'; '.join(differs)}",
                hint="give the sink another path",
            )

    def _merge(self, table: Any, change: Net, position: Any) -> None:
        """Delete the rows that are gone, replace those that changed, insert those that are new."""
        key = list(self._followed.key or ())
        source, gone = _now(change, key), _column(_GONE, "s")
        values = {_text(_column(n)): _text(_column(n, "s")) for n in self._schema.names}
        # DataFusion binds IS NOT DISTINCT FROM more loosely than AND: each needs its brackets.
        same = [
            exp.paren(exp.NullSafeEQ(this=_column(n, "t"), expression=_column(n, "s"))) for n in key
        ]
        (
            table.merge(
                _stored(source, self._schema.append(pa.field(_GONE, pa.bool_()))),
                predicate=_text(exp.and_(*same)) if same else "true",
                source_alias="s",
                target_alias="t",
                commit_properties=position,
            )
            .when_matched_delete(_text(gone))
            .when_matched_update(values, predicate=_text(exp.not_(gone)))
            .when_not_matched_insert(values, predicate=_text(exp.not_(gone)))
            .execute()
        )


def _now(change: Net, key: list[str]) -> pa.Table:
    """One row for each key that changed: the row that it has now, or else the one that is gone."""
    both = pa.concat_tables(
        rows.append_column(_GONE, pa.array(np.full(rows.num_rows, is_gone)))
        for rows, is_gone in ((change.added, False), (change.withdrawn, True))
    )
    if not key:
        return both.slice(0, 1)
    numbered = both.select(key).append_column(_PLACE, pa.array(np.arange(both.num_rows)))
    first = numbered.group_by(key).aggregate([(_PLACE, "min")]).column(f"{_PLACE}_min").to_numpy()
    return both.take(pa.array(np.sort(first)))


def _fields(schema: Schema, sink: str) -> list[pa.Field]:
    """The columns as Delta has them."""
    fields = []
    for column in schema:
        try:
            fields.append(pa.field(column.name, _type(column.type.arrow)))
        except KeyError:
            raise DefinitionError(
                f"sink {sink}: Delta Lake has no type for {column.name}, a {column.type}",
                hint=f"CAST({column.name} AS VARCHAR) in the view's query",
            ) from None
    return fields


def _type(kind: pa.DataType, *, is_inside: bool = False) -> pa.DataType:
    """The type of a column in Delta.

    Raises:
        KeyError: There is none that keeps every value.
    """
    if pa.types.is_list(kind):
        return pa.list_(_type(kind.value_type, is_inside=True))
    if pa.types.is_map(kind):
        key, item = (_type(part, is_inside=True) for part in (kind.key_type, kind.item_type))
        return pa.map_(key, item)
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _type(field.type, is_inside=True)) for field in kind])
    found = _TYPES.get(kind, kind)
    if found == pa.timestamp("ns") or (is_inside and found == pa.string() and found != kind):
        raise KeyError(kind)
    return found


def _stored(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in the types that Delta has."""
    columns = [
        interval_texts(column)
        if pa.types.is_interval(column.type)
        else column.cast(schema.field(name).type)
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _spelled(kind: pa.DataType) -> str:
    """A type without the names that libraries give to the inside of lists and maps."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_spelled(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{_spelled(kind.key_type)}, {_spelled(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name} {_spelled(field.type)}' for field in kind)}>"
    return str(kind)


def _text(expression: exp.Expr) -> str:
    return expression.sql(dialect="duckdb")


def _column(name: str, table: str | None = None) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True), table=table)
