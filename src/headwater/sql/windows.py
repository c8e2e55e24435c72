"""Window table functions: what their arguments say, and the plain SQL that means the same.

`TUMBLE(rel, time, size [, offset])`, `HOP(rel, time, slide, size [, offset])`, `CUMULATE(rel, time,
step, size [, offset])` and `SESSION(rel [PARTITION BY key, ...], time, gap)` add `window_start` and
`window_end` to the rows of `rel`. A row in k windows comes out k times; a row with a null time is
in none. Windows are aligned to 1970-01-01 plus the offset.

The plain SQL is what DuckDB types a query by, and what answers it in batch. The start of a row's
newest window is its time less the time's remainder, and the remainder is a subtraction on a
TIMESTAMP, so the session's time zone plays no part. A session is an island between gaps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlglot import exp

from headwater.errors import DefinitionError, Place
from headwater.plan.nodes import WindowKind, WindowSpec
from headwater.schema.duration import parse_duration
from headwater.sql.places import place_of

START = "window_start"
END = "window_end"

_EXAMPLES = {
    "TUMBLE": "TUMBLE(clicks, ts, INTERVAL '1 minute')",
    "HOP": "HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '5 minutes')",
    "CUMULATE": "CUMULATE(clicks, ts, INTERVAL '10 minutes', INTERVAL '1 hour')",
    "SESSION": "SESSION(clicks PARTITION BY visitor, ts, INTERVAL '30 minutes')",
}
NAMES = tuple(_EXAMPLES)
_UNITS_US = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
    "WEEK": 604_800_000_000,
}


@dataclass(frozen=True, slots=True)
class WindowCall:
    """A window table function in a FROM clause.

    Args:
        relation: What is windowed: an `exp.Table` or an `exp.Query`.
        name: What the author can call the windowed rows when no alias is given.
        spec: The windows; `spec.time` and `spec.keys` as the author spelled them.
        time: Where the author wrote the time.
        keys: The same for the keys of sessions.

    """

    relation: exp.Table | exp.Query
    name: str
    spec: WindowSpec
    time: exp.Expr
    keys: tuple[exp.Column, ...] = ()


def is_window_call(node: exp.Expr) -> bool:
    """Whether this item of a FROM clause is a window table function."""
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Anonymous):
        return False
    return node.this.name.upper() in _EXAMPLES


def window_call(table: exp.Table, origin: Place | None) -> WindowCall:
    """Read the arguments.

    Raises:
        DefinitionError: They are not what the function takes.

    """
    call = table.this
    function = call.name.upper()
    fail = partial(_fail, call, origin)
    if function == "SESSION":
        return _session(call, fail)
    arguments = list(call.expressions)
    wanted = 3 if function == "TUMBLE" else 4
    if not wanted <= len(arguments) <= wanted + 1:
        raise fail(
            f"{function} takes {wanted} or {wanted + 1} arguments, not {len(arguments)}",
            f"for example {_EXAMPLES[function]}",
        )
    lengths = [length_us(argument, fail) for argument in arguments[2:]]
    size_us = lengths[wanted - 3]
    slide_us = lengths[0]
    if size_us <= 0 or slide_us <= 0:
        raise fail("a window's length must be more than nothing", "use a positive interval")
    relation, name = _relation(arguments[0], fail, function)
    time = _time(arguments[1], fail, function)
    kind = WindowKind[function]
    if kind is WindowKind.CUMULATE and size_us % slide_us:
        raise fail(
            "the size of windows that cumulate is a whole number of steps",
            f"for example {_EXAMPLES[function]}",
        )
    offset_us = lengths[wanted - 2] % slide_us if len(arguments) > wanted else 0
    return WindowCall(
        relation, name, WindowSpec(kind, time.name, size_us, slide_us, offset_us), time
    )


def _session(call: exp.Anonymous, fail: partial[DefinitionError]) -> WindowCall:
    """The arguments of SESSION: the relation AND its first key, further keys, the time, the gap."""
    arguments = list(call.expressions)
    keys: list[exp.Expr] = []
    is_keyed = bool(arguments) and isinstance(arguments[0], exp.And)
    if is_keyed:
        keys = [arguments[0].expression, *arguments[1:-2]]
        arguments = [arguments[0].this, *arguments[-2:]]
    if len(arguments) != 3:
        raise fail(
            "SESSION takes a relation, a time and a gap",
            f"for example {_EXAMPLES['SESSION']}",
        )
    keys = [k for key in keys for k in (key.expressions if isinstance(key, exp.Tuple) else [key])]
    named = tuple(_unwrapped(key) for key in keys)
    columns = tuple(key for key in named if isinstance(key, exp.Column) and not key.table)
    if len(columns) < len(named):
        raise fail(
            "sessions are partitioned by columns",
            "compute the key in a query in brackets: SESSION((SELECT ...) PARTITION BY key, ...)",
        )
    gap_us = length_us(arguments[2], fail)
    if gap_us <= 0:
        raise fail("a session's gap must be more than nothing", "use a positive interval")
    relation, name = _relation(arguments[0], fail, "SESSION")
    time = _time(arguments[1], fail, "SESSION")
    names = tuple(dict.fromkeys(column.name for column in columns))
    spec = WindowSpec(WindowKind.SESSION, time.name, gap_us, gap_us, keys=names)
    return WindowCall(relation, name, spec, time, columns)


def _unwrapped(key: exp.Expr) -> exp.Expr:
    return key.this if isinstance(key, exp.Paren) else key


def relation_name(table: exp.Table) -> str:
    """The name of the relation that a window table function reads; empty where it is a query."""
    first = table.this.expressions[0] if table.this.expressions else None
    if isinstance(first, exp.And):
        first = first.this
    return first.name if isinstance(first, exp.Column) else ""


def plain(query: exp.Query, origin: Place | None) -> exp.Query:
    """A copy of the query, every window table function written as plain SQL."""
    copy = query.copy()
    calls = [table for table in copy.find_all(exp.Table) if is_window_call(table)]
    # Inner ones first: the relation of a window may itself be a query with windows.
    for table in reversed(calls):
        table.replace(_plain_item(table, window_call(table, origin)))
    return copy


def _plain_item(table: exp.Table, call: WindowCall) -> exp.Expr:
    alias = table.args.get("alias") or exp.TableAlias(
        this=exp.to_identifier(call.name, quoted=True)
    )
    return exp.Subquery(this=plain_select(call), alias=alias.copy())


def plain_select(call: WindowCall) -> exp.Select:
    """The windowed rows as one SELECT over the relation."""
    spec = call.spec
    rows = "_windowed"
    alias = exp.TableAlias(this=exp.to_identifier(rows))
    source: exp.Expr
    if isinstance(call.relation, exp.Table):
        source = call.relation.copy()
        source.set("alias", alias)
    else:
        source = exp.Subquery(this=call.relation.copy(), alias=alias)
    time = exp.column(exp.to_identifier(spec.time, quoted=True), table=rows)
    if spec.kind is WindowKind.SESSION:
        return _plain_sessions(source, time, spec, rows)
    since = _since_start(time, spec)
    size = _number(spec.size_us)
    # False for an infinite time and null for a null one: neither is in a window.
    where: exp.Expr = exp.Anonymous(this="isfinite", expressions=[time.copy()])
    select = exp.select(exp.Column(this=exp.Star(), table=exp.to_identifier(rows))).from_(source)
    if spec.kind in (WindowKind.HOP, WindowKind.CUMULATE):
        count = -(-spec.size_us // spec.slide_us)
        hop = exp.func("range", exp.Literal.number(count), dialect="duckdb")
        item = exp.Table(
            this=hop,
            alias=exp.TableAlias(this=exp.to_identifier("_hop"), columns=[exp.to_identifier("i")]),
        )
        select = select.join(item, join_type="cross")
        back = exp.Mul(this=exp.column("i", table="_hop"), expression=_number(spec.slide_us))
    if spec.kind is WindowKind.CUMULATE:
        size = exp.paren(exp.Add(this=back, expression=_number(spec.slide_us)))
        where = exp.and_(where, exp.LT(this=since.copy(), expression=size.copy()))
    if spec.kind is WindowKind.HOP:
        since = exp.paren(exp.Add(this=since, expression=back))
        where = exp.and_(where, exp.LT(this=since.copy(), expression=_number(spec.size_us)))
    start = exp.Sub(this=time.copy(), expression=_interval(since.copy()))
    end = exp.Add(this=exp.paren(start.copy()), expression=_interval(size))
    return select.select(
        exp.alias_(start, START, quoted=True), exp.alias_(end, END, quoted=True)
    ).where(where)


def _plain_sessions(source: exp.Expr, time: exp.Expr, spec: WindowSpec, rows: str) -> exp.Select:
    """Gaps and islands: a row begins a session when the one before it is a gap away or more."""
    is_first, number = "\x01first", "\x01session"
    everything = exp.Column(this=exp.Star(), table=exp.to_identifier(rows))
    micros = exp.Anonymous(this="epoch_us", expressions=[time.copy()])
    before = exp.Window(
        this=exp.Anonymous(this="lag", expressions=[micros.copy()]), **_by(spec.keys, time)
    )
    since = exp.Sub(this=micros, expression=before)
    same = exp.LT(this=exp.paren(since), expression=_number(spec.size_us))
    one = exp.Case(
        ifs=[exp.If(this=same, true=exp.Literal.number(0))], default=exp.Literal.number(1)
    )
    finite = exp.Anonymous(this="isfinite", expressions=[time.copy()])
    flagged = exp.select(everything, exp.alias_(one, is_first, quoted=True)).from_(source)
    plain_time = exp.column(exp.to_identifier(spec.time, quoted=True))
    # Rows of equal time are peers: they all get the number of the last of them.
    total = exp.Window(
        this=exp.Sum(this=exp.column(exp.to_identifier(is_first, quoted=True))),
        **_by(spec.keys, plain_time),
    )
    numbered = exp.select("*", exp.alias_(total, number, quoted=True)).from_(
        flagged.where(finite).subquery("_flagged")
    )
    within = _by((*spec.keys, number), None)
    start = exp.Window(this=exp.Min(this=plain_time.copy()), **within)
    last = exp.Window(this=exp.Max(this=plain_time.copy()), **within)
    end = exp.Add(this=last, expression=_interval(_number(spec.size_us)))
    hidden = [exp.to_identifier(name, quoted=True) for name in (is_first, number)]
    return exp.select(
        exp.Star(except_=hidden),
        exp.alias_(start, START, quoted=True),
        exp.alias_(end, END, quoted=True),
    ).from_(numbered.subquery("_numbered"))


def _by(keys: tuple[str, ...], time: exp.Expr | None) -> dict[str, Any]:
    """PARTITION BY keys ORDER BY time."""
    clauses: dict[str, Any] = {
        "partition_by": [exp.column(exp.to_identifier(key, quoted=True)) for key in keys]
    }
    if time is not None:
        clauses["order"] = exp.Order(expressions=[exp.Ordered(this=time.copy())])
    return clauses


def _since_start(time: exp.Expr, spec: WindowSpec) -> exp.Expr:
    """How many microseconds the time is after the start of its newest window, from 0 on."""
    micros = exp.Anonymous(this="epoch_us", expressions=[time.copy()])
    shifted = exp.paren(exp.Sub(this=micros, expression=_number(spec.offset_us)))
    slide = _number(spec.size_us if spec.kind is WindowKind.CUMULATE else spec.slide_us)
    # DuckDB's remainder has the sign of the dividend; times before 1970 are negative.
    positive = exp.paren(
        exp.Add(this=exp.Mod(this=shifted, expression=slide), expression=slide.copy())
    )
    return exp.paren(exp.Mod(this=positive, expression=slide.copy()))


def _interval(micros: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="to_microseconds", expressions=[micros])


def _number(value: int) -> exp.Expr:
    return exp.Literal.number(value) if value >= 0 else exp.Neg(this=exp.Literal.number(-value))


def _relation(
    argument: exp.Expr, fail: partial[DefinitionError], function: str
) -> tuple[exp.Table | exp.Query, str]:
    if isinstance(argument, exp.Column) and not argument.table:
        table = exp.Table(this=argument.this.copy())
        return table, argument.name
    if isinstance(argument, exp.Subquery):
        alias = argument.alias
        inner = argument.this
        if isinstance(inner, exp.Query) and not _has_own_clauses(argument):
            return inner, alias or function.lower()
        return argument, alias or function.lower()
    if isinstance(argument, exp.Query):
        return argument, function.lower()
    raise fail(
        f"the first argument of {function} is a topic, a view or a query in brackets",
        f"for example {_EXAMPLES[function]}",
    )


def _has_own_clauses(subquery: exp.Subquery) -> bool:
    return any(subquery.args.get(clause) for clause in ("order", "limit", "offset", "with_"))


def _time(argument: exp.Expr, fail: partial[DefinitionError], function: str) -> exp.Expr:
    if isinstance(argument, exp.Anonymous) and argument.name.upper() == "DESCRIPTOR":
        argument = argument.expressions[0] if argument.expressions else argument
    if isinstance(argument, exp.Column) and not argument.table:
        return argument
    raise fail(
        f"the second argument of {function} is the name of a time column",
        f"for example {_EXAMPLES[function]}",
    )


def length_us(argument: exp.Expr, fail: Callable[[str, str], DefinitionError]) -> int:
    """A fixed length of time, in microseconds."""
    sign = 1
    if isinstance(argument, exp.Neg):
        argument, sign = argument.this, -1
    if isinstance(argument, exp.Interval) and isinstance(argument.this, exp.Literal):
        unit = argument.args.get("unit")
        name = unit.name.upper().removesuffix("S") if unit is not None else ""
        if unit is None:
            return sign * _duration(argument.this.name, fail)
        if name in _UNITS_US:
            try:
                return sign * round(float(argument.this.name) * _UNITS_US[name])
            except ValueError:
                raise fail(
                    f"{argument.this.name!r} is not a number of {name.lower()}s",
                    "for example INTERVAL '1 minute'",
                ) from None
        raise fail(
            f"a window's length must be fixed, and a {name.lower()} is not",
            "use days, hours, minutes or seconds",
        )
    if isinstance(argument, exp.Literal) and argument.is_string:
        return sign * _duration(argument.name, fail)
    raise fail("expected an interval", "for example INTERVAL '1 minute'")


def _duration(text: str, fail: Callable[[str, str], DefinitionError]) -> int:
    try:
        return parse_duration(text)
    except DefinitionError as refused:
        raise fail(refused.message, refused.hint or "") from None


def _fail(node: exp.Expr, origin: Place | None, message: str, hint: str) -> DefinitionError:
    return DefinitionError(message, place=place_of(node, origin), hint=hint)
