"""A file that lies on the disk and is not what was written any more.

A bit has flipped, the file was cut, or it is gone. Whoever opens the folder then is told which file
it is, or has lost nothing by it. All of it is done to a copy, and compared with another copy that
was left whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pyarrow as pa

from headwater.errors import HeadwaterError
from headwater.log.topic import Topic
from headwater.storage import journal_file
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk
from headwater.testing.standins import patched
from headwater.testing.turns import Turns
from simulation import laws
from simulation.life import Life
from simulation.machine import Fault
from simulation.pipelines import Drawn
from simulation.stores import Store
from simulation.world import Seen, World, Wrong

Harm = tuple[str, bytes | None, str]
Found = dict[str, "pa.Table | Kept"]
KINDS = ("flipped", "flipped", "flipped", "cut", "gone")


def check(world: World, drawn: Drawn, random: Random) -> None:
    """Damage files, each on a copy of the world's disk, and look what becomes of it."""
    whole = world.disk.copy()
    harms = [harm for _ in range(3) if (harm := harmed(whole, random)) is not None]
    expected = opened(world, whole, drawn, random) if harms else {}
    for harm in harms:
        look(world, drawn, random, harm, expected)


def look(world: World, drawn: Drawn, random: Random, harm: Harm, expected: Found) -> None:
    """Open a disk with a damaged file."""
    path, data, what = harm
    damaged = world.disk.copy()
    damaged.damage(path, data)
    try:
        found = opened(world, damaged, drawn, random)
    except HeadwaterError as error:
        is_named = path.rpartition("/")[2] in str(error)
        # What a file that is gone was called cannot always be told: then its folder is named.
        folder = path.partition("/")[0]
        is_folder = folder in ("journal", "checkpoints") and folder in str(error)
        if not is_named and not (what == "gone" and is_folder):
            raise Wrong(f"{path} is {what}, and the error does not name it: {error}") from error
    except Wrong:
        raise
    except Exception as error:
        raise Wrong(f"{path} is {what}, and nobody says so: {error!r}") from error
    else:
        for name, rows in expected.items():
            if not is_same(rows, found[name]):
                raise Wrong(f"{path} is {what}, and {name} is another, silently")


def is_same(one: pa.Table | Kept, other: pa.Table | Kept) -> bool:
    """Whether two starts found the same.

    Of views the rows, but for the last bits of floats: what was not in an epoch yet is cut by each
    start as it comes. Of topics the rows that both keep, as one may have let go of more, or what
    stands.
    """
    if isinstance(one, pa.Table):
        try:
            assert_same(one, other)
        except AssertionError:
            return False
        return True
    assert not isinstance(other, pa.Table)
    if one.ends != other.ends:
        return False
    firsts = [max(pair) for pair in zip(one.firsts, other.firsts, strict=True)]
    return one.after(firsts) == other.after(firsts)


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows that a topic keeps, by partition.

    Args:
        rows: All of a partition from its first offset on.

    """

    firsts: list[int]
    ends: list[int]
    rows: list[list[dict]]

    def after(self, firsts: list[int]) -> list[list[dict]]:
        """The rows from these offsets on."""
        return [
            rows[first - own :]
            for rows, own, first in zip(self.rows, self.firsts, firsts, strict=True)
        ]


def rows_of(topic: Topic) -> pa.Table | Kept:
    """What a topic keeps now; of a compacted one, which may be more or less so, what stands."""
    definition = topic.definition
    if definition.life.is_compact:
        return laws.standing(laws.in_order(topic), definition.newest_by, definition.deleted_by)
    return kept_of(topic)


def kept_of(topic: Topic) -> Kept:
    """What a topic keeps now. It may let go of some of it meanwhile, from the front."""
    tables = laws.partitions_of(topic)
    ends = [topic.next_offset(partition) for partition in range(len(tables))]
    firsts = [end - table.num_rows for table, end in zip(tables, ends, strict=True)]
    return Kept(firsts, ends, [table.to_pylist() for table in tables])


def harmed(disk: FakeDisk, random: Random) -> Harm | None:
    """A file, what it is to be, and that in words; None where there is none to harm."""
    newest = max((path for path in disk.paths() if path.endswith(".hwj")), default="")
    folders = sorted({path.partition("/")[0] for path in disk.paths()})
    if not folders:
        return None
    folder = random.choice(folders)
    path = random.choice([path for path in disk.paths() if path.startswith(f"{folder}/")])
    data, kind = disk.peek(path), random.choice(KINDS)
    if path == newest:
        # Of the last write nobody can tell whether it was torn: it is taken for that.
        data, kind = data[: last_write(data, path)], "flipped"
    if not data:
        return None
    if kind == "gone":
        return path, None, kind
    if kind == "cut":
        return path, data[: random.randrange(len(data))], kind
    at, bit = random.randrange(len(data)), random.randrange(8)
    harmed = bytearray(disk.peek(path))
    harmed[at] ^= 1 << bit
    return path, bytes(harmed), f"{kind} at byte {at}"


def last_write(data: bytes, path: str) -> int:
    """Where the records begin that were written last, together."""
    first = journal_file.lsn_of(path)
    assert first is not None
    scan = journal_file.scanned(pa.py_buffer(data), first, path)
    at, starts = journal_file.HEADER_BYTES, {}
    for record in journal_file.records(pa.py_buffer(data), scan.good_bytes, 0):
        starts[record.lsn] = at
        length = len(record.payload)
        at += journal_file.HEADER_BYTES + length + -length % 8
    if not starts:
        return 0
    last = max(starts)
    before = int.from_bytes(data[starts[last] + 20 : starts[last] + 24], "little")
    return starts[last - before]


def opened(world: World, disk: FakeDisk, drawn: Drawn, random: Random) -> Found:
    """What a start finds on a disk: rows of topics, and what views hold of them."""
    turns = Turns(Random(random.random()), world.clock)
    seen = Seen(dict(world.seen.changes))
    others = (world.lake.copy(), FakeDisk(0), Store(), world.clock)
    looked = World(disk, *others, [], seen=seen)
    with patched(turns):
        try:
            life = Life(looked, drawn, turns, Fault("none"), random)
            runtime = life.runtime
            runtime.start()
            runtime.settle(600.0)
            found: Found = {name: rows_of(topic) for name, topic in runtime.topics.items()}
            found |= {f"{n}$rejected": kept_of(topic) for n, topic in runtime.rejected.items()}
            for view in runtime.loop.stepper.views:
                found[view.name] = laws.content_of(view)
                changes = view.changes.read(0, 1 << 40).to_pylist()
                seen = looked.seen.changes.get(view.name)
                if seen is not None and changes[: seen.num_rows] != seen.to_pylist():
                    raise Wrong(f"the changes of {view.name} are others, silently")
            runtime.close()
        finally:
            turns.end()
    if turns.errors:
        raise turns.errors[0]
    return found
