"""The manifest of a topic or of a view's changes: which files hold which rows.

A JSON value: `{"format": 3, "lanes": [[entry, ...], ...]}`, with the entries of each lane in the
order of their positions (see `segment.Entry`). Format 1 had one checksum for a whole Arrow file,
format 2 of event times only the highest of each append, and did not say of which column. It says
nothing of the rows in memory. Whoever keeps the checkpoints stores it; a file counts as soon
as a stored manifest names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headwater.errors import StateError
from headwater.log.lane import Lane
from headwater.log.segment import Entry, SegmentFiles, missing

Manifest = dict[str, Any]

_FORMAT = 3
_READ = (1, 2, 3)


def save_lanes(lanes: Sequence[Lane]) -> Manifest:
    """The manifest of several lanes."""
    return {"format": _FORMAT, "lanes": [lane.manifest() for lane in lanes]}


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
    """All files that any of the manifests names."""
    return {
        entry.name for manifest in manifests for lane in load_entries(manifest) for entry in lane
    }


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
