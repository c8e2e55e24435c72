"""The columns that the log knows of a row beside its own, and the times in the row's own.

They are made when they are asked for, from where a row stands and from the marks of its chunk; none
of them is stored with the rows of a topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array
from headwater.errors import DefinitionError
from headwater.schema.schema import Schema

PARTITION = "_partition"
OFFSET = "_offset"
ARRIVED = "_arrived"
WEIGHT = "_weight"
EPOCH = "_epoch"

PLACE_FIELDS = (
    pa.field(PARTITION, pa.int32()),
    pa.field(OFFSET, pa.int64()),
    pa.field(ARRIVED, pa.timestamp("us", tz="UTC")),
)
_BEFORE_ALL = int(np.iinfo(np.int64).min)


def check_names(owner: str, schema: Schema, taken: Iterable[str]) -> None:
    """Refuse columns whose names the log uses.

    Args:
        owner: For the message, for example `topic clicks`.

    Raises:
        DefinitionError: There is one.

    """
    for name in taken:
        if name in schema:
            raise DefinitionError(
                f"{owner}: the log keeps the column name {name} for itself",
                hint=f"rename the column, for example to {name.lstrip('_')}_",
            )


def offsets(position_from: int, position_to: int) -> pa.Array:
    """The offsets of the rows at these positions."""
    return pa.array(np.arange(position_from, position_to, dtype=np.int64))


def with_places(
    batch: pa.RecordBatch,
    columns: Sequence[str],
    *,
    partition: int,
    positions: Int64Array,
    arrivals: Int64Array,
) -> list[pa.Array]:
    """The `columns` of a batch whose rows stand at `positions`, hidden ones made."""
    made = {
        PARTITION: pa.array(np.full(batch.num_rows, partition, dtype=np.int32)),
        OFFSET: pa.array(positions),
        ARRIVED: pa.array(arrivals).cast(PLACE_FIELDS[2].type),
    }
    return [made[name] if name in made else batch.column(name) for name in columns]


def times_us(column: pa.ChunkedArray) -> Int64Array:
    """Times in microseconds; a null is before every time."""
    micros = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
    found: Int64Array = pc.fill_null(micros.cast(pa.int64()), _BEFORE_ALL).to_numpy()
    return found
