"""When epochs were computed: which changes of a view are of a time, and how old one is.

One moment a second is noted, and of long ago fewer: so the whole of it stays small, whatever the
number of epochs, and a time is found within the distance of two notes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

_APART_US = 1_000_000
_NOTES_MAX = 4096
Note = tuple[int, int]


class EpochTimes:
    """The recorded times of some epochs. One thread notes, any number may ask.

    Args:
        notes: Epochs and their times, in order.

    """

    def __init__(self, notes: Sequence[Sequence[int]] = ()) -> None:
        # Replaced as a whole where it is thinned, so that who reads it needs no lock.
        self._notes: list[Note] = [(epoch, time_us) for epoch, time_us in notes]

    def note(self, epoch: int, time_us: int) -> None:
        """An epoch was computed at this time. Called in the order of epochs."""
        notes = self._notes
        # A clock may step back; the times of the notes rise all the same.
        if notes and (epoch <= notes[-1][0] or time_us < notes[-1][1] + _APART_US):
            return
        notes.append((epoch, time_us))
        if len(notes) > _NOTES_MAX:
            half = len(notes) // 2
            self._notes = notes[:half:2] + notes[half:]

    def epoch_at(self, time_us: int) -> int:
        """The first epoch that may have been computed at the time or later."""
        notes = self._notes
        found = bisect_right(notes, time_us - 1, key=lambda note: note[1]) - 1
        return notes[found][0] + 1 if found >= 0 else 0

    def time_of(self, epoch: int) -> int | None:
        """About when an epoch was computed, not later; None where nothing is known."""
        notes = self._notes
        found = bisect_right(notes, epoch, key=lambda note: note[0]) - 1
        return notes[found][1] if found >= 0 else None

    def save(self) -> list[Note]:
        """A JSON value, for `EpochTimes`."""
        return list(self._notes)
