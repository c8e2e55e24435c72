"""Variances as sums that merge.

Of INTEGERs, and of what is smaller, the sums of x and of x * x are exact, and so is n times the
second less the square of the first, as long as a group has fewer than 2**31 rows: nothing cancels
as it would among floats, and a row that is withdrawn leaves nothing behind.
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp

_VARIANCES = {"variance": 1, "var_samp": 1, "var_pop": 0}
_DEVIATIONS = {"stddev": 1, "stddev_samp": 1, "stddev_pop": 0}
NAMES = (*_VARIANCES, *_DEVIATIONS)

_SMALL = ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT")
# Here n is the count, s the sum, and q the sum of squares; less is 1 for a sample.
_VARIANCE = """CASE WHEN n > less
    THEN CAST(n * q - s * s AS DOUBLE) / (CAST(n AS DOUBLE) * (n - less)) END"""


def is_exact(sql_type: str) -> bool:
    """Whether the sums over values of a type are exact."""
    return sql_type in _SMALL


def square(argument: exp.Expr) -> exp.Expr:
    """X * x, wide enough."""
    wide = exp.Cast(this=argument.copy(), to=exp.DataType.build("BIGINT"))
    return exp.Mul(this=wide, expression=wide.copy())


def spread(name: str, count: exp.Expr, total: exp.Expr, squares: exp.Expr) -> exp.Expr:
    """A variance or a standard deviation, from the count and the two sums."""
    less = {**_VARIANCES, **_DEVIATIONS}[name]
    values = {"n": count, "s": total, "q": squares, "less": exp.Literal.number(less)}
    tree = sqlglot.parse_one(_VARIANCE, dialect="duckdb").transform(
        lambda node: values[node.name].copy() if isinstance(node, exp.Column) else node
    )
    return exp.Sqrt(this=tree) if name in _DEVIATIONS else exp.paren(tree)
