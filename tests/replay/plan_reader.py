"""A second reader of plans: each node as one DuckDB statement over its inputs' whole rows.

Slow and plain, so that a plan can be checked apart from the engine that keeps it up to date.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa
from sqlglot import exp

from headwater.operators.statement import settings
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Distinct,
    Join,
    Map,
    Merge,
    Node,
    Order,
    Over,
    Pace,
    Partial,
    Place,
    Recompute,
    Scan,
    SetOperation,
    TopN,
    Union,
    WindowKind,
    Windows,
    WindowSpec,
    walk,
)
from headwater.schema.schema import Schema

_READ = (
    Scan, Map, Windows, Aggregate, Join, AsofJoin, Distinct, Union, TopN, Over, Pace, Recompute,
)  # fmt: skip


def is_readable(root: Node) -> bool:
    """Whether all nodes of a plan are ones that are read here."""
    return all(isinstance(node, _READ) for node in walk(root))


class PlanReader:
    """Answers plans over whole relations."""

    def __init__(self, relations: Mapping[str, pa.Table]) -> None:
        self._connection = duckdb.connect(":memory:", config=settings(1))
        self._connection.execute("SET TimeZone = 'UTC'")
        self._tables = 0
        self._relations: dict[str, str] = {}
        for name, table in relations.items():
            self.give(name, table)

    def __enter__(self) -> PlanReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, name: str, root: Node) -> pa.Table:
        """The rows of a plan, which later plans can scan under `name`."""
        self._relations[name] = self._rows(root)
        return self._connection.table(self._relations[name]).to_arrow_table()

    def give(self, name: str, rows: pa.Table) -> None:
        """Let later plans scan these rows under `name`."""
        self._connection.register(f"{name}_rows", rows)
        self._relations[name] = self._keep(f"FROM {name}_rows")

    def _keep(self, sql: str) -> str:
        self._tables += 1
        name = f"t{self._tables}"
        self._connection.execute(f"CREATE TABLE {name} AS {sql}")
        return name

    def _rows(self, node: Node) -> str:
        """The name of a table with the node's rows."""
        inputs = [self._rows(child) for child in node.inputs]
        table = self._keep(self._sql(node, inputs))
        if not node.schema.names:
            # Rows that are wanted for their number alone: DuckDB has no table without columns.
            return table
        found = self._connection.table(table)
        assert tuple(found.columns) == node.schema.names, (found.columns, node)
        expected = [c.type.sql for c in node.schema]
        assert [str(t) for t in found.types] == expected, (found.types, node)
        return table

    def _sql(self, node: Node, inputs: list[str]) -> str:  # noqa: PLR0911, PLR0912
        match node:
            case Scan():
                # Some types, JSON for one, are lost in Arrow.
                typed = ", ".join(f"CAST({_q(c.name)} AS {c.type.sql})" for c in node.schema)
                named = f"({', '.join(_q(c.name) for c in node.schema)})"
                return f"FROM (SELECT {typed} FROM {self._relations[node.relation]}) AS _{named}"
            case Map():
                columns = ", ".join(f"{e.sql('duckdb')} AS {_q(n)}" for n, e in node.projections)
                # Rows may be wanted for their number alone.
                columns = columns or "NULL AS __nothing"
                where = f" WHERE {node.condition.sql('duckdb')}" if node.condition else ""
                # The filter first, so that it cannot mean an output's name.
                return f"SELECT {columns} FROM (SELECT * FROM {inputs[0]}{where})"
            case Windows():
                return _windowed(inputs[0], node.input.schema, node.spec, node.start, node.end)
            case Aggregate():
                return _aggregate(node, inputs[0])
            case Join():
                return _join(node, *inputs)
            case AsofJoin():
                left, right = inputs
                # Kept first: DuckDB fails to bind the two as one statement where there are no keys.
                return _asof(node, left, self._keep(_last_of_equals(node, right)))
            case Distinct():
                return f"SELECT DISTINCT * FROM {inputs[0]}"
            case Union():
                return " UNION ALL ".join(f"SELECT * FROM {name}" for name in inputs)
            case SetOperation():
                rule = str(node.rule)
                return f"SELECT * FROM {inputs[0]} {rule} SELECT * FROM {inputs[1]}"
            case TopN():
                return _top(node, inputs[0])
            case Over():
                return _over(node, inputs[0])
            case Pace():
                return f"SELECT * FROM {inputs[0]}"
            case Recompute():
                query = node.query.copy()
                for name, table in zip(node.names, inputs, strict=True):
                    query = query.with_(
                        exp.to_identifier(name, quoted=True),
                        f"FROM {table}",
                        dialect="duckdb",
                        copy=False,
                    )
                return query.sql("duckdb")


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(map(_q, names))


