"""A spine: rows as a few sorted runs, the largest first.

What is inserted waits unsorted until somebody looks for it. Then it becomes a run, and runs are
merged while the last is not much smaller than the one before it, so that there are about as many
runs as the number of rows has digits, and each row is copied as often as that (as in DBSP and in
differential dataflow).

Where many rows wait (the side of a join that nobody has asked yet), who looks for a few hashes
scans them instead: to sort wide rows once costs as much as to scan them a dozen times. When they
have been scanned so often they are sorted, of a very large pile a piece at each look, so that no
look stops for long.

Where hashes are codes (`state.codes`), rows that came at different times often lie in different
ranges. A look passes over what lies in another range than all that it looks for, without sorting or
scanning it; and large runs that do not overlap stay as they are, so that keys that are given out
one after the other are not copied again and again.

A spine that grows large is split by the top bits of the hash into shards, each a spine of its own,
so that no merge is long and no run too large for an Arrow array. New runs then grow in the spine
until they are worth handing down. Codes are split by the range that they have at that time. Shards
get like numbers of rows at the same time; each merges at another ratio of sizes, so that it is not
the turn of all of them in one epoch.

Where rows are many, large merges run beside the epochs (`state.merging`). Until a merge is due its
runs stay what they are, and younger runs gather behind them. It is due when these have a certain
part of its rows, whether or not it was done long before: so the runs, and all that depends on them,
are the same when the same rows come again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.checkpoint import Saver
from headwater.state.loose import HASH_MAX, Loose, joined, met_by, saved, sort, with_hashes
from headwater.state.merging import MERGES
from headwater.state.peek import ALL, SHARDS, Peek, Span, spans
from headwater.state.run import Merge, Run, merge
from headwater.state.zones import Near

# A run is merged into the one before it when it has at least this part of its rows: in shards from
# one and a half to three.
_LIKE_SIZE = 2.0
_LIKE_SPREAD = 2.0
# One look may ask for so many hashes for each row of a pile before it is cheaper to sort it all.
_SCAN_SHARE = 16
# So often all waiting rows may be scanned before they are sorted, which costs about as much.
_SCANS_MAX = 16
# Runs are handed down to the shards when they have this part of the rows that a spine may have.
_HANDED_DOWN = 4
# A merge beside the epochs is due when the rows behind it are this part of its own.
_DUE_SHARE = 8
# Runs of codes that do not overlap stay apart when they have so many rows, and this part of all:
# there are then about as many of them.
_APART_ROWS_MIN = 1 << 18
_APART_SHARE = 16
# So many waiting rows become one piece of a checkpoint.
_SAVED_TOGETHER_MAX = 1 << 14


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a spine may grow before it is split.

    Args:
        rows: In rows.
        size_bytes: In bytes.
        piece_rows: Waiting rows are kept in pieces of about so many; of a larger pile a look for a
            few hashes sorts one piece.
        joined_rows: Pieces are not put together to more than so many rows.
        scan_rows: Fewer waiting rows than this are sorted at the first look.
        weighted_rows: So many rows with weights may wait. They may cancel others, and would be kept
            for ever where nobody looks; the more wait, the longer the epoch takes that sorts them.
        behind_rows: Merges of so many rows run beside the epochs. Where epochs keep all cores busy
            that takes a tenth longer, so it is for those that would hold one up for long.

    """

    rows: int = 1 << 23
    size_bytes: int = 1 << 29
    piece_rows: int = 1 << 20
    joined_rows: int = 1 << 18
    scan_rows: int = 1 << 14
    weighted_rows: int = 1 << 13
    behind_rows: int = 1 << 22

    @property
    def joined_rows_max(self) -> int:
        """The most rows of a piece that is put together."""
        return min(self.joined_rows, self.piece_rows)


Settle = Callable[[Merge, bool], Run]


@dataclass(frozen=True, slots=True)
class Merged:
    """What has become of runs that met.

    Args:
        run: The rows.
        left_out: What is not among them, as its owner knows it; None where nobody asks.

    """

    run: Run
    left_out: Int64Array | None = None


@dataclass(frozen=True, slots=True)
class Behind:
    """How runs that meet become one beside the epochs.

    Args:
        begin: Gives what does it: as `Settle`, and from any thread. What it depends on beside the
            runs is what it was when it began.
        leave_out: Told what a merge left out, at the step at which the merged run is taken up.

    """

    begin: Callable[[], Callable[[Merge, bool], Merged]]
    leave_out: Callable[[Int64Array], None] | None = None


