"""A store with transactions, as a database is one, and the sink that writes to it.

It holds the rows of a view and the sink's position, and changes both in one step. A write may not
arrive; it may arrive and the answer be lost; or it may arrive long after its client gave it up,
perhaps in another life. The store takes it only if it is where the write begins.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pyarrow as pa

from headwater.errors import ConnectorError
from headwater.testing.turns import Turns


@dataclass(slots=True)
class Content:
    """What a store has of one view.

    Args:
        rows: As they stand, by their values.
        late: A write that is under way, though nobody waits for it: where it begins and ends, and
            what it changes.

    """

    position: int = 0
    rows: Counter[tuple] = field(default_factory=Counter)
    late: tuple[int, int, list[tuple[tuple, int]]] | None = None


@dataclass(slots=True)
class Store:
    """What a store has of all views, by name.

    Args:
        is_well: It does what it is asked, and answers.

    """

    contents: dict[str, Content] = field(default_factory=dict)
    is_well: bool = False

    def of(self, view: str) -> Content:
        """What it has of a view."""
        return self.contents.setdefault(view, Content())

    def empty(self, view: str) -> None:
        """The view's author empties it: the view is another."""
        self.contents.pop(view, None)


class StoreSink:
    """Writes a view's content to a store. It has the methods of a `Sink`.

    Args:
        random: Decides what becomes of a call.

    """

    def __init__(self, store: Store, view: str, turns: Turns, random: Random) -> None:
        self._store = store
        self._content = store.of(view)
        self._turns = turns
        self._random = random

    def position(self) -> int:
        """See `Sink`."""
        self._reach()
        return self._content.position

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        """See `Sink`."""
        columns = [name for name in changes.column_names if not name.startswith("_")]
        rows = zip(*(changes.column(name).to_pylist() for name in columns), strict=True)
        change = list(zip(rows, changes.column("_weight").to_pylist(), strict=True))
        self._reach()
        what = 1.0 if self._store.is_well else self._random.random()
        if what < 0.1:
            self._content.late = (offset_from, offset_to, change)
            raise ConnectorError("the store does not answer")
        if not self._commit(offset_from, offset_to, change):
            at = self._content.position
            raise ConnectorError(f"the store is at {at}, not at {offset_from}")
        if what < 0.2:
            raise ConnectorError("the store answered, and the answer was lost")

    def close(self) -> None:
        """See `Sink`."""

    def _reach(self) -> None:
        """A call on its way: others go on meanwhile, and what is late may come in before it."""
        self._turns.sleep(self._random.choice([0.0, 0.001, 0.3]))
        if self._content.late is not None and self._random.random() < 0.5:
            late, self._content.late = self._content.late, None
            self._commit(*late)
        if self._random.random() < 0.1 and not self._store.is_well:
            raise ConnectorError("the store is away")

    def _commit(self, offset_from: int, offset_to: int, change: list[tuple[tuple, int]]) -> bool:
        if self._content.position != offset_from:
            return False
        for row, weight in change:
            self._content.rows[row] += weight
        self._content.position = offset_to
        return True
