"""The first and the last value of groups, out of all their values in order.

The values of a group lie sorted in a few runs. A look-up reads a few of each run from one end; what
stands before the nearest of the places where it stopped is known as a whole, and the first value
there that was not withdrawn is the answer. Where all were withdrawn, or share their number with
what was not read, it reads on, eight times as far. So it costs what was withdrawn at that end and
has not met in a merge yet, not the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.operators import render
from headwater.operators.runs import joined
from headwater.operators.statement import Engine, Statement
from headwater.schema.schema import Schema
from headwater.state.equality import BoolArray, rows_equal
from headwater.state.index import spread
from headwater.state.multiset import Multiset
from headwater.state.run import Run

_GROUP = "__group"
_TIMES = "__times"
_DEPTH = 4
_DEEPER = 8
_LIMITS = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of one run.

    Args:
        groups: The group of each row.
        places: Where it stands in the run.
        cut: The groups that have more rows in the run.
        bounds: For each of these the number from which on there may be more, in the direction of
            reading: numbers are turned round where reading goes backwards.

    """

    run: Run
    groups: Int64Array
    places: Int64Array
    cut: Int64Array
    bounds: Int64Array


class Ends:
    """Looks for the first or the last values of groups.

    Args:
        columns: The key columns and, last, that of the values, of the rows in the multiset.
        values: The rows by key, with their order number as the time.

    """

    def __init__(self, engine: Engine, columns: Schema, values: Multiset) -> None:
        self._values = values
        self._column = columns.names[-1]
        kind = columns[self._column].type
        self._schema = pa.schema(
            [(_GROUP, pa.int64()), (self._column, kind.arrow), (_TIMES, pa.int64())]
        )
        query = _first_and_last(columns.select((self._column,)), self._column)
        inputs = {render.INPUT: self._schema}
        self._statement = Statement(engine, query, inputs, is_ordered=False)

    def found(self, keys: pa.RecordBatch, hashes: UInt64Array, *, is_last: bool) -> pa.Array:
        """The first value of each group, or with `is_last` the last; null where it has none."""
        kind = self._schema.field(self._column).type
        answers: list[pa.Array] = []
        answered: list[Int64Array] = []
        todo, depth = np.arange(len(hashes)), _DEPTH
        runs = [run for run in self._values.runs() if len(run)]
        while len(todo):
            some = keys.take(pa.array(todo)) if keys.num_columns else keys
            rows, is_whole = self._near(runs, some, hashes.take(todo), depth, is_last=is_last)
            best = self._statement.run(input=rows)
            groups = best.column(_GROUP).to_numpy()
            answers.append(best.column("last" if is_last else "first"))
            answered.append(todo.take(groups))
            is_whole[groups] = True
            todo, depth = todo[~is_whole], depth * _DEEPER
        place = np.full(len(hashes), -1, dtype=np.int64)
        known = np.concatenate([*answered, np.zeros(0, dtype=np.int64)])
        place[known] = np.arange(len(known))
        values = pa.concat_arrays([*(a.cast(kind) for a in answers), pa.nulls(0, kind)])
        return values.take(pa.array(place, mask=place < 0))

    def _near(
        self,
        runs: Sequence[Run],
        keys: pa.RecordBatch,
        hashes: UInt64Array,
        depth: int,
        *,
        is_last: bool,
    ) -> tuple[pa.RecordBatch, BoolArray]:
        """The values at one end that are known as a whole, and which groups have no others."""
        reads = [_read(run, hashes, depth, is_last=is_last) for run in runs]
        bounds = np.full(len(hashes), _LIMITS.max, dtype=np.int64)
        is_whole = np.ones(len(hashes), dtype=np.bool_)
        for read in reads:
            bounds[read.cut] = np.minimum(bounds[read.cut], read.bounds)
            is_whole[read.cut] = False
        parts = [self._rows(read, keys, bounds, is_whole, is_last=is_last) for read in reads]
        return joined(parts, self._schema), is_whole

    def _rows(
        self,
        read: _Read,
        keys: pa.RecordBatch,
        bounds: Int64Array,
        is_whole: BoolArray,
        *,
        is_last: bool,
    ) -> pa.RecordBatch:
        assert read.run.times is not None
        numbers = read.run.times.take(read.places)
        numbers = ~numbers if is_last else numbers
        kept = (numbers < bounds.take(read.groups)) | is_whole.take(read.groups)
        groups, places = read.groups[kept], read.places[kept]
        columns = [read.run.rows.column(name) for name in self._values.keys]
        same = rows_equal(keys.columns, groups, columns, places)
        if same is not None:
            groups, places = groups[same], places[same]
        value = read.run.rows.column(self._column).take(pa.array(places))
        times = pa.array(read.run.weights_at(places))
        return pa.RecordBatch.from_arrays([pa.array(groups), value, times], schema=self._schema)


def _read(run: Run, hashes: UInt64Array, depth: int, *, is_last: bool) -> _Read:
    """At most `depth` rows of each group from one end of a run."""
    ranges = run.find(hashes)
    first, end = ranges.first, ranges.ends()
    assert run.times is not None
    is_cut = end - first > depth
    if is_last:
        first = np.maximum(first, end - depth)
        bounds = ~run.times.take(first[is_cut])
    else:
        end = np.minimum(end, first + depth)
        bounds = run.times.take(end[is_cut] - 1)
    groups, places = spread(ranges.probes, first, end)
    return _Read(run, groups, places, ranges.probes[is_cut], bounds)


def _first_and_last(value: Schema, name: str) -> exp.Select:
    """The least and the largest of each group's values that are there."""
    columns = [render.column(_GROUP), *render.typed(value), render.column(_TIMES)]
    typed = render.select(columns, render.INPUT, None)
    there = render.select([render.column(_GROUP), render.column(name)], typed, None)
    there = there.group_by(render.column(_GROUP), render.column(name), copy=False)
    times = exp.Sum(this=render.column(_TIMES))
    there = there.having(exp.GT(this=times, expression=exp.Literal.number(0)), copy=False)
    ends = [
        render.named(exp.Min(this=render.column(name)), "first"),
        render.named(exp.Max(this=render.column(name)), "last"),
    ]
    query = render.select([render.column(_GROUP), *ends], there, None)
    return query.group_by(render.column(_GROUP), copy=False)
