"""`headwater query`: ask a running pipeline."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from headwater.cli.client import DEFAULT_URL, Client, To, parsed
from headwater.cli.table import show


class Output(StrEnum):
    """How the rows are shown."""

    TABLE = "table"
    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


# What programs read is passed on as the server spells it; people get a table made from JSON.
MEDIA_TYPES = {
    Output.TABLE: "application/json",
    Output.CSV: "text/csv",
    Output.NDJSON: "application/x-ndjson",
    Output.JSON: "application/json",
}


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, or - for stdin.")],
    output: Annotated[
        Output,
        typer.Option("--format", metavar="FORMAT", help="table, csv, ndjson or json."),
    ] = Output.TABLE,
    to: To = DEFAULT_URL,
) -> None:
    """Answer one SELECT over topics, tables and views.

    All relations are seen at one moment, after the last committed epoch. Rejected rows are in
    `TOPIC$rejected`, late rows in `VIEW$late`, rows that a view's expressions refused in
    `VIEW$failed`.

    For example: `headwater query "SELECT * FROM spend ORDER BY spend DESC LIMIT 10"`.
    """
    pieces = Client(to).ask(sys.stdin.read() if sql == "-" else sql, MEDIA_TYPES[output])
    if output is Output.TABLE:
        answer = parsed(b"".join(pieces))
        show(answer["columns"], answer["rows"])
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    if output is Output.JSON:
        sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()
