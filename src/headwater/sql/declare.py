"""The Python side of a definition: the same objects that SQL text gives.

`topic` and `view` take what `App.topic`, `App.table` and `App.view` are given and build the
definitions. `sql.statements` ends in the same functions, so that SQL and Python cannot differ.
"""

from __future__ import annotations

import inspect
import re
from datetime import timedelta

import pyarrow as pa

from headwater.errors import DefinitionError, Place
from headwater.plan.life import Life
from headwater.plan.pipeline import HOUR_US, Accumulation, Emit, TopicDefinition, ViewDefinition
from headwater.schema.ddl import parse_columns
from headwater.schema.duration import parse_duration
from headwater.schema.schema import Schema
from headwater.schema.size import parse_size
from headwater.sql.places import hint_for
from headwater.sql.query_text import parse_query, split_emit
from headwater.storage.store import Place as ArchivePlace

Duration = str | int | timedelta


def topic(  # noqa: PLR0913 - a topic has these settings, all but two by keyword
    name: str,
    columns: str,
    *,
    event_time: str | None = None,
    delay: Duration | None = None,
    key: str | tuple[str, ...] | list[str] | None = None,
    idle: Duration | None = None,
    future_max: Duration | None = None,
    partitions: int = 1,
    watermark_by: str | None = None,
    ready: float | None = None,
    newest_by: str | None = None,
    deleted_by: str | None = None,
    retention: Duration | None = None,
    retention_bytes: str | int | None = None,
    archive: str | None = None,
    compact: bool = False,
    tombstones_for: Duration | None = None,
) -> TopicDefinition:
    """Declare a topic, or with a key a table.

    Args:
        name: Unique in the pipeline.
        columns: As in CREATE TABLE, without the brackets; may hold PRIMARY KEY and WATERMARK.
        event_time: The column that says when an event happened.
        delay: How far the watermark stays behind the highest event time.
        key: The primary key's column or columns.
        idle: A partition or sender silent for so long no longer holds the watermark back.
        future_max: A row further than this ahead of its arrival is rejected.
        partitions: At least 1.
        watermark_by: The column that names a row's sender: each has a watermark of its own.
        ready: The share of the senders that must have passed a window's end for it to close.
        newest_by: Of a table the column by which the newest row of a key is known.
        deleted_by: Of a table the BOOLEAN column that is true of a row that deletes its key.
        retention: Rows that arrived longer ago are let go.
        retention_bytes: The oldest rows are let go where the topic takes more.
        archive: The folder or bucket to which older files are moved.
        compact: Of a table: rows go that newer ones of their key have replaced.
        tombstones_for: How long rows that delete their key are kept; by default a day.

    Raises:
        DefinitionError: The columns cannot be read, or do not fit the other settings.

    """
    source = f"{'table' if key else 'topic'} {name}"
    parsed = parse_columns(columns, source)
    keys = (key,) if isinstance(key, str) else tuple(key or ())
    watermark = parsed.watermark
    settings = TopicSettings(name, Place(columns, 0, max(1, len(columns)), source))
    return settings.build(
        parsed.schema,
        keys or parsed.key,
        event_time if event_time is not None else (watermark.column if watermark else None),
        microseconds(delay, "delay")
        if delay is not None
        else (watermark.delay_us if watermark else 0),
        idle_us=None if idle is None else microseconds(idle, "idle"),
        future_max_us=HOUR_US if future_max is None else microseconds(future_max, "future_max"),
        partitions=partitions,
        watermark_by=watermark_by,
        ready=1.0 if ready is None else float(ready),
        newest_by=newest_by,
        deleted_by=deleted_by,
        life=Life(
            retention_us=None if retention is None else microseconds(retention, "retention"),
            retention_bytes=None if retention_bytes is None else parse_size(retention_bytes),
            archive=archive,
            is_compact=bool(compact),
            tombstones_us=None
            if tombstones_for is None
            else microseconds(tombstones_for, "tombstones_for"),
        ),
    )


