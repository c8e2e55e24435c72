"""Move the older files of a topic to a store that is larger, slower and elsewhere.

A sealed file goes there byte by byte as it is, under the same name, once every checkpoint from
which a start may begin names it and none has a row of it to step again. So whatever start comes
later has the same file under the same name: a file that was stored before a crash is stored again
over itself, and nothing is ever left over that nobody knows. The manifest after that says that the
file is in the store; when no kept manifest names the one on disk, that one is deleted. A file that
is let go is deleted from the store when no kept manifest names it; which are to be deleted stands
in the manifest until they are.

All of this is done beside epochs, by the thread that seals. While the store is away nothing moves
and nothing is lost: files stay where they are, and the next attempt goes on.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace

from headwater.errors import ConnectorError, DefinitionError
from headwater.log.lane import Lane
from headwater.log.manifest import Manifest, names_in, names_in_store
from headwater.log.segment import Segment, SegmentFiles, in_store, is_arrow
from headwater.storage.store import Store


class Archive:
    """What a topic has in a store.

    Args:
        topic: Its name.
        store: Where its files go; None: nowhere.
        files: Its files here.

    """

    def __init__(self, topic: str, store: Store | None, files: SegmentFiles) -> None:
        self._topic = topic
        self._store = store
        self._files = files
        self._lock = threading.Lock()
        self._gone: list[str] = []
        # What every kept manifest says: the files on disk, those in the store, and how far epochs
        # have come.
        self._settled: tuple[set[str], int] = (set(), 0)
        self._named: set[str] = set()
        self._is_ours = False

    def save(self) -> Manifest:
        """What a manifest says beside the files."""
        if self._store is None:
            return {}
        with self._lock:
            return {"archive": self._store.name, "gone": list(self._gone)}

    def load(self, manifest: Manifest | None, older: Sequence[Manifest | None]) -> None:
        """Take up what `save` gave.

        Args:
            older: Other manifests from which a start may begin.

        Raises:
            DefinitionError: The topic had another archive, and its files are there.

        """
        known = manifest or {}
        self._named = names_in_store([manifest, *older])
        self._gone = known.get("gone", [])
        was, now = known.get("archive"), None if self._store is None else self._store.name
        if was != now and (names_in_store([manifest]) or self._gone):
            raise DefinitionError(
                f"topic {self._topic} has rows in the archive {was}, "
                + (f"and is now defined with {now}" if now else "and is now defined without one"),
                hint="declare its archive as it was",
            )

    def let_go(self, segments: Sequence[Segment]) -> None:
        """Have files deleted from the store, when no kept manifest names them any more.

        One that was being stored when the machine went off may be there although no manifest says
        so: sealed files are deleted there wherever they are.
        """
        if self._store is not None:
            names = [s.entry.name for s in segments if not s.entry.is_hot]
            with self._lock:
                self._gone += [name for name in names if name not in self._gone]

    def note(self, manifests: Sequence[Manifest | None], tick_to: int) -> None:
        """Take in what the kept manifests say.

        Args:
            manifests: All from which a start may begin.
            tick_to: Such a start reads rows from this tick on.

        """
        on_disk = [names_in([manifest]) for manifest in manifests]
        self._settled = (set.intersection(*on_disk) if on_disk else set(), tick_to)
        self._named = names_in_store(manifests)

    def move(self, lanes: Sequence[Lane]) -> int:
        """Move the first file that may be moved; return how many there were.

        With the last of them go the files that are to be deleted.

        Raises:
            ConnectorError: The store cannot be used.

        """
        if self._store is None:
            return 0
        due = [(lane, segment) for lane in lanes for segment in self._due(lane)]
        if due and not self._is_ours:
            self._claim(self._store, lanes)
        for lane, segment in due[:1]:
            name = segment.entry.name
            self._store.put(in_store(self._topic, name), [self._files.map(segment.entry)])
            moved = Segment(replace(segment.entry, is_archived=True), self._files)
            if not lane.replace([segment], moved):
                self.let_go([segment])
        if len(due) <= 1:
            self._delete(self._store)
        return len(due)

    def _due(self, lane: Lane) -> list[Segment]:
        """The files of a lane that may be moved.

        One that a later file follows whose rows epochs have begun to take: whoever looks for the
        place of a row that comes now does not have to ask the store.
        """
        on_disk, tick_to = self._settled
        return [
            segment
            for segment, following in itertools.pairwise(lane.segments)
            if segment.entry.name in on_disk
            and following.low(0) <= tick_to
            and not segment.entry.is_archived
            and not segment.entry.is_hot
            and not is_arrow(segment.entry.name)
        ]

    def _claim(self, store: Store, lanes: Sequence[Lane]) -> None:
        """Make sure that no other log has its files where those of this topic go.

        Raises:
            ConnectorError: There is a file that this topic does not know.

        """
        known = {segment.entry.name for lane in lanes for segment in lane.segments}
        known |= self._named | set(self._gone)
        names = {in_store(self._topic, name) for name in known}
        found = [path for path in store.list(self._topic) if path not in names]
        if found:
            raise ConnectorError(
                f"the archive {store.name} has files of another topic {self._topic}, "
                f"for example {found[0]}",
                hint="name a folder of its own for each pipeline, or move those files away",
            )
        self._is_ours = True

    def _delete(self, store: Store) -> None:
        for name in list(self._gone):
            if name not in self._named:
                store.delete(in_store(self._topic, name))
                with self._lock:
                    self._gone.remove(name)
