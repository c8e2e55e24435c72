"""MIN and MAX of rows that may be withdrawn.

All values of a group are kept in their order, and beside them what was last said of the group. A
row that comes or goes behind the first value, and before the last, changes nothing; else the values
at that end are looked at (`ends`). An epoch costs its rows, and a few values for each group whose
end they reach; never the number of values in a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import TICK, WEIGHT, Delta, Int64Array, UInt64Array
from headwater.operators.accumulate import interleaved
from headwater.operators.aggregate import shown_schema
from headwater.operators.ends import Ends
from headwater.operators.groups import weights_of
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.order_numbers import order_numbers
from headwater.operators.statement import Engine, plain
from headwater.plan.closing import bounded
from headwater.plan.nodes import Aggregate, Merge
from headwater.state.equality import BoolArray, first_alike, rows_equal, taken
from headwater.state.latest import Latest
from headwater.state.multiset import Multiset
from headwater.state.run import ascending, summed

_ROWS = "__n"
_NUMBER = "__number"
_LIMITS = np.iinfo(np.int64)


class ExtremesOperator:
    """Keeps an `Aggregate` whose partials are the extremes of one column up to date.

    Args:
        node: What to compute; its input may withdraw rows.
        input_schema: The columns of the input, with the hash over the keys.

    """

    def __init__(self, node: Aggregate, input_schema: pa.Schema, engine: Engine) -> None:
        argument = node.partials[0].argument
        assert argument is not None and all(p.argument == argument for p in node.partials)
        self._keys = list(node.keys)
        self._argument = argument
        self._partials = node.partials
        self._names = [partial.name for partial in node.partials]
        # A group may be of the very column whose extremes are wanted.
        self._read = [*(key for key in node.keys if key != argument), argument]
        columns = node.input.schema.select(tuple(self._read))
        rows = pa.schema([*plain(columns), pa.field(_NUMBER, pa.int64())])
        self._bounded = bounded(node)
        closing = None if self._bounded is None else self._bounded.columns[0]
        self._values = Multiset(rows, node.keys, time=_NUMBER, closing=closing)
        self._ends = Ends(engine, columns, self._values)
        shown = [*plain(node.schema), pa.field(_ROWS, pa.int64())]
        self._shown = Latest(pa.schema(shown), node.keys)
        self._has_ticks = TICK in input_schema.names
        # As in SQL, the one group of an aggregate without keys is there also without rows.
        self._is_single = not node.keys
        self._is_said = not self._is_single
        self.schema = shown_schema(node, [WEIGHT, *([TICK] if self._has_ticks else [])])

    def is_due(self, epoch: Epoch) -> bool:
        """Without keys there is a row also before the first input."""
        return not self._is_said

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take in the rows of an epoch; return the groups whose extremes changed."""
        (change,) = inputs
        if not len(change):
            return self._first() if not self._is_said else self._nothing()
        self._is_said = True
        hashes, weights = change.hashes, weights_of(change)
        keys = change.rows.select(self._keys)
        order = ascending(hashes, None)
        first = first_alike(hashes.take(order), [taken(c, order) for c in keys.columns])
        first = np.arange(len(order)) if first is None else first
        places = np.flatnonzero(first == np.arange(len(order)))
        # The number of each row's group, in the order of the rows.
        group = np.empty(len(order), dtype=np.int64)
        group[order] = np.searchsorted(places, first)
        at = order.take(places)
        groups = pa.RecordBatch.from_arrays([taken(c, at) for c in keys.columns], self._keys)
        counts = summed(weights.take(order), first).take(places)
        found = self._shown.find(groups, hashes.take(at))
        numbers = self._insert(change, hashes, weights)
        new = self._renewed(groups, hashes.take(at), found.rows, (group, *numbers))
        tick = pa.array(_last(change, group, len(at))) if self._has_ticks else None
        said = self._said((groups, hashes.take(at)), found, new, counts, tick)
        self._forget(epoch)
        return said

    def save(self, saver: Saver) -> Any:
        """Hand over the values, and what was said of the groups."""
        return {
            "values": self._values.save(saver),
            "shown": self._shown.save(saver),
            "said": self._is_said,
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take them back."""
        self._values.load(manifest["values"], loader)
        self._shown.load(manifest["shown"], loader)
        self._is_said = manifest["said"]

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        sizes = (self._values.size(), self._shown.size())
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def _forget(self, epoch: Epoch) -> None:
        """Drop the groups whose key is closed."""
        if self._bounded is None:
            return
        (key,) = self._bounded.columns
        passed_us = epoch.passed(self._bounded.frontier).end_us
        self._values.forget_below(passed_us)
        self._shown.forget_below(key, passed_us)

    def _insert(
        self, change: Delta, hashes: UInt64Array, weights: Int64Array
    ) -> tuple[BoolArray, Int64Array]:
        """Remember the values; return which rows have one, and the numbers of these."""
        values = change.rows.column(self._argument)
        known = np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False))
        rows = change.rows.select(self._read)
        if not known.all():
            rows = rows.take(pa.array(np.flatnonzero(known)))
        numbers = order_numbers(rows.column(self._argument))
        rows = rows.append_column(_NUMBER, pa.array(numbers))
        self._values.insert_rows(
            pa.RecordBatch.from_arrays(rows.columns, schema=self._values.schema),
            hashes[known],
            weights[known],
        )
        return known, numbers

    def _renewed(
        self,
        groups: pa.RecordBatch,
        hashes: UInt64Array,
        old: pa.RecordBatch,
        changed: tuple[Int64Array, BoolArray, Int64Array],
    ) -> list[pa.Array]:
        """The extremes of each group now, in the order of the partials."""
        group, known, numbers = changed
        columns = []
        for partial in self._partials:
            is_last = partial.merge is Merge.MAX
            before = old.column(partial.name)
            outermost = _outermost(~numbers if is_last else numbers, group[known], len(hashes))
            has_values = np.bincount(group[known], minlength=len(hashes)) > 0
            reached = outermost <= _of_known(before, is_last=is_last)
            looked = np.flatnonzero(reached & has_values)
            keys = groups.take(pa.array(looked)) if self._keys else groups
            found = self._ends.found(keys, hashes.take(looked), is_last=is_last)
            place = np.arange(len(hashes))
            place[looked] = len(hashes) + np.arange(len(looked))
            both = pa.concat_arrays([before, found.cast(before.type)])
            columns.append(both.take(pa.array(place)))
        return columns

    def _said(
        self,
        groups: tuple[pa.RecordBatch, UInt64Array],
        found: Any,
        new: list[pa.Array],
        counts: Int64Array,
        tick: Any,
    ) -> Delta:
        """Remember what is said of the groups now; return how it differs."""
        keys, hashes = groups
        old, existed = found.rows, np.asarray(found.mask)
        before = np.where(existed, pc.fill_null(old.column(_ROWS), 0).to_numpy(), 0)
        after = before + counts
        columns = [*keys.columns, *new, pa.array(after)]
        rows = pa.RecordBatch.from_arrays(columns, schema=self._shown.schema)
        self._shown.put(rows, hashes, removed=(after == 0) & (not self._is_single))
        was_there = existed & ((before > 0) | self._is_single)
        is_there = (after > 0) | self._is_single
        same = rows_equal([old.column(n) for n in self._names], None, new, None)
        assert same is not None
        differs = ~same | (was_there != is_there)
        changes = interleaved(old, was_there & differs, rows, is_there & differs, tick)
        return Delta(changes.select(self.schema.names))

    def _first(self) -> Delta:
        """What is said of no rows, where there are no keys."""
        self._is_said = True
        nothing: list[pa.Array] = [
            pa.nulls(1, self._shown.schema.field(n).type) for n in self._names
        ]
        rows = pa.RecordBatch.from_arrays(
            [*nothing, pa.array([0], pa.int64())], schema=self._shown.schema
        )
        self._shown.put(rows, np.zeros(1, dtype=np.uint64))
        return Delta(
            interleaved(rows, np.array([False]), rows, np.array([True]), None).select(
                self.schema.names
            )
        )

    def _nothing(self) -> Delta:
        return Delta(self.schema.empty_table().combine_chunks().to_batches()[0])


def _outermost(numbers: Int64Array, groups: Int64Array, count: int) -> Int64Array:
    """The least number of each group; the largest of all where it has none."""
    least = np.full(count, _LIMITS.max, dtype=np.int64)
    np.minimum.at(least, groups, numbers)
    return least


def _of_known(values: pa.Array, *, is_last: bool) -> Int64Array:
    """The numbers of what was said, in the direction of the end; the largest of all for a null."""
    known = np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False))
    numbers = np.full(len(values), _LIMITS.max, dtype=np.int64)
    found = order_numbers(values.take(pa.array(np.flatnonzero(known))))
    numbers[known] = ~found if is_last else found
    return numbers


def _last(change: Delta, group: npt.NDArray[np.int64], count: int) -> Int64Array:
    """The tick of each group's last change."""
    assert change.ticks is not None
    latest = np.full(count, _LIMITS.min, dtype=np.int64)
    np.maximum.at(latest, group, change.ticks)
    return latest
