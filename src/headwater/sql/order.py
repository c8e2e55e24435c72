"""The order that an author asked for at the end of a view's query.

A view is a set of rows and has no order; whoever reads it may want this one.
"""

from __future__ import annotations

from sqlglot import exp

from headwater.schema.schema import Schema


def final_order(query: exp.Query, schema: Schema) -> tuple[tuple[str, bool], ...]:
    """The output columns of the final ORDER BY, each with its direction, while they are columns."""
    found: list[tuple[str, bool]] = []
    order = query.args.get("order")
    for ordered in order.expressions if order is not None else ():
        descending = bool(ordered.args.get("desc"))
        item = ordered.this
        if isinstance(item, exp.Var) and item.name.upper() == "ALL":
            return tuple((name, descending) for name in schema.names)
        name = _output(item, query, schema)
        if name is None:
            break
        found.append((name, descending))
    return tuple(found)


def _output(item: exp.Expr, query: exp.Query, schema: Schema) -> str | None:
    if isinstance(item, exp.Literal) and not item.is_string and item.name.isdigit():
        position = int(item.name)
        return schema.names[position - 1] if 1 <= position <= len(schema) else None
    if isinstance(item, exp.Column) and item.name in schema:
        return schema[item.name].name
    for index, output in enumerate(query.selects):
        value = output.this if isinstance(output, exp.Alias) else output
        if value == item and len(query.selects) == len(schema):
            return schema.names[index]
    return None
