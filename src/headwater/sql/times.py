"""Which columns of a plan carry, row by row, the event time of the topics below."""

from __future__ import annotations

from sqlglot import exp

from headwater.plan.nodes import AsofJoin, Join, Map, Node, Scan, Union, Windows


def event_times(node: Node, name: str) -> list[tuple[str, str]] | None:  # noqa: PLR0911
    """The relations' columns that a column passes on unchanged; None where that cannot be told.

    Only through nodes that pass on, with each row, its place in the log.
    """
    match node:
        case Scan():
            return [(node.relation, name)] if name in node.schema else None
        case Map():
            expression = dict(node.projections).get(name)
            if not isinstance(expression, exp.Column):
                return None
            return event_times(node.input, expression.name)
        case Windows():
            return None if name in (node.start, node.end) else event_times(node.input, name)
        case Join() | AsofJoin():
            side = node.left if name in node.left.schema else node.right
            return event_times(side, name)
        case Union():
            found = [event_times(branch, name) for branch in node.inputs]
            if any(times is None for times in found):
                return None
            return [time for times in found for time in times or ()]
        case _:
            return None
