"""Keep the running total of each group, and publish how it changes.

A group's total is remembered exactly as it was published last, so that a retraction matches what
it withdraws bit by bit, also for sums of floats. A group whose rows are all gone is forgotten. An
epoch costs a look-up and an addition per group that changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT, Int64Array, UInt64Array
from headwater.operators import bags, decimal128, render
from headwater.operators.decimal128 import BoolArray
from headwater.operators.layout import ROWS, Layout, Term
from headwater.operators.operator import Loader, Saver
from headwater.operators.statement import Engine, Statement
from headwater.plan.nodes import Merge
from headwater.state.equality import taken
from headwater.state.gather import taken as gathered
from headwater.state.latest import Latest

OLD = "__old"
NEW = "__new"
EXTREME = "__extreme"
DIFFERS = "__differs"


class Totals:
    """The totals of all groups, by key and place.

    Args:
        places: The columns that tell groups apart beside the layout's keys.
        says_all: Whether a total that rows were added to is told also where it reads as before.

    """

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        places: Sequence[str] = (),
        *,
        says_all: bool = False,
    ) -> None:
        self._layout = layout
        self._says_all = says_all
        self._schema = layout.state(*places)
        self._keys = (*layout.keys.names, *places)
        self._latest = Latest(self._schema, self._keys)
        self._extremes = _extremes(engine, layout)
        # As in SQL, the one group of an aggregate without keys is there also without rows.
        self._is_single = not self._keys

    def add(self, partials: pa.RecordBatch) -> pa.RecordBatch:
        """Add partial results to the totals; return the totals that changed, old and new.

        Args:
            partials: At most one row per group, with its hash and, where there are ticks, its tick.

        Returns:
            State columns, read, and weights; a withdrawn total stands before its new one.

        """
        hashes: UInt64Array = partials.column(HASH).to_numpy()
        found = self._latest.find(partials.select(list(self._keys)), hashes)
        old, existed = found.rows, np.asarray(found.mask)
        new, differs = self._merge(old, existed, partials)
        shown_old, shown_new = self._layout.read(old), self._layout.read(new)
        counts: Int64Array = new.column(ROWS).to_numpy()
        self._latest.put(new, hashes, removed=(counts == 0) & (not self._is_single))
        was_there = existed & ((_int64(old, ROWS, existed) > 0) | self._is_single)
        is_there = (counts > 0) | self._is_single
        differs |= self._read_differently(shown_old, shown_new, partials)
        changed = differs | (was_there != is_there) | self._says_all
        tick = partials.column(TICK) if self._layout.has_ticks else None
        return interleaved(shown_old, was_there & changed, shown_new, is_there & changed, tick)

    def _read_differently(
        self, old: pa.RecordBatch, new: pa.RecordBatch, partials: pa.RecordBatch
    ) -> BoolArray:
        """Which groups' readings of their counts by value have changed."""
        differs = np.zeros(partials.num_rows, dtype=np.bool_)
        for reading in self._layout.readings:
            if reading.merge is Merge.HISTOGRAM:
                differs |= np.asarray(bags.sizes(partials.column(reading.bag.values))) > 0
            else:
                differs |= bags.differ(old.column(reading.name), new.column(reading.name))
        return differs

    def forget_below(self, place: str, bound: int) -> None:
        """Drop the totals whose `place` is below `bound`: nothing can change them any more."""
        self._latest.forget_below(place, bound)

    def save(self, saver: Saver) -> Any:
        """Hand the totals over; return from what `load` finds them."""
        return self._latest.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the totals back."""
        self._latest.load(manifest, loader)

    def size(self) -> tuple[int, int]:
        """Rows and bytes."""
        return self._latest.size()

    def _merge(
        self, old: pa.RecordBatch, existed: BoolArray, partials: pa.RecordBatch
    ) -> tuple[pa.RecordBatch, BoolArray]:
        """The new totals, and which of them read differently from the old."""
        columns = {key: partials.column(key) for key in self._keys}
        columns[ROWS] = pa.array(_int64(old, ROWS, existed) + _int64(partials, ROWS, None))
        differs = np.zeros(partials.num_rows, dtype=np.bool_)
        for term in self._layout.terms:
            if term.merge is Merge.COUNT:
                count = _int64(partials, term.value, None)
                differs |= count != 0
                if term.value != ROWS:
                    columns[term.value] = pa.array(_int64(old, term.value, existed) + count)
            elif term.merge is Merge.SUM:
                differs |= _add_sum(term, old, existed, partials, columns)
            elif term.merge is Merge.BIT_OR:
                differs |= _add_bits(term, old, existed, partials, columns)
            elif term.merge is Merge.ONLY:
                differs |= _replace_only(term, old, existed, partials, columns)
        if self._extremes is not None:
            differs |= self._merge_extremes(old, existed, partials, columns)
        for bag in self._layout.bags:
            sides = [(side.column(bag.values), side.column(bag.counts)) for side in (old, partials)]
            columns[bag.values], columns[bag.counts] = bags.counted(sides, bag.arrow)
        rows = pa.RecordBatch.from_arrays(
            [columns[name] for name in self._schema.names], schema=self._schema
        )
        return rows, differs

    def _merge_extremes(
        self,
        old: pa.RecordBatch,
        existed: BoolArray,
        partials: pa.RecordBatch,
        columns: dict[str, pa.Array],
    ) -> BoolArray:
        assert self._extremes is not None
        sides = []
        missing = pa.array(~existed)
        for term in self._layout.extremes:
            before = pc.if_else(missing, pa.scalar(None, term.arrow), old.column(term.value))
            sides += [before, partials.column(term.value)]
        names = _extreme_names(self._layout)
        merged = self._extremes.run(input=pa.RecordBatch.from_arrays(sides, names=names))
        for position, term in enumerate(self._layout.extremes):
            columns[term.value] = merged.column(position)
        return np.asarray(merged.column(DIFFERS).to_numpy(zero_copy_only=False))


def interleaved(
    old: pa.RecordBatch, withdrawn: BoolArray, new: pa.RecordBatch, added: BoolArray, tick: Any
) -> pa.RecordBatch:
    """The withdrawn rows of `old` and the added rows of `new`, those of one group side by side."""
    gone, come = np.flatnonzero(withdrawn), np.flatnonzero(added)
    weights = np.repeat(np.array([-1, 1], dtype=np.int64), [len(gone), len(come)])
    groups = np.concatenate([gone, come])
    columns: list[pa.Array]
    if not len(gone):
        at = None if len(come) == new.num_rows else come
        columns = [taken(column, at) for column in new.columns]
        order = None
    else:
        order = np.argsort(groups, kind="stable")
        chosen = np.concatenate([gone, come + old.num_rows])[order]
        both = pa.concat_batches([old.cast(new.schema), new])
        columns = gathered(both, chosen).columns
        weights, groups = weights[order], groups[order]
    names = [*new.schema.names, WEIGHT]
    columns.append(pa.array(weights))
    if tick is not None:
        names.append(TICK)
        columns.append(tick.take(pa.array(groups)))
    return pa.RecordBatch.from_arrays(columns, names=names)


def published(layout: Layout, changes: pa.RecordBatch) -> dict[str, pa.Array]:
    """The columns that an aggregate shows, by name, from state columns that have been read."""
    shown = {key: changes.column(key) for key in layout.keys.names}
    for term in layout.terms:
        values = changes.column(term.value)
        if term.merge is Merge.SUM:
            has_value = _int64(changes, term.count or "", None) != 0
            if not has_value.all():
                values = pc.if_else(pa.array(has_value), values, pa.scalar(None, term.arrow))
        shown[term.name] = values
    for reading in layout.readings:
        shown[reading.name] = changes.column(reading.name)
    return shown


def _add_sum(
    term: Term,
    old: pa.RecordBatch,
    existed: BoolArray,
    partials: pa.RecordBatch,
    columns: dict[str, pa.Array],
) -> BoolArray:
    """Add one sum and its count of values; return which groups' sums read differently."""
    assert term.count is not None
    count_old = _int64(old, term.count, existed)
    count = count_old + _int64(partials, term.count, None)
    columns[term.count] = pa.array(count)
    differs: BoolArray = (count_old == 0) != (count == 0)
    if term.is_float:
        before = np.where(existed, old.column(term.value).to_numpy(zero_copy_only=False), 0.0)
        # -0.0 is what x + it leaves as x, bit by bit; so that a group's first total is its partial.
        start = np.where(existed, before, -0.0)
        after = start + partials.column(term.value).to_numpy()
        columns[term.value] = pa.array(after)
        return differs | (before.view(np.int64) != after.view(np.int64))
    before_words = np.where(existed[:, None], decimal128.limbs(old.column(term.value)), 0)
    after_words = decimal128.add(before_words, decimal128.limbs(partials.column(term.value)))
    columns[term.value] = decimal128.array(after_words, term.arrow)
    return differs | ~decimal128.equal(before_words, after_words)


