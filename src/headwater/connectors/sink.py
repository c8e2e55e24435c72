"""What a sink is: it takes a view's changes into a store, each exactly once.

A store keeps the position, an offset in the view's changes, in the same transaction as the rows, so
the two cannot disagree. Whether a write that failed has happened all the same is then a question
that the store can answer, and it is asked before anything is written again.

How to write one, and the test that it must pass (`headwater.testing.sinks`), is in docs/sinks.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from headwater.schema.schema import Schema


class Mode(StrEnum):
    """What a store holds of a view.

    CONTENT: its rows, as they are now. CHANGES: every change, a row with `_weight` (+1 added, -1
    withdrawn), `_epoch` and `_offset`.
    """

    CONTENT = "content"
    CHANGES = "changes"


@dataclass(frozen=True, slots=True)
class Followed:
    """What a sink is told of the view that it follows.

    Args:
        sink: The sink's name, and before it the pipeline's: `shop.spend_postgres`. A store that
            serves several sinks keeps their positions apart by it.
        view: The view's name.
        schema: Its columns.
        key: Columns in which no two of its rows are equal (a null is equal to a null); None where
            equal rows may be there several times. Empty: there is at most one row.
        is_append_only: It never withdraws a row.
    """

    sink: str
    view: str
    schema: Schema
    key: tuple[str, ...] | None = None
    is_append_only: bool = False


class Sink(Protocol):
    """A store that follows a view.

    Order of calls: `position` first; then `write` for adjoining ranges from that position on. After
    a `write` that failed, and after a crash, `position` is asked again and says what arrived. Then
    a range from there on is written, which may end elsewhere than the one that failed. All calls
    are made from one thread at a time.
    """

    def position(self) -> int:
        """The offset up to which the store has the changes; 0 when it has none.

        Raises:
            ConnectorError: The store cannot be reached; it is asked again later.
            DefinitionError: The store cannot take this view, and trying again is no use.
        """
        ...

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        """Store the changes of [offset_from, offset_to), together with the new position.

        When the store is not at `offset_from` (another process wrote to it, or an earlier write has
        arrived after all) nothing is stored.

        Args:
            changes: The view's columns, then `_weight`, `_epoch` and `_offset`. Whole epochs, never
                empty.

        Raises:
            ConnectorError: The store did not take them, or did not say so, or is not at
                `offset_from`.
            StateError: Trying again is no use: the store is not as the sink left it, or refuses a
                value.
        """
        ...

    def close(self) -> None:
        """Let go of the store. May be called twice, and after any failure."""
        ...
