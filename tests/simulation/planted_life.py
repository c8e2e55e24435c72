"""Bugs in what is let go, put together and archived of the log (see `planting`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headwater.log import retention, topic
from headwater.log.archive import Archive
from headwater.log.lane import Lane
from headwater.log.segment import Segment, SegmentFiles, in_store
from headwater.plan.life import Life
from simulation.planting import Law, Patch, bug


@bug(
    "retention",
    "a file goes by its oldest row",
    lost="rows that are young enough",
    law=Law.KEPT,
    after=1,
    is_of_logs=True,
)
def oldest_counts(patch: Patch) -> None:
    def too_old(segments: Sequence[Segment], life: Life, now_us: int, tick_to: int) -> int:
        aged = [
            Segment(replace(s.entry, highest=s.entry.firsts), s._files, s._content)
            for s in segments
        ]
        return real(aged, life, now_us, tick_to)

    real = retention._too_old
    patch.setattr(retention, "_too_old", too_old)


@bug(
    "retention",
    "it is not noted where a topic begins of which all files are gone",
    lost="the offsets of its next rows, which others had",
    law=Law.KEPT,
    after=13,
    is_of_logs=True,
)
def start_unknown(patch: Patch) -> None:
    real = topic.save_lanes
    patch.setattr(topic, "save_lanes", lambda lanes: real(lanes) | {"starts": []})


@bug(
    "retention",
    "files are deleted when they are replaced, not when no checkpoint names them",
    lost="rows that a start looks for",
    law=Law.START,
    after=1,
    is_of_logs=True,
)
def deleted_at_once(patch: Patch) -> None:
    real = SegmentFiles.retire

    def retire(self: SegmentFiles, names: Sequence[str]) -> None:
        real(self, names)
        self.remove_retired(set())

    patch.setattr(SegmentFiles, "retire", retire)


@bug(
    "archive",
    "a file counts as archived before it is",
    lost="its rows: the one on the disk goes, and there is no other",
    law=Law.KEPT,
    after=16,
    is_of_logs=True,
)
def archived_early(patch: Patch) -> None:
    real = Archive.move

    def move(self: Archive, lanes: Sequence[Lane]) -> int:
        due = [(lane, segment) for lane in lanes for segment in self._due(lane)]
        if self._store is None or not due:
            return real(self, lanes)
        lane, segment = due[0]
        moved = Segment(replace(segment.entry, is_archived=True), self._files)
        lane.replace([segment], moved)
        path = in_store(self._topic, segment.entry.name)
        self._store.put(path, [self._files.map(segment.entry)])
        return len(due)

    patch.setattr(Archive, "move", move)
