"""Rows as a table for people."""

from __future__ import annotations

from typing import Any

from headwater.cli.text import cell, is_number


def show(columns: list[dict[str, str]], rows: list[dict[str, Any]]) -> None:
    """Print rows by column name, in the order of `columns`, and how many they are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        justify = "right" if is_number(column["type"]) else "left"
        table.add_column(Text(column["name"]), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(cell(row[column["name"]])) for column in columns))
    console = Console(highlight=False)
    if not console.is_terminal:
        # Nobody's screen limits the width: let each row be one line.
        console = Console(highlight=False, width=10_000, soft_wrap=True)
    console.print(table)
    console.print(f"{len(rows):,} row{'' if len(rows) == 1 else 's'}", style="dim")
