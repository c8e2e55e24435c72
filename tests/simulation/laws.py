"""The laws, checked against what was sent and against DuckDB in batch.

Nothing that was acknowledged is lost and nothing is there twice; received = accepted + rejected;
a view's content is the sum of its changes and the answer of batch; a sink has the changes up to
its position, each once.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from functools import cache

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.runtime.runtime import Runtime
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk
from simulation.life import ALL, Life, World, Wrong
from simulation.pipelines import Drawn
from simulation.sending import Known


def check(life: Life) -> None:
    """Check every law at the end of a life in which all was sent and computed."""
    check_rows(life.world, life.runtime)
    check_contents(life.runtime)
    check_batch(life.drawn, life.runtime)


def check_rows(world: World, runtime: Runtime) -> None:
    """What was acknowledged is there once, and nothing else but what may have been."""
    batches = [batch for sender in world.senders for batch in sender.batches]
    for name, topic in runtime.topics.items():
        found = Counter(id_ for rows in partitions_of(topic) for id_ in rows["id"].to_pylist())
        rejected = runtime.rejected[name].read_offsets(0, 0, ALL, ["record"])
        lines = Counter(line.decode() for line in rejected.column("record").to_pylist())
        of_topic = [batch for batch in batches if batch.topic == name]
        for kind, there, sent in (
            ("row", found, lambda batch: batch.rows),
            ("rejected row", lines, lambda batch: batch.bad),
        ):
            known = Counter(x for b in of_topic if b.known is Known.ACKNOWLEDGED for x in sent(b))
            maybe = {x for b in of_topic if b.known is Known.UNSURE for x in sent(b)}
            if lost := known - there:
                raise Wrong(f"{kind}s of {name} were acknowledged and are gone: {list(lost)}")
            if surplus := {x: n for x, n in (there - known).items() if x not in maybe or n > 1}:
                raise Wrong(f"{kind}s of {name} are there more often than sent: {surplus}")
        check_values(name, topic, {k: v for b in of_topic for k, v in b.rows.items()})


def check_values(name: str, topic, sent: Mapping[int, dict]) -> None:
    for rows in partitions_of(topic):
        for row in rows.to_pylist():
            wanted = sent[row["id"]]
            ts = row.get("ts")
            found = {key: row[key] for key in wanted if key != "ts"}
            if ts is not None:
                found["ts"] = ts.isoformat()
            if found != wanted:
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


def check_batch(drawn: Drawn, runtime: Runtime) -> None:
    """Each view holds what DuckDB says of the same rows."""
    inputs = {name: in_order(topic) for name, topic in runtime.topics.items()}
    views = {view.name: view for view in runtime.loop.stepper.views}
    for name, text in drawn.means.items():
        held = content_of(views[name])
        try:
            assert_same(held, asked(text, inputs).cast(held.schema))
        except AssertionError as error:
            raise Wrong(f"{name} is not what batch says: {error}") from error


def asked(text: str, inputs: Mapping[str, pa.Table]) -> pa.Table:
    """What DuckDB says of rows, of a table's those that stand."""
    connection = duck()
    for name in ("clicks", "hits"):
        connection.register(name, inputs[name])
    sent = inputs["ads"].append_column("place", pa.array(range(inputs["ads"].num_rows), pa.int64()))
    connection.register("ads_sent", sent)
    return connection.sql(f"WITH ads AS ({_STANDING}) {text}").to_arrow_table()


_STANDING = (
    "SELECT id, ad, name FROM ads_sent "
    "QUALIFY row_number() OVER (PARTITION BY ad ORDER BY place DESC) = 1"
)


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


def check_sinks(life: Life) -> None:
    """Each sink has the changes of its view up to where it is, each once and in order."""
    for sink in life.sinks:
        view = sink._view
        files = files_of(life.world.store, view.name)
        changes = view.changes.read(0, ALL)
        if not view.plan.root.append_only:
            columns = changes.column_names
        else:
            columns = [name for name in changes.column_names if name != "_weight"]
        stored = [row for table in files for row in table.select(columns).to_pylist()]
        wanted = changes.select(columns).to_pylist()
        if stored != wanted[: len(stored)]:
            raise Wrong(f"the files of {view.name}'s sink are not what it published")
        if sink.status().state != "stopped" or len(stored) != len(wanted):
            raise Wrong(f"the sink of {view.name} is {sink.status()}")


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
