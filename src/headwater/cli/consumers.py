"""`headwater consumers`: who reads what, how far behind, and from where on."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from headwater.cli.client import DEFAULT_URL, Client, To, path
from headwater.cli.text import duration

Told = dict[str, Any]


def consumers(
    group: Annotated[
        str | None, typer.Argument(metavar="GROUP", help="Only this group.", show_default=False)
    ] = None,
    relation: Annotated[
        str | None,
        typer.Argument(
            metavar="RELATION", help="Only in this view, topic or table.", show_default=False
        ),
    ] = None,
    reset: Annotated[
        str | None,
        typer.Option(
            "--reset",
            metavar="START",
            help="Put the group there: `start`, `now`, a time (rows that came since), or an "
            "offset. It is made if there is none.",
            show_default=False,
        ),
    ] = None,
    partition: Annotated[
        int,
        typer.Option("--partition", metavar="N", min=0, help="Of an offset: in this partition."),
    ] = 0,
    remove: Annotated[
        bool, typer.Option("--remove", help="Forget where the group stands.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    to: To = DEFAULT_URL,
) -> None:
    """Show consumer groups and how far behind they are, put one elsewhere, or remove it.

    For example: `headwater consumers billing spend --reset start`.
    """
    client = Client(to)
    if reset is not None or remove:
        if group is None or relation is None or (reset is not None and remove):
            raise typer.BadParameter("say which GROUP and RELATION, and either --reset or --remove")
        _change(client, path("consumers", group, relation), reset, partition)
    found = [
        told
        for told in client.get("/consumers")
        if (group is None or told["group"] == group)
        and (relation is None or told["relation"].lower() == relation.lower())
    ]
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2, default=float))
        return
    from rich.console import Console

    Console(highlight=False).print(table(found))


def _change(client: Client, where: str, reset: str | None, partition: int) -> None:
    if reset is None:
        client.delete(where)
    elif reset.isdigit():
        client.put(where)
        client.tell(f"{where}/seek", {"position": int(reset), "partition": partition})
    else:
        client.put(where, from_=reset)
        client.tell(f"{where}/seek", {"from": reset})


def table(consumers: list[Told]) -> Any:
    """Consumer groups, as a table for people."""
    from rich.table import Table

    found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("consumer", "reads", "position", "lag", "behind", "lost", "members"):
        is_number = column in ("position", "lag", "behind", "lost")
        found.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    for told in consumers:
        behind = told["lag_seconds"]
        found.add_row(
            told["group"],
            told["relation"],
            " ".join(f"{position:,}" for position in told["positions"]),
            f"{told['lag']:,}",
            "-" if behind is None else duration(float(behind)),
            f"{told['lost']:,}",
            told["problem"] or ", ".join(told["members"]),
        )
    return found
