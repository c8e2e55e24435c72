"""The types of columns, with their SQL and Arrow spellings in one table.

SQL spellings are DuckDB's. A type is known by its SQL spelling; the Arrow type is what batches of
it carry. Both directions are total over the types listed here: what is not listed is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class DataType:
    """One column type.

    Args:
        sql: The canonical DuckDB spelling, for example `DECIMAL(12,6)` or `STRUCT(a BIGINT)[]`.
        arrow: The Arrow type of a batch's column.

    """

    sql: str
    arrow: pa.DataType

    def __str__(self) -> str:
        return self.sql


@dataclass(frozen=True, slots=True)
class Column:
    """A named, typed column.

    Args:
        name: As the author spelled it. Names are compared without regard to case.
        type: Its type.
        nullable: False when a row with a null here must be rejected.
        default: The value a missing field takes (a plain Python value), or None for no default.

    """

    name: str
    type: DataType
    nullable: bool = True
    default: Any = None
