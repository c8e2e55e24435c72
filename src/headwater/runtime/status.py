"""What a running pipeline says of itself: plain data for the API, the page and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field

# What the metadata of rows of a topic calls the first offset that their partition still has.
OFFSET_FIRST = "offset_first"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one row of a batch was not taken.

    Args:
        position: The row's place in what was sent, counted from 0.
        reason: What is wrong, with the value.
        column: The column at fault, when there is one.

    """

    position: int
    reason: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch that was sent. All of it is durable.

    Args:
        offset_first: The offset of the first accepted row in its partition; -1 if none was.
        rejections: The first rejected rows, at most 100; `rejected` counts all. A batch that came
            again has none.
        duplicate: How many rows of a producer's batch the log had already: all, or 0. The other
            numbers then say what became of the batch when it was taken, as far as that is known.

    """

    topic: str
    accepted: int
    rejected: int
    offset_first: int
    partition: int = 0
    rejections: tuple[Rejection, ...] = ()
    duplicate: int = 0


@dataclass(frozen=True, slots=True)
class Resent:
    """What became of rejected rows that were sent again. All of it is durable.

    Args:
        offset_to: Rejected rows below this offset do not wait any more.
        accepted, rejected: Rows that were sent now. What was rejected again waits again.
        duplicate: Repaired rows that had been sent before.
        rejections: The first rejected rows of a batch, at most 100.

    """

    topic: str
    offset_to: int
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class ProducerStatus:
    """Who sends to a partition of a topic under a name.

    Args:
        sequence: The number of its last batch.
        sequence_before: That of the batch before; None where it is the first that is known.
        digest: The CRC-32 of the last batch's bytes; None where its rows came as values.
        received: Rows of all its batches: accepted + rejected + duplicate.
        heard_us: When its last batch arrived.

    """

    producer: str
    partition: int
    sequence: int
    sequence_before: int | None
    digest: int | None
    received: int
    accepted: int
    rejected: int
    duplicate: int
    heard_us: int


@dataclass(frozen=True, slots=True)
class Held:
    """Who holds a watermark back. Neither a partition nor a sender: all of them are idle.

    Args:
        at_us: How far it is itself: its newest event less the delay; None before its first event.
        heard_us: When its last rows arrived, or None.
        since_us: Since when the topic's watermark stands where it is: the recorded time of the
            epoch in which it last rose; None when it never did.

    """

    topic: str
    partition: int | None = None
    sender: str | None = None
    at_us: int | None = None
    heard_us: int | None = None
    since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that a view holds back until a watermark has reached a time.

    Args:
        what: `window`, `session`, `pattern`, `join`, `timer`, `stretch` (of a view with a pace),
            `completeness` (of rows that are shown already), or `time` (of day: rows that come and
            go with now()).
        until_us: That time.
        text: Why it has not been reached, in words, to be read after "waits for".
        held: Who holds the watermark: a partition or sender; None for `time`.
        completeness: The share of that topic's partitions or senders that have passed the time.

    """

    what: str
    until_us: int
    text: str
    held: Held | None = None
    completeness: float | None = None


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """A topic or table.

    Args:
        rows: Accepted rows so far.
        computed: How many of them the views have taken in; `rows - computed` is the lag.
        watermark_us: "No event before this is expected", or None before the first event.
        held_by: What holds the watermark where it is, in words, or None.
        held: The same as data.
        offsets_next: The offset that the next row gets, for each partition; empty where not known.
        received: All rows that were sent: those accepted, rejected and counted as duplicates.
        duplicate: Rows of producers' batches that the log had already.
        producers: The named producers that were heard of last, at most 100.
        producers_known: How many are remembered.
        rows_kept: How many of the accepted rows are still there; the others were let go, or taken
            out by compaction.
        rows_compacted: How many rows are gone between others, as newer ones have replaced them.
        oldest_us: When the oldest row that is kept arrived, or a little earlier; None for none.
        offsets_first: The first offset that is kept, for each partition; empty where not known.
        rejected_kept: How many of the rejected rows are still there.
        archived_bytes: How many of the bytes are in the archive.

    """

    name: str
    kind: str
    columns: tuple[tuple[str, str], ...]
    rows: int
    rejected: int
    computed: int
    rows_per_second: float
    watermark_us: int | None
    held_by: str | None
    partitions: int = 1
    bytes: int = 0
    offsets_next: tuple[int, ...] = ()
    held: Held | None = None
    received: int = 0
    duplicate: int = 0
    producers: tuple[ProducerStatus, ...] = ()
    producers_known: int = 0
    rows_kept: int = 0
    oldest_us: int | None = None
    offsets_first: tuple[int, ...] = ()
    rejected_kept: int = 0
    archived_bytes: int = 0
    rows_compacted: int = 0


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """A view.

    Args:
        inputs: The relations it reads.
        rows: Rows it holds now.
        changes: Rows it has published so far, additions and retractions.
        late: Rows that came too late for it.
        watermark_us: The lowest watermark of its sources.
        waits: All that it holds back, the first to come out first.
        waits_for: Why the first of them has not come out, in words; None when nothing waits.
        window_end_us: The time that must be passed for it.
        held: Who holds it: a partition or sender of one of its topics.
        completeness: The share of that topic's partitions or senders that have passed that time.
        order: The order in which it is read, as (column, is_descending); empty for none.
        failed: Rows that its expressions refused.
        paused: Why it is not computed any more, or None.

    """

    name: str
    columns: tuple[tuple[str, str], ...]
    emit: str
    inputs: tuple[str, ...]
    rows: int
    changes: int
    late: int
    changes_per_second: float
    watermark_us: int | None
    waits_for: str | None
    state_rows: int = 0
    state_bytes: int = 0
    order: tuple[tuple[str, bool], ...] = ()
    failed: int = 0
    paused: str | None = None
    window_end_us: int | None = None
    held: Held | None = None
    completeness: float | None = None
    waits: tuple[Waiting, ...] = ()


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """A sink.

    Args:
        position: The offset up to which its store has the source's changes.
        lag: Changes published and not yet in the store.
        state: `running`, or what went wrong, in words.

    """

    name: str
    source: str
    connector: str
    position: int
    lag: int
    state: str


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """A consumer group in a relation that it reads.

    Args:
        kind: `topic`, `table` or `view`; empty where the relation is not there any more.
        positions: For each partition (a view has one) the offset of the first row that the group
            has not confirmed.
        ends: For each partition the offset that its next row gets.
        lag: Rows that it has not confirmed.
        lag_seconds: How long ago the oldest of them came; 0 without any, None where not known.
        lost: Rows that retention removed before the group had confirmed them.
        members: Those who have rows in hand.
        problem: Why it cannot be read on, in words, or None.

    """

    group: str
    relation: str
    kind: str
    positions: tuple[int, ...]
    ends: tuple[int, ...] = ()
    lag: int = 0
    lag_seconds: float | None = None
    lost: int = 0
    members: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole pipeline at one moment."""

    pipeline: str
    data: str
    started_us: int
    now_us: int
    epoch: int
    epochs_per_second: float
    rows_per_second: float
    lag_rows: int
    topics: tuple[TopicStatus, ...] = ()
    views: tuple[ViewStatus, ...] = ()
    sinks: tuple[SinkStatus, ...] = ()
    consumers: tuple[ConsumerStatus, ...] = ()
    problems: tuple[str, ...] = field(default=())
