"""Approximate aggregates with a known error, as plain SQL that merges and takes rows back.

DuckDB's own `approx_quantile`, `approx_count_distinct` and `approx_top_k` depend on the order of
rows and cannot take one back. Here each is written as an exact aggregate of a coarser value, from
which the answer is computed. So a sketch is the same bit for bit wherever it is computed, merges as
that aggregate does, and a row that is withdrawn leaves nothing behind.

`approx_quantile(x, q [, error])` is a DDSketch (Masson, Rim and Lee, VLDB 2019): positive numbers
fall into buckets whose bounds grow by the factor (1 + error) / (1 - error), negative ones into the
same with a sign; zero, the infinities and NaN have buckets of their own. Buckets are in the order
of their numbers, so the bucket of the quantile is the quantile of the buckets, and every number in
a bucket is within the relative error of its middle.

`approx_count_distinct(x)` counts distinct coupons (Flajolet and Martin, 1985; Lang, 2017): a hash
of 64 bits gives one of 2,048 registers and a rank, which is one higher with each halving of the
chance. How many pairs of the two are seen tells how many values there are, with a standard error
of 0.693 / sqrt(2048) = 1.5 %. The number of values is the one for which so many pairs are expected,
by a formula that was fitted to it within 0.15 %.

`approx_top_k(x, k)` is the first of an exact histogram.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from headwater.errors import DefinitionError, Place
from headwater.sql.places import place_of

QUANTILE_ERROR = 0.01
SHORT = "short"
_ERROR_MIN, _ERROR_MAX = 0.0001, 0.5
_TOP = "3"
_SKETCHES = (exp.ApproxQuantile, exp.ApproxDistinct, exp.ApproxTopK)
_WRAPPERS = (exp.Filter, exp.Window, exp.IgnoreNulls, exp.RespectNulls)
_MENTIONED = re.compile(r"\bapprox_(quantile|count_distinct|top_k)\b", re.IGNORECASE)

# In these x stands for the argument, c for the aggregate, and the capitals for numbers. Numbers
# have an exponent, so that DuckDB reads them as DOUBLE. What is added makes any number a DOUBLE and
# zero positive, and is refused of what is no number, which a cast would be only when it is run.
_BUCKET = """CAST(CASE
    WHEN isnan(add(x, 0e0)) THEN NAN
    WHEN isinf(add(x, 0e0)) THEN sign(add(x, 0e0)) * INF
    WHEN add(x, 0e0) = 0 THEN 0
    ELSE sign(add(x, 0e0)) * (ceil(ln(abs(add(x, 0e0))) / LN_GAMMA) + K)
    END AS INTEGER)"""
_MIDDLE = """CASE
    WHEN c = 0 THEN 0e0
    WHEN c = NAN THEN CAST('nan' AS DOUBLE)
    WHEN abs(c) = INF THEN sign(c) * CAST('inf' AS DOUBLE)
    WHEN c <> 0 THEN sign(c) * least(exp((abs(c) - K) * LN_GAMMA - LN_HALF), 1.7976931348623157e308)
    END"""
_COUPON = """CASE WHEN x IS NOT NULL THEN CAST((hash(x) >> 53) * 32 + bit_count(xor(
    (hash(x) & 2147483647) | 2147483648, ((hash(x) & 2147483647) | 2147483648) - 1)) - 1
    AS USMALLINT) END"""
# With v = c / 2048: n = 2048 * (2**v - 1) * (A + B * exp(v * (a + v * (b + ...)))).
_ESTIMATE = """CAST(round(2048 * (pow(2e0, c / 2048e0) - 1) * (7.9402361638e-1 + 6.486714246e-1
    * exp(c / 2048e0 * (-4.00401849e-1 + c / 2048e0 * (-3.87983722e-2 + c / 2048e0
    * (-1.90546857e-2 + c / 2048e0 * (4.79473682e-3 - 2.87710647e-4 * c / 2048e0)))))))
    AS BIGINT)"""
_FIRST = """list_transform(list_slice(list_sort(list_transform(map_entries(c),
    e -> {'n': -CAST(e.value AS BIGINT), 'v': e.key})), 1, N), e -> e.v)"""


def exactly(query: exp.Query, origin: Place | None) -> exp.Query:
    """A copy of the query with each approximate aggregate written as what it means.

    Raises:
        DefinitionError: An argument is not a number that can be used, with the place underlined.

    """
    copy = query.copy()
    for sketch in reversed(list(copy.find_all(*_SKETCHES))):
        _name(sketch)
        inner, outer = _written(sketch, origin)
        whole: exp.Expr = sketch
        while isinstance(whole.parent, _WRAPPERS) and whole.arg_key == "this":
            whole = whole.parent
        sketch.replace(inner)
        if whole is sketch:
            whole = inner
        marker = exp.Placeholder()
        whole.replace(marker)
        marker.replace(_filled(outer, c=whole))
    return copy


def exactly_text(sql: str) -> str:
    """The same for the text of a question; as it is where it mentions none."""
    if not _MENTIONED.search(sql):
        return sql
    try:
        query = sqlglot.parse_one(sql, dialect="duckdb")
        return exactly(query, None).sql("duckdb") if isinstance(query, exp.Query) else sql
    except SqlglotError:
        # DuckDB says better what is wrong with it.
        return sql
    except RecursionError:
        raise DefinitionError(
            "the query is nested too deeply", hint="give its parts names: WITH part AS (...)"
        ) from None


def _name(sketch: exp.Expr) -> None:
    """Give a column of a select list that has no name the one that its text is."""
    item = sketch
    while item.parent is not None and not isinstance(item.parent, exp.Query):
        item = item.parent
    is_listed = isinstance(item.parent, exp.Select) and item.arg_key == "expressions"
    if is_listed and not isinstance(item, exp.Alias):
        name = item.sql("duckdb", normalize_functions="lower", unsupported_level=ErrorLevel.IGNORE)
        marker = exp.Placeholder()
        item.replace(marker)
        marker.replace(exp.alias_(item, name, quoted=True, copy=False))


def _written(sketch: exp.Expr, origin: Place | None) -> tuple[exp.Expr, exp.Expr]:
    """The exact aggregate, and the answer as an expression over `c`."""
    argument = sketch.this
    if isinstance(argument, exp.Distinct):
        if not isinstance(sketch, exp.ApproxDistinct) or len(argument.expressions) != 1:
            raise DefinitionError(
                "an approximate aggregate takes no DISTINCT",
                place=place_of(sketch, origin),
                hint="select the distinct values in a query in FROM",
            )
        argument = argument.expressions[0]
    if isinstance(sketch, exp.ApproxQuantile):
        return _quantile(sketch, argument, origin)
    if isinstance(sketch, exp.ApproxDistinct):
        coupon = _named(_filled(_tree(_COUPON), x=argument), "coupon")
        counted = exp.Count(this=exp.Distinct(expressions=[coupon]), big_int=True)
        return counted, _named(_tree(_ESTIMATE), "estimate")
    count = sketch.args.get("expression") or exp.Literal.number(_TOP)
    histogram = exp.Anonymous(this="histogram", expressions=[argument.copy()])
    return histogram, _filled(_tree(_FIRST), N=count)


def _quantile(
    sketch: exp.ApproxQuantile, argument: exp.Expr, origin: Place | None
) -> tuple[exp.Expr, exp.Expr]:
    wanted = sketch.args.get("quantile")
    items = wanted.expressions if isinstance(wanted, exp.Array) else [wanted]
    fractions = [exp.Literal.number(_fraction(item, sketch, origin)) for item in items]
    gamma = _gamma(sketch.args.get("accuracy"), sketch, origin)
    # More than any bucket's distance from that of 1: so those of positive numbers are positive.
    middle_bucket = math.ceil(745 / math.log(gamma)) + 1
    numbers = {
        "K": exp.Literal.number(middle_bucket),
        "INF": exp.Literal.number(2 * middle_bucket + 1),
        "NAN": exp.Literal.number(2 * middle_bucket + 2),
        "LN_GAMMA": exp.Literal.number(f"{math.log(gamma):.16e}"),
        "LN_HALF": exp.Literal.number(f"{math.log((gamma + 1) / 2):.16e}"),
    }
    bucket = _named(_filled(_tree(_BUCKET), x=argument, **numbers), "bucket")
    middle = _named(_filled(_tree(_MIDDLE), **numbers), "middle")
    if not isinstance(wanted, exp.Array):
        return exp.PercentileDisc(this=bucket, expression=fractions[0]), middle
    each = exp.Lambda(
        this=_filled(middle, c=exp.to_identifier("bucket")),
        expressions=[exp.to_identifier("bucket")],
    )
    listed = exp.PercentileDisc(this=bucket, expression=exp.Array(expressions=fractions))
    return listed, exp.Anonymous(this="list_transform", expressions=[exp.column("c"), each])


def _fraction(item: exp.Expr | None, sketch: exp.Expr, origin: Place | None) -> str:
    """A quantile as a decimal number."""
    if isinstance(item, exp.Literal) and not item.is_string and 0 <= float(item.name) <= 1:
        text = f"{Decimal(item.name):f}"
        return text if "." in text else f"{text}.0"
    raise DefinitionError(
        "approx_quantile takes a number from 0 to 1, or a list of such numbers",
        place=place_of(sketch, origin),
        hint="for example approx_quantile(price, 0.99)",
    )


def _gamma(error: exp.Expr | None, sketch: exp.Expr, origin: Place | None) -> float:
    """By how much the bounds of buckets grow."""
    alpha = QUANTILE_ERROR
    if error is not None:
        is_number = isinstance(error, exp.Literal) and not error.is_string
        alpha = float(error.name) if is_number else 0.0
    if not _ERROR_MIN <= alpha <= _ERROR_MAX:
        raise DefinitionError(
            f"the error of approx_quantile is a number from {_ERROR_MIN} to {_ERROR_MAX}",
            place=place_of(sketch, origin),
            hint="for example approx_quantile(price, 0.99, 0.005) for one of 0.5 %",
        )
    return (1 + alpha) / (1 - alpha)


def bucket_argument(query: exp.Expr) -> exp.Expr | None:
    """The first column that a rewritten query takes an approximate quantile of, if any."""
    buckets = (node for node in query.walk() if node.meta.get(SHORT) == "bucket")
    return next((c for bucket in buckets for c in bucket.find_all(exp.Column)), None)


def _named(expression: exp.Expr, name: str) -> exp.Expr:
    """The expression, which `explain` then calls by a name instead of writing it out."""
    expression.meta[SHORT] = name
    return expression


def _tree(template: str) -> exp.Expr:
    return sqlglot.parse_one(template, dialect="duckdb")


def _filled(template: exp.Expr, **values: exp.Expr) -> exp.Expr:
    """A copy of a template with its names replaced, each by a copy of its value."""
    copy = template.copy()
    for name in list(copy.find_all(exp.Column)):
        if name.name in values and not name.table:
            value = values[name.name].copy()
            if name is copy:
                return value
            name.replace(value)
    return copy
