"""Only the newest row of each key: many changes, folded into what has come of them.

Rows are read in stretches, and each is folded into what was found before, so what is held at a time
is a stretch and the keys found so far. A fold ends when it has as many keys as were asked for, at
the end of what is there, or after so many rows that an answer should not wait for more.

Of a view's changes the last epoch of a key counts: a row that it added is the key's row, and where
it only withdrew one, the key is gone, and the withdrawn row says so with weight -1. A key that came
and went within a fold is told as gone too: whoever was given a part of these changes before, and
did not confirm it, may have the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.errors import DefinitionError
from headwater.log.columns import EPOCH, OFFSET, WEIGHT

STRETCH_ROWS = 1 << 17
FOLD_ROWS_MAX = 1 << 22
_AT = "__at"

# Gives at least one row from an offset on, if one is there, and about so many.
Read = Callable[[int, int], pa.Table]


@dataclass(frozen=True, slots=True)
class Folded:
    """The newest row of each key in a stretch of rows.

    Args:
        rows: By the offset.
        position: The position after the stretch.

    """

    rows: pa.Table
    position: int


def fold(read: Read, position: int, end: int, *, key: Sequence[str], rows_max: int) -> Folded:
    """Fold rows from `position` to at most `end`.

    Args:
        key: Columns; none for what has one row only.
        rows_max: The most keys; more only where an epoch has more.

    Raises:
        DefinitionError: Rows cannot be told apart by a column of this type.

    """
    rows = read(position, STRETCH_ROWS)
    held, looked = rows.slice(0, 0), 0
    while rows.num_rows:
        looked += rows.num_rows
        together = pa.concat_tables([held, rows])
        cut = _cut(together, held.num_rows, _ends(together, key, "min"), rows_max)
        if cut > held.num_rows:
            position = together.column(OFFSET)[cut - 1].as_py() + 1
            held = newest(together.slice(0, cut), key)
        if cut < together.num_rows or held.num_rows > rows_max:
            break
        if position >= end or looked >= FOLD_ROWS_MAX:
            break
        rows = read(position, STRETCH_ROWS)
    return Folded(held, position)


def newest(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The last row of each key, by the offset.

    Args:
        rows: By the offset, of a topic or of a view's changes.

    """
    if WEIGHT not in rows.schema.names:
        return rows.take(pa.array(_ends(rows, key, "max")))
    weights = rows.column(WEIGHT).to_numpy()
    # Of an epoch the rows that it added come last, wherever they stand.
    order = np.lexsort((np.arange(len(weights)), weights > 0, rows.column(EPOCH).to_numpy()))
    places = np.sort(order[_ends(rows.take(pa.array(order)), key, "max")])
    found = rows.take(pa.array(places))
    signs = pa.array(np.sign(weights[places]))
    return found.set_column(found.schema.get_field_index(WEIGHT), WEIGHT, signs)


def _ends(rows: pa.Table, key: Sequence[str], which: str) -> Int64Array:
    """The places of the first (`min`) or last (`max`) rows of each key, ascending."""
    if not key:
        last = min(rows.num_rows, 1)
        return np.arange(last) if which == "min" else np.arange(rows.num_rows - last, rows.num_rows)
    keyed = rows.select(list(key)).append_column(_AT, pa.array(np.arange(rows.num_rows)))
    try:
        grouped = keyed.group_by(list(key), use_threads=False).aggregate([(_AT, which)])
    except (pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        raise DefinitionError(
            f"rows cannot be told apart by {', '.join(key)}: {error}",
            hint="name columns of plain values: key=...",
        ) from None
    found: Int64Array = np.sort(grouped.column(f"{_AT}_{which}").to_numpy())
    return found


def _cut(rows: pa.Table, held: int, firsts: Int64Array, keys_max: int) -> int:
    """How many of the rows, `held` at least, have at most so many keys; in whole epochs."""
    if len(firsts) <= keys_max:
        return rows.num_rows
    cut = int(firsts[keys_max])
    if EPOCH not in rows.schema.names:
        return cut
    epochs = rows.column(EPOCH).to_numpy()[held:]
    begin = held + int(np.searchsorted(epochs, epochs[cut - held]))
    if begin > 0:
        return begin
    # The first epoch alone has more: it is given whole.
    return held + int(np.searchsorted(epochs, epochs[cut - held], side="right"))
