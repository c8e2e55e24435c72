"""One life of a pipeline: opened, sent to, looked at, and then closed, refused or killed.

All of it runs as in production, threads and all, over a disk and a clock of the simulation's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

import pyarrow as pa

from headwater.connectors.parquet import ParquetSink
from headwater.delta.watermark import AFTER_ALL
from headwater.errors import HeadwaterError, StateError
from headwater.plan.pipeline import SinkDefinition
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.sinks import SinkRunner
from headwater.storage.blobs import Blobs
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk
from headwater.testing.turns import Ended, Turns
from simulation.machine import Fault, Machine
from simulation.pipelines import TIMED, Drawn
from simulation.sending import START, Batch, Known, Sender

ALL = 1 << 40


class Wrong(AssertionError):  # noqa: N818 - it is raised as a judgement
    """A law does not hold."""


@dataclass
class Seen:
    """What readers have seen, over all lives.

    Args:
        changes: What each view had published.
        epoch: The newest that was visible.

    """

    changes: dict[str, pa.Table] = field(default_factory=dict)
    epoch: int = 0


@dataclass
class World:
    """What outlives a life."""

    disk: FakeDisk
    store: FakeDisk
    clock: ManualClock
    senders: list[Sender]
    seen: Seen = field(default_factory=Seen)
    trace: deque[str] = field(default_factory=deque)


class Life:
    """A runtime, and what is done with it.

    Args:
        drawn: The pipeline.

    """

    def __init__(self, world: World, drawn: Drawn, turns: Turns, fault: Fault, random: Random):
        self.world = world
        self.drawn = drawn
        self.turns = turns
        self.random = random
        self.trouble: list[str] = []
        self.machine = Machine(world.disk, turns, fault, random, world.trace)
        self.store = Machine(world.store, turns, Fault("none"), random, world.trace)
        settings = Settings(
            epoch_rows_max=random.choice([5, 40, 1000]),
            checkpoint_bytes=random.choice([2_000, 6_000, 64 << 20]),
            checkpoint_seconds=random.choice([1.0, 5.0, 30.0]),
            rebuild=True,
        )
        compiled = drawn.compiled
        self.runtime = Runtime(
            compiled.pipeline, compiled.plans, self.machine, world.clock, settings
        )
        self.sinks: list[SinkRunner] = []
        decision = self.runtime.decision
        for name in (*decision.build, *decision.rebuild, *decision.drop):
            world.seen.changes.pop(name, None)
            for path in world.store.paths():
                if path.startswith(f"{name}/"):
                    world.store.damage(path, None)
        self.ingest = Ingest(self.runtime.intake, world.clock)

    def start(self) -> None:
        """Begin to compute, and to fill the sinks."""
        self.runtime.start()
        for view in self.runtime.loop.stepper.views[-1:]:
            sink = ParquetSink(
                Blobs.open(_Below(self.store, view.name)),
                is_append_only=view.plan.root.append_only,
            )
            runner = SinkRunner(
                SinkDefinition(f"{view.name}_parquet", view.name, "parquet", {}),
                view,
                sink,
                self.world.clock,
                published=self.runtime.loop.published,
                rows_max=self.random.choice([3, 1000]),
                every_seconds=self.random.choice([0.0, 2.0]),
            )
            self.sinks.append(runner)
            runner.start()

    def live(self) -> None:
        """Have all senders send, until they are done or something is wrong."""
        for sender in self.world.senders:
            random = Random(self.random.random())
            self.turns.begin(lambda sender=sender, random=random: self.send(sender, random), "send")
        for _ in range(self.random.randint(2, 20)):
            self.turns.sleep(self.random.choice([0.001, 0.02, 0.5, 3.0]))
            if self.is_in_trouble():
                return
            self.look()
            self.act()

    def act(self) -> None:
        """Something that a user or the world does now and then."""
        clock = self.world.clock
        what = self.random.random()
        try:
            if what < 0.1:
                clock.set_wall(clock.now_us() + self.random.choice([-3600, -2, 5, 86_400]) * 10**6)
            elif what < 0.2:
                at = self.random.randint(0, 200) * 10**6
                until = int((START - _EPOCH).total_seconds() * 1e6) + at
                self.runtime.intake.advance("clicks", until)
            elif what < 0.3:
                self.runtime.settle(20.0)
        except StateError as error:
            self.trouble.append(str(error))

    def is_in_trouble(self) -> bool:
        """Whether whoever runs the pipeline would stop it now."""
        return bool(self.trouble or self.runtime.journal.failure or self.runtime.loop.failure)

    def send(self, sender: Sender, random: Random) -> None:
        """A sender's thread."""
        for batch in sender.batches:
            if batch.known is Known.UNSURE and self.has(batch):
                batch.known = Known.ACKNOWLEDGED
            if batch.known is Known.ACKNOWLEDGED:
                continue
            self.turns.sleep(random.choice([0.0, 0.0, 0.01, 1.0]))
            try:
                self.send_batch(batch)
            except StateError as error:
                self.trouble.append(str(error))
                return

    def send_batch(self, batch: Batch) -> None:
        definition = self.runtime.topics[batch.topic].definition
        batch.known = Known.UNSURE
        receipt = self.ingest.send(definition, batch.body(), partition=batch.partition)
        if (receipt.accepted, receipt.rejected) != (len(batch.rows), len(batch.bad)):
            raise Wrong(f"{receipt} for {len(batch.rows)} good rows and {len(batch.bad)} bad ones")
        batch.known = Known.ACKNOWLEDGED

    def has(self, batch: Batch) -> bool:
        """Whether the log has a batch; it has all of it, or nothing."""
        runtime = self.runtime
        rows = runtime.topics[batch.topic].read_offsets(batch.partition, 0, ALL, ["id"])
        found = [id_ for id_ in rows.column("id").to_pylist() if id_ in batch.rows]
        records = runtime.rejected[batch.topic].read_offsets(0, 0, ALL, ["record"])
        known = [record.decode() for record in records.column("record").to_pylist()]
        bad = [line for line in known if line in batch.bad]
        if sorted(found) not in ([], sorted(batch.rows)) or sorted(bad) not in (
            [],
            sorted(batch.bad),
        ):
            raise Wrong(f"a batch of {batch.topic} is there in part: {found}, {bad}")
        if batch.rows and batch.bad and bool(found) != bool(bad):
            raise Wrong(f"of a batch of {batch.topic} only one half is there: {found}, {bad}")
        return bool(found or bad) or not (batch.rows or batch.bad)

    def look(self) -> None:
        """Read what is published: what was there is there, unchanged."""
        seen = self.world.seen
        visible = self.runtime.loop.visible
        if visible.epoch < seen.epoch:
            raise Wrong(f"epoch {seen.epoch} was visible, and now it is {visible.epoch}")
        seen.epoch = visible.epoch
        for view in self.runtime.loop.stepper.views:
            table = view.changes.read(0, ALL)
            before = seen.changes.get(view.name)
            if before is not None:
                again = table.slice(0, before.num_rows)
                if not again.combine_chunks().equals(before.combine_chunks()):
                    raise Wrong(f"changes of {view.name} that were seen are not as they were")
            seen.changes[view.name] = table

    def finish(self) -> None:
        """Let all windows close and all be computed."""
        for topic in TIMED:
            self.runtime.intake.advance(topic, AFTER_ALL)
        if not self.runtime.settle(600.0):
            raise Wrong("it does not settle")

    def close(self) -> None:
        """Stop in the order in which a pipeline is stopped."""
        self.runtime.loop.stop()
        for sink in self.sinks:
            sink.stop()
        self.runtime.close()


