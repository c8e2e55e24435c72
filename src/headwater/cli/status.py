"""`headwater status`: what a running pipeline says of itself."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.client import DEFAULT_URL, Client, To
from headwater.cli.consumers import table as consumer_table
from headwater.cli.text import duration, moment, size

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

WATCH_SECONDS = 1.0
# A terminal of 80 columns has no room for everything: a cut number is worse than none.
NARROW_COLUMNS = 100
Told = dict[str, Any]


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again every second, until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    to: To = DEFAULT_URL,
) -> None:
    """Show rows, lag, watermarks, and what holds back what has not come out."""
    client = Client(to)
    if as_json:
        print(json.dumps(client.get("/status"), ensure_ascii=False, indent=2, default=float))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)

    def screen() -> Group:
        return _screen(client.get("/status"), is_narrow=console.width < NARROW_COLUMNS)

    if not watch:
        console.print(screen())
        return
    pause = threading.Event()
    with Live(screen(), console=console, screen=True) as live:
        while not pause.wait(WATCH_SECONDS):
            live.update(screen())


def _screen(told: Told, *, is_narrow: bool) -> Group:
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
    for table in (
        _topics(told["topics"]),
        _producers(told["topics"], is_narrow=is_narrow),
        _views(told["views"], is_narrow=is_narrow),
        _sinks(told["sinks"]),
        consumer_table(told["consumers"]),
    ):
        if table.row_count:
            parts += ["", table]
    parts += _waiting(told)
    return Group(*parts)


def _topics(topics: list[Told]) -> Table:
    rows = [
        {
            "rows": f"{told['rows']:,}",
            "rejected": f"{told['rejected']:,}",
            "duplicate": f"{told['duplicate']:,}",
            "lag": f"{told['rows'] - told['computed']:,}",
            "rows/s": f"{told['rows_per_second']:,.0f}",
            "bytes": size(told["bytes"]),
            "watermark": moment(told["watermark_us"]),
        }
        for told in topics
    ]
    has_duplicates = any(told["duplicate"] for told in topics)
    shown = [c for c in (rows[0] if rows else {}) if c != "duplicate" or has_duplicates]
    table = _table("topic", *shown)
    for told, row in zip(topics, rows, strict=True):
        table.add_row(told["name"], *(row[column] for column in shown))
    return table


def _producers(topics: list[Told], *, is_narrow: bool) -> Table:
    columns = ("received", "accepted", "rejected", "duplicate", "sequence")
    table = _table("producer", "to", *columns, *([] if is_narrow else ["heard"]))
    for topic in topics:
        for told in topic["producers"]:
            where = f"{topic['name']}/{told['partition']}"
            where = where if topic["partitions"] > 1 else topic["name"]
            numbers = (f"{told[column]:,}" for column in columns)
            heard = [] if is_narrow else [moment(told["heard_us"])]
            table.add_row(told["producer"], where, *numbers, *heard)
        others = topic["producers_known"] - len(topic["producers"])
        if others:
            table.add_row(f"... and {others:,} more", topic["name"])
    return table


def _views(views: list[Told], *, is_narrow: bool) -> Table:
    left_out = {"changes/s"} if is_narrow else set()
    if not any(told["failed"] for told in views):
        left_out.add("failed")
    rows = [
        {
            "rows": f"{told['rows']:,}",
            "changes": f"{told['changes']:,}",
            "late": f"{told['late']:,}",
            "failed": f"{told['failed']:,}",
            "changes/s": f"{told['changes_per_second']:,.0f}",
            "state": size(told["state_bytes"]),
            "watermark": moment(told["watermark_us"]),
        }
        for told in views
    ]
    shown = [column for column in (rows[0] if rows else {}) if column not in left_out]
    table = _table("view", *shown)
    for told, row in zip(views, rows, strict=True):
        table.add_row(told["name"], *(row[column] for column in shown))
    return table


def _sinks(sinks: list[Told]) -> Table:
    table = _table("sink", "position", "lag", "follows", "into", "state")
    for told in sinks:
        position, lag = f"{told['position']:,}", f"{told['lag']:,}"
        table.add_row(told["name"], position, lag, told["source"], told["connector"], told["state"])
    return table


def _waiting(told: Told) -> list[RenderableType]:
    """Why nothing comes out: the question that is asked most."""
    from rich.text import Text

    lines = [f"{v['name']} waits for {w['text']}" for v in told["views"] for w in v["waits"]]
    lines += [
        f"{t['name']} keeps {t['rows_kept']:,} rows, since {moment(t['oldest_us'])}{_compacted(t)}"
        for t in told["topics"]
        if t["rows_kept"] < t["rows"]
    ]
    lines += [
        f"{t['name']} has {size(t['archived_bytes'])} of its bytes in the archive"
        for t in told["topics"]
        if t["archived_bytes"]
    ]
    lines += [f"watermark of {t['name']}: {t['held_by']}" for t in told["topics"] if t["held_by"]]
    return ["", *(Text(line, style="dim") for line in lines)] if lines else []


def _compacted(topic: Told) -> str:
    rows = topic["rows_compacted"]
    return f"; {rows:,} were replaced by newer ones and are gone" if rows else ""


def _table(name: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(name, no_wrap=True)
    for column in columns:
        words = ("watermark", "follows", "into", "state", "to", "heard")
        is_text = column in words and (name != "view" or column == "watermark")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    return table
