"""`headwater rejected`: what a topic did not take, what of it is to be repaired, and sent again.

Rows wait until they are sent again, as they came or repaired; both are one step of the pipeline's
journal, so what was handed on is known and is handed on once (`runtime.rejects`).
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from headwater.cli.client import DEFAULT_URL, Client, To, parsed, path
from headwater.cli.table import show
from headwater.cli.text import cut
from headwater.connectors.files import CONTENT_TYPES, Form, form_of, opened, write
from headwater.errors import DefinitionError

PAGE_ROWS = 10_000
SHOWN_ROWS = 10
REASON_CHARACTERS_MAX = 100
RESENDER = "$rejected"
# What differs between rows that were rejected for the same reason: quoted values and numbers.
_VALUES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d[\d.:TZ+-]*")
Row = dict[str, Any]


def rejected(
    name: Annotated[
        str, typer.Argument(metavar="TOPIC", help="The topic or table; or a view, to list.")
    ],
    limit: Annotated[
        int, typer.Option("--limit", metavar="ROWS", min=0, help="Show so many, the newest.")
    ] = SHOWN_ROWS,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="Write the rows that wait to a file, as they came, one a line.",
            show_default=False,
        ),
    ] = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send the rows that wait again, each once.")
    ] = False,
    repaired: Annotated[
        Path | None,
        typer.Option(
            "--repaired",
            metavar="FILE",
            help="With --send: send this file's rows in the place of those at --offsets.",
            show_default=False,
        ),
    ] = None,
    offsets: Annotated[
        str | None,
        typer.Option(
            "--offsets",
            metavar="FROM:TO",
            help="What --repaired stands for, as --export said it.",
            show_default=False,
        ),
    ] = None,
    partition: Annotated[
        int | None,
        typer.Option(
            "--partition",
            metavar="N",
            min=0,
            help="Export, or repair, rows that were sent to this partition.",
            show_default=False,
        ),
    ] = None,
    to: To = DEFAULT_URL,
) -> None:
    """Show the rows that a topic rejected, export them, and send them again.

    Rows wait until they are sent again: as they came, once the topic or the pipeline was mended
    (`headwater rejected clicks --send`), or repaired in the file that `--export` made. Each is
    handed on once, also when the command is killed and started again; what is rejected again waits
    again.

    Of a view it shows the rows that its expressions, or functions, refused; they are in its topics.
    """
    client = Client(to)
    kind, known = _find(client, name)
    if kind == "view":
        _show_failed(client, known, limit, is_asked_more=bool(send or export or repaired))
    elif send:
        _send(client, known, repaired, offsets, partition or 0)
    elif repaired is not None or offsets is not None:
        raise DefinitionError(
            "--repaired and --offsets say what to send", hint=f"headwater rejected {known} --send"
        )
    elif export is not None:
        _export(client, known, export, partition)
    else:
        _show(client, known, limit)


def _find(client: Client, name: str) -> tuple[str, str]:
    """Is it a topic or a view, and how is it spelled."""
    status = client.get("/status")
    for kind, relations in (("topic", status["topics"]), ("view", status["views"])):
        for told in relations:
            if told["name"].lower() == name.lower():
                return kind, told["name"]
    names = ", ".join(told["name"] for told in status["topics"])
    raise DefinitionError(f"there is no topic or view {name}", hint=f"topics: {names}")


def _rows(client: Client, topic: str) -> Iterator[Row]:
    """All rejected rows, from the first that waits on."""
    at = _first_that_waits(client, topic)
    while True:
        where, count = path("topics", topic, "rejected"), 0
        for line in client.lines(where, from_=at, limit=PAGE_ROWS, format="ndjson"):
            if line:
                row = parsed(line)
                yield row
                at, count = row["_offset"] + 1, count + 1
        if not count:
            return


def _waiting(client: Client, topic: str) -> Iterator[Row]:
    return (row for row in _rows(client, topic) if not row["_sent_again"])


def _first_that_waits(client: Client, topic: str) -> int:
    """An offset before which no rejected row waits."""
    told = next(t for t in client.get("/status")["topics"] if t["name"] == topic)
    known = client.get(path("topics", topic, "producers"), producer=RESENDER)
    ends = {producer["partition"]: producer["sequence"] for producer in known}
    return min(ends.get(partition, 0) for partition in range(told["partitions"]))


def _show(client: Client, topic: str, limit: int) -> None:
    kinds: Counter[tuple[str, str]] = Counter()
    newest: list[Row] = []
    for row in _waiting(client, topic):
        kinds[row["column"] or "", _VALUES.sub("…", row["reason"])] += 1
        newest = [*newest, row][-limit:] if limit else []
    total = next(t for t in client.get("/status")["topics"] if t["name"] == topic)["rejected"]
    waiting = kinds.total()
    typer.echo(f"{topic}: {waiting:,} rejected rows wait, of {total:,}")
    if not waiting:
        return
    counted = [
        {"rows": count, "column": column, "reason": reason}
        for (column, reason), count in kinds.most_common()
    ]
    _table(("rows", "INTEGER"), ("column", "VARCHAR"), ("reason", "VARCHAR"), rows=counted)
    if newest:
        shown = [{**r, "reason": cut(r["reason"], REASON_CHARACTERS_MAX)} for r in newest]
        columns = (("_offset", "INTEGER"), ("reason", "VARCHAR"), ("record", "BLOB"))
        _table(*columns, rows=shown)
    typer.echo(f"hint: headwater rejected {topic} --send sends them again, as they came")
    typer.echo(f"      headwater rejected {topic} --export FILE writes them down, to be repaired")


def _table(*columns: tuple[str, str], rows: list[Row]) -> None:
    show([{"name": name, "type": sql_type} for name, sql_type in columns], rows)


def _show_failed(client: Client, view: str, limit: int, *, is_asked_more: bool) -> None:
    if is_asked_more:
        raise DefinitionError(
            f"{view} is a view: the rows that it refuses are in its topics already",
            hint=f'mend the view and start with --rebuild; headwater query "FROM {view}$failed" '
            "has all of them",
        )
    kinds: Counter[str] = Counter()
    newest: list[Row] = []
    for line in b"".join(client.ask(f'FROM "{view}$failed"', "application/x-ndjson")).splitlines():
        row = parsed(line)
        kinds[_VALUES.sub("…", row["reason"])] += 1
        newest = [*newest, row][-limit:] if limit else []
    typer.echo(f"{view}: {kinds.total():,} rows failed")
    if not kinds:
        return
    counted = [{"rows": count, "reason": reason} for reason, count in kinds.most_common()]
    _table(("rows", "INTEGER"), ("reason", "VARCHAR"), rows=counted)
    if newest:
        _table(("reason", "VARCHAR"), ("record", "VARCHAR"), rows=newest)


def _export(client: Client, topic: str, file: Path, partition: int | None) -> None:
    rows = list(_waiting(client, topic))
    partitions = sorted({row["partition"] for row in rows})
    if partition is None and len(partitions) > 1:
        listed = ", ".join(map(str, partitions))
        raise DefinitionError(
            f"rejected rows of {topic} were sent to several partitions: {listed}",
            hint=f"export those of one: --partition {partitions[0]}",
        )
    rows = [row for row in rows if partition in (None, row["partition"])]
    if not rows:
        typer.echo(f"{topic}: no rejected row waits")
        return
    records = [b64decode(row["record"] or "") for row in rows]
    write(file, _lines(records))
    first, end = rows[0]["_offset"], rows[-1]["_offset"] + 1
    more = f" --partition {rows[0]['partition']}" if rows[0]["partition"] else ""
    typer.echo(f"{topic}: {len(rows):,} rejected rows are in {file}")
    typer.echo(
        f"hint: mend them, then headwater rejected {topic} --send --repaired {file} "
        f"--offsets {first}:{end}{more}"
    )


def _lines(records: list[bytes]) -> Iterator[bytes]:
    """A record a line; those of CSV below the header line that they came with."""
    header = b""
    for record in records:
        own = b"" if record.lstrip()[:1] in (b"{", b"[") else record[: record.find(b"\n") + 1]
        if own and own != header:
            yield own.rstrip(b"\r\n")
        header = own or header
        text = record.removeprefix(own)
        yield text if own else text.replace(b"\r", b" ").replace(b"\n", b" ")


def _send(
    client: Client, topic: str, repaired: Path | None, offsets: str | None, partition: int
) -> None:
    where = path("topics", topic, "rejected")
    if (repaired is None) != (offsets is None):
        raise DefinitionError(
            "--repaired and --offsets belong together",
            hint=f"headwater rejected {topic} --export FILE says what to type",
        )
    if repaired is None or offsets is None:
        told = client.post(where, b"", "")
    else:
        first, end = _span(offsets)
        body, kind = _body(repaired)
        told = client.post(where, body, kind, from_=first, to=end, partition=partition)
    again = f", {told['duplicate']:,} were sent before" if told["duplicate"] else ""
    typer.echo(
        f"{topic}: {told['accepted']:,} accepted, {told['rejected']:,} rejected again{again}"
    )
    for rejection in told["rejections"][:SHOWN_ROWS]:
        typer.echo(f"  row {rejection['position'] + 1:,}: {rejection['reason']}", err=True)
    if told["rejected"]:
        raise typer.Exit(1)


def _span(offsets: str) -> tuple[int, int]:
    first, _, end = offsets.partition(":")
    if not (first.isdigit() and end.isdigit()):
        raise DefinitionError(f"--offsets {offsets} is no FROM:TO", hint="for example 0:100")
    return int(first), int(end)


def _body(file: Path) -> tuple[bytes, str]:
    """All of a file as one request: its rows take the place of others together or not at all."""
    form = form_of(file, None)
    if form in (Form.PARQUET, Form.ARROW):
        raise DefinitionError(f"{file} is {form}", hint="repaired rows are NDJSON, JSON or CSV")
    with opened(file, form) as rows:
        batches = [batch.body for batch in rows.batches]
    if form is Form.CSV and len(batches) > 1:
        # Each begins with the header.
        header = batches[0][: batches[0].find(b"\n") + 1]
        batches[1:] = [body.removeprefix(header) for body in batches[1:]]
    return b"".join(batches), CONTENT_TYPES[form]
