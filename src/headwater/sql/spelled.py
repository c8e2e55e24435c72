"""How a plan's parts are written for people: lengths of time, windows, orders, patterns, SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from headwater.plan.nodes import AsofJoin, Join, Merge, Order, Partial, WindowKind, WindowSpec
from headwater.plan.patterns import Choice, End, Follow, Pattern, Pick, Reading, Symbol
from headwater.sql.build import column, column_names
from headwater.sql.functions import aggregates
from headwater.sql.sketches import SHORT

_UNITS = (
    (86_400_000_000, "day"),
    (3_600_000_000, "hour"),
    (60_000_000, "minute"),
    (1_000_000, "second"),
    (1_000, "millisecond"),
    (1, "microsecond"),
)


def duration(us: int) -> str:
    """A length of time in its largest whole unit: `1 hour`, `90 seconds`."""
    for size, name in _UNITS:
        if us % size == 0 and us >= size:
            count = us // size
            return f"{count} {name}" + ("s" if count > 1 else "")
    return "0 seconds"


def bound_text(sign: str, time: str, us: int, strict_us: int) -> str:
    """A bound; one that is a microsecond off a round length was written as a strict one."""
    if (us - strict_us) % 1_000 == 0:
        return f"{sign} {time}{_shift(us - strict_us)}"
    return f"{sign}= {time}{_shift(us)}"


def _shift(us: int) -> str:
    if not us:
        return ""
    return f" + {duration(us)}" if us > 0 else f" - {duration(-us)}"


def names_text(names: Iterable[str]) -> str:
    """Names, one after the other."""
    return ", ".join(names)


def order_text(order: Order) -> str:
    """A column of an ORDER BY."""
    text = order.column + (" descending" if order.is_descending else "")
    return text + (" nulls first" if order.nulls_first else "")


def pairs_text(node: Join | AsofJoin) -> str:
    """Which keys of a join are equal."""
    pairs = zip(node.left_keys, node.right_keys, strict=True)
    return " and ".join(f"{left} = {right}" for left, right in pairs)


def spec_text(spec: WindowSpec) -> str:
    """What windows they are."""
    if spec.kind is WindowKind.SESSION:
        of = f" of {names_text(spec.keys)}" if spec.keys else ""
        return f"sessions{of} with a gap of {duration(spec.size_us)} over {spec.time}"
    if spec.kind is WindowKind.CUMULATE:
        shift = f" shifted by {duration(spec.offset_us)}" if spec.offset_us else ""
        step = duration(spec.slide_us)
        return f"windows of {duration(spec.size_us)} growing by {step}{shift} over {spec.time}"
    slide = f" every {duration(spec.slide_us)}" if spec.slide_us != spec.size_us else ""
    shift = f" shifted by {duration(spec.offset_us)}" if spec.offset_us else ""
    return f"windows of {duration(spec.size_us)}{slide}{shift} over {spec.time}"


def partial_text(partial: Partial) -> str:
    """What is computed of a group, and its name."""
    if partial.merge is Merge.DISTINCT:
        return f"count(DISTINCT {partial.argument}) AS {partial.name}"
    fraction = f", {partial.fraction}" if partial.fraction else ""
    return f"{partial.merge}({partial.argument or '*'}{fraction}) AS {partial.name}"


def sql_text(expression: exp.Expr) -> str:
    """SQL without the quotes that no reader needs."""
    copy = expression.copy().transform(_shortened, copy=False)
    for name in copy.find_all(exp.Identifier):
        name.set("quoted", not name.name.isidentifier())
    return copy.sql("duckdb")


def _shortened(node: exp.Expr) -> exp.Expr:
    """A part of a sketch by its name, over the aggregate or the columns that it reads."""
    short = node.meta.get(SHORT)
    if short is None:
        return node
    read: list[exp.Expr] = [call.transform(_shortened) for call in aggregates(node)][:1]
    arguments = read or [column(name) for name in column_names(node)]
    return exp.Anonymous(this=short, expressions=arguments)


def without_echoes(query: exp.Expr) -> exp.Expr:
    """The query with `x AS x` written as `x`."""
    copy = query.copy()
    for alias in list(copy.find_all(exp.Alias)):
        if isinstance(alias.this, exp.Column) and alias.this.sql() == alias.args["alias"].sql():
            alias.replace(alias.this)
    return copy


def renamed(expression: exp.Expr, names: Mapping[str, str]) -> exp.Expr:
    """The expression over other names."""
    return expression.copy().transform(
        lambda n: exp.to_identifier(names[n.name]) if isinstance(n, exp.Column) else n
    )


def pattern_text(pattern: Pattern) -> str:
    """A pattern as its author would write it."""
    if isinstance(pattern, Symbol):
        return pattern.name
    if isinstance(pattern, End):
        return "$"
    if isinstance(pattern, Follow):
        return " ".join(_part(part) for part in pattern.parts)
    if isinstance(pattern, Choice):
        return " | ".join(pattern_text(part) for part in pattern.parts)
    signs = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    most = "" if pattern.most is None else pattern.most
    sign = signs.get((pattern.least, pattern.most), f"{{{pattern.least},{most}}}")
    inner = pattern_text(pattern.part)
    inner = inner if isinstance(pattern.part, Symbol) else f"({inner})"
    return inner + sign + ("" if pattern.is_greedy else "?")


def _part(pattern: Pattern) -> str:
    text = pattern_text(pattern)
    return f"({text})" if isinstance(pattern, Choice) else text


def reading_text(reading: Reading) -> str:
    """What a condition reads of the rows that were matched."""
    if reading.pick is Pick.CURRENT:
        return reading.column or ""
    owner = "|".join(reading.symbols)
    value = reading.column or "*"
    text = f"{owner}.{value}" if owner else value
    back = f", {reading.offset}" if reading.offset else ""
    return f"{reading.pick}({text}{back})"
