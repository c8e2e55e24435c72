"""Let a sink pull a view's changes, at the sink's own pace.

Each sink has a thread of its own that reads published changes by offset; nothing upstream waits for
it. A store that fails is tried again with growing pauses for as long as it takes, and its state
says so. After a write that failed the store is asked for its position: the write may have happened
all the same. Changes are gathered until there are enough for one write, or until the oldest has
waited long enough.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from headwater.clock import Clock
from headwater.connectors.sink import Sink
from headwater.errors import ConnectorError, HeadwaterError
from headwater.plan.pipeline import SinkDefinition
from headwater.runtime.status import SinkStatus
from headwater.runtime.view import ViewRunner

_T = TypeVar("_T")
_HEALTHY = ("starting", "running", "stopped")
_PAUSE_FIRST_SECONDS = 0.1
_PAUSE_MOST_SECONDS = 30.0


class SinkRunner:
    """Keeps one sink.

    Args:
        published: Notified when the view may have more changes.
        committed: The offset up to which the view's changes are committed.
        rows_max: So many waiting changes are written at once.
        every_seconds: Fewer are written when the oldest has waited so long.
        admit: Refuses a position that cannot be one of this view, by a `DefinitionError`.
    """

    def __init__(  # noqa: PLR0913 - what it joins, and its settings by keyword
        self,
        definition: SinkDefinition,
        view: ViewRunner,
        sink: Sink,
        clock: Clock,
        *,
        published: threading.Condition,
        rows_max: int,
        every_seconds: float,
        admit: Callable[[int], None] = lambda _position: None,
    ) -> None:
        self.definition = definition
        self._view = view
        self._sink = sink
        self._clock = clock
        self._published = published
        self._rows_max = rows_max
        self._every_seconds = every_seconds
        self._admit = admit
        self._position = -1
        self._is_sure = False
        self._state = "starting"
        self._draining = False
        self._stopping = False
        self._thread = threading.Thread(
            target=self._run, name=f"headwater-sink-{definition.name}", daemon=True
        )

    def start(self) -> None:
        """Begin to pull."""
        self._thread.start()

    def stop(self, *, drain: bool = True, timeout: float | None = 30.0) -> None:
        """End; with `drain`, first write all that is published, if the store takes it in time."""
        with self._published:
            self._draining = drain
            self._stopping = True
            self._published.notify_all()
        self._thread.join(timeout)

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None when all is well."""
        if self._state in _HEALTHY:
            return None
        return f"sink {self.definition.name} is {self._state}"

    def status(self) -> SinkStatus:
        """Where the sink stands."""
        position = max(self._position, 0)
        return SinkStatus(
            self.definition.name,
            self.definition.source,
            self.definition.connector,
            position,
            self._view.changes.next_offset() - position,
            self._state,
        )

    def _run(self) -> None:
        try:
            self._pull()
        finally:
            # Also after a bug: a thread that is gone must not be said to run.
            if self._state in _HEALTHY:
                self._state = "stopped"
            self._sink.close()

    def _pull(self) -> None:
        if self._persistently(self._ask) is None:
            return
        waiting_since = self._clock.monotonic()
        while True:
            pending = self._view.changes.next_offset() - self._position
            waited = self._clock.monotonic() - waiting_since
            if not pending:
                waiting_since = self._clock.monotonic()
            if pending >= self._rows_max or (pending and waited >= self._every_seconds):
                if self._persistently(self._write_once) is None:
                    return
                waiting_since = self._clock.monotonic()
            elif self._stopping:
                if not (self._draining and pending):
                    break
                self._every_seconds = 0.0
            else:
                self._wait(pending, self._every_seconds - waited)
            if self._stopping and not self._draining:
                break

    def _ask(self) -> int:
        """Take over the position of the store."""
        position = self._sink.position()
        self._admit(position)
        self._position, self._is_sure = position, True
        return position

    def _write_once(self) -> int:
        """Write what waits, as far as it fits into one write; return the position after it."""
        if not self._is_sure:
            self._ask()
        changes = self._view.changes.read(self._position, self._rows_max)
        if changes.num_rows:
            self._is_sure = False
            offset_to = self._position + changes.num_rows
            self._sink.write(changes, self._position, offset_to)
            self._position, self._is_sure = offset_to, True
        return self._position

    def _wait(self, pending: int, seconds_left: float) -> None:
        with self._published:
            self._published.wait_for(
                lambda: (
                    self._stopping
                    or self._view.changes.next_offset() - self._position
                    >= (self._rows_max if pending else 1)
                ),
                timeout=max(seconds_left, 0.001) if pending else None,
            )

    def _persistently(self, act: Callable[[], _T]) -> _T | None:
        """Try until it works; None when the sink is stopped before, or trying again is no use."""
        pause = _PAUSE_FIRST_SECONDS
        while True:
            try:
                result = act()
            except ConnectorError as error:
                self._state = f"retrying: {error.message}"
            except HeadwaterError as error:
                self._state = f"stopped: {error.message}"
                return None
            else:
                self._state = "running"
                return result
            with self._published:
                if self._published.wait_for(lambda: self._stopping, timeout=pause):
                    return None
            pause = min(pause * 2, _PAUSE_MOST_SECONDS)
