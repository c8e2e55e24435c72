"""A pile: rows in the order of their arrival, found by the place that each was given.

Wide rows are put down here once, as the batches in which they came, and stay where they are:
what sorts and merges them by key (`state.piled`) moves their places only. Small batches of a like
size become one when there are several of them, so that there are few however many epochs there
were; a row is copied as often as the number of rows in such a piece has digits in base eight.

A row keeps its place for ever. Where a good part of a batch is no longer wanted the rest
is copied together, and remembers which places it has. Whoever knows all rows that are wanted says
so (`keep`); or each row is given up as its time comes (`give_up`), which needs a byte for each row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.state.checkpoint import MAPPED_BYTES_MIN, Loader, Saver
from headwater.state.equality import BoolArray
from headwater.state.gather import taken
from headwater.state.mapped import place_of, row_stretches, will_need

# So many batches of a like size become one: sizes are alike that have as many octal digits.
_ALIKE = 8
# Larger ones are left as they are: to copy them again costs more than to look into one more.
_PIECE_ROWS_MAX = 1 << 20
_PIECE_BYTES_MAX = 1 << 25
_PLACE, _GIVEN_UP = "__place", "__given_up"


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows with places from `first` up to and without `stop`.

    Args:
        ids: The place of each row, ascending; None when no place between is without a row.
        name: What a checkpoint calls it, once it is in one.
        given_up: Which rows are no longer wanted; changed in place. None: there is none.
        unwanted: How many these are.
        is_mapped: Whether it lies in a checkpoint's file, and not in memory.

    """

    first: int
    stop: int
    rows: pa.RecordBatch
    ids: Int64Array | None = None
    name: str | None = None
    given_up: BoolArray | None = None
    unwanted: int = 0
    is_mapped: bool = False

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def size_bytes(self) -> int:
        """The memory that it holds, or maps."""
        return int(self.rows.nbytes) + (0 if self.ids is None else self.ids.nbytes)

    @property
    def level(self) -> int:
        """Pieces of one level are of like size."""
        return (len(self).bit_length() + 2) // 3

    def at(self, places: Int64Array) -> Int64Array:
        """Where in the piece's rows the places are."""
        if self.ids is None:
            return places - self.first
        at = np.minimum(np.searchsorted(self.ids, places), len(self.ids) - 1)
        assert (self.ids[at] == places).all(), "a row is asked for that was forgotten"
        return at

    def all_ids(self) -> Int64Array:
        """The place of each row."""
        return np.arange(self.first, self.stop) if self.ids is None else self.ids


@dataclass(frozen=True, slots=True)
class PilePeek:
    """What a pile held at some moment. Immutable, so that any thread may read it."""

    schema: pa.Schema
    _pieces: tuple[_Piece, ...]

    def take(self, places: Int64Array) -> pa.RecordBatch:
        """The rows of some places, each of which has one; quickest when these ascend."""
        if not len(places) or not self._pieces:
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        if not bool((places[1:] >= places[:-1]).all()):
            order = np.argsort(places, kind="stable")
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            # Twice gathered is quicker than to jump about in all the memory that the pile has.
            return taken(self._ascending(places[order]), back)
        return self._ascending(places)

    def row(self, place: int) -> pa.RecordBatch:
        """The row of a place that has one, not copied; read with few reads of the disk."""
        nth = bisect_right(self._pieces, place, key=lambda piece: piece.first) - 1
        piece = self._pieces[nth]
        at = place - piece.first if piece.ids is None else place_of(piece.ids, place)
        assert at >= 0, "a row is asked for that was forgotten"
        if piece.is_mapped:
            will_need(row_stretches(piece.rows, at))
        return piece.rows.slice(at, 1)

    def _ascending(self, places: Int64Array) -> pa.RecordBatch:
        firsts = [piece.first for piece in self._pieces]
        bounds = np.append(np.searchsorted(places, firsts), len(places))
        parts = []
        for nth in np.flatnonzero(bounds[1:] > bounds[:-1]).tolist():
            piece = self._pieces[nth]
            at = piece.at(places[bounds[nth] : bounds[nth + 1]])
            is_whole = len(at) == len(piece) and bool((at[1:] > at[:-1]).all())
            parts.append(piece.rows if is_whole else taken(piece.rows, at))
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


