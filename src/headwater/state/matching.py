"""Find pairs of a probing row and a place in a run: of equal keys, near in time, or accepted.

A key is found by its hash and then compared, unless its hash is a code, which no other key has:
then nobody gives the keys (None). Without keys every place is near. Where a further
condition decides, its pairs are looked at in pieces before any row is copied, so that what is held
at once does not grow with the pairs that may be wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from headwater.cores import both
from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.equality import BoolArray, rows_equal
from headwater.state.index import Ranges, everywhere, search_times
from headwater.state.run import Run

_PARALLEL_PROBES_MIN = 1 << 18
# So many pairs that may be wanted are looked at together.
PAIRS_MAX = 1 << 20

# Finds pairs in a run, ordered by probe, then by place.
Seek = Callable[[Run], tuple[Int64Array, Int64Array]]
# Says which of some pairs are wanted.
Accept = Callable[[Int64Array, Run, Int64Array], BoolArray]


def matching(
    run: Run,
    keys: pa.RecordBatch | None,
    hashes: UInt64Array,
    names: Sequence[str],
    *,
    null_equal: bool = True,
) -> tuple[Int64Array, Int64Array]:
    """The pairs of a probing row and a place in the run with an equal key."""
    ranges = run.find(hashes) if names else everywhere(len(hashes), len(run))
    return _equal(ranges, run, keys, names, null_equal=null_equal)


def accepted(  # noqa: PLR0913 - as `matching`, and what is accepted
    run: Run,
    keys: pa.RecordBatch | None,
    hashes: UInt64Array,
    names: Sequence[str],
    accept: Accept,
    *,
    by_two: bool = False,
) -> tuple[Int64Array, Int64Array]:
    """As `matching`, and only the pairs that are accepted: however many there are, in pieces.

    Args:
        by_two: Whether two threads may ask at the same time what is accepted.

    """
    if not names:
        return _accepted(everywhere(len(hashes), len(run)), run, keys, names, accept)
    if not by_two or len(hashes) < _PARALLEL_PROBES_MIN:
        return _accepted(_near_by_two(run, hashes), run, keys, names, accept)

    def part(first: int, stop: int) -> tuple[Int64Array, Int64Array]:
        near = run.find(hashes[first:stop])
        ranges = Ranges(near.probes + first if first else near.probes, near.first, near.end)
        return _accepted(ranges, run, keys, names, accept)

    return _in_halves(run, len(hashes), part)


def _accepted(
    ranges: Ranges, run: Run, keys: pa.RecordBatch | None, names: Sequence[str], accept: Accept
) -> tuple[Int64Array, Int64Array]:
    found = []
    for piece in ranges.pieces(PAIRS_MAX):
        probes, places = _equal(piece, run, keys, names, null_equal=True)
        if len(probes):
            mask = accept(probes, run, places)
            is_whole = bool(mask.all())
            found.append((probes, places) if is_whole else (probes[mask], places[mask]))
    if len(found) == 1:
        return found[0]
    nothing = np.zeros(0, dtype=np.int64)
    probes = np.concatenate([nothing, *(part[0] for part in found)])
    return probes, np.concatenate([nothing, *(part[1] for part in found)])


def _equal(
    ranges: Ranges,
    run: Run,
    keys: pa.RecordBatch | None,
    names: Sequence[str],
    *,
    null_equal: bool,
) -> tuple[Int64Array, Int64Array]:
    """The pairs of the ranges that have equal keys."""
    probes, places = ranges.pairs()
    if not names or keys is None:
        return probes, places
    probing = None if len(probes) == keys.num_rows and is_identity(probes) else probes
    same = rows_equal(
        keys.columns,
        probing,
        [run.rows.column(name) for name in names],
        places,
        null_equal=null_equal,
    )
    if same is None or same.all():
        return probes, places
    return probes[same], places[same]


def matching_between(  # noqa: PLR0913, PLR0917 - as `matching`, and what bounds it
    run: Run,
    keys: pa.RecordBatch | None,
    hashes: UInt64Array,
    times: tuple[Int64Array, Int64Array],
    names: Sequence[str],
    accept: Accept | None = None,
) -> tuple[Int64Array, Int64Array]:
    """As `matching`, for the places whose time is between the first and the last of each probe."""
    ranges = run.find(hashes)
    assert run.times is not None
    probes, first, end = ranges.probes, ranges.first, ranges.ends()
    low = search_times(run.times, first, end, times[0].take(probes), after_equal=False)
    high = search_times(run.times, low, end, times[1].take(probes), after_equal=True)
    ranges = Ranges(probes, low, high)
    if accept is not None:
        return _accepted(ranges, run, keys, names, accept)
    return _equal(ranges, run, keys, names, null_equal=True)


def matching_by_two(
    run: Run,
    keys: pa.RecordBatch | None,
    hashes: UInt64Array,
    names: Sequence[str],
    *,
    null_equal: bool,
) -> tuple[Int64Array, Int64Array]:
    """As `matching`; many probes are found by two threads, as numpy lets go of Python's lock."""
    if len(hashes) < _PARALLEL_PROBES_MIN:
        return matching(run, keys, hashes, names, null_equal=null_equal)

    def part(first: int, stop: int) -> tuple[Int64Array, Int64Array]:
        some = None if keys is None else keys.slice(first, stop - first)
        probes, places = matching(run, some, hashes[first:stop], names, null_equal=null_equal)
        return probes + first, places

    return _in_halves(run, len(hashes), part)


def _in_halves(
    run: Run, count: int, part: Callable[[int, int], tuple[Int64Array, Int64Array]]
) -> tuple[Int64Array, Int64Array]:
    """The pairs of two halves of so many probes, found at the same time."""
    run.prepare(count)
    middle = count // 2
    (probes, places), (more, others) = both(lambda: part(0, middle), lambda: part(middle, count))
    return np.concatenate([probes, more]), np.concatenate([places, others])


def _near_by_two(run: Run, hashes: UInt64Array) -> Ranges:
    """As `Run.find`; many probes are sought by two threads."""
    if len(hashes) < _PARALLEL_PROBES_MIN:
        return run.find(hashes)
    run.prepare(len(hashes))
    middle = len(hashes) // 2
    one, other = both(lambda: run.find(hashes[:middle]), lambda: run.find(hashes[middle:]))
    end = None
    if one.end is not None or other.end is not None:
        end = np.concatenate([one.ends(), other.ends()])
    probes = np.concatenate([one.probes, other.probes + middle])
    return Ranges(probes, np.concatenate([one.first, other.first]), end)


def is_identity(places: Int64Array) -> bool:
    """Whether ascending places, as many as there are, are 0, 1, 2 and so on."""
    return not len(places) or bool(
        places[-1] == len(places) - 1 and (places[1:] != places[:-1]).all()
    )
