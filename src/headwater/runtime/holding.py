"""Why nothing comes out: who holds the watermark, since when, and what waits for it.

A topic's watermark waits for one partition or sender. What a view holds back (a window, a session,
a pattern, a row that may still find a match, a timer, the changes of a stretch) waits for the
slowest of the topics that it decides by. All is read from what the engine keeps anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Completeness,
    GroupWindow,
    Hold,
    Join,
    MatchRecognize,
    Node,
    Pace,
    Process,
    Recompute,
    SessionPanes,
    WindowKind,
    Windows,
    walk,
)
from headwater.runtime.senders import SenderWatermark
from headwater.runtime.status import Held, Waiting
from headwater.runtime.view import ViewRunner
from headwater.runtime.watermarks import TopicWatermark
from headwater.schema.duration import format_duration, format_time

Watermark = TopicWatermark | SenderWatermark

# These go by the ready watermarks of their topics, all others by the complete ones.
_BY_READY = (Windows, Aggregate, Pace, Hold, SessionPanes)


def held(watermark: Watermark, *, is_complete: bool = False) -> Held | None:
    """Who holds a topic's watermark; None when nothing does: all has been passed.

    Args:
        is_complete: Whether the complete watermark is meant, and not the ready one.
    """
    if _current_us(watermark, is_complete=is_complete) == AFTER_ALL:
        return None
    holder, topic = watermark.holder(is_complete=is_complete), watermark.definition.name
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


def held_by(watermark: Watermark, *, is_complete: bool = False) -> str | None:
    """The same in words."""
    current_us = _current_us(watermark, is_complete=is_complete)
    if current_us == AFTER_ALL:
        return None
    holder, definition = watermark.holder(is_complete=is_complete), watermark.definition
    by = definition.watermark_by
    since = f"; it stands since {format_time(watermark.risen_us)}" if watermark.risen_us else ""
    if holder is None:
        if by is not None and current_us == BEFORE_ALL:
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


def _current_us(watermark: Watermark, *, is_complete: bool) -> int:
    return watermark.complete_us if is_complete else watermark.current_us


def sources_of(view: ViewRunner) -> tuple[str, ...]:
    """The topics by whose watermarks the view decides, if it does."""
    found = [topic for node in walk(view.plan.root) for topic in _sources(node)]
    return tuple(dict.fromkeys(found))


def slowest(
    sources: tuple[str, ...], watermarks: Mapping[str, Watermark], *, is_complete: bool = False
) -> Watermark | None:
    """The watermark that is waited for; None where there is none to decide."""
    found = [watermarks[name] for name in sources if name in watermarks]
    return min(found, key=lambda mark: _current_us(mark, is_complete=is_complete), default=None)


def waits(view: ViewRunner, watermarks: Mapping[str, Watermark]) -> tuple[Waiting, ...]:
    """All that waits in a view, what is waited for longest last."""
    found = []
    for node, until_us, topics in view.dataflow.waits():
        is_complete = not isinstance(node, _BY_READY)
        watermark = slowest(topics or _sources(node), watermarks, is_complete=is_complete)
        if watermark is not None and _current_us(watermark, is_complete=is_complete) != AFTER_ALL:
            found.append(_waiting(node, until_us, watermark))
    wakes_us = view.dataflow.wakes_at()
    if wakes_us is not None:
        text = f"the clock to reach {format_time(wakes_us)}, when its next row comes or goes"
        found.append(Waiting("time", wakes_us, text))
    return tuple(sorted(found, key=lambda waiting: waiting.until_us))


def _waiting(node: Node, until_us: int, watermark: Watermark) -> Waiting:
    """Why what a node holds has not come out."""
    is_complete = not isinstance(node, _BY_READY)
    name, delay_us = watermark.definition.name, watermark.definition.delay_us
    current_us = _current_us(watermark, is_complete=is_complete)
    at = "nowhere yet" if current_us == BEFORE_ALL else f"at {format_time(current_us)}"
    what, why = _said_of(node)
    text = (
        f"{name} to pass {format_time(until_us)}, {why}, by an event of "
        f"{format_time(until_us + delay_us)} or later; it is {at} "
        f"({held_by(watermark, is_complete=is_complete)})"
    )
    share = watermark.shares().of(np.array([until_us], dtype=np.int64))[0]
    return Waiting(
        what, until_us, text, held(watermark, is_complete=is_complete), completeness=float(share)
    )


def _said_of(node: Node) -> tuple[str, str]:
    """What it is that waits, in a word, and what the time is to it."""
    window = node.window if isinstance(node, Aggregate | SessionPanes) else node
    if isinstance(window, Windows | GroupWindow):
        is_session = window.spec.kind is WindowKind.SESSION
        what = "session" if is_session else "window"
        return what, f"the end of its next {what}"
    if isinstance(node, Pace | Hold):
        return "stretch", f"the end of its stretch of {format_duration(node.every_us)}"
    said = {
        MatchRecognize: ("pattern", "where its next pattern is decided"),
        Join: ("join", "after which its next row without a match can have none"),
        AsofJoin: ("join", "after which its next row has the match that stands"),
        Process: ("timer", "the time of its next timer or row"),
        Completeness: ("completeness", "the end of its first window that is not complete"),
    }
    return said.get(type(node), ("row", "which its next row waits for"))


def _sources(node: Node) -> tuple[str, ...]:
    """The topics by whose watermarks a node decides."""
    if isinstance(node, Join | AsofJoin):
        timed = node if isinstance(node, AsofJoin) else node.within
        decision = None if timed is None else timed.decision
        return () if decision is None else decision.right.sources
    window = node.window if isinstance(node, Aggregate | SessionPanes) else node
    found: tuple[str, ...] = getattr(window, "sources", ())
    return () if isinstance(node, Recompute) else found


def time_or_none(value_us: int) -> int | None:
    """A watermark, or None before the first event and after the last."""
    return None if value_us in (BEFORE_ALL, AFTER_ALL) else value_us
