"""What a planted bug is, and which law a failed run broke.

Each bug is a mistake that somebody could make in that place: an order turned round, a check left
out, a value shared that has to be copied. They are in `planted`, `planted_senders` and
`planted_life`; `docs/planted-bugs.md` shows them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import pytest

Patch = pytest.MonkeyPatch


class Law(StrEnum):
    """What the simulation holds a run against."""

    ROWS = "every acknowledged row is there, once"
    SEEN = "what a reader saw stays as it was"
    SUMS = "recovery repeats each epoch's checksum"
    BATCH = "a view is what DuckDB says of the same rows"
    SINK = "a sink has each change once, in whole files"
    DAMAGE = "damage is named, or does no harm"
    START = "a start finds all that it needs"
    WAITS = "nobody waits for ever"
    GROUP = "a group has each row, and stands where it was said to stand"
    KEPT = "what is kept is a stretch, and what is gone was old enough"
    THREADS = "no thread ends with an error"


# By what a failed run says; the first that fits.
_SAID = (
    (Law.DAMAGE, "nobody says so|silently|does not name it"),
    (Law.ROWS, "acknowledged and are gone|more often than sent|there in part|a row of"),
    (Law.ROWS, "add up|counts|Receipt"),
    (Law.SEEN, "seen are not as they were|was visible, and now"),
    (Law.SUMS, "does not repeat epoch"),
    (Law.BATCH, "is not what batch says|sum of its changes|withdraws what|out of order"),
    (Law.SINK, "sink|Parquet|the store"),
    (Law.GROUP, "group"),
    (Law.KEPT, "of logs|logs are kept|the archive"),
    (Law.WAITS, "wait for ever|no end in sight|without end|does not settle|come to its end"),
    (Law.START, "missing|journal ends|journal begins|no checkpoint is whole|is damaged|is closed"),
)


def law_of(error: BaseException) -> Law:
    """The law that a failed run broke."""
    return next((law for law, said in _SAID if re.search(said, str(error))), Law.THREADS)


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug.

    Args:
        place: In which part of the system it is.
        what: What is wrong there, in words.
        lost: What that costs a user.
        law: What found it first, when it was put here.
        after: After how many seeds that was.
        plant: Puts it in.
        is_of_logs: Whether it shows only where rows are let go or archived.

    """

    place: str
    what: str
    lost: str
    law: Law
    after: int
    plant: Callable[[Patch], None]
    is_of_logs: bool = False


BUGS: list[Bug] = []


def bug(
    place: str, what: str, *, lost: str, law: Law, after: int, is_of_logs: bool = False
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """List what the function that follows plants."""

    def listed(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BUGS.append(Bug(place, what, lost, law, after, plant, is_of_logs))
        return plant

    return listed
