"""A named producer's batch is appended once, however often it is sent and whatever is killed.

The producer of these tests knows only what it was answered. It sends a batch again until it is
acknowledged, over a disk that goes off inside any of its calls, and now and then sends one that it
has an answer to.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.errors import DefinitionError, HeadwaterError, StateError
from headwater.run.compile import Compiled
from headwater.run.live import Live
from headwater.runtime import producers
from headwater.runtime.deliveries import Delivery, Repeat
from headwater.runtime.ingest import Ingest
from headwater.runtime.producers import BATCHES_REMEMBERED, Producers
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.status import Receipt, TopicStatus
from headwater.runtime.statuses import status_of
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk


def app() -> hw.App:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, n BIGINT", partitions=2)
    app.view("totals", "SELECT item, count(*) AS n FROM sales GROUP BY item")
    return app


@dataclass(frozen=True)
class Batch:
    producer: str
    sequence: int
    partition: int
    body: bytes
    good: tuple[int, ...]
    bad: int


def batches(seed: int, count: int) -> list[Batch]:
    """What two producers send: good rows, rejected ones, both, or none but rejected."""
    rng, sent = random.Random(seed), []
    sequences: Counter[tuple[str, int]] = Counter()
    for number in range(count):
        who = rng.choice(["shop-7", "shop-8"]), rng.randint(0, 1)
        sequences[who] += rng.choice([1, 1, 5])
        good = tuple(100 * number + n for n in range(rng.choice([0, 1, 3])))
        bad = rng.choice([0, 0, 2]) if good else 2
        lines = [json.dumps({"item": who[0], "n": n}) for n in good]
        lines += [f'{{"item": "{who[0]}", "n": "none {number}"}}'] * bad
        body = "\n".join(lines).encode()
        sent.append(Batch(who[0], sequences[who], who[1], body, good, bad))
    return sent


class Run:
    """One life of the pipeline, stepped by hand."""

    def __init__(self, compiled: Compiled, disk: FakeDisk) -> None:
        clock = ManualClock()
        self.runtime = Runtime(compiled.pipeline, compiled.plans, disk, clock, Settings())
        self.ingest = Ingest(self.runtime.intake, clock)

    def send(self, batch: Batch) -> Receipt:
        definition = self.runtime.topics["sales"].definition
        who = {"producer": batch.producer, "sequence": batch.sequence}
        return self.ingest.send(definition, batch.body, partition=batch.partition, **who)

    def status(self) -> TopicStatus:
        return status_of(self.runtime, (), "").topics[0]

    def rows(self, partition: int) -> list[int]:
        found: list[int] = (
            self.runtime.topics["sales"].read_offsets(partition, 0, 1 << 30)["n"].to_pylist()
        )
        return found


@dataclass
class Producer:
    """Sends batches in order, and what it was answered."""

    batches: list[Batch]
    rng: random.Random
    done: int = 0
    sent_rows: int = 0
    acknowledged_rows: int = 0
    receipts: dict[int, Receipt] = field(default_factory=dict)

    def go_on(self, run: Run) -> None:
        while self.done < len(self.batches):
            self.send(run, self.done)
            self.done += 1
            if self.rng.random() < 0.3:
                self.send_again(run)
            if self.rng.random() < 0.3:
                run.runtime.loop.run_epoch()
            if self.rng.random() < 0.2:
                run.runtime.checkpoint()

    def send(self, run: Run, number: int) -> None:
        batch = self.batches[number]
        self.sent_rows += len(batch.good) + batch.bad
        receipt = run.send(batch)
        self.acknowledged_rows += len(batch.good) + batch.bad
        assert (receipt.accepted, receipt.rejected) == (len(batch.good), batch.bad)
        assert receipt.duplicate in (0, len(batch.good) + batch.bad)
        known = self.receipts.setdefault(number, receipt)
        assert receipt.offset_first == known.offset_first

    def send_again(self, run: Run) -> None:
        """Send the last batch of somebody once more, though it is acknowledged."""
        batch = self.batches[self.done - 1]
        before = run.status()
        self.send(run, self.done - 1)
        after = run.status()
        assert (after.rows, after.rejected) == (before.rows, before.rejected)
        assert after.duplicate == before.duplicate + len(batch.good) + batch.bad


def check(run: Run, producer: Producer) -> None:
    """Every batch is there once, in its order, and the counts add up."""
    sent, told = producer.batches, run.status()
    for partition in (0, 1):
        expected = [n for batch in sent if batch.partition == partition for n in batch.good]
        assert run.rows(partition) == expected
    assert told.rejected == sum(batch.bad for batch in sent)
    assert told.received == told.rows + told.rejected + told.duplicate
    # What was answered is counted; what was sent and not answered may be.
    assert producer.acknowledged_rows <= told.received <= producer.sent_rows
    for known in told.producers:
        own = [b for b in sent if (b.producer, b.partition) == (known.producer, known.partition)]
        assert known.accepted == sum(len(batch.good) for batch in own)
        assert known.rejected == sum(batch.bad for batch in own)
        assert known.received == known.accepted + known.rejected + known.duplicate
        assert known.sequence == own[-1].sequence
    for name in ("accepted", "rejected", "duplicate", "received"):
        of_all = sum(getattr(known, name) for known in told.producers)
        assert of_all == getattr(told, "rows" if name == "accepted" else name)


@contextmanager
def running(compiled: Compiled, disk: FakeDisk) -> Iterator[Run]:
    run = Run(compiled, disk)
    try:
        yield run
    finally:
        # The disk may be off.
        with suppress(HeadwaterError):
            run.runtime.close()


def test_a_crash_in_any_call_neither_loses_nor_doubles_a_batch() -> None:
    compiled, sent = app().compile(), batches(1, 12)
    whole = FakeDisk(0)
    with running(compiled, whole) as run:
        Producer(sent, random.Random(0)).go_on(run)

    for call in range(1, whole.calls):
        disk, producer = FakeDisk(call), Producer(sent, random.Random(0))
        disk.crash_at(call)
        with suppress(StateError), running(compiled, disk) as run:
            producer.go_on(run)
        with running(compiled, disk.crash()) as run:
            producer.go_on(run)
            check(run, producer)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_nor_do_several_crashes(seed: int) -> None:
    compiled, rng = app().compile(), random.Random(seed)
    disk, producer = FakeDisk(seed), Producer(batches(seed, 16), random.Random(seed))
    for _ in range(4):
        disk.crash_at(disk.calls + rng.randint(1, 40))
        with suppress(StateError), running(compiled, disk) as run:
            producer.go_on(run)
        disk = disk.crash()
    with running(compiled, disk) as run:
        producer.go_on(run)
        check(run, producer)


class SlowDisk(FakeDisk):
    """A disk whose journal does not sync while the gate is shut."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.gate, self.is_reached = threading.Event(), threading.Event()
        self.gate.set()

    def settle(self, path: str, content: Any) -> None:
        if path.startswith("journal/") and not self.gate.is_set():
            self.is_reached.set()
            self.gate.wait()
        super().settle(path, content)


