"""Rows of every version are read with the newest columns, wherever they lie.

Columns come, go, get other names and wider types at random, between appends, flushes and seals.
What is read is compared with the rows as they were appended, cast one by one in plain Python.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.compare import compare
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.schema.versions import Version, Versions
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk
from headwater.testing.disk import FakeDisk

SMALL = SealAt(rows=8)
# Each type with the next wider one, a value of it, and what plain Python makes of an older value.
WIDER = {"TINYINT": "INTEGER", "INTEGER": "BIGINT", "BIGINT": "DECIMAL(22,2)", "FLOAT": "DOUBLE"}
TYPES = ("TINYINT", "INTEGER", "FLOAT", "VARCHAR")
CASTS = {"DECIMAL(22,2)": lambda v: Decimal(v).quantize(Decimal("0.01"))}


def value(kind: str, seed: int) -> Any:
    if seed % 5 == 0:
        return None
    if kind == "VARCHAR":
        return f"text {seed}"
    if kind in ("FLOAT", "DOUBLE"):
        return seed / 4
    return Decimal(seed % 100) if kind.startswith("DECIMAL") else seed % 100


def as_type(held: Any, kind: str) -> Any:
    return held if held is None else CASTS.get(kind, lambda v: v)(held)


@dataclass
class Model:
    """A topic, and beside it all rows by the ids of their columns."""

    topic: Topic
    rows: list[dict[int, Any]] = field(default_factory=list)
    fills: dict[int, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def versions(self) -> Versions:
        versions = self.topic.definition.versions
        assert versions is not None
        return versions

    def append(self, count: int) -> None:
        newest, first = self.versions.newest, len(self.rows)
        for _ in range(count):
            self.seed += 1
            self.rows.append(
                {f.id: value(f.column.type.sql, self.seed + f.id) for f in newest.fields}
            )
        arrays = [
            pa.array([row[f.id] for row in self.rows[first:]], f.column.type.arrow)
            for f in newest.fields
        ]
        rows = pa.RecordBatch.from_arrays(arrays, schema=newest.schema.arrow)
        self.topic.append(Chunk(0, first, first, first, rows))

    def change(self, columns: list[Column]) -> None:
        newest = self.versions.newest
        found = compare(newest, Schema(tuple(columns)), drops=newest.schema.names)
        assert not found.problems, found.problems
        version = found.version(newest, tick=len(self.rows), time_us=0)
        known = newest.names
        self.fills |= {f.id: f.column.default for f in version.fields if f.id not in known}
        versions = self.versions.then(version)
        self.topic = self.topic.evolved(
            replace(self.topic.definition, schema=version.schema, versions=versions)
        )

    def expected(self) -> list[dict[str, Any]]:
        fields = self.versions.newest.fields
        return [
            {
                f.column.name: as_type(row.get(f.id, self.fills.get(f.id)), f.column.type.sql)
                for f in fields
            }
            for row in self.rows
        ]

    def reopen(self, blobs: Blobs) -> None:
        """As after a start: what was flushed is there, the rest comes again from the journal."""
        self.topic.flush()
        manifest = json.loads(json.dumps(self.topic.manifest()))
        stored = [json.loads(json.dumps(version.save())) for version in self.versions.all]
        versions = Versions(tuple(map(Version.load, stored)))
        definition = replace(
            self.topic.definition, schema=versions.newest.schema, versions=versions
        )
        self.topic = Topic.open(definition, blobs, "topics/t", manifest, seal_at=SMALL)


def started(blobs: Blobs) -> Model:
    schema = Schema((Column("c0", parse_type("TINYINT")), Column("c1", parse_type("VARCHAR"))))
    definition = TopicDefinition("t", schema, versions=Versions((Version.first(schema),)))
    return Model(Topic(definition, blobs, "topics/t", seal_at=SMALL))


def changed(columns: list[Column], kind: str, pick: int, number: int) -> list[Column]:
    """The columns after a change of some kind; as they were where that cannot be."""
    at = pick % len(columns)
    column = columns[at]
    if kind == "add":
        added = TYPES[pick % len(TYPES)]
        default = None if pick % 3 == 0 else value(added, 10 * pick + 1)
        new = Column(f"n{number}", parse_type(added), default=default, is_optional=default is None)
        return [*columns[:at], new, *columns[at:]]
    if kind == "widen" and column.type.sql in WIDER:
        columns[at] = replace(column, type=parse_type(WIDER[column.type.sql]))
    elif kind == "rename":
        aliases = (*column.aliases, column.name)
        columns[at] = replace(column, name=f"r{number}", aliases=aliases)
    elif kind == "drop" and len(columns) > 1:
        del columns[at]
    return columns


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            "append append append flush seal reopen add widen rename drop".split()  # noqa: SIM905
        ),
        st.integers(0, 11),
    ),
    min_size=5,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_row_reads_as_if_it_were_cast_by_hand(steps: list[tuple[str, int]]) -> None:
    blobs = Blobs(FakeDisk(0))
    model = started(blobs)
    for number, (step, pick) in enumerate(steps):
        if step == "append":
            model.append(pick + 1)
        elif step == "flush":
            model.topic.flush()
        elif step == "seal":
            model.topic.flush()
            model.topic.seal()
        elif step == "reopen":
            model.reopen(blobs)
        else:
            columns = list(model.versions.newest.schema)
            now = changed(list(columns), step, pick, number)
            if now != columns:
                model.change(now)
    check(model)
    model.topic.flush()
    model.topic.seal()
    check(model)
    model.reopen(blobs)
    check(model)


def check(model: Model) -> None:
    expected, schema = model.expected(), model.topic.schema
    assert pa.Table.from_batches(model.topic.batches(), schema).to_pylist() == expected
    for columns in (schema.names[::-1], schema.names[:1], schema.names[-1:]):
        chunks = model.topic.read_ticks(0, len(expected), columns)
        found = [row for chunk in chunks for row in chunk.rows.to_pylist()]
        assert found == [{name: row[name] for name in columns} for row in expected]
    stored = model.topic.read_ticks(0, len(expected), schema.names, joined=True)
    assert [row for chunk in stored for row in chunk.rows.to_pylist()] == expected
    assert model.topic.rows_between(0, len(expected)) == len(expected)
    table = model.topic.read_offsets(0, 1, 3)
    assert table.select(schema.names).to_pylist() == expected[1:4]


def test_who_reads_goes_on_with_the_columns_that_there_were() -> None:
    model = started(Blobs(FakeDisk(0)))
    model.append(9)
    model.topic.flush()
    model.append(2)
    before, rows = model.topic, model.expected()
    reader = before.batches()
    first = next(reader)
    columns = list(model.versions.newest.schema)
    model.change([replace(columns[0], type=parse_type("BIGINT"))])
    model.topic.flush()
    model.topic.seal()

    assert [row for batch in (first, *reader) for row in batch.to_pylist()] == rows
    assert pa.Table.from_batches(before.batches(), before.schema).to_pylist() == rows
    check(model)


def test_archive_files_of_several_versions_are_one_table_for_other_programs(
    tmp_path: Path,
) -> None:
    model = started(Blobs(LocalDisk(tmp_path)))
    model.append(8)
    model.topic.flush()
    model.topic.seal()
    columns = list(model.versions.newest.schema)
    added = Column("n", parse_type("DOUBLE"), default=0.5)
    model.change([replace(columns[0], type=parse_type("BIGINT")), columns[1], added])
    model.append(8)
    model.topic.flush()
    model.topic.seal()

    files = str(tmp_path / "topics/t/data/*/*.parquet")
    answer = duckdb.connect().execute(
        "SELECT c0, typeof(c0), c1, coalesce(n, 0.5) FROM read_parquet(?, union_by_name = true) "
        "ORDER BY _offset",
        [files],
    )
    expected = [
        (row["c0"], "BIGINT", row["c1"], 0.5 if row["n"] is None else row["n"])
        for row in model.expected()
    ]
    assert answer.fetchall() == expected
