"""`headwater demo`: a real year, replayed into a real pipeline."""

from __future__ import annotations

import re
import signal
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.run import LISTEN, Listen
from headwater.cli.text import duration, moment
from headwater.errors import DefinitionError

if TYPE_CHECKING:
    from headwater.clock import Clock
    from headwater.demo.replay import Moment
    from headwater.run.live import Live

LINE_SECONDS = 5.0
REFRESH_SECONDS = 0.25
RATE_SECONDS = 2.0
UNITS = {"s": 1, "m": 60, "h": 3600}


def demo(
    year_in: Annotated[
        str,
        typer.Option(
            "--year-in",
            metavar="DURATION",
            help="How long the year takes: `30s`, `10m`, `2h`, or `0` for as fast as possible.",
        ),
    ] = "60s",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Keep events and state here, and go on from there next time. Without it they go "
            "with the process.",
            show_default=False,
        ),
    ] = None,
    listen: Listen = LISTEN,
    leave: Annotated[
        bool, typer.Option("--exit", help="Exit when the year is over; do not go on serving.")
    ] = False,
) -> None:
    """Replay a real year of flights and watch the answers change.

    The departures of 2013 from New York enter in the order in which they really left, which is not
    the order of their schedule: some come 21 hours late. Views count them by carrier and hour, with
    the weather, by route, by plane.
    """
    seconds = _seconds(year_in)
    from headwater.clock import SystemClock
    from headwater.demo.pipeline import app
    from headwater.demo.replay import Replay
    from headwater.demo.year import year

    # What stops a service (SIGTERM) ends the demo as Ctrl-C does: in order. SIGINT is set too: a
    # shell has it ignored in what it starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    clock, pause = SystemClock(), threading.Event()
    with app.start(data=data, listen=listen) as live:
        _greet(live)
        began = clock.monotonic()
        replay = Replay(live, year(), seconds, clock, pause.wait)
        try:
            with _Progress(live, clock) as progress:
                for now in replay.moments():
                    progress.show(now)
            _summary(live, clock.monotonic() - began)
            if not leave:
                typer.echo("\nServing until Ctrl-C.")
                pause.wait()
        except KeyboardInterrupt:
            typer.echo("\nStopped.")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not match:
        raise DefinitionError(
            f"{text!r} is no duration", hint="write 30s, 10m or 2h; 0 is as fast as possible"
        )
    return float(match[1]) * UNITS[match[2] or "s"]


def _greet(live: Live) -> None:
    typer.echo("A year of departures from New York, 2013, and the weather they met.")
    if live.url:
        typer.echo(f"  live page   {live.url}")
    typer.echo('  ask it      headwater query "SELECT * FROM worst_flights"')
    typer.echo("  follow it   headwater tail carrier_hours\n")
    for notice in live.notices:
        typer.echo(notice)


class _Progress:
    """One line that tells how it goes: in place on a terminal, every few seconds elsewhere."""

    def __init__(self, live: Live, clock: Clock) -> None:
        from rich.console import Console
        from rich.live import Live as Display

        self._live, self._clock = live, clock
        self._console = Console(highlight=False, soft_wrap=True)
        self._display = Display(console=self._console, auto_refresh=False)
        self._every = REFRESH_SECONDS if self._console.is_terminal else LINE_SECONDS
        self._shown_at = float("-inf")
        self._recent: deque[tuple[float, int]] = deque()

    def __enter__(self) -> _Progress:
        if self._console.is_terminal:
            self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def show(self, now: Moment) -> None:
        """Show `now`, unless the last was shown a moment ago."""
        at = self._clock.monotonic()
        self._recent.append((at, now.sent))
        while len(self._recent) > 2 and self._recent[1][0] <= at - RATE_SECONDS:
            self._recent.popleft()
        if at - self._shown_at < self._every:
            return
        self._shown_at = at
        line = self._line(now)
        if self._console.is_terminal:
            self._display.update(line, refresh=True)
        else:
            self._console.print(line)

    def _line(self, now: Moment) -> str:
        status = self._live.status()
        flights = next(topic for topic in status.topics if topic.name == "flights")
        (then, before), (at, sent) = self._recent[0], self._recent[-1]
        rate = (sent - before) / (at - then) if at > then else 0.0
        return (
            f"{moment(now.now_us)[:10]}  {now.share:4.0%}  {now.sent:,} events  {rate:,.0f}/s  "
            f"lag {status.lag_rows:,}  watermark {moment(flights.watermark_us)[:10]}"
        )


def _summary(live: Live, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    status = live.status()
    rows = sum(topic.rows for topic in status.topics)
    typer.echo(f"\nThe year is over: {rows:,} rows in {duration(seconds)}.\n")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column("view")
    for name in ("rows", "changes", "late"):
        table.add_column(name, justify="right")
    for view in status.views:
        table.add_row(view.name, f"{view.rows:,}", f"{view.changes:,}", f"{view.late:,}")
    Console(highlight=False).print(table)
