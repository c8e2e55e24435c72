from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from headwater.errors import StateError
from headwater.storage.disk import Disk
from headwater.storage.journal import Journal
from headwater.storage.local import LocalDisk
from headwater.storage.ticket import Ticket
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

MAKERS: dict[str, Callable[[Path], Disk]] = {
    "local": LocalDisk,
    "fake": lambda _: FakeDisk(seed=1),
}
# Long enough for any machine; only a hang takes as long.
SECONDS = 30


@pytest.fixture(params=MAKERS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return MAKERS[request.param](tmp_path)


@pytest.fixture
def journal(disk: Disk) -> Iterator[Journal]:
    journal = Journal.open(disk)
    yield journal
    journal.close()


def contents(journal: Journal, from_lsn: int = 0) -> list[tuple[int, int, bytes]]:
    return [(r.lsn, r.kind, bytes(r.payload)) for r in journal.read(from_lsn)]


def appended(journal: Journal, *payloads: bytes) -> None:
    for payload in payloads:
        journal.append(1, [payload]).wait(SECONDS)


def held(journal: Journal) -> threading.Event:
    """Hold the writer back in a callback until the event is set, so that a group gathers."""
    holding, go = threading.Event(), threading.Event()
    ticket = journal.append(0, [])
    ticket.add_callback(lambda: (holding.set(), go.wait(SECONDS)))
    assert holding.wait(SECONDS)
    return go


def test_what_was_appended_is_read_back_in_order(disk: Disk, journal: Journal) -> None:
    tickets = [
        journal.append(7, [b"a", memoryview(b"b"), pa.py_buffer(b"c")]),
        journal.append(0, []),
        journal.append(255, [bytes(100_000)]),
    ]
    for ticket in tickets:
        ticket.wait(SECONDS)
    journal.close()

    again = Journal.open(disk)
    assert [ticket.lsn for ticket in tickets] == [0, 1, 2]
    assert contents(again) == [(0, 7, b"abc"), (1, 0, b""), (2, 255, bytes(100_000))]
    assert contents(again, 2) == [(2, 255, bytes(100_000))]
    assert (again.first_lsn, again.next_lsn, again.torn_bytes) == (0, 3, 0)
    again.close()


def test_numbers_go_on_after_a_restart(disk: Disk) -> None:
    for n in range(4):
        journal = Journal.open(disk)
        assert journal.append(1, [b"%d" % n]).lsn == n
        journal.close()

    journal = Journal.open(disk)
    assert contents(journal) == [(n, 1, b"%d" % n) for n in range(4)]
    journal.close()


def test_close_makes_durable_what_nobody_waited_for(disk: Disk) -> None:
    journal = Journal.open(disk)
    tickets = [journal.append(1, [b"x"]) for _ in range(1000)]
    journal.close()
    journal.close()

    assert all(ticket.done for ticket in tickets)
    again = Journal.open(disk)
    assert again.next_lsn == 1000
    again.close()


def test_a_closed_journal_takes_nothing(journal: Journal) -> None:
    journal.close()

    with pytest.raises(StateError, match="closed"):
        journal.append(1, [b"x"])


def test_what_is_durable_is_read_while_more_is_written(journal: Journal) -> None:
    appended(journal, b"a", b"b")
    reading = journal.read()
    appended(journal, b"c")

    assert [bytes(record.payload) for record in reading] == [b"a", b"b"]
    assert len(contents(journal)) == journal.durable_lsn == 3


def test_records_that_gather_while_the_writer_is_busy_share_one_sync() -> None:
    disk = FakeDisk(seed=1)
    journal = Journal.open(disk)
    go = held(journal)
    calls = disk.calls
    tickets = [journal.append(1, [b"%d" % n]) for n in range(500)]

    assert not any(ticket.done for ticket in tickets)
    go.set()
    tickets[-1].wait(SECONDS)

    assert all(ticket.done for ticket in tickets)
    assert disk.calls == calls + 2  # one append, one sync
    journal.close()


def test_numbers_follow_the_order_of_the_calls_of_many_threads(disk: Disk) -> None:
    journal = Journal.open(disk, file_bytes_max=5_000)
    given: list[list[int]] = [[] for _ in range(8)]

    def append_some(mine: list[int]) -> None:
        for n in range(100):
            ticket = journal.append(1, [b"%d" % n])
            mine.append(ticket.lsn)
            ticket.wait(SECONDS)

    threads = [threading.Thread(target=append_some, args=(mine,)) for mine in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()

    again = Journal.open(disk)
    payloads = {record.lsn: bytes(record.payload) for record in again.read()}
    assert sorted(lsn for mine in given for lsn in mine) == list(payloads) == list(range(800))
    for mine in given:
        assert [payloads[lsn] for lsn in mine] == [b"%d" % n for n in range(100)]
    again.close()


def test_a_wait_that_takes_too_long_ends(journal: Journal) -> None:
    go = held(journal)
    ticket = journal.append(1, [b"x"])

    with pytest.raises(TimeoutError, match="record 1 is not durable"):
        ticket.wait(timeout=0)

    go.set()
    ticket.wait(SECONDS)


def test_callbacks_run_in_order_when_durable_and_before_waiters_wake(journal: Journal) -> None:
    seen: list[tuple[str, int, bool]] = []
    go = held(journal)
    first, second = journal.append(1, [b"a"]), journal.append(1, [b"b"])

    def note(name: str) -> Callable[[], None]:
        return lambda: seen.append((name, journal.durable_lsn, first.done))

    second.add_callback(note("second"))
    first.add_callback(note("first"))
    first.add_callback(note("first again"))
    go.set()
    second.wait(SECONDS)

    assert seen == [("first", 3, False), ("first again", 3, False), ("second", 3, False)]


def test_a_late_callback_runs_on_the_writers_thread_and_wait_waits_for_it(
    journal: Journal,
) -> None:
    ticket = journal.append(1, [b"a"])
    ticket.wait(SECONDS)
    threads: list[str] = []
    ticket.add_callback(lambda: threads.append(threading.current_thread().name))
    ticket.wait(SECONDS)

    assert threads == ["journal"]


def test_a_late_callback_goes_before_those_of_later_records(journal: Journal) -> None:
    seen: list[int] = []
    early = journal.append(1, [b"a"])
    early.wait(SECONDS)
    go = held(journal)
    later = journal.append(1, [b"b"])
    later.add_callback(lambda: seen.append(later.lsn))
    early.add_callback(lambda: seen.append(early.lsn))
    go.set()
    later.wait(SECONDS)

    assert seen == [early.lsn, later.lsn]


def test_a_callback_after_the_close_is_not_called_and_nobody_waits_for_it(
    journal: Journal,
) -> None:
    ticket = journal.append(1, [b"a"])
    journal.close()
    called: list[str] = []
    ticket.add_callback(lambda: called.append("called"))
    ticket.wait(timeout=0)

    assert ticket.done
    assert called == []


def test_a_callback_may_append(journal: Journal) -> None:
    tickets: list[Ticket] = []
    first = journal.append(1, [b"a"])
    first.add_callback(lambda: tickets.append(journal.append(1, [b"b"])))
    first.wait(SECONDS)
    tickets[0].wait(SECONDS)

    assert [payload for _, _, payload in contents(journal)] == [b"a", b"b"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_a_callback_lets_nobody_wait_for_ever() -> None:
    journal = Journal.open(FakeDisk(seed=1))
    go = held(journal)
    ticket = journal.append(1, [b"a"])
    ticket.add_callback(lambda: {}["no such key"])
    go.set()

    with pytest.raises(StateError, match="writer stopped: KeyError"):
        ticket.wait(SECONDS)
    with pytest.raises(StateError, match="writer stopped"):
        journal.append(1, [b"b"])
    with pytest.raises(StateError, match="writer stopped"):
        journal.close()


@pytest.mark.parametrize("call", [1, 2], ids=["append", "sync"])
def test_after_a_failed_call_every_ticket_and_append_raises_the_same(call: int) -> None:
    disk = FakeDisk(seed=1)
    journal = Journal.open(disk)
    go = held(journal)
    disk.fail_at(disk.calls + call)
    called: list[str] = []
    tickets = [journal.append(1, [b"x"]) for _ in range(3)]
    tickets[0].add_callback(lambda: called.append("called"))
    go.set()
    errors = []
    for ask in (*(ticket.wait for ticket in tickets), lambda _: journal.append(1, [])):
        with pytest.raises(StateError, match="Input/output error") as failed:
            ask(SECONDS)
        errors.append(failed.value)
    with pytest.raises(StateError) as at_close:
        journal.close()

    assert {id(error) for error in errors} == {id(at_close.value)}
    assert called == []
    again = Journal.open(disk)
    assert 1 <= again.next_lsn <= 4
    again.close()


def test_a_full_disk_breaks_the_journal_and_loses_nothing_that_was_done() -> None:
    disk = FakeDisk(seed=1, room_bytes=10_000)
    journal = Journal.open(disk)
    done = 0
    with pytest.raises(StateError, match="No space left") as full:
        while True:
            journal.append(1, [b"x" * 100]).wait(SECONDS)
            done += 1
    assert "make room" in (full.value.hint or "")

    disk.room_bytes = None
    again = Journal.open(disk)
    assert again.next_lsn == done == (10_000 - 24) // 128
    assert again.torn_bytes == (10_000 - 24) % 128
    appended(again, b"more")
    assert contents(again, done) == [(done, 1, b"more")]
    again.close()


def test_a_full_file_is_followed_by_a_new_one(disk: Disk) -> None:
    journal = Journal.open(disk, file_bytes_max=100)
    appended(journal, *(b"12345678" for _ in range(7)))  # 32 bytes each, after a header of 24
    journal.close()

    names = [f"journal/{lsn:020d}.hwj" for lsn in (0, 3, 6)]
    assert disk.list("journal") == names
    again = Journal.open(disk, file_bytes_max=100)
    assert [record.lsn for record in again.read(2)] == [2, 3, 4, 5, 6]
    assert again.size_bytes == sum(map(disk.size, names))
    again.close()


def test_dropping_deletes_the_files_wholly_below_and_never_the_newest(disk: Disk) -> None:
    journal = Journal.open(disk, file_bytes_max=100)
    appended(journal, *(b"%d" % n for n in range(9)))  # three records a file
    held_record = next(journal.read(0))

    journal.drop_before(5)
    assert (journal.first_lsn, len(disk.list("journal"))) == (3, 2)
    journal.drop_before(100)
    assert (journal.first_lsn, len(disk.list("journal"))) == (6, 1)
    assert [lsn for lsn, _, _ in contents(journal)] == [6, 7, 8]
    assert bytes(held_record.payload) == b"0"
    appended(journal, b"9")
    journal.close()

    again = Journal.open(disk)
    assert [lsn for lsn, _, _ in contents(again)] == [6, 7, 8, 9]
    again.close()


def test_a_journal_opened_for_reading_only_writes_nothing(disk: Disk) -> None:
    journal = Journal.open(disk)
    assert (journal.first_lsn, journal.next_lsn, list(journal.read())) == (0, 0, [])
    journal.drop_before(5)
    journal.close()

    assert disk.list("") == []


def test_bytes_and_sync_times_are_told(disk: Disk) -> None:
    journal = Journal.open(disk)
    assert (journal.written_bytes, journal.sync_seconds.last) == (0, 0.0)
    appended(journal, b"12345678", b"12345678")

    assert journal.written_bytes == journal.size_bytes == 24 + 2 * 32
    assert 0 < journal.sync_seconds.median < SECONDS
    journal.close()


def test_the_clock_is_the_one_that_is_handed_in() -> None:
    journal = Journal.open(FakeDisk(seed=1), clock=ManualClock())
    appended(journal, b"x")

    assert (journal.sync_seconds.last, journal.sync_seconds.median) == (0.0, 0.0)
    journal.close()


def test_without_sync_nothing_is_synced() -> None:
    disk = FakeDisk(seed=1)
    journal = Journal.open(disk, sync=False)
    calls = disk.calls
    appended(journal, b"x")

    assert disk.calls == calls + 2  # one opens the file, one appends
    journal.close()


def test_a_payload_of_arrow_is_read_without_a_copy(disk: Disk) -> None:
    batch = pa.record_batch({"n": pa.array(range(1000)), "s": pa.array(["x"] * 1000)})
    journal = Journal.open(disk)
    journal.append(1, [batch.serialize()]).wait(SECONDS)

    (record,) = journal.read()
    buffer = pa.py_buffer(record.payload)
    read = pa.ipc.read_record_batch(buffer, batch.schema)
    column = read.column("n").buffers()[1]

    assert read.equals(batch)
    assert buffer.address <= column.address < buffer.address + buffer.size
    journal.close()
