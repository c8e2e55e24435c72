"""A pipeline at work over a data folder: recovered, running, checkpointed, closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headwater.clock import Clock
from headwater.errors import ConflictError, DefinitionError, StateError
from headwater.log.changes import ChangeLog
from headwater.log.topic import Topic
from headwater.operators.statement import PARALLEL_ROWS_MIN, Engine
from headwater.plan.pipeline import Pipeline, ViewPlan
from headwater.runtime.archiver import Archiver
from headwater.runtime.checkpoint import Checkpoints, Manifest
from headwater.runtime.checkpointer import Checkpointer
from headwater.runtime.columns import Columns, columns_of, is_same, pipeline_of
from headwater.runtime.compactor import Compactor
from headwater.runtime.consumers import Consumers
from headwater.runtime.evolution import versions_of
from headwater.runtime.evolving import evolve
from headwater.runtime.intake import Intake
from headwater.runtime.loop import EPOCH_ROWS_MAX, EpochLoop, Progress
from headwater.runtime.opening import Decision, Opened, Opening
from headwater.runtime.positions import Positions
from headwater.runtime.records import Kind, SchemaRecord
from headwater.runtime.recovery import Report
from headwater.runtime.relations import relations_of
from headwater.schema.compare import Comparison
from headwater.schema.versions import Version
from headwater.storage.blobs import Blobs
from headwater.storage.disk import Disk
from headwater.storage.journal import Journal

CHECKPOINT_BYTES = 64 << 20
CHECKPOINT_SECONDS = 30.0
# With a start of a second it is less than three. A recovery takes half to four fifths of what is
# counted where epochs are small, as nothing else runs then.
RECOVERY_SECONDS = 1.25
Planned = Callable[[Pipeline], tuple[ViewPlan, ...]]


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a runtime behaves; none of it changes an answer.

    Args:
        epoch_rows_max: The largest epoch.
        checkpoint_bytes: A checkpoint is due when the journal has grown by so much since the last.
        checkpoint_seconds: Or when so long has passed, if anything was written.
        recovery_seconds: Or in time before a recovery would take so long to do again what came
            since. Epochs wait for a checkpoint rather than let it take longer.
        rebuild: Views whose definition changed may be computed again from the log.
        memory_bytes: How much memory of its own the process may have: near it, checkpoints are
            taken sooner, and what they hold is mapped from their files. None: three quarters of
            what the machine has.
        is_synced: False leaves out every journal sync; only for measuring what they cost.
        report: Told of long work: what, how much is done, of how much.
    """

    epoch_rows_max: int = EPOCH_ROWS_MAX
    checkpoint_bytes: int = CHECKPOINT_BYTES
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    recovery_seconds: float = RECOVERY_SECONDS
    rebuild: bool = False
    memory_bytes: int | None = None
    is_synced: bool = True
    report: Report = _silent


