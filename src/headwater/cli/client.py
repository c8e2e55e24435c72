"""How a command is told where the running pipeline listens."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.remote.client import DEFAULT_URL, Client, parsed, path

__all__ = ["DEFAULT_URL", "Client", "To", "parsed", "path"]

To = Annotated[
    str,
    typer.Option(
        "--to", metavar="URL", envvar="HEADWATER_URL", help="Where the running pipeline listens."
    ),
]
