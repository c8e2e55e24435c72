"""Which of DuckDB's functions are aggregates, and which answer differently each time.

sqlglot knows some functions as classes of their own and passes the others through by name, so a
function is known here by the name under which it is written for DuckDB. A test compares these lists
with DuckDB's own catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from headwater.errors import DefinitionError, Place
from headwater.sql.places import place_of


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES = _names("""
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max
    arg_max_null arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin
    array_agg avg bit_and bit_or bit_xor bitstring_agg bool_and bool_or combine_aggr corr
    count count_if count_star countif covar_pop covar_samp decimal_average entropy favg
    first fsum group_concat histogram histogram_exact kahan_sum kurtosis kurtosis_pop last
    list listagg lttb mad max max_by mean median min min_by mode product quantile
    quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness stddev stddev_pop
    stddev_samp string_agg sum sum_no_overflow sumkahan var_pop var_samp variance
    variant_group_object geomean geometric_mean wavg weighted_avg logical_or logical_and
""")

VOLATILE = _names("""
    ago current_catalog current_connection_id current_database current_date
    current_localtime current_localtimestamp current_query current_query_id current_schema
    current_schemas current_setting current_time current_timestamp current_transaction_id
    current_user currval gen_random_uuid get_current_time get_current_timestamp getvariable
    in_search_path localtime localtimestamp nextval now pg_conf_load_time
    pg_postmaster_start_time random session_user setseed setval sleep_ms stats today
    transaction_timestamp txid_current user uuid uuidv4 uuidv7 vector_type version write_log
""")

# They say of which grouping set a group is; sqlglot has them among the aggregates.
GROUPING = (exp.Grouping, exp.GroupingId)
_TIMES = ("now", "today", "ago")


def name_of(node: exp.Expr) -> str:
    """The name under which DuckDB knows a function, in lower case; empty for all else."""
    if isinstance(node, exp.Anonymous):
        return node.name.lower()
    # AND and OR are functions to sqlglot, and their text begins with their first part's.
    if isinstance(node, exp.Func) and not isinstance(node, exp.Connector):
        return node.sql("duckdb").partition("(")[0].strip().lower()
    return ""


def is_aggregate(node: exp.Expr) -> bool:
    """Whether the node is a call of an aggregate function."""
    if isinstance(node, exp.AggFunc):
        return not isinstance(node, GROUPING)
    return isinstance(node, exp.Func) and name_of(node) in AGGREGATES


def aggregates(expression: exp.Expr) -> Iterator[exp.Expr]:
    """The aggregate calls in an expression with their FILTER and the like, outermost first.

    The function of a window is no aggregate of the block; what stands in its arguments may be. Does
    not look into subqueries.
    """
    if isinstance(expression, exp.Query):
        return
    if isinstance(expression, exp.Window):
        for part in _window_parts(expression):
            yield from aggregates(part)
        return
    if _is_wrapped_aggregate(expression):
        yield expression
        return
    for child in expression.iter_expressions():
        yield from aggregates(child)


def _is_wrapped_aggregate(node: exp.Expr) -> bool:
    while isinstance(node, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup):
        node = node.this
    return is_aggregate(node)


def _window_parts(window: exp.Window) -> Iterator[exp.Expr]:
    function = window.this
    while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        if isinstance(function, exp.Filter):
            yield function.expression
        function = function.this
    yield from function.iter_expressions()
    for name, value in window.args.items():
        if name != "this":
            yield from (
                v
                for v in (value if isinstance(value, list) else [value])
                if isinstance(v, exp.Expr)
            )


def refuse_volatile(
    query: exp.Query, origin: Place | None, allowed: frozenset[int] = frozenset()
) -> None:
    """Refuse what would answer differently on another day.

    Args:
        allowed: The ids of nodes that may stand where they do (`temporal.placed`).

    Raises:
        DefinitionError: The query calls such a function.

    """
    for node in query.walk():
        if isinstance(node, exp.TableSample):
            raise DefinitionError(
                "a sample picks other rows each time, so a replay would differ",
                place=place_of(node, origin),
                hint="pick by a hash of the row, for example WHERE hash(id) % 10 = 0",
            )
        name = name_of(node) if isinstance(node, exp.Func) else ""
        if name in VOLATILE and id(node) not in allowed:
            raise DefinitionError(
                f"{name} gives another answer each time it is asked, so a replay would differ",
                place=place_of(node, origin),
                hint=_hint(name),
            )


def _hint(name: str) -> str:
    if name in ("now", "current_timestamp"):
        return "compare it with a time of the row: WHERE ts > now() - INTERVAL '1 hour'"
    is_time = name in _TIMES or "time" in name or "date" in name
    return (
        "use the event time of a row" if is_time else "let the producer put the value into the row"
    )
