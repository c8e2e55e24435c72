"""What a view or a table holds, for readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from headwater.delta.delta import HASH, OWN, Delta, Int64Array, UInt64Array
from headwater.log.changes import ChangeLog
from headwater.log.columns import WEIGHT as LOGGED_WEIGHT
from headwater.operators.feed import KeyHash
from headwater.operators.operator import Loader, Saver
from headwater.operators.own_key import OwnKey
from headwater.operators.statement import Engine, one_batch, plain
from headwater.plan.nodes import Join, Map, Node, Scan, walk
from headwater.plan.pipeline import ViewPlan
from headwater.plan.unique import Keys, keys_of
from headwater.schema.schema import Schema
from headwater.state.keyed import Keyed
from headwater.state.latest import Found
from headwater.state.piled import Piled
from headwater.state.run import conformed

Batches = Callable[[], Iterable[pa.RecordBatch]]

# After an epoch of at most so many rows some more of the log are hashed ahead.
_SMALL_ROWS = 1 << 14
_AHEAD_ROWS = 1 << 15


@dataclass(frozen=True, slots=True)
class Content:
    """What a view or table held after some epoch; fixed, whatever comes later.

    Args:
        count: Says how many rows there are.
        batches: Gives them, in batches; may be called many times, from any thread.
        find: Of a table, gives the rows of a batch of keys with their hashes; from any thread.
    """

    count: Callable[[], int]
    batches: Batches
    find: Callable[[pa.RecordBatch, UInt64Array], Found] | None = None


class LogContent:
    """The rows of a view that never withdraws one: its log of changes."""

    is_apart = True

    def __init__(self, changes: ChangeLog) -> None:
        self._changes = changes

    def hashed(self, delta: Delta) -> Delta:
        """The delta as it is."""
        return delta

    def add(self, _delta: Delta) -> None:
        """Nothing is to be done: the log has the rows."""

    def content(self) -> Content:
        """The log up to now."""
        changes, until = self._changes, self._changes.next_offset()
        return Content(lambda: until, lambda: changes.batches(until))

    def save(self, _saver: Saver) -> Any:
        """Nothing beside the log."""
        return None

    def load(self, manifest: Any, loader: Loader) -> None:
        """Nothing beside the log."""


class KeptContent:
    """The rows of a view that may withdraw some, equal ones as one.

    Until the first row is withdrawn they are what the log of changes has. A join with a table that
    stands still may never withdraw any, and hashing whole rows, by which they are kept, would
    cost it as much as joining. So the log is hashed when a row is first withdrawn, and before
    that, a piece at a time, after epochs that are small.

    Args:
        hashes: Computes the hash over all columns, for deltas that carry none; None when all do.
        own: What tells the rows apart, where it is known: they are then kept by it.

    """

    def __init__(
        self,
        schema: Schema,
        changes: ChangeLog,
        hashes: KeyHash | None,
        own: OwnKey | None = None,
    ) -> None:
        self._own = own
        self._rows: Piled | Keyed = (
            Piled(schema.arrow, ()) if own is None else Keyed(schema.arrow, own.names)
        )
        self._plain = plain(schema)
        self._changes = changes
        self._hashes = hashes
        self._is_log = hashes is not None
        # Rows that were added, and how many of them, the first, are also in `_rows`; both count
        # only as long as the content is the log.
        self._added = 0
        self._ready = 0

    @property
    def is_apart(self) -> bool:
        """Whether `add` leaves the engine alone, which steps use: rows of the log may be hashed."""
        return not self._is_log

    def hashed(self, delta: Delta) -> Delta:
        """The delta with the hashes that it must have."""
        rows = delta.rows
        if HASH not in rows.schema.names:
            if self._is_log and _only_adds(delta):
                return delta
            assert self._hashes is not None
            rows = rows.append_column(pa.field(HASH, pa.uint64()), self._hashes.of(rows))
        if self._own is not None and rows.num_rows:
            own = pa.array(self._own.hashes(rows))
            rows = rows.append_column(pa.field(OWN, pa.uint64()), own)
        return Delta(rows)

    def add(self, delta: Delta) -> None:
        """Take in what `hashed` returned, after the log has it."""
        if self._is_log and HASH in delta.rows.schema.names:
            self._make_ready(self._added)
            self._is_log = False
        if not self._is_log:
            rows = conformed(delta.rows, self._rows.schema)
            # Rows that cannot cancel others may wait unsorted.
            weights = None if _only_adds(delta) else delta.weights
            self._insert(rows, weights, delta.hashes, delta.own)
            return
        self._added += len(delta)
        if len(delta) <= _SMALL_ROWS:
            self._make_ready(min(self._added, self._ready + _AHEAD_ROWS))

    def content(self) -> Content:
        """What there is now; cheap."""
        if self._is_log:
            changes, until = self._changes, self._added
            return Content(lambda: until, lambda: changes.batches(until))
        snapshot = self._rows.snapshot()
        return Content(lambda: snapshot.rows, lambda: snapshot.table().to_batches())

    def save(self, saver: Saver) -> Any:
        """A JSON value for `load`."""
        log = {"added": self._added, "ready": self._ready} if self._is_log else None
        return {"log": log, "rows": self._rows.save(saver)}

    def load(self, manifest: Mapping[str, Any], loader: Loader) -> None:
        """Take back what `save` handed over."""
        log = manifest["log"]
        self._is_log = log is not None
        if log is not None:
            self._added, self._ready = log["added"], log["ready"]
        if self._own is None or "keyed" in manifest["rows"]:
            self._rows.load(manifest["rows"], loader)
            return
        older = Piled(self._rows.schema, ())
        older.load(manifest["rows"], loader)
        for batch in older.snapshot().table().to_batches():
            self._insert(batch, None, None, self._own.hashes(batch))

    def _insert(
        self,
        rows: pa.RecordBatch | pa.Table,
        weights: Int64Array | None,
        hashes: UInt64Array | None,
        own: UInt64Array | None,
    ) -> None:
        if isinstance(self._rows, Keyed):
            assert own is not None
            self._rows.insert_rows(rows, weights, own)
        else:
            assert hashes is not None
            self._rows.insert_rows(rows, hashes, weights)

    def _make_ready(self, until: int) -> None:
        """Keep the rows of the log up to an offset."""
        assert self._hashes is not None
        names = self._rows.schema.names
        while self._ready < until:
            read = self._changes.read(self._ready, until - self._ready)
            read = read.slice(0, until - self._ready)
            assert bool((read.column(LOGGED_WEIGHT).to_numpy() == 1).all())
            rows = one_batch(read.select(names).cast(self._plain))
            own = None if self._own is None else self._own.hashes(rows)
            hashes = self._hashes.of(rows).to_numpy() if own is None else None
            self._insert(conformed(rows, self._rows.schema), None, hashes, own)
            self._ready += rows.num_rows


def _only_adds(delta: Delta) -> bool:
    return delta.weights is None or bool((delta.weights == 1).all())


def content_of(
    plan: ViewPlan,
    changes: ChangeLog,
    engine: Engine,
    *,
    has_hash: bool,
    relations: Mapping[str, Keys] = MappingProxyType({}),
) -> LogContent | KeptContent:
    """What keeps the rows of a view.

    Args:
        has_hash: Whether the view's deltas carry the hash over all columns.
        relations: The keys of the relations that are read, by name.

    """
    if plan.root.append_only:
        return LogContent(changes)
    hashes = None if has_hash else KeyHash(list(plan.schema.names), plan.schema, engine)
    keys = keys_of(plan.root, relations) if _is_of_tables(plan.root) else ()
    own = OwnKey(min(keys, key=len), plan.schema, engine) if keys else None
    return KeptContent(plan.schema, changes, hashes, own)


def _is_of_tables(root: Node) -> bool:
    """Whether a view has the rows of relations as they are, or side by side.

    Of groups there are fewer, and an epoch is small: to hash their keys as well costs it more than
    to compare them.
    """
    return all(isinstance(node, Scan | Map | Join) for node in walk(root))
