"""The test that every sink must pass: whatever fails, and whenever, the store equals the view.

A check takes a function that makes an empty store, and a story of what a view publishes. Run every
check over every story:

    @pytest.mark.parametrize("check", sinks.CHECKS)
    @pytest.mark.parametrize("story", sinks.stories(), ids=lambda story: story.name)
    def test_my_sink(check, story):
        check(MyStore, story)

The store under test is a real one. Its client is wrapped (`faults.Faults`), so that each call in
turn fails, before it was made and after it: the second is a commit whose answer was lost. Then the
same sink goes on, as a runner does when a store is away for a while, or a new one does, as after a
kill of the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any, Protocol

import pyarrow as pa

from headwater.connectors.sink import Followed, Sink
from headwater.errors import ConnectorError
from headwater.testing.faults import Faults
from headwater.testing.stories import Story, content, large, stories

__all__ = ["CHECKS", "FAULTS", "Faults", "Store", "Story", "large", "stories"]

# A sink that makes more calls for a write than this does something wrong.
_CALLS_MAX = 500
_ATTEMPTS_MAX = 10


class Store(Protocol):
    """One store under test, empty when it is made.

    Attributes:
        stride: Of the calls that may fail every so many-th does; 1 unless the store is slow.
    """

    stride: int

    def lost(self) -> Exception:
        """What the store's client raises when the store is gone."""
        ...

    def sink(self, followed: Followed, faults: Faults) -> Sink:
        """A sink for the store, as a process that starts makes it; its client made with faults."""
        ...

    def rows(self, followed: Followed) -> pa.Table:
        """All that the store holds, in the view's columns, and `_weight` if it has it."""
        ...


def follows(fresh: Callable[[], Store], story: Story) -> None:
    """After every write the store equals the view, and knows the position."""
    store = fresh()
    with closing(_sink(store, story)) as sink:
        position = sink.position()
        assert position == 0
        while position < story.end:
            position = _write(sink, story, position)
            assert sink.position() == position
            assert held(store, story) == story.content(position)


def starts_empty(fresh: Callable[[], Store], story: Story) -> None:
    """A store to which nothing was written is at 0, however often it is asked, and by whom."""
    store = fresh()
    for _ in range(2):
        with closing(_sink(store, story)) as sink:
            assert sink.position() == 0
            assert sink.position() == 0


def goes_on_after_restarts(fresh: Callable[[], Store], story: Story) -> None:
    """Each write is made by another process."""
    store, position = fresh(), 0
    while position < story.end:
        with closing(_sink(store, story)) as sink:
            assert sink.position() == position
            position = _write(sink, story, position)
    assert held(store, story) == story.content()


def outlives_a_store_that_fails(fresh: Callable[[], Store], story: Story) -> None:
    """Any call may fail before it is made; the same sink goes on."""
    _fail_each_call(fresh, story, is_after=False, is_killed=False)


def finds_what_was_written_without_an_answer(fresh: Callable[[], Store], story: Story) -> None:
    """Any call may fail after it was made, a commit too; the same sink goes on."""
    _fail_each_call(fresh, story, is_after=True, is_killed=False)


def outlives_a_kill(fresh: Callable[[], Store], story: Story) -> None:
    """The process may end before any call; another goes on."""
    _fail_each_call(fresh, story, is_after=False, is_killed=True)


def outlives_a_kill_after_any_call(fresh: Callable[[], Store], story: Story) -> None:
    """The process may end after any call; another goes on."""
    _fail_each_call(fresh, story, is_after=True, is_killed=True)


def lets_only_one_process_write(fresh: Callable[[], Store], story: Story) -> None:
    """Of two that are at the same position, the one that comes second writes nothing."""
    store = fresh()
    with closing(_sink(store, story)) as first, closing(_sink(store, story)) as second:
        assert first.position() == second.position() == 0
        position = _write(first, story, 0)
        try:
            _write(second, story, 0, epochs=1)
        except ConnectorError:
            pass
        else:
            raise AssertionError("changes that the store has were written again")
        assert second.position() == position
        assert held(store, story) == story.content(position)
        while position < story.end:
            position = _write(second, story, position)
    assert held(store, story) == story.content()


Check = Callable[[Callable[[], Store], Story], None]
# Those that fail each call in turn, and so take long.
FAULTS: tuple[Check, ...] = (
    outlives_a_store_that_fails,
    finds_what_was_written_without_an_answer,
    outlives_a_kill,
    outlives_a_kill_after_any_call,
)
CHECKS: tuple[Check, ...] = (
    follows,
    starts_empty,
    goes_on_after_restarts,
    lets_only_one_process_write,
    *FAULTS,
)


def held(store: Store, story: Story) -> Counter[tuple[Any, ...]]:
    """What the store holds, to compare with `Story.content`."""
    return content(store.rows(story.followed), story.followed)


def _fail_each_call(
    fresh: Callable[[], Store], story: Story, *, is_after: bool, is_killed: bool
) -> None:
    # Two writes: one into an empty store, one into a store that holds something.
    story = story.first(2 * story.per_write)
    for call in range(1, _CALLS_MAX, fresh().stride):
        store = fresh()
        faults = Faults(store.lost, call, is_after=is_after)
        sink = store.sink(story.followed, faults)
        try:
            for _ in range(_ATTEMPTS_MAX):
                try:
                    assert _follow(sink, story) == story.end
                    break
                except ConnectorError:
                    if is_killed:
                        # What a killed process leaves open, the system closes.
                        sink.close()
                        sink = store.sink(story.followed, Faults(store.lost))
                    # Where a write began and failed, one that ends elsewhere is tried.
                    _write_some(sink, story)
        finally:
            sink.close()
        assert held(store, story) == story.content(), f"call {call} failed"
        if not faults.has_fired:
            assert faults.calls, "no call of the client was counted"
            return
    raise AssertionError(f"more than {_CALLS_MAX} calls")


def _follow(sink: Sink, story: Story) -> int:
    position = sink.position()
    while position < story.end:
        position = _write(sink, story, position)
    return sink.position()


def _write_some(sink: Sink, story: Story) -> None:
    position = sink.position()
    if position < story.end:
        _write(sink, story, position, epochs=1)


def _write(sink: Sink, story: Story, position: int, epochs: int | None = None) -> int:
    end = story.next_end(position, epochs)
    sink.write(story.changes(position, end), position, end)
    return end


def _sink(store: Store, story: Story) -> Sink:
    return store.sink(story.followed, Faults(store.lost))
