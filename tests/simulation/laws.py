"""The laws, checked against what was sent and against DuckDB in batch.

Nothing that was acknowledged is lost and nothing is there twice; received = accepted + rejected;
a view's content is the sum of its changes and the answer of batch; a sink has the changes up to
its position, each once.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.runtime.runtime import Runtime
from headwater.runtime.statuses import status_of
from headwater.runtime.table import TableRunner
from headwater.runtime.view import ViewRunner
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk
from simulation import consuming, keeping
from simulation.life import Life
from simulation.sending import Batch
from simulation.world import ALL, World, Wrong


def check(life: Life) -> None:
    """Check every law at the end of a life in which all was sent and computed."""
    check_rows(life.world, life.runtime)
    check_contents(life.runtime)
    check_batch(life)
    keeping.check(life)
    for group in life.world.groups:
        consuming.drain(life, group)


def check_rows(world: World, runtime: Runtime) -> None:
    """What was acknowledged is there once, and nothing else but what may have been.

    Of logs only what is kept is there; what came was counted.
    """
    batches = [batch for sender in world.senders for batch in sender.batches]
    for name, topic in runtime.topics.items():
        of_topic = [batch for batch in batches if batch.topic == name]
        found = Counter(id_ for rows in partitions_of(topic) for id_ in rows["id"].to_pylist())
        rejected = runtime.rejected[name].read_offsets(0, 0, ALL, ["record"])
        lines = Counter(line.decode() for line in rejected.column("record").to_pylist())
        for kind, there, sent in (
            ("row", found, [x for batch in of_topic for x in batch.rows]),
            ("rejected row", lines, [x for batch in of_topic for x in batch.bad]),
        ):
            lost, surplus = Counter(sent) - there, there - Counter(sent)
            life = topic.definition.life
            if lost and life.is_endless and not life.is_compact:
                raise Wrong(f"{kind}s of {name} were acknowledged and are gone: {list(lost)}")
            if surplus:
                raise Wrong(f"{kind}s of {name} are there more often than sent: {surplus}")
        check_counts(runtime, name, of_topic)
        check_values(name, topic, {k: v for b in of_topic for k, v in b.rows.items()})


def check_counts(runtime: Runtime, name: str, batches: Sequence[Batch]) -> None:
    """Received = accepted + rejected + duplicate, of a topic and of each producer."""
    status = next(topic for topic in status_of(runtime, [], "").topics if topic.name == name)
    accepted, rejected = sum(len(b.rows) for b in batches), sum(len(b.bad) for b in batches)
    if (status.rows, status.rejected) != (accepted, rejected):
        raise Wrong(f"{name} counts {status.rows} and {status.rejected}: {accepted}, {rejected}")
    least = sum(batch.repeats * batch.count for batch in batches)
    most = least + sum(batch.repeats_unsure * batch.count for batch in batches)
    if not least <= status.duplicate <= most:
        raise Wrong(f"{name} counts {status.duplicate} duplicates, and not {least} to {most}")
    if status.received != status.rows + status.rejected + status.duplicate:
        raise Wrong(f"{name} does not add up: {status}")
    numbered = [batch for batch in batches if batch.sequence is not None]
    told = [sum(getattr(p, kind) for p in status.producers) for kind in ("accepted", "rejected")]
    if told != [sum(len(b.rows) for b in numbered), sum(len(b.bad) for b in numbered)]:
        raise Wrong(f"the producers of {name} do not add up: {status.producers}")
    if sum(producer.duplicate for producer in status.producers) != status.duplicate:
        raise Wrong(f"the duplicates of {name} do not add up: {status.producers}")


def check_values(name: str, topic, sent: Mapping[int, dict]) -> None:
    for rows in partitions_of(topic):
        for row in rows.to_pylist():
            wanted = sent[row["id"]]
            found = {key: value for key, value in row.items() if not key.startswith("_")}
            if "ts" in found:
                found["ts"] = found["ts"].isoformat()
            if "weight" in found:
                found["load"] = found.pop("weight")
            missing = {"note", "load"} if name == "hits" else set()
            if found != {k: v for k, v in wanted.items() if k in found or k not in missing}:
                raise Wrong(f"a row of {name} is {found} and was {wanted}")


def partitions_of(topic) -> list[pa.Table]:
    partitions = range(topic.definition.partitions)
    return [topic.read_offsets(partition, 0, ALL) for partition in partitions]


def check_contents(runtime: Runtime) -> None:
    """Each view holds the sum of its changes, and no epoch is there twice."""
    for view in runtime.loop.stepper.views:
        changes = view.changes.read(0, ALL)
        epochs = changes.column("_epoch").to_pylist()
        if epochs != sorted(epochs) or (epochs and epochs[-1] > runtime.loop.visible.epoch):
            raise Wrong(f"the epochs of {view.name} are out of order")
        names = view.plan.schema.names
        total: Counter = Counter()
        rows = zip(*(changes.column(name).to_pylist() for name in names), strict=True)
        for row, weight in zip(rows, changes.column("_weight").to_pylist(), strict=True):
            total[row] += weight
        if min(total.values(), default=0) < 0:
            raise Wrong(f"{view.name} withdraws what it did not add")
        held = Counter(tuple(row.values()) for row in content_of(view).to_pylist())
        if held != +total:
            raise Wrong(f"{view.name} does not hold the sum of its changes")


def check_batch(life: Life) -> None:
    """Each view, and each table, holds what DuckDB says of the same rows."""
    runtime = life.runtime
    inputs = {name: in_order(topic) for name, topic in runtime.topics.items()}
    inputs["hits"] = as_first_named(inputs["hits"])
    if "logs" in inputs:
        inputs["logs"] = sent_logs(life.world, inputs["logs"].schema)
    for name, table in runtime.loop.stepper.tables.items():
        definition = table.definition
        inputs[name] = standing(inputs[name], definition.newest_by, definition.deleted_by)
        held = pa.Table.from_batches(table.content().batches(), plain(table))
        compare(name, held, inputs[name])
    views = {view.name: view for view in runtime.loop.stepper.views}
    for name, text in life.drawn.means.items():
        compare(name, content_of(views[name]), asked(text, inputs))


def compare(name: str, held: pa.Table, wanted: pa.Table) -> None:
    """Compare what is held with what it should be."""
    try:
        assert_same(held, wanted.cast(held.schema))
    except AssertionError as error:
        raise Wrong(f"{name} is not what batch says: {error}") from error


def plain(table: TableRunner) -> pa.Schema:
    """The columns of a table's content, in which any may hold nulls."""
    return pa.schema([(column.name, column.type.arrow) for column in table.definition.schema])


