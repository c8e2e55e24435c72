"""The columns of a view's late rows, as its plan says them before the first row is late."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.operators.build import tells
from headwater.operators.lateness import WATERMARK
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Join,
    MatchRecognize,
    Node,
    Process,
    SessionPanes,
    Windows,
    walk,
)
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type


def late_schema(root: Node) -> Schema | None:
    """What a late row shows; None when no node of the plan decides lateness.

    Returns:
        The columns of the rows as they stand at the window, the window that they missed, and
        `_watermark`; of a join in time the columns of both sides, and `_watermark`.
        Where several nodes decide, the columns of all of them, each name once; a row has nulls in
        those that it does not have.
    """
    columns: dict[str, Column] = {}
    for node in walk(root):
        if not tells(node):
            continue
        for column in _columns(node):
            columns.setdefault(column.name, column)
    return Schema(tuple(columns.values())) if columns else None


def _columns(node: Node) -> Iterator[Column]:
    if isinstance(node, Process):
        if node.time is not None:
            for column in node.input.schema:
                yield Column(column.name, column.type)
            yield Column(WATERMARK, parse_type("TIMESTAMP"))
        return
    if isinstance(node, Join | AsofJoin):
        yield from _columns_of_join(node)
        return
    if isinstance(node, Windows):
        start, end, lateness_us = node.start, node.end, node.lateness_us
    elif isinstance(node, Aggregate | SessionPanes) and node.window is not None:
        window = node.window
        start, end, lateness_us = window.start, window.end, window.lateness_us
    elif isinstance(node, MatchRecognize):
        for name in node.content:
            yield Column(name, node.input.schema[name].type)
        yield Column(WATERMARK, parse_type("TIMESTAMP"))
        return
    else:
        return
    if lateness_us is None:
        return
    for column in (*node.input.schema, node.schema[start], node.schema[end]):
        yield Column(column.name, column.type)
    yield Column(WATERMARK, parse_type("TIMESTAMP"))


def _columns_of_join(node: Join | AsofJoin) -> Iterator[Column]:
    timed = node if isinstance(node, AsofJoin) else node.within
    if timed is None or timed.decision is None:
        return
    for column in (*node.left.schema, *node.right.schema):
        yield Column(column.name, column.type)
    yield Column(WATERMARK, parse_type("TIMESTAMP"))
