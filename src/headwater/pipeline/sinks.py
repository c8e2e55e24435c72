"""The sinks a pipeline can name: settings only, as plain data. `connectors` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class SinkSettings(Protocol):
    """The settings of one kind of sink."""

    @property
    def connector(self) -> str:
        """The kind of store."""
        ...

    def options(self) -> dict[str, str]:
        """The settings by name, as they would stand in `CREATE SINK ... INTO kind (...)`."""
        ...


@dataclass(frozen=True, slots=True)
class Parquet:
    """Parquet files of a good size in a folder, exactly once.

    Args:
        path: The folder. Relative to where the process runs.
        rows_max: A file is written as soon as so many changes wait.
        every: A file is written at least so often while changes wait, for example `1 minute`.
    """

    path: str | Path
    rows_max: int = 1_000_000
    every: str = "1 minute"

    @property
    def connector(self) -> str:
        """The kind of store."""
        return "parquet"

    def options(self) -> dict[str, str]:
        """The settings by name."""
        return {"path": str(self.path), "rows_max": str(self.rows_max), "every": self.every}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A table in PostgreSQL, rows and position in one transaction.

    Args:
        dsn: A connection string; `${NAME}` stands for a variable of the environment. What it leaves
            out, libpq takes from PGHOST, PGUSER, PGPASSWORD and so on.
        dsn_env: The variable that holds the whole connection string.
        table: `name` or `schema.name`; by default the view's name. Made when missing.
        mode: `content`: the table equals the view. `changes`: every change, as a signed row.
        key: Columns that tell the view's rows apart, where its query does not say.
        rows_max: So many changes are written in one transaction.
        every: Changes wait at most so long.
    """

    dsn: str = field(default="", repr=False)
    dsn_env: str | None = None
    table: str | None = None
    mode: str = "content"
    key: str | tuple[str, ...] = ()
    rows_max: int = 250_000
    every: str = "1 second"

    @property
    def connector(self) -> str:
        """The kind of store."""
        return "postgres"

    def options(self) -> dict[str, str]:
        """The settings by name."""
        given = {"dsn": self.dsn, "dsn_env": self.dsn_env, "table": self.table}
        return _given(given) | _common(self.mode, self.key, self.rows_max, self.every)


@dataclass(frozen=True, slots=True)
class DuckDB:
    """A table in a DuckDB file, rows and position in one transaction.

    Args:
        path: The file; made when missing. Others may read it between two writes.
        table: By default the view's name. Made when missing.
        mode: `content`: the table equals the view. `changes`: every change, as a signed row.
        key: Columns that tell the view's rows apart, where its query does not say.
        rows_max: So many changes are written in one transaction.
        every: Changes wait at most so long.
    """

    path: str | Path
    table: str | None = None
    mode: str = "content"
    key: str | tuple[str, ...] = ()
    rows_max: int = 1_000_000
    every: str = "10 seconds"

    @property
    def connector(self) -> str:
        """The kind of store."""
        return "duckdb"

    def options(self) -> dict[str, str]:
        """The settings by name."""
        given = {"path": str(self.path), "table": self.table}
        return _given(given) | _common(self.mode, self.key, self.rows_max, self.every)


@dataclass(frozen=True, slots=True)
class Delta:
    """A Delta Lake table, each write one commit that carries the position.

    Args:
        path: A folder, or an address such as `s3://bucket/spend`, whose keys come from the
            environment.
        mode: `content`: the table equals the view, merged by key. `changes`: every change, as a
            signed row.
        key: Columns that tell the view's rows apart, where its query does not say.
        rows_max: So many changes are written in one commit.
        every: Changes wait at most so long.
    """

    path: str | Path
    mode: str = "content"
    key: str | tuple[str, ...] = ()
    rows_max: int = 1_000_000
    every: str = "1 minute"

    @property
    def connector(self) -> str:
        """The kind of store."""
        return "delta"

    def options(self) -> dict[str, str]:
        """The settings by name."""
        return {"path": str(self.path)} | _common(self.mode, self.key, self.rows_max, self.every)


def _given(options: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}


def _common(mode: str, key: str | tuple[str, ...], rows_max: int, every: str) -> dict[str, str]:
    columns = key if isinstance(key, str) else ", ".join(key)
    return _given({"mode": mode, "key": columns, "rows_max": str(rows_max), "every": every})
