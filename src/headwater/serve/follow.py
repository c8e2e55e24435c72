"""Follow a view: server-sent events, from any offset, for as long as the client stays.

A follower that is behind reads pages of its own; one that has caught up waits with all the others
of its view, for whom one thread asks the service. So a thousand followers of a view cost one
waiting thread, and one encoding of each new page. A follower holds at most one page: one that
reads slowly waits in its own socket and slows nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from headwater.errors import HeadwaterError
from headwater.schema.encode import to_ndjson
from headwater.serve.failures import detail_of
from headwater.serve.pools import Pools, Work
from headwater.serve.service import Service

PAGE_ROWS = 1_000
# How long one call to the service waits; also how soon a stop is noticed.
WAIT_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
_KEEP_ALIVE = b": still here\n\n"


@dataclass(frozen=True, slots=True)
class Page:
    """Changes `[offset_first, offset_next)` as events. Empty when the two are equal."""

    offset_first: int
    offset_next: int
    events: bytes


class Followers:
    """All who follow some view of a service."""

    def __init__(self, service: Service, pools: Pools) -> None:
        self._service = service
        self._pools = pools
        self._tails: dict[str, _Tail] = {}
        self._closed = asyncio.Event()

    def close(self) -> None:
        """End every stream."""
        self._closed.set()
        for tail in self._tails.values():
            tail.wake()

    async def first_page(self, view: str, offset: int) -> Page:
        """What is there now; raises what the service raises."""
        return await self._page(Work.READ, view, offset, 0.0)

    async def events(self, view: str, page: Page) -> AsyncIterator[bytes]:
        """The stream of events, beginning with `page`."""
        yield b"retry: 1000\n\n"
        tail = self._tails.setdefault(view.lower(), _Tail())
        try:
            while not self._closed.is_set():
                if page.events:
                    yield page.events
                elif not await self._grown(tail, view, page.offset_next):
                    yield _KEEP_ALIVE
                    continue
                if not self._closed.is_set():
                    page = await self._next(tail, view, page.offset_next)
        except HeadwaterError as error:
            yield b"event: error\ndata: " + detail_of(error).model_dump_json().encode() + b"\n\n"

    async def _next(self, tail: _Tail, view: str, offset: int) -> Page:
        if tail.newest is not None and tail.newest.offset_first == offset:
            return tail.newest
        return await self._page(Work.READ, view, offset, 0.0)

    async def _grown(self, tail: _Tail, view: str, offset: int) -> bool:
        """Wait until the view may have grown beyond `offset`; False: nothing came for long."""
        with tail.crowd.waiting_at(offset) as grown:
            if tail.watcher is None:
                tail.watcher = asyncio.create_task(self._watch(tail, view))
            try:
                await asyncio.wait_for(grown.wait(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                return False
        return True

    async def _watch(self, tail: _Tail, view: str) -> None:
        """Ask the service for all who wait, while anybody does."""
        try:
            while tail.crowd.offsets and not self._closed.is_set():
                page = await self._page(Work.TAIL, view, min(tail.crowd.offsets), WAIT_SECONDS)
                if page.events:
                    tail.newest = page
                    tail.wake()
        except HeadwaterError:
            # Each follower asks for itself when it wakes, and tells its client what is wrong.
            tail.wake()
        finally:
            tail.watcher = None

    async def _page(self, kind: Work, view: str, offset: int, wait_seconds: float) -> Page:
        return await self._pools.run(kind, self._read, view, offset, wait_seconds)

    def _read(self, view: str, offset: int, wait_seconds: float) -> Page:
        changes = self._service.changes(view, offset, PAGE_ROWS, wait_seconds)
        if changes.num_rows > PAGE_ROWS:
            # An epoch may hold a million changes; what a follower holds at a time stays small.
            changes = changes.slice(0, PAGE_ROWS)
        return page_of(changes, offset)


class _Crowd:
    """Those who wait for the same change: at which offsets, and the event that wakes them."""

    def __init__(self) -> None:
        self.offsets: Counter[int] = Counter()
        self._grown = asyncio.Event()

    def wake(self) -> None:
        self._grown.set()

    @contextmanager
    def waiting_at(self, offset: int) -> Iterator[asyncio.Event]:
        self.offsets[offset] += 1
        try:
            yield self._grown
        finally:
            self.offsets[offset] -= 1
            self.offsets += Counter()  # drops the zeros


class _Tail:
    """The end of one view, and those who wait there."""

    def __init__(self) -> None:
        self.crowd = _Crowd()
        self.newest: Page | None = None
        self.watcher: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Wake all who wait; who comes from now on waits for the next change."""
        self.crowd.wake()
        self.crowd = _Crowd()


def page_of(changes: pa.Table, offset: int) -> Page:
    """Changes as events: the id is the offset to resume from, the data the row."""
    if not changes.num_rows:
        return Page(offset, offset, b"")
    offsets = changes.column("_offset").to_pylist()
    rows = to_ndjson(changes).splitlines()
    events = b"".join(
        b"id: %d\ndata: %s\n\n" % (at + 1, row) for at, row in zip(offsets, rows, strict=True)
    )
    return Page(offset, offsets[-1] + 1, events)
