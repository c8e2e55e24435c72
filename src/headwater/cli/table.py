"""Rows as a table for people.

A cell is cut where it would push all others off the screen, and says so: programs and who needs all
of a value ask for another format.
"""

from __future__ import annotations

from typing import Any

from headwater.cli.text import cell, cut, is_number, readable

CELL_CHARACTERS_MAX = 100


def show(columns: list[dict[str, str]], rows: list[dict[str, Any]]) -> None:
    """Print rows by column name, in the order of `columns`, and how many they are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        justify = "right" if is_number(column["type"]) else "left"
        table.add_column(Text(column["name"]), justify=justify, overflow="fold")  # type: ignore[arg-type]
    is_cut = False
    for row in rows:
        whole = [cell(readable(row[column["name"]], column["type"])) for column in columns]
        shown = [cut(value, CELL_CHARACTERS_MAX) for value in whole]
        is_cut = is_cut or shown != whole
        table.add_row(*map(Text, shown))
    console = Console(highlight=False)
    if not console.is_terminal:
        # Nobody's screen limits the width: let each row be one line.
        console = Console(highlight=False, width=10_000, soft_wrap=True)
    console.print(table)
    note = "; long values are cut, --format csv has all" if is_cut else ""
    console.print(f"{len(rows):,} row{'' if len(rows) == 1 else 's'}{note}", style="dim")
