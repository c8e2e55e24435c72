"""What a sink is: it takes a view's changes into a store, each exactly once."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa


class Sink(Protocol):
    """A store that follows a view.

    Order of calls: `position` first; then `write` for adjoining ranges from that position on. After
    a crash `position` says what arrived, and the range that may or may not have is written again.
    """

    def position(self) -> int:
        """The offset up to which the store has the changes; 0 when it has none.

        Raises:
            ConnectorError: The store cannot be reached.
        """
        ...

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        """Store the changes of [offset_from, offset_to), together with the new position.

        Args:
            changes: The view's columns, then `_weight`, `_epoch` and `_offset`.

        Raises:
            ConnectorError: The store did not take them, or did not say so. The same range is
                written again later; it must then count once.
        """
        ...
