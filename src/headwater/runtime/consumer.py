"""A consumer: one member of a group, which reads a relation at its own pace.

It asks for the next rows and says up to where they are done; whom it asks is a `Door`: the pipeline
in this process, or one elsewhere over HTTP. What it has read and not yet confirmed it does not ask
for again; who comes after it does.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

ROWS_MAX = 10_000
LEASE_SECONDS = 30.0
# How long one question waits; also how soon the end of the pipeline is noticed.
_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Args:
        rows_max: About how many rows; whole epochs of a view.
        wait_seconds: How long to wait for the first.
        partition: Only of this partition.
        after: For each partition, read from here on, and not from where the group stands.
        newest: Only the newest row of each key.
        key: The columns of the key; empty for those that are known of the relation.
        member: Who asks, so that no other member is given the same rows; None for nobody in
            particular.
        lease_seconds: For so long.

    """

    rows_max: int = ROWS_MAX
    wait_seconds: float = 0.0
    partition: int | None = None
    after: tuple[int, ...] = ()
    newest: bool = False
    key: tuple[str, ...] = ()
    member: str | None = None
    lease_seconds: float = LEASE_SECONDS


@dataclass(frozen=True, slots=True)
class Portion:
    """What was given.

    Args:
        partition: Of which partition the rows are.
        committed: Where the group stood in it.
        start: Where the reading began.
        position: Where to read on, and what to commit when the rows are done.
        end: The offset after the last row that is there.
        lost: Rows before the first that is kept, and therefore not given.
        rows: With the hidden columns of topics or of views' changes; may be empty.

    """

    partition: int
    committed: int
    start: int
    position: int
    end: int
    lost: int
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Commit:
    """All rows of a partition before a position are done.

    Args:
        position: That position.
        start: Where the group stood when they were read; None: anywhere before.
        member: Who says so.

    """

    position: int
    partition: int = 0
    start: int | None = None
    member: str | None = None


class Door(Protocol):
    """Whom a consumer asks. The pipeline in this process is one."""

    def create(self, group: str, relation: str, start: str) -> Any:
        """Let a group read a relation, if it does not yet."""
        ...

    def read(self, group: str, relation: str, wish: Wish) -> Portion | None:
        """The next rows; None where the pipeline has ended."""
        ...

    def commit(self, group: str, relation: str, commit: Commit) -> Any:
        """Confirm rows; durable on return."""
        ...

    def seek(self, group: str, relation: str, start: str) -> Any:
        """Put a group elsewhere, also back; durable on return."""
        ...

    def release(self, group: str, relation: str, member: str) -> None:
        """Let other members have what this one has in hand."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that a consumer was given.

    Args:
        rows: A `pyarrow.Table`, with `_partition`, `_offset` and `_arrived`, or `_weight`, `_epoch`
            and `_offset`.
        position: The position after them.
        lag: Rows of the partition that come after them.
        lost: Rows that should have come before them, and were removed by retention.

    """

    rows: pa.Table
    partition: int
    position: int
    lag: int
    lost: int
    _consumer: Consumer = field(repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def commit(self) -> None:
        """These rows, and all before them, are done; durable on return.

        Raises:
            ConflictError: The group was put elsewhere, or another member confirmed these rows.

        """
        self._consumer._commit(self)


_NUMBERS = itertools.count(1)


def joined(  # noqa: PLR0913 - what it reads, and how, by keyword
    door: Door,
    group: str,
    relation: str,
    *,
    from_: str | datetime,
    rows_max: int,
    newest: bool | str | Sequence[str],
    wait_seconds: float | None,
    member: str | None,
    lease_seconds: float,
) -> Consumer:
    """A new member of a group, which is made if there is none. See `Live.consumer`."""
    if member == "":
        # Unlike that of any other member, also of one that had this process's id before.
        member = f"{socket.gethostname()}-{os.getpid()}-{next(_NUMBERS)}-{os.urandom(3).hex()}"
    key = (newest,) if isinstance(newest, str) else () if newest is True else tuple(newest or ())
    wish = Wish(
        rows_max=rows_max,
        newest=newest is True or bool(key),
        key=key,
        member=member,
        lease_seconds=lease_seconds,
    )
    start = from_ if isinstance(from_, str) else from_.isoformat()
    door.create(group, relation, start)
    return Consumer(door, group, relation, wish, wait_seconds=wait_seconds)


class Consumer:
    """One member of a consumer group; iterating gives batches. For one thread.

    Not made by hand: see `Live.consumer` and `headwater.connect`. The end of a `with` statement, or
    `close`, lets other members have what it has in hand.
    """

    def __init__(
        self,
        door: Door,
        group: str,
        relation: str,
        wish: Wish,
        *,
        wait_seconds: float | None,
    ) -> None:
        self.group = group
        self.relation = relation
        self._door = door
        self._wish = wish
        self._wait_seconds = wait_seconds
        self._committed: dict[int, int] = {}
        self._read_to: dict[int, int] = {}

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        """Batches, none empty, until nothing comes for `wait_seconds`, or the pipeline ends."""
        while (batch := self.next_batch()) is not None:
            yield batch

    def next_batch(self) -> Batch | None:
        """The next rows; None when there are none within `wait_seconds`."""
        left = self._wait_seconds
        while True:
            wait = _WAIT_SECONDS if left is None else min(left, _WAIT_SECONDS)
            portion = self._ask(wait)
            if portion is None:
                return None
            if portion.position > portion.start:
                return self._taken(portion)
            if left is not None:
                left -= wait
                if left <= 0:
                    return None

    def seek(self, from_: str) -> None:
        """Put the whole group elsewhere: `start`, `now`, or a time. Durable on return."""
        self._door.seek(self.group, self.relation, from_)
        self._committed.clear()
        self._read_to.clear()

    def close(self) -> None:
        """Let other members of the group have what was not confirmed."""
        if self._wish.member is not None:
            self._door.release(self.group, self.relation, self._wish.member)

    def _ask(self, wait_seconds: float) -> Portion | None:
        after = tuple(self._read_to.get(n, 0) for n in range(max(self._read_to, default=-1) + 1))
        asked = replace(self._wish, wait_seconds=wait_seconds, after=after)
        return self._door.read(self.group, self.relation, asked)

    def _taken(self, portion: Portion) -> Batch:
        self._read_to[portion.partition] = portion.position
        if portion.partition not in self._committed or portion.start == portion.committed:
            self._committed[portion.partition] = portion.committed
        return Batch(
            portion.rows,
            portion.partition,
            portion.position,
            portion.end - portion.position,
            portion.lost,
            self,
        )

    def _commit(self, batch: Batch) -> None:
        commit = Commit(
            batch.position,
            batch.partition,
            self._committed[batch.partition],
            self._wish.member,
        )
        self._door.commit(self.group, self.relation, commit)
        self._committed[batch.partition] = batch.position
