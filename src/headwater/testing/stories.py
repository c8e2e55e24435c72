"""What a view publishes, as tables of changes, for tests of those that follow it.

Each story is of one kind of view. Its epochs withdraw and add rows in an order that says nothing,
as those of real views do; several of them make one write, so that a write holds rows that come and
go, keys that go and come back, and nulls in keys.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pyarrow as pa

from headwater.connectors.sink import Followed
from headwater.log.columns import EPOCH, OFFSET, WEIGHT
from headwater.schema.encode import interval_texts, json_texts
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType, parse_type

Row = tuple[Any, ...]
Change = tuple[Row, int]

_WIDE = (
    ("id", "BIGINT"),
    ("small", "TINYINT"),
    ("byte", "UTINYINT"),
    ("whole", "UBIGINT"),
    ("huge", "HUGEINT"),
    ("price", "DECIMAL(12,6)"),
    ("single", "FLOAT"),
    ("twice", "DOUBLE"),
    ("is_so", "BOOLEAN"),
    ("text", "VARCHAR"),
    ("bytes", "BLOB"),
    ("day", "DATE"),
    ("clock", "TIME"),
    ("moment", "TIMESTAMP"),
    ("second", "TIMESTAMP_S"),
    ("instant", "TIMESTAMP WITH TIME ZONE"),
    ("spell", "INTERVAL"),
    ("tag", "UUID"),
    ("document", "JSON"),
    ("items", "BIGINT[]"),
    ("point", "STRUCT(x DOUBLE, y VARCHAR)"),
    ("prices", "MAP(VARCHAR, DECIMAL(9,2))"),
)
_TEXTS = (
    "",
    "ä, 漢字 and 🜁",
    "a \"quoted\" 'text'",
    "two\nlines\r\n\\.\nand a \\ and a \ttab",
    "null",
    "\\N",
    "NULL",
    " ",
)


@dataclass(frozen=True, slots=True)
class Story:
    """A view, and all that it publishes.

    Args:
        epochs: Changes, epoch by epoch.
        per_write: So many epochs make one write.
    """

    name: str
    followed: Followed
    epochs: tuple[tuple[Change, ...], ...]
    per_write: int = 2

    @property
    def end(self) -> int:
        """The offset after the last change."""
        return sum(map(len, self.epochs))

    def ends(self) -> list[int]:
        """The offsets after each epoch."""
        return [sum(map(len, self.epochs[: n + 1])) for n in range(len(self.epochs))]

    def first(self, epochs: int) -> Story:
        """The story up to an epoch."""
        return replace(self, epochs=self.epochs[:epochs])

    def next_end(self, position: int, epochs: int | None = None) -> int:
        """Where a write of so many epochs from a position on ends."""
        later = [end for end in self.ends() if end > position]
        return later[: epochs or self.per_write][-1]

    def changes(self, offset_from: int, offset_to: int) -> pa.Table:
        """A range of the changes, as a sink gets it."""
        flat = [(row, weight, n) for n, epoch in enumerate(self.epochs) for row, weight in epoch]
        part = flat[offset_from:offset_to]
        schema = self.followed.schema.arrow
        arrays = [
            pa.array([row[at] for row, _, _ in part], field.type) for at, field in enumerate(schema)
        ]
        arrays += [
            pa.array([weight for _, weight, _ in part], pa.int64()),
            pa.array([epoch for _, _, epoch in part], pa.int64()),
            pa.array(range(offset_from, offset_to), pa.int64()),
        ]
        return pa.Table.from_arrays(arrays, names=[*schema.names, WEIGHT, EPOCH, OFFSET])

    def content(self, position: int | None = None) -> Counter[Row]:
        """What the view holds after the changes before a position, as `content` says it."""
        return content(self.changes(0, self.end if position is None else position), self.followed)


def content(rows: pa.Table, followed: Followed) -> Counter[Row]:
    """How often each row is there, values as texts.

    Args:
        rows: With the view's columns, of its types or such as can be cast to them; nested values
            and intervals may also be their texts. With `_weight`, rows count by it.
    """
    texts = [_texts(rows.column(column.name), column.type) for column in followed.schema]
    weights = rows.column(WEIGHT).to_pylist() if WEIGHT in rows.column_names else [1] * len(rows)
    found: Counter[Row] = Counter()
    for row, weight in zip(zip(*texts, strict=True), weights, strict=True):
        found[row] += weight
    return Counter({row: count for row, count in found.items() if count})


def _texts(column: pa.ChunkedArray, kind: DataType) -> list[Any]:
    is_json = kind.kind in ("LIST", "STRUCT", "MAP", "JSON")
    if not pa.types.is_nested(kind.arrow) and not pa.types.is_interval(kind.arrow):
        column = column.cast(kind.arrow)
    if pa.types.is_floating(column.type):
        return [None if value is None else repr(value) for value in column.to_pylist()]
    if is_json and pa.types.is_string(column.type):
        texts = column.to_pylist()
    elif pa.types.is_interval(column.type):
        texts = interval_texts(column).to_pylist()
    elif pa.types.is_interval(kind.arrow):
        texts = column.to_pylist()
    else:
        texts = [text for chunk in column.chunks for text in json_texts(chunk).to_pylist()]
    return [None if text is None else _sorted(text) for text in texts] if is_json else texts


def _sorted(text: str) -> str:
    return json.dumps(json.loads(text, parse_float=str), sort_keys=True)


def stories() -> tuple[Story, ...]:
    """Every kind of view."""
    return (_keyed(), _repeated(), _appended(), _one_row(), _wide())


def large(rows: int = 20_000) -> Story:
    """Many rows at once, half of which are replaced by the next write."""
    added = tuple((_by_number(n, "first"), 1) for n in range(rows))
    replaced = tuple(
        change
        for n in range(0, rows, 2)
        for change in ((_by_number(n, "first"), -1), (_by_number(n, "second"), 1))
    )
    followed = _followed("large", "n BIGINT, word VARCHAR, price DECIMAL(12,2)", key=("n",))
    return Story("large", followed, (added, replaced), per_write=1)


def _by_number(n: int, word: str) -> Row:
    return (n, f"{word} {n % 97}", Decimal(n) / 100)


def _followed(
    view: str, columns: str, *, key: tuple[str, ...] | None = None, appends: bool = False
) -> Followed:
    parsed = (text.strip().split(" ", 1) for text in columns.split(", "))
    return _of(view, [(name, kind) for name, kind in parsed], key=key, appends=appends)


def _of(
    view: str,
    columns: Iterable[tuple[str, str]],
    *,
    key: tuple[str, ...] | None = None,
    appends: bool = False,
) -> Followed:
    schema = Schema(tuple(Column(name, parse_type(kind)) for name, kind in columns))
    return Followed(f"tests.{view}", view, schema, key, is_append_only=appends)


def _keyed() -> Story:
    """A view with a row for each pair of keys, which may be null, as groups are."""
    random = Random(1)  # noqa: S311 - a test wants the same numbers again
    followed = _followed("keyed", "Kind VARCHAR, n BIGINT, total BIGINT", key=("Kind", "n"))
    keys = [(kind, n) for kind in ("a", "B", None) for n in (1, 2, None)]
    held: dict[Row, Row] = {}
    epochs = []
    for epoch in range(9):
        changes: list[Change] = []
        for key in random.sample(keys, 5):
            if key in held:
                changes.append((held.pop(key), -1))
            if random.random() < 0.7:
                held[key] = (*key, epoch // 2)
                changes.append((held[key], 1))
        random.shuffle(changes)
        epochs.append(tuple(changes))
    return Story("keyed", followed, tuple(epochs), per_write=3)


def _repeated() -> Story:
    """A view whose rows may be equal."""
    random = Random(2)  # noqa: S311 - a test wants the same numbers again
    followed = _followed("repeated", "word VARCHAR, n BIGINT")
    rows = [(word, n) for word in ("a", "b", None) for n in (1, None)]
    held: Counter[Row] = Counter()
    epochs = []
    for _ in range(9):
        changes: list[Change] = []
        for row in random.choices(rows, k=6):
            weight = -1 if held[row] and random.random() < 0.5 else 1
            held[row] += weight
            changes.append((row, weight))
        random.shuffle(changes)
        epochs.append(tuple(changes))
    return Story("repeated", followed, tuple(epochs), per_write=3)


def _appended() -> Story:
    """A view that never withdraws a row."""
    followed = _followed("appended", "n BIGINT, word VARCHAR", appends=True)
    epochs = tuple(tuple(((n, f"w{n % 2}"), 1) for n in (e, e, e + 1)) for e in range(6))
    return Story("appended", followed, epochs)


def _one_row() -> Story:
    """A view of a single row, as an aggregate without groups is."""
    followed = _followed("one_row", "n BIGINT, last VARCHAR", key=())
    rows: list[Row] = [(n, "x" * n if n % 2 else None) for n in range(6)]
    first: tuple[Change, ...] = ((rows[0], 1),)
    later = tuple(((after, 1), (before, -1)) for before, after in pairwise(rows))
    return Story("one_row", followed, (first, *later))


def _wide() -> Story:
    """Every type that a view's column can have, extremes, nulls, and texts that must be quoted."""
    followed = _of("wide", _WIDE, key=("id",))
    rows = _wide_rows()
    added = tuple((row, 1) for row in rows)
    changed = tuple(
        change
        for row, other in zip(rows, (*rows[1:], rows[0]), strict=True)
        for change in ((row, -1), ((row[0], *other[1:]), 1))
    )
    return Story("wide", followed, (added, changed), per_write=1)