def _add_bits(
    term: Term,
    old: pa.RecordBatch,
    existed: BoolArray,
    partials: pa.RecordBatch,
    columns: dict[str, pa.Array],
) -> BoolArray:
    """Set further bits; return which groups have got any."""
    sides = [rows.column(term.value) for rows in (old, partials)]
    bits = [np.asarray(pc.fill_null(side, 0)) for side in sides]
    known = [np.asarray(pc.is_valid(side)) for side in sides]
    before, was_known = np.where(existed, bits[0], 0), existed & known[0]
    after, is_known = before | bits[1], was_known | known[1]
    columns[term.value] = pa.array(after, term.arrow, mask=~is_known)
    differs: BoolArray = (after != before) | (is_known != was_known)
    return differs


def _replace_only(
    term: Term,
    old: pa.RecordBatch,
    existed: BoolArray,
    partials: pa.RecordBatch,
    columns: dict[str, pa.Array],
) -> BoolArray:
    """Take the values that were added for those that were withdrawn; return which did change."""
    assert term.count is not None
    change = _int64(partials, term.count, None)
    count = _int64(old, term.count, existed) + change
    added = partials.column(term.value)
    is_added = np.asarray(pc.is_valid(added))
    # A place for each group among the old values, the added ones, and a null at the end.
    groups = len(added)
    at = np.where(is_added, np.arange(groups) + groups, np.arange(groups))
    at[count == 0] = 2 * groups
    nothing = pa.nulls(1, term.arrow)
    values = [side.cast(term.arrow) for side in (old.column(term.value), added)]
    columns[term.value] = pa.concat_arrays([*values, nothing]).take(pa.array(at))
    columns[term.count] = pa.array(count)
    return np.asarray(is_added | (change != 0))


