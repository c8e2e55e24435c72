"""Find the matches of a row pattern as the watermark passes the rows.

A row waits until the watermark has passed its time; then it stands in its partition at a place that
nothing can change. Each epoch takes the partitions that have new rows, or whose oldest unfinished
match has run out of time, sorts their remembered and new rows, and searches from the first row that
may still begin a match. What the search is done with is forgotten: a partition in which nothing has
begun remembers nothing (but for the rows that PREV of a first row looks at).

Sorting, neighbours, conditions of one row and measures are computed for all rows at once, by DuckDB
and numpy. Rows that may begin a match are found so too; only from these on does the search go row
by row, in Python. A search that must wait begins anew when its partition is touched again, so a
long unfinished match costs its length in each such epoch. WITHIN bounds that, and the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta, Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators import render
from headwater.operators.groups import ascending, difference, touched
from headwater.operators.isolate import run_isolating
from headwater.operators.lateness import WATERMARK, times
from headwater.operators.match_program import Found, Search, Test, program
from headwater.operators.match_program import Rows as SearchRows
from headwater.operators.match_values import Columns, Readings, compiled
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.render import TIME
from headwater.operators.runs import Runs, joined
from headwater.operators.statement import Engine, Rows, Statement, empty_batch
from headwater.plan.nodes import MatchRecognize
from headwater.plan.patterns import Condition, rows_before, symbols
from headwater.sql.match import measures_query
from headwater.sql.match_measures import MATCH, PLACE, SYMBOL
from headwater.state.equality import BoolArray, rows_equal
from headwater.state.multiset import Multiset

ROLE = "__role"
DEADLINE = "__deadline"
# Rows that are only looked back at, rows from which a match may go on, and rows not yet remembered.
CONTEXT, LIVE, NEW = 0, 1, 2
FORGOTTEN = -1


class MatchOperator:
    """Keeps a `MatchRecognize` up to date.

    Args:
        node: What to compute.
        input_schema: The columns of the input of the linear stretch below; they include ticks.

    """

    def __init__(self, node: MatchRecognize, input_schema: pa.Schema, engine: Engine) -> None:
        self._node = node
        self._names = list(node.input.schema.names)
        self._arriving = Statement(
            engine, _arriving(node), {render.INPUT: input_schema}, is_ordered=False
        )
        found = self._arriving.schema
        rows = [found.field(name) for name in (*self._names, TIME)]
        self._waiting_schema = pa.schema([*rows, found.field(HASH)])
        self._waiting = Runs(self._waiting_schema, TIME)
        self._rows_schema = pa.schema([*rows, pa.field(ROLE, pa.int64())])
        self._known = Multiset(self._rows_schema, node.partition)
        self._whole_schema = self._rows_schema.append(found.field(HASH))
        self._keys_schema = pa.schema([found.field(n) for n in (*node.partition, HASH)])
        self._touched = touched(engine, self._keys_schema, node.partition)
        self._distinct = difference(engine, self._whole_schema)
        self._sorted = Statement(
            engine,
            _sorted(node, self._whole_schema),
            {render.INPUT: self._whole_schema},
            is_ordered=False,
        )
        self._deadlines_schema = self._keys_schema.append(pa.field(DEADLINE, pa.int64()))
        self._deadlines = Runs(self._deadlines_schema, DEADLINE)
        self._passed_us = BEFORE_ALL
        self._matcher = _Matcher(node, self._rows_schema, engine)
        self.schema: pa.Schema = self._matcher.schema

    def is_due(self, epoch: Epoch) -> bool:
        """Rows are matched when the watermark moves."""
        return epoch.passed(self._node.frontier).end_us > self._passed_us

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Take the rows of an epoch; return the matches that are decided."""
        curve = epoch.passed(self._node.frontier)
        arrived, _ = run_isolating(self._arriving, rows, epoch.failed)
        watermarks = curve.before(arrived.column(TICK).to_numpy())
        is_late = watermarks > arrived.column(TIME).to_numpy()
        if is_late.any():
            epoch.late.append(self._late(arrived, is_late, watermarks))
            arrived = arrived.filter(pa.array(~is_late))
        self._waiting.add(arrived.select(self._waiting_schema.names))
        self._passed_us = max(self._passed_us, curve.end_us)
        whole = self._taken(self._waiting.take_below(self._passed_us))
        if not whole.num_rows:
            return Delta(empty_batch(self.schema))
        found = self._matcher.matches(whole, self._passed_us)
        self._remember(whole, found)
        return Delta(found.output)

    def save(self, saver: Saver) -> Any:
        """Hand over the rows that wait, those remembered, and when unfinished matches run out."""
        return {
            "passed_us": self._passed_us,
            "waiting": self._waiting.save(saver),
            "known": self._known.save(saver),
            "deadlines": self._deadlines.save(saver),
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take it all back."""
        self._passed_us = manifest["passed_us"]
        self._waiting.load(manifest["waiting"], loader)
        self._known.load(manifest["known"], loader)
        self._deadlines.load(manifest["deadlines"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that wait or are remembered."""
        sizes = [self._waiting.size(), self._known.size()]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def waits_until(self) -> int | None:
        """The time at which the next row can be matched, or an unfinished match runs out."""
        row, deadline = self._waiting.lowest(), self._deadlines.lowest()
        found = [] if row is None else [row + 1]
        if deadline is not None and self._known.size()[0]:
            found.append(deadline)
        return self._node.frontier.reached_at(min(found)) if found else None

    def _late(
        self, arrived: pa.RecordBatch, is_late: BoolArray, watermarks: Int64Array
    ) -> pa.RecordBatch:
        late = arrived.filter(pa.array(is_late)).select(list(self._node.content))
        column = times(watermarks[is_late], pa.timestamp("us"))
        return late.append_column(pa.field(WATERMARK, column.type), column)

    def _taken(self, fresh: pa.RecordBatch) -> pa.RecordBatch:
        """All rows of the partitions with new rows or run-out matches, sorted."""
        names = self._keys_schema.names
        due = self._deadlines.take_below(min(self._passed_us, AFTER_ALL - 1) + 1).select(names)
        new = fresh.append_column(
            pa.field(ROLE, pa.int64()), pa.array(np.full(fresh.num_rows, NEW, dtype=np.int64))
        ).select(self._whole_schema.names)
        if self._passed_us == AFTER_ALL:
            known = self._known.all().rows.select([*self._whole_schema.names, WEIGHT])
        else:
            probing = joined([fresh.select(names), due], self._keys_schema)
            if not probing.num_rows:
                return empty_batch(self._whole_schema)
            known = self._known_of(self._touched.run(input=probing))
        known = self._repeated(known)
        return self._in_order(joined([known, new], self._whole_schema))

    def _in_order(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows by partition and time; those of one time as DuckDB orders what is left.

        Few rows have the time of another one of their partition, and numbers are sorted quickly.
        """
        hashes, time = rows.column(HASH).to_numpy(), rows.column(TIME).to_numpy()
        order = np.lexsort((time, hashes))
        by_time = rows.take(pa.array(order))
        hashes, time = hashes[order], time[order]
        same = hashes[1:] == hashes[:-1]
        if len(_partitions(by_time, self._node.partition)) - 1 > np.count_nonzero(~same) + 1:
            # Two keys share a hash, and their rows lie among each other.
            return self._sorted.run(input=rows)
        tied = same & (time[1:] == time[:-1])
        places = np.flatnonzero(np.append(tied, [False]) | np.append([False], tied))
        if not len(places):
            return by_time
        settled = self._sorted.run(input=by_time.take(pa.array(places)))
        index = np.arange(rows.num_rows)
        index[places] = rows.num_rows + np.arange(len(places))
        return joined([by_time, settled], self._whole_schema).take(pa.array(index))

    def _known_of(self, keys: pa.RecordBatch) -> pa.RecordBatch:
        hashes = keys.column(HASH).to_numpy()
        found = self._known.probe(keys.select(list(self._node.partition)), hashes)
        columns = [
            *found.rows.columns,
            pa.array(hashes[found.probes], pa.uint64()),
            pa.array(found.weights, pa.int64()),
        ]
        schema = self._whole_schema.append(pa.field(WEIGHT, pa.int64()))
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _repeated(self, known: pa.RecordBatch) -> pa.RecordBatch:
        """Each remembered row as often as it is there."""
        if not known.num_rows:
            return empty_batch(self._whole_schema)
        summed = self._distinct.run(input=known)
        weights = summed.column(WEIGHT).to_numpy()
        rows = summed.select(self._whole_schema.names)
        return rows.take(pa.array(np.repeat(np.arange(len(weights)), weights)))

    def _remember(self, whole: pa.RecordBatch, found: _Searched) -> None:
        """Replace what was remembered of these partitions by what is still needed of them."""
        before = whole.column(ROLE).to_numpy()
        changed = before != found.roles
        gone = np.flatnonzero(changed & (before != NEW))
        come = np.flatnonzero(changed & (found.roles != FORGOTTEN))
        if len(gone) or len(come):
            index = np.concatenate([gone, come])
            weights = np.repeat(np.array([-1, 1]), [len(gone), len(come)])
            roles = np.concatenate([before[gone], found.roles[come]])
            rows = whole.take(pa.array(index))
            columns = [
                pa.array(roles) if name == ROLE else rows.column(name)
                for name in self._rows_schema.names
            ]
            self._known.insert_rows(
                pa.RecordBatch.from_arrays(columns, schema=self._rows_schema),
                rows.column(HASH).to_numpy(),
                weights,
            )
        if self._node.within_us is not None and len(found.waits):
            self._await(whole, found.waits, self._node.within_us)

    def _await(self, whole: pa.RecordBatch, firsts: Int64Array, within_us: int) -> None:
        """Note when the matches that begin at these rows run out of time."""
        rows = whole.select([*self._keys_schema.names, TIME]).take(pa.array(firsts))
        deadlines = rows.column(TIME).to_numpy() + within_us
        columns = [*rows.select(self._keys_schema.names).columns, pa.array(deadlines)]
        self._deadlines.add(pa.RecordBatch.from_arrays(columns, schema=self._deadlines_schema))


@dataclass(slots=True)
class _Searched:
    """What came of a search.

    Args:
        output: The node's rows.
        roles: What becomes of each row.
        waits: First rows of unfinished matches that were not known to be such.

    """

    output: pa.RecordBatch
    roles: Int64Array
    waits: Int64Array


class _Matcher:
    """Searches the sorted rows of some partitions.

    Args:
        schema: The columns of the rows.

    """

    def __init__(self, node: MatchRecognize, schema: pa.Schema, engine: Engine) -> None:
        self._node = node
        beside = [pa.field(n.name, schema.field(n.column).type) for n in node.neighbours]
        names = node.input.schema.names
        self._near_schema = pa.schema([*(schema.field(name) for name in names), *beside])
        self._symbols = symbols(node.pattern)
        self._flags, flags = _flags(node, self._near_schema, engine)
        self._columns: Columns = {}
        self._search = _search(node, self._symbols, flags, self._columns)
        before = rows_before(node.pattern)
        self._begins = [flags.get(s) for s in self._symbols if before[s] == 0]
        self._ahead = max([0, *(n.rows for n in node.neighbours)])
        # What PREV looks at before the first row of a match.
        back = max([0, *(-n.rows for n in node.neighbours)])
        self._back = back if _looks_before(node, before) else 0
        fields = [
            *self._near_schema,
            pa.field(MATCH, pa.int64()),
            pa.field(PLACE, pa.int64()),
            pa.field(SYMBOL, pa.string()),
        ]
        self._matched_schema = pa.schema(fields)
        self._measures = Statement(
            engine, _typed_measures(node), {render.INPUT: self._matched_schema}, is_ordered=True
        )
        self.schema: pa.Schema = self._measures.schema

    def matches(self, whole: pa.RecordBatch, watermark_us: int) -> _Searched:
        """Find the matches; say what must be remembered."""
        bounds = _partitions(whole, self._node.partition)
        near = self._near(whole, bounds)
        flags = self._flagged(near)
        roles = whole.column(ROLE).to_numpy()
        begins = (roles != CONTEXT) & self._may_begin(flags, whole.num_rows)
        for reading in self._node.readings:
            if reading.column is not None:
                self._columns[reading.column] = _values(near.column(reading.column))
        found, resume, waits = self._searched(
            SearchRows(
                whole.column(TIME).to_numpy().tolist(), [f.tolist() for f in flags], watermark_us
            ),
            np.flatnonzero(begins),
            bounds,
        )
        self._columns.clear()
        return _Searched(
            self._output(near, found), self._roles(bounds, resume), _unknown(waits, roles, bounds)
        )

    def _near(self, whole: pa.RecordBatch, bounds: Int64Array) -> pa.RecordBatch:
        """The rows with the values of their neighbours."""
        columns = {name: whole.column(name) for name in self._node.input.schema.names}
        sizes = np.diff(bounds)
        first, stop = np.repeat(bounds[:-1], sizes), np.repeat(bounds[1:], sizes)
        for neighbour in self._node.neighbours:
            places = np.arange(whole.num_rows) + neighbour.rows
            is_outside = (places < first) | (places >= stop)
            index = pa.array(places, mask=is_outside)
            columns[neighbour.name] = columns[neighbour.column].take(index)
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=self._near_schema)

    def _flagged(self, near: pa.RecordBatch) -> list[BoolArray]:
        """For each condition of a row whether it is true."""
        if self._flags is None:
            return []
        answers = self._flags.run(input=near)
        return [np.asarray(c.to_numpy(zero_copy_only=False)) for c in answers.columns]

    def _may_begin(self, flags: list[BoolArray], rows: int) -> BoolArray:
        begins = np.zeros(rows, dtype=np.bool_)
        for flag in self._begins:
            begins |= True if flag is None else flags[flag]
        return begins

    def _searched(
        self, rows: SearchRows, begins: Int64Array, bounds: Int64Array
    ) -> tuple[list[Found], Int64Array, list[int]]:
        """The matches of all partitions, from where each goes on, and the rows that wait."""
        resume = bounds[1:].copy()
        ahead = 0 if rows.watermark_us == AFTER_ALL else self._ahead
        ready = np.maximum(bounds[1:] - ahead, bounds[:-1])
        resume = np.minimum(resume, ready)
        cuts = np.searchsorted(begins, bounds)
        found: list[Found] = []
        waits: list[int] = []
        starts = begins.tolist()
        for part in np.flatnonzero(np.diff(cuts)).tolist():
            some = starts[cuts[part] : cuts[part + 1]]
            limit, stop = int(ready[part]), int(bounds[part + 1])
            some = [start for start in some if start < limit] if ahead else some
            more, first = self._search.run(rows, some, limit, stop)
            found += more
            if first < limit:
                resume[part] = first
                waits.append(first)
        return found, resume, waits

    def _output(self, near: pa.RecordBatch, found: list[Found]) -> pa.RecordBatch:
        """The node's rows for the matches."""
        if not found:
            return empty_batch(self.schema)
        sizes = np.array([len(match.symbols) for match in found])
        number = np.repeat(np.arange(len(found)), sizes)
        place = np.arange(len(number)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        first = np.array([match.first for match in found])
        taken = np.fromiter((s for match in found for s in match.symbols), np.int64, len(number))
        rows = near.take(pa.array(first[number] + place))
        columns = [
            *rows.columns,
            pa.array(number),
            pa.array(place),
            pa.array(self._symbols, pa.string()).take(pa.array(taken)),
        ]
        return self._measures.run(
            input=pa.RecordBatch.from_arrays(columns, schema=self._matched_schema)
        )

    def _roles(self, bounds: Int64Array, resume: Int64Array) -> Int64Array:
        first = np.repeat(resume, np.diff(bounds))
        places = np.arange(len(first))
        kept = np.where(places >= first, LIVE, FORGOTTEN)
        return np.where((places < first) & (places >= first - self._back), CONTEXT, kept)


def _unknown(waits: list[int], roles: Int64Array, bounds: Int64Array) -> Int64Array:
    """The rows that wait and were not, before, the first of their partition that did."""
    firsts = np.array(waits, dtype=np.int64)
    part = np.searchsorted(bounds, firsts, side="right") - 1
    contexts = np.concatenate([[0], np.cumsum(roles == CONTEXT)])
    first_live = bounds[part] + contexts[bounds[part + 1]] - contexts[bounds[part]]
    return firsts[(roles[firsts] == NEW) | (firsts != first_live)]


def _looks_before(node: MatchRecognize, before: dict[str, int]) -> bool:
    """Whether PREV may look at rows before the first one of a match."""
    names = {n.name: n.rows for n in node.neighbours if n.rows < 0}
    if any(r.column in names for r in (*node.readings, *node.measured)):
        return True
    if any(
        r.aggregate is not None and any(c.name in names for c in r.aggregate.find_all(exp.Column))
        for r in node.measured
    ):
        return True
    return any(
        -names[c.name] > before[condition.symbol]
        for condition in node.conditions
        if condition.row is not None
        for c in condition.row.find_all(exp.Column)
        if c.name in names
    )


def _flags(
    node: MatchRecognize, near: pa.Schema, engine: Engine
) -> tuple[Statement | None, dict[str, int]]:
    """The statement that answers the conditions of rows, and where each symbol's answer stands."""
    asked = [c for c in node.conditions if c.row is not None]
    if not asked:
        return None, {}
    columns = [
        render.named(_is_true(condition), f"__flag_{number}")
        for number, condition in enumerate(asked)
    ]
    rows = render.select([*_typed(node)], render.INPUT, None)
    statement = Statement(
        engine, render.select(columns, rows, None), {render.INPUT: near}, is_ordered=False
    )
    return statement, {condition.symbol: number for number, condition in enumerate(asked)}


def _is_true(condition: Condition) -> exp.Expression:
    assert condition.row is not None
    return render.call("coalesce", condition.row.copy(), exp.false())  # type: ignore[arg-type]


def _search(
    node: MatchRecognize, names: tuple[str, ...], flags: dict[str, int], columns: Columns
) -> Search:
    readings = Readings(node.readings, columns)
    rests = {c.symbol: c.rest for c in node.conditions if c.rest is not None}
    tests = [
        Test(
            flags.get(symbol),
            compiled(rests[symbol], readings.values) if symbol in rests else None,
            readings.taking(symbol),
        )
        for symbol in names
    ]
    instructions, first = program(node.pattern, names)
    number = None if node.skip_symbol is None else names.index(node.skip_symbol)
    return Search(
        instructions,
        first,
        tests,
        start=readings.start,
        skip=(node.skip, number),
        within_us=node.within_us,
    )


def _arriving(node: MatchRecognize) -> exp.Select:
    """The input's rows with their time in microseconds, place in the log, and key hash."""
    names = node.input.schema.names
    below = render.stretch(node.input, [TICK])
    time_us = render.named(render.call("epoch_us", render.column(node.time)), TIME)
    # A null or infinite time has no place among the rows.
    is_finite = render.call("isfinite", render.column(node.time))
    columns: list[exp.Expression] = [*map(render.column, (*names, TICK)), time_us]
    timed = render.select(columns, below, is_finite)
    return render.hashed(timed, node.partition, [*names, TICK, TIME])


def _sorted(node: MatchRecognize, schema: pa.Schema) -> exp.Select:
    """The rows by partition, each partition in its order."""
    asked = [
        exp.Ordered(this=render.column(o.column), desc=o.is_descending, nulls_first=o.nulls_first)
        for o in node.order
    ]
    keys = map(ascending, (HASH, *node.partition, TIME))
    content = map(ascending, (*node.content, ROLE))
    query = render.select([render.column(name) for name in schema.names], render.INPUT, None)
    return query.order_by(*keys, *asked, *content, copy=False)


def _typed(node: MatchRecognize) -> list[exp.Expression]:
    """The rows' columns and their neighbours', as their types are in the plan."""
    sources = {n.name: n.column for n in node.neighbours}
    columns = render.typed(node.input.schema)
    types = {c.name: e for c, e in zip(node.input.schema, columns, strict=True)}
    for name, source in sources.items():
        typed = types[source]
        value: exp.Expression = render.column(name)
        if isinstance(typed, exp.Alias):
            value = render.cast(value, node.input.schema[source].type.sql)
        columns.append(render.named(value, name))
    return columns


def _typed_measures(node: MatchRecognize) -> exp.Select:
    """The measures over rows whose columns are what the plan says."""
    hidden = [render.column(name) for name in (MATCH, PLACE, SYMBOL)]
    rows = render.select([*_typed(node), *hidden], render.INPUT, None)
    query = measures_query(node)
    query.set("from_", exp.From(this=rows.subquery("_")))
    return query


def _partitions(whole: pa.RecordBatch, keys: tuple[str, ...]) -> Int64Array:
    """Where each partition begins, and the end."""
    rows = whole.num_rows
    hashes = whole.column(HASH).to_numpy()
    differs = hashes[1:] != hashes[:-1]
    columns = [whole.column(key) for key in keys]
    same = rows_equal(columns, np.arange(1, rows), columns, np.arange(rows - 1))
    if same is not None:
        differs |= ~same
    return np.concatenate([[0], np.flatnonzero(differs) + 1, [rows]]).astype(np.int64)


def _values(column: pa.Array) -> list[Any]:
    """The column's values as conditions compute with them."""
    if pa.types.is_interval(column.type):
        return [None if v is None else _length(v) for v in column.to_pylist()]
    return list(column.to_pylist())


def _length(value: Any) -> timedelta:
    """An interval as DuckDB compares it: a month is thirty days."""
    days = 30 * value.months + value.days
    return timedelta(days=days, microseconds=value.nanoseconds // 1_000)
