"""A running pipeline: what `App.start` gives, and what the HTTP API speaks to."""

from __future__ import annotations

import difflib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headwater.clock import Clock
from headwater.delta.watermark import AFTER_ALL
from headwater.errors import DefinitionError, NoRoomError
from headwater.operators.lookup import Key, Lookup
from headwater.operators.query import Rows as Readable
from headwater.operators.query import answer
from headwater.run import garbage
from headwater.run.compile import Compiled, compile_pipeline
from headwater.run.connect import sink_runners
from headwater.run.deletion import deletion
from headwater.run.evolve import evolved
from headwater.run.imports import import_ahead
from headwater.runtime.consumer import LEASE_SECONDS, ROWS_MAX, Consumer, joined
from headwater.runtime.consumers import Consumers
from headwater.runtime.evolution import Evolution, VersionStatus, Wish, told, versions_of
from headwater.runtime.ingest import Ingest, Rows
from headwater.runtime.rejects import Rejects, Span
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.status import OFFSET_FIRST, ProducerStatus, Receipt, Resent, Status
from headwater.runtime.statuses import producers_of, status_of
from headwater.runtime.view import ViewRunner
from headwater.storage.folder import DataFolder

if TYPE_CHECKING:
    from headwater.serve.server import Server


class Live:
    """A pipeline that runs in this process. Safe to use from many threads.

    Not made by hand: see `App.start`. Use it in a `with` statement, or call `close`.
    """

    def __init__(  # noqa: PLR0913 - what runs, where, and with what
        self,
        compiled: Compiled,
        folder: Path,
        *,
        listen: str | None,
        clock: Clock,
        settings: Settings,
        scratch: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        address = None if listen is None else _address(listen)
        self._imports = None if address is None else import_ahead()
        self._scratch = scratch
        self._folder = DataFolder.open(folder, command=f"headwater {compiled.pipeline.name}")
        self._path = folder
        self._server: Server | None = None
        self._closed = False
        self._closing = threading.Lock()
        self._lookups: dict[str, Lookup] = {}
        try:
            self._runtime = Runtime(
                compiled.pipeline,
                compiled.plans,
                self._folder.disk,
                clock,
                settings,
                planned=lambda pipeline: compile_pipeline(pipeline).plans,
            )
        except BaseException:
            self._folder.close()
            raise
        garbage.hold()
        try:
            self._start(address)
            garbage.freeze()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    @property
    def url(self) -> str | None:
        """Where the live page and the API are; None without HTTP."""
        return self._server.url if self._server else None

    @property
    def address(self) -> str | None:
        """`HOST:PORT` of the HTTP API, with the port that it got; None without HTTP."""
        return self._server.address if self._server else None

    @property
    def can_reopen(self) -> bool:
        """Whether it has stopped because the disk was full, and there is room again."""
        failures = (self._runtime.journal.failure, self._runtime.loop.failure)
        is_full = any(isinstance(failure, NoRoomError) for failure in failures)
        return is_full and self._folder.has_room

    @property
    def notices(self) -> list[str]:
        """What the start did that the user should know: views built, epochs recovered."""
        lines = [*self._runtime.notices, *self._runtime.decision.lines()]
        if self._runtime.epochs_recovered:
            epochs, seconds = self._runtime.epochs_recovered, self._runtime.recovery_seconds
            lines.append(f"recovered: {epochs} epochs stepped again in {seconds:.1f} s")
        return lines

    def send(  # noqa: PLR0913 - what is sent, where to, and by whom
        self,
        topic: str,
        rows: Rows,
        *,
        form: str | None = None,
        partition: int = 0,
        producer: str | None = None,
        sequence: int | None = None,
    ) -> Receipt:
        """Validate rows and append the good ones; return when they are durable.

        Args:
            rows: A list of dicts, an Arrow table or batch, or bytes.
            form: How bytes are to be read: `ndjson` (the default), `json`, `csv` or `arrow`.
            producer: Who sends, by a name of its own. A batch that it sends twice is appended once.
            sequence: The number that the producer gives to this batch. It is higher than that of
                the batch before in the same partition; numbers may be left out.

        Raises:
            DefinitionError: There is no such topic or partition, or a later batch of the producer
                was taken and this one never was.
            RecordError: The bytes as a whole cannot be read. (Single bad rows are in the receipt.)
            StateError: The log cannot be written.
        """
        name = self._named(topic, self._runtime.topics, "topic")
        definition = self._runtime.topics[name].definition
        return self._ingest.send(
            definition, rows, form=form, partition=partition, producer=producer, sequence=sequence
        )

    def send_bytes(  # noqa: PLR0913 - what is sent, where to, and by whom
        self,
        topic: str,
        body: bytes,
        form: str,
        partition: int,
        *,
        producer: str | None = None,
        sequence: int | None = None,
    ) -> Receipt:
        """Validate and append what somebody sent; return when it is durable."""
        return self.send(
            topic, body, form=form, partition=partition, producer=producer, sequence=sequence
        )

    def producers(self, topic: str, producer: str | None = None) -> list[ProducerStatus]:
        """Who has sent to a topic under a name, and up to which number; the last heard of first.

        Args:
            producer: Only this one; it has an entry for each partition that it sent to.

        Raises:
            DefinitionError: There is no such topic.
        """
        name = self._named(topic, self._runtime.topics, "topic")
        return producers_of(self._runtime, name, producer)

    def rejected(self, topic: str, offset_from: int = 0, rows_max: int = 1000) -> pa.Table:
        """Rejected rows of a topic from an offset on, with reason, bytes, and `_offset`.

        `_sent_again` is true of those that `send_rejected` handed on.
        """
        return self._rejects.read(
            self._named(topic, self._runtime.topics, "topic"), offset_from, rows_max
        )

    def send_rejected(
        self,
        topic: str,
        rows: Rows | None = None,
        *,
        offsets: tuple[int, int] | None = None,
        form: str | None = None,
        partition: int = 0,
    ) -> Resent:
        """Send rejected rows again, each once; return when they are durable.

        Without `rows` all that wait are sent as they came, for example after the topic was mended.
        What is rejected again is a new rejected row.

        Args:
            rows: Repaired rows that take their place, as for `send`.
            offsets: With `rows`: which rejected rows they stand for, as `_offset`: from the first
                that waits, up to but not including the second. Those wait no more, whatever of
                them is in `rows`.
            partition: With `rows`: to which partition those were sent, and these go.

        Raises:
            DefinitionError: There is no such topic or partition, or those rows do not wait.
            RecordError: The bytes as a whole cannot be read.
            StateError: The log cannot be written.
        """
        name = self._named(topic, self._runtime.topics, "topic")
        definition = self._runtime.topics[name].definition
        if rows is None:
            return self._rejects.send(definition)
        if offsets is None:
            raise DefinitionError(
                "repaired rows stand for rejected ones",
                hint="say for which: offsets=(0, 100) are the first 100",
            )
        return self._rejects.send_repaired(definition, rows, Span(partition, *offsets), form)

    def evolve(  # noqa: PLR0913 - what is to be changed, by keyword
        self,
        topic: str,
        *,
        add: str | Sequence[str] = (),
        widen: Mapping[str, str] | None = None,
        rename: Mapping[str, str] | None = None,
        drop: str | Sequence[str] = (),
        dry_run: bool = False,
    ) -> Evolution:
        """Change the columns of a topic or table while it runs, as their next version.

        Rows that are there stay as they are and are read with the new columns. Views that do not
        read what changes go on and keep their state.

        Args:
            add: Columns, as in a declaration: `"cost DOUBLE DEFAULT 0"`.
            widen: Wider types, by column: `{"ad": "BIGINT"}`.
            rename: New names, by column: `{"visitor": "user"}`; the old one stays an alias.
            drop: Columns that go.
            dry_run: Only say what would change, and what would break.

        Raises:
            DefinitionError: There is no such topic or column; rows that are there cannot be read
                with the new columns; or a view or sink would break (without `dry_run`).
            StateError: The journal could not be written.
        """
        name = self._named(topic, self._runtime.topics, "topic")
        wish = Wish(_listed(add), widen, rename, _listed(drop))
        return evolved(self._runtime, name, wish, dry_run=dry_run)

    def schemas(self, topic: str) -> tuple[VersionStatus, ...]:
        """All versions of a topic's columns, oldest first."""
        name = self._named(topic, self._runtime.topics, "topic")
        versions = versions_of(self._runtime.topics[name].definition)
        return tuple(told(version) for version in versions.all)

    def settle(self, timeout: float | None = None) -> None:
        """Return when all that was acknowledged is computed, committed and visible.

        Raises:
            TimeoutError: That took longer than `timeout` seconds.
        """
        if not self._runtime.settle(timeout):
            raise TimeoutError(f"not settled within {timeout} seconds")

    def advance(
        self,
        topic: str,
        until: datetime | str,
        *,
        partition: int | None = None,
        sender: str | int | None = None,
    ) -> None:
        """Declare that no event of `topic` before `until` will come.

        Args:
            until: A datetime, or ISO 8601 text; without a zone it is UTC.
            partition: Only in this partition; for a topic without `watermark_by`.
            sender: Only from this sender; for a topic with `watermark_by`. A sender that has not
                been heard of is waited for from now on.

        Raises:
            DefinitionError: There is no such topic or partition, or it tells no senders apart.
        """
        name = self._named(topic, self._runtime.topics, "topic")
        self._runtime.intake.advance(
            name,
            microseconds_of(until),
            partition=partition,
            sender=None if sender is None else str(sender),
        )

    def finish(self) -> None:
        """Let the watermark of every topic pass everything: the input has ended. Then settle."""
        for name, topic in self._runtime.topics.items():
            if topic.definition.event_time is not None:
                self._runtime.intake.advance(name, AFTER_ALL)
        self.settle()

    def query(self, sql: str) -> pa.Table:
        """Answer one SELECT over views, tables, topics and what they left out.

        That is `topic$rejected`, `view$late` and `view$failed`.

        Read-only, and without access to files or the network, whatever the query says. All
        views and tables are seen after the same epoch.

        Raises:
            DefinitionError: It is not one SELECT, or DuckDB refuses it.
        """
        return answer(sql, self._readable())

    def content(self, name: str, rows_max: int | None = None) -> pa.Table:
        """What a view or table holds after the last committed epoch.

        In the order of the view's ORDER BY if it has one.
        """
        visible = self._runtime.loop.visible
        known = self._named(name, visible.contents, "view or table")
        schema = self._schema_of(known)
        # A key that is not declared NOT NULL is so in what a table holds.
        batches: Iterable[pa.RecordBatch] = (
            batch.cast(schema) for batch in visible.contents[known].batches()
        )
        order = next((plan.order for plan in self._runtime.plans if plan.name == known), ())
        if rows_max is not None and not order:
            batches = _first(batches, rows_max)
        table = pa.Table.from_batches(batches, schema)
        if order:
            keys = [(column, "descending" if down else "ascending") for column, down in order]
            table = table.sort_by(keys)
        return table if rows_max is None else table.slice(0, rows_max)

    def get(self, table: str, key: Key) -> dict[str, Any] | None:
        """The row of a key after the last committed epoch; None where there is none.

        Costs a fraction of a millisecond, whatever the table's size.

        Args:
            key: The value of the key's column; a tuple or a dict where it has several.

        Raises:
            DefinitionError: There is no such table, or it has another key.
        """
        row = self.row(table, key)
        return None if row is None else row.to_pylist()[0]

    def row(self, table: str, key: Key) -> pa.Table | None:
        """The same as a table of one row; values of the key may also be text."""
        visible = self._runtime.loop.visible
        name = self._named(table, self._runtime.loop.stepper.tables, "table")
        find = visible.contents[name].find
        assert find is not None, f"{name} is a table"
        found = find(*self._lookup(name).key(key))
        return pa.Table.from_batches([found.rows]) if found.mask[0] else None

    def delete(self, table: str, key: Key, *, version: Any = None) -> Receipt:
        """Delete the row of a key from a table with `deleted_by`; return when that is durable.

        That is a row like any other, of which that column is true; of many keys such rows can be
        sent as one batch.

        Args:
            key: As for `get`; given by column it may hold the version too.
            version: Where the table has `newest_by`: what the deletion has there.

        Raises:
            DefinitionError: There is no such table, it has another key or takes no deletions, or it
                needs a version.
            StateError: The log cannot be written.
        """
        name = self._named(table, self._runtime.loop.stepper.tables, "table")
        definition = self._runtime.topics[name].definition
        return self.send(name, [deletion(definition, self._lookup(name), key, version)])

    def changes(
        self,
        view: str,
        offset_from: int = 0,
        rows_max: int | None = None,
        wait_seconds: float = 0.0,
    ) -> pa.Table:
        """What a view has published from an offset on, with `_weight`, `_epoch` and `_offset`.

        Args:
            rows_max: About how many; whole epochs are returned. None for all.
            wait_seconds: How long to wait for the first.
        """
        runner = self._view(view)
        loop = self._runtime.loop
        if wait_seconds:
            with loop.published:
                loop.published.wait_for(
                    lambda: runner.changes.next_offset() > offset_from or self._closed,
                    wait_seconds,
                )
        return runner.changes.read(offset_from, rows_max or (1 << 62))

    def rows(
        self, topic: str, offset_from: int = 0, rows_max: int = 1000, partition: int = 0
    ) -> pa.Table:
        """Accepted rows of a topic from an offset on, with `_partition`, `_offset`, `_arrived`.

        Where the topic's retention has let rows go, an offset before the first that is kept means
        that one. The schema's metadata says which it is: `offset_first`.
        """
        name = self._named(topic, self._runtime.topics, "topic")
        found = self._runtime.topics[name]
        if not 0 <= partition < found.definition.partitions:
            raise DefinitionError(
                f"topic {name} has no partition {partition}",
                hint=f"its partitions are numbered 0 to {found.definition.partitions - 1}",
            )
        rows = found.read_offsets(partition, offset_from, rows_max)
        first = found.first_offset(partition)
        return rows.replace_schema_metadata({OFFSET_FIRST: str(first)})

    def consumer(  # noqa: PLR0913 - what it reads, and how, by keyword
        self,
        group: str,
        relation: str,
        *,
        from_: str | datetime = "start",
        rows_max: int = ROWS_MAX,
        newest: bool | str | Sequence[str] = False,
        wait_seconds: float | None = None,
        member: str | None = "",
        lease_seconds: float = LEASE_SECONDS,
    ) -> Consumer:
        """One member of a consumer group, that reads a topic, a table or a view's changes.

        The group is made if there is none, and goes on where it stands if there is.

        Args:
            from_: Where a new group begins: `start`, `now`, or a time: rows that came since.
            rows_max: About how many rows a batch has; whole epochs of a view.
            newest: Only the newest row of each key; or the columns of the key.
            wait_seconds: End the iteration when nothing comes for so long; None: wait for ever.
            member: What this member is called; None lets other members have the same rows.
            lease_seconds: Other members are not given a batch for so long.

        Raises:
            DefinitionError: There is no such relation, or it cannot be read so.
        """
        return joined(
            self._runtime.consumers,
            group,
            relation,
            from_=from_,
            rows_max=rows_max,
            newest=newest,
            wait_seconds=wait_seconds,
            member=member,
            lease_seconds=lease_seconds,
        )

    @property
    def consumers(self) -> Consumers:
        """The consumer groups: where they stand, and by name to put them elsewhere."""
        return self._runtime.consumers

    def status(self) -> Status:
        """Everything there is to know, at one moment."""
        status = status_of(self._runtime, self._sinks, str(self._path))
        problem = self._folder.problem
        if problem is None:
            return status
        return replace(status, problems=(problem, *status.problems))

    def checkpoint_now(self) -> None:
        """Take a checkpoint, so that the next start has little to compute again.

        Raises:
            StateError: It could not be written.
        """
        self._runtime.loop.between(self._runtime.checkpoint)

    def close(self) -> None:
        """Stop everything in order: the API, the epochs, the sinks, the log."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._runtime.consumers.close()
        if self._server:
            self._server.stop()
        self._runtime.loop.stop()
        for sink in getattr(self, "_sinks", []):
            sink.stop()
        try:
            self._runtime.close()
        finally:
            for lookup in self._lookups.values():
                lookup.close()
            garbage.release()
            self._folder.close()
            if self._scratch:
                self._scratch.cleanup()

    def _start(self, address: tuple[str, int] | None) -> None:
        runtime = self._runtime
        self._ingest = Ingest(runtime.intake, runtime.clock)
        self._rejects = Rejects(runtime.intake, self._ingest, runtime.rejected)
        self._sinks = sink_runners(runtime)
        runtime.start()
        for sink in self._sinks:
            sink.start()
        if address is not None:
            assert self._imports is not None
            self._imports.join()
            # Of no use to who does not listen.
            from headwater.serve.server import Server

            self._server = Server(self, *address)
            self._server.start()

    def _readable(self) -> dict[str, Readable]:
        """All relations that a query may read, as of one epoch."""
        runtime, visible = self._runtime, self._runtime.loop.visible
        readable: dict[str, Readable] = {}
        for name, topic in runtime.topics.items():
            if not topic.definition.is_table:
                readable[name] = Readable(topic.schema, topic.batches)
            rejected = runtime.rejected[name]
            readable[f"{name}$rejected"] = Readable(rejected.schema, rejected.batches)
        for name, content in visible.contents.items():
            readable[name] = Readable(self._schema_of(name), content.batches)
        for view in runtime.loop.stepper.views:
            if view.late is not None:
                readable[f"{view.name}$late"] = Readable(view.late.schema, view.late.batches)
            readable[f"{view.name}$failed"] = Readable(view.failed.schema, view.failed_batches)
        return readable

    def _lookup(self, name: str) -> Lookup:
        """What makes keys of a table ready; kept, as it takes milliseconds to make."""
        definition = self._runtime.topics[name].definition
        with self._closing:
            known = self._lookups.get(name)
            if known is None or known.schema is not definition.schema:
                known = self._lookups[name] = Lookup(name, definition.schema, definition.key)
            return known

    def _schema_of(self, name: str) -> pa.Schema:
        if name in self._runtime.topics:
            return self._runtime.topics[name].schema
        return self._view(name).plan.schema.arrow

    def _view(self, name: str) -> ViewRunner:
        views = {view.name: view for view in self._runtime.loop.stepper.views}
        return views[self._named(name, views, "view")]

    def _named(self, name: str, known: Iterable[str], kind: str) -> str:
        """The declared spelling of a name.

        Raises:
            DefinitionError: There is none like it.
        """
        names = list(known)
        for candidate in names:
            if candidate.lower() == name.lower():
                return candidate
        near = difflib.get_close_matches(name, names, n=1)
        raise DefinitionError(
            f"there is no {kind} {name}",
            hint=f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}",
        )


def _listed(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def microseconds_of(until: datetime | str) -> int:
    """A moment as microseconds since 1970; without a zone it is UTC."""
    moment = datetime.fromisoformat(until) if isinstance(until, str) else until
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (seconds.days * 86_400 + seconds.seconds) * 1_000_000 + seconds.microseconds


def _address(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `:PORT` or `PORT`."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise DefinitionError(
            f"cannot listen on {listen!r}", hint="write HOST:PORT, for example 127.0.0.1:8484"
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def _first(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """So many batches that they have so many rows."""
    for batch in batches:
        if rows <= 0:
            return
        yield batch
        rows -= batch.num_rows
