"""`headwater run`: keep a pipeline's views up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.load import AppFile, load

Data = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Where events and state are kept.")
]
Listen = Annotated[
    str,
    typer.Option("--listen", metavar="HOST:PORT", help="Where the HTTP API and the live page are."),
]
LISTEN = "127.0.0.1:8484"


def run(
    app: AppFile,
    data: Data = Path("data"),
    listen: Listen = LISTEN,
    bounded: Annotated[
        bool,
        typer.Option(
            "--bounded",
            help="Run to the end of the input, close every window, and exit: a batch job.",
        ),
    ] = False,
) -> None:
    """Run a pipeline: take events, keep its views up to date.

    Rows are sent over HTTP, and the same port serves a live page of what happens. Stop it with
    Ctrl-C, or kill it: started again on the same `--data`, it goes on where it was.
    """
    load(app).run(data=data, listen=listen, bounded=bounded)
