"""Start again from what is on disk: the newest checkpoint, then the journal after it.

Rows and facts go back where they were; recorded epochs are stepped through again, with the cut that
they had, and put out the same rows at the same offsets. Each view's checksum is compared with the
recorded one: a view that does not give the same rows again (a function that is not deterministic,
or damaged state) stops the start with a message, rather than going on with numbers that nobody can
explain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from headwater.clock import Clock
from headwater.errors import StateError
from headwater.log.chunk import Chunk
from headwater.log.topic import Topic
from headwater.runtime.checksum import checksum
from headwater.runtime.deliveries import Delivery, Repeat
from headwater.runtime.epoch_times import EpochTimes
from headwater.runtime.positions import taken
from headwater.runtime.producers import Producers
from headwater.runtime.records import (
    PAUSED,
    Append,
    EpochRecord,
    Fact,
    Kind,
    SchemaRecord,
    Standing,
)
from headwater.runtime.stepper import Cut, Stepper
from headwater.runtime.view import Stepped
from headwater.storage.journal import Journal
from headwater.storage.journal_file import Record

Report = Callable[[str, int, int], None]


class Recovery:
    """Reads the journal into topics and views.

    Args:
        stepper: The views whose state the checkpoint has (or all, from nothing).
        epoch, tick, facts_taken: Where the checkpoint stands.
        next_tick, facts, producers: What of the log is in the checkpoint.
        standings, times: Where consumer groups stand, and when epochs were, by the checkpoint.
        evolve: Gives a topic the columns that a record says, if it has not got them.
        clock: For how long it takes.
        is_hash_known: False when checksums were made by another hash function.
    """

    def __init__(  # noqa: PLR0913 - what it fills, and where the checkpoint stands
        self,
        topics: Mapping[str, Topic],
        rejected: Mapping[str, Topic],
        stepper: Stepper,
        *,
        epoch: int,
        tick: int,
        facts_taken: int,
        next_tick: int,
        facts: list[Fact],
        evolve: Callable[[SchemaRecord], None],
        producers: Producers,
        clock: Clock,
        standings: Sequence[Standing] = (),
        times: EpochTimes | None = None,
        is_hash_known: bool = True,
    ) -> None:
        self._topics = topics
        self._rejected = rejected
        self.stepper = stepper
        self.epoch = epoch
        self.tick = tick
        self.facts_taken = facts_taken
        self.next_tick = next_tick
        self.facts = facts
        self.standings = {(s.group, s.relation): s for s in standings}
        self.times = times or EpochTimes()
        self.producers = producers
        self.epochs_stepped = 0
        self.seconds = 0.0
        self._clock = clock
        self._evolve = evolve
        self._is_hash_known = is_hash_known

    def run(self, journal: Journal, from_lsn: int, report: Report) -> None:
        """Take in every record from `from_lsn` on."""
        started = self._clock.monotonic()
        _check_reaches(journal, from_lsn)
        total = journal.next_lsn - from_lsn
        facts_known = len(self.facts)
        facts_seen = 0
        for count, record in enumerate(journal.read(from_lsn)):
            if record.kind == Kind.FACT:
                # The checkpoint holds all facts before its lsn, so these are new, in order.
                facts_seen += 1
                self.facts.append(Fact.parse(record.payload))
            elif record.kind == Kind.EPOCH:
                self._take_epoch(EpochRecord.parse(record.payload))
            elif record.kind == Kind.CONSUMER:
                taken(self.standings, Standing.parse(record.payload))
            elif record.kind == Kind.SCHEMA:
                self._evolve(SchemaRecord.parse(record.payload))
            elif record.kind == Kind.DELIVERY:
                self._take_delivery(record)
            elif record.kind == Kind.REPEAT:
                self.producers.repeat(Repeat.parse(record.payload))
            else:
                is_rejected = record.kind == Kind.REJECT
                self._take_rows(Append.parse(record.payload), is_rejected=is_rejected)
            if count % 1000 == 999:
                report("recovering", count + 1, total)
        assert len(self.facts) == facts_known + facts_seen
        self.seconds = self._clock.monotonic() - started

    def _take_delivery(self, record: Record) -> None:
        delivery, rows, rejected = Delivery.parse(record.payload)
        if rejected is not None:
            self._take_rows(rejected, is_rejected=True)
        if rows is not None:
            self._take_rows(rows, is_rejected=False)
        # The checkpoint holds what was sent before its lsn, so this is new.
        self.producers.take(delivery)

    def _take_rows(self, append: Append, *, is_rejected: bool) -> None:
        topic = (self._rejected if is_rejected else self._topics).get(append.topic)
        if topic is None:
            raise StateError(
                f"the data folder has rows of topic {append.topic}, "
                "which the pipeline does not declare",
                hint="declare it again, or give --data another folder",
            )
        rows = append.rows(topic.definition.schema)
        chunk = Chunk(
            append.partition, append.offset_first, append.tick_first, append.arrived_us, rows
        )
        # A chunk that the checkpoint has already is passed over by the topic.
        topic.append(chunk)
        if not is_rejected:
            self.next_tick = max(self.next_tick, chunk.tick_to)

    def _take_epoch(self, record: EpochRecord) -> None:
        if record.epoch <= self.epoch:
            return
        facts = tuple(self.facts[self.facts_taken : record.facts_to])
        cut = Cut(record.epoch, self.tick, record.tick_to, facts, record.time_us)
        steps = self.stepper.step(cut)
        if self._is_hash_known:
            python = {view.name: view.plan.python for view in self.stepper.views}
            _compare(record, steps, self.stepper.paused, python)
        for view in self.stepper.views:
            if view.name in steps:
                view.publish(steps[view.name], record.epoch)
        self.times.note(record.epoch, record.time_us)
        self.epoch, self.tick = record.epoch, record.tick_to
        self.facts_taken = record.facts_to
        self.epochs_stepped += 1


def _check_reaches(journal: Journal, from_lsn: int) -> None:
    """Raise unless the journal has all that the checkpoint does not.

    A crash leaves it so: what a checkpoint counts as its own is durable before, and the journal is
    only dropped after.
    """
    if from_lsn < journal.first_lsn:
        raise StateError(
            f"the journal begins with record {journal.first_lsn}, and the checkpoint needs those "
            f"from {from_lsn} on",
            hint="restore the missing files in journal/ from a copy",
        )
    if from_lsn > journal.next_lsn:
        raise StateError(
            f"the journal ends before record {journal.next_lsn}, and the checkpoint was taken "
            f"when it had all before {from_lsn}",
            hint="restore the newest file in journal/ from a copy",
        )


def _compare(
    record: EpochRecord,
    steps: Mapping[str, Stepped],
    paused: Mapping[str, str],
    python: Mapping[str, Sequence[str]],
) -> None:
    """Raise if a view did not repeat an epoch; `python` are the functions that each view calls."""
    for name, reason in paused.items():
        if record.sums.get(name, PAUSED) != PAUSED:
            raise StateError(
                f"view {name} does not repeat epoch {record.epoch}: {reason}",
                hint="start again; if that is of no help, give the view another name",
            )
    for name, stepped in steps.items():
        recorded = record.sums.get(name, (0, 0))
        found = checksum(stepped.delta) if len(stepped.delta) else (0, 0)
        # What was paused, and now is computed, has been mended by another version of the program.
        if found != recorded != PAUSED:
            raise StateError(
                f"view {name} does not repeat epoch {record.epoch}: recorded {recorded[0]} rows "
                f"with sum {recorded[1]:016x}, recomputed {found[0]} rows with sum {found[1]:016x}",
                hint=f"{_suspect(python[name])} may not be deterministic; after mending it, start "
                "with --rebuild to compute the view again from the log",
            )


def _suspect(functions: Sequence[str]) -> str:
    """Whose fault it most likely is that a view says something else of the same rows."""
    if functions:
        return f"Python code that it runs ({', '.join(functions)})"
    return "a function that it uses"
