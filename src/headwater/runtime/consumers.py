"""Consumer groups: each reads topics and views' changes from where it stands, at its own pace.

A group stands, in each relation that it reads, at a position in every partition. Reading gives what
comes after and changes nothing; a commit moves the position on, durably (`runtime.positions`).
Nobody upstream waits or knows of it: a reader takes a snapshot of the log.

A commit says from where the rows were read. If the group stands elsewhere by then (another member
was quicker, or somebody put the group back) it is refused; said again it changes nothing. So a
position never goes back by accident; on purpose it does by `seek`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from headwater.clock import Clock
from headwater.errors import ConflictError, DefinitionError, NotFoundError
from headwater.log.columns import OFFSET
from headwater.runtime.consumer import Commit, Portion, Wish
from headwater.runtime.leases import Leases
from headwater.runtime.newest import fold
from headwater.runtime.positions import Positions
from headwater.runtime.records import Standing
from headwater.runtime.relations import Relation
from headwater.runtime.status import ConsumerStatus
from headwater.schema.instants import UnfitError, instant

_GROUP = re.compile(r"[\w.:@+-]{1,200}")
# While rows are there that other members have in hand, and while none are: how soon it is looked
# again whether the pipeline ends, or a lease has.
_LOOK_SECONDS = 0.25
_START_HINT = "write start, now, or a time such as 2026-01-31T12:00:00"


class Consumers:
    """The consumer groups of a pipeline. Safe to use from many threads.

    Args:
        relations: What there is to read, by name in lower case.

    """

    def __init__(
        self, relations: Mapping[str, Relation], positions: Positions, clock: Clock
    ) -> None:
        self._relations = relations
        self._positions = positions
        self._clock = clock
        self._leases = Leases(clock)
        self._turn = 0
        self._is_closed = False

    def close(self) -> None:
        """Who waits for rows is told that none come any more."""
        self._is_closed = True
        with self._leases.changed:
            self._leases.changed.notify_all()

    def create(self, group: str, relation: str, start: str = "start") -> ConsumerStatus:
        """Let a group read a relation; one that does stays where it is.

        Args:
            start: `start`, `now`, or an ISO time: rows that came at it or later.

        Raises:
            DefinitionError: There is no such relation, or the name or the start is none.

        """
        found = self._relation(relation)
        if not _GROUP.fullmatch(group):
            raise DefinitionError(
                f"{group!r} is no name of a consumer group",
                hint="letters, digits and . : @ + - _, at most 200 of them",
            )

        def stand(before: Standing | None) -> Standing:
            return before or Standing(group, found.name, found.version, _places(found, start))

        self._positions.change(group, found.name, stand)
        return self._status(self._standing(group, found.name))

    def seek(
        self, group: str, relation: str, start: str = "", *, partition: int = 0, position: int = -1
    ) -> ConsumerStatus:
        """Put a group elsewhere, also back; durable on return. What members have in hand is stale.

        Args:
            start: As for `create`; of all partitions.
            position: Without a start: the offset in one partition.

        Raises:
            DefinitionError: There is no such group, or place.

        """
        found = self._relation(relation)

        def stand(before: Standing | None) -> Standing:
            if before is None:
                raise _no_group(group, found.name)
            if start:
                places = _places(found, start)
            else:
                _check_place(found, partition, position)
                places = _replaced(_counted(found, before), partition, position)
            return Standing(group, found.name, found.version, places)

        after = self._positions.change(group, found.name, stand)
        assert after is not None
        self._leases.release(group, found.name)
        return self._status(after)

    def remove(self, group: str, relation: str) -> None:
        """Forget where a group stands in a relation; durable on return.

        Raises:
            NotFoundError: There is no such group.

        """
        known = self._relations.get(relation.lower())
        name = relation if known is None else known.name

        def stand(before: Standing | None) -> None:
            if before is None:
                raise _no_group(group, name)

        self._positions.change(group, name, stand)
        self._leases.release(group, name)

    def release(self, group: str, relation: str, member: str) -> None:
        """Let other members of a group have what one has in hand."""
        self._leases.release(group, self._relation(relation).name, member)

    def read(self, group: str, relation: str, wish: Wish) -> Portion | None:
        """The next rows of a relation, for a group.

        Returns:
            None when the pipeline ends. Rows may be none: no more came in the time that was given.

        Raises:
            NotFoundError: There is no such group.
            ConflictError: The view was computed anew since the group read it.
            DefinitionError: There is no such relation, partition or column.

        """
        found = self._relation(relation)
        if wish.newest:
            wish = replace(wish, key=_key(found, wish.key))
        deadline = self._clock.monotonic() + wish.wait_seconds
        while not self._is_closed:
            standing = self._standing(group, found.name)
            places = _counted(found, standing)
            starts = _starts(found, places, wish)
            ends = found.ends()
            waiting = [n for n, (at, end) in enumerate(zip(starts, ends, strict=True)) if at < end]
            partition = self._taken(group, found.name, waiting, wish)
            if partition is not None:
                portion = _portion(found, partition, starts[partition], places[partition], wish)
                self._gave(group, found.name, portion, wish)
                return portion
            left = deadline - self._clock.monotonic()
            if left <= 0:
                at = wish.partition or 0
                nothing = found.read(at, ends[at], 1)
                return Portion(at, places[at], starts[at], starts[at], ends[at], 0, nothing)
            self._wait(found, ends, is_leased=bool(waiting), seconds=min(left, _LOOK_SECONDS))
        return None

    def commit(self, group: str, relation: str, commit: Commit) -> ConsumerStatus:
        """Say that all rows before a position are done; durable on return.

        Said again it changes nothing.

        Raises:
            ConflictError: The group stands elsewhere than where the rows were read, or after the
                position, or another member has the partition in hand.
            DefinitionError: There is no such group, partition or row.

        """
        found = self._relation(relation)
        partition, position = commit.partition, commit.position
        _check_place(found, partition, position)
        holder = self._leases.holder((group, found.name, partition))
        if holder not in (None, commit.member):
            raise ConflictError(
                f"member {holder} of group {group} has partition {partition} of {found.name} in "
                "hand",
                hint="read again; ask for a longer lease if a batch takes longer",
            )

        def stand(before: Standing | None) -> Standing:
            if before is None:
                raise _no_group(group, found.name)
            places = _counted(found, before)
            if position != places[partition]:
                _check_from(before, commit, places[partition])
            return replace(before, positions=_replaced(places, partition, position))

        after = self._positions.change(group, found.name, stand)
        assert after is not None
        self._leases.confirmed((group, found.name, partition), position)
        return self._status(after)

    def all(self) -> tuple[ConsumerStatus, ...]:
        """Where every group stands, and how far behind it is."""
        return tuple(self._status(standing) for standing in self._positions.all())

    def _relation(self, name: str) -> Relation:
        found = self._relations.get(name.lower())
        if found is None:
            names = ", ".join(relation.name for relation in self._relations.values())
            raise NotFoundError(
                f"there is no view, topic or table {name}", hint=f"there are: {names}"
            )
        return found

    def _standing(self, group: str, relation: str) -> Standing:
        standing = self._positions.get(group, relation)
        if standing is None:
            raise _no_group(group, relation)
        return standing

    def _taken(self, group: str, relation: str, waiting: list[int], wish: Wish) -> int | None:
        """A partition whose rows may be given; members take turns over the partitions."""
        if wish.partition is not None:
            waiting = [wish.partition] if wish.partition in waiting else []
        if not waiting:
            return None
        self._turn += 1
        turn = self._turn % len(waiting)
        for partition in chain(waiting[turn:], waiting[:turn]):
            place = group, relation, partition
            if wish.member is None or self._leases.take(place, wish.member, wish.lease_seconds):
                return partition
        return None

    def _gave(self, group: str, relation: str, portion: Portion, wish: Wish) -> None:
        if wish.member is not None:
            place = group, relation, portion.partition
            self._leases.gave(place, wish.member, portion.position)

    def _wait(
        self, relation: Relation, ends: list[int], *, is_leased: bool, seconds: float
    ) -> None:
        """Return when more rows may be there for the one who asks, or soon."""
        if is_leased:
            with self._leases.changed:
                self._leases.changed.wait(seconds)
            return
        with relation.changed:
            relation.changed.wait_for(
                lambda: self._is_closed or relation.ends() != ends, timeout=seconds
            )

    def _status(self, standing: Standing) -> ConsumerStatus:
        group, name = standing.group, standing.relation
        assert standing.positions is not None
        relation = self._relations.get(name.lower())
        status = ConsumerStatus(group, name, "", standing.positions)
        if relation is None:
            return replace(status, problem=f"there is no view, topic or table {name} any more")
        status = replace(status, kind=relation.kind, ends=tuple(relation.ends()))
        if standing.version != relation.version:
            return replace(status, problem=_rebuilt(standing).message)
        places = _counted(relation, standing)
        firsts = relation.firsts()
        held = (self._leases.holder((group, name, n)) for n in range(len(places)))
        return replace(
            status,
            positions=places,
            lag=sum(end - max(p, f) for p, f, end in zip(places, firsts, status.ends, strict=True)),
            lag_seconds=self._age(relation, places, firsts),
            lost=sum(max(0, f - p) for p, f in zip(places, firsts, strict=True)),
            members=tuple(sorted({member for member in held if member is not None})),
        )

    def _age(self, relation: Relation, places: tuple[int, ...], firsts: list[int]) -> float | None:
        """How long ago the oldest row came that was not confirmed; 0 when there is none."""
        unread = [
            (n, max(place, firsts[n]))
            for n, (place, end) in enumerate(zip(places, relation.ends(), strict=True))
            if max(place, firsts[n]) < end
        ]
        if not unread:
            return 0.0
        came = [relation.came_us(partition, offset) for partition, offset in unread]
        known = [time_us for time_us in came if time_us is not None]
        return max(0.0, (self._clock.now_us() - min(known)) / 1e6) if known else None


def _places(relation: Relation, start: str) -> tuple[int, ...]:
    """Where a group that begins at a start stands."""
    if start == "start":
        return tuple(relation.firsts())
    if start == "now":
        return tuple(relation.ends())
    try:
        time_us = instant(start.replace(" ", "T", 1), "us")
    except UnfitError as error:
        raise DefinitionError(
            f"a consumer cannot begin from {start!r}: {error}", hint=_START_HINT
        ) from None
    partitions = range(len(relation.ends()))
    return tuple(relation.offset_at(partition, time_us) for partition in partitions)


def _counted(relation: Relation, standing: Standing) -> tuple[int, ...]:
    """The positions of a group; a partition that is new since is read from its first row.

    Raises:
        ConflictError: They count another version of the view.

    """
    assert standing.positions is not None
    if standing.version != relation.version:
        raise _rebuilt(standing)
    places = standing.positions
    return (*places, *relation.firsts()[len(places) :])


def _starts(relation: Relation, places: tuple[int, ...], wish: Wish) -> list[int]:
    if len(wish.after) > len(places) or not 0 <= (wish.partition or 0) < len(places):
        raise _no_partition(relation, wish.partition or len(wish.after) - 1)
    after = (*wish.after, *places[len(wish.after) :])
    return [max(place, past) for place, past in zip(places, after, strict=True)]


def _portion(relation: Relation, partition: int, start: int, committed: int, wish: Wish) -> Portion:
    first, end = relation.firsts()[partition], relation.ends()[partition]
    at = max(start, first)
    if wish.newest:
        folded = fold(
            lambda offset, rows_max: relation.read(partition, offset, rows_max),
            at,
            end,
            key=wish.key,
            rows_max=wish.rows_max,
        )
        rows, position = folded.rows, folded.position
    else:
        rows = relation.read(partition, at, wish.rows_max)
        # Rows may be let go while they are read: then those that come begin further on.
        position = rows.column(OFFSET)[-1].as_py() + 1 if rows.num_rows else at
    return Portion(partition, committed, start, position, max(end, position), at - start, rows)


def _key(relation: Relation, named: tuple[str, ...]) -> tuple[str, ...]:
    """The columns by which rows are told apart, as the relation spells them."""
    if not named and relation.key is not None:
        return relation.key
    spelled = {column.lower(): column for column in relation.columns}
    missing = [name for name in named if name.lower() not in spelled]
    if missing or not named:
        what = f"has no column {missing[0]}" if missing else "has no key that is known"
        raise DefinitionError(
            f"{relation.kind} {relation.name} {what}, by which to tell rows apart",
            hint=f"name columns of the key: {', '.join(relation.columns)}",
        )
    return tuple(spelled[name.lower()] for name in named)


def _check_from(standing: Standing, commit: Commit, at: int) -> None:
    """Refuse a commit of rows that were read from elsewhere."""
    who = f"group {standing.group} is at {at} of {standing.relation}"
    if commit.start is not None and commit.start != at:
        raise ConflictError(
            f"{who}, and not at {commit.start}, from where these rows were read",
            hint="another member was quicker, or the group was put elsewhere: read again",
        )
    if commit.position < at:
        raise ConflictError(
            f"{who}, and a commit does not go back to {commit.position}",
            hint="seek goes anywhere",
        )


def _check_place(relation: Relation, partition: int, position: int) -> None:
    ends = relation.ends()
    if not 0 <= partition < len(ends):
        raise _no_partition(relation, partition)
    if not 0 <= position <= ends[partition]:
        raise DefinitionError(
            f"{relation.name} has rows up to {ends[partition]}, and no position {position}",
            hint="commit the position that came with the rows",
        )


def _no_partition(relation: Relation, partition: int) -> DefinitionError:
    return DefinitionError(
        f"{relation.kind} {relation.name} has no partition {partition}",
        hint=f"its partitions are numbered 0 to {len(relation.ends()) - 1}",
    )


def _no_group(group: str, relation: str) -> NotFoundError:
    return NotFoundError(
        f"there is no consumer group {group} of {relation}",
        hint=f"PUT /consumers/{group}/{relation}?from=start makes it",
    )


def _rebuilt(standing: Standing) -> ConflictError:
    return ConflictError(
        f"{standing.relation} was computed anew since group {standing.group} read it: its changes "
        "are others, and so are their offsets",
        hint="seek to start, to read what it is now from the beginning, or to now",
    )


def _replaced(places: tuple[int, ...], partition: int, position: int) -> tuple[int, ...]:
    return (*places[:partition], position, *places[partition + 1 :])
