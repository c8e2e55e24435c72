"""`headwater`: the commands, and how they end.

A command that fails says what, where and what to do, on stderr, and exits with 1; a wrong use of
the command line exits with 2. What is not a `HeadwaterError` is our own bug: its traceback shows.
The commands' modules import nothing heavy at their top, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headwater.cli.consumers import consumers
from headwater.cli.demo import demo
from headwater.cli.evolve import evolve
from headwater.cli.explain import explain
from headwater.cli.query import query
from headwater.cli.rejected import rejected
from headwater.cli.run import run
from headwater.cli.send import send
from headwater.cli.status import status
from headwater.cli.tail import tail
from headwater.errors import HeadwaterError

app = typer.Typer(
    name="headwater",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

RUN = "Run a pipeline"
ASK = "Talk to a running pipeline"

app.command(rich_help_panel=RUN)(run)
app.command(rich_help_panel=RUN)(explain)
app.command(rich_help_panel=RUN)(demo)
app.command(rich_help_panel=ASK)(send)
app.command(rich_help_panel=ASK)(query)
app.command(rich_help_panel=ASK)(tail)
app.command(rich_help_panel=ASK)(consumers)
app.command(rich_help_panel=ASK)(status)
app.command(rich_help_panel=ASK)(rejected)
app.command(rich_help_panel=ASK)(evolve)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"headwater {version('headwater')}")
        raise typer.Exit


@app.callback()
def headwater(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Events in, answers out: an event log and an incremental SQL engine in one process.

    A pipeline is a Python or SQL file that declares topics, tables and views. `headwater run`
    keeps its views up to date; the other commands talk to it.

    New here? `headwater demo` replays a real year of flights.
    """


def main() -> None:
    """Run the command line; the process ends here.

    Typer ends it quietly when whoever reads our output has left (`headwater tail spend | head`) and
    on Ctrl-C.
    """
    try:
        app()
    except HeadwaterError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
