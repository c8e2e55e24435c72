"""Send a year into a running pipeline, at the pace that was asked for.

Time runs through the year at a constant rate; every moment's rows are sent as one batch per topic.
What a topic already holds is not sent again, so a replay that was stopped or killed goes on where
it was: the number of a topic's rows is the place in its stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from headwater.clock import Clock
from headwater.demo.year import Year

if TYPE_CHECKING:
    import pyarrow as pa

    from headwater.runtime.status import Receipt, Status

TICK_SECONDS = 0.1
SETTLE_SECONDS = 0.25
# As fast as possible: about 6,500 departures a batch.
STRIDE_US = 7 * 86_400 * 1_000_000
# The last windows are over, and what may still correct them has passed.
CLOSING = timedelta(days=2)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Target(Protocol):
    """The part of a running pipeline that a replay needs."""

    def send(self, topic: str, rows: pa.Table) -> Receipt:
        """Append rows; return when they are durable."""
        ...

    def advance(self, topic: str, until: datetime) -> None:
        """Say that no event before `until` will come."""
        ...

    def settle(self, timeout: float | None = None) -> None:
        """Return when all that was sent is computed, or raise TimeoutError."""
        ...

    def status(self) -> Status:
        """What the pipeline says of itself."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a replay is.

    Args:
        now_us: The simulated time.
        share: How much of the year has passed, from 0 to 1.
        sent: Rows of streams in the topics.

    """

    now_us: int
    share: float
    sent: int


@dataclass(slots=True)
class Replay:
    """One replay of a year.

    Args:
        seconds: How long the whole year takes; 0 is as fast as possible.
        pause: Waits so many seconds.

    """

    target: Target
    year: Year
    seconds: float
    clock: Clock
    pause: Callable[[float], object]

    def moments(self) -> Iterator[Moment]:
        """Send the year, moment by moment, and close it; whoever iterates may stop."""
        sent = self._sent_before()
        self._send_tables()
        for now_us in self._times(self._resume_us(sent)):
            for stream in self.year.streams:
                first, last = sent[stream.topic], stream.count_until(now_us)
                if last > first:
                    self.target.send(stream.topic, stream.rows.slice(first, last - first))
                    sent[stream.topic] = last
            yield Moment(now_us, self._share(now_us), sum(sent.values()))
        self._close()
        while not self._is_settled():
            yield Moment(self.year.end_us, 1.0, sum(sent.values()))

    def _sent_before(self) -> dict[str, int]:
        rows = {topic.name: topic.rows for topic in self.target.status().topics}
        return {stream.topic: rows[stream.topic] for stream in self.year.streams}

    def _send_tables(self) -> None:
        held = {topic.name: topic.rows for topic in self.target.status().topics}
        for name, table in self.year.tables:
            if held[name] < table.num_rows:
                self.target.send(name, table.slice(held[name]))

    def _resume_us(self, sent: dict[str, int]) -> int:
        """When the first row that is not yet sent enters."""
        ahead = [
            int(stream.entries_us[sent[stream.topic]])
            for stream in self.year.streams
            if sent[stream.topic] < len(stream.entries_us)
        ]
        return min(ahead, default=self.year.end_us)

    def _times(self, start_us: int) -> Iterator[int]:
        """The simulated times up to which rows are sent, one after the other, up to the end."""
        end_us = self.year.end_us
        now_us = start_us
        began = self.clock.monotonic()
        while now_us < end_us:
            if self.seconds:
                self.pause(TICK_SECONDS)
                passed = (self.clock.monotonic() - began) / self.seconds
                now_us = start_us + round(passed * (end_us - self.year.start_us))
            else:
                now_us += STRIDE_US
            now_us = min(now_us, end_us)
            yield now_us

    def _share(self, now_us: int) -> float:
        return (now_us - self.year.start_us) / (self.year.end_us - self.year.start_us)

    def _close(self) -> None:
        """The year is over: nothing of it will still come, so every window closes."""
        over = EPOCH + timedelta(microseconds=self.year.end_us) + CLOSING
        for stream in self.year.streams:
            self.target.advance(stream.topic, over)

    def _is_settled(self) -> bool:
        """Wait a moment for all that was sent to be computed."""
        try:
            self.target.settle(SETTLE_SECONDS)
        except TimeoutError:
            return False
        return True
