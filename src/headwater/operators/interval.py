"""Join rows of equal keys that are not too far apart in time.

Both sides are remembered by key and time, so a row meets only those in its reach, found by binary
search. All but inner joins also count the matches of rows that are alike in what decides: key,
time, and what a further condition reads.

With a bound on lateness each side has a watermark. A row that its side's watermark had passed by
the lateness, at the row's place in the log, is late: it goes to the view's late rows, whatever is
still remembered. So no row in time can reach a row whose reach the other side's watermark has
passed by the lateness, and such rows are forgotten: nothing depends on when. Without such a bound
rows are forgotten where what the other side reads has closed (`plan.closing`). Where it is just
asked whether there is a match, a left row is forgotten when it has one for ever, and, with a bound
on one side of time only, a right row when another says the same for ever.

With `final` a row without a match waits until the other side's watermark has passed its reach. An
epoch costs its rows, their matches, and the rows whose wait is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, Delta, Int64Array, UInt64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.counts import Counts, Flips
from headwater.operators.deciding import Waiting, less_lateness
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.reach import Memory
from headwater.operators.residual import Residual, accepting, read_by
from headwater.operators.sides import (
    Part,
    Side,
    output_schema,
    together,
    visible_fields,
)
from headwater.operators.statement import Engine
from headwater.operators.window_order import mixed
from headwater.plan.closing import bounded_sides
from headwater.plan.frontier import Frontier
from headwater.plan.nodes import Decision, Join, JoinKind
from headwater.state.equality import BoolArray, rows_equal
from headwater.state.matching import Accept, matching_between
from headwater.state.run import Run, sorted_run, times_of


@dataclass(frozen=True, slots=True)
class _Met:
    """Pairs of a left and a right row; the hashes of their keys."""

    left: pa.RecordBatch
    right: pa.RecordBatch
    hashes: UInt64Array
    weights: Int64Array
    ticks: Int64Array | None


class IntervalJoinOperator:
    """Keeps a `Join` with a bound in time up to date.

    Args:
        node: What to compute.
        left: The left input's columns, with the hash over the left keys.
        right: The right input's columns, with the hash over the right keys.
        engine: Tests the further condition.

    """

    def __init__(self, node: Join, left: pa.Schema, right: pa.Schema, engine: Engine) -> None:
        assert node.within is not None
        self._node, self._decision = node, node.within.decision
        self._bounds = bounded_sides(node)
        decides = self._decision is not None
        self._has_ticks = decides or TICK in left.names or TICK in right.names
        self._weighted = not node.append_only
        self._left = Memory(node, left, is_left=True)
        self._right = Memory(node, right, is_left=False)
        fields = visible_fields(left)
        if node.kind.has_both:
            fields += visible_fields(right)
        self.schema = output_schema(fields, weighted=self._weighted, has_ticks=self._has_ticks)
        self._residual = None
        if node.condition is not None:
            self._residual = Residual(node.condition, node.left.schema, node.right.schema, engine)
        self._matched: list[_Matched] = []
        if node.kind is not JoinKind.INNER:
            self._matched.append(_Matched(node, self._left, has_ticks=self._has_ticks))
        if node.kind is JoinKind.FULL:
            self._matched.append(_Matched(node, self._right, has_ticks=self._has_ticks))
        self._has_outdone = _has_outdone(node)
        self._is_told_once = self._bounds[0] is None and _is_told_once(node)

    def is_due(self, epoch: Epoch) -> bool:
        """Rows without a match come out when the other side's watermark moves."""
        return any(matched.is_due(epoch) for matched in self._matched)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed on both sides; return what changed in the join."""
        decision, has_ticks = self._decision, self._has_ticks
        left, left_alone = self._left.taken(
            inputs[0], epoch, has_ticks=has_ticks, decision=decision
        )
        right, right_alone = self._right.taken(
            inputs[1], epoch, has_ticks=has_ticks, decision=decision
        )
        met = self._met(left, right, epoch)
        parts = [self._pair(pairs) for pairs in met] if self._node.kind.has_both else []
        for matched in self._matched:
            side, alone = (left, left_alone) if matched.is_left else (right, right_alone)
            said = matched.step(met, side, epoch)
            if self._node.kind is not JoinKind.SEMI:
                said += [Part(s.rows.columns, s.weights, s.ticks) for s in alone]
            parts += [self._widened(part, is_left=matched.is_left) for part in said]
        self._left.rows.insert_rows(left.rows, left.hashes, left.weights)
        self._right.rows.insert_rows(right.rows, right.hashes, right.weights)
        if decision is not None:
            self._forget(decision, epoch)
        elif self._bounds != (None, None):
            self._forget_closed(epoch)
        self._forget_told(epoch)
        return together(parts, self.schema)

    def save(self, saver: Saver) -> Any:
        """Hand over what is remembered."""
        return {
            "left": self._left.rows.save(saver),
            "right": self._right.rows.save(saver),
            "matched": [matched.save(saver) for matched in self._matched],
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what is remembered."""
        self._left.rows.load(manifest["left"], loader)
        self._right.rows.load(manifest["right"], loader)
        for matched, saved in zip(self._matched, manifest["matched"], strict=True):
            matched.load(saved, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        sizes = [self._left.rows.size(), self._right.rows.size()]
        for matched in self._matched:
            sizes += matched.sizes()
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def sides_wait(self) -> list[tuple[tuple[str, ...], int]]:
        """For each side when its first row that has no match will have none any more."""
        return [found for matched in self._matched for found in matched.waits()]

    def _met(self, left: Side, right: Side, epoch: Epoch) -> list[_Met]:
        """The pairs that came or went: with what is remembered, and with each other."""
        met = []
        if len(left):
            times = self._left.reach.of(self._left.times(left))
            accept = self._accept(left, epoch, is_left=True)
            found = self._right.rows.between(left.keys, left.hashes, times, accept)
            mine = left.rows.take(pa.array(found.probes))
            met.append(_Met(mine, found.rows, *_measured(left, found.probes, found.weights)))
            if len(right):
                met.append(self._both_change(left, right, times, accept))
        if len(right):
            times = self._right.reach.of(self._right.times(right))
            accept = self._accept(right, epoch, is_left=False)
            found = self._left.rows.between(right.keys, right.hashes, times, accept)
            others = right.rows.take(pa.array(found.probes))
            met.append(_Met(found.rows, others, *_measured(right, found.probes, found.weights)))
        return [pairs for pairs in met if len(pairs.hashes)]

    def _accept(self, side: Side, epoch: Epoch, *, is_left: bool) -> Accept | None:
        """The further condition, over pairs of a side's rows with others."""
        if self._residual is None:
            return None
        return accepting(
            self._residual, side, epoch.failed, is_left=is_left, is_weighted=self._weighted
        )

    def _both_change(
        self,
        left: Side,
        right: Side,
        times: tuple[Int64Array, Int64Array],
        accept: Accept | None,
    ) -> _Met:
        run, order = sorted_run(right.hashes, right.rows, right.weights, self._right.times(right))
        keys = self._right.keys
        probes, places = matching_between(run, left.keys, left.hashes, times, keys, accept)
        hashes, weights, ticks = _measured(left, probes, run.weights_at(places))
        if ticks is not None and right.ticks is not None:
            ticks = np.maximum(ticks, right.ticks.take(order.take(places)))
        mine, theirs = left.rows.take(pa.array(probes)), run.rows.take(pa.array(places))
        return _Met(mine, theirs, hashes, weights, ticks)

    def _pair(self, pairs: _Met) -> Part:
        weights = pairs.weights if self._weighted else None
        return Part([*pairs.left.columns, *pairs.right.columns], weights, pairs.ticks)

    def _widened(self, part: Part, *, is_left: bool) -> Part:
        """The part with nulls for the columns of the other side, where the output has them."""
        if not self._node.kind.has_both:
            return part
        other, rows = self._right if is_left else self._left, len(part.columns[0])
        nulls = [pa.nulls(rows, field.type) for field in other.rows.schema]
        columns = [*part.columns, *nulls] if is_left else [*nulls, *part.columns]
        return Part(columns, part.weights, part.ticks)

    def _forget(self, decision: Decision, epoch: Epoch) -> None:
        """Drop what no row in time can reach."""
        lateness = decision.lateness_us
        left, right = (epoch.passed(f).end_us for f in (decision.left, decision.right))
        for memory, side in ((self._left, self._node.left), (self._right, self._node.right)):
            own, other = (left, right) if memory.is_left else (right, left)
            unreachable = memory.reach.passed_below(other, lateness)
            # A row that is still in time may be withdrawn, and then it is told by its match.
            settled = min(unreachable, less_lateness(own, lateness))
            matched = [m for m in self._matched if m.is_left is memory.is_left]
            is_told = bool(matched) and not side.append_only
            memory.rows.forget_below(settled if is_told else unreachable)
            for counts in matched:
                counts.forget_below(settled)

    def _forget_closed(self, epoch: Epoch) -> None:
        """Drop what the rows that the other side has closed reached."""
        for memory, by in zip((self._left, self._right), self._bounds, strict=True):
            if by is None:
                continue
            bound = epoch.passed(by.frontier).end_us
            memory.rows.forget_below(bound)
            for counts in self._matched:
                if counts.is_left is memory.is_left:
                    counts.forget_below(bound)

    def _forget_told(self, epoch: Epoch) -> None:
        """Drop what changes no answer, as rows of the other side may come for it at any time."""
        if self._has_outdone:
            self._right.forget_outdone(self._settled_right(epoch))
        if self._is_told_once:
            (matched,) = self._matched
            if self._left.rows.forget_some(matched.are_matched):
                matched.begin_anew()

    def _settled_right(self, epoch: Epoch) -> int:
        """The time before which right rows neither come nor go, or nobody minds that they come."""
        if self._node.right.append_only:
            return AFTER_ALL
        decision = self._decision
        if decision is None:
            return BEFORE_ALL
        return less_lateness(epoch.passed(decision.right).end_us, decision.lateness_us)


def _has_outdone(node: Join) -> bool:
    """Whether one right row of a key may match all that another does."""
    assert node.within is not None
    is_one_sided = None in (node.within.lower_us, node.within.upper_us)
    return is_one_sided and not node.kind.has_both and node.condition is None


def _is_told_once(node: Join) -> bool:
    """Whether a left row that has a match has it for ever, and is not forgotten by its time."""
    assert node.within is not None
    decision = node.within.decision
    waits = decision is not None and decision.final and node.kind is JoinKind.ANTI
    is_reached = decision is not None and node.within.lower_us is not None
    grows = node.left.append_only and node.right.append_only
    return grows and not node.kind.has_both and not waits and not is_reached


class _Matched:
    """The rows of one side that have a match, or, but for SEMI, have none.

    Rows of one key and time that are alike in what the further condition reads have the same
    matches; their pairs are counted together.
    """

    def __init__(self, node: Join, mine: Memory, *, has_ticks: bool) -> None:
        assert node.within is not None
        self._mine, self.is_left, self._has_ticks = mine, mine.is_left, has_ticks
        self._wants = node.kind is JoinKind.SEMI
        decision = node.within.decision
        # What tells that no match comes any more is how far the other side has come.
        self._other: Frontier | None = None
        if decision is not None:
            self._other = decision.right if mine.is_left else decision.left
        read = read_by(node.condition, node.left.schema if mine.is_left else node.right.schema)
        found_by = list(dict.fromkeys((*mine.keys, mine.time)))
        self._keys = list(dict.fromkeys((*found_by, *read)))
        self._has_kinds = len(self._keys) > len(found_by)
        self.begin_anew()
        self._waiting: Waiting | None = None
        if decision is not None and decision.final and not self._wants:
            self._waiting = Waiting(mine.rows.schema, mine.keys, mine.time)

    def begin_anew(self) -> None:
        """Forget all counts."""
        self._counts = Counts(self._mine.rows.schema.field(name) for name in self._keys)

    def is_due(self, epoch: Epoch) -> bool:
        return self._waiting is not None and self._closing(epoch) > self._waiting.closed_us

    def step(self, met: Sequence[_Met], side: Side, epoch: Epoch) -> list[Part]:
        """The rows that came or went. The side does not have the epoch's rows yet."""
        parts = self._said_again(met)
        if self._waiting is None:
            chosen = side.where(self._is_matched(side) == self._wants)
            return [*parts, Part(chosen.rows.columns, chosen.weights, chosen.ticks)]
        self._waiting.add(side)
        return [*parts, self._let_go(self._waiting.take_below(self._closing(epoch)), epoch)]

    def forget_below(self, bound: int) -> None:
        self._counts.forget_below(self._mine.time, bound)

    def save(self, saver: Saver) -> Any:
        waiting = None if self._waiting is None else self._waiting.save(saver)
        return {"counts": self._counts.save(saver), "waiting": waiting}

    def load(self, manifest: Any, loader: Loader) -> None:
        self._counts.load(manifest["counts"], loader)
        if self._waiting is not None:
            self._waiting.load(manifest["waiting"], loader)

    def sizes(self) -> list[tuple[int, int]]:
        waiting = [] if self._waiting is None else [self._waiting.size()]
        return [self._counts.size(), *waiting]

    def waits(self) -> list[tuple[tuple[str, ...], int]]:
        first = None if self._waiting is None else self._waiting.lowest()
        after_us = self._mine.reach.after_us
        # Without such a bound a match may come for as long as there is input.
        if first is None or after_us is None or self._other is None:
            return []
        return [(self._other.sources, self._other.reached_at(first + after_us + 1))]

    def _closing(self, epoch: Epoch) -> int:
        assert self._other is not None
        return self._mine.reach.passed_below(epoch.passed(self._other).end_us, 0)

    def _said_again(self, met: Sequence[_Met]) -> list[Part]:
        """The remembered rows whose first match came or whose last one went."""
        parts = []
        for flips, keys, hashes in self._counted(met):
            times = times_of(keys.column(self._mine.time))

            def are_alike(
                probes: Int64Array, run: Run, places: Int64Array, keys: pa.RecordBatch = keys
            ) -> BoolArray:
                columns = [run.rows.column(name) for name in self._keys]
                alike = rows_equal(keys.columns, probes, columns, places)
                assert alike is not None, "rows have a time"
                return alike

            of_keys = keys.select(list(self._mine.keys))
            accept = are_alike if self._has_kinds else None
            found = self._mine.rows.between(of_keys, hashes, (times, times), accept)
            signs = (flips.signs if self._wants else -flips.signs).take(found.probes)
            ticks = None if flips.ticks is None else flips.ticks.take(found.probes)
            # Of those that wait nothing has been said, and of those that are forgotten, whose
            # counts begin anew, what they have to say.
            closed_us = AFTER_ALL if self._waiting is None else self._waiting.closed_us
            said = times.take(found.probes)
            is_said = (said < closed_us) & (said >= self._mine.rows.bound)
            parts.append(_where(found.rows, signs * found.weights, ticks, is_said))
        return parts

    def _counted(self, met: Sequence[_Met]) -> list[tuple[Flips, pa.RecordBatch, UInt64Array]]:
        """Count the pairs of rows that are alike; all at once, as one may outweigh another."""
        if not met:
            return []
        sides = [pairs.left if self.is_left else pairs.right for pairs in met]
        keys = pa.concat_batches([side.select(self._keys) for side in sides])
        hashes = np.concatenate([pairs.hashes for pairs in met])
        weights = np.concatenate([pairs.weights for pairs in met])
        ticks = None
        if self._has_ticks:
            ticks = np.concatenate([p.ticks for p in met if p.ticks is not None])
        by_time = mixed(hashes, times_of(keys.column(self._mine.time)))
        flips = self._counts.add(keys, by_time, weights, ticks)
        return [(flips, keys.take(pa.array(flips.places)), hashes[flips.places])]

    def are_matched(self, run: Run) -> BoolArray:
        """Which remembered rows have a match, after the epoch."""
        assert run.times is not None
        return self._counts.are_there(run.rows.select(self._keys), mixed(run.hashes, run.times))

    def _is_matched(self, side: Side) -> BoolArray:
        """Which rows have a match, after the epoch."""
        hashes = mixed(side.hashes, self._mine.times(side))
        return self._counts.are_there(side.rows.select(self._keys), hashes)

    def _let_go(self, due: Side, epoch: Epoch) -> Part:
        """Of the rows whose wait is over those without a match, where the frontier passed."""
        assert self._other is not None and due.ticks is not None
        _, last = self._mine.reach.of(self._mine.times(due))
        curve = epoch.passed(self._other)
        passed_at = curve.tick_of(np.minimum(last, AFTER_ALL - 1) + 1)
        ticks = np.maximum(due.ticks, passed_at)
        return _where(due.rows, due.weights, ticks, ~self._is_matched(due))


def _where(
    rows: pa.RecordBatch, weights: Int64Array | None, ticks: Int64Array | None, mask: BoolArray
) -> Part:
    if not mask.all():
        rows = rows.filter(pa.array(mask))
        weights = None if weights is None else weights[mask]
        ticks = None if ticks is None else ticks[mask]
    return Part(rows.columns, weights, ticks)


def _measured(
    side: Side, probes: Int64Array, others: Int64Array
) -> tuple[UInt64Array, Int64Array, Int64Array | None]:
    """The hashes, weights and ticks of pairs of one side's rows with others of such weights."""
    weights = others if side.weights is None else others * side.weights.take(probes)
    ticks = None if side.ticks is None else side.ticks.take(probes)
    return side.hashes.take(probes), weights, ticks
