"""`headwater query`: ask a running pipeline."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from headwater.cli.client import DEFAULT_URL, Client, To
from headwater.cli.table import Output, show


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
    `TOPIC$rejected`, late rows in `VIEW$late`.

    For example: `headwater query "SELECT * FROM spend ORDER BY spend DESC LIMIT 10"`.
    """
    text = sys.stdin.read() if sql == "-" else sql
    body = json.dumps({"sql": text}).encode()
    show(Client(to).post("/sql", body, "application/json"), output)
