"""Describe a running pipeline at one moment, in plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.plan.nodes import Aggregate, Windows, walk
from headwater.plan.pipeline import Emit
from headwater.runtime.loop import Visible
from headwater.runtime.runtime import Runtime
from headwater.runtime.sinks import SinkRunner
from headwater.runtime.status import Status, TopicStatus, ViewStatus
from headwater.runtime.view import ViewRunner
from headwater.schema.duration import format_duration, format_time


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
        watermark_us=_time_or_none(watermark.current_us) if watermark else None,
        held_by=_held_by(runtime, name),
        partitions=definition.partitions,
        bytes=topic.size_bytes,
        offsets_next=tuple(topic.next_offset(p) for p in range(definition.partitions)),
    )


def _waiting(runtime: Runtime, name: str) -> int:
    """Rows of the topic that no epoch has taken in."""
    tick_from, tick_to = runtime.loop.visible.tick, runtime.intake.visible_tick
    if tick_from >= tick_to:
        return 0
    chunks = runtime.topics[name].read_ticks(tick_from, tick_to, columns=(), joined=True)
    return sum(chunk.rows.num_rows for chunk in chunks)


def _held_by(runtime: Runtime, name: str) -> str | None:
    """What holds a topic's watermark where it is, in words."""
    watermark = runtime.loop.stepper.watermarks.get(name)
    if watermark is None or watermark.current_us == AFTER_ALL:
        return None
    if watermark.current_us == BEFORE_ALL:
        return "no event yet"
    holder = watermark.holder()
    if holder is None:
        return "all its partitions are idle"
    where = f"partition {holder.partition}: " if watermark.definition.partitions > 1 else ""
    if holder.at_us == BEFORE_ALL:
        return f"{where}no event yet"
    delay_us = watermark.definition.delay_us
    newest = format_time(holder.at_us + delay_us)
    return f"{where}its newest event is of {newest}, the delay is {format_duration(delay_us)}"


def _view(
    runtime: Runtime, view: ViewRunner, visible: Visible, rates: Mapping[str, float]
) -> ViewStatus:
    plan = view.plan
    sources = _sources(view)
    watermark_us = min(
        (runtime.loop.stepper.watermarks[s].current_us for s in sources), default=None
    )
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
        watermark_us=None if watermark_us is None else _time_or_none(watermark_us),
        waits_for=_waits_for(runtime, view, sources),
        state_rows=state_rows,
        state_bytes=state_bytes,
    )


def _sources(view: ViewRunner) -> tuple[str, ...]:
    """The topics by whose lowest watermark the view decides, if it does."""
    for node in walk(view.plan.root):
        if isinstance(node, Windows) and node.sources:
            return node.sources
        if isinstance(node, Aggregate) and node.window is not None and node.window.sources:
            return node.window.sources
    return ()


def _waits_for(runtime: Runtime, view: ViewRunner, sources: tuple[str, ...]) -> str | None:
    """Why the next window has not closed, in words; None where nothing waits."""
    if view.plan.definition.emit is not Emit.FINAL or not sources:
        return None
    watermarks = runtime.loop.stepper.watermarks
    slowest = min(sources, key=lambda name: watermarks[name].current_us)
    at_us = watermarks[slowest].current_us
    if at_us == AFTER_ALL:
        return None
    if at_us == BEFORE_ALL:
        return f"the first event of {slowest}"
    held = _held_by(runtime, slowest)
    return f"{slowest} to pass the window's end; it is at {format_time(at_us)} ({held})"


def _time_or_none(value_us: int) -> int | None:
    return None if value_us in (BEFORE_ALL, AFTER_ALL) else value_us
