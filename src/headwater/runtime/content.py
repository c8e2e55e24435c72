"""What a view or a table holds, for readers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, OWN, Delta, Int64Array, UInt64Array
from headwater.log.changes import ChangeLog
from headwater.log.columns import EPOCH
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
# So many are read at once where many are.
_STRETCH_ROWS = 1 << 20


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
    cost it as much as joining. So the log is hashed a piece at a time: before a row is withdrawn
    after epochs that are small, and from then on after each epoch more than came with it, until
    its end is reached. From there on what comes is kept as it comes. Whoever reads before that has
    the log hashed for itself.

    Args:
        hashes: Computes the hash over all columns, for deltas that carry none; None when all do.
        own: What tells the rows apart, where it is known: they are then kept by it.
        another: Makes another of the same log that holds nothing yet, with the engine given.

    """

    def __init__(
        self,
        schema: Schema,
        changes: ChangeLog,
        hashes: KeyHash | None,
        own: OwnKey | None = None,
        *,
        another: Callable[[Engine], KeptContent],
    ) -> None:
        self._own = own
        self._rows: Piled | Keyed = (
            Piled(schema.arrow, ()) if own is None else Keyed(schema.arrow, own.names)
        )
        self._plain = plain(schema)
        self._changes = changes
        self._hashes = hashes
        self._another = another
        self._is_log = hashes is not None
        # Of the log: how many changes were made, how many of the first of them only add rows, and
        # how many, the first, are in `_rows`; and how many rows there are. None of it counts any
        # more once all changes are in `_rows`.
        self._until = 0
        self._added = 0
        self._ready = 0
        self._count = 0

    @property
    def is_apart(self) -> bool:
        """Whether `add` leaves the engine alone, which steps use: rows of the log may be hashed."""
        return not self._is_log and not self._is_behind

    @property
    def _is_behind(self) -> bool:
        """Whether rows were withdrawn, and `_rows` does not have all of the log yet."""
        return not self._is_log and self._ready < self._until

    def hashed(self, delta: Delta) -> Delta:
        """The delta with the hashes that it must have.

        Those of whole rows are what an epoch's checksum adds up, so that whether there are any
        depends on the rows alone, and not on how far the log was read.
        """
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
        weights = None if _only_adds(delta) else delta.weights
        if self.is_apart:
            rows = conformed(delta.rows, self._rows.schema)
            # Rows that cannot cancel others may wait unsorted.
            self._insert(rows, weights, delta.hashes, delta.own)
            return
        self._until += len(delta)
        self._count += len(delta) if weights is None else int(weights.sum())
        if self._is_log and weights is None:
            self._added = self._until
            if len(delta) <= _SMALL_ROWS:
                self._read_on(_AHEAD_ROWS)
            return
        self._is_log = False
        self._read_on(max(_AHEAD_ROWS, 2 * len(delta)))

    def content(self) -> Content:
        """What there is now; cheap."""
        changes, until, count = self._changes, self._until, self._count
        if self._is_log:
            return Content(lambda: until, lambda: changes.batches(until))
        if self._is_behind:
            return Content(lambda: count, _Reread(self._another, until).batches)
        snapshot = self._rows.snapshot()
        return Content(lambda: snapshot.rows, lambda: snapshot.table().to_batches())

    def reread(self, until: int) -> pa.Table:
        """The rows that the log's first changes come to, up to an offset where an epoch begins."""
        self._until, self._is_log = until, False
        self._read_on(until)
        return self._rows.snapshot().table()

    def save(self, saver: Saver) -> Any:
        """A JSON value for `load`."""
        log = {"added": self._added, "ready": self._ready}
        if not self._is_log:
            log |= {"until": self._until, "count": self._count}
        return {
            "log": None if self.is_apart else log,
            "rows": self._rows.save(saver),
        }

    def load(self, manifest: Mapping[str, Any], loader: Loader) -> None:
        """Take back what `save` handed over."""
        log = manifest["log"]
        self._is_log = log is not None and "until" not in log
        if log is not None:
            self._added, self._ready = log["added"], log["ready"]
            self._until = log.get("until", self._added)
            self._count = log.get("count", self._added)
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

    def _read_on(self, rows: int) -> None:
        """Take in so many more changes of the log, or a few more: those of whole epochs."""
        until = min(self._ready + rows, self._until)
        while self._ready < until:
            if self._ready < self._added:
                # Where none is withdrawn they may be cut anywhere.
                most = min(until - self._ready, self._added - self._ready, _STRETCH_ROWS)
                self._take(self._changes.read(self._ready, most).slice(0, most))
                continue
            read = self._changes.read(self._ready, min(until - self._ready, _STRETCH_ROWS))
            epochs = read.column(EPOCH).to_numpy()
            starts = [0, *(np.flatnonzero(np.diff(epochs)) + 1).tolist(), len(epochs)]
            for start, end in pairwise(starts):
                self._take(read.slice(start, end - start))

    def _take(self, read: pa.Table) -> None:
        """Take in the next changes of the log."""
        assert self._hashes is not None
        rows = one_batch(read.select(self._rows.schema.names).cast(self._plain))
        weights = np.asarray(read.column(LOGGED_WEIGHT).to_numpy())
        own = None if self._own is None else self._own.hashes(rows)
        hashes = self._hashes.of(rows).to_numpy() if own is None else None
        only_adds = bool((weights == 1).all())
        self._insert(
            conformed(rows, self._rows.schema), None if only_adds else weights, hashes, own
        )
        self._ready += rows.num_rows


class _Reread:
    """The rows that the changes of a view come to, computed when somebody first asks."""

    def __init__(self, another: Callable[[Engine], KeptContent], until: int) -> None:
        self._another = another
        self._until = until
        self._lock = threading.Lock()
        self._found: pa.Table | None = None

    def batches(self) -> Iterable[pa.RecordBatch]:
        """The rows, in batches."""
        with self._lock:
            if self._found is None:
                # Whoever asks does not have the engine of the steps.
                with Engine() as engine:
                    self._found = self._another(engine).reread(self._until)
            found: list[pa.RecordBatch] = self._found.to_batches()
            return found


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
    schema = plan.schema
    keys = keys_of(plan.root, relations) if _is_of_tables(plan.root) else ()

    def kept(engine: Engine) -> KeptContent:
        hashes = None if has_hash else KeyHash(list(schema.names), schema, engine)
        own = OwnKey(min(keys, key=len), schema, engine) if keys else None
        return KeptContent(schema, changes, hashes, own, another=kept)

    return kept(engine)


def _is_of_tables(root: Node) -> bool:
    """Whether a view has the rows of relations as they are, or side by side.

    Of groups there are fewer, and an epoch is small: to hash their keys as well costs it more than
    to compare them.
    """
    return all(isinstance(node, Scan | Map | Join) for node in walk(root))
