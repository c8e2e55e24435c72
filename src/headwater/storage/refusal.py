"""What the operating system refused, as a `StateError` with a hint that can be typed.

A refusal names the path, the system's own words and what to do. It is raised once, where the call
was made; nothing here retries, since a disk that refuses one write must not be trusted with the
next before somebody has looked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import NoRoomError, StateError

_HINTS = {
    errno.ENOSPC: "the disk is full: make room (df -h {root}); start again if it does not go on",
    errno.EDQUOT: "the disk quota is used up: make room (quota -s), then start again",
    errno.EROFS: "the file system is read-only: mount it writable, or use another: --data OTHER",
    errno.EACCES: "the owner must be able to write: ls -ld {root}",
    errno.EPERM: "the owner must be able to write: ls -ld {root}",
    errno.ENOENT: "a folder is gone: see ls -ld {root}, mount it again or restore it",
    errno.EIO: "the disk itself failed: see dmesg | tail, and copy {root} to a good disk",
    errno.EMFILE: "too many open files: ulimit -n 65536, then start again",
    errno.ENFILE: "too many open files on this machine: sysctl fs.file-max",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ELSE = "see what is there: ls -ld {root}"


def refusal(action: str, path: str, root: str, error: OSError) -> StateError:
    """Say that the disk under `root` refused to do `action` to `path`."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    hint = _HINTS.get(error.errno or 0, _ELSE).format(root=root)
    kind = NoRoomError if error.errno in _FULL else StateError
    return kind(f"cannot {action} {path}: {cause}", hint=hint)


def gone(path: Path, root: Path) -> StateError:
    """Say that a file which is open is no longer at its path."""
    return StateError(
        f"{path} is no longer there: {root} was removed or renamed while it was in use",
        hint=f"put it back (ls -ld {root}), then start again; nothing is taken until then",
    )


@contextmanager
def refusing(
    action: str, path: Path, root: Path, *, may_be_missing: bool = False
) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StateError`.

    Args:
        action: What is tried, as a verb.
        path: What it is tried on.
        root: The data folder.
        may_be_missing: Let `FileNotFoundError` through, as long as the data folder is there.

    """
    try:
        yield
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError) and root.is_dir():
            raise
        raise refusal(action, str(path), str(root), error) from error