def _windowed(table: str, schema: Schema, spec: WindowSpec, start: str, end: str) -> str:
    if spec.kind is WindowKind.SESSION:
        return _sessions(table, schema, spec, start, end)
    if spec.kind is WindowKind.CUMULATE:
        return _cumulated(table, schema, spec, start, end)
    first = f"epoch_us({_q(spec.time)}) - {spec.offset_us}"
    newest = (
        f"floor(({first}) / {spec.slide_us}::DOUBLE)::BIGINT * {spec.slide_us} + {spec.offset_us}"
    )
    starts = (
        f"unnest(range({newest}, epoch_us({_q(spec.time)}) - {spec.size_us}, -{spec.slide_us}))"
    )
    timed = f"SELECT *, {starts} AS __s FROM {table} WHERE isfinite({_q(spec.time)})"
    stamps = (
        f"make_timestamp(__s) AS {_q(start)}, make_timestamp(__s + {spec.size_us}) AS {_q(end)}"
    )
    return f"SELECT {_list(schema.names)}, {stamps} FROM ({timed})"


def _sessions(table: str, schema: Schema, spec: WindowSpec, start: str, end: str) -> str:
    """Each row's session, found from it step by step in both directions."""
    t = f"epoch_us({_q(spec.time)})"
    keys = "".join(f" AND a.{_q(k)} IS NOT DISTINCT FROM b.{_q(k)}" for k in spec.keys)
    rows = f"(SELECT *, {t} AS __t FROM {table} WHERE isfinite({_q(spec.time)}))"
    gap = f"b.__t - a.__t BETWEEN 1 AND {spec.size_us - 1}{keys}"
    over = f"PARTITION BY {_list(spec.keys)}" if spec.keys else ""
    first = f"NOT EXISTS (FROM {rows} a WHERE {gap})"
    last = f"NOT EXISTS (FROM {rows} a WHERE a.__t - b.__t BETWEEN 1 AND {spec.size_us - 1}{keys})"
    marked = f"SELECT b.*, {first} AS __f, {last} AS __l FROM {rows} b"
    newest = f"max(CASE WHEN __f THEN __t END) OVER ({over} ORDER BY __t)"
    next_ = f"min(CASE WHEN __l THEN __t END) OVER ({over} ORDER BY __t DESC) + {spec.size_us}"
    bounds = f"make_timestamp({newest}) AS {_q(start)}, make_timestamp({next_}) AS {_q(end)}"
    return f"SELECT {_list(schema.names)}, {bounds} FROM ({marked})"


def _cumulated(table: str, schema: Schema, spec: WindowSpec, start: str, end: str) -> str:
    t = f"epoch_us({_q(spec.time)})"
    first = f"floor(({t} - {spec.offset_us}) / {spec.size_us}::DOUBLE)::BIGINT * {spec.size_us}"
    steps = f"unnest(range({spec.slide_us}, {spec.size_us + spec.slide_us}, {spec.slide_us}))"
    timed = (
        f"SELECT *, {first} + {spec.offset_us} AS __s, {steps} AS __n FROM {table} "
        f"WHERE isfinite({_q(spec.time)})"
    )
    stamps = f"make_timestamp(__s) AS {_q(start)}, make_timestamp(__s + __n) AS {_q(end)}"
    return f"SELECT {_list(schema.names)}, {stamps} FROM ({timed}) WHERE __s + __n > {t}"


