"""How far a window function looks, read from its frame.

A frame that is bounded on both sides reaches so many rows, or so far along the order; one that
begins with the partition and ends with the row runs. Every other frame, and every function that
looks at a whole partition, is declined. A month counts as 31 days: a reach may be too far, never
too short.
"""

from __future__ import annotations

from sqlglot import exp

from headwater.plan.nodes import Reach
from headwater.schema.types import DataType
from headwater.sql.decline import Decline

_UNITS_US = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
    "WEEK": 604_800_000_000,
    "MONTH": 31 * 86_400_000_000,
    "YEAR": 366 * 86_400_000_000,
}
_DAY_US = _UNITS_US["DAY"]
_INTEGERS = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "USMALLINT",
             "UTINYINT")  # fmt: skip
_TIMES = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
# Further than any time from any other.
_VALUES_MAX = 1 << 62


def is_rows(window: exp.Window) -> bool:
    """Whether the frame counts rows."""
    spec = window.args.get("spec")
    return spec is not None and str(spec.args.get("kind") or "").upper() == "ROWS"


def is_range_of_values(window: exp.Window) -> bool:
    """Whether the frame is a range whose ends are so far from the row's own value."""
    spec = window.args.get("spec")
    if spec is None or is_rows(window):
        return False
    return any(isinstance(spec.args.get(side), exp.Expr) for side in ("start", "end"))


def frame_reach(window: exp.Window, order: DataType | None) -> Reach | None:
    """What the frame of a function reaches; None for one that runs from the partition's start.

    Args:
        window: The function with its OVER.
        order: The type of the one column that it is ordered by; None where there are more, or none.

    Raises:
        Decline: The frame reaches the whole partition, or is not understood.

    """
    spec = window.args.get("spec")
    if spec is None:
        if window.args.get("order") is None:
            raise Decline("its frame is the whole partition")
        return None
    kind = str(spec.args.get("kind") or "RANGE").upper()
    if spec.args.get("exclude") or kind not in ("ROWS", "RANGE"):
        raise Decline("of its frame")
    if kind == "RANGE" and window.args.get("order") is None:
        raise Decline("its frame is the whole partition")
    start, end = _bound(spec, "start"), _bound(spec, "end")
    if start == "UNBOUNDED PRECEDING" and end == "CURRENT ROW":
        return None
    before = -_distance(start, kind, order)
    after = _distance(end, kind, order)
    if kind == "ROWS":
        return Reach(rows_before=max(before, 0), rows_after=max(after, 0))
    return Reach(values_before=max(before, 0), values_after=max(after, 0))


def lag_reach(function: exp.Lag | exp.Lead) -> Reach:
    """How many rows LAG looks back, or LEAD ahead.

    Raises:
        Decline: The number is not written out.

    """
    offset = function.args.get("offset")
    rows = 1 if offset is None else _number(offset)
    if isinstance(function, exp.Lag):
        return Reach(rows_before=rows)
    return Reach(rows_after=rows)


def _bound(spec: exp.WindowSpec, side: str) -> str | tuple[exp.Expr, int]:
    """`CURRENT ROW`, `UNBOUNDED PRECEDING`, or an offset with its sign."""
    value = spec.args.get(side)
    if value is None or (isinstance(value, str) and value.upper() == "CURRENT ROW"):
        return "CURRENT ROW"
    direction = str(spec.args.get(f"{side}_side") or "").upper()
    if isinstance(value, str):
        return f"{value.upper()} {direction}"
    return value, -1 if direction == "PRECEDING" else 1


def _distance(bound: str | tuple[exp.Expr, int], kind: str, order: DataType | None) -> int:
    """How far after the row a bound lies, in rows or in the unit of the order."""
    if bound == "CURRENT ROW":
        return 0
    if isinstance(bound, str):
        raise Decline("its frame reaches the end of the partition")
    offset, sign = bound
    if kind == "ROWS":
        return sign * _number(offset)
    name = "" if order is None else order.sql.upper()
    if name in _INTEGERS:
        return sign * _number(offset)
    if name in _TIMES:
        return sign * _microseconds(offset)
    if name == "DATE":
        return sign * -(-_microseconds(offset) // _DAY_US)
    raise Decline(f"of a range over {name or 'several columns'}")


def _number(value: exp.Expr) -> int:
    while isinstance(value, exp.Paren):
        value = value.this
    if isinstance(value, exp.Literal) and not value.is_string and value.name.isdigit():
        return min(int(value.name), _VALUES_MAX)
    raise Decline("its frame is computed")


def _microseconds(value: exp.Expr) -> int:
    while isinstance(value, exp.Paren):
        value = value.this
    unit = value.args.get("unit") if isinstance(value, exp.Interval) else None
    size = _UNITS_US.get(unit.name.upper().removesuffix("S")) if unit is not None else None
    if size is None:
        raise Decline("of the length of its frame")
    count = value.this
    if isinstance(count, exp.Literal) and count.is_string and count.name.isdigit():
        return min(int(count.name) * size, _VALUES_MAX)
    return min(_number(count) * size, _VALUES_MAX)
