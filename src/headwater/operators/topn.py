"""The first rows of each partition.

The rows of the partitions that an epoch touches are ranked before and after it, and the difference
is published. Over append-only input only the best `offset + limit` rows of a partition are
remembered: a row that has once been pushed out can never come back. There, rows that have no chance
are left out first, and where numbers order the rest without ties it is ranked in numpy (`placing`),
so that an epoch costs its order columns and its winners. Else DuckDB ranks it, in one statement. A
row that is there several times takes several places, one after the other.

Ranks are counted by DuckDB (`ranked`): all rows that share one of the first ranks are remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, WEIGHT, Delta, Int64Array, UInt64Array
from headwater.operators import ranked, render
from headwater.operators.groups import (
    AFTER,
    BEFORE,
    ascending,
    before_and_after,
    summed,
    touched,
    weighed_schema,
)
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.placing import Placed, Placing
from headwater.operators.runs import joined
from headwater.operators.statement import Engine, Statement, plain
from headwater.plan.nodes import Place, TopN
from headwater.state.equality import BoolArray
from headwater.state.multiset import Multiset

PLACES_BEFORE = "__places_before"
PLACES_AFTER = "__places_after"
PLACE = "__place"


class TopNOperator:
    """Keeps a `TopN` up to date.

    Args:
        node: What to compute.
        input_schema: The input's columns, with the hash over the partition columns.

    """

    def __init__(self, node: TopN, input_schema: pa.Schema, engine: Engine) -> None:
        self._node = node
        self._rows = plain(node.input.schema)
        self._known = Multiset(self._rows, node.partition, merges_equal=not node.input.append_only)
        keys = [input_schema.field(name) for name in (*node.partition, HASH)]
        self._touched = touched(engine, pa.schema(keys), node.partition)
        inputs = {render.INPUT: weighed_schema(self._rows)}
        stop = node.offset + node.limit
        is_by_number = node.place is Place.ROW_NUMBER
        self._changes = Statement(
            engine, _changes(node, number=node.number), inputs, is_ordered=True
        )
        self._is_pruned = node.input.append_only
        self._placing = Placing(node.partition, node.order) if is_by_number else None
        # What is published is also what is remembered, unless places are published or skipped.
        is_same = node.offset == 0 and node.number is None
        self._kept = (
            None
            if is_same
            else Statement(
                engine,
                _changes(replace(node, offset=0, limit=stop), number=None),
                inputs,
                is_ordered=True,
            )
        )
        self.schema = self._changes.schema

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Rank the touched partitions before and after the change; return the difference."""
        (change,) = inputs
        if not self._is_pruned or not len(change) or self._placing is None:
            return self._ranked(change)
        stop = self._node.offset + self._node.limit
        placed = self._placing.placed(change.rows, change.hashes, stop)
        if placed is None:
            return self._ranked(change)
        held = None if placed.has_ties else self._met(change, placed, self._placing)
        if held is None:
            # In the order of arrival, as DuckDB would have had them.
            return self._ranked(Delta(change.rows.take(pa.array(np.sort(placed.rows)))))
        (rows, hashes, weights), published = held.changes(self._node)
        self._known.insert_rows(rows, hashes, None if (weights == 1).all() else weights)
        return Delta(pa.RecordBatch.from_arrays(published, schema=self.schema))

    def _ranked(self, change: Delta) -> Delta:
        """As `step`, by DuckDB."""
        keys = self._touched.run(input=change.rows.select([*self._node.partition, HASH]))
        rows = before_and_after(self._known, keys, change, self._rows)
        published = self._changes.run(input=rows)
        if not self._is_pruned:
            self._known.insert(change)
        else:
            kept = self._kept.run(input=rows) if self._kept is not None else published
            self._known.insert(Delta(kept.select([*self._rows.names, WEIGHT, HASH])))
        return Delta(published)

    def _met(self, change: Delta, placed: Placed, placing: Placing) -> _Held | None:
        """The remembered rows of the touched partitions and the new ones; None if any are tied."""
        stop = self._node.offset + self._node.limit
        keys = change.rows.select(list(self._node.partition)).take(pa.array(placed.firsts))
        hashes = change.hashes
        matches = self._known.probe(keys, hashes[placed.firsts])
        arrived, mine = placed.gathered()
        new = change.rows.select(self._rows.names).take(pa.array(arrived))
        both = joined([matches.rows, new], self._rows)
        met = np.concatenate([hashes[placed.firsts][matches.probes], hashes[arrived]])
        if not len(matches):
            return _Held(both, met, 0, np.zeros(0, dtype=np.int64), mine)
        before = placing.placed(both.slice(0, len(matches)), met[: len(matches)], stop)
        after = placing.placed(both, met, stop)
        if before is None or after is None or before.has_ties or after.has_ties:
            return None
        if len(before.rows) < len(matches) or (matches.weights != 1).any():
            return None
        return _Held(both, met, len(matches), _by_row(before, len(matches)), after)

    def save(self, saver: Saver) -> Any:
        """Hand over the remembered rows."""
        return self._known.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the remembered rows back."""
        self._known.load(manifest, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        return self._known.size()


@dataclass(frozen=True, slots=True)
class _Held:
    """Rows of the partitions that an epoch touched, of which no two are tied.

    Args:
        rows: Those that were known, then the new ones.
        hashes: Of their partitions.
        known: How many were known.
        before: The places of these, before the epoch.
        after: The places of all after it.

    """

    rows: pa.RecordBatch
    hashes: UInt64Array
    known: int
    before: Int64Array
    after: Placed

    def changes(
        self, node: TopN
    ) -> tuple[tuple[pa.RecordBatch, UInt64Array, Int64Array], list[pa.Array]]:
        """What to remember, with hashes and weights, and the columns to publish."""
        before, after = np.full((2, self.rows.num_rows), -1, dtype=np.int64)
        before[: self.known] = self.before
        after[self.after.rows] = self.after.places
        kept = self._difference(before < 0, after < 0)
        if not node.offset and not node.number:
            rows, hashes, weights = kept
            return kept, [*rows.columns, pa.array(weights), pa.array(hashes)]
        # A place before the offset is not published, and a number changes with the place.
        out_before, out_after = before < node.offset, after < node.offset
        moved = before != after if node.number else None
        rows, hashes, weights = self._difference(out_before, out_after, moved)
        columns = list(rows.columns)
        if node.number:
            gone, come = self._places(out_before, out_after, moved)
            columns.append(pa.array(np.concatenate([before[gone], after[come]]) + 1))
        return kept, [*columns, pa.array(weights), pa.array(hashes)]

    def _places(
        self, out_before: BoolArray, out_after: BoolArray, moved: BoolArray | None = None
    ) -> tuple[Int64Array, Int64Array]:
        """Which rows go and which come; one whose number moved does both."""
        changed = out_before != out_after if moved is None else moved
        gone = np.flatnonzero(changed & ~out_before)
        come = np.flatnonzero(changed & ~out_after)
        return gone, come

    def _difference(
        self, out_before: BoolArray, out_after: BoolArray, moved: BoolArray | None = None
    ) -> tuple[pa.RecordBatch, UInt64Array, Int64Array]:
        """The rows that are withdrawn, then those that are added, with hashes and weights."""
        gone, come = self._places(out_before, out_after, moved)
        places = np.concatenate([gone, come])
        weights = np.repeat(np.array([-1, 1], dtype=np.int64), [len(gone), len(come)])
        if np.array_equal(places, np.arange(self.rows.num_rows)):
            return self.rows, self.hashes, weights
        rows = self.rows.take(pa.array(places))
        return rows, self.hashes[places], weights


def _by_row(placed: Placed, rows: int) -> Int64Array:
    """The place of each row; -1 where it has none."""
    places = np.full(rows, -1, dtype=np.int64)
    places[placed.rows] = placed.places
    return places


def _changes(node: TopN, *, number: str | None) -> exp.Select:
    """How the rows that come out differ after the change."""
    if node.place is not Place.ROW_NUMBER:
        return ranked.changes(node, number)
    first, stop = node.offset, node.offset + node.limit
    names = node.input.schema.names
    rows = _ranked(node)
    if number is None:
        weight = exp.Sub(
            this=_overlap(PLACES_AFTER, AFTER, first, stop),
            expression=_overlap(PLACES_BEFORE, BEFORE, first, stop),
        )
        columns = [*map(render.column, names), render.named(weight, WEIGHT)]
        changes = render.select(columns, rows, None)
        changed = exp.NEQ(this=render.column(WEIGHT), expression=exp.Literal.number(0))
        return _in_order(changes.subquery("_"), names, names, changed, node)
    sides = [
        _numbered(names, number, _span(PLACES_AFTER, AFTER, first, stop), 1),
        _numbered(names, number, _span(PLACES_BEFORE, BEFORE, first, stop), -1),
    ]
    both = exp.union(sides[0], sides[1], distinct=False).with_("ranked", as_=rows)
    all_names = [*names, number]
    total = render.cast(exp.Sum(this=render.column(WEIGHT)), "BIGINT")
    columns = [*map(render.column, all_names), render.named(total, WEIGHT)]
    summed_up = render.select(columns, both, None)
    summed_up = summed_up.group_by(*map(render.column, all_names), copy=False)
    changed = exp.NEQ(this=render.column(WEIGHT), expression=exp.Literal.number(0))
    return _in_order(summed_up.subquery("_"), all_names, names, changed, node)


def _in_order(
    changes: exp.Subquery,
    names: Sequence[str],
    order: Sequence[str],
    changed: exp.Expression,
    node: TopN,
) -> exp.Select:
    """The rows that changed, in a fixed order, with the hash of their partition."""
    columns = [*map(render.column, names), render.column(WEIGHT), render.key_hash(node.partition)]
    query = exp.Select(expressions=columns).from_(changes, copy=False).where(changed, copy=False)
    return query.order_by(*map(ascending, [*order, *names[len(order) :], WEIGHT]), copy=False)


def _ranked(node: TopN) -> exp.Select:
    """Each distinct row with the places, counted on, up to which it and those before it reach."""
    names = node.input.schema.names
    typed = [*render.typed(node.input.schema), render.column(BEFORE), render.column(AFTER)]
    rows = summed(names, render.select(typed, render.INPUT, None))
    columns: list[exp.Expression] = [*map(render.column, (*names, BEFORE, AFTER))]
    for weight, places in ((BEFORE, PLACES_BEFORE), (AFTER, PLACES_AFTER)):
        running = exp.Window(
            this=exp.Sum(this=render.column(weight)),
            partition_by=[render.column(name) for name in node.partition],
            order=exp.Order(expressions=_order(node)),
            spec=exp.WindowSpec(
                kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW"
            ),
        )
        columns.append(render.named(render.cast(running, "BIGINT"), places))
    return render.select(columns, rows, None)


def _order(node: TopN) -> list[exp.Expression]:
    """The node's order, and then all columns, so that no two distinct rows are alike."""
    asked = [
        exp.Ordered(
            this=render.column(order.column),
            desc=order.is_descending,
            nulls_first=order.nulls_first,
        )
        for order in node.order
    ]
    return [*asked, *map(ascending, node.input.schema.names)]


def _span(places: str, weight: str, first: int, stop: int) -> tuple[exp.Expression, exp.Expression]:
    """From which place to which a row is in the wanted range, if the second is larger."""
    begin = exp.Sub(this=render.column(places), expression=render.column(weight))
    return render.call("greatest", begin, first), render.call("least", render.column(places), stop)


def _overlap(places: str, weight: str, first: int, stop: int) -> exp.Expression:
    """At how many of the wanted places a row is."""
    low, high = _span(places, weight, first, stop)
    return render.call("greatest", exp.Sub(this=high, expression=low), 0)


def _numbered(
    names: Sequence[str], number: str, bounds: tuple[exp.Expression, exp.Expression], sign: int
) -> exp.Select:
    """A row for each wanted place that a row is at, with the place counted from 1."""
    low, high = bounds
    one = exp.Literal.number(1)
    shifted = (exp.Add(this=bound, expression=one.copy()) for bound in (low, high))
    place = render.call("unnest", render.call("range", *shifted))
    signed = render.cast(exp.Literal.number(sign), "BIGINT")
    columns = [*map(render.column, names), render.named(place, number)]
    return render.select([*columns, render.named(signed, WEIGHT)], "ranked", None)
