"""`headwater evolve`: the columns of a running topic, and how they change."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from headwater.cli.client import DEFAULT_URL, Client, To, path

Told = dict[str, Any]


def evolve(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic or table.")],
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add",
            metavar="COLUMN",
            help='A new column: "cost DOUBLE DEFAULT 0".',
            show_default=False,
        ),
    ] = None,
    widen: Annotated[
        list[str] | None,
        typer.Option(
            "--widen", metavar="COLUMN=TYPE", help="A wider type: ad=BIGINT.", show_default=False
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            metavar="OLD=NEW",
            help="A new name: visitor=user. Senders may go on using the old one.",
            show_default=False,
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="COLUMN", help="A column that goes.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would change, and what would break.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    to: To = DEFAULT_URL,
) -> None:
    """Change the columns of a running topic or table, or show the versions that they had.

    Rows that are there are read with the new columns. A change that would break a view or a sink is
    refused and says why; with --dry-run the exit code is then 1.

    For example: `headwater evolve clicks --add "cost DOUBLE DEFAULT 0" --rename visitor=user`.
    """
    client, where = Client(to), path("topics", topic, "schema")
    asked: Told = {
        "add": add or [],
        "widen": dict(_pair(text, "--widen") for text in widen or ()),
        "rename": dict(_pair(text, "--rename") for text in rename or ()),
        "drop": drop or [],
    }
    if not any(asked.values()):
        versions = client.get(where)
        _say(versions, _versions(versions), as_json=as_json)
        return
    body = json.dumps({**asked, "dry_run": dry_run}).encode()
    told = client.post(where, body, "application/json")
    _say(told, _change(told), as_json=as_json)
    if told["breaks"]:
        raise typer.Exit(1)


def _say(told: object, text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(told, ensure_ascii=False, indent=2) if as_json else text)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (sign and name.strip() and value.strip()):
        raise typer.BadParameter(f"{text!r} is no NAME=VALUE", param_hint=option)
    return name.strip(), value.strip()


def _versions(told: list[Told]) -> str:
    lines = []
    for version in told:
        at = version["time_us"]
        when = (
            "" if at is None else f"  {datetime.fromtimestamp(at // 10**6, UTC):%Y-%m-%d %H:%M:%S}Z"
        )
        lines.append(
            f"version {version['number']}{when}  from place {version['tick']:,} in the log"
        )
        lines += [f"  {change}" for change in version["changes"]]
        lines.append(f"  {version['text']}")
    return "\n".join(lines)


def _change(told: Told) -> str:
    if not told["changes"]:
        return f"{told['topic']}: nothing changes, it is version {told['version']}"
    is_done = "is now" if told["applied"] else "would be"
    lines = [f"{told['topic']} {is_done} version {told['version']}, which"]
    lines += [f"  {change}" for change in told["changes"]]
    lines.append(f"  {told['text']}")
    for found in told["breaks"]:
        lines.append(f"{found['kind']} {found['name']} would break: {found['reason']}")
        lines += [f"  {line}" for line in (found["place"] or "").splitlines()]
    return "\n".join(lines)
