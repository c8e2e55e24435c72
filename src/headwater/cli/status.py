"""`headwater status`: what a running pipeline says of itself."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.client import DEFAULT_URL, Client, To
from headwater.cli.text import duration, moment, size

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

WATCH_SECONDS = 1.0
Told = dict[str, Any]


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again every second, until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    to: To = DEFAULT_URL,
) -> None:
    """Show rows, lag, watermarks, and what a window waits for."""
    client = Client(to)
    if as_json:
        print(json.dumps(client.get("/status"), ensure_ascii=False, indent=2, default=float))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if not watch:
        console.print(_screen(client.get("/status")))
        return
    pause = threading.Event()
    with Live(_screen(client.get("/status")), console=console, screen=True) as live:
        while not pause.wait(WATCH_SECONDS):
            live.update(_screen(client.get("/status")))


def _screen(told: Told) -> Group:
    from rich.console import Group
    from rich.text import Text

    up = duration((told["now_us"] - told["started_us"]) / 1e6)
    head = Text.assemble(
        (told["pipeline"], "bold"),
        f"  up {up}  epoch {told['epoch']:,}  {told['rows_per_second']:,.0f} rows/s  "
        f"lag {told['lag_rows']:,} rows  data {told['data']}",
    )
    parts: list[RenderableType] = [head]
    parts += [Text(f"! {problem}", style="red") for problem in told["problems"]]
    for table in (_topics(told["topics"]), _views(told["views"]), _sinks(told["sinks"])):
        if table.row_count:
            parts += ["", table]
    parts += _waiting(told)
    return Group(*parts)


def _topics(topics: list[Told]) -> Table:
    right = ("rows", "rejected", "lag", "rows/s", "bytes")
    table = _table("topic", *right, "watermark")
    for told in topics:
        table.add_row(
            told["name"],
            f"{told['rows']:,}",
            f"{told['rejected']:,}",
            f"{told['rows'] - told['computed']:,}",
            f"{told['rows_per_second']:,.0f}",
            size(told["bytes"]),
            moment(told["watermark_us"]),
        )
    return table


def _views(views: list[Told]) -> Table:
    right = ("rows", "changes", "late", "failed", "changes/s", "state")
    table = _table("view", *right, "watermark")
    for told in views:
        table.add_row(
            told["name"],
            f"{told['rows']:,}",
            f"{told['changes']:,}",
            f"{told['late']:,}",
            f"{told['failed']:,}",
            f"{told['changes_per_second']:,.0f}",
            size(told["state_bytes"]),
            moment(told["watermark_us"]),
        )
    return table


def _sinks(sinks: list[Told]) -> Table:
    table = _table("sink", "position", "lag", "follows", "into", "state")
    for told in sinks:
        position, lag = f"{told['position']:,}", f"{told['lag']:,}"
        table.add_row(told["name"], position, lag, told["source"], told["connector"], told["state"])
    return table


def _waiting(told: Told) -> list[RenderableType]:
    """Why windows have not closed: the question that is asked most."""
    from rich.text import Text

    lines = [f"{v['name']} waits for {v['waits_for']}" for v in told["views"] if v["waits_for"]]
    lines += [f"{t['name']} is held by {t['held_by']}" for t in told["topics"] if t["held_by"]]
    return ["", *(Text(line, style="dim") for line in lines)] if lines else []


def _table(name: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column(name, no_wrap=True)
    for column in columns:
        words = ("watermark", "follows", "into", "state")
        is_text = column in words and (name != "view" or column == "watermark")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    return table
