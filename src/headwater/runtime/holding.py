"""Why a window has not closed: who holds the watermark, since when, and what it waits for.

A topic's watermark waits for one partition or sender; a view's next window waits for the slowest
of the topics that it decides by. All is read from what the engine keeps anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.plan.nodes import Aggregate, MatchRecognize, Windows, walk
from headwater.runtime.senders import SenderWatermark
from headwater.runtime.status import Held
from headwater.runtime.view import ViewRunner
from headwater.runtime.watermarks import TopicWatermark
from headwater.schema.duration import format_duration, format_time

Watermark = TopicWatermark | SenderWatermark


def held(watermark: Watermark) -> Held | None:
    """Who holds a topic's watermark; None when nothing does: all has been passed."""
    if watermark.current_us == AFTER_ALL:
        return None
    holder, topic = watermark.holder(), watermark.definition.name
    if holder is None:
        return Held(topic, since_us=watermark.risen_us)
    return Held(
        topic,
        partition=holder.partition,
        sender=holder.sender,
        at_us=time_or_none(holder.at_us),
        heard_us=holder.heard_us,
        since_us=watermark.risen_us,
    )


def held_by(watermark: Watermark) -> str | None:
    """The same in words."""
    if watermark.current_us == AFTER_ALL:
        return None
    holder, definition = watermark.holder(), watermark.definition
    by = definition.watermark_by
    since = f"; it stands since {format_time(watermark.risen_us)}" if watermark.risen_us else ""
    if holder is None:
        if by is not None and watermark.current_us == BEFORE_ALL:
            return "no event yet"
        return f"all its {'partitions' if by is None else 'senders'} are idle{since}"
    who = "its newest event"
    if by is not None:
        who = f"{by} {holder.sender}: its newest event"
    elif definition.partitions > 1:
        who = f"partition {holder.partition}: its newest event"
    if holder.at_us == BEFORE_ALL:
        return f"{who.removesuffix('its newest event')}no event yet{since}"
    newest = format_time(holder.at_us + definition.delay_us)
    ahead = f"; {holder.ahead} of {holder.count} are further" if holder.count > 1 else ""
    return (
        f"{who} is of {newest}, the delay is {format_duration(definition.delay_us)}{ahead}{since}"
    )


def sources_of(view: ViewRunner) -> tuple[str, ...]:
    """The topics by whose lowest watermark the view decides, if it does."""
    for node in walk(view.plan.root):
        if isinstance(node, Windows | MatchRecognize) and node.sources:
            return node.sources
        if isinstance(node, Aggregate) and node.window is not None and node.window.sources:
            return node.window.sources
    return ()


def slowest(sources: tuple[str, ...], watermarks: Mapping[str, Watermark]) -> Watermark | None:
    """The watermark that a view waits for; None where it decides by none."""
    found = [watermarks[name] for name in sources if name in watermarks]
    return min(found, key=lambda mark: mark.current_us, default=None)


def waits_for(view: ViewRunner, watermark: Watermark | None) -> str | None:
    """Why the view's next window has not closed, in words; None where no window waits."""
    end_us = view.dataflow.waits_until()
    if end_us is None or watermark is None or watermark.current_us == AFTER_ALL:
        return None
    name, delay_us = watermark.definition.name, watermark.definition.delay_us
    at = "nowhere yet"
    if watermark.current_us != BEFORE_ALL:
        at = f"at {format_time(watermark.current_us)}"
    needed = format_time(end_us + delay_us)
    return (
        f"{name} to pass {format_time(end_us)}, the end of its next window, by an event of "
        f"{needed} or later; it is {at} ({held_by(watermark)})"
    )


def completeness(view: ViewRunner, watermark: Watermark | None) -> float | None:
    """The share of a topic's partitions or senders that have passed the end of the next window."""
    end_us = view.dataflow.waits_until()
    if end_us is None or watermark is None:
        return None
    return float(watermark.shares().of(np.array([end_us], dtype=np.int64))[0])


def time_or_none(value_us: int) -> int | None:
    """A watermark, or None before the first event and after the last."""
    return None if value_us in (BEFORE_ALL, AFTER_ALL) else value_us
