"""The first rows of each partition.

The rows of the partitions that an epoch touches are ranked before and after it, and the difference
is published. Over append-only input only the best `offset + limit` rows of a partition are
remembered: a row that has once been pushed out can never come back. There, rows that have no chance
are left out first, and where numbers order the rest without ties it is ranked in numpy (`winners`),
so that an epoch costs its order columns and its winners. Else DuckDB ranks it, in one statement. A
row that is there several times takes several places, one after the other.

Ranks are counted by DuckDB (`ranked`): all rows that share one of the first ranks are remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, WEIGHT, Delta
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
from headwater.operators.statement import Engine, Statement, one_batch, plain
from headwater.operators.winners import Winners
from headwater.plan.closing import bounded
from headwater.plan.nodes import Place, TopN
from headwater.state.gather import taken_apart
from headwater.state.multiset import Multiset
from headwater.state.piled import Piled

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
        self._bounded = bounded(node)
        closing = None if self._bounded is None else self._bounded.columns[0]
        beside = [order.column for order in node.order]
        known = Piled(self._rows, node.partition, beside=beside, closing=closing)
        self._is_pruned = node.input.append_only
        whole = Multiset(self._rows, node.partition, closing=closing)
        self._known = known if self._is_pruned else whole
        keys = [input_schema.field(name) for name in (*node.partition, HASH)]
        self._touched = touched(engine, pa.schema(keys), node.partition)
        inputs = {render.INPUT: weighed_schema(self._rows)}
        stop = node.offset + node.limit
        self._changes = Statement(
            engine, _changes(node, number=node.number), inputs, is_ordered=True
        )
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
        is_placed = self._is_pruned and node.place is Place.ROW_NUMBER
        self._winners = Winners(node, known, self.schema) if is_placed else None
        self.takes_pieces = is_placed

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Rank the touched partitions before and after the change; return the difference."""
        changed = self._changed(inputs[0])
        if self._bounded is not None:
            self._known.forget_below(epoch.passed(self._bounded.frontier).end_us)
        return changed

    def _changed(self, change: Delta) -> Delta:
        if self._winners is None or not len(change):
            return self._ranked(change)
        new = self._winners.arrived(change)
        placed = self._winners.placed(new)
        if placed is None:
            return self._ranked(change)
        held = None if placed.has_ties else self._winners.met(new, placed)
        if held is None:
            # In the order of arrival, as DuckDB would have had them.
            return self._ranked(Delta(taken_apart(change.rows, np.sort(placed.rows))))
        return self._winners.changed(new, held)

    def _ranked(self, change: Delta) -> Delta:
        """As `step`, by DuckDB."""
        change = Delta(one_batch(change.rows))
        keys = self._touched.run(input=change.rows.select([*self._node.partition, HASH]))
        rows = before_and_after(self._known, keys, change, self._rows)
        published = self._changes.run(input=rows)
        if not self._is_pruned:
            self._known.insert(change)
        else:
            kept = self._kept.run(input=rows) if self._kept is not None else published
            self._known.insert(Delta(kept.select([*self._rows.names, WEIGHT, HASH])))
        return Delta(published)

    def save(self, saver: Saver) -> Any:
        """Hand over the remembered rows."""
        return self._known.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the remembered rows back."""
        self._known.load(manifest, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        return self._known.size()


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