def _wide_rows() -> Sequence[Row]:
    nothing = (None,) * (len(_WIDE) - 1)
    some: Row = (
        -128,
        255,
        2**64 - 1,
        Decimal(10**37),
        Decimal("-999999.999999"),
        0.1,
        float("nan"),
        True,
        None,
        bytes(range(256)),
        date(1969, 12, 31),
        time(23, 59, 59, 999_999),
        datetime(1600, 1, 2, 3, 4, 5, 6),
        datetime(2038, 1, 19, 3, 14, 8),
        datetime(2024, 2, 29, 12, tzinfo=UTC),
        pa.MonthDayNano([14, -3, 4_000_005_000]),
        "00000000-0000-0000-0000-0000000000ff",
        '{"a": [1, null, "ü"], "b": {}}',
        [1, None, -(2**63)],
        {"x": 0.5, "y": 'q"\\'},
        [("k", Decimal("1.50")), ("é", None)],
    )
    least: Row = (
        127,
        0,
        0,
        Decimal(-(10**37)),
        Decimal("0.000001"),
        float("-inf"),
        5e-324,
        False,
        None,
        b"",
        date(9999, 12, 31),
        time(0),
        datetime(9999, 12, 31, 23, 59, 59, 999_999),
        datetime(1970, 1, 1),
        datetime(1, 1, 1, tzinfo=UTC),
        pa.MonthDayNano([0, 0, 0]),
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "null",
        [],
        {"x": None, "y": None},
        [],
    )
    at = [name for name, _ in _WIDE].index("text")
    spelled = [(100 + n, *some[: at - 1], text, *some[at:]) for n, text in enumerate(_TEXTS)]
    return [(1, *some), (2, *least), (None, *nothing), (3, *nothing), *spelled]