def as_first_named(hits: pa.Table) -> pa.Table:
    """Hits as an author has them who knows their load by its first name."""
    return hits.rename_columns(["load" if n == "weight" else n for n in hits.column_names])


def sent_logs(world: World, schema: pa.Schema) -> pa.Table:
    """All logs that were ever sent, though some of them are gone."""
    batches = [batch for sender in world.senders for batch in sender.batches]
    rows = [row for batch in batches if batch.topic == "logs" for row in batch.rows.values()]
    return pa.Table.from_pylist(rows, schema)


def asked(text: str, inputs: Mapping[str, pa.Table]) -> pa.Table:
    """What DuckDB says of rows."""
    connection = duck()
    for name, rows in inputs.items():
        connection.register(name, rows)
    return connection.sql(text).to_arrow_table()


def standing(rows: pa.Table, newest_by: str | None, deleted_by: str | None) -> pa.Table:
    """Of the rows of a table those that stand: of each ad the newest, unless it deletes it."""
    newest: dict[int, dict] = {}
    for row in rows.to_pylist():
        before = newest.get(row["ad"])
        if before is None or _version(row, newest_by) >= _version(before, newest_by):
            newest[row["ad"]] = row
    found = [row for row in newest.values() if deleted_by is None or not row[deleted_by]]
    return pa.Table.from_pylist(found, rows.schema)


def _version(row: dict, newest_by: str | None) -> int:
    # A null is the lowest; where no column says it, what came last is the newest.
    version = None if newest_by is None else row[newest_by]
    return -1 if version is None else version


@cache
def duck() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    return connection


def check_again(runtime: Runtime) -> None:
    """Views that were built from the log hold what those hold that were there all the time."""
    views = {view.name: view for view in runtime.loop.stepper.views}
    for name, view in views.items():
        other = views.get(f"{name}_again")
        if other is not None:
            try:
                assert_same(content_of(other), content_of(view))
            except AssertionError as error:
                raise Wrong(f"{name}, built from the log, is another: {error}") from error
            if view.late is not None and other.late is not None:
                late, again = (Counter(map(str, log_of(v.late))) for v in (view, other))
                if late != again:
                    raise Wrong(f"late rows of {name}, built from the log, are others")


def log_of(changes) -> list[dict]:
    return [row for each in changes.batches() for row in each.to_pylist()]


def check_closed(life: Life) -> None:
    """What is outside is as it is to be when the pipeline is closed."""
    keeping.check_archive(life)
    for runner in life.sinks:
        view = runner._view
        if runner.status().state != "stopped":
            raise Wrong(f"the sink of {view.name} is {runner.status()}")
        if runner.definition.connector == "store":
            check_store(life.world, view)
        else:
            check_files(life.world, view)


def check_store(world: World, view: ViewRunner) -> None:
    """The store has the content of a view."""
    content = world.store.of(view.name)
    held = Counter(tuple(row.values()) for row in content_of(view).to_pylist())
    rows = {row: count for row, count in content.rows.items() if count}
    if rows != held or content.position != view.changes.next_offset():
        raise Wrong(f"the store at {content.position} does not hold {view.name}: {rows}, {held}")


def check_files(world: World, view: ViewRunner) -> None:
    """The files of a sink have the changes of its view, each once and in order."""
    files = files_of(world.files, view.name)
    changes = view.changes.read(0, ALL)
    if not view.plan.root.append_only:
        columns = changes.column_names
    else:
        columns = [name for name in changes.column_names if name != "_weight"]
    stored = [row for table in files for row in table.select(columns).to_pylist()]
    if stored != changes.select(columns).to_pylist():
        raise Wrong(f"the files of {view.name}'s sink are not what it published")


def files_of(store: FakeDisk, view: str) -> list[pa.Table]:
    paths = [path for path in store.paths() if path.startswith(f"{view}/changes-")]
    whole = [path for path in paths if path.endswith(".parquet")]
    return [pq.read_table(io.BytesIO(store.peek(path))) for path in whole]


def content_of(view) -> pa.Table:
    return pa.Table.from_batches(view.content().batches(), view.plan.schema.arrow)


def in_order(topic) -> pa.Table:
    """A topic's rows in the order of the log."""
    chunks = topic.read_ticks(0, ALL)
    return pa.Table.from_batches([chunk.rows for chunk in chunks], topic.schema)
