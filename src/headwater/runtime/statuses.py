"""Describe a running pipeline at one moment, in plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.runtime import holding
from headwater.runtime.loop import Visible
from headwater.runtime.runtime import Runtime
from headwater.runtime.sinks import SinkRunner
from headwater.runtime.status import Status, TopicStatus, ViewStatus
from headwater.runtime.view import ViewRunner


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
    rows = topic.rows_total
    waiting = _waiting(runtime, name)
    return TopicStatus(
        name=name,
        kind="table" if definition.is_table else "topic",
        columns=tuple((column.name, column.type.sql) for column in definition.schema),
        rows=rows,
        rejected=runtime.rejected[name].rows_total,
        computed=rows - waiting,
        rows_per_second=rates.get(name, 0.0),
        watermark_us=holding.time_or_none(watermark.current_us) if watermark else None,
        held_by=holding.held_by(watermark) if watermark else None,
        held=holding.held(watermark) if watermark else None,
        partitions=definition.partitions,
        bytes=topic.size_bytes,
        offsets_next=tuple(topic.next_offset(p) for p in range(definition.partitions)),
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
