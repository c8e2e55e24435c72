"""The status as Prometheus reads it: text format 0.0.4.

Every metric is a line of the tables below; nothing is measured here that /status does not say. A
value that is not known yet (a watermark before the first event) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from headwater.runtime.status import ConsumerStatus, SinkStatus, Status, TopicStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Args:
        name: Its name, without `headwater_`.
        kind: `counter` or `gauge`.
        help: What it says.
        value: Reads it from the status, or from one topic, view or sink; None where it is not
            known.

    """

    name: str
    kind: str
    help: str
    value: Callable[[Any], float | None]


def _seconds(time_us: int | None) -> float | None:
    return None if time_us is None else time_us / 1e6


def _lag(topic: TopicStatus) -> int:
    return topic.rows - topic.computed


def _can_read(consumer: ConsumerStatus) -> int:
    return int(consumer.problem is None)


def _is_running(sink: SinkStatus) -> int:
    return int(sink.state == "running")


PIPELINE = (
    Metric("epoch", "gauge", "The last committed epoch", lambda s: s.epoch),
    Metric(
        "epochs_per_second", "gauge", "Epochs committed a second", lambda s: s.epochs_per_second
    ),
    Metric("rows_per_second", "gauge", "Rows accepted a second", lambda s: s.rows_per_second),
    Metric("lag_rows", "gauge", "Accepted rows not yet computed", lambda s: s.lag_rows),
    Metric(
        "start_time_seconds", "gauge", "When the pipeline started", lambda s: s.started_us / 1e6
    ),
    Metric("problems", "gauge", "Problems that /status names", lambda s: len(s.problems)),
)
TOPIC = (
    Metric("topic_rows_total", "counter", "Accepted rows", lambda t: t.rows),
    Metric("topic_rejected_rows_total", "counter", "Rejected rows", lambda t: t.rejected),
    Metric("topic_duplicate_rows_total", "counter", "Rows that came again", lambda t: t.duplicate),
    Metric("topic_received_rows_total", "counter", "All rows that were sent", lambda t: t.received),
    Metric("topic_computed_rows_total", "counter", "Rows the views took in", lambda t: t.computed),
    Metric("topic_lag_rows", "gauge", "Accepted rows not yet computed", _lag),
    Metric(
        "topic_compacted_rows",
        "gauge",
        "Rows of a table that are gone between others, as newer ones have replaced them",
        lambda t: t.rows_compacted,
    ),
    Metric("topic_kept_rows", "gauge", "Accepted rows that are still there", lambda t: t.rows_kept),
    Metric(
        "topic_oldest_seconds",
        "gauge",
        "When the oldest row that is kept arrived",
        lambda t: _seconds(t.oldest_us),
    ),
    Metric("topic_bytes", "gauge", "Bytes the topic takes", lambda t: t.bytes),
    Metric(
        "topic_archived_bytes",
        "gauge",
        "Of these, bytes in its archive",
        lambda t: t.archived_bytes,
    ),
    Metric(
        "topic_watermark_seconds",
        "gauge",
        "No event before this time is expected",
        lambda t: _seconds(t.watermark_us),
    ),
)
PRODUCER = (
    Metric(
        "producer_accepted_rows_total",
        "counter",
        "Accepted rows of a named producer",
        lambda p: p.accepted,
    ),
    Metric(
        "producer_rejected_rows_total",
        "counter",
        "Rejected rows of a named producer",
        lambda p: p.rejected,
    ),
    Metric(
        "producer_duplicate_rows_total",
        "counter",
        "Rows that a named producer sent again",
        lambda p: p.duplicate,
    ),
    Metric("producer_sequence", "gauge", "The number of its last batch", lambda p: p.sequence),
    Metric(
        "producer_heard_seconds", "gauge", "When its last batch arrived", lambda p: p.heard_us / 1e6
    ),
)
VIEW = (
    Metric("view_rows", "gauge", "Rows the view holds", lambda v: v.rows),
    Metric(
        "view_changes_total", "counter", "Rows published, with retractions", lambda v: v.changes
    ),
    Metric("view_late_rows_total", "counter", "Rows too late for the view", lambda v: v.late),
    Metric("view_failed_rows", "gauge", "Rows that its expressions refused", lambda v: v.failed),
    Metric("view_state_rows", "gauge", "Rows its operators remember", lambda v: v.state_rows),
    Metric("view_state_bytes", "gauge", "Bytes its operators remember", lambda v: v.state_bytes),
    Metric(
        "view_watermark_seconds",
        "gauge",
        "The lowest watermark of what the view reads",
        lambda v: _seconds(v.watermark_us),
    ),
)
SINK = (
    Metric(
        "sink_position", "gauge", "The offset up to which the store has it", lambda s: s.position
    ),
    Metric("sink_lag_rows", "gauge", "Changes published and not yet stored", lambda s: s.lag),
    Metric("sink_running", "gauge", "1 while the sink works, 0 when it is unwell", _is_running),
)
CONSUMER = (
    Metric("consumer_lag_rows", "gauge", "Rows the group has not confirmed", lambda c: c.lag),
    Metric(
        "consumer_lag_seconds",
        "gauge",
        "How long ago the oldest of them came",
        lambda c: c.lag_seconds,
    ),
    Metric(
        "consumer_lost_rows",
        "gauge",
        "Rows that retention removed before the group confirmed them",
        lambda c: c.lost,
    ),
    Metric("consumer_running", "gauge", "0 when the group cannot read on", _can_read),
)


def exposition(status: Status) -> str:
    """All metrics of a pipeline, as the body of an answer to a scrape."""
    topics = [({"topic": t.name, "kind": t.kind}, t) for t in status.topics]
    producers = [
        ({"topic": t.name, "producer": p.producer, "partition": str(p.partition)}, p)
        for t in status.topics
        for p in t.producers
    ]
    views = [({"view": v.name}, v) for v in status.views]
    sinks = [({"sink": s.name, "source": s.source}, s) for s in status.sinks]
    consumers = [({"group": c.group, "relation": c.relation}, c) for c in status.consumers]
    groups: list[tuple[tuple[Metric, ...], list[tuple[dict[str, str], Any]]]] = [
        (PIPELINE, [({"pipeline": status.pipeline}, status)]),
        (TOPIC, list[tuple[dict[str, str], Any]](topics)),
        (PRODUCER, list[tuple[dict[str, str], Any]](producers)),
        (VIEW, list[tuple[dict[str, str], Any]](views)),
        (SINK, list[tuple[dict[str, str], Any]](sinks)),
        (CONSUMER, list[tuple[dict[str, str], Any]](consumers)),
    ]
    lines = [
        line for metrics, things in groups for metric in metrics for line in _lines(metric, things)
    ]
    return "\n".join(lines) + "\n"


def _lines(metric: Metric, things: list[tuple[dict[str, str], Any]]) -> Iterator[str]:
    name = f"headwater_{metric.name}"
    yield f"# HELP {name} {metric.help}"
    yield f"# TYPE {name} {metric.kind}"
    for labels, thing in things:
        value = metric.value(thing)
        if value is not None:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"{name}{{{pairs}}} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
