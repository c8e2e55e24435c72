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
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="TOPIC=FILE",
            help="Send a file's rows first; may be given several times.",
            show_default=False,
        ),
    ] = None,
    bounded: Annotated[
        bool,
        typer.Option(
            "--bounded",
            help="Run to the end of the input, close every window, and exit: a batch job.",
        ),
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            help="How much memory of its own the process may have, for example 4GB.",
            show_default=False,
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Compute a view anew from the log if its definition has changed."
        ),
    ] = False,
) -> None:
    """Run a pipeline: take events, keep its views up to date.

    Rows are sent over HTTP, and the same port serves a live page of what happens. Stop it with
    Ctrl-C, or kill it: started again on the same `--data`, it goes on where it was.
    """
    files = dict(_named_file(text) for text in inputs or ())
    load(app).run(
        data, listen=listen, bounded=bounded, inputs=files, rebuild=rebuild, memory=memory
    )


def _named_file(text: str) -> tuple[str, Path]:
    """Topic and file of `clicks=clicks.csv`."""
    topic, equals, file = text.partition("=")
    if not (topic and equals and file):
        raise typer.BadParameter(f"{text!r} is not TOPIC=FILE", param_hint="--input")
    return topic, Path(file)
