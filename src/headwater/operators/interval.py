"""Join rows of equal keys that are not too far apart in time.

Both sides are remembered by key and time, so a row meets only those in its reach, found by binary
search. LEFT, SEMI and ANTI joins also count the matches of each left key and time.

With a bound on lateness each side has a watermark. A row that its side's watermark had passed by
the lateness, at the row's place in the log, is late: it goes to the view's late rows, whatever is
still remembered. So no row in time can reach a row whose reach the other side's watermark has
passed by the lateness, and such rows are forgotten: nothing depends on when.

With `final` a left row without a match waits until the right watermark has passed its reach. An
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
from headwater.operators.deciding import Waiting, in_time, less_lateness
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.presence import COUNT, Flips, counted
from headwater.operators.sides import (
    Part,
    Side,
    output_schema,
    side_of,
    split,
    together,
    visible_fields,
)
from headwater.operators.windowed import mixed
from headwater.plan.nodes import Decision, Join, JoinKind, Within
from headwater.state.equality import BoolArray
from headwater.state.latest import Latest
from headwater.state.matching import matching_between
from headwater.state.multiset import Multiset
from headwater.state.run import sorted_run, times_of


@dataclass(frozen=True, slots=True)
class Reach:
    """How far from a row's time its partners may be.

    Args:
        before_us: How long before it at most; None for no bound.
        after_us: How long after it at most; None for no bound.

    """

    before_us: int | None
    after_us: int | None

    def of(self, times: Int64Array) -> tuple[Int64Array, Int64Array]:
        """The first and the last time of each row's partners. Infinity is infinitely far away."""
        is_finite = (times > BEFORE_ALL + 1) & (times < AFTER_ALL)
        first, last = np.full(len(times), BEFORE_ALL), np.full(len(times), AFTER_ALL)
        if self.before_us is not None:
            first = np.where(is_finite, times - self.before_us, times)
        if self.after_us is not None:
            last = np.where(is_finite, times + self.after_us, times)
        return first, last

    def passed_below(self, watermark_us: int, lateness_us: int) -> int:
        """Rows before this time have no partners that come in time for such a watermark."""
        if watermark_us in (BEFORE_ALL, AFTER_ALL):
            return watermark_us
        return BEFORE_ALL if self.after_us is None else watermark_us - lateness_us - self.after_us


