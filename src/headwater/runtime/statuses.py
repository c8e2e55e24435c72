"""Describe a running pipeline at one moment, in plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.runtime import holding
from headwater.runtime.loop import Visible
from headwater.runtime.producers import Key, Known
from headwater.runtime.runtime import Runtime
from headwater.runtime.sinks import SinkRunner
from headwater.runtime.status import ProducerStatus, Status, TopicStatus, ViewStatus
from headwater.runtime.view import ViewRunner

PRODUCERS_SHOWN = 100


def producers_of(runtime: Runtime, topic: str, name: str | None = None) -> list[ProducerStatus]:
    """The producers of a topic (or those with one name), whoever was heard of last first."""
    with runtime.intake.changed:
        found = runtime.intake.producers.of(topic, name)
    return [_producer(key, known) for key, known in found]


def status_of(runtime: Runtime, sinks: Sequence[SinkRunner], data: str) -> Status:
    """Everything there is to know of `runtime` now."""
    visible = runtime.loop.visible
    epochs_per_second, rows_per_second, rates = runtime.loop.rates()
    return Status(
        pipeline=runtime.pipeline.name,
        data=data,
        started_us=runtime.started_us,
        now_us=runtime.clock.now_us(),
        epoch=visible.epoch,
        epochs_per_second=epochs_per_second,
        rows_per_second=rows_per_second,
        lag_rows=max(0, runtime.intake.visible_tick - visible.tick),
        topics=tuple(_topic(runtime, name, rates) for name in runtime.topics),
        views=tuple(_view(runtime, view, visible, rates) for view in runtime.loop.stepper.views),
        sinks=tuple(sink.status() for sink in sinks),
        consumers=runtime.consumers.all(),
        problems=(*runtime.problems, *(sink.problem for sink in sinks if sink.problem)),
    )


def _topic(runtime: Runtime, name: str, rates: Mapping[str, float]) -> TopicStatus:
    topic = runtime.topics[name]
    definition = topic.definition
    watermark = runtime.loop.stepper.watermarks.get(name)
    waiting = _waiting(runtime, name)
    with runtime.intake.changed:
        # All of one moment, or the counts would not add up.
        rows, rejected = topic.rows_total, runtime.rejected[name].rows_total
        duplicate = runtime.intake.producers.duplicate(name)
        known = runtime.intake.producers.count(name)
        shown = runtime.intake.producers.of(name, rows_max=PRODUCERS_SHOWN)
    return TopicStatus(
        name=name,
        kind="table" if definition.is_table else "topic",
        columns=tuple((column.name, column.type.sql) for column in definition.schema),
        rows=rows,
        rejected=rejected,
        computed=rows - waiting,
        rows_per_second=rates.get(name, 0.0),
        watermark_us=holding.time_or_none(watermark.current_us) if watermark else None,
        held_by=holding.held_by(watermark) if watermark else None,
        held=holding.held(watermark) if watermark else None,
        partitions=definition.partitions,
        bytes=topic.size_bytes,
        offsets_next=tuple(topic.next_offset(p) for p in range(definition.partitions)),
        received=rows + rejected + duplicate,
        duplicate=duplicate,
        producers=tuple(_producer(*item) for item in shown),
        producers_known=known,
        rows_kept=topic.rows_kept,
        oldest_us=topic.oldest_us,
        offsets_first=tuple(topic.first_offset(p) for p in range(definition.partitions)),
        rejected_kept=runtime.rejected[name].rows_kept,
        archived_bytes=topic.archived_bytes,
        rows_compacted=topic.rows_compacted,
    )


def _producer(key: Key, known: Known) -> ProducerStatus:
    last = known.last[-1]
    return ProducerStatus(
        producer=key[1],
        partition=key[0],
        sequence=last.sequence,
        sequence_before=known.last[-2].sequence if len(known.last) > 1 else None,
        digest=last.digest,
        received=known.accepted + known.rejected + known.duplicate,
        accepted=known.accepted,
        rejected=known.rejected,
        duplicate=known.duplicate,
        heard_us=known.heard_us,
    )


def _waiting(runtime: Runtime, name: str) -> int:
    """Rows of the topic that no epoch has taken in."""
    tick_from, tick_to = runtime.loop.visible.tick, runtime.intake.visible_tick
    if tick_from >= tick_to:
        return 0
    return runtime.topics[name].rows_between(tick_from, tick_to)


def _view(
    runtime: Runtime, view: ViewRunner, visible: Visible, rates: Mapping[str, float]
) -> ViewStatus:
    plan = view.plan
    watermark = holding.slowest(holding.sources_of(view), runtime.loop.stepper.watermarks)
    waits = holding.waits(view, runtime.loop.stepper.watermarks)
    first = waits[0] if waits else None
    state_rows, state_bytes = view.dataflow.state_size()
    return ViewStatus(
        name=view.name,
        columns=tuple((column.name, column.type.sql) for column in plan.schema),
        emit=plan.definition.emit.value,
        inputs=view.inputs,
        order=plan.order,
        rows=visible.contents[view.name].count(),
        changes=view.changes.next_offset(),
        late=0 if view.late is None else view.late.next_offset(),
        failed=view.failed_rows,
        paused=runtime.loop.stepper.paused.get(view.name),
        changes_per_second=rates.get(view.name, 0.0),
        watermark_us=holding.time_or_none(watermark.current_us) if watermark else None,
        waits_for=first.text if first else None,
        window_end_us=first.until_us if first else None,
        held=first.held if first else None,
        completeness=first.completeness if first else None,
        waits=waits,
        state_rows=state_rows,
        state_bytes=state_bytes,
    )
