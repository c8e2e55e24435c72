"""A small honest pipeline in memory: the protocol `Service` over lists and DuckDB.

Each accepted batch is one epoch: every view is computed again over all rows, and the difference is
published. Slow for much data and right for little, which is what tests of the HTTP layer need.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from headwater.errors import DefinitionError, Place, RecordError, StateError
from headwater.runtime.status import (
    ProducerStatus,
    Receipt,
    Rejection,
    Resent,
    SinkStatus,
    Status,
    TopicStatus,
    ViewStatus,
)

_PARSERS: dict[str, Any] = {"BIGINT": int, "DOUBLE": float, "VARCHAR": str, "TIMESTAMP": str}
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
STARTED_US = int(STARTED.timestamp() * 1e6)


@dataclass
class MemoryTopic:
    columns: dict[str, str]
    key: str | None = None
    event_time: str | None = None
    partitions: int = 1
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    watermark_us: int | None = None


@dataclass
class MemoryView:
    sql: str
    inputs: tuple[str, ...]
    emit: str = "changes"
    columns: tuple[tuple[str, str], ...] = ()
    content: pa.Table | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)


class MemoryService:
    """Implements `headwater.serve.service.Service`."""

    def __init__(
        self,
        topics: dict[str, MemoryTopic],
        views: dict[str, MemoryView],
        *,
        name: str = "shop",
        sinks: tuple[SinkStatus, ...] = (),
    ) -> None:
        self.topics = topics
        self.views = views
        self.name = name
        self.sinks = sinks
        self.resent = 0
        self.sent: dict[tuple[str, str], ProducerStatus] = {}
        self.receipts: dict[tuple[str, str], Receipt] = {}
        self.epoch = 0
        self.is_broken = False
        self.bytes_received = 0
        self.problems: tuple[str, ...] = ()
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._changed = threading.Condition()
        for topic_name, topic in topics.items():
            columns = ", ".join(f"{c} {t}" for c, t in topic.columns.items())
            self._duckdb.execute(f"CREATE TABLE {topic_name} ({columns})")
            self._duckdb.execute(
                f'CREATE TABLE "{topic_name}$rejected" '
                "(reason VARCHAR, record BLOB, position BIGINT, arrived TIMESTAMPTZ, "
                '"column" VARCHAR)'
            )
        for view_name, view in views.items():
            self._duckdb.execute(f"CREATE VIEW {view_name} AS {view.sql}")
            described = self._duckdb.sql(f"DESCRIBE {view_name}").fetchall()
            view.columns = tuple((row[0], row[1]) for row in described)
            self._duckdb.execute(
                f'CREATE VIEW "{view_name}$late" AS SELECT * FROM {view_name} LIMIT 0'
            )
            view.content = self._duckdb.sql(f"FROM {view_name}").to_arrow_table()

    def send_bytes(
        self,
        topic: str,
        body: bytes,
        form: str,
        partition: int,
        *,
        producer: str | None = None,
        sequence: int | None = None,
    ) -> Receipt:
        self.bytes_received += len(body)
        target = self._topic(topic)
        if self.is_broken:
            raise StateError("the journal could not be written", hint="free some space")
        if partition >= target.partitions:
            raise DefinitionError(f"topic {topic} has no partition {partition}")
        records = _records(body, form)
        if (producer is None) != (sequence is None):
            raise DefinitionError("a producer needs a sequence", hint="send both")
        if producer is not None and sequence is not None:
            known = self.sent.get((topic, producer))
            if known is not None and known.sequence >= sequence:
                duplicate = known.duplicate + len(records)
                self.sent[topic, producer] = replace(known, duplicate=duplicate)
                return replace(self.receipts[topic, producer], duplicate=len(records))
        rows, rejections, raws = [], [], []
        for position, record in enumerate(records):
            row, reason, column = _checked(record, target)
            if row is None:
                rejections.append(Rejection(position, reason or "", column))
                raws.append((reason, str(record).encode(), position, STARTED, column))
            else:
                rows.append(row)
        with self._changed:
            offset = len(target.rows)
            self._append(topic, target, rows, raws)
        receipt = Receipt(
            topic,
            accepted=len(rows),
            rejected=len(rejections),
            offset_first=offset if rows else -1,
            partition=partition,
            rejections=tuple(rejections[:100]),
        )
        if producer is not None and sequence is not None:
            sizes = len(records), len(rows), len(rejections), 0
            self.sent[topic, producer] = ProducerStatus(
                producer, partition, sequence, None, None, *sizes, STARTED_US
            )
            self.receipts[topic, producer] = replace(receipt, rejections=())
        return receipt

    def producers(self, topic: str, producer: str | None) -> list[ProducerStatus]:
        self._topic(topic)
        found = [known for (name, _), known in self.sent.items() if name == topic]
        return [known for known in found if producer in (None, known.producer)]

    def rejected(self, topic: str, offset_from: int, rows_max: int) -> pa.Table:
        held = self._topic(topic).rejected[offset_from : offset_from + rows_max]
        hidden = [
            {"_offset": offset_from + i, "_sent_again": offset_from + i < self.resent}
            for i in range(len(held))
        ]
        return pa.Table.from_pylist(
            [{**row, **more} for row, more in zip(held, hidden, strict=True)]
        )

    def send_rejected(
        self,
        topic: str,
        rows: bytes | None,
        *,
        offsets: tuple[int, int] | None,
        form: str | None,
        partition: int,
    ) -> Resent:
        waiting = self._topic(topic).rejected[self.resent :]
        self.resent = len(self._topic(topic).rejected) if offsets is None else offsets[1]
        if rows is not None:
            receipt = self.send_bytes(topic, rows, form or "ndjson", partition)
        elif waiting:
            body = b"\n".join(row["record"] for row in waiting)
            receipt = self.send_bytes(topic, body, "ndjson", partition)
        else:
            receipt = Receipt(topic, 0, 0, -1)
        return Resent(topic, self.resent, receipt.accepted, receipt.rejected)

    def rows(self, topic: str, offset_from: int, rows_max: int, partition: int) -> pa.Table:
        held = self._topic(topic).rows[offset_from : offset_from + rows_max]
        hidden = [
            {"_partition": partition, "_offset": offset_from + i, "_arrived": STARTED_US}
            for i in range(len(held))
        ]
        return pa.Table.from_pylist(
            [{**row, **more} for row, more in zip(held, hidden, strict=True)]
        )

    def content(self, name: str, rows_max: int | None) -> pa.Table:
        with self._changed:
            if name in self.views:
                table = self.views[name].content
                return table if rows_max is None else table.slice(0, rows_max)
            topic = self._topic(name)
            if topic.key is None:
                raise DefinitionError(f"{name} is a topic, and has rows but no content")
            limit = "" if rows_max is None else f"LIMIT {rows_max}"
            return self._duckdb.sql(f"FROM {name} {limit}").to_arrow_table()

    def row(self, table: str, key: Mapping[str, str]) -> pa.Table | None:
        column = self._topic(table).key
        if column is None or set(key) != {column}:
            raise DefinitionError(f"the key of {table} is {column}")
        content = self.content(table, None).to_pylist()
        found = [row for row in content if str(row[column]) == key[column]]
        return pa.Table.from_pylist(found) if found else None

    def delete(self, table: str, key: Mapping[str, str]) -> Receipt:
        raise DefinitionError(f"table {table} takes no deletions")

    def changes(self, view: str, offset_from: int, rows_max: int, wait_seconds: float) -> pa.Table:
        if view not in self.views:
            raise DefinitionError(f"there is no view {view}", hint=f"views: {list(self.views)}")
        log = self.views[view].changes
        with self._changed:
            self._changed.wait_for(lambda: len(log) > offset_from or self.is_broken, wait_seconds)
            if self.is_broken:
                raise StateError("the journal could not be read")
            content = self.views[view].content
            hidden = [pa.field(name, pa.int64()) for name in ("_weight", "_epoch", "_offset")]
            schema = pa.schema([*content.schema, *hidden])
            return pa.Table.from_pylist(log[offset_from : offset_from + rows_max], schema)

    def query(self, sql: str) -> pa.Table:
        with self._changed:
            try:
                return self._duckdb.sql(sql).to_arrow_table()
            except duckdb.CatalogException as error:
                name = str(error).split("Table with name ")[-1].split(" ")[0]
                start = max(0, sql.find(name))
                place = Place(sql, start, start + len(name))
                raise DefinitionError(
                    f"there is no relation {name}", place=place, hint=f"did you mean {name}s?"
                ) from None
            except duckdb.Error as error:
                raise DefinitionError(str(error).splitlines()[0]) from None

    def status(self) -> Status:
        with self._changed:
            return Status(
                pipeline=self.name,
                data="in memory",
                started_us=STARTED_US,
                now_us=STARTED_US + self.epoch * 1_000_000,
                epoch=self.epoch,
                epochs_per_second=1.0,
                rows_per_second=float(sum(len(t.rows) for t in self.topics.values())),
                lag_rows=0,
                topics=tuple(self._topic_status(n, t) for n, t in self.topics.items()),
                views=tuple(self._view_status(n, v) for n, v in self.views.items()),
                sinks=self.sinks,
                problems=self.problems,
            )

    def break_down(self) -> None:
        """From now on the disk is lost."""
        with self._changed:
            self.is_broken = True
            self._changed.notify_all()

    def _topic(self, name: str) -> MemoryTopic:
        if name not in self.topics:
            raise DefinitionError(
                f"there is no topic {name}", hint=f"topics: {', '.join(self.topics)}"
            )
        return self.topics[name]

    def _append(
        self, name: str, topic: MemoryTopic, rows: list[dict[str, Any]], raws: list[Any]
    ) -> None:
        topic.rejected += [{"reason": reason, "record": record} for reason, record, *_ in raws]
        if raws:
            self._duckdb.executemany(f'INSERT INTO "{name}$rejected" VALUES (?, ?, ?, ?, ?)', raws)
        if not rows:
            return
        topic.rows += rows
        if topic.key is not None:
            keys = [(row[topic.key],) for row in rows]
            self._duckdb.executemany(f"DELETE FROM {name} WHERE {topic.key} = ?", keys)
        marks = ", ".join("?" for _ in topic.columns)
        values = [[row[c] for c in topic.columns] for row in rows]
        self._duckdb.executemany(f"INSERT INTO {name} VALUES ({marks})", values)
        if topic.event_time is not None:
            question = f"SELECT epoch_us(max({topic.event_time})) FROM {name}"
            topic.watermark_us = self._duckdb.sql(question).fetchall()[0][0]
        self.epoch += 1
        for view_name, view in self.views.items():
            self._publish(view_name, view)
        self._changed.notify_all()

    def _publish(self, name: str, view: MemoryView) -> None:
        before = view.content
        view.content = self._duckdb.sql(f"FROM {name}").to_arrow_table()
        counts = Counter(_hashable(row) for row in view.content.to_pylist())
        counts.subtract(_hashable(row) for row in before.to_pylist())
        for row, count in sorted(counts.items(), key=lambda item: (str(item[0]), item[1])):
            if count:
                view.changes.append(
                    {
                        **dict(row),
                        "_weight": count,
                        "_epoch": self.epoch,
                        "_offset": len(view.changes),
                    }
                )

    def _topic_status(self, name: str, topic: MemoryTopic) -> TopicStatus:
        return TopicStatus(
            name=name,
            kind="table" if topic.key else "topic",
            columns=tuple(topic.columns.items()),
            rows=len(topic.rows),
            rejected=len(topic.rejected),
            computed=len(topic.rows),
            rows_per_second=float(len(topic.rows)),
            watermark_us=topic.watermark_us,
            held_by=None,
            partitions=topic.partitions,
            received=len(topic.rows) + len(topic.rejected),
            producers=tuple(self.producers(name, None)),
        )

    def _view_status(self, name: str, view: MemoryView) -> ViewStatus:
        return ViewStatus(
            name=name,
            columns=view.columns,
            emit=view.emit,
            inputs=view.inputs,
            rows=view.content.num_rows,
            changes=len(view.changes),
            late=0,
            changes_per_second=float(len(view.changes)),
            watermark_us=None,
            waits_for="the watermark of clicks" if view.emit == "final" else None,
        )


def _hashable(row: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(row.items())


def _records(body: bytes, form: str) -> list[Any]:
    if not body.strip():
        raise RecordError("the body is empty")
    if form == "arrow":
        with pa.ipc.open_stream(body) as reader:
            return reader.read_all().to_pylist()
    if form == "csv":
        return list(csv.DictReader(io.StringIO(body.decode())))
    if form == "json":
        try:
            value = json.loads(body)
        except ValueError as error:
            raise RecordError(f"not JSON: {error}") from None
        return value if isinstance(value, list) else [value]
    return [_line(line) for line in body.splitlines() if line.strip()]


def _line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def _checked(
    record: Any, topic: MemoryTopic
) -> tuple[dict[str, Any] | None, str | None, str | None]:
    if not isinstance(record, dict):
        return None, "not a JSON object", None
    row = {}
    for column, type_ in topic.columns.items():
        if column not in record:
            return None, f"column {column} is missing", column
        try:
            row[column] = _PARSERS[type_](record[column])
        except (TypeError, ValueError):
            return None, f"{record[column]!r} is not a {type_}", column
    return row, None, None


def shop(**more: Any) -> MemoryService:
    """A small pipeline: clicks, a table of campaigns, and two views."""
    return MemoryService(
        {
            "clicks": MemoryTopic(
                {"ad": "BIGINT", "visitor": "VARCHAR", "ts": "TIMESTAMP"}, event_time="ts"
            ),
            "campaigns": MemoryTopic({"ad": "BIGINT", "campaign": "VARCHAR"}, key="ad"),
        },
        {
            "per_ad": MemoryView(
                "SELECT ad, count(*) AS n FROM clicks GROUP BY ad ORDER BY ad", ("clicks",)
            ),
            "per_campaign": MemoryView(
                "SELECT campaign, sum(n)::BIGINT AS n FROM per_ad JOIN campaigns USING (ad) "
                "GROUP BY campaign ORDER BY campaign",
                ("per_ad", "campaigns"),
                emit="final",
            ),
        },
        **more,
    )
