"""`completeness(window_end)`: which share of the senders has passed the end of a row's window.

It stands in the select list, as a column of its own. While a query is planned the column is the
window's end itself; above the finished plan a node turns it into the share, and keeps it true while
the rest arrives. Where windows come out only when everybody has passed them it is 1. So it is in
batch, where all input has come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.plan.completeness import Completeness
from headwater.plan.nodes import Aggregate, Join, Map, Node, Scan, Windows, walk
from headwater.plan.pipeline import Accumulation, Emit, ViewDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.sql.build import column, nullable
from headwater.sql.places import place_of
from headwater.sql.relations import Relation

NAME = "completeness"
_DOUBLE = exp.DataType.build("DOUBLE", dialect="duckdb")
_EXAMPLE = "SELECT window_end, completeness(window_end) AS share, count(*) AS n FROM TUMBLE(...)"

Check = Callable[[Node, str], None]


def calls_in(query: exp.Query) -> list[exp.Anonymous]:
    """All calls of the function in a query."""
    return [call for call in query.find_all(exp.Anonymous) if call.name.lower() == NAME]


def lift(definition: ViewDefinition) -> tuple[ViewDefinition, str | None]:
    """The definition with the window's end in place of the share, and what that column is called.

    Raises:
        DefinitionError: The function stands elsewhere, or is not of a column.

    """
    calls = calls_in(definition.query)
    if not calls:
        return definition, None
    items = definition.query.expressions if isinstance(definition.query, exp.Select) else []
    listed = [item for item in items if _call(item) is not None]
    if len(listed) < len(calls):
        raise _refused(
            definition,
            next(call for call in calls if not any(_call(item) is call for item in listed)),
            "stands in the select list of the view, as a column of its own",
            "compute with it in a view over this one",
        )
    if len(listed) > 1:
        raise _refused(definition, calls[1], "is asked for once", "leave the other out")
    query = definition.query.copy()
    item = next(item for item in query.expressions if _call(item) is not None)
    call = _call(item)
    assert call is not None
    arguments = call.expressions
    if len(arguments) != 1 or not isinstance(arguments[0], exp.Column):
        raise _refused(definition, calls[0], "is of the end of a window", _EXAMPLE)
    name = item.alias if isinstance(item, exp.Alias) else NAME
    item.replace(exp.alias_(arguments[0].copy(), name, quoted=True))
    return replace(definition, query=query), name


def at_the_end(query: exp.Query) -> exp.Query:
    """The query when all input has come: every window is complete."""
    if not calls_in(query):
        return query
    copy = query.copy()
    for call in calls_in(copy):
        argument = call.expressions[0].copy()
        is_null = exp.Is(this=argument, expression=exp.null())
        one = exp.Cast(this=exp.Literal.number(1), to=_DOUBLE.copy())
        null = exp.Cast(this=exp.null(), to=_DOUBLE.copy())
        whole: exp.Expr = exp.Case(ifs=[exp.If(this=is_null, true=null)], default=one)
        if not isinstance(call.parent, exp.Alias):
            whole = exp.alias_(whole, NAME, quoted=True)
        call.replace(whole)
    return copy


def told(
    root: Node,
    name: str | None,
    definition: ViewDefinition,
    relations: Mapping[str, Relation],
    check: Check,
) -> Node:
    """The plan with the share in place of the window's end.

    Args:
        root: What is final and late has been decided.
        name: The column, as `lift` gave it; None where there is none.
        relations: By name in lower case.
        check: Refuses a window that is not over the event time of topics.

    Raises:
        DefinitionError: The column is not the end of a window over event time.

    """
    if name is None:
        return root
    call = calls_in(definition.query)[0]
    if definition.accumulation is not Accumulation.RETRACTING:
        raise _refused(
            definition,
            call,
            "changes as the rest arrives, and this view withdraws nothing",
            f"leave accumulation = '{definition.accumulation}' out",
        )
    end = next(n for n in root.schema.names if n.lower() == name.lower())
    window = _window(root, end)
    if window is None:
        raise _refused(definition, call, "is of the end of a window", _EXAMPLE)
    check(window, f"{NAME}()")
    columns = (
        Column(c.name, parse_type("DOUBLE")) if c.name == end else c for c in root.schema.columns
    )
    schema = nullable(columns)
    scans = [n for n in walk(window) if isinstance(n, Scan)]
    read = [relations[scan.relation.lower()] for scan in scans]
    if definition.emit is Emit.FINAL and not any(relation.ready for relation in read):
        return _whole(root, end, schema)
    sources = tuple(dict.fromkeys(topic for relation in read for topic in relation.sources))
    return Completeness(root, end, sources, schema)


def _whole(root: Node, end: str, schema: Schema) -> Node:
    """The plan of windows that come out when all have passed them."""
    one = exp.Cast(this=exp.Literal.number(1), to=_DOUBLE.copy())
    projections = tuple((n, one if n == end else column(n)) for n in root.schema.names)
    return Map(root, projections, None, schema)


def _window(node: Node, name: str) -> Node | None:
    """The node whose window's end a column is; None where it is none."""
    match node:
        case Map():
            expression = dict(node.projections).get(name)
            below = expression.name if isinstance(expression, exp.Column) else ""
            return _window(node.input, below)
        case Join():
            return _window(node.left if name in node.left.schema else node.right, name)
        case Aggregate() | Windows():
            window = node.window if isinstance(node, Aggregate) else node
            if window is not None and name == window.end:
                return node
            is_passed_on = isinstance(node, Windows) or name in node.keys
            return _window(node.input, name) if is_passed_on else None
    return None


def _call(item: exp.Expr) -> exp.Anonymous | None:
    """The call that an item of a select list is."""
    inner = item.this if isinstance(item, exp.Alias) else item
    if isinstance(inner, exp.Anonymous) and inner.name.lower() == NAME:
        return inner
    return None


def _refused(definition: ViewDefinition, call: exp.Expr, reason: str, hint: str) -> DefinitionError:
    return DefinitionError(f"{NAME}() {reason}", place=place_of(call, definition.origin), hint=hint)