@pytest.mark.parametrize("seed", range(6))
def test_a_checkpoint_says_nothing_of_a_batch_that_is_not_durable(seed: int) -> None:
    compiled, disk, sent = app().compile(), SlowDisk(seed), batches(seed, 6)
    producer = Producer(sent[:5], random.Random(seed))
    with running(compiled, disk) as run:
        producer.go_on(run)
        disk.gate.clear()

        def send_in_vain() -> None:
            with pytest.raises(StateError):
                run.send(sent[5])

        thread = threading.Thread(target=send_in_vain)
        thread.start()
        disk.is_reached.wait()
        run.runtime.checkpoint()
        after = disk.crash()
        disk.gate.set()
        thread.join()

    producer.batches = sent
    producer.sent_rows += len(sent[5].good) + sent[5].bad
    with running(compiled, after) as run:
        producer.go_on(run)
        check(run, producer)


# One life, through the Python door.


@pytest.fixture
def live() -> Iterator[Live]:
    with app().start(listen=None) as live:
        yield live


def told(live: Live) -> TopicStatus:
    return live.status().topics[0]


def send(live: Live, sequence: int, *rows: object, **more: Any) -> Receipt:
    lines = [{"item": "tea", "n": n} for n in rows]
    return live.send("sales", lines, producer="shop-7", sequence=sequence, **more)


def test_a_batch_sent_again_is_answered_as_it_was(live: Live) -> None:
    send(live, 1, 0)
    first = send(live, 41, 1, 2, "x")

    again = send(live, 41, 1, 2, "x")

    assert (first.accepted, first.rejected, first.offset_first) == (2, 1, 1)
    assert again == replace(first, rejections=(), duplicate=3)
    assert told(live).rows == 3
    assert (told(live).received, told(live).duplicate) == (7, 3)


