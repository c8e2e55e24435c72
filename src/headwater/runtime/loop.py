"""The loop that turns rows in the log into committed epochs.

One thread: wait until something is visible in the log, take all of it (up to a bound) as an epoch,
compute it, journal it, and, when the journal has synced, publish it. An epoch is therefore as small
as the traffic is light, and grows with the backlog by itself. An event is visible in results one
sync after it was computed.

The epoch's journal record holds all that the computation depended on, and a checksum of what came
out: recovery steps through the records again (`runtime.recovery`).

An epoch that put out much, or has more behind it, is committed and published by a second thread
while the next ones are computed (`runtime.commits`): no step depends on what changes then. Epochs
are committed in their order all the same. And while a large epoch is computed, files that the next
one reads are opened and checked.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from headwater.clock import Clock
from headwater.cores import Behind
from headwater.errors import DefinitionError, HeadwaterError, StateError
from headwater.heap import HEAP
from headwater.runtime.checksum import checksum
from headwater.runtime.commits import Commit, Commits
from headwater.runtime.content import Content
from headwater.runtime.epoch_times import EpochTimes
from headwater.runtime.intake import Intake
from headwater.runtime.pace import Pace
from headwater.runtime.records import PAUSED, EpochRecord, Kind
from headwater.runtime.senders import SenderWatermark
from headwater.runtime.stepper import Cut, Stepper
from headwater.runtime.view import Stepped
from headwater.storage.journal import Journal
from headwater.storage.ticket import Ticket

EPOCH_ROWS_MAX = 1_500_000
# Rows may be wide: an epoch takes in about so many bytes at most.
EPOCH_BYTES_MAX = 256 << 20
# An epoch that put out, or took in, so many rows is worth a second thread, and room for its arrays.
_LARGE_ROWS_MIN = 1 << 16
# Where so many rows wait behind a large epoch, their files are opened ahead.
_AHEAD_ROWS_MIN = 1 << 16
Sample = tuple[float, int, int, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Visible:
    """What readers see: all views and tables after the same epoch."""

    epoch: int
    tick: int
    facts: int
    contents: dict[str, Content]


@dataclass(slots=True)
class Progress:
    """How far the engine has computed: the position after the last epoch it stepped."""

    epoch: int = 0
    tick: int = 0
    facts: int = 0


class EpochLoop:
    """Runs epochs until it is stopped.

    Args:
        checkpoint: Called between epochs; takes a checkpoint when one is due.
        times: Is told when epochs were computed.

    `published` is notified after each publication and when the loop has failed.
    """

    def __init__(  # noqa: PLR0913 - what it drives, and its settings by keyword
        self,
        stepper: Stepper,
        intake: Intake,
        journal: Journal,
        clock: Clock,
        *,
        progress: Progress,
        checkpoint: Callable[[], None],
        times: EpochTimes | None = None,
        epoch_rows_max: int = EPOCH_ROWS_MAX,
    ) -> None:
        self.stepper = stepper
        self.progress = progress
        self.pace = Pace(clock)
        self.published = threading.Condition()
        self.failure: HeadwaterError | BaseException | None = None
        self._intake = intake
        self._journal = journal
        self._clock = clock
        self._checkpoint = checkpoint
        self._times = times or EpochTimes()
        self._epoch_rows_max = epoch_rows_max
        self._commits = Commits()
        self._ahead = Behind("headwater-ahead")
        self._stopping = False
        self._thread: threading.Thread | None = None
        # Calls that wait for their turn between two epochs.
        self._calls: deque[tuple[Callable[[], None], Future[None]]] = deque()
        # Rows of topics taken in and of views put out since the start, and about once a second
        # (monotonic seconds, epoch, tick, counts), for rates.
        self.counts: Counter[str] = Counter()
        self.samples: deque[Sample] = deque(maxlen=12)
        tables = {name: table.content() for name, table in stepper.tables.items()}
        self.visible = self._look(progress, tables)

    def start(self) -> None:
        """Begin to run epochs in a thread of its own."""
        self.watch_silence()
        self._thread = threading.Thread(target=self._run, name="headwater-epochs", daemon=True)
        self._thread.start()

    def watch_silence(self) -> None:
        """Count everybody's silence from now."""
        marks = self.stepper.watermarks
        senders = {n: m.active for n, m in marks.items() if isinstance(m, SenderWatermark)}
        self._intake.watch_silence_from(self._clock.now_us(), senders, self.progress.tick)

    def stop(self) -> None:
        """End after the epoch in hand, and wait for that."""
        with self._intake.changed:
            self._stopping = True
            self._intake.changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._ahead.close()
        self._commits.close()

    def wait_for(self, tick: int, facts: int, timeout: float | None = None) -> bool:
        """Return once all before `tick` and `facts` is published; False after `timeout` seconds.

        Raises:
            HeadwaterError: The loop has failed and will not get there.
        """
        with self.published:
            done = self.published.wait_for(
                lambda: (
                    self.failure is not None
                    or (self.visible.tick >= tick and self.visible.facts >= facts)
                ),
                timeout,
            )
        if self.failure is not None:
            raise self.failure
        return done

    def run_epoch(self) -> bool:
        """Compute one epoch; False when there was nothing to take in, and all is committed."""
        self._ahead.wait()
        cut = self._cut()
        if cut is None:
            self.finish()
            return False
        if cut.tick_to - cut.tick_from >= _LARGE_ROWS_MIN:
            HEAP.make_room()
            self._read_ahead(cut.tick_to)
        before = self._clock.monotonic()
        with self.pace.working():
            steps = self.stepper.step(cut)
        self.pace.note(self.stepper.rows_read, self._clock.monotonic() - before)
        self.progress = Progress(cut.epoch, cut.tick_to, self.progress.facts + len(cut.facts))
        commit = self._commit_of(cut, steps)
        if self._is_worth_a_thread(cut, steps):
            self._failing(partial(self._commits.add, commit))
        else:
            self.finish()
            commit.run()
        return True

    def between(self, call: Callable[[], None]) -> None:
        """Have a call made between two epochs, by the thread that runs them; return when it is.

        Raises:
            DefinitionError: What the call raised. Whatever else it raises fails the loop, too.
            HeadwaterError: The loop has ended, or has failed.

        """
        done: Future[None] = Future()
        with self._intake.changed:
            if self.failure is not None or self._stopping:
                raise self.failure or StateError("the pipeline is being closed")
            self._calls.append((call, done))
            self._intake.changed.notify_all()
        if self._thread is None:
            # The epochs are run by hand.
            self._make_calls()
        done.result()

    def catch_up(self) -> None:
        """Compute and commit what is visible now. Only by the thread that runs epochs."""
        with self._intake.changed:
            tick, facts = self._intake.visible_tick, len(self._intake.facts)
        while self.progress.tick < tick or self.progress.facts < facts:
            self.run_epoch()
        self._ahead.wait()
        self.finish()

    def show(self) -> None:
        """Show readers what tables and views hold now. Between epochs only."""
        tables = {name: table.content() for name, table in self.stepper.tables.items()}
        with self.published:
            self.visible = self._look(self.progress, tables)
            self.published.notify_all()

    def finish(self) -> None:
        """Return when what was computed is committed and published.

        Raises:
            BaseException: It could not be. Then the loop has failed: its state is ahead of what the
                journal has, and no checkpoint may be taken of it.

        """
        self._failing(self._commits.wait)

    def _failing(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            self.failure = error
            raise

    def rates(self) -> tuple[float, float, dict[str, float]]:
        """Over the last seconds: epochs and rows a second, and rows a second by name."""
        now = self._clock.monotonic()
        recent = [sample for sample in list(self.samples) if now - sample[0] <= 5.0]
        if not recent:
            return 0.0, 0.0, {}
        at, epoch, tick, counts = recent[0]
        seconds = max(now - at, 0.5)
        by_name = {n: (c - counts.get(n, 0)) / seconds for n, c in self.counts.copy().items()}
        progress = self.progress
        return (progress.epoch - epoch) / seconds, (progress.tick - tick) / seconds, by_name

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._sample()
                # Also before the first: a recovery may have taken as long as it may.
                self._checkpoint()
                if not self.run_epoch():
                    self._wait_for_work()
                self._make_calls()
            self.finish()
        except BaseException as error:
            # Whatever it is, computing on would be guessing: readers get the error, a restart
            # recovers.
            self.failure = error
            with self.published:
                self.published.notify_all()
        finally:
            self._refuse_calls()

    def _make_calls(self) -> None:
        """Make the calls that wait for their turn."""
        while self._calls:
            call, done = self._calls.popleft()
            try:
                call()
            except DefinitionError as error:
                done.set_exception(error)
            except BaseException as error:
                self.failure = error
                done.set_exception(error)
                raise
            else:
                done.set_result(None)

    def _refuse_calls(self) -> None:
        """Tell those whose call was not made."""
        with self._intake.changed:
            self._stopping = True
            waiting, self._calls = self._calls, deque()
        for _, done in waiting:
            done.set_exception(self.failure or StateError("the pipeline is being closed"))

    def _cut(self) -> Cut | None:
        with self._intake.changed:
            tick_from = self.progress.tick
            tick_to = self._end_of(tick_from, self._intake.visible_tick)
            facts = tuple(
                fact for fact in self._intake.facts[self.progress.facts :] if fact.tick <= tick_to
            )
        now_us = self._clock.now_us()
        if tick_to == tick_from and not facts and not self._is_woken(now_us):
            return None
        return Cut(self.progress.epoch + 1, tick_from, tick_to, facts, now_us)

    def _end_of(self, tick_from: int, tick_max: int) -> int:
        """Where an epoch is to end that begins at `tick_from`, as things are now."""
        rows_max = min(
            self._epoch_rows_max, self._intake.rows_in(EPOCH_BYTES_MAX), self.pace.rows_max
        )
        return self.stepper.end_of(tick_from, rows_max, tick_max)

    def _read_ahead(self, tick_from: int) -> None:
        """Have files opened and checked that the epoch from here on reads, if much waits.

        That epoch may be cut otherwise in the end: then it opens some of its files itself.
        """
        tick_max = self._intake.visible_tick
        if tick_max - tick_from >= _AHEAD_ROWS_MIN:
            self._ahead.run(partial(self._make_ready, tick_from, tick_max))

    def _make_ready(self, tick_from: int, tick_max: int) -> None:
        try:
            tick_to = self._end_of(tick_from, tick_max)
        except StateError:
            # A file is damaged: whoever cuts or computes that epoch finds that, and says so.
            return
        due = deque(self.stepper.unready(tick_from, tick_to))
        while due and not self._stopping:
            due.extend(due.popleft()())

    def _is_woken(self, now_us: int) -> bool:
        """Whether rows come or go by now, whatever was sent."""
        wakes_at = self.stepper.wakes_at()
        return wakes_at is not None and wakes_at <= now_us

    def _is_worth_a_thread(self, cut: Cut, steps: Mapping[str, Stepped]) -> bool:
        """Whether an epoch may and should be committed while the next is computed.

        It should if it put out much, or took in much and more waits: then a sync is worth hiding.
        """
        rows = sum(len(stepped.delta) for stepped in steps.values())
        if cut.tick_to < self._intake.visible_tick:
            rows += cut.tick_to - cut.tick_from
        return rows >= _LARGE_ROWS_MIN and all(
            view.is_apart for view in self.stepper.views if view.name in steps
        )

    def _commit_of(self, cut: Cut, steps: Mapping[str, Stepped]) -> Commit:
        """What puts an epoch into the journal and then shows it, also when steps have gone on."""
        stepper, progress = self.stepper, self.progress
        paused, rows_taken = dict.fromkeys(stepper.paused, PAUSED), stepper.rows_taken
        tables = {name: table.content() for name, table in stepper.tables.items()}

        def record() -> Ticket:
            with self.pace.working():
                sums = {n: checksum(step.delta) for n, step in steps.items() if len(step.delta)}
            record = EpochRecord(
                progress.epoch, progress.tick, progress.facts, cut.time_us, sums | paused
            )
            return self._journal.append(Kind.EPOCH, [record.encode()])

        def publish() -> None:
            with self.pace.working():
                for view in stepper.views:
                    if view.name in steps:
                        view.publish(steps[view.name], cut.epoch)
                        self.counts[view.name] += len(steps[view.name].delta)
            self.counts.update(rows_taken)
            self._times.note(cut.epoch, cut.time_us)
            with self.published:
                self.visible = self._look(progress, tables)
                self.published.notify_all()

        return Commit(record, publish)

    def _wait_for_work(self) -> None:
        seconds = _soonest(self._intake.note_idle(), 1.0)
        wakes_at = self.stepper.wakes_at()
        if wakes_at is not None:
            seconds = min(seconds, max(0.0, (wakes_at - self._clock.now_us()) / 1e6))
        with self._intake.changed:
            has_work = self._intake.changed.wait_for(self._has_work, timeout=seconds)
        if not has_work:
            HEAP.give_back()

    def _has_work(self) -> bool:
        return (
            self._stopping
            or bool(self._calls)
            or self._intake.visible_tick > self.progress.tick
            or len(self._intake.facts) > self.progress.facts
        )

    def _look(self, progress: Progress, tables: Mapping[str, Content]) -> Visible:
        views = {view.name: view.content() for view in self.stepper.views}
        return Visible(progress.epoch, progress.tick, progress.facts, {**views, **tables})

    def _sample(self) -> None:
        now = self._clock.monotonic()
        if not self.samples or now - self.samples[-1][0] >= 1.0:
            counts = dict(self.counts)
            self.samples.append((now, self.progress.epoch, self.progress.tick, counts))
            self._intake.note_idle()


def _soonest(seconds: float | None, most: float) -> float:
    return most if seconds is None else min(seconds, most)
