"""Run a pipeline in the foreground, with progress, until Ctrl-C or the end of the input.

When the disk is full nothing more is taken, and what is there can still be read. Once there is room
the pipeline is opened anew, at the same address, as after a kill: so it goes on by itself, and what
was acknowledged is there once.
"""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from headwater.connectors.files import Form, opened
from headwater.errors import NoRoomError
from headwater.run.live import Live
from headwater.runtime.runtime import Settings
from headwater.runtime.status import Status
from headwater.schema.duration import format_time

if TYPE_CHECKING:
    from headwater.run.app import App

_TERMINAL_SECONDS = 0.5
_PLAIN_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_REJECTIONS_SHOWN = 5


def run_in_foreground(  # noqa: PLR0913 - the settings of `App.run`
    app: App,
    data: Path,
    *,
    listen: str | None,
    bounded: bool,
    inputs: Mapping[str, str | Path],
    rebuild: bool,
    memory_bytes: int | None,
) -> None:
    """Run `app` over the folder `data`. See `App.run`."""
    progress = Progress(sys.stderr)
    settings = Settings(rebuild=rebuild, memory_bytes=memory_bytes, report=progress.work)
    with app.start(data, listen=None if bounded else listen, settings=settings) as live:
        _introduce(live, app.name, data)
        stop = _stop_on_signals()
        for topic, path in inputs.items():
            _load(live, topic, Path(path), progress, stop)
        if bounded:
            _settle(live, progress, stop)
            live.finish()
            progress.finished(live.status())
            return
        address = live.address
        has_ended = _show(live, progress, stop)
    while not has_ended:
        progress.leave()
        sys.stderr.write(f"there is room again for {data}: going on\n")
        with app.start(data, listen=address, settings=settings) as live:
            _introduce(live, app.name, data)
            has_ended = _show(live, progress, stop)


def _show(live: Live, progress: Progress, stop: threading.Event) -> bool:
    """Show how it goes until it is to end; False when it is to be opened anew, and is closed."""
    looks = round(progress.interval / _LOOK_SECONDS)
    for look in itertools.count(1):
        if stop.wait(_LOOK_SECONDS):
            break
        if look % looks == 0:
            progress.show(live.status())
        if live.can_reopen:
            progress.show(live.status())
            # What did not fit was said, to its sender and here.
            with suppress(NoRoomError):
                live.close()
            return False
    progress.end(live.status())
    return True


class Progress:
    """A line that says how it goes: in place on a terminal, now and then elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._width = 0
        self._told: set[str] = set()
        self._tenth = ("", -1)
        self.interval = _TERMINAL_SECONDS if self._is_terminal else _PLAIN_SECONDS

    def show(self, status: Status) -> None:
        """Show where a pipeline stands."""
        self._line(line_of(status))
        self._tell(status)

    def work(self, what: str, done: int, total: int) -> None:
        """Show how far long work has come."""
        if self._is_news(what, done, total):
            self._line(f"{what}: {done:,} of {total:,} ({_percent(done, total)} %)")

    def loaded(self, what: str, rows: int, done: int, total: int) -> None:
        """Show how much of a file is taken; `done` and `total` are in the file's own unit."""
        if self._is_news(what, done, total):
            self._line(f"{what}: {rows:,} rows ({_percent(done, total)} %)")

    def finished(self, status: Status) -> None:
        """Say that all input is computed, and leave the line."""
        rows = sum(topic.rows for topic in status.topics)
        self._line(f"{rows:,} events in, epoch {status.epoch:,}, every window is closed")
        self._tell(status)
        self.leave()

    def end(self, status: Status) -> None:
        """Show the last state, and leave the line."""
        self.show(status)
        self.leave()

    def leave(self) -> None:
        """What is written next begins a line."""
        if self._is_terminal and self._width:
            self._out.write("\n")
            self._width = 0
        self._out.flush()

    def _is_news(self, what: str, done: int, total: int) -> bool:
        """Always on a terminal, where a line is written over; elsewhere each tenth of the work."""
        tenth = (what, _percent(done, total) // 10)
        is_news = self._is_terminal or tenth != self._tenth
        self._tenth = tenth
        return is_news

    def _tell(self, status: Status) -> None:
        """Name each problem once, however long it lasts; again if it comes back."""
        new = [problem for problem in status.problems if problem not in self._told]
        self._told = set(status.problems)
        if new:
            self.leave()
            self._out.writelines(f"{problem}\n" for problem in new)
            self._out.flush()

    def _line(self, text: str) -> None:
        if self._is_terminal:
            self._out.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._out.write(text + "\n")
        self._out.flush()


def _percent(done: int, total: int) -> int:
    return 100 * done // total if total else 100


def line_of(status: Status) -> str:
    """One line: events in, rate, lag, watermark."""
    rows = sum(topic.rows for topic in status.topics)
    watermarks = [t.watermark_us for t in status.topics if t.watermark_us is not None]
    at = format_time(min(watermarks)) if watermarks else "none yet"
    return (
        f"{rows:,} events in, {status.rows_per_second:,.0f}/s, lag {status.lag_rows:,}, "
        f"epoch {status.epoch:,}, watermark {at}"
    )


def _introduce(live: Live, name: str, data: Path) -> None:
    for notice in live.notices:
        sys.stderr.write(f"{notice}\n")
    where = f"live page and API: {live.url}" if live.url else "no HTTP"
    sys.stderr.write(f"{name} runs on {data}; {where}\n")
    sys.stderr.flush()


def _stop_on_signals() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set, once a handler can be installed (the main thread)."""
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _load(live: Live, topic: str, path: Path, progress: Progress, stop: threading.Event) -> None:
    """Send a whole file to a topic."""
    sent = rejected = 0
    with opened(path, None) as source:
        form = "arrow" if source.form == Form.PARQUET else str(source.form)
        for batch in source.batches:
            if stop.is_set():
                return
            receipt = live.send(topic, batch.body, form=form)
            for rejection in receipt.rejections[: max(0, _REJECTIONS_SHOWN - rejected)]:
                number = sent + rejected + rejection.position + 1
                progress.leave()
                sys.stderr.write(f"{path}: row {number:,}: {rejection.reason}\n")
            sent += receipt.accepted
            rejected += receipt.rejected
            total = source.total or batch.taken
            progress.loaded(f"{topic} from {path}", sent + rejected, batch.taken, total)
    progress.leave()
    sys.stderr.write(f"{topic}: {sent:,} rows taken, {rejected:,} rejected from {path}\n")


def _settle(live: Live, progress: Progress, stop: threading.Event) -> None:
    """Wait until all input is computed, showing how far it has come."""
    while not stop.is_set():
        try:
            live.settle(progress.interval)
        except TimeoutError:
            progress.show(live.status())
        else:
            return
