"""Rows as text: a table for people, CSV, NDJSON or JSON for programs."""

from __future__ import annotations

import csv
import json
import sys
from enum import StrEnum
from typing import Any

from headwater.cli.text import cell, is_number


class Output(StrEnum):
    """How rows are shown."""

    TABLE = "table"
    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


def show(answer: dict[str, Any], output: Output) -> None:
    """Print what the API answers to a question: `columns` in order, and `rows` by column name."""
    names = [column["name"] for column in answer["columns"]]
    if output is Output.JSON:
        print(json.dumps(answer["rows"], ensure_ascii=False, indent=2))
    elif output is Output.NDJSON:
        for row in answer["rows"]:
            print(json.dumps(row, ensure_ascii=False))
    elif output is Output.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([[_csv(row[name]) for name in names] for row in answer["rows"]])
    else:
        _show_table(answer["columns"], answer["rows"])


def _csv(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _show_table(columns: list[dict[str, str]], rows: list[dict[str, Any]]) -> None:
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
