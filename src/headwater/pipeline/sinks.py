"""The sinks a pipeline can name: settings only, as plain data. `connectors` does the work."""

from __future__ import annotations

from dataclasses import dataclass
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