class Runtime:
    """A running pipeline over one data folder.

    Args:
        pipeline: What was declared.
        plans: Its views, planned, in order.
        disk: The data folder.
        planned: Plans the views of another pipeline: of the same one, whose topics have other
            columns. Without it they may not have other columns than are declared.

    Opening recovers; `start` begins to compute; `close` takes a last checkpoint.
    """

    def __init__(  # noqa: PLR0913 - what runs, where, and with what
        self,
        pipeline: Pipeline,
        plans: tuple[ViewPlan, ...],
        disk: Disk,
        clock: Clock,
        settings: Settings,
        *,
        planned: Planned | None = None,
    ) -> None:
        self.pipeline = pipeline
        self._planned = planned
        self.clock = clock
        self.settings = settings
        self.started_us = clock.now_us()
        self._blobs = Blobs(disk)
        self._checkpoints = Checkpoints(self._blobs)
        self._engine = Engine(pipeline.functions, pipeline.steps)
        self.journal = Journal.open(disk, sync=settings.is_synced)
        try:
            self.decision = self._open(plans)
        except BaseException:
            self.journal.close()
            self._engine.close()
            raise

    def start(self) -> None:
        """Begin to run epochs."""
        self._archiver.start()
        self.loop.start()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, in words; empty when all is well."""
        failure = self.loop.failure
        # An idle loop does not notice that the journal is broken; whoever sends does.
        broken = [str(error) for error in (self.journal.failure, failure) if error is not None]
        found = [*broken, self._archiver.problem]
        paused = dict(self.loop.stepper.paused)
        found += [f"view {name} is paused: {why}" for name, why in paused.items()]
        if paused:
            found.append("no checkpoint is taken while a view is paused: the journal grows")
        return tuple(dict.fromkeys(problem for problem in found if problem))

    @property
    def notices(self) -> list[str]:
        """What was found at the start and is mended, in words."""
        torn_bytes = self.journal.torn_bytes
        torn = f"the journal: {torn_bytes:,} bytes of a last, unfinished write were cut off"
        return [*self._checkpoints.damage, *([torn] if torn_bytes else [])]

    def settle(self, timeout: float | None = None) -> bool:
        """Return when all that is visible in the log now is computed, committed and published.

        False when that took longer than `timeout` seconds.
        """
        with self.intake.changed:
            tick, facts = self.intake.visible_tick, len(self.intake.facts)
        return self.loop.wait_for(tick, facts, timeout)

    def close(self) -> None:
        """Stop, take a checkpoint, and let go of the folder."""
        self.consumers.close()
        self.loop.stop()
        self._archiver.stop()
        try:
            if self.loop.failure is None:
                self.checkpoint()
        finally:
            self._checkpointer.close()
            self.journal.close()
            self._engine.close()

    def evolve(self, name: str, change: Comparison, after: int) -> Version:
        """Give a topic other columns, between two epochs; durable on return.

        Senders wait while what they sent before is computed. Views are not asked.

        Args:
            change: What was compared with the newest version.
            after: That version's number.

        Raises:
            ConflictError: There is a newer version by now.
            StateError: The journal could not be written.
        """
        self.loop.between(lambda: self._evolve(name, change, after))
        return versions_of(self.topics[name].definition).numbered(after + 1)

    def _evolve(self, name: str, change: Comparison, after: int) -> None:
        definition = self.topics[name].definition
        versions = versions_of(definition)
        if versions.newest.number != after:
            raise ConflictError(
                f"topic {name} got version {versions.newest.number} of its columns meanwhile",
                hint="look at what it is now, and ask again",
            )
        # First without holding up anybody, then what came meanwhile.
        self.loop.catch_up()
        with self._archiver.hand:
            self._checkpointer.wait()
            with self.intake.held() as tick:
                self.loop.catch_up()
                version = change.version(versions.newest, tick=tick, time_us=self.clock.now_us())
                record = SchemaRecord(name, version)
                self.journal.append(Kind.SCHEMA, [record.encode()]).wait()
                columns = Columns(definition, versions.newest.ids, versions)
                now = columns.at(versions.then(version))
                evolve(self.loop.stepper, now, self._engine, self._stepwise)
                self._name_topics()
                self.loop.show()

    def checkpoint(self) -> None:
        """Make all that is published recoverable without the journal. Between epochs only."""
        self._checkpointer.take()

    def _open(self, plans: tuple[ViewPlan, ...]) -> Decision:
        manifest = self._checkpoints.newest(self.journal.first_lsn)
        columns = columns_of(self.pipeline, manifest, self.journal, self.started_us)
        known = pipeline_of(self.pipeline, columns)
        if not is_same(known, self.pipeline):
            plans = self._plans_of(known, [found.notice for found in columns.values()])
        self.pipeline, self.plans = known, plans
        self._archiver = Archiver(self._logs, self._kept_elsewhere, self._compact)
        self._compactor = Compactor(self.clock, self._read_to, lambda: self._archiver.is_stopping)
        opening = Opening(
            known,
            plans,
            self._blobs,
            self._engine,
            columns=columns,
            epoch_rows_max=self.settings.epoch_rows_max,
            report=self.settings.report,
            clock=self.clock,
        )
        self._stepwise = opening.with_ticks
        opened = self._opened(opening, manifest)
        self.topics, self.rejected = opened.topics, opened.rejected
        self._name_topics()
        recovery = opened.recovery
        self.epochs_recovered, self.recovery_seconds = recovery.epochs_stepped, recovery.seconds
        self.intake = Intake(self.journal, self.topics, self.rejected, self.clock)
        self.intake.restore(
            tick=recovery.next_tick,
            lsn=self.journal.next_lsn,
            facts=recovery.facts,
            producers=recovery.producers,
        )
        self.loop = EpochLoop(
            opened.stepper,
            self.intake,
            self.journal,
            self.clock,
            progress=Progress(recovery.epoch, recovery.tick, recovery.facts_taken),
            checkpoint=self._checkpoint_if_due,
            times=recovery.times,
            epoch_rows_max=self.settings.epoch_rows_max,
        )
        self.times = recovery.times
        self.positions = Positions(self.journal, recovery.standings.values())
        self.consumers = Consumers(relations_of(self), self.positions, self.clock)
        if recovery.next_tick - recovery.tick >= PARALLEL_ROWS_MIN:
            self._engine.open_ahead()
        self._checkpointer = Checkpointer(
            self,
            self._checkpoints,
            self._archiver,
            self._logs,
            owed_seconds=recovery.seconds,
        )
        decision = opened.decision
        self.filled_by = self._filled_by({} if manifest is None else manifest.sinks, decision)
        if manifest is None or decision.has_new_topics or decision.lines():
            # From here on the folder knows these definitions.
            self.checkpoint()
        return decision

    def _opened(self, opening: Opening, manifest: Manifest | None) -> Opened:
        kept, damage = self._checkpoints.kept(), self._checkpoints.damage
        try:
            return opening.run(
                manifest, kept, self.journal, self.started_us, rebuild=self.settings.rebuild
            )
        except StateError as error:
            if not damage:
                raise
            # Where newer checkpoints are damaged, that is what is to be mended.
            found = f"{'; '.join(damage)}; and from the one before it: {error.message}"
            raise StateError(found, place=error.place, hint=error.hint) from error

    def _filled_by(self, known: Mapping[str, str], decision: Decision) -> dict[str, str]:
        """For each sink the version of its view, by fingerprint, that has filled its store.

        Where the view is computed anew it is none: the store must be empty before it is filled
        again, and until then this stays so, from one start to the next. Of a sink that the folder
        does not know it is the version that there is.
        """
        anew = {*decision.build, *decision.rebuild}
        now = {p.name.lower(): "" if p.name in anew else p.fingerprint for p in self.plans}
        found = dict(known)
        for sink in self.pipeline.sinks:
            version = now[sink.source.lower()]
            found[sink.name] = version and known.get(sink.name, version)
        return found

    def _name_topics(self) -> None:
        """Note the topics as they are now in what is declared."""
        topics = tuple(self.topics[topic.name].definition for topic in self.pipeline.topics)
        self.pipeline = replace(self.pipeline, topics=topics)

    def _plans_of(self, pipeline: Pipeline, notices: list[str]) -> tuple[ViewPlan, ...]:
        """The views over topics that have other columns than were declared."""
        if self._planned is None:
            raise DefinitionError("; ".join(filter(None, notices)), hint="declare these columns")
        try:
            return self._planned(pipeline)
        except DefinitionError as error:
            hint = "; ".join(filter(None, notices))
            raise DefinitionError(error.message, place=error.place, hint=hint) from None

    def _checkpoint_if_due(self) -> None:
        self._checkpointer.take_if_due()

    def _kept_elsewhere(self) -> list[Topic]:
        """The topics of which files may be in an archive."""
        return [*self.topics.values(), *self.rejected.values()]

    def _compact(self, hand: threading.Lock) -> None:
        for topic in self.topics.values():
            self._compactor.turn(topic, hand)

    def _read_to(self, topic: Topic) -> list[int]:
        """Up to where every consumer group has read each partition of a topic."""
        return self.positions.read_to(
            topic.definition.name,
            [topic.next_offset(n) for n in range(topic.definition.partitions)],
        )

    def _logs(self) -> list[Topic | ChangeLog]:
        views = self.loop.stepper.views
        written = [log for view in views for log in view.logs()]
        return [*self.topics.values(), *self.rejected.values(), *written]