class TopicSettings:
    """Puts a topic together and checks that its parts fit.

    Args:
        name: The topic's name, for messages.
        place: Where the topic is declared.

    """

    def __init__(self, name: str, place: Place) -> None:
        self._name = name
        self._place = place

    def build(  # noqa: PLR0913 - the fields of the definition
        self,
        schema: Schema,
        key: tuple[str, ...],
        event_time: str | None,
        delay_us: int,
        *,
        idle_us: int | None,
        future_max_us: int,
        partitions: int,
        watermark_by: str | None,
        ready: float,
        newest_by: str | None,
        deleted_by: str | None,
        life: Life,
    ) -> TopicDefinition:
        """The definition, its column names spelled as the schema spells them."""
        keys = tuple(self._column(schema, column, "primary key") for column in key)
        time = None if event_time is None else self._column(schema, event_time, "event time")
        if time is not None and not is_timestamp(schema[time].type.sql):
            raise self._error(
                f"the event time {time} of {self._name} is {schema[time].type}, not a TIMESTAMP",
                f"declare it as {time} TIMESTAMP",
            )
        if time is None and delay_us:
            raise self._error(
                f"{self._name} has a delay but no event time",
                "name the column that says when an event happened, for example event_time='ts'",
            )
        if partitions < 1:
            raise self._error(f"{self._name} has {partitions} partitions", "use at least 1")
        by = None if watermark_by is None else self._sender(schema, watermark_by, time)
        self._check_ready(ready, by)
        self._check_life(life)
        self._check_compaction(life, keys, deleted_by, newest_by)
        return TopicDefinition(
            self._name,
            schema.not_null((*keys, by) if by else keys),
            key=keys,
            event_time=time,
            delay_us=delay_us,
            idle_us=idle_us,
            future_max_us=future_max_us,
            partitions=partitions,
            watermark_by=by,
            ready=ready,
            newest_by=None if newest_by is None else self._versioned(schema, newest_by, key),
            deleted_by=None if deleted_by is None else self._deleting(schema, deleted_by, keys),
            life=life,
        )

    def _versioned(self, schema: Schema, name: str, key: tuple[str, ...]) -> str:
        """The column by which the newest row of a key is known."""
        column = self._column(schema, name, "newest_by")
        kind = schema[column].type.arrow
        if not key:
            raise self._error(
                f"{self._name} has newest_by = {column} and no primary key",
                "the newest row of each key is the content of a table: name its key",
            )
        is_number = pa.types.is_signed_integer(kind) or (
            pa.types.is_unsigned_integer(kind) and kind.bit_width < 64
        )
        if not (is_number or pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            raise self._error(
                f"newest_by needs numbers or times that ascend, and {column} is "
                f"{schema[column].type}",
                "use a BIGINT, a TIMESTAMP or a DATE",
            )
        return column

    def _deleting(self, schema: Schema, name: str, key: tuple[str, ...]) -> str:
        """The column that says of a row that it deletes its key."""
        column = self._column(schema, name, "deleted_by")
        if not key:
            raise self._error(
                f"{self._name} has deleted_by = {column} and no primary key",
                "what is deleted is the row of a key, in a table: name its key",
            )
        if not pa.types.is_boolean(schema[column].type.arrow) or column in key:
            kind = "part of the key" if column in key else str(schema[column].type)
            raise self._error(
                f"deleted_by needs a column that is true of a row that deletes its key, and "
                f"{column} is {kind}",
                "add a column of its own: gone BOOLEAN",
            )
        return column

    def _check_life(self, life: Life) -> None:
        if life.retention_us == 0:
            raise self._error(
                f"{self._name} has a retention of no time at all", "retention = '7 days'"
            )
        if life.archive is not None:
            try:
                ArchivePlace.parse(life.archive)
            except DefinitionError as error:
                raise self._error(error.message, error.hint or "") from None

    def _check_compaction(
        self, life: Life, keys: tuple[str, ...], deleted_by: str | None, newest_by: str | None
    ) -> None:
        if life.is_compact and not keys:
            raise self._error(
                f"{self._name} is to be compacted and has no primary key",
                "the newest row of each key is kept of a table: name its key",
            )
        if life.is_compact and life.archive is not None:
            raise self._error(
                f"{self._name} is to be compacted and has an archive",
                "choose one: what is in an archive is not written again",
            )
        if life.tombstones_us is None:
            return
        if not life.is_compact or deleted_by is None:
            raise self._error(
                f"{self._name} has tombstones_for, and no deletion of it ever goes",
                "that needs deleted_by = 'gone' and compact = true",
            )
        if newest_by is not None:
            raise self._error(
                f"{self._name} has tombstones_for and newest_by = {newest_by}: an older row may "
                "come however late, and would be there again if the deletion were forgotten",
                "leave tombstones_for out: deletions with a version are kept",
            )

    def _sender(self, schema: Schema, name: str, time: str | None) -> str:
        """The column that names the sender."""
        column = self._column(schema, name, "watermark_by")
        if time is None:
            raise self._error(
                f"{self._name} has watermark_by = {column} and no event time",
                "name the column that says when an event happened, for example "
                "WATERMARK FOR ts AS ts - INTERVAL '10 seconds', or event_time='ts'",
            )
        kind = schema[column].type.arrow
        if not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
            raise self._error(
                f"watermark_by needs the name or number of a sender, and {column} is "
                f"{schema[column].type}",
                "use a VARCHAR or a whole number",
            )
        return column

    def _check_ready(self, ready: float, by: str | None) -> None:
        if not 0.0 < ready <= 1.0:
            raise self._error(
                f"ready is {ready:g}, and a share is above 0 and at most 1",
                "ready = 0.95 for 95 % of the senders",
            )
        if ready < 1.0 and by is None:
            raise self._error(
                f"{self._name} is ready at {ready:g} of its senders, and nothing tells them apart",
                "name the column that does: watermark_by = 'server'",
            )

    def _column(self, schema: Schema, name: str, role: str) -> str:
        if name not in schema:
            raise self._error(
                f"{self._name} has no column {name} for its {role}",
                hint_for(name, schema.names, "its columns are"),
            )
        return schema[name].name

    def _error(self, message: str, hint: str) -> DefinitionError:
        return DefinitionError(message, place=self._place, hint=hint)


def view(
    name: str,
    query: str,
    *,
    emit: str | Emit | None = None,
    lateness: Duration | None = None,
    accumulation: str | Accumulation = Accumulation.RETRACTING,
) -> ViewDefinition:
    """Declare a view.

    Args:
        name: Unique in the pipeline.
        query: A SELECT in DuckDB's dialect. May end in EMIT CHANGES [EVERY interval] or
            EMIT FINAL.
        emit: `changes` (the default) or `final`.
        lateness: How long after a window's end it is still corrected.
        accumulation: What is published when a result changes (`sql.firings`).

    Raises:
        DefinitionError: The query cannot be read, or a setting is unknown.

    """
    end = max(1, len(query))
    return view_in(
        name,
        Place(query, 0, end, f"view {name}"),
        emit=emit,
        lateness=lateness,
        accumulation=accumulation,
    )


def view_in(
    name: str,
    origin: Place,
    *,
    emit: str | Emit | None = None,
    lateness: Duration | None = None,
    accumulation: str | Accumulation = Accumulation.RETRACTING,
) -> ViewDefinition:
    """A view whose query, with its EMIT clause if it has one, is a span of a larger text."""
    start, end, clause = split_emit(origin)
    how = _emit(emit, None if clause is None else clause.emit, origin)
    mode = _accumulation(accumulation, origin)
    lateness_us = None if lateness is None else microseconds(lateness, "lateness")
    text = origin.text[start:end]
    if not text.strip():
        raise DefinitionError(f"view {name} has no query", place=origin, hint="write SELECT ...")
    query_place = Place(origin.text, start, end, origin.source)
    return ViewDefinition(
        name,
        parse_query(query_place),
        inspect.cleandoc(text),
        emit=how,
        every_us=None if clause is None else clause.every_us,
        lateness_us=0 if how is Emit.FINAL and lateness_us is None else lateness_us,
        accumulation=mode,
        origin=query_place,
    )


def microseconds(value: Duration, setting: str) -> int:
    """A duration as microseconds; text is read as `30 seconds` is.

    Raises:
        DefinitionError: It cannot be read, or is negative.

    """
    if isinstance(value, timedelta):
        result = value // timedelta(microseconds=1)
    elif isinstance(value, int):
        raise DefinitionError(f"{setting} is {value}, without a unit", hint=f"'{value} seconds'")
    else:
        result = parse_duration(value)
    if result < 0:
        raise DefinitionError(f"{setting} is negative: {value}", hint="use a positive duration")
    return result


def is_timestamp(sql_type: str) -> bool:
    """Whether a column of this type can say when an event happened."""
    return sql_type.upper() in ("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")


def _emit(given: str | Emit | None, clause: Emit | None, origin: Place) -> Emit:
    """What the argument and the clause say together; they may not differ."""
    if given is None:
        return clause or Emit.CHANGES
    try:
        emit = Emit(str(given).lower())
    except ValueError:
        raise DefinitionError(
            f"emit is {given!r}", place=origin, hint="use emit='changes' or emit='final'"
        ) from None
    if clause is not None and clause is not emit:
        raise DefinitionError(
            f"the query says EMIT {clause.upper()} and the setting says emit={str(given)!r}",
            place=origin,
            hint="say it once",
        )
    return emit


def _accumulation(given: str | Accumulation, place: Place) -> Accumulation:
    try:
        return Accumulation(str(given).lower())
    except ValueError:
        known = [str(mode) for mode in Accumulation]
        raise DefinitionError(
            f"there is no accumulation {str(given)!r}",
            place=place,
            hint=hint_for(re.sub(r"\W", "", str(given)), known, "there are"),
        ) from None
