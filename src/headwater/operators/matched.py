"""Which rows of one side of a join have a match, when more than an equal key decides.

Rows that are alike in all that a match depends on (their key, and the columns that the further
condition reads) are of one kind: they have the same matches, and their pairs are counted together.
When a kind's count leaves or reaches zero its rows come or go.

An epoch costs its pairs, and the rows of the keys in which a count leaves or reaches zero. Kept is
a count for each kind that has a match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.operators.counts import Counts
from headwater.operators.presence import Told, of_new_rows
from headwater.operators.sides import Part, Side
from headwater.state.equality import BoolArray, first_alike
from headwater.state.matching import accepted, matching
from headwater.state.multiset import Multiset
from headwater.state.run import Run, sorted_run

# The hidden column of a remembered row: the hash of its kind.
KIND = "__kind"


@dataclass(frozen=True, slots=True)
class Met:
    """Rows of one side that met a row of the other, once for each such pair.

    Args:
        kinds: The columns that make the kind.
        kind_hashes: Their hashes.
        key_hashes: The hashes of the keys.
        weights: How often the pair came or, below zero, went; None stands for once.
        ticks: The places of the pairs in the log's order, or None where nobody needs them.

    """

    kinds: pa.RecordBatch
    kind_hashes: UInt64Array
    key_hashes: UInt64Array
    weights: Int64Array | None
    ticks: Int64Array | None


class Matched:
    """The rows of one side that have a match, or have none.

    Args:
        rows: The side's rows, with `KIND`, as its join remembers them.
        columns: The columns that make the kind; the keys are among them.
        wants: Whether rows with a match come out, or those without.

    """

    def __init__(self, rows: Multiset, columns: Sequence[str], *, wants: bool) -> None:
        self._rows, self._wants = rows, wants
        self._columns = list(columns)
        fields = [rows.schema.field(name) for name in columns]
        self._kinds = pa.schema(fields)
        self.counts = Counts(fields)

    def step(self, met: Sequence[Met], side: Side) -> list[Part]:
        """The rows that came or went.

        Args:
            met: All pairs of the epoch, also those with the rows of `side`.
            side: The side's rows of the epoch, which are not yet remembered.

        """
        told = self._count(met)
        parts = [] if told is None else self._said_again(told, met)
        if len(side):
            kinds, hashes = side.rows.select(self._columns), kind_hashes(side.rows)
            is_there = self.counts.are_there(kinds, hashes)
            parts += of_new_rows(side, kinds, hashes, is_there, told, wants=self._wants)
        return parts

    def _count(self, met: Sequence[Met]) -> Told | None:
        """Count the pairs; the kinds whose first match came or whose last one went."""
        met = [pairs for pairs in met if len(pairs.kind_hashes)]
        if not met:
            return None
        kinds = pa.concat_batches([pairs.kinds.cast(self._kinds) for pairs in met])
        hashes = np.concatenate([pairs.kind_hashes for pairs in met])
        weights = [pairs.weights for pairs in met if pairs.weights is not None]
        ticks = [pairs.ticks for pairs in met if pairs.ticks is not None]
        flips = self.counts.add(
            kinds,
            hashes,
            np.concatenate(weights) if weights else None,
            np.concatenate(ticks) if ticks else None,
            in_order=True,
        )
        return Told(kinds.take(pa.array(flips.places)), hashes.take(flips.places), flips)

    def _said_again(self, told: Told, met: Sequence[Met]) -> list[Part]:
        """The remembered rows of these kinds."""
        flips = told.flips
        if not len(flips.places):
            return []
        flipped, order = sorted_run(told.hashes, told.keys, None)
        key_hashes = np.concatenate([p.key_hashes for p in met if len(p.kind_hashes)])
        key_hashes = key_hashes.take(flips.places).take(order)
        rows, weight, flip = self._remembered(flipped, key_hashes)
        flip = order.take(flip)
        signs = (flips.signs if self._wants else -flips.signs).take(flip)
        latest = None if flips.ticks is None else flips.ticks.take(flip)
        return [Part(rows.columns, signs * weight, latest)]

    def _remembered(
        self, flipped: Run, key_hashes: UInt64Array
    ) -> tuple[pa.RecordBatch, Int64Array, Int64Array]:
        """The remembered rows of some kinds, their weights, and which of the kinds each is of."""
        hashes = np.unique(flipped.hashes)

        def accept(_: Int64Array, run: Run, places: Int64Array) -> BoolArray:
            found = kind_hashes(run.rows).take(places)
            at = np.minimum(np.searchsorted(hashes, found), len(hashes) - 1)
            return np.asarray(hashes.take(at) == found, dtype=np.bool_)

        keys, of_keys = _different(flipped.rows.select(list(self._rows.keys)), key_hashes)
        matches = self._rows.probe(
            keys,
            of_keys,
            seek=lambda run: accepted(run, keys, of_keys, self._rows.keys, accept),
        )
        kinds = matches.rows.select(self._columns)
        places, flip = matching(flipped, kinds, kind_hashes(matches.rows), self._columns)
        return matches.rows.take(pa.array(places)), matches.weights.take(places), flip


def kind_hashes(rows: pa.RecordBatch) -> UInt64Array:
    """The hashes of the kinds of remembered rows."""
    return np.asarray(rows.column(KIND).to_numpy())


def _different(keys: pa.RecordBatch, hashes: UInt64Array) -> tuple[pa.RecordBatch, UInt64Array]:
    """Each key once. Without columns all keys are alike."""
    if not keys.num_columns:
        return keys, hashes[:1]
    run, _ = sorted_run(hashes, keys, None)
    first = first_alike(run.hashes, run.rows.columns)
    if first is None:
        return run.rows, run.hashes
    places = np.flatnonzero(first == np.arange(len(run)))
    return run.rows.take(pa.array(places)), run.hashes.take(places)
