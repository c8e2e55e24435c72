"""Window table functions: what their arguments say, and the plain SQL that means the same.

`TUMBLE(rel, time, size [, offset])` and `HOP(rel, time, slide, size [, offset])` add
`window_start` and `window_end` to the rows of `rel`. A row in k windows comes out k times; a row
with a null time is in none. Windows are aligned to 1970-01-01 plus the offset.

The plain SQL is what DuckDB types a query by, and what answers it in batch. The start of a row's
newest window is its time less the time's remainder, and the remainder is a subtraction on a
TIMESTAMP, so the session's time zone plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

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
}
_LATER = ("CUMULATE", "SESSION")
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
        spec: The windows; `spec.time` as the author spelled it.

    """

    relation: exp.Table | exp.Query
    name: str
    spec: WindowSpec
    time: exp.Expr


def is_window_call(node: exp.Expr) -> bool:
    """Whether this item of a FROM clause is a window table function."""
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Anonymous):
        return False
    return node.this.name.upper() in (*_EXAMPLES, *_LATER)


def window_call(table: exp.Table, origin: Place | None) -> WindowCall:
    """Read the arguments.

    Raises:
        DefinitionError: They are not what the function takes.

    """
    call = table.this
    function = call.name.upper()
    fail = partial(_fail, call, origin)
    if function in _LATER:
        raise fail(f"{function} windows are not supported yet", "use TUMBLE or HOP")
    arguments = list(call.expressions)
    wanted = 3 if function == "TUMBLE" else 4
    if not wanted <= len(arguments) <= wanted + 1:
        raise fail(
            f"{function} takes {wanted} or {wanted + 1} arguments, not {len(arguments)}",
            f"for example {_EXAMPLES[function]}",
        )
    lengths = [_microseconds(argument, fail) for argument in arguments[2:]]
    size_us = lengths[wanted - 3]
    slide_us = lengths[0]
    if size_us <= 0 or slide_us <= 0:
        raise fail("a window's length must be more than nothing", "use a positive interval")
    relation, name = _relation(arguments[0], fail, function)
    time = _time(arguments[1], fail, function)
    kind = WindowKind.TUMBLE if function == "TUMBLE" else WindowKind.HOP
    offset_us = lengths[wanted - 2] % slide_us if len(arguments) > wanted else 0
    return WindowCall(
        relation, name, WindowSpec(kind, time.name, size_us, slide_us, offset_us), time
    )


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
    since = _since_start(time, spec)
    # False for an infinite time and null for a null one: neither is in a window.
    where: exp.Expr = exp.Anonymous(this="isfinite", expressions=[time.copy()])
    select = exp.select(exp.Column(this=exp.Star(), table=exp.to_identifier(rows))).from_(source)
    if spec.kind is WindowKind.HOP:
        count = -(-spec.size_us // spec.slide_us)
        hop = exp.func("range", exp.Literal.number(count), dialect="duckdb")
        item = exp.Table(
            this=hop,
            alias=exp.TableAlias(this=exp.to_identifier("_hop"), columns=[exp.to_identifier("i")]),
        )
        select = select.join(item, join_type="cross")
        back = exp.Mul(this=exp.column("i", table="_hop"), expression=_number(spec.slide_us))
        since = exp.paren(exp.Add(this=since, expression=back))
        where = exp.and_(where, exp.LT(this=since.copy(), expression=_number(spec.size_us)))
    start = exp.Sub(this=time.copy(), expression=_interval(since.copy()))
    end = exp.Add(this=exp.paren(start.copy()), expression=_interval(_number(spec.size_us)))
    return select.select(
        exp.alias_(start, START, quoted=True), exp.alias_(end, END, quoted=True)
    ).where(where)


def _since_start(time: exp.Expr, spec: WindowSpec) -> exp.Expr:
    """How many microseconds the time is after the start of its newest window, from 0 on."""
    micros = exp.Anonymous(this="epoch_us", expressions=[time.copy()])
    shifted = exp.paren(exp.Sub(this=micros, expression=_number(spec.offset_us)))
    slide = _number(spec.slide_us)
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


def _microseconds(argument: exp.Expr, fail: partial[DefinitionError]) -> int:
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


def _duration(text: str, fail: partial[DefinitionError]) -> int:
    try:
        return parse_duration(text)
    except DefinitionError as refused:
        raise fail(refused.message, refused.hint or "") from None


def _fail(node: exp.Expr, origin: Place | None, message: str, hint: str) -> DefinitionError:
    return DefinitionError(message, place=place_of(node, origin), hint=hint)