class _Memory:
    """One side: its rows by key and time, and how it takes a change."""

    def __init__(
        self,
        node: Join,
        schema: pa.Schema,
        *,
        is_left: bool,
    ) -> None:
        assert node.within is not None
        self.is_left = is_left
        self.keys = node.left_keys if is_left else node.right_keys
        self.time = node.within.left_time if is_left else node.within.right_time
        self.reach = reaches(node.within)[0 if is_left else 1]
        self.rows = Multiset(pa.schema(visible_fields(schema)), self.keys, time=self.time)

    def times(self, side: Side) -> Int64Array:
        return times_of(side.rows.column(self.time))

    def taken(
        self, change: Delta, epoch: Epoch, *, has_ticks: bool, decision: Decision | None
    ) -> tuple[Side, list[Side]]:
        """The rows that are in time: those that can match, and those with a null key or time."""
        side = side_of(change, self.keys, epoch, has_ticks=has_ticks)
        rows = side.rows.cast(self.rows.schema)
        side = Side(rows, side.keys, side.hashes, side.weights, side.ticks)
        side, timeless = split(side, [side.rows.column(self.time)])
        if decision is not None:
            frontier = decision.left if self.is_left else decision.right
            lateness_us = decision.lateness_us
            side = in_time(side, self.time, epoch, frontier=frontier, lateness_us=lateness_us)
        side, keyless = split(side, side.keys.columns)
        return side, [lonely for lonely in (timeless, keyless) if lonely is not None]

    def near(self, other: Side, times: tuple[Int64Array, Int64Array]) -> _Pairs:
        """The remembered rows in reach of each of the other side's."""
        found = self.rows.between(other.keys, other.hashes, *times)
        return _Pairs(found.probes, found.rows, found.weights)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Rows of one side that were found for rows of the other."""

    probes: Int64Array
    rows: pa.RecordBatch
    weights: Int64Array


@dataclass(frozen=True, slots=True)
class _Met:
    """Pairs of a left and a right row; their left keys and the hashes of these."""

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

    """

    def __init__(self, node: Join, left: pa.Schema, right: pa.Schema) -> None:
        assert node.within is not None
        self._node, self._decision = node, node.within.decision
        decides = self._decision is not None
        self._has_ticks = decides or TICK in left.names or TICK in right.names
        self._weighted = not node.append_only
        self._left = _Memory(node, left, is_left=True)
        self._right = _Memory(node, right, is_left=False)
        fields = visible_fields(left)
        if node.kind in (JoinKind.INNER, JoinKind.LEFT):
            fields += visible_fields(right)
        self.schema = output_schema(fields, weighted=self._weighted, has_ticks=self._has_ticks)
        self._matched = None
        if node.kind is not JoinKind.INNER:
            self._matched = _Matched(node, self._left, has_ticks=self._has_ticks)

    def is_due(self, epoch: Epoch) -> bool:
        """Rows without a match come out when the right watermark moves."""
        return self._matched is not None and self._matched.is_due(epoch)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed on both sides; return what changed in the join."""
        decision, has_ticks = self._decision, self._has_ticks
        left, lonely = self._left.taken(inputs[0], epoch, has_ticks=has_ticks, decision=decision)
        right, _ = self._right.taken(inputs[1], epoch, has_ticks=has_ticks, decision=decision)
        met = self._met(left, right)
        self._right.rows.insert_rows(right.rows, right.hashes, right.weights)
        parts: list[Part] = []
        if self._node.kind in (JoinKind.INNER, JoinKind.LEFT):
            parts += [self._pair(pairs) for pairs in met]
        if self._matched is not None:
            parts += map(self._widened, self._matched.step(met, left, epoch))
            if self._node.kind is not JoinKind.SEMI:
                lonely_parts = [Part(s.rows.columns, s.weights, s.ticks) for s in lonely]
                parts += map(self._widened, lonely_parts)
        self._left.rows.insert_rows(left.rows, left.hashes, left.weights)
        if decision is not None:
            self._forget(decision, epoch)
        return together(parts, self.schema)

    def save(self, saver: Saver) -> Any:
        """Hand over what is remembered."""
        return {
            "left": self._left.rows.save(saver),
            "right": self._right.rows.save(saver),
            "matched": None if self._matched is None else self._matched.save(saver),
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what is remembered."""
        self._left.rows.load(manifest["left"], loader)
        self._right.rows.load(manifest["right"], loader)
        if self._matched is not None:
            self._matched.load(manifest["matched"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        sizes = [self._left.rows.size(), self._right.rows.size()]
        if self._matched is not None:
            sizes += self._matched.sizes()
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def waits_until(self) -> int | None:
        """When the first left row that has no match will have none any more."""
        return None if self._matched is None else self._matched.waits_until()

    def _met(self, left: Side, right: Side) -> list[_Met]:
        """The pairs that came or went: with what is remembered, and with each other."""
        met = []
        if len(left):
            times = self._left.reach.of(self._left.times(left))
            found = self._right.near(left, times)
            mine = left.rows.take(pa.array(found.probes))
            met.append(_Met(mine, found.rows, *_measured(left, found.probes, found.weights)))
            if len(right):
                met.append(self._both_change(left, right, times))
        if len(right):
            times = self._right.reach.of(self._right.times(right))
            found = self._left.near(right, times)
            others = right.rows.take(pa.array(found.probes))
            met.append(_Met(found.rows, others, *_measured(right, found.probes, found.weights)))
        return [pairs for pairs in met if len(pairs.hashes)]

    def _both_change(self, left: Side, right: Side, times: tuple[Int64Array, Int64Array]) -> _Met:
        run, order = sorted_run(right.hashes, right.rows, right.weights, self._right.times(right))
        keys = self._right.keys
        probes, places = matching_between(run, left.keys, left.hashes, times, keys)
        hashes, weights, ticks = _measured(left, probes, run.weights_at(places))
        if ticks is not None and right.ticks is not None:
            ticks = np.maximum(ticks, right.ticks.take(order.take(places)))
        mine, theirs = left.rows.take(pa.array(probes)), run.rows.take(pa.array(places))
        return _Met(mine, theirs, hashes, weights, ticks)

    def _pair(self, pairs: _Met) -> Part:
        weights = pairs.weights if self._weighted else None
        return Part([*pairs.left.columns, *pairs.right.columns], weights, pairs.ticks)

    def _widened(self, part: Part) -> Part:
        """The part with nulls for the columns of the right side, where the output has them."""
        if self._node.kind is not JoinKind.LEFT:
            return part
        rows = len(part.columns[0])
        nulls = [pa.nulls(rows, field.type) for field in self._right.rows.schema]
        return Part([*part.columns, *nulls], part.weights, part.ticks)

    def _forget(self, decision: Decision, epoch: Epoch) -> None:
        """Drop what no row in time can reach."""
        lateness = decision.lateness_us
        of_left = epoch.passed(decision.left).end_us
        of_right = epoch.passed(decision.right).end_us
        self._right.rows.forget_below(self._right.reach.passed_below(of_left, lateness))
        unreachable = self._left.reach.passed_below(of_right, lateness)
        # A row that is still in time may be withdrawn, and then it is told by its match.
        settled = min(unreachable, less_lateness(of_left, lateness))
        is_told = self._matched is not None and not self._node.left.append_only
        self._left.rows.forget_below(settled if is_told else unreachable)
        if self._matched is not None:
            self._matched.forget_below(settled)


class _Matched:
    """The left rows that have a match, or, for LEFT and ANTI, have none.

    Rows of one key and time have the same matches; their pairs are counted together.
    """

    def __init__(self, node: Join, left: _Memory, *, has_ticks: bool) -> None:
        assert node.within is not None
        self._left, self._decision, self._has_ticks = left, node.within.decision, has_ticks
        self._wants = node.kind is JoinKind.SEMI
        self._keys = list(dict.fromkeys((*left.keys, left.time)))
        schema = pa.schema([left.rows.schema.field(name) for name in self._keys])
        self._counts = Latest(schema.append(pa.field(COUNT, pa.int64())), self._keys)
        self._waiting: Waiting | None = None
        if self._decision is not None and self._decision.final and not self._wants:
            self._waiting = Waiting(left.rows.schema, left.keys, left.time)

    def is_due(self, epoch: Epoch) -> bool:
        return self._waiting is not None and self._closing(epoch) > self._waiting.closed_us

    def step(self, met: Sequence[_Met], left: Side, epoch: Epoch) -> list[Part]:
        """The left rows that came or went. The left side does not have the epoch's rows yet."""
        parts = self._said_again(met)
        if self._waiting is None:
            chosen = left.where(self._is_matched(left) == self._wants)
            return [*parts, Part(chosen.rows.columns, chosen.weights, chosen.ticks)]
        self._waiting.add(left)
        return [*parts, self._let_go(self._waiting.take_below(self._closing(epoch)), epoch)]

    def forget_below(self, bound: int) -> None:
        self._counts.forget_below(self._left.time, bound)

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

    def waits_until(self) -> int | None:
        first = None if self._waiting is None else self._waiting.lowest()
        after_us = self._left.reach.after_us
        # Without such a bound a match may come for as long as there is input.
        if first is None or after_us is None or self._decision is None:
            return None
        return first + after_us + 1 + self._decision.right.behind_us

    def _closing(self, epoch: Epoch) -> int:
        assert self._decision is not None
        return self._left.reach.passed_below(epoch.passed(self._decision.right).end_us, 0)

    def _said_again(self, met: Sequence[_Met]) -> list[Part]:
        """The remembered left rows whose first match came or whose last one went."""
        parts = []
        for flips, keys, hashes in self._counted(met):
            times = times_of(keys.column(self._left.time))
            found = self._left.rows.between(
                keys.select(list(self._left.keys)), hashes, times, times
            )
            signs = (flips.signs if self._wants else -flips.signs).take(found.probes)
            ticks = None if flips.ticks is None else flips.ticks.take(found.probes)
            # Of those that wait nothing has been said.
            closed_us = AFTER_ALL if self._waiting is None else self._waiting.closed_us
            is_said = times.take(found.probes) < closed_us
            parts.append(_where(found.rows, signs * found.weights, ticks, is_said))
        return parts

    def _counted(self, met: Sequence[_Met]) -> list[tuple[Flips, pa.RecordBatch, UInt64Array]]:
        """Count the pairs of each left key and time; all at once, as one may outweigh another."""
        if not met:
            return []
        keys = pa.concat_batches([pairs.left.select(self._keys) for pairs in met])
        hashes = np.concatenate([pairs.hashes for pairs in met])
        weights = np.concatenate([pairs.weights for pairs in met])
        ticks = None
        if self._has_ticks:
            ticks = np.concatenate([p.ticks for p in met if p.ticks is not None])
        by_time = mixed(hashes, times_of(keys.column(self._left.time)))
        flips = counted(self._counts, keys, by_time, weights, ticks)
        return [(flips, keys.take(pa.array(flips.places)), hashes[flips.places])]

    def _is_matched(self, left: Side) -> BoolArray:
        """Which left rows have a match, after the epoch."""
        hashes = mixed(left.hashes, self._left.times(left))
        return self._counts.find(left.rows.select(self._keys), hashes).mask

    def _let_go(self, due: Side, epoch: Epoch) -> Part:
        """Of the rows whose wait is over those without a match, where the frontier passed."""
        assert self._decision is not None and due.ticks is not None
        _, last = self._left.reach.of(self._left.times(due))
        curve = epoch.passed(self._decision.right)
        passed_at = curve.tick_of(np.minimum(last, AFTER_ALL - 1) + 1)
        ticks = np.maximum(due.ticks, passed_at)
        return _where(due.rows, due.weights, ticks, ~self._is_matched(due))


def reaches(within: Within) -> tuple[Reach, Reach]:
    """Where the partners of a left row are, and those of a right row."""
    lower, upper = within.lower_us, within.upper_us
    back = None if lower is None else -lower
    return Reach(upper, back), Reach(back, upper)


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
