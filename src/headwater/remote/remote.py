"""A pipeline that runs in another process, as Python sees it: `headwater.connect`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from headwater.remote.client import DEFAULT_URL, Client, path
from headwater.runtime.consumer import (
    LEASE_SECONDS,
    ROWS_MAX,
    Commit,
    Consumer,
    Portion,
    Wish,
    joined,
)

_ARROW = "application/vnd.apache.arrow.stream"


class Remote:
    """A running pipeline, reached over HTTP. Safe to use from many threads.

    Not made by hand: see `headwater.connect`.
    """

    def __init__(self, url: str = DEFAULT_URL) -> None:
        self._client = Client(url)
        self.url = url

    def consumer(  # noqa: PLR0913 - what it reads, and how, by keyword
        self,
        group: str,
        relation: str,
        *,
        from_: str | datetime = "start",
        rows_max: int = ROWS_MAX,
        newest: bool | str | Sequence[str] = False,
        wait_seconds: float | None = None,
        member: str | None = "",
        lease_seconds: float = LEASE_SECONDS,
    ) -> Consumer:
        """One member of a consumer group; the same as `Live.consumer`."""
        return joined(
            _HttpDoor(self._client),
            group,
            relation,
            from_=from_,
            rows_max=rows_max,
            newest=newest,
            wait_seconds=wait_seconds,
            member=member,
            lease_seconds=lease_seconds,
        )

    def query(self, sql: str) -> pa.Table:
        """Answer one SELECT; the same as `Live.query`."""
        return _table(b"".join(self._client.ask(sql, _ARROW)))

    def status(self) -> dict[str, Any]:
        """Everything there is to know of the pipeline, as `GET /status` says it."""
        found: dict[str, Any] = self._client.get("/status")
        return found


def connect(url: str = DEFAULT_URL) -> Remote:
    """A pipeline that runs in another process.

    Args:
        url: Where it listens. Nothing is asked of it yet.

    Raises:
        ConnectorError: That is no URL of a pipeline.
    """
    return Remote(url)


class _HttpDoor:
    """The consumer groups of a pipeline, over HTTP."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, group: str, relation: str, start: str) -> None:
        self._client.put(path("consumers", group, relation), from_=start)

    def read(self, group: str, relation: str, wish: Wish) -> Portion:
        asked = {
            "limit": wish.rows_max,
            "wait": wish.wait_seconds,
            "partition": wish.partition,
            "after": ",".join(map(str, wish.after)) or None,
            "newest": "true" if wish.newest else None,
            "key": ",".join(wish.key) or None,
            "member": wish.member,
            "lease": wish.lease_seconds,
        }
        headers, body = self._client.read(path("consumers", group, relation), _ARROW, **asked)
        told = {name.lower(): value for name, value in headers.items()}

        def number(name: str) -> int:
            return int(told[f"headwater-{name}"])

        return Portion(
            partition=number("partition"),
            committed=number("committed"),
            start=number("from"),
            position=number("position"),
            end=number("end"),
            lost=number("lost"),
            rows=_table(body),
        )

    def commit(self, group: str, relation: str, commit: Commit) -> None:
        body = {
            "position": commit.position,
            "partition": commit.partition,
            "from": commit.start,
            "member": commit.member,
        }
        self._client.tell(path("consumers", group, relation, "commit"), body)

    def seek(self, group: str, relation: str, start: str) -> None:
        self._client.tell(path("consumers", group, relation, "seek"), {"from": start})

    def release(self, group: str, relation: str, member: str) -> None:
        self._client.tell(path("consumers", group, relation, "release"), {"member": member})


def _table(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()
