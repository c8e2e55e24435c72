"""A watermark runs along the rows, so it does not see where an epoch was cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.log.chunk import Chunk
from headwater.log.zones import Newest
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.curves import lowest
from headwater.runtime.records import Fact, FactKind
from headwater.runtime.watermarks import TopicWatermark
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType

SCHEMA = Schema((Column("ts", DataType("TIMESTAMP", pa.timestamp("us"))),))


def definition(*, delay_us: int = 10, partitions: int = 1) -> TopicDefinition:
    return TopicDefinition(
        "clicks", SCHEMA, event_time="ts", delay_us=delay_us, partitions=partitions
    )


def chunk(tick: int, times: list[int | None], partition: int = 0) -> Chunk:
    rows = pa.record_batch({"ts": pa.array(times, pa.timestamp("us"))})
    return Chunk(partition, 0, tick, 0, rows)


def values_at(curve: WatermarkCurve, ticks: range) -> list[int]:
    return curve.before(np.array(ticks, dtype=np.int64)).tolist()


def test_the_watermark_is_the_highest_time_less_the_delay() -> None:
    mark = TopicWatermark(definition())

    curve = mark.curve([chunk(0, [100, 90, 130])], [])

    assert values_at(curve, range(4)) == [BEFORE_ALL, 90, 90, 120]
    assert mark.current_us == 120


def test_a_null_time_never_moves_it() -> None:
    mark = TopicWatermark(definition())

    curve = mark.curve([chunk(0, [None, 100, None])], [])

    assert values_at(curve, range(4)) == [BEFORE_ALL, BEFORE_ALL, 90, 90]


def test_the_lowest_partition_holds_it_until_it_is_idle() -> None:
    mark = TopicWatermark(definition(delay_us=0, partitions=2))

    waiting = mark.curve([chunk(0, [100], partition=0)], [])
    idle = mark.curve([chunk(1, [110], partition=0)], [Fact(FactKind.IDLE, "clicks", 1, 0, 1)])

    assert waiting.end_us == BEFORE_ALL
    assert values_at(idle, range(1, 3)) == [100, 110]


def test_an_idle_partition_that_speaks_again_never_takes_it_back() -> None:
    mark = TopicWatermark(definition(delay_us=0, partitions=2))
    mark.curve([chunk(0, [100], partition=0)], [Fact(FactKind.IDLE, "clicks", 1, 0, 1)])

    curve = mark.curve([chunk(1, [50], partition=1), chunk(2, [200], partition=0)], [])

    assert curve.end_us == 100


def test_an_advance_passes_everything() -> None:
    mark = TopicWatermark(definition())

    curve = mark.curve([chunk(0, [5])], [Fact(FactKind.ADVANCE, "clicks", -1, AFTER_ALL, 1)])

    assert curve.end_us == AFTER_ALL
    assert values_at(curve, range(2)) == [BEFORE_ALL, AFTER_ALL]


def test_many_rows_rise_where_a_running_maximum_does() -> None:
    rng = np.random.default_rng(1)
    for spread in (1, 500, 5_000):
        times = np.arange(3_000) + rng.integers(-spread, spread, 3_000)
        mark = TopicWatermark(definition(delay_us=0))

        curve = mark.curve([chunk(0, times.tolist())], [])

        highs = np.maximum.accumulate(times)
        assert values_at(curve, range(1, 3_001)) == highs.tolist()


chunks = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.lists(st.none() | st.integers(0, 200), min_size=1, max_size=5),
    ),
    max_size=8,
)


@given(chunks, st.sets(st.integers(0, 8)), st.lists(st.integers(0, 40), max_size=3))
def test_the_curve_does_not_depend_on_the_cut(
    appends: list[tuple[int, list[int | None]]], cuts: set[int], advances: list[int]
) -> None:
    taken, tick = [], 0
    for partition, times in appends:
        taken.append(chunk(tick, times, partition))
        tick += len(times)
    facts = sorted(
        (Fact(FactKind.ADVANCE, "clicks", -1, at * 4, min(at, tick)) for at in advances),
        key=lambda fact: fact.tick,
    )
    # A fact never stands inside an append.
    starts = [c.tick_first for c in taken] + [tick]
    facts = [f for f in facts if f.tick in starts]

    whole = TopicWatermark(definition(partitions=2))
    expected = values_at(whole.curve(taken, facts), range(tick))

    parts = TopicWatermark(definition(partitions=2))
    found: list[int] = []
    edges = [0, *sorted(c for c in cuts if c < len(taken)), len(taken)]
    given_facts = 0
    for low, high in pairwise(edges):
        end = starts[high]
        some = [f for f in facts[given_facts:] if f.tick <= end]
        given_facts += len(some)
        curve = parts.curve(taken[low:high], some)
        found += values_at(curve, range(starts[low], end))

    assert found == expected
    assert parts.current_us == whole.current_us


@given(chunks, st.sets(st.integers(0, 8)), st.integers(1, 2), st.integers(-20, 200))
def test_following_ends_where_the_curve_does(
    appends: list[tuple[int, list[int | None]]], cuts: set[int], partitions: int, floor: int
) -> None:
    taken, tick = [], 0
    for partition, times in appends:
        taken.append(chunk(tick, times, partition % partitions))
        tick += len(times)
    whole, followed = (TopicWatermark(definition(partitions=partitions)) for _ in range(2))
    for mark in (whole, followed):
        mark.curve([], [Fact(FactKind.ADVANCE, "clicks", partitions - 1, floor, 0)])

    whole.curve(taken, [])
    edges = [0, *sorted(c for c in cuts if c < len(taken)), len(taken)]
    for low, high in pairwise(edges):
        followed.follow(newest(taken[low:high]))

    assert followed.save() == whole.save()


def newest(taken: list[Chunk]) -> list[Newest]:
    """What the log says of these rows."""
    found = []
    for partition in {c.partition for c in taken}:
        some = [c for c in taken if c.partition == partition]
        times = [BEFORE_ALL]
        times += [t for c in some for t in c.rows["ts"].cast(pa.int64()).drop_null().to_pylist()]
        found.append(Newest(partition, max(times), some[-1].arrived_us))
    return found


def test_where_a_partition_is_idle_the_order_of_rows_matters() -> None:
    mark = TopicWatermark(definition(partitions=2))
    assert mark.is_orderly

    mark.curve([chunk(0, [5])], [Fact(FactKind.IDLE, "clicks", 1, 0, 1)])

    assert not mark.is_orderly


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100)), max_size=5),
        min_size=1,
        max_size=3,
    )
)
def test_the_lowest_of_several_curves_is_lowest_everywhere(
    points: list[list[tuple[int, int]]],
) -> None:
    curves = []
    for some in points:
        ticks = sorted({tick for tick, _ in some})
        values = sorted({value for _, value in some})[: len(ticks)]
        ticks = ticks[: len(values)]
        curves.append(
            WatermarkCurve(-1, np.array(ticks, dtype=np.int64), np.array(values, dtype=np.int64))
        )

    together = lowest(curves)

    at = range(33)
    each = [values_at(curve, at) for curve in curves]
    assert values_at(together, at) == [min(column) for column in zip(*each, strict=True)]