def _aggregate(node: Aggregate, table: str) -> str:
    keys = node.keys
    if node.window is not None:
        window = node.window
        windowed = _windowed(table, node.input.schema, window.spec, "__start", "__end")
        renamed = f"*, __start AS {_q(window.start)}, __end AS {_q(window.end)}"
        table = f"(SELECT {renamed} FROM ({windowed}))"
        keys = (*keys, window.start, window.end)
    calls = [f"{_call(p)} AS {_q(p.name)}" for p in node.partials]
    group = f" GROUP BY {_list(keys)}" if keys else ""
    columns = [*map(_q, keys), *calls] or ["count(*) AS __nothing"]
    return f"SELECT {', '.join(columns)} FROM {table}{group}"


def _call(partial: Partial) -> str:
    argument = _q(partial.argument) if partial.argument else "*"
    if partial.merge is Merge.DISTINCT:
        return f"count(DISTINCT {argument})"
    if partial.merge is Merge.ONLY:
        return f"any_value({argument})"
    fraction = f", {partial.fraction}" if partial.fraction else ""
    return f"{partial.merge}({argument}{fraction})"


def _join(node: Join, left: str, right: str) -> str:
    pairs = zip(node.left_keys, node.right_keys, strict=True)
    terms = [f"l.{_q(a)} = r.{_q(b)}" for a, b in pairs]
    if node.within is not None:
        apart = (
            f"epoch_us(l.{_q(node.within.left_time)}) - epoch_us(r.{_q(node.within.right_time)})"
        )
        lower, upper = node.within.lower_us, node.within.upper_us
        terms += [f"{apart} >= {lower}"] if lower is not None else []
        terms += [f"{apart} <= {upper}"] if upper is not None else []
    terms += [f"({node.condition.sql('duckdb')})"] if node.condition is not None else []
    on = " AND ".join(terms) or "TRUE"
    shown = _list(node.schema.names)
    return f"SELECT {shown} FROM {left} l {node.kind} JOIN {right} r ON {on}"


def _asof(node: AsofJoin, left: str, right: str) -> str:
    pairs = zip(node.left_keys, node.right_keys, strict=True)
    on = [f"l.{_q(a)} = r.{_q(b)}" for a, b in pairs]
    on.append(f"l.{_q(node.left_time)} {'>' if node.is_strict else '>='} r.{_q(node.right_time)}")
    kind = "LEFT" if node.is_left else ""
    return f"SELECT * FROM {left} l ASOF {kind} JOIN {right} r ON {' AND '.join(on)}"


def _last_of_equals(node: AsofJoin, table: str) -> str:
    """Of the rows of equal key and time the one that came last."""
    by = _list((*node.right_keys, node.right_time))
    last = f"row_number() OVER (PARTITION BY {by} ORDER BY rowid DESC) = 1"
    return f"SELECT * FROM {table} QUALIFY {last}"


def _over(node: Over, table: str) -> str:
    asked = [_ordered(o) for o in node.order]
    rest = [f"{_q(name)} ASC NULLS LAST" for name in (*node.ties, *node.input.schema.names)]
    by = f"PARTITION BY {_list(node.partition)} " if node.partition else ""
    calls = []
    for call in node.calls:
        order = [*asked, *rest] if call.is_total else asked
        spec = f" {call.spec.sql('duckdb')}" if call.spec is not None else ""
        over = f"{by}ORDER BY {', '.join(order)}{spec}"
        calls.append(f"{call.function.sql('duckdb')} OVER ({over}) AS {_q(call.name)}")
    return f"SELECT *, {', '.join(calls)} FROM {table}"


def _ordered(o: Order) -> str:
    direction = "DESC" if o.is_descending else "ASC"
    return f"{_q(o.column)} {direction} NULLS {'FIRST' if o.nulls_first else 'LAST'}"


def _top(node: TopN, table: str) -> str:
    order = [_ordered(o) for o in node.order]
    if node.place is Place.ROW_NUMBER:
        order += [f"{_q(name)} ASC NULLS LAST" for name in node.input.schema.names]
    over = f"PARTITION BY {_list(node.partition)} " if node.partition else ""
    over += f"ORDER BY {', '.join(order)}"
    names = _list(node.input.schema.names)
    number = f", __n AS {_q(node.number)}" if node.number else ""
    bounds = f"__n > {node.offset} AND __n <= {node.offset + node.limit}"
    numbered = f"SELECT *, {node.place}() OVER ({over}) AS __n FROM {table}"
    return f"SELECT {names}{number} FROM ({numbered}) WHERE {bounds}"