class Pile:
    """Rows by place.

    Args:
        schema: Their columns.

    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._pieces: list[_Piece] = []
        self._next = 0

    def __len__(self) -> int:
        """How many rows are held."""
        return sum(map(len, self._pieces))

    @property
    def size_bytes(self) -> int:
        """The memory that is held, or mapped."""
        return sum(piece.size_bytes for piece in self._pieces)

    def add(self, rows: pa.RecordBatch | pa.Table) -> Int64Array:
        """Put rows of the pile's schema down; return their places, which count up."""
        first = self._next
        for batch in [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches():
            if batch.num_rows:
                self._pieces.append(_Piece(self._next, self._next + batch.num_rows, batch))
                self._next += batch.num_rows
                self._join_alike()
        return np.arange(first, self._next)

    def take(self, places: Int64Array) -> pa.RecordBatch:
        """The rows of some places, each of which has one; quickest when these ascend."""
        return self.peek().take(places)

    def keep(self, places: Int64Array) -> None:
        """Forget rows at other places, where they are a good part of a piece.

        Args:
            places: Ascending; a place may stand there twice.

        """
        kept = []
        for piece in self._pieces:
            low, high = np.searchsorted(places, [piece.first, piece.stop])
            if 4 * (high - low) > 3 * len(piece):
                kept.append(piece)
            elif high > low:
                ids = places[low:high]
                ids = ids[np.append(True, ids[1:] != ids[:-1])]
                rows = taken(piece.rows, piece.at(ids))
                kept.append(_Piece(piece.first, piece.stop, rows, ids))
        self._pieces = kept
        self._join_alike()

    def give_up(self, places: Int64Array) -> None:
        """Say that rows are no longer wanted; they go when they are half of their piece.

        Args:
            places: Each of a row that is wanted so far.

        """
        places = np.sort(places)
        firsts = [piece.first for piece in self._pieces]
        bounds = np.append(np.searchsorted(places, firsts), len(places))
        for nth in np.flatnonzero(bounds[1:] > bounds[:-1]).tolist():
            piece = self._pieces[nth]
            some, marks = places[bounds[nth] : bounds[nth + 1]], _marks(piece)
            marks[piece.at(some)] = True
            unwanted = piece.unwanted + len(some)
            self._pieces[nth] = replace(piece, given_up=marks, unwanted=unwanted)

    def tidy(self) -> None:
        """Let go of rows that were given up, where they are half of a piece.

        A call copies a million rows at most, or one piece: called after each million rows that are
        added, it keeps up.
        """
        pieces: list[_Piece] = []
        copied = 0
        for piece in self._pieces:
            is_worth = 2 * piece.unwanted > len(piece)
            if not is_worth or copied >= _PIECE_ROWS_MAX:
                pieces.append(piece)
                continue
            rest = _wanted(piece)
            copied += len(rest)
            if pieces and len(rest) and _are_small([pieces[-1], rest]):
                copied += len(pieces[-1])
                pieces[-1] = _together([pieces[-1], rest])
            elif len(rest):
                pieces.append(rest)
        self._pieces = pieces

    def peek(self) -> PilePeek:
        """What there is now, as it is."""
        return PilePeek(self.schema, tuple(self._pieces))

    def save(self, saver: Saver) -> Any:
        """Hand the rows over; return a JSON value from which `load` finds them."""
        self._pieces = [_saved(piece, saver) for piece in self._pieces]
        pieces = [[p.first, p.stop, p.name] for p in self._pieces]
        marks = [p.given_up for p in self._pieces if p.given_up is not None]
        if not marks:
            return {"next": self._next, "pieces": pieces}
        stored = pa.record_batch({_GIVEN_UP: pa.array(np.concatenate(marks))})
        marked = [n for n, p in enumerate(self._pieces) if p.given_up is not None]
        given_up = {"name": saver.put(stored), "pieces": marked}
        return {"next": self._next, "pieces": pieces, "given_up": given_up}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        self._next = manifest["next"]
        self._pieces = [
            _loaded(loader.get(name), (first, stop), name, self.schema)
            for first, stop, name in manifest["pieces"]
        ]
        given_up = manifest.get("given_up")
        if given_up is None:
            return
        marks = loader.get(given_up["name"]).column(_GIVEN_UP).to_numpy(zero_copy_only=False)
        at = 0
        for nth in given_up["pieces"]:
            piece = self._pieces[nth]
            own = marks[at : at + len(piece)].copy()
            self._pieces[nth] = replace(piece, given_up=own, unwanted=int(own.sum()))
            at += len(piece)

    def _join_alike(self) -> None:
        while self._pieces and (count := self._alike()) > 1:
            last = self._pieces[-count:]
            if not _are_small(last):
                return
            self._pieces[-count:] = [_together(last)]

    def _alike(self) -> int:
        """How many of the last pieces are to become one.

        Sizes descend, so that there are fewer than `_ALIKE` pieces of each.
        """
        last = self._pieces[-1].level
        smaller = self._before_last(lambda level: level < last)
        same = self._before_last(lambda level: level == last)
        return smaller + 1 if smaller or same + 1 < _ALIKE else same + 1

    def _before_last(self, is_meant: Callable[[int], bool]) -> int:
        """How many pieces before the last are of some levels, without a gap."""
        older = self._pieces[-2::-1]
        return next((n for n, p in enumerate(older) if not is_meant(p.level)), len(older))


def _are_small(pieces: Sequence[_Piece]) -> bool:
    """Whether pieces may become one."""
    size_bytes = sum(piece.size_bytes for piece in pieces)
    return sum(map(len, pieces)) <= _PIECE_ROWS_MAX and size_bytes <= _PIECE_BYTES_MAX


def _wanted(piece: _Piece) -> _Piece:
    """The rows of a piece that were not given up."""
    assert piece.given_up is not None
    kept = np.flatnonzero(~piece.given_up)
    return _Piece(piece.first, piece.stop, taken(piece.rows, kept), piece.all_ids().take(kept))


def _together(pieces: Sequence[_Piece]) -> _Piece:
    rows = pa.concat_batches([piece.rows for piece in pieces])
    first, stop = pieces[0].first, pieces[-1].stop
    is_dense = stop - first == rows.num_rows
    ids = None if is_dense else np.concatenate([piece.all_ids() for piece in pieces])
    given_up = None
    if any(piece.given_up is not None for piece in pieces):
        given_up = np.concatenate([_marks(piece) for piece in pieces])
    unwanted = sum(piece.unwanted for piece in pieces)
    return _Piece(first, stop, rows, ids, given_up=given_up, unwanted=unwanted)


def _marks(piece: _Piece) -> BoolArray:
    return np.zeros(len(piece), dtype=np.bool_) if piece.given_up is None else piece.given_up


def _saved(piece: _Piece, saver: Saver) -> _Piece:
    """The piece, stored under a name."""
    if piece.name is not None:
        saver.keep(piece.name)
        if piece.is_mapped or piece.size_bytes < MAPPED_BYTES_MIN:
            return piece
        stored = saver.stored(piece.name)
        if stored is None:
            return piece
        mapped = _loaded(stored, (piece.first, piece.stop), piece.name, piece.rows.schema)
        return replace(mapped, given_up=piece.given_up, unwanted=piece.unwanted)
    rows = piece.rows
    if piece.ids is not None:
        rows = rows.append_column(_PLACE, pa.array(piece.ids))
    return replace(piece, name=saver.put(rows))


def _loaded(
    stored: pa.RecordBatch, bounds: tuple[int, int], name: str, schema: pa.Schema
) -> _Piece:
    rows = pa.RecordBatch.from_arrays(stored.columns[: len(schema)], schema=schema)
    has_ids = stored.num_columns > len(schema)
    ids = stored.column(_PLACE).to_numpy() if has_ids else None
    return _Piece(*bounds, rows, ids, name, is_mapped=True)
