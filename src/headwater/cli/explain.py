"""`headwater explain`: how a pipeline would be computed."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.cli.load import AppFile, load


def explain(
    app: AppFile,
    view: Annotated[
        str | None, typer.Argument(metavar="VIEW", help="Only this view.", show_default=False)
    ] = None,
) -> None:
    """Show how a pipeline's views would be computed.

    It says of every step whether it is incremental, and what it remembers. Nothing is run, and no
    data folder is touched.
    """
    typer.echo(load(app).explain(view))
