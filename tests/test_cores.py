"""Work that two threads share."""

from __future__ import annotations

import threading

import pytest

from headwater.cores import Chore, Chores


def noting(done: list[str], name: str, *more: Chore) -> Chore:
    def chore() -> tuple[Chore, ...]:
        done.append(name)
        return more

    return chore


def test_all_chores_are_done_and_those_that_they_give() -> None:
    done: list[str] = []
    chores = Chores("chores")
    chores.start([noting(done, "a", noting(done, "b", noting(done, "c")), noting(done, "d"))])
    chores.finish([noting(done, "e"), noting(done, "f", noting(done, "g"))])

    assert sorted(done) == list("abcdefg")
    chores.finish()
    assert len(done) == 7
    chores.close()


def test_who_needs_them_done_helps() -> None:
    threads: set[str] = set()
    meeting = threading.Barrier(2, timeout=20)

    def chore() -> tuple[()]:
        threads.add(threading.current_thread().name)
        meeting.wait()
        return ()

    chores = Chores("chores")
    # Neither could end if the other were not begun.
    chores.finish([chore, chore])

    assert len(threads) == 2
    chores.close()


def test_a_single_chore_needs_no_thread() -> None:
    done: list[str] = []
    chores = Chores("single")
    chores.finish([noting(done, "a")])

    assert done == ["a"]
    assert not any(thread.name.startswith("single") for thread in threading.enumerate())


@pytest.mark.parametrize("is_ahead", [False, True])
def test_what_a_chore_raises_is_said_once(is_ahead: bool) -> None:
    def fails() -> tuple[()]:
        raise ValueError("it cannot be done")

    chores = Chores("chores")
    if is_ahead:
        chores.start([fails])
    with pytest.raises(ValueError, match="cannot be done"):
        chores.finish([] if is_ahead else [fails])
    chores.finish()
    chores.close()


def test_closing_waits_for_what_runs_and_leaves_the_rest() -> None:
    done: list[str] = []
    begun, allowed = threading.Event(), threading.Event()

    def slow() -> tuple[Chore, ...]:
        begun.set()
        assert allowed.wait(20)
        done.append("slow")
        return ()

    chores = Chores("closing")
    chores.start([slow, noting(done, "never")])
    assert begun.wait(20)
    closing = threading.Thread(target=chores.close)
    closing.start()
    while chores._due:
        assert closing.is_alive()
    allowed.set()
    closing.join()

    assert done == ["slow"]
    assert not any(thread.name.startswith("closing_") for thread in threading.enumerate())