_EPOCH = START.replace(year=1970, month=1, day=1)


class _Below:
    """A folder of a machine's disk, as a disk."""

    def __init__(self, machine: Machine, folder: str) -> None:
        self._machine = machine
        self._folder = folder

    def __getattr__(self, name: str):
        def call(path: str, *rest):
            below = f"{self._folder}/{path}" if path else self._folder
            if name == "rename":
                rest = (f"{self._folder}/{rest[0]}",)
            found = getattr(self._machine, name)(below, *rest)
            if name == "list":
                return [each.removeprefix(f"{self._folder}/") for each in found]
            return found

        return call


def lived(
    world: World, drawn: Drawn, fault: Fault, random: Random, *, then=None, closed=None
) -> bool:
    """Live one life, and leave the disks as the next finds them.

    Args:
        then: Called when all was sent, before the end of the life; None when that is to come.
        closed: Called after that life.

    Returns:
        Whether `then` was called, and nothing went wrong.

    """
    turns = Turns(random, world.clock)
    is_done = False
    with turns.patched():
        life = None
        try:
            life = Life(world, drawn, turns, fault, random)
            life.start()
            life.live()
            if then is not None and not life.is_in_trouble():
                turns.block(lambda: life.is_in_trouble() or _is_sent(world), 600.0)
                if _is_sent(world):
                    life.finish()
                    life.look()
                    then(life)
                    is_done = True
            life.close()
            if is_done and closed is not None:
                closed(life)
        except Ended:
            pass
        except HeadwaterError as error:
            if not fault.is_refusal or (life is not None and not life.machine.is_refusing):
                raise Wrong(f"nothing was refused, and yet: {error}") from error
        finally:
            turns.end()
    if turns.errors:
        raise turns.errors[0]
    if life is not None and life.trouble and not fault.is_refusal:
        raise Wrong(f"nothing was refused, and yet: {life.trouble[0]}")
    is_power = fault.kind in ("off", "off within") or random.random() < 0.5
    world.disk.room_bytes = None
    world.disk = world.disk.crash() if is_power else world.disk.kill()
    world.store = world.store.crash() if is_power else world.store.kill()
    return is_done


def _is_sent(world: World) -> bool:
    return all(sender.is_done for sender in world.senders)
