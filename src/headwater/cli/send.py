"""`headwater send`: append rows to a topic of a running pipeline.

Under a producer's name the number of a batch is the position in the input at which it ends. So the
pipeline itself knows how far the input was sent, durably and together with the rows; started again
with the same input, the command asks, and goes on from there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from headwater.cli.client import DEFAULT_URL, Client, To, path
from headwater.connectors.files import CONTENT_TYPES, Form, Input, Sent, opened

REASONS_MAX = 10


@dataclass(slots=True)
class Tally:
    """What became of the rows so far.

    Args:
        duplicate: Rows that another process sent under the same name meanwhile.
        reasons: The first rejected rows: number, counted from 1 in what was sent, and why.

    """

    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)

    def add(self, receipt: dict[str, Any]) -> None:
        """Take the receipt of the next batch."""
        if receipt["duplicate"]:
            self.duplicate += receipt["duplicate"]
            return
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
    producer: Annotated[
        str | None,
        typer.Option(
            "--producer",
            metavar="NAME",
            help="A name for this input. Sent again under it, also after a kill, the input goes on "
            "where it was: each row is appended once. The input may have grown at its end.",
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
    sent = _sent(client, topic, producer) if producer is not None else None
    with opened(file, form, sent) as rows, _progress(rows) as advance:
        for batch in rows.batches:
            where, kind = path("topics", topic), CONTENT_TYPES[rows.form]
            number = None if producer is None else batch.taken
            tally.add(client.post(where, batch.body, kind, producer=producer, sequence=number))
            advance(batch.taken, tally)
        unit = "rows" if rows.form in (Form.ARROW, Form.PARQUET) else "bytes"
    before = f"; the first {sent.to:,} {unit} were sent before" if sent is not None else ""
    _report(topic, tally, before)


def _sent(client: Client, topic: str, producer: str) -> Sent | None:
    """How much of its input a producer has sent, as the pipeline knows it; None for nothing."""
    for told in client.get(path("topics", topic, "producers"), producer=producer):
        if told["partition"] == 0:
            return Sent(told["sequence_before"] or 0, told["sequence"], told["digest"])
    return None


def _report(topic: str, tally: Tally, before: str) -> None:
    rejected = f", {tally.rejected:,} rejected" if tally.rejected else ""
    again = f", {tally.duplicate:,} duplicate" if tally.duplicate else ""
    typer.echo(f"{topic}: {tally.accepted:,} accepted{rejected}{again}{before}")
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
