"""`headwater tail`: follow a view's changes or a topic's rows.

A line is a sign and a row: `+` was added, `-` was withdrawn. Columns are as wide as the widest
value so far, so a line once printed never moves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from headwater.cli.client import DEFAULT_URL, Client, To, parsed, path
from headwater.cli.text import cell, is_number
from headwater.errors import DefinitionError

PAGE_ROWS = 1_000
POLL_SECONDS = 0.3
LAST_ROWS = 10
Row = dict[str, Any]


def tail(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The view, topic or table.")],
    offset_from: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="OFFSET",
            min=0,
            help=f"Begin at this offset; 0 is the beginning. Without it: the last {LAST_ROWS}.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="ROWS", min=1, help="Stop after so many rows."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or stop at the end.")
    ] = True,
    to: To = DEFAULT_URL,
) -> None:
    """Follow what a view publishes, or the rows that a topic takes.

    A view's changes are signed: `+` a row was added, `-` a row published before was withdrawn.
    """
    client = Client(to)
    kind, told = _find(client, name)
    ends = [told["changes"]] if kind == "view" else told["offsets_next"]
    starts = [max(0, e - LAST_ROWS) if offset_from is None else offset_from for e in ends]
    if kind == "view":
        rows = _changes(client, told["name"], starts[0], None if follow else ends[0])
    else:
        # Rows before the first that is kept are no rows any more.
        starts = [max(*pair) for pair in zip(starts, told["offsets_first"] or starts, strict=True)]
        rows = _rows(client, told["name"], starts, None if follow else ends)
    printer = _Printer(told["columns"])
    for number, row in enumerate(rows, 1):
        printer.print(row)
        if number == limit:
            break


def _find(client: Client, name: str) -> tuple[str, Row]:
    """Is it a view or a topic, and its status."""
    status = client.get("/status")
    for kind, relations in (("view", status["views"]), ("topic", status["topics"])):
        for told in relations:
            if told["name"].lower() == name.lower():
                return kind, told
    names = [told["name"] for told in (*status["views"], *status["topics"])]
    raise DefinitionError(
        f"there is no view, topic or table {name}", hint=f"there are: {', '.join(names)}"
    )


def _changes(client: Client, view: str, start: int, end: int | None) -> Iterator[Row]:
    """The changes from `start` to before `end`, or without end as they are published."""
    if end is not None and start >= end:
        return
    for line in client.lines(path("views", view, "changes"), from_=start):
        if not line.startswith(b"data:"):
            continue
        told = parsed(line[5:])
        for row in told if isinstance(told, list) else [told]:
            yield row
            if end is not None and row["_offset"] + 1 >= end:
                return


def _rows(client: Client, topic: str, starts: list[int], ends: list[int] | None) -> Iterator[Row]:
    """A topic's rows, partition by partition; without `ends` also those that still come."""
    pause = threading.Event()
    places = list(starts)
    while True:
        found = 0
        for partition, place in enumerate(places):
            end = ends[partition] if ends else None
            for row in _page(client, topic, partition, place, end):
                yield row
                places[partition] = row["_offset"] + 1
                found += 1
        if not found and ends:
            return
        if not found:
            pause.wait(POLL_SECONDS)


def _page(client: Client, topic: str, partition: int, start: int, end: int | None) -> Iterator[Row]:
    """Some rows of a partition from `start` on, none from `end` on."""
    limit = PAGE_ROWS if end is None else min(PAGE_ROWS, end - start)
    if limit <= 0:
        return
    where = path("topics", topic, "rows")
    wish = {"from_": start, "limit": limit, "partition": partition, "format": "ndjson"}
    yield from (parsed(line) for line in client.lines(where, **wish) if line)


class _Printer:
    """Prints rows in columns that only grow."""

    def __init__(self, columns: list[list[str]]) -> None:
        from rich.console import Console

        self._names = [name for name, _ in columns]
        self._is_right = [is_number(sql_type) for _, sql_type in columns]
        self._widths = [len(name) for name in self._names]
        self._console = Console(highlight=False, soft_wrap=True)
        self._has_header = False

    def print(self, row: Row) -> None:
        """One row, with its sign and, where it is not 1, its weight."""
        weight = int(row.get("_weight", 1))
        sign = ("+" if weight > 0 else "-") + (str(abs(weight)) if abs(weight) != 1 else "")
        # The first row has widened the columns before their names are printed.
        line = self._line([cell(row.get(name)) for name in self._names])
        if not self._has_header:
            self._console.print(f"  {self._line(self._names)}", style="bold", markup=False)
            self._has_header = True
        style = "green" if weight > 0 else "red"
        self._console.print(f"{sign} {line}", style=style, markup=False)

    def _line(self, cells: list[str]) -> str:
        self._widths = [max(w, len(c)) for w, c in zip(self._widths, cells, strict=True)]
        aligned = zip(cells, self._widths, self._is_right, strict=True)
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in aligned).rstrip()
