"""`headwater send`: append rows to a topic of a running pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from headwater.cli.client import DEFAULT_URL, Client, To, path
from headwater.connectors.files import CONTENT_TYPES, Form, Input, opened

REASONS_MAX = 10


@dataclass(slots=True)
class Tally:
    """What became of the rows so far.

    Args:
        reasons: The first rejected rows: number, counted from 1 in what was sent, and why.

    """

    accepted: int = 0
    rejected: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)

    def add(self, receipt: dict[str, Any]) -> None:
        """Take the receipt of the next batch."""
        sent = self.accepted + self.rejected
        for told in receipt["rejections"][: REASONS_MAX - len(self.reasons)]:
            column = f"{told['column']}: " if told.get("column") else ""
            self.reasons.append((sent + told["position"] + 1, column + told["reason"]))
        self.accepted += receipt["accepted"]
        self.rejected += receipt["rejected"]


def send(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic or table.")],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Rows to send; stdin if left out.", show_default=False),
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="ndjson, json, csv, arrow or parquet. Without it the file's suffix says so; stdin "
            "is NDJSON, or JSON if it begins with [.",
            show_default=False,
        ),
    ] = None,
    to: To = DEFAULT_URL,
) -> None:
    """Append rows to a topic or table of a running pipeline.

    What is acknowledged is on disk. A row that cannot be taken is rejected and the rest is taken;
    its bytes and the reason are in the table `TOPIC$rejected`, and the exit code is 1.

    For example: `headwater send clicks clicks.csv`, or
    `tail -f clicks.ndjson | headwater send clicks`.
    """
    client, tally = Client(to), Tally()
    with opened(file, form) as rows, _progress(rows) as advance:
        for batch in rows.batches:
            where = path("topics", topic)
            tally.add(client.post(where, batch.body, CONTENT_TYPES[rows.form]))
            advance(batch.taken, tally)
    _report(topic, tally)


def _report(topic: str, tally: Tally) -> None:
    rejected = f", {tally.rejected:,} rejected" if tally.rejected else ""
    typer.echo(f"{topic}: {tally.accepted:,} accepted{rejected}")
    for number, reason in tally.reasons:
        typer.echo(f"  row {number:,}: {reason}", err=True)
    if tally.rejected > len(tally.reasons):
        typer.echo(f"  ... and {tally.rejected - len(tally.reasons):,} more", err=True)
    if tally.rejected:
        typer.echo(f"  hint: they are kept, with their bytes, in {topic}$rejected", err=True)
        raise typer.Exit(1)


@contextmanager
def _progress(rows: Input) -> Iterator[Callable[[int, Tally], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda taken, tally: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("0 rows", total=rows.total)

        def advance(taken: int, tally: Tally) -> None:
            told = f"{tally.accepted:,} accepted"
            told += f", [red]{tally.rejected:,} rejected[/]" if tally.rejected else ""
            bar.update(task, completed=taken, description=told)

        yield advance
