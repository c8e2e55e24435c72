"""Consumer groups outside: each row reaches some member at least once, whatever is killed.

A member reads, takes its time, and confirms what it has, or forgets to. It notes what it was given
and what it confirmed. A group never stands before what was acknowledged to a member, nor behind
what one asked for; and of the rows before it none was passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from headwater.errors import ConflictError, ConnectorError, StateError
from headwater.runtime.consumer import Commit, Portion, Wish
from simulation.world import Group, Wrong

if TYPE_CHECKING:
    from simulation.life import Life

_LEASE_SECONDS = 5.0


def join(life: Life, group: Group) -> None:
    """Let members of a group begin to read, once it stands where it is to."""

    def first() -> None:
        try:
            _enter(life, group)
        except StateError as error:
            life.refused(error)
            return
        for number in range(group.members):
            random = Random(life.random.random())
            member = f"member {number}"
            _begin(life, lambda member=member, random=random: _consume(life, group, member, random))

    _begin(life, first)


def _begin(life: Life, call: Callable[[], None]) -> None:
    life.members.append(life.turns.begin(call, "member"))


def drain(life: Life, group: Group) -> None:
    """Read and confirm all that is left, and check that no row was passed over."""
    consumers = life.runtime.consumers
    _enter(life, group)
    for _ in range(10_000):
        portion = consumers.read(group.name, group.relation, Wish(rows_max=1000))
        assert portion is not None
        if portion.position == portion.start:
            break
        _note(group, portion, is_compact=_is_compact(life, group))
        _confirm(life, group, portion)
    (status,) = [s for s in consumers.all() if s.group == group.name]
    if status.positions != status.ends or status.lag:
        raise Wrong(f"group {group.name} is at {status.positions}, of {status.ends}")
    for partition, end in enumerate(status.ends):
        reached = {*group.got.get(partition, ()), *group.lost.get(partition, ())}
        if missed := set(range(end)) - reached:
            raise Wrong(f"no member of group {group.name} had {sorted(missed)} of {partition}")


def _consume(life: Life, group: Group, member: str, random: Random) -> None:
    """A member's thread."""
    try:
        while not life.is_closing:
            _take(life, group, member, random)
        life.runtime.consumers.release(group.name, group.relation, member)
    except StateError as error:
        life.refused(error)


def _enter(life: Life, group: Group) -> None:
    """Have the group, where it is to stand."""
    consumers = life.runtime.consumers
    known = [s for s in consumers.all() if s.group == group.name]
    if known and known[0].problem is not None:
        group.forget()
        consumers.remove(group.name, group.relation)
        known = []
    if not known and any(group.sure.values()):
        raise Wrong(f"group {group.name} was at {group.sure}, and is not known")
    status = consumers.create(group.name, group.relation, "start")
    if not known:
        group.began.update(enumerate(status.ends))
    for partition, position in enumerate(status.positions):
        if not group.sure and not group.asked:
            # It begins with the first row that is kept.
            group.lost.setdefault(partition, set()).update(range(position))
        _check_place(group, partition, position)


def _take(life: Life, group: Group, member: str, random: Random) -> None:
    """Read some rows, and perhaps confirm them."""
    consumers = life.runtime.consumers
    wish = Wish(
        rows_max=random.choice([1, 4, 50]),
        wait_seconds=random.choice([0.1, 3.0]),
        member=member,
        lease_seconds=_LEASE_SECONDS,
    )
    sure = dict(group.sure)
    try:
        portion = consumers.read(group.name, group.relation, wish)
    except ConnectorError:
        # The archive is away.
        life.turns.sleep(1.0)
        return
    visible, durable = life.runtime.intake.visible_lsn, life.runtime.journal.durable_lsn
    if visible > durable:
        raise Wrong(f"group {group.name} may have rows of {visible} records: {durable} are durable")
    if portion is None or portion.position == portion.start:
        life.turns.sleep(0.01)
        return
    _note(group, portion, is_compact=_is_compact(life, group))
    _check_place(group, portion.partition, portion.committed, sure)
    life.turns.sleep(random.choice([0.0, 0.01, 0.5, _LEASE_SECONDS + 1]))
    if random.random() < 0.2:
        consumers.release(group.name, group.relation, member)
        return
    try:
        _confirm(life, group, portion, member)
    except ConflictError as error:
        if group.members == 1:
            raise Wrong(f"the only member of {group.name} is refused: {error}") from error


def _confirm(life: Life, group: Group, portion: Portion, member: str | None = None) -> None:
    """Confirm what was given, and note what is known of it."""
    partition, position = portion.partition, portion.position
    group.asked[partition] = max(group.asked.get(partition, 0), position)
    commit = Commit(position, partition, portion.committed, member)
    life.runtime.consumers.commit(group.name, group.relation, commit)
    group.sure[partition] = max(group.sure.get(partition, 0), position)


def _note(group: Group, portion: Portion, *, is_compact: bool) -> None:
    """Note what a member was given: what comes next, each as it was before."""
    offsets = portion.rows.column("_offset").to_pylist()
    wanted = range(portion.start + portion.lost, portion.position)
    # What came before the group may have been compacted; what came after is kept for it.
    began = group.began.get(portion.partition, 0) if is_compact else 0
    gaps = set(wanted) - set(offsets)
    if offsets != [at for at in wanted if at not in gaps] or max(gaps, default=-1) >= began:
        raise Wrong(f"group {group.name} was given {offsets} after {portion.start}")
    lost = group.lost.setdefault(portion.partition, set())
    lost |= {*range(portion.start, portion.start + portion.lost), *gaps}
    got = group.got.setdefault(portion.partition, {})
    columns = [portion.rows.column(name).to_pylist() for name in _kept_of(portion)]
    for offset, *row in zip(offsets, *columns, strict=True):
        if got.setdefault(offset, tuple(row)) != tuple(row):
            raise Wrong(f"group {group.name} was given {row} at {offset}, and {got[offset]} before")


def _is_compact(life: Life, group: Group) -> bool:
    """Whether the group reads a table whose log is compacted."""
    topic = life.runtime.topics.get(group.relation)
    return topic is not None and topic.definition.life.is_compact


def _kept_of(portion: Portion) -> list[str]:
    """Columns that stay what they are, whatever the author changes."""
    return [name for name in portion.rows.column_names if name not in ("note", "load", "weight")]


def _check_place(
    group: Group, partition: int, position: int, known: dict[int, int] | None = None
) -> None:
    """Check where a group stands; `known` is what was acknowledged before it was asked."""
    sure = (group.sure if known is None else known).get(partition, 0)
    asked = group.asked.get(partition, 0)
    first = max(group.lost.get(partition, {-1}), default=-1) + 1
    if not sure <= position <= max(asked, first):
        raise Wrong(
            f"group {group.name} is at {position} of {partition}: {sure} was acknowledged, and "
            f"{asked} asked for"
        )