def test_of_two_connections_with_one_number_one_appends(live: Live) -> None:
    for sequence in range(20):
        start, receipts = threading.Barrier(4), list[Receipt]()

        def connect(sequence: int = sequence, start: threading.Barrier = start) -> None:
            start.wait()
            receipts.append(send(live, sequence, sequence))  # noqa: B023 - joined below

        threads = [threading.Thread(target=connect) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(receipt.duplicate for receipt in receipts) == [0, 1, 1, 1]
        assert {receipt.offset_first for receipt in receipts} == {sequence}

    assert live.rows("sales")["n"].to_pylist() == list(range(20))


def test_numbers_may_be_left_out_and_each_partition_has_its_own(live: Live) -> None:
    for partition in (0, 1):
        for sequence in (3, 900, 901):
            assert send(live, sequence, 1, partition=partition).duplicate == 0

    assert told(live).rows == 6


def test_a_number_that_was_passed_over_is_refused_rather_than_lost(live: Live) -> None:
    send(live, 3, 1)
    send(live, 5, 1)

    with pytest.raises(DefinitionError, match="4 of producer shop-7 was never taken, and 5 was"):
        send(live, 4, 1)

    assert told(live).received == 2


def test_a_number_older_than_all_that_is_remembered_is_a_duplicate(live: Live) -> None:
    for sequence in range(BATCHES_REMEMBERED + 1):
        send(live, sequence, 1)

    again = send(live, 0, 1)

    assert (again.accepted, again.rejected, again.offset_first, again.duplicate) == (0, 0, -1, 1)
    assert told(live).duplicate == 1


def test_other_bytes_under_a_number_are_refused(live: Live) -> None:
    body = b'{"item": "tea", "n": 1}\n'
    live.send("sales", body, producer="shop-7", sequence=0)
    assert live.send("sales", body, producer="shop-7", sequence=0).duplicate == 1

    with pytest.raises(DefinitionError, match="taken before with other rows"):
        live.send("sales", body.replace(b"1", b"2"), producer="shop-7", sequence=0)


def test_a_batch_without_a_row_takes_its_number(live: Live) -> None:
    assert send(live, 1).duplicate == 0

    assert live.producers("sales", "shop-7")[0].sequence == 1


@pytest.mark.parametrize(
    ("who", "match"),
    [
        ({"producer": "shop-7"}, "a producer needs a sequence"),
        ({"sequence": 1}, "a sequence needs a producer"),
        ({"producer": "", "sequence": 1}, "0 bytes"),
        ({"producer": "ü" * 101, "sequence": 1}, "202 bytes"),
        ({"producer": "x", "sequence": -1}, "out of range"),
        ({"producer": "x", "sequence": 1 << 63}, "out of range"),
    ],
)
def test_a_name_and_a_number_belong_together(live: Live, who: dict[str, Any], match: str) -> None:
    with pytest.raises(DefinitionError, match=match):
        live.send("sales", [], **who)


def test_what_is_known_outlives_an_orderly_end(tmp_path: Path) -> None:
    with app().start(tmp_path, listen=None) as live:
        send(live, 1, 1, "x")
        send(live, 1, 1, "x")
        before = told(live)

    with app().start(tmp_path, listen=None) as live:
        assert told(live).producers == before.producers
        assert (told(live).received, told(live).duplicate) == (4, 2)
        assert send(live, 1, 1, "x").duplicate == 2


def test_a_folder_of_before_has_no_producers(tmp_path: Path) -> None:
    with app().start(tmp_path, listen=None) as live:
        live.send("sales", [{"item": "tea", "n": 1}])
    for path in (tmp_path / "checkpoints").iterdir():
        manifest = json.loads(path.read_text())
        # As they were written then, without a checksum.
        del manifest["producers"], manifest["crc32"]
        path.write_text(json.dumps(manifest | {"format": 1}))

    with app().start(tmp_path, listen=None) as live:
        assert (told(live).producers, told(live).received) == ((), 1)


# What is remembered, and for how long.


def delivery(name: str, sequence: int = 0) -> Delivery:
    return Delivery(name, sequence, "sales", 0, 1, 0, sequence, None, sequence)


def test_who_is_silent_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers, "PRODUCERS_MAX", 2)
    known = Producers()
    known.take(delivery("ann"))
    known.take(delivery("bob"))
    known.repeat(Repeat("ann", 0, "sales", 0, 1, 9))
    known.take(delivery("cat"))

    assert [key[1] for key, _ in known.of("sales")] == ["cat", "ann"]
    assert known.find("sales", 0, "bob", 0) is None
    assert known.find("sales", 0, "ann", 0) is not None


@given(
    st.lists(
        st.tuples(st.sampled_from(["ann", "bob", "cat"]), st.integers(0, 9), st.booleans()),
        max_size=40,
    )
)
def test_a_manifest_says_all_of_it(events: list[tuple[str, int, bool]]) -> None:
    known = Producers()
    for name, sequence, is_repeated in events:
        if is_repeated:
            known.repeat(Repeat(name, sequence, "sales", 0, 2, sequence))
        elif known.of("sales", name) == [] or known.of("sales", name)[0][1].last[-1].sequence < (
            sequence
        ):
            known.take(delivery(name, sequence))

    again = Producers.load(json.loads(json.dumps(known.save())))

    assert again.of("sales") == known.of("sales") == known.copy().of("sales")
    assert again.duplicate("sales") == known.duplicate("sales")
