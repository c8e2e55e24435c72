"""Bugs that are put into the system are found, each by the seed that stands beside it."""

from __future__ import annotations

import pytest

from simulation.planted import BUGS
from simulation.run import simulate

# A seed means another run when the simulation grows: then look for others, with `found_by`.
FOUND_BY = {
    "a file is there before its rows are": 0,
    "the names of senders are shared with the next epochs": 1057,
    "what was said of a watermark is lost": 227,
    "the checksum of a manifest is not compared": 355,
    "a write is not synced": 0,
    "the folder of a new file is not synced": 0,
    "a record is acknowledged before it is written": 578,
    "a torn end is not cut off": 640,
    "a new name is not synced": 0,
    "a file is written in its place, not beside it": 99,
    "the manifest is put in place before the state is written": 128,
    "the state of the one before is removed before the new one is in place": 706,
    "it counts a record as its own that it has not": 0,
    "an epoch is passed over": 355,
    "an epoch gets another cut than it had": 128,
    "the sums of an epoch are not compared, and its cut is another": 128,
    "changes are shown before their epoch is durable": 1280,
    "files that were combined are deleted at once": 66,
}


def found_by(what: str, seeds: range) -> int | None:
    """The first seed that finds a bug."""
    return next((seed for seed in seeds if is_found(what, seed)), None)


def is_found(what: str, seed: int) -> bool:
    (bug,) = (bug for bug in BUGS if bug.what == what)
    with pytest.MonkeyPatch.context() as patch:
        bug.plant(patch)
        try:
            simulate(seed)
        except Exception:
            return True
    return False


@pytest.mark.parametrize("what", FOUND_BY)
def test_a_planted_bug_is_found(what: str) -> None:
    assert is_found(what, FOUND_BY[what])


@pytest.mark.parametrize("seed", sorted(set(FOUND_BY.values())))
def test_without_it_the_same_seed_finds_nothing(seed: int) -> None:
    simulate(seed)


def test_every_planted_bug_has_a_seed() -> None:
    assert sorted(bug.what for bug in BUGS) == sorted(FOUND_BY)
