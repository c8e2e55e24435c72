"""The manifest of a topic or of a view's changes: which files hold which rows.

A JSON value: `{"format": 4, "lanes": [[entry, ...], ...], "starts": [position, ...]}`, with the
entries of each lane in the order of their positions (see `segment.Entry`), and where each lane
begins: at 0, or after the rows that were let go. Format 1 had one checksum for a whole Arrow file,
format 2 of event times only the highest of each append, and did not say of which column; before
format 4 no row was let go. A topic with an archive adds what that is called, `archive`, and which
files are yet to be deleted there, `gone`. It says nothing of the rows in memory. Whoever keeps the
checkpoints stores it; a file counts as soon as a stored manifest names it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from headwater.errors import StateError
from headwater.log.lane import Lane
from headwater.log.segment import Entry, SegmentFiles, missing

Manifest = dict[str, Any]

_FORMAT = 4
_READ = (1, 2, 3, 4)


def save_lanes(lanes: Sequence[Lane]) -> Manifest:
    """The manifest of several lanes."""
    saved = [lane.manifest() for lane in lanes]
    return {
        "format": _FORMAT,
        "lanes": [entries for _, entries in saved],
        "starts": [start for start, _ in saved],
    }


def load_entries(manifest: Manifest | None) -> list[list[Entry]]:
    """Each lane's segments; no lanes when there is no manifest yet.

    Raises:
        StateError: A newer Headwater wrote it.

    """
    if manifest is None:
        return []
    if manifest["format"] not in _READ:
        raise StateError(
            f"a checkpoint has a manifest of format {manifest['format']}, above {_FORMAT}",
            hint="use the version of Headwater that wrote it",
        )
    return [[Entry.load(value) for value in lane] for lane in manifest["lanes"]]


def names_in(manifests: Iterable[Manifest | None]) -> set[str]:
    """All files of the folder that any of the manifests names."""
    return {entry.name for entry in _entries(manifests) if not entry.is_archived}


def names_in_store(manifests: Iterable[Manifest | None]) -> set[str]:
    """All files in the archive that any of the manifests names."""
    return {entry.name for entry in _entries(manifests) if entry.is_archived}


def _entries(manifests: Iterable[Manifest | None]) -> Iterator[Entry]:
    for manifest in manifests:
        yield from itertools.chain.from_iterable(load_entries(manifest))


def load_starts(manifest: Manifest | None) -> list[int]:
    """Where each lane begins; missing at the end are those that begin at 0."""
    return [] if manifest is None else manifest.get("starts", [])


def tidy(files: SegmentFiles, manifest: Manifest | None, older: Iterable[Manifest | None]) -> None:
    """Remove what a crash left over: the files that no manifest names.

    Args:
        manifest: The one to start from.
        older: Others whose files stay, until `SegmentFiles.remove_retired`.

    Raises:
        StateError: A file that `manifest` names is not there.

    """
    named, present = names_in([manifest]), files.names()
    for name in sorted(named - present):
        raise missing(files.path(name))
    files.retire(sorted(present - named))
    files.remove_retired(names_in(older))