def _extremes(engine: Engine, layout: Layout) -> Statement | None:
    """The statement that merges MIN and MAX, so that DuckDB's order (of NaN, of text) holds."""
    if not layout.extremes:
        return None
    columns: list[exp.Expression] = []
    differences: list[exp.Expression] = []
    for position, term in enumerate(layout.extremes):
        old, new = (render.column(f"{side}{position}") for side in (OLD, NEW))
        typed = [render.cast(old, term.sql), render.cast(new, term.sql)]
        merge = "least" if term.merge is Merge.MIN else "greatest"
        merged = render.call(merge, *typed)
        columns.append(render.named(merged, f"{EXTREME}{position}"))
        differences.append(exp.NullSafeNEQ(this=merged.copy(), expression=typed[0].copy()))
    columns.append(render.named(exp.or_(*differences), DIFFERS))
    types = [kind for term in layout.extremes for kind in (term.arrow, term.arrow)]
    schema = pa.schema(list(zip(_extreme_names(layout), types, strict=True)))
    query = render.select(columns, render.INPUT, None)
    return Statement(engine, query, {render.INPUT: schema}, is_ordered=False)


def _extreme_names(layout: Layout) -> list[str]:
    return [f"{side}{i}" for i in range(len(layout.extremes)) for side in (OLD, NEW)]


def _int64(rows: pa.RecordBatch, name: str, existed: BoolArray | None) -> Int64Array:
    """A column of counts; 0 where no row existed."""
    values = rows.column(name)
    if not values.null_count:
        counts = np.asarray(values.to_numpy())
    else:
        data = np.frombuffer(values.buffers()[1], dtype=np.int64)
        counts = data[values.offset : values.offset + len(values)]
    return counts if existed is None else np.where(existed, counts, 0)
