"""What is the same for a while: the day of a time, the text of its hour, and the like.

An expression that reads nothing of a time but its day has one value for each day, and the rows of
an epoch are of few days. So DuckDB says it for the days, and for the rows it is a division.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from headwater.delta.delta import Int64Array
from headwater.operators import render
from headwater.operators.statement import Engine, Statement
from headwater.plan.nodes import Node

_SECOND_US = 1_000_000
_MINUTE_US, _HOUR_US, _DAY_US = 60 * _SECOND_US, 3_600 * _SECOND_US, 86_400 * _SECOND_US
# What the letters of a format read of a time; those that are not here are left to DuckDB.
_FORMATS = {
    **dict.fromkeys("YyGmBbdjaAwuUWVx", _DAY_US),
    **dict.fromkeys("HIp", _HOUR_US),
    "M": _MINUTE_US,
    **dict.fromkeys("ScX", _SECOND_US),
    "%": _DAY_US,
}
_DIRECTIVE = re.compile(r"%-?(.?)")
_UNITS = {
    **dict.fromkeys(("DAY", "WEEK", "MONTH", "QUARTER", "YEAR"), _DAY_US),
    "HOUR": _HOUR_US,
    "MINUTE": _MINUTE_US,
    "SECOND": _SECOND_US,
}
_PARTS: dict[type[exp.Expr], int] = {
    **dict.fromkeys((exp.Year, exp.Month, exp.Day, exp.DayOfWeek, exp.Quarter), _DAY_US),
    exp.Hour: _HOUR_US,
    exp.Minute: _MINUTE_US,
}
# So many values an epoch may have.
_VALUES_MAX = 1 << 12


@dataclass(frozen=True, slots=True)
class Paced:
    """An expression over one time, of which it reads no more than in which unit of time it is.

    Args:
        value: The expression.
        column: The time, a TIMESTAMP.
        unit_us: It changes only at multiples of so many microseconds since 1970.

    """

    value: exp.Expr
    column: str
    unit_us: int


def paced(value: exp.Expr, node: Node) -> Paced | None:
    """An expression over the columns of a node as one that is the same for a while, if it is."""
    value = value.unnest()
    if isinstance(value, exp.Cast) and not _is_date(value):
        inner = paced(value.this, node)
        is_text = value.to.this in (exp.DType.TEXT, exp.DType.VARCHAR)
        return Paced(value, inner.column, inner.unit_us) if inner and is_text else None
    found = _read(value)
    if found is None or not isinstance(found[0], exp.Column):
        return None
    name, unit_us = found[0].name, found[1]
    is_time = name in node.schema and node.schema[name].type.sql.upper() == "TIMESTAMP"
    return Paced(value, name, unit_us) if is_time else None


def _read(value: exp.Expr) -> tuple[exp.Expr, int] | None:
    """What a function reads, and in which units of time."""
    if isinstance(value, exp.TimeToStr):
        unit_us = _unit_of_format(value.args.get("format"))
    elif isinstance(value, exp.TimestampTrunc | exp.Extract):
        unit = value.args.get("unit") if isinstance(value, exp.TimestampTrunc) else value.this
        unit_us = _UNITS.get("" if unit is None else unit.name.upper())
    else:
        unit_us = _DAY_US if _is_date(value) else _PARTS.get(type(value))
    if unit_us is None:
        return None
    return (value.expression if isinstance(value, exp.Extract) else value.this), unit_us


def _is_date(value: exp.Expr) -> bool:
    is_cast = isinstance(value, exp.Cast) and not isinstance(value, exp.TryCast)
    return is_cast and value.args["to"].this == exp.DType.DATE


def _unit_of_format(form: exp.Expr | None) -> int | None:
    if not isinstance(form, exp.Literal) or not form.is_string:
        return None
    letters = _DIRECTIVE.findall(form.name)
    # One that is not known leaves nothing of the time.
    return min([_DAY_US, *(_FORMATS.get(letter, 0) for letter in letters)]) or None


@dataclass(frozen=True, slots=True)
class Page:
    """The values of an expression in a stretch of time.

    Args:
        first: The number of the first unit of time.
        codes: For each unit from there on the number of its value; None where that counts on.
        values: The different values.

    """

    first: int
    codes: Int64Array | None
    values: pa.Array

    def ranks(self) -> Ranks:
        """The values in their order."""
        order = np.asarray(pc.sort_indices(self.values)).astype(np.int64)
        of = np.empty_like(order)
        of[order] = np.arange(len(order))
        return Ranks(self, of, self.values.take(pa.array(order)))


@dataclass(frozen=True, slots=True)
class Ranks:
    """The values of a page, ascending.

    Args:
        of: The place of each value of the page.

    """

    page: Page
    of: Int64Array
    values: pa.Array


class Calendar:
    """The values of a `Paced`, for the units of time that are asked for."""

    def __init__(self, what: Paced, engine: Engine) -> None:
        self.column, self.unit_us = what.column, what.unit_us
        query = render.select([render.named(what.value.copy(), "value")], render.INPUT, None)
        inputs = {render.INPUT: pa.schema([(what.column, pa.timestamp("us"))])}
        self._statement = Statement(engine, query, inputs, is_ordered=True)
        self._page: tuple[int, int, Page] | None = None

    def page(self, low_us: int, high_us: int) -> Page | None:
        """The values of all times from the one to the other; None when these are too many."""
        first, last = low_us // self.unit_us, high_us // self.unit_us
        if last - first >= _VALUES_MAX:
            return None
        if self._page is None or self._page[:2] != (first, last):
            self._page = first, last, self._written(first, last)
        return self._page[2]

    def numbers(self, page: Page, times: Int64Array) -> Int64Array | None:
        """For each time the number of its value; None when there is but one."""
        if len(page.values) == 1:
            return None
        units = times - page.first * self.unit_us
        units //= self.unit_us
        return units if page.codes is None else page.codes.take(units)

    def _written(self, first: int, last: int) -> Page:
        times = pa.array(np.arange(first, last + 1) * self.unit_us).cast(pa.timestamp("us"))
        rows = pa.RecordBatch.from_arrays([times], [self.column])
        values = self._statement.run(input=rows).column(0)
        coded = values.dictionary_encode("encode")
        is_each = len(coded.dictionary) == len(values)
        codes = None if is_each else coded.indices.to_numpy().astype(np.int64)
        return Page(first, codes, coded.dictionary)
