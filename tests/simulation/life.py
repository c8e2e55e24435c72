"""One life of a pipeline: opened, sent to, looked at, and then closed, refused or killed.

All of it runs as in production, threads and all, over a disk and a clock of the simulation's.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from headwater.connectors.parquet import ParquetSink
from headwater.connectors.sink import Sink
from headwater.delta.watermark import AFTER_ALL
from headwater.errors import DefinitionError, HeadwaterError, StateError
from headwater.plan.pipeline import SinkDefinition
from headwater.run.compile import compile_pipeline
from headwater.run.evolve import evolved
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import RECOVERY_SECONDS, Runtime, Settings
from headwater.runtime.sinks import SinkRunner
from headwater.runtime.view import ViewRunner
from headwater.storage.blobs import Blobs
from headwater.testing.standins import patched
from headwater.testing.turns import Ended, Turns
from simulation import consuming, delivering, keeping, reading
from simulation.machine import ARCHIVE, Fault, Machine
from simulation.pipelines import STEPS, TIMED, Drawn, columns_of
from simulation.sending import START
from simulation.stores import StoreSink
from simulation.world import ALL, World, Wrong


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
        self.is_closing = False
        world.store.is_well = False
        self.machine = Machine(world.disk, turns, fault, random, world.trace)
        self.files = Machine(world.files, turns, Fault("none"), random, world.trace)
        self.lake = Machine(world.lake, turns, Fault("none"), random, world.trace)
        ARCHIVE.machine = self.lake
        settings = Settings(
            epoch_rows_max=random.choice([5, 40, 1000]),
            checkpoint_bytes=random.choice([2_000, 6_000, 64 << 20]),
            checkpoint_seconds=random.choice([1.0, 5.0, 30.0]),
            recovery_seconds=random.choice([RECOVERY_SECONDS, 60.0]),
            rebuild=True,
        )
        compiled = drawn.compiled
        texts = {plan.name: plan.fingerprint for plan in compiled.plans}
        # A start that ends before it has said so may have built these anew.
        before = world.fingerprints
        world.unsure |= {n for n in texts | before if texts.get(n) != before.get(n)}
        self.runtime = Runtime(
            compiled.pipeline,
            compiled.plans,
            self.machine,
            world.clock,
            settings,
            planned=lambda pipeline: compile_pipeline(pipeline).plans,
        )
        self.sinks: list[SinkRunner] = []
        self.members: list[Callable[[], bool]] = []
        decision = self.runtime.decision
        anew = {*decision.build, *decision.rebuild, *decision.drop, *world.unsure}
        world.fingerprints, world.unsure = texts, set()
        for name in sorted(anew):
            world.seen.changes.pop(name, None)
            world.store.empty(name)
            for path in world.files.paths():
                if path.startswith(f"{name}/"):
                    world.files.damage(path, None)
        self.ingest = Ingest(self.runtime.intake, world.clock)
        self.note_columns()

    def start(self) -> None:
        """Begin to compute, and to fill the sinks."""
        self.runtime.start()
        for view in self.runtime.loop.stepper.views[-1:]:
            kind = "store" if self.drawn.number % 3 else "files"
            runner = SinkRunner(
                SinkDefinition(f"{view.name}_{kind}", view.name, kind, {}),
                view,
                self.sink(view, kind),
                self.world.clock,
                published=self.runtime.loop.published,
                rows_max=self.random.choice([3, 1000]),
                every_seconds=self.random.choice([0.0, 2.0]),
                admit=lambda position, view=view: _admit(view, position),
            )
            self.sinks.append(runner)
            runner.start()

    def sink(self, view: ViewRunner, kind: str) -> Sink:
        """A sink for a view."""
        if kind == "store":
            return StoreSink(self.world.store, view.name, self.turns, self.random)
        blobs = Blobs.open(_Below(self.files, view.name))
        return ParquetSink(blobs, is_append_only=view.plan.root.append_only)

    def live(self) -> None:
        """Have all senders send, until they are done or something is wrong."""
        for sender in self.world.senders:
            random = Random(self.random.random())
            self.turns.begin(
                lambda sender=sender, random=random: delivering.send_all(self, sender, random),
                "send",
            )
        for group in self.world.groups:
            consuming.join(self, group)
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
                self.world.note_time()
                clock.set_wall(clock.now_us() + self.random.choice([-3600, -2, 5, 86_400]) * 10**6)
            elif what < 0.2:
                at = self.random.randint(0, 200) * 10**6
                until = int((START - _EPOCH).total_seconds() * 1e6) + at
                self.runtime.intake.advance("clicks", until)
            elif what < 0.3:
                self.runtime.settle(20.0)
            elif what < 0.31:
                self.evolve()
            elif what < 0.35:
                self.lake.is_away = not self.lake.is_away
        except StateError as error:
            self.refused(error)

    def evolve(self) -> None:
        """Change the columns of hits while it runs, unless that would break a view."""
        at = columns_of(self.runtime.topics["hits"].definition.schema)
        if at < len(STEPS):
            try:
                evolved(self.runtime, "hits", STEPS[at], dry_run=False)
            except DefinitionError:
                return
            self.note_columns()

    def note_columns(self) -> None:
        """Note which columns hits have for sure."""
        at = columns_of(self.runtime.topics["hits"].definition.schema)
        if at < self.world.columns:
            raise Wrong(f"the columns of hits are those of before: {at}, not {self.world.columns}")
        self.world.columns = at

    def is_in_trouble(self) -> bool:
        """Whether whoever runs the pipeline would stop it now."""
        return bool(self.trouble or self.runtime.journal.failure or self.runtime.loop.failure)

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
        keeping.look(self)
        reading.look(self.runtime, self.random)

    def finish(self) -> None:
        """Let all windows close and all be computed; nobody reads or confirms any more."""
        self.lake.is_away = False
        self.is_closing = True
        if not self.turns.block(lambda: all(is_done() for is_done in self.members), 600.0):
            raise Wrong("a member of a group does not end")
        for topic in TIMED:
            self.runtime.intake.advance(topic, AFTER_ALL)
        if not self.runtime.settle(600.0):
            raise Wrong("it does not settle")
        # What was away is tried again before long.
        if not self.turns.block(lambda: not self.runtime.problems, 600.0):
            raise Wrong(f"all is there again, and yet: {self.runtime.problems}")
        self.world.store.is_well = True
        if not self.turns.block(lambda: not any(s.status().lag for s in self.sinks), 600.0):
            raise Wrong(f"a sink does not catch up: {[s.status() for s in self.sinks]}")

    def refused(self, error: StateError) -> None:
        """Somebody was refused. While a pipeline is being closed that is as it should be."""
        if not self.is_closing:
            self.trouble.append(str(error))

    def close(self) -> None:
        """Stop in the order in which a pipeline is stopped."""
        self.is_closing = True
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
    with patched(turns):
        life = None
        try:
            life = Life(world, drawn, turns, fault, random)
            life.start()
            life.live()
            if then is not None and not life.is_in_trouble():
                turns.block(lambda: life.is_in_trouble() or world.is_sent, 600.0)
                if world.is_sent:
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
    world.files = world.files.crash() if is_power else world.files.kill()
    world.lake = world.lake.crash() if is_power else world.lake.kill()
    return is_done


def _admit(view: ViewRunner, position: int) -> None:
    if position > view.changes.next_offset():
        raise Wrong(f"the store has {position} changes of {view.name}, which was never published")