@dataclass(frozen=True, slots=True)
class _Merging:
    """Some runs that are being merged: `count` of them, from the one at `first`."""

    first: int
    count: int
    due_rows: int
    done: Future[Merged]

    @property
    def end(self) -> int:
        return self.first + self.count


class Spine:
    """Sorted runs and rows on their way to become one.

    Args:
        settle: What becomes of runs that meet (equal rows become one, say); the second argument
            says whether no older run is left out.
        is_coded: Whether hashes are codes.
        like_size: A run is merged into the one before it when it has at least this part of its
            rows.
        behind: How large merges are done; None: in the epoch, by `settle`.

    """

    def __init__(  # noqa: PLR0913 - what a shard shares with its spine
        self,
        settle: Settle,
        *,
        limits: Limits = Limits(),
        span: Span = ALL,
        is_coded: bool = False,
        like_size: float = _LIKE_SIZE,
        behind: Behind | None = None,
    ) -> None:
        self._settle = settle
        self._like_size = like_size
        self._behind = behind
        self._merging: _Merging | None = None
        self._limits = limits
        self._span = span
        self._is_coded = is_coded
        self._runs: list[Run] = []
        self._shards: list[Spine] = []
        self._loose: list[Loose] = []
        self._loose_rows = 0
        # How many waiting rows were scanned since all were sorted.
        self._scanned_rows = 0

    def add(self, loose: Loose) -> None:
        """Take rows in."""
        if not len(loose):
            return
        if self._is_coded:
            loose = loose.bounded()
        self._loose_rows += len(loose)
        while self._loose and self._are_alike(self._loose[-1], loose):
            loose = joined([self._loose.pop(), loose])
        self._loose.append(loose)
        weighted = [part for part in self._loose if part.weights is not None]
        if sum(map(len, weighted)) > self._limits.weighted_rows:
            self._sort(weighted)

    def runs(self) -> list[Run]:
        """All rows as runs; of two that share hashes the older stands first."""
        self._sort(self._loose)
        return self._sorted(0, HASH_MAX)

    def runs_with(self, hashes: UInt64Array, near: Sequence[Near] = ()) -> list[Run]:
        """Runs that have all rows of these hashes, the older of two that share hashes first.

        As `runs`, but rows that wait are sorted only once scanning them has cost about as much.

        Args:
            near: What the sought rows have in common beside; others may be left out.

        """
        if not len(hashes):
            return []
        low, high = 0, HASH_MAX
        if self._is_coded:
            low, high = int(hashes.min()), int(hashes.max())
        met = [
            (loose, stretches)
            for loose in self._loose
            if loose.meets(low, high) and (stretches := loose.stretches(near))
        ]
        # All that is to be sorted with what lies here: of hashes all, of codes hardly more.
        rows = sum(len(loose) for loose, _ in met) if self._is_coded else self._loose_rows
        if len(hashes) * _SCAN_SHARE > rows or rows < self._limits.scan_rows:
            self._sort([loose for loose, _ in met])
            return self._sorted(low, high, near)
        self._scanned_rows += sum(end - start for _, parts in met for start, end in parts)
        if self._scanned_rows > _SCANS_MAX * rows:
            count = len(met) if rows <= self._limits.piece_rows else 1
            self._sort([loose for loose, _ in met[:count]])
            met = met[count:]
        picked = [piece for some in met if len(piece := with_hashes(*some, hashes))]
        return [*self._sorted(low, high, near), *([self._picked(picked)] if picked else [])]

    def forget_waiting(self, is_forgotten: Callable[[Loose], bool]) -> bool:
        """Drop pieces of rows that wait; return whether there are rows that do not wait."""
        self._loose = [loose for loose in self._loose if not is_forgotten(loose)]
        self._loose_rows = sum(map(len, self._loose))
        return bool(self._runs or self._shards)

    def settled(self, *, anew: Settle | None = None) -> list[Run]:
        """All rows as runs of which no two share a hash, in ascending order; so they stay.

        Args:
            anew: What becomes of the rows when what is kept has changed; then a run that is alone
                is settled too.

        """
        self._sort(self._loose)
        if self._shards:
            self._hand_down()
            return [run for shard in self._shards for run in shard.settled(anew=anew)]
        self._take_up()
        groups = _apart(self._runs) if self._is_coded else [self._runs]
        settle = anew or self._settle
        self._runs = [
            run
            for group in groups
            for run in (
                group
                if not group or (len(group) == 1 and anew is None)
                else _some(settle(merge(group), True))
            )
        ]
        return list(self._runs)

    def hashes(self) -> list[UInt64Array]:
        """The hashes of all rows, in pieces and in no order."""
        mine = [run.hashes for run in self._runs] + [loose.hashes for loose in self._loose]
        return mine + [hashes for shard in self._shards for hashes in shard.hashes()]

    def peek(self) -> Peek:
        """What there is now, as it is."""
        shards = tuple(shard.peek() for shard in self._shards)
        return Peek(self._span, tuple(self._runs), shards, tuple(self._loose))

    def size(self) -> tuple[int, int]:
        """Rows and bytes, those counted twice that are not yet merged."""
        rows = sum(len(run) for run in self._runs) + self._loose_rows
        size_bytes = sum(run.size_bytes for run in self._runs)
        for loose in self._loose:
            size_bytes += int(loose.rows.nbytes) + loose.hashes.nbytes
        sizes = [(rows, size_bytes), *(shard.size() for shard in self._shards)]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def save(self, saver: Saver) -> Any:
        """Hand the runs over; return a JSON value from which `load` finds them.

        Nothing is sorted for this: whoever takes a checkpoint holds up an epoch.
        """
        rows_max = min(_SAVED_TOGETHER_MAX, self._limits.joined_rows_max)
        while len(last := self._loose[-2:]) == 2 and sum(map(len, last)) <= rows_max:
            if any(loose.name is not None for loose in last):
                break
            self._loose[-2:] = [joined(last)]
        self._loose = [saved(loose, saver) for loose in self._loose]
        return {
            "runs": [run.save(saver) for run in self._runs],
            "shards": [shard.save(saver) for shard in self._shards],
            "lows": [shard._span.low for shard in self._shards],
            "loose": [[loose.name, loose.low, loose.high] for loose in self._loose],
            "merging": [] if self._merging is None else [self._merging.first, self._merging.count],
        }

    def load(self, manifest: Any, load: Callable[[str], Run]) -> None:
        """Take back what `save` handed over."""
        for name, low, high in manifest["loose"]:
            run = load(name)
            self._loose.append(
                Loose(run.hashes, run.rows, run.weights, run.times, name, run.is_mapped, low, high)
            )
            self._loose_rows += len(run)
        self._runs = [load(name) for name in manifest["runs"]]
        if manifest["shards"]:
            self._shards = self._new_shards(spans(manifest["lows"], self._span.high))
        for shard, part in zip(self._shards, manifest["shards"], strict=True):
            shard.load(part, load)
        if merging := manifest.get("merging"):
            self._merge_behind(*merging)

    def _picked(self, some: Sequence[Loose]) -> Run:
        """Waiting rows as a run for one look, in which rows have met what withdraws them."""
        run = sort(some)
        return run if run.weights is None else self._settle(merge([run]), False)

    def _sorted(self, low: int, high: int, near: Sequence[Near] = ()) -> list[Run]:
        """The runs that may have such rows of hashes from `low` to `high`."""
        below = [
            run
            for shard in self._shards
            if shard._span.low <= high and low < shard._span.high
            for run in shard._sorted(low, high, near)
        ]
        mine = [run for run in self._runs if run.hashes[0] <= high and low <= run.hashes[-1]]
        return below + [run for run in mine if run.reaches(near)]

    def _are_alike(self, older: Loose, newer: Loose) -> bool:
        """Whether to make one piece of them: each row is so copied once for each doubling.

        Many rows without weights stay so: a piece with weights is sorted before long.
        """
        is_like = len(newer) * _LIKE_SIZE >= len(older)
        rows = len(newer) + len(older)
        is_mixed = (newer.weights is None) != (older.weights is None)
        limits = self._limits
        return is_like and rows <= (
            min(limits.weighted_rows, limits.joined_rows_max)
            if is_mixed
            else limits.joined_rows_max
        )

    def _sort(self, some: Sequence[Loose]) -> None:
        """Sort waiting rows, and the older ones that may share a hash with them."""
        if len(some) < len(self._loose):
            some = met_by(self._loose, some)
            self._loose = [part for part in self._loose if all(part is not one for one in some)]
        else:
            some, self._loose, self._scanned_rows = self._loose, [], 0
        self._loose_rows = sum(map(len, self._loose))
        waiting = list(some)
        while waiting:
            rows = count = 0
            while count < len(waiting) and rows < self._limits.piece_rows:
                rows += len(waiting[count])
                count += 1
            self._push(sort(waiting[:count]))
            waiting = waiting[count:]

    def _push(self, run: Run) -> None:
        """Hold a run that is younger than all others."""
        self._runs.append(run)
        if self._merging is not None:
            behind = sum(len(run) for run in self._runs[self._merging.end :])
            if behind >= self._merging.due_rows:
                self._take_up()
        oldest = 0 if self._merging is None else self._merging.end
        first = len(self._runs) - 1
        while first > oldest and self._is_merged(self._runs[first - 1], self._runs[first:]):
            first -= 1
        self._merge(first)
        if self._is_full():
            self._hand_down()

    def _merge(self, first: int) -> None:
        """Make the runs from the one at `first` one, or have it done."""
        parts = self._runs[first:]
        rows = sum(map(len, parts))
        can_wait = self._behind is not None and self._merging is None and not self._shards
        if can_wait and len(parts) > 1 and rows >= self._limits.behind_rows:
            self._merge_behind(first, len(parts))
            return
        is_oldest = first == 0 and not self._shards
        self._runs[first:] = _some(self._settle(merge(parts), is_oldest))

    def _merge_behind(self, first: int, count: int) -> None:
        """Let `count` runs become one beside the epochs."""
        assert self._behind is not None
        settle, parts = self._behind.begin(), self._runs[first : first + count]
        is_oldest = first == 0 and not self._shards
        done = MERGES.submit(lambda: settle(merge(parts), is_oldest))
        due_rows = sum(map(len, parts)) // _DUE_SHARE
        self._merging = _Merging(first, count, due_rows, done)

    def _take_up(self) -> None:
        """Hold the merged run in place of its parts; wait for it if need be."""
        if self._merging is None:
            return
        merging, self._merging = self._merging, None
        merged = merging.done.result()
        self._runs[merging.first : merging.end] = _some(merged.run)
        if merged.left_out is not None and self._behind and self._behind.leave_out:
            self._behind.leave_out(merged.left_out)

    def _is_merged(self, older: Run, parts: Sequence[Run]) -> bool:
        """Whether runs are merged with the one before them."""
        if sum(map(len, parts)) * self._like_size < len(older):
            return False
        if not self._is_coded or len(older) < _APART_ROWS_MIN:
            return True
        rows = sum(map(len, self._runs))
        is_large = len(older) * _APART_SHARE >= rows or self._is_too_large(older, _HANDED_DOWN)
        return not is_large or any(
            older.hashes[0] <= part.hashes[-1] and part.hashes[0] <= older.hashes[-1]
            for part in parts
        )

    def _is_too_large(self, run: Run, part: int) -> bool:
        limits = self._limits
        return len(run) * part >= limits.rows or run.size_bytes * part >= limits.size_bytes

    def _is_full(self) -> bool:
        if not self._runs:
            return False
        run = self._runs[0]
        can_split = self._span.high - self._span.low >= SHARDS and run.hashes[0] != run.hashes[-1]
        is_large = self._is_too_large(run, _HANDED_DOWN if self._shards else 1)
        return is_large and (can_split or bool(self._shards))

    def _hand_down(self) -> None:
        self._take_up()
        if not self._shards:
            low, high = self._span.low, self._span.high
            if self._is_coded:
                low = int(min(run.hashes[0] for run in self._runs))
                high = int(max(run.hashes[-1] for run in self._runs)) + 1
            self._shards = self._new_shards(self._span.parts(low, high))
        for run in self._runs:
            for shard in self._shards:
                part = run.between(shard._span.low, shard._span.high)
                if len(part):
                    shard._push(part)
        self._runs = []

    def _new_shards(self, parts: Sequence[Span]) -> list[Spine]:
        return [
            Spine(
                self._settle,
                limits=self._limits,
                span=span,
                is_coded=self._is_coded,
                like_size=_LIKE_SIZE * _LIKE_SPREAD ** (nth / SHARDS - 0.5),
                behind=self._behind,
            )
            for nth, span in enumerate(parts)
        ]


def _apart(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs in groups that share no hash, in ascending order; those of a group in their order."""
    order = sorted(range(len(runs)), key=lambda n: int(runs[n].hashes[0]))
    groups: list[list[int]] = []
    high = -1
    for n in order:
        if int(runs[n].hashes[0]) > high:
            groups.append([])
        groups[-1].append(n)
        high = max(high, int(runs[n].hashes[-1]))
    return [[runs[n] for n in sorted(group)] for group in groups]


def _some(run: Run) -> list[Run]:
    return [run] if len(run) else []
