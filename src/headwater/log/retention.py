"""Which files of a topic are let go: the one place where that is decided.

Rows go by whole files and from the front, so what is kept is always a stretch of offsets without a
gap. A file goes by age when its newest row arrived too long ago, and by size when the topic takes
more than it may; of several partitions the one whose first file is the oldest gives it. What
recovery steps through again is never let go. The decision counts once a durable manifest no longer
names the files; until then a start finds them where they were.

Nothing is read but what the manifest says of the files; only where it cannot tell where the last
row of all stands is one file's index looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headwater.log.lane import SealAt
from headwater.log.segment import Segment
from headwater.plan.life import Life

_ARRIVED = 1
# So many files hold what a topic keeps, if it does not keep all; none is made smaller than this.
_FILES_KEPT = 8
_FILE_BYTES_MIN = 1 << 20
# What goes to an archive, or is compacted, is so after about so long, however few the rows are.
_DAY_US = 24 * 3_600_000_000


def expired(  # noqa: PLR0913 - the files, and by what they are judged
    lanes: Sequence[Sequence[Segment]],
    starts: Sequence[int],
    life: Life,
    *,
    size_bytes: int,
    now_us: int,
    tick_to: int,
) -> list[int]:
    """Where each lane begins once the files are gone that may go.

    Args:
        lanes: The files of each partition, in order.
        starts: Where each partition begins now.
        size_bytes: What the topic takes, rows in memory among it.
        now_us: The time of day.
        tick_to: Rows from this place in the log's order on are needed.

    """
    counts = [_too_old(segments, life, now_us, tick_to) for segments in lanes]
    if life.retention_bytes is not None:
        gone = [s for lane, count in zip(lanes, counts, strict=True) for s in lane[:count]]
        rest_bytes = size_bytes - sum(segment.entry.size_bytes for segment in gone)
        while rest_bytes > life.retention_bytes:
            lane = _oldest(lanes, counts, tick_to)
            if lane is None:
                break
            rest_bytes -= lanes[lane][counts[lane]].entry.size_bytes
            counts[lane] += 1
    return [
        lane[count - 1].position_to if count else start
        for lane, count, start in zip(lanes, counts, starts, strict=True)
    ]


def sealed_by(life: Life, seal_at: SealAt) -> SealAt:
    """When files are sealed that go as a whole: they hold a small part of what is kept."""
    size_bytes, span_us = seal_at.size_bytes, seal_at.span_us
    if life.retention_bytes is not None:
        size_bytes = min(size_bytes, max(_FILE_BYTES_MIN, life.retention_bytes // _FILES_KEPT))
    if life.retention_us is not None:
        span_us = max(1, life.retention_us // _FILES_KEPT)
    elif life.archive is not None or life.is_compact:
        span_us = _DAY_US
    return replace(seal_at, size_bytes=size_bytes, span_us=span_us)


def _too_old(segments: Sequence[Segment], life: Life, now_us: int, tick_to: int) -> int:
    if life.retention_us is None:
        return 0
    count = 0
    for number, segment in enumerate(segments):
        is_old = segment.entry.highest[_ARRIVED] < now_us - life.retention_us
        if not is_old or not _is_free(segments, number, tick_to):
            break
        count += 1
    return count


def _oldest(lanes: Sequence[Sequence[Segment]], counts: Sequence[int], tick_to: int) -> int | None:
    """The lane that gives its next file: the one whose file is the oldest."""
    free = [
        (segments[count].entry.highest[_ARRIVED], number)
        for number, (segments, count) in enumerate(zip(lanes, counts, strict=True))
        if count < len(segments) and _is_free(segments, count, tick_to)
    ]
    return min(free)[1] if free else None


def _is_free(segments: Sequence[Segment], number: int, tick_to: int) -> bool:
    """Whether all rows of a file stand before `tick_to`."""
    if segments[number].low(0) >= tick_to:
        return False
    if segments[number].entry.is_archived:
        return True
    if number + 1 < len(segments) and segments[number + 1].low(0) <= tick_to:
        return True
    return segments[number].tick_to <= tick_to
