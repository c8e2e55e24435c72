"""Stores for the test of all sinks: each is empty when it is made, and can be looked into."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from connectors.servers import PostgresServer
from headwater.connectors import delta_lake
from headwater.connectors import duckdb as duckdb_sink
from headwater.connectors import postgres as postgres_sink
from headwater.connectors.parquet import ParquetSink
from headwater.connectors.sink import Followed, Mode, Sink
from headwater.errors import StateError
from headwater.log.columns import WEIGHT
from headwater.schema.types import DataType
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk
from headwater.testing.faults import Faults

_numbers = itertools.count()


@dataclass
class ParquetStore:
    folder: Path
    stride: int = 1

    def __post_init__(self) -> None:
        self.folder = self.folder / f"lake{next(_numbers)}"

    def lost(self) -> Exception:
        return StateError("the disk is gone")

    def sink(self, followed: Followed, faults: Faults) -> Sink:
        disk: Any = faults.around(LocalDisk.made(self.folder))
        return ParquetSink(Blobs(disk), is_append_only=followed.is_append_only)

    def rows(self, followed: Followed) -> pa.Table:
        files = [pq.read_table(path) for path in sorted(self.folder.glob("*.parquet"))]
        return pa.concat_tables(files) if files else _empty(followed)


@dataclass
class DeltaStore:
    folder: Path
    mode: Mode = Mode.CONTENT
    stride: int = 3

    def __post_init__(self) -> None:
        self.path = str(self.folder / f"delta{next(_numbers)}")

    def lost(self) -> Exception:
        return OSError("the folder is gone")

    def sink(self, followed: Followed, faults: Faults) -> Sink:
        target = delta_lake.Target(self.path, self.mode)
        return delta_lake.DeltaSink(followed, target, faults.around(deltalake))

    def rows(self, followed: Followed) -> pa.Table:
        rows = deltalake.DeltaTable(self.path).to_pyarrow_table()
        for at, column in enumerate(followed.schema):
            if column.type.kind == "TIME":
                texts = rows.column(column.name).to_pylist()
                times = [None if text is None else time.fromisoformat(text) for text in texts]
                rows = rows.set_column(at, column.name, pa.array(times, column.type.arrow))
        return rows


@dataclass
class DuckDBStore:
    folder: Path
    mode: Mode = Mode.CONTENT
    table: str = "kept"
    # To open a file takes it a tenth of a second.
    stride: int = 17

    def __post_init__(self) -> None:
        self.path = str(self.folder / f"store{next(_numbers)}.duckdb")

    def lost(self) -> Exception:
        return duckdb.IOException("the file is gone")

    def sink(self, followed: Followed, faults: Faults) -> Sink:
        target = duckdb_sink.Target(self.path, self.table, self.mode)
        return duckdb_sink.DuckDBSink(followed, target, faults.around(duckdb))

    def rows(self, followed: Followed) -> pa.Table:
        with duckdb.connect(self.path) as store:
            return store.sql(f'SELECT * FROM "{self.table}"').to_arrow_table()


@dataclass
class PostgresStore:
    server: PostgresServer
    mode: Mode = Mode.CONTENT
    table: str = field(default_factory=lambda: f"Kept {next(_numbers)}")
    # Each try takes a connection of its own, and so a process of the server.
    stride: int = 3

    def lost(self) -> Exception:
        return psycopg.OperationalError("the server is gone")

    def sink(self, followed: Followed, faults: Faults) -> Sink:
        target = postgres_sink.Target(self.server.dsn, self.table, self.mode)
        return postgres_sink.PostgresSink(followed, target, faults.around(psycopg))

    def rows(self, followed: Followed) -> pa.Table:
        kinds = {column.name: column.type for column in followed.schema}
        columns = [_read(sql.Identifier(name), kind) for name, kind in kinds.items()]
        names = list(kinds)
        if self.mode is Mode.CHANGES:
            columns.append(sql.SQL("_weight"))
            names.append(WEIGHT)
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(columns), sql.Identifier(self.table)
        )
        with psycopg.connect(self.server.dsn) as store:
            found = store.execute(query).fetchall()
        types = [*(_type(kind) for kind in kinds.values()), pa.int64()]
        arrays = [
            pa.array([_value(row[at]) for row in found], types[at]) for at in range(len(names))
        ]
        return pa.Table.from_arrays(arrays, names=names)


def _read(name: sql.Identifier, kind: DataType) -> sql.Composable:
    """A column as psycopg reads it without loss."""
    if kind.kind == "INTERVAL":
        # Python's timedelta knows no months.
        return sql.SQL(
            "CASE WHEN {0} IS NOT NULL THEN ARRAY[extract(year FROM {0}) * 12 + "
            "extract(month FROM {0}), extract(day FROM {0}), extract(hour FROM {0}) * 3600000000 "
            "+ extract(minute FROM {0}) * 60000000 + extract(microseconds FROM {0})]::bigint[] END"
        ).format(name)
    is_text = kind.kind in ("LIST", "STRUCT", "MAP", "JSON", "UUID")
    return sql.SQL("{}::text" if is_text else "{}").format(name)


def _type(kind: DataType) -> pa.DataType:
    return pa.string() if pa.types.is_nested(kind.arrow) else kind.arrow


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return pa.MonthDayNano([value[0], value[1], value[2] * 1000])
    return value


def _empty(followed: Followed) -> pa.Table:
    return followed.schema.arrow.empty_table()
