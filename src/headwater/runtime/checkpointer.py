"""When a checkpoint is taken, and by whom: its cut between two epochs, the writing beside them.

Between two epochs the epoch loop notes what a checkpoint is to hold, which costs little: what
operators remember are immutable batches. A thread of the checkpointer's own writes them, flushes
the logs, and puts the manifest in place, while epochs go on. The logs may then hold more than the
manifest's epoch: recovery steps the epochs after it again, and a log passes over what it has.

One is due by what a recovery would do again (`runtime.pace`): it is begun well before that takes as
long as it may, and when it would take longer epochs wait until one is durable. So a recovery is
short however long the log is, how fast a backlog is computed, and how slow the disk. Where little
is done, the journal's length counts, and the time.

A checkpoint that cannot be written ends the loop at its next turn, as what later ones build on is
not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from headwater.cores import Behind
from headwater.log.changes import ChangeLog
from headwater.log.topic import Topic
from headwater.runtime.archiver import Archiver
from headwater.runtime.budget import Budget, Pressure
from headwater.runtime.checkpoint import Checkpoints, Manifest
from headwater.runtime.opening import definitions, hashing, schemas
from headwater.runtime.pace import Work
from headwater.runtime.rests import Rests

if TYPE_CHECKING:
    from headwater.runtime.runtime import Runtime

# A checkpoint is begun at this part of what a recovery may take: the rest is for writing it, which
# takes longer the more was done since, and epochs should not have to wait for it.
_BEGUN_SHARE = 1 / 2
# And it is written without pauses from this part on: soon epochs would have to wait for it.
_HURRIED_SHARE = 3 / 4
# Epochs that take longer are those of a backlog: nobody notices then that one is held up.
_QUICK_EPOCH_SECONDS = 0.1


class Checkpointer:
    """Takes the checkpoints of a runtime.

    Args:
        logs: Gives all logs that epochs and senders write.
        owed_seconds: How long it took to do again what came after the last checkpoint.

    """

    def __init__(
        self,
        runtime: Runtime,
        checkpoints: Checkpoints,
        archiver: Archiver,
        logs: Callable[[], Sequence[Topic | ChangeLog]],
        *,
        owed_seconds: float = 0.0,
    ) -> None:
        self._runtime = runtime
        self._checkpoints = checkpoints
        self._archiver = archiver
        self._logs = logs
        self._writer = Behind("headwater-checkpoint")
        self._rests = Rests(runtime.clock)
        self._budget = Budget(runtime.settings.memory_bytes)
        self._noted_at = runtime.clock.monotonic()
        # What was done when the cut of the last checkpoint was made, and of the last durable one.
        self._work_cut = self._work_durable = Work(-owed_seconds, *self._journaled())

    def take(self) -> None:
        """Take a checkpoint; it is durable on return. Between epochs only.

        Raises:
            StateError: It, or the one before it, could not be written.

        """
        self.wait()
        self._begin()()

    def take_if_due(self) -> None:
        """Begin a checkpoint when one is due and none is being written. Between epochs only.

        Raises:
            StateError: The one before could not be written.

        """
        pressure = self._budget.pressure()
        if pressure is Pressure.NOW:
            self._ease()
            return
        if self._writer.is_busy:
            if self._is_recovery_long():
                self.wait()
            elif self._owed_seconds() >= self._runtime.settings.recovery_seconds * _HURRIED_SHARE:
                self._rests.hurry()
        if not self._writer.is_busy and (self._is_due() or pressure is Pressure.SOON):
            self.wait()
            is_quick = self._runtime.loop.pace.epoch_seconds < _QUICK_EPOCH_SECONDS
            write = self._begin(maps=pressure is Pressure.SOON)
            self._rests.begin(is_hurried=not is_quick or pressure is Pressure.SOON)
            self._writer.run(write)
            if self._is_recovery_long():
                self.wait()

    def _is_due(self) -> bool:
        """Whether to begin one: by what a recovery would do again, the journal, or the time."""
        settings, work = self._runtime.settings, self._work()
        is_time = self._runtime.clock.monotonic() - self._noted_at >= settings.checkpoint_seconds
        grown = work.size_bytes - self._work_cut.size_bytes
        since, limit = work.seconds_since(self._work_cut), settings.recovery_seconds
        return (
            since >= limit * _BEGUN_SHARE
            or grown >= settings.checkpoint_bytes
            or (is_time and (grown > 0 or self._has_expired()))
        )

    def _is_recovery_long(self) -> bool:
        """Whether a recovery might take too long after one more epoch."""
        runtime = self._runtime
        if runtime.loop.stepper.paused:
            # No checkpoint is taken then, and nothing comes of waiting.
            return False
        owed = self._owed_seconds() + runtime.loop.pace.epoch_seconds
        return owed >= runtime.settings.recovery_seconds

    def _owed_seconds(self) -> float:
        """About how long a recovery would take from the last durable checkpoint."""
        return self._work().seconds_since(self._work_durable)

    def _work(self) -> Work:
        return Work(self._runtime.loop.pace.seconds, *self._journaled())

    def _journaled(self) -> tuple[int, int]:
        journal = self._runtime.journal
        return journal.durable_lsn, journal.written_bytes

    def _ease(self) -> None:
        """Have what is remembered lie in files: stored by one checkpoint, mapped by the next."""
        self.wait()
        for _ in range(2):
            self._begin(maps=True)()
        self._budget.ease()

    def wait(self) -> None:
        """Return when none is being written.

        Raises:
            StateError: The one before could not be written.

        """
        self._rests.hurry()
        self._writer.wait()

    def close(self) -> None:
        """Wait for what is being written."""
        self._rests.hurry()
        self._writer.close()

    def _begin(self, *, maps: bool = False) -> Callable[[], None]:
        """Note what a checkpoint is to hold; return what writes it.

        With `maps`, what an earlier one has stored leaves memory.

        While a view is paused only memory is freed. Its state is half an epoch ahead of what it
        published; from the checkpoint before, recovery comes to the same end, with the same changes
        at the same offsets, or further, once what raised is mended.
        """
        runtime = self._runtime
        runtime.loop.finish()
        self._noted_at, self._work_cut = runtime.clock.monotonic(), self._work()
        work = self._work_cut
        progress, stepper = runtime.loop.progress, runtime.loop.stepper
        if stepper.paused:
            return self._flush
        with runtime.intake.changed:
            lsn, tick = runtime.intake.visible_lsn, runtime.intake.visible_tick
            facts = [asdict(fact) for fact in runtime.intake.facts]
            producers = runtime.intake.producers.copy()
        # After the cut, so that they have at least what the journal says before it.
        consumers, epoch_times = runtime.positions.save(), runtime.times.save()
        sinks = dict(runtime.filled_by)
        saver = self._checkpoints.saver(maps=maps)
        tables = {name: table.save(saver) for name, table in stepper.tables.items()}
        views = {view.name: view.save(saver) for view in stepper.views}
        watermarks = {name: mark.save() for name, mark in stepper.watermarks.items()}

        def write() -> None:
            saver.write(self._rests.pause)
            self._flush()
            # Recovery from this checkpoint reads no row before its epoch's end; one before it
            # names its own files, which stay as long as it does.
            self._retain(progress.tick)
            manifest = Manifest(
                generation=saver.generation,
                epoch=progress.epoch,
                tick=progress.tick,
                facts_taken=progress.facts,
                facts=facts,
                lsn=lsn,
                next_tick=tick,
                hashing=hashing(),
                definitions=definitions(runtime.topics),
                topics={name: topic.manifest() for name, topic in runtime.topics.items()},
                rejected={name: topic.manifest() for name, topic in runtime.rejected.items()},
                tables=tables,
                views={v.name: views[v.name] | v.log_manifests() for v in stepper.views},
                watermarks=watermarks,
                consumers=consumers,
                epoch_times=epoch_times,
                schemas=schemas(runtime.topics),
                producers=producers.save(),
                sinks=sinks,
            )
            lsn_needed = self._checkpoints.put(manifest)
            self._work_durable = work
            runtime.journal.drop_before(lsn_needed)
            self._remove_unreferenced()
            self._archiver.wake()

        return write

    def _flush(self) -> None:
        for log in self._logs():
            log.flush()
            self._rests.pause()

    def _has_expired(self) -> bool:
        """Whether rows are to be let go, though nothing was written."""
        now_us, tick_to = self._runtime.clock.now_us(), self._runtime.loop.progress.tick
        return any(
            topic.has_expired(now_us, tick_to) for topic in self._runtime.topics.values()
        ) or any(topic.has_expired(now_us, 1 << 62) for topic in self._runtime.rejected.values())

    def _retain(self, tick_to: int) -> None:
        """Let go of the rows that their topics need not keep. Of rejected rows none is read again.

        They are gone once the manifest that is made next is in place.
        """
        now_us = self._runtime.clock.now_us()
        for topic in self._runtime.topics.values():
            topic.retain(now_us, tick_to)
        for topic in self._runtime.rejected.values():
            topic.retain(now_us, 1 << 62)

    def _remove_unreferenced(self) -> None:
        """Delete segment files that were replaced and that no kept checkpoint names."""
        kept = self._checkpoints.kept()
        tick_to = min(manifest.tick for manifest in kept)
        for name, topic in self._runtime.topics.items():
            manifests = [m.topics.get(name) for m in kept]
            topic.remove_unreferenced(*manifests)
            topic.note_kept(manifests, tick_to)
        for name, topic in self._runtime.rejected.items():
            manifests = [m.rejected.get(name) for m in kept]
            topic.remove_unreferenced(*manifests)
            topic.note_kept(manifests, 1 << 62)
        for view in self._runtime.loop.stepper.views:
            saved = [m.views.get(view.name, {}) for m in kept]
            view.changes.remove_unreferenced(*(value.get("changes") for value in saved))
            if view.late is not None:
                view.late.remove_unreferenced(*(value.get("late") for value in saved))
            view.failed.remove_unreferenced(*(value.get("failed") for value in saved))
